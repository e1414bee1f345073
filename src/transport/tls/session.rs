//! One connection's TLS state over rustls's unbuffered interface: ciphertext in, plaintext out, and
//! the other way round. No I/O.
//!
//! ```text
//!   ring buffer ─┐ decrypted in place          ┌─▶ lease of the caller   (large bodies)
//!   or lease     ├───────────────▶ record ─────┤
//!   incoming ────┘                             └─▶ plain                 (all else, and what a
//!      ▲                                             lease has no room for)
//!      └ an unfinished record, from one receive to the next
//!
//!   caller's bytes ──▶ [ pending │ records ] ──▶ one send
//!                         ▲
//!                         └ handshake messages, tickets, key updates, alerts
//! ```
//!
//! An idle session holds no buffer: each is a vector of the thread's free list for the time in
//! which it has bytes.

use std::{fmt, io, mem, sync::Arc};

use rustls::{
    Error as TlsError,
    client::UnbufferedClientConnection,
    server::{Acceptor, UnbufferedServerConnection},
    unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus},
};

use super::server::{Policy, ServerTls};
use crate::{protocol::client_hello::Sniffer, transport::bytes};

/// Which end of the connection we are.
pub(super) enum Side {
    /// A client connected to us, and its ClientHello decides how we answer.
    Hello(Box<Hello>),
    /// The client connected to us.
    Server(UnbufferedServerConnection),
    /// We connected to an endpoint.
    Client(UnbufferedClientConnection),
}

/// A ClientHello that is being received.
pub(super) struct Hello {
    tls: Arc<ServerTls>,
    acceptor: Acceptor,
}

/// A connection's TLS state. `Send`: it moves between shards with its socket.
pub(super) struct Session {
    pub(super) side: Side,
    /// Received and not yet understood: the beginning of a record, or of a handshake message.
    incoming: Vec<u8>,
    /// Decrypted and not yet taken.
    plain: Vec<u8>,
    /// To be sent before anything else.
    pending: Vec<u8>,
    /// The other side has said that it sends no more.
    is_closed: bool,
    has_said_goodbye: bool,
    failure: Option<Cause>,
    /// What the client was asked for, and the name that it asked for.
    pub(super) policy: Policy,
    pub(super) server_name: Option<Box<str>>,
    /// Looks for that name where it chooses nothing.
    sniffer: Option<Box<Sniffer>>,
    /// Bytes received before the handshake was complete.
    handshake_bytes: usize,
}

/// Why there is no more to receive.
enum Cause {
    Tls(TlsError),
    /// Told once; then the connection is just gone.
    Io(Option<io::Error>),
}

/// What rustls asked for, seen from outside.
enum Step {
    /// Ask again.
    Again,
    /// The other side's `close_notify` came. Ask again.
    Closed,
    /// Nothing more without more bytes.
    Rest,
}

impl Session {
    /// A session with a client that has just connected.
    pub(super) fn server(tls: &Arc<ServerTls>) -> Result<Self, TlsError> {
        match tls.single() {
            Some((policy, config)) => {
                let connection = UnbufferedServerConnection::new(Arc::clone(config))?;
                let sniffer = Some(Box::default());
                Ok(Self { policy, sniffer, ..Self::new(Side::Server(connection)) })
            }
            None => {
                let hello = Hello { tls: Arc::clone(tls), acceptor: Acceptor::default() };
                Ok(Self::new(Side::Hello(Box::new(hello))))
            }
        }
    }

