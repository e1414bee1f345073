//! A session on its socket: handshake, receives and sends, driven on the shard.
//!
//! A receive arms the socket and holds no buffer while it waits, in the handshake too: a client
//! that stalls costs its session and nothing else. Records leave in batches, several in one send.

use std::{
    cell::{OnceCell, RefCell},
    fmt, io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustls::Error as TlsError;

use super::{
    client_cert::ClientCertificate,
    handshake::{Failure, Handshaken, Version, cipher_name, is_resumed},
    server::ServerTls,
    session::{RECORD_BYTES, RECORD_OVERHEAD_MAX, Session, Side, cut, io_error},
};
use crate::{
    runtime::{self, LEASE_SIZE, Lease, OwnedSocket, RecvBuf, SendBuf, TcpStream, spawn},
    transport::{Received, Stream, bytes},
};

/// An encrypted connection.
pub struct TlsStream {
    tcp: TcpStream,
    session: RefCell<Session>,
    handshaken: OnceCell<Box<Handshaken>>,
}

/// An encrypted connection's state, without its socket: `Send`.
#[derive(Debug)]
pub struct OwnedTls {
    session: Session,
    handshaken: OnceCell<Box<Handshaken>>,
}

impl Stream {
    /// Prepares TLS with a client that has just connected; [`TlsStream::handshake`] comes first.
    ///
    /// # Errors
    /// What rustls says of the configuration.
    pub fn accept_tls(tcp: TcpStream, tls: &Arc<ServerTls>) -> Result<Self, Failure> {
        Ok(Self::tls(Rc::new(TlsStream::new(tcp, Session::server(tls)?))))
    }
}

impl TlsStream {
    pub(super) fn new(tcp: TcpStream, session: Session) -> Self {
        Self { tcp, session: RefCell::new(session), handshaken: OnceCell::new() }
    }

    pub(in crate::transport) fn from_owned(tcp: TcpStream, owned: OwnedTls) -> Self {
        let OwnedTls { session, handshaken } = owned;
        Self { tcp, session: RefCell::new(session), handshaken }
    }

    pub(in crate::transport) fn into_owned(self) -> (OwnedSocket, OwnedTls) {
        let Self { tcp, session, handshaken } = self;
        (tcp.into_owned(), OwnedTls { session: session.into_inner(), handshaken })
    }

    pub(in crate::transport) fn socket(&self) -> &TcpStream {
        &self.tcp
    }

    /// What the handshake agreed on; none before its end.
    pub fn handshaken(&self) -> Option<&Handshaken> {
        self.handshaken.get().map(|handshaken| &**handshaken)
    }

    /// Shakes hands. Sets no time limit of its own.
    ///
    /// *Cancel safety*: give the connection up.
    ///
    /// # Errors
    /// The connection ended, or TLS can't be agreed on; the other side has been told then.
    pub async fn handshake(&self) -> Result<&Handshaken, Failure> {
        let result = self.shake_hands().await;
        if result.is_err()
            && let Some(alert) = self.take_pending()
        {
            // The reason is known already: whether the alert arrives changes nothing.
            let _sent = self.tcp.send_all(alert).await;
        }
        result?;
        let agreed = self.agreed()?;
        Ok(self.handshaken.get_or_init(|| Box::new(agreed)))
    }

    async fn shake_hands(&self) -> Result<(), Failure> {
        self.session.borrow_mut().begin()?;
        loop {
            // Tickets behind the handshake wait for the response when its request is here: one
            // send less.
            let (is_done, has_request) = {
                let session = self.session.borrow();
                (!session.is_handshaking(), session.has_plain())
            };
            if !(is_done && has_request)
                && let Some(pending) = self.take_pending()
            {
                let (sent, back) = self.tcp.send_all(pending).await;
                sent.map_err(|error| Failure::Closed(Some(error)))?;
                give(back);
            }
            if is_done {
                return Ok(());
            }
            let mut received =
                self.tcp.recv().await.map_err(|error| Failure::Closed(Some(error)))?;
            if received.is_empty() {
                return Err(Failure::Closed(None));
            }
            self.session.borrow_mut().take_in(&mut received)?;
        }
    }

    fn agreed(&self) -> Result<Handshaken, Failure> {
        let session = self.session.borrow();
        let state: &rustls::CommonState = match &session.side {
            Side::Server(connection) => connection,
            Side::Client(connection) => connection,
            Side::Hello(_) => return Err(TlsError::HandshakeNotComplete.into()),
        };
        let is_server = matches!(session.side, Side::Server(_));
        let shown = state.peer_certificates().and_then(|chain| chain.first());
        Ok(Handshaken {
            version: Version::of(state.protocol_version()),
            cipher: cipher_name(state.negotiated_cipher_suite()),
            is_resumed: is_resumed(state.handshake_kind()),
            alpn: state.alpn_protocol().map(Box::from),
            server_name: session.server_name.clone(),
            policy: session.policy,
            client: shown
                .filter(|_| is_server)
                .map(|certificate| Box::new(ClientCertificate::read(certificate))),
        })
    }

    /// Starts a receive, unless there is something to tell without one.
    pub(in crate::transport) fn arm(&self) -> Option<runtime::Recv> {
        (!self.session.borrow().has_news()).then(|| self.tcp.recv())
    }

    /// Waits until there is something to tell; [`received`](Self::received) tells it.
    pub(in crate::transport) fn poll_fill(
        self: &Rc<Self>,
        armed: &mut Option<runtime::Recv>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        while let Some(recv) = armed {
            let result = ready!(Pin::new(recv).poll(cx));
            *armed = None;
            if !self.take_in(result) {
                *armed = Some(self.tcp.recv());
            }
        }
        Poll::Ready(())
    }

    /// Takes in what a receive brought; true when there is something to tell.
    pub(in crate::transport) fn take_in(self: &Rc<Self>, result: io::Result<RecvBuf>) -> bool {
        let mut session = self.session.borrow_mut();
        match result {
            Ok(mut received) if !received.is_empty() => {
                if session.take_in(&mut received).is_err() {
                    drop(session);
                    self.send_alert();
                    return true;
                }
            }
            // Without `close_notify` before it, the end is a cut.
            Ok(_) => session.cut_off(cut()),
            Err(error) => session.cut_off(error),
        }
        session.has_news()
    }

    /// The news: a piece of plaintext, or an empty one at the end.
    pub(in crate::transport) fn received(&self) -> io::Result<Received> {
        self.session.borrow_mut().take_news().map(Received::Owned)
    }

    pub(in crate::transport) async fn recv_lease(
        &self,
        mut lease: Lease,
        offset: usize,
    ) -> (io::Result<usize>, Lease) {
        if offset >= lease.len() {
            return (Err(io::ErrorKind::InvalidInput.into()), lease);
        }
        loop {
            if self.session.borrow().has_news() {
                let result = self.take_news_into(lease.get_mut(offset..).unwrap_or_default());
                return (result, lease);
            }
            let space = lease.len() - offset;
            let filled = match runtime::lease() {
                Some(buffer) => {
                    let space = lease.get_mut(offset..).unwrap_or_default();
                    self.recv_bulk(buffer, space).await
                }
                None => match self.tcp.recv().await {
                    Ok(received) => self.take_in_small(Ok(received)),
                    Err(error) => Err(error),
                },
            };
            debug_assert!(space > 0, "checked above");
            match filled {
                Ok(0) => {}
                filled => return (filled, lease),
            }
        }
    }

    /// One large receive, decrypted into `space`; 0 when there is nothing for it or only news.
    async fn recv_bulk(&self, mut buffer: Lease, space: &mut [u8]) -> io::Result<usize> {
        let front = {
            let session = self.session.borrow();
            session.copy_unfinished(&mut buffer);
            session.unfinished()
        };
        // No more than fits the space once it is decrypted, give or take a record's rest. A
        // receive fills a lease from an offset to its end, so the bytes in front move up.
        let records = space.len().div_ceil(RECORD_BYTES);
        let want = (space.len() + records * RECORD_OVERHEAD_MAX).max(front + 1).min(LEASE_SIZE);
        let start = LEASE_SIZE - want;
        buffer.copy_within(..front, start);
        let (received, mut buffer) = self.tcp.recv_lease(buffer, start + front).await;
        let received = received?;
        let mut session = self.session.borrow_mut();
        if received == 0 {
            session.cut_off(cut());
            return Ok(0);
        }
        let bytes = buffer.get_mut(start..start + front + received).unwrap_or_default();
        match session.take_in_bulk(bytes, space) {
            Ok(filled) => Ok(filled),
            Err(_) => {
                drop(session);
                // What came before the failure is told first, as news.
                Ok(0)
            }
        }
    }

    fn take_in_small(&self, received: io::Result<RecvBuf>) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        let mut received = received?;
        if received.is_empty() {
            session.cut_off(cut());
        } else {
            // A failure is news.
            let _told = session.take_in(&mut received);
        }
        Ok(0)
    }

    fn take_news_into(&self, space: &mut [u8]) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        if session.has_plain() {
            return Ok(session.take_plain(space));
        }
        session.take_news().map(|news| news.len())
    }

    pub(in crate::transport) async fn send_all(&self, buf: SendBuf) -> (io::Result<()>, SendBuf) {
        let len = buf.as_slice().len();
        if len <= SMALL_MAX {
            let result = self.send_small(buf.as_slice()).await;
            return (result, buf);
        }
        let mut lease = runtime::lease();
        let mut done = 0;
        while done < len {
            let most = if lease.is_some() { BATCH } else { RECORD_BYTES };
            let piece = buf.as_slice().get(done..len.min(done + most)).unwrap_or_default();
            let count = piece.len();
            let result = match lease.take() {
                None => self.send_small(piece).await,
                Some(mut out) => {
                    let sealed = self.session.borrow_mut().seal(piece, &mut out);
                    match sealed {
                        Err(error) => Err(io_error(error)),
                        Ok(sealed) => {
                            let (sent, back) = self.tcp.send_all((out, 0..sealed)).await;
                            if let SendBuf::Lease(back, _) = back {
                                lease = Some(back);
                            }
                            sent
                        }
                    }
                }
            };
            if result.is_err() {
                return (result, buf);
            }
            done += count;
        }
        (Ok(()), buf)
    }

    async fn send_small(&self, data: &[u8]) -> io::Result<()> {
        let mut out = bytes::take();
        let sealed = {
            let mut session = self.session.borrow_mut();
            out.resize(session.sealed_len(data.len()), 0);
            session.seal(data, &mut out)
        };
        match sealed {
            Ok(sealed) => out.truncate(sealed),
            Err(error) => {
                bytes::give(out);
                return Err(io_error(error));
            }
        }
        let (sent, back) = self.tcp.send_all(out).await;
        give(back);
        sent
    }

    pub(in crate::transport) async fn shutdown_write(&self) -> io::Result<()> {
        self.close_notify().await;
        self.tcp.shutdown_write()
    }

    /// Says that no more is sent, once. Whether it arrives isn't known.
    pub(in crate::transport) async fn close_notify(&self) {
        let mut out = bytes::take();
        let said = {
            let mut session = self.session.borrow_mut();
            out.resize(session.sealed_len(0), 0);
            session.say_goodbye(&mut out).unwrap_or(0)
        };
        out.truncate(said);
        let (_sent, back) = self.tcp.send_all(out).await;
        give(back);
    }

    fn take_pending(&self) -> Option<Vec<u8>> {
        self.session.borrow_mut().take_pending()
    }

    /// Tells the other side what is wrong, if nothing is being sent.
    fn send_alert(self: &Rc<Self>) {
        if self.tcp.is_sending() {
            return;
        }
        if let Some(alert) = self.take_pending() {
            let stream = Rc::clone(self);
            let _detached = spawn(async move {
                let _sent = stream.tcp.send_all(alert).await;
            });
        }
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}

fn give(back: SendBuf) {
    if let SendBuf::Vec(bytes) = back {
        bytes::give(bytes);
    }
}

/// Up to this much is sealed in a vector; above it in a lease, which needs no zeroing.
const SMALL_MAX: usize = 2 * RECORD_BYTES;
/// Plaintext that is sealed before it is sent: as much as stays in the cache beside its records.
const BATCH: usize = 128 * 1024;
const _: () = assert!(BATCH + BATCH / RECORD_BYTES * RECORD_OVERHEAD_MAX < LEASE_SIZE);