    /// A session whose handshake hasn't begun.
    pub(super) fn new(side: Side) -> Self {
        Self {
            side,
            incoming: Vec::new(),
            plain: Vec::new(),
            pending: Vec::new(),
            is_closed: false,
            has_said_goodbye: false,
            failure: None,
            policy: Policy::default(),
            server_name: None,
            sniffer: None,
            handshake_bytes: 0,
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        match &self.side {
            Side::Hello(_) => true,
            Side::Server(connection) => connection.is_handshaking(),
            Side::Client(connection) => connection.is_handshaking(),
        }
    }

    /// The application protocol that was agreed on.
    pub(super) fn alpn(&self) -> Option<&[u8]> {
        match &self.side {
            Side::Hello(_) => None,
            Side::Server(connection) => connection.alpn_protocol(),
            Side::Client(connection) => connection.alpn_protocol(),
        }
    }

    /// Whether plaintext, the end or a failure can be told without receiving.
    pub(super) fn has_news(&self) -> bool {
        !self.plain.is_empty() || self.is_closed || self.failure.is_some()
    }

    pub(super) fn has_plain(&self) -> bool {
        !self.plain.is_empty()
    }

    /// Bytes to be sent before anything else.
    pub(super) fn take_pending(&mut self) -> Option<Vec<u8>> {
        (!self.pending.is_empty()).then(|| mem::take(&mut self.pending))
    }

    /// The news: plaintext, an empty vector at the end, or what failed.
    pub(super) fn take_news(&mut self) -> io::Result<Vec<u8>> {
        if !self.plain.is_empty() {
            return Ok(mem::take(&mut self.plain));
        }
        match &mut self.failure {
            _ if self.is_closed => Ok(Vec::new()),
            None => Ok(Vec::new()),
            Some(Cause::Tls(failure)) => Err(io_error(failure.clone())),
            Some(Cause::Io(error)) => Err(error.take().unwrap_or_else(cut)),
        }
    }

    /// The socket has nothing more to bring.
    pub(super) fn cut_off(&mut self, error: io::Error) {
        self.failure.get_or_insert(Cause::Io(Some(error)));
    }

    /// Moves decrypted bytes into `space`; returns how many.
    pub(super) fn take_plain(&mut self, space: &mut [u8]) -> usize {
        let count = self.plain.len().min(space.len());
        if let (Some(to), Some(from)) = (space.get_mut(..count), self.plain.get(..count)) {
            to.copy_from_slice(from);
        }
        self.plain.drain(..count);
        if self.plain.is_empty() {
            bytes::give(mem::take(&mut self.plain));
        }
        count
    }

    /// Bytes that lie before what is received next: they belong in front of it.
    pub(super) fn unfinished(&self) -> usize {
        self.incoming.len()
    }

    /// Begins: a client's first message is pending afterwards.
    pub(super) fn begin(&mut self) -> Result<(), TlsError> {
        self.take_in(&mut [])
    }

    /// Takes received bytes in, decrypting them where they are. What follows from them is told by
    /// [`has_news`](Self::has_news) and [`take_pending`](Self::take_pending).
    pub(super) fn take_in(&mut self, received: &mut [u8]) -> Result<(), TlsError> {
        if self.is_handshaking() {
            self.handshake_bytes += received.len();
            if self.handshake_bytes > HANDSHAKE_BYTES_MAX {
                return Err(self.fail(TlsError::General("the handshake is too long".to_owned())));
            }
        }
        self.note_name(received);
        if !self.look_at_hello(received)? {
            self.keep_more(received);
            return Ok(());
        }
        let mut plain = self.plain_vector();
        let result = if self.incoming.is_empty() {
            let result = self.digest(received, |record| plain.extend_from_slice(record));
            if let Ok(taken) = &result {
                self.keep(received.get(*taken..).unwrap_or_default());
            }
            result
        } else {
            let mut joined = mem::take(&mut self.incoming);
            joined.extend_from_slice(received);
            let result = self.digest(&mut joined, |record| plain.extend_from_slice(record));
            joined.drain(..*result.as_ref().unwrap_or(&0));
            self.incoming = joined;
            self.let_go_of_incoming();
            result
        };
        self.put_plain(plain);
        result.map(drop)
    }

    /// Remembers the name that the client asks for: rustls's unbuffered side doesn't tell it. What is
    /// wrong with the message is for rustls to say.
    fn note_name(&mut self, received: &[u8]) {
        let Some(sniffer) = &mut self.sniffer else { return };
        match sniffer.push(received) {
            Ok(None) => return,
            Ok(Some(hello)) => self.server_name = hello.server_name.map(String::into_boxed_str),
            Err(_) => {}
        }
        self.sniffer = None;
    }

    /// Chooses by the ClientHello, if that is still to be done; false while it isn't whole.
    fn look_at_hello(&mut self, received: &[u8]) -> Result<bool, TlsError> {
        let Side::Hello(hello) = &mut self.side else { return Ok(true) };
        if self.handshake_bytes > HELLO_BYTES_MAX {
            return Err(self.fail(TlsError::General("the ClientHello is too long".to_owned())));
        }
        match hello.add(received, &mut self.pending) {
            Ok(None) => Ok(false),
            Ok(Some(chosen)) => {
                self.policy = chosen.policy;
                self.server_name = chosen.server_name;
                self.side = Side::Server(chosen.connection);
                Ok(true)
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// As [`take_in`](Self::take_in), for a large buffer in whose front lie the
    /// [`unfinished`](Self::unfinished) bytes already: plaintext goes into `space` as far as there
    /// is room. Returns how much did.
    pub(super) fn take_in_bulk(
        &mut self,
        buffer: &mut [u8],
        space: &mut [u8],
    ) -> Result<usize, TlsError> {
        bytes::give(mem::take(&mut self.incoming));
        let mut plain = self.plain_vector();
        let mut filled = 0;
        let result = self.digest(buffer, |record| {
            let room = space.get_mut(filled..).unwrap_or_default();
            let (now, later) = record.split_at(record.len().min(room.len()));
            if let Some(to) = room.get_mut(..now.len()) {
                to.copy_from_slice(now);
            }
            filled += now.len();
            plain.extend_from_slice(later);
        });
        self.put_plain(plain);
        let taken = result?;
        self.keep(buffer.get(taken..).unwrap_or_default());
        Ok(filled)
    }

    /// The unfinished bytes, for the front of a large buffer.
    pub(super) fn copy_unfinished(&self, to: &mut [u8]) {
        if let Some(front) = to.get_mut(..self.incoming.len()) {
            front.copy_from_slice(&self.incoming);
        }
    }

    /// Has rustls work through `data`; plaintext goes to `sink`. Returns how many bytes of `data`
    /// are done with.
    fn digest(&mut self, data: &mut [u8], mut sink: impl FnMut(&[u8])) -> Result<usize, TlsError> {
        let mut taken = 0;
        let failure = loop {
            let rest = data.get_mut(taken..).unwrap_or_default();
            let (discard, step) = self.step(rest, &mut sink);
            taken += discard;
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Closed) => self.is_closed = true,
                Ok(Step::Rest) => return Ok(taken),
                Err(failure) => break failure,
            }
        };
        // What rustls has to say about it, an alert at least, becomes pending. It must not be asked
        // for more: it would find the same fault again.
        while self.wants_write() {
            let rest = data.get_mut(taken..).unwrap_or_default();
            let (discard, step) = self.step(rest, &mut sink);
            taken += discard;
            if step.is_err() {
                break;
            }
        }
        Err(self.fail(failure))
    }

    fn wants_write(&self) -> bool {
        match &self.side {
            Side::Hello(_) => false,
            Side::Server(connection) => connection.wants_write(),
            Side::Client(connection) => connection.wants_write(),
        }
    }

    fn step(
        &mut self,
        data: &mut [u8],
        sink: &mut impl FnMut(&[u8]),
    ) -> (usize, Result<Step, TlsError>) {
        match &mut self.side {
            Side::Hello(_) => (0, Ok(Step::Rest)),
            Side::Server(connection) => {
                answer(connection.process_tls_records(data), &mut self.pending, sink)
            }
            Side::Client(connection) => {
                answer(connection.process_tls_records(data), &mut self.pending, sink)
            }
        }
    }

    /// Writes what is pending and then `data` as records into `out`, which has room for
    /// `sealed_len` bytes more than is pending. Returns how much was written.
    pub(super) fn seal(&mut self, data: &[u8], out: &mut [u8]) -> Result<usize, TlsError> {
        self.write(out, |traffic, out| traffic.encrypt(data, out))
    }

    /// As [`seal`](Self::seal), for `close_notify` in place of data. Nothing, the second time.
    pub(super) fn say_goodbye(&mut self, out: &mut [u8]) -> Result<usize, TlsError> {
        if mem::replace(&mut self.has_said_goodbye, true) {
            return Ok(0);
        }
        self.write(out, |traffic, out| traffic.goodbye(out))
    }

    /// How much room [`seal`](Self::seal) needs for `len` bytes.
    pub(super) fn sealed_len(&self, len: usize) -> usize {
        self.pending.len() + len + len.div_ceil(RECORD_BYTES) * RECORD_OVERHEAD_MAX + SLACK
    }

    fn write(
        &mut self,
        out: &mut [u8],
        last: impl FnOnce(&mut dyn Traffic, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<usize, TlsError> {
        if let Some(Cause::Tls(failure)) = &self.failure {
            return Err(failure.clone());
        }
        // rustls looks at unfinished bytes again, even when it is to write.
        let mut incoming = mem::take(&mut self.incoming);
        let result = self.write_beside(&mut incoming, out, last);
        self.incoming = incoming;
        self.let_go_of_incoming();
        result
    }

    fn write_beside(
        &mut self,
        incoming: &mut Vec<u8>,
        out: &mut [u8],
        last: impl FnOnce(&mut dyn Traffic, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<usize, TlsError> {
        let mut last = Some(last);
        loop {
            let pending = &mut self.pending;
            let mut seal = |traffic: &mut dyn Traffic| {
                let (front, rest) = out
                    .split_at_mut_checked(pending.len())
                    .ok_or_else(|| TlsError::General("no room for pending records".to_owned()))?;
                front.copy_from_slice(pending);
                let Some(last) = last.take() else { return Ok(front.len()) };
                let sealed =
                    last(traffic, rest).map_err(|error| TlsError::General(error.to_string()))?;
                let written = front.len() + sealed;
                bytes::give(mem::take(pending));
                Ok(written)
            };
            let (discard, done) = match &mut self.side {
                Side::Hello(_) => (0, Err(TlsError::HandshakeNotComplete)),
                Side::Server(connection) => {
                    let status = connection.process_tls_records(incoming);
                    (status.discard, sealing(status, &mut seal))
                }
                Side::Client(connection) => {
                    let status = connection.process_tls_records(incoming);
                    (status.discard, sealing(status, &mut seal))
                }
            };
            incoming.drain(..discard);
            match done {
                Ok(Sealing::Done(written)) => return Ok(written),
                Ok(Sealing::First(mut bytes)) => self.pending.append(&mut bytes),
                Ok(Sealing::Again) => {}
                Ok(Sealing::Closed) => self.is_closed = true,
                Err(failure) => return Err(self.fail(failure)),
            }
        }
    }

    fn fail(&mut self, failure: TlsError) -> TlsError {
        self.failure.get_or_insert_with(|| Cause::Tls(failure.clone()));
        failure
    }

    fn plain_vector(&mut self) -> Vec<u8> {
        let plain = mem::take(&mut self.plain);
        if plain.capacity() == 0 { bytes::take() } else { plain }
    }

    fn put_plain(&mut self, plain: Vec<u8>) {
        if plain.is_empty() {
            bytes::give(plain);
        } else {
            self.plain = plain;
        }
    }

    fn keep(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            self.incoming = bytes::take();
            self.incoming.extend_from_slice(rest);
        }
    }

    fn keep_more(&mut self, more: &[u8]) {
        if self.incoming.is_empty() {
            self.keep(more);
        } else {
            self.incoming.extend_from_slice(more);
        }
    }

    fn let_go_of_incoming(&mut self) {
        if self.incoming.is_empty() {
            bytes::give(mem::take(&mut self.incoming));
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("is_closed", &self.is_closed).finish_non_exhaustive()
    }
}

/// What a ClientHello led to.
struct Chosen {
    connection: UnbufferedServerConnection,
    policy: Policy,
    server_name: Option<Box<str>>,
}

impl Hello {
    /// Looks at more of the ClientHello. When it is wrong, `alert` gets what the client is told.
    fn add(&mut self, mut more: &[u8], alert: &mut Vec<u8>) -> Result<Option<Chosen>, TlsError> {
        loop {
            match self.acceptor.accept() {
                Ok(Some(accepted)) => return self.chosen(accepted.client_hello().server_name()),
                Ok(None) if more.is_empty() => return Ok(None),
                Ok(None) => {}
                Err((error, mut message)) => {
                    // Writing to a vector can't fail.
                    let _written = message.write_all(alert);
                    return Err(error);
                }
            }
            if self.acceptor.read_tls(&mut more).is_err() {
                return Err(TlsError::General("the ClientHello is too long".to_owned()));
            }
        }
    }

    fn chosen(&self, server_name: Option<&str>) -> Result<Option<Chosen>, TlsError> {
        let (policy, config) = self.tls.choose(server_name)?;
        let connection = UnbufferedServerConnection::new(Arc::clone(config))?;
        Ok(Some(Chosen { connection, policy, server_name: server_name.map(Box::from) }))
    }
}

/// Does what rustls asks for; returns how much of the received bytes is done with.
fn answer<D>(
    status: UnbufferedStatus<'_, '_, D>,
    pending: &mut Vec<u8>,
    sink: &mut impl FnMut(&[u8]),
) -> (usize, Result<Step, TlsError>) {
    let mut discard = status.discard;
    let step = match status.state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                None => break Ok(Step::Again),
                Some(Ok(record)) => {
                    discard += record.discard;
                    sink(record.payload);
                }
                Some(Err(error)) => break Err(error),
            }
        },
        Ok(ConnectionState::EncodeTlsData(data)) => encode(data, pending).map(|()| Step::Again),
        Ok(ConnectionState::TransmitTlsData(data)) => {
            // They are pending, and what is pending is sent before anything else.
            data.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::PeerClosed) => Ok(Step::Closed),
        // Early data is off, so that it can't be what came.
        Ok(_) => Ok(Step::Rest),
    };
    (discard, step)
}

/// Appends a record that rustls has made.
fn encode<D>(mut data: EncodeTlsData<'_, D>, out: &mut Vec<u8>) -> Result<(), TlsError> {
    let start = out.len();
    let wrong = |error: EncodeError| TlsError::General(error.to_string());
    match data.encode(&mut []) {
        Ok(_) => Ok(()),
        Err(EncodeError::InsufficientSize(needed)) => {
            out.resize(start + needed.required_size, 0);
            let written = data.encode(out.get_mut(start..).unwrap_or_default()).map_err(wrong)?;
            out.truncate(start + written);
            Ok(())
        }
        Err(error) => Err(wrong(error)),
    }
}

/// What came of an attempt to write.
enum Sealing {
    Done(usize),
    /// This goes first.
    First(Vec<u8>),
    Again,
    Closed,
}

fn sealing<D>(
    status: UnbufferedStatus<'_, '_, D>,
    seal: &mut impl FnMut(&mut dyn Traffic) -> Result<usize, TlsError>,
) -> Result<Sealing, TlsError> {
    match status.state? {
        ConnectionState::WriteTraffic(mut traffic) => seal(&mut traffic).map(Sealing::Done),
        ConnectionState::EncodeTlsData(data) => {
            let mut first = bytes::take();
            encode(data, &mut first).map(|()| Sealing::First(first))
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Sealing::Again)
        }
        ConnectionState::PeerClosed => Ok(Sealing::Closed),
        _ => Err(TlsError::General("the session takes nothing to send".to_owned())),
    }
}

/// rustls's state for writing, of whichever side.
trait Traffic {
    fn encrypt(&mut self, data: &[u8], out: &mut [u8]) -> Result<usize, EncryptError>;
    fn goodbye(&mut self, out: &mut [u8]) -> Result<usize, EncryptError>;
}

impl<D> Traffic for rustls::unbuffered::WriteTraffic<'_, D> {
    fn encrypt(&mut self, data: &[u8], out: &mut [u8]) -> Result<usize, EncryptError> {
        rustls::unbuffered::WriteTraffic::encrypt(self, data, out)
    }

    fn goodbye(&mut self, out: &mut [u8]) -> Result<usize, EncryptError> {
        self.queue_close_notify(out)
    }
}

/// What rustls found wrong, as the runtime's kind of error.
pub(super) fn io_error(error: TlsError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The stream ended without `close_notify`.
pub(super) fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "closed without close_notify")
}

/// Most plaintext in one record (RFC 8446 §5.1).
pub(super) const RECORD_BYTES: usize = 16 * 1024;
/// Most that protecting a record adds, header included. TLS 1.3: 5 + 1 + 16; TLS 1.2 with an
/// explicit nonce: 5 + 8 + 16.
pub(super) const RECORD_OVERHEAD_MAX: usize = 64;
/// Room for what rustls puts before the data: a key update.
const SLACK: usize = 256;
/// Most bytes that a client may send before its handshake is complete: a ClientHello, a
/// certificate chain.
const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of a ClientHello that has to be looked at first.
const HELLO_BYTES_MAX: usize = 16 * 1024;
const _: () = assert!(HELLO_BYTES_MAX < HANDSHAKE_BYTES_MAX);
