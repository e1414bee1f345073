//! One connection of the generator: sends the request, checks the response to the last byte.
//!
//! ```text
//!   Closed ──open──▶ Idle ──start──▶ Busy ──last byte──▶ Idle
//!     ▲                                │ error, or the connection closes
//!     └────────────────────────────────┘
//! ```
//! Knows nothing of time or rates: the caller starts requests and is told how each ended.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
};

use mio::{Interest, Registry, Token, net::TcpStream};

use crate::wire;

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The connection couldn't be opened, or broke.
    Connection,
    /// A status other than 200.
    Status,
    /// Bytes of the body that aren't those the backend sent, too few or too many.
    Body,
}

/// Everything the connections of a run share.
pub(crate) struct Shared {
    pub(crate) to: SocketAddr,
    pub(crate) request: Vec<u8>,
    /// The body that every response must carry.
    pub(crate) body: Vec<u8>,
    pub(crate) scratch: Vec<u8>,
    /// Each request has a connection of its own; who serves it may not be told so by a relay.
    pub(crate) is_fresh: bool,
}

pub(crate) struct Client {
    token: Token,
    stream: Option<TcpStream>,
    is_busy: bool,
    /// Bytes of the request already sent.
    sent: usize,
    /// The front of a head whose rest hasn't come.
    head: Vec<u8>,
    /// Bytes of the body already received and whether the response closes the connection; `None`
    /// until the head has come.
    body: Option<(usize, bool)>,
}

impl Client {
    pub(crate) fn new(token: Token) -> Self {
        Self { token, stream: None, is_busy: false, sent: 0, head: Vec::new(), body: None }
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Starts a request, on a new connection where there is none.
    pub(crate) fn start(&mut self, registry: &Registry, shared: &Shared) -> Result<(), Failure> {
        self.is_busy = true;
        self.sent = 0;
        if self.stream.is_none() {
            let open = || {
                let mut stream = TcpStream::connect(shared.to)?;
                registry.register(
                    &mut stream,
                    self.token,
                    Interest::READABLE | Interest::WRITABLE,
                )?;
                Ok::<_, io::Error>(stream)
            };
            self.stream = Some(open().map_err(|_| self.fail(Failure::Connection))?);
            // Nothing can be sent yet: the event that says "connected" brings us to `advance`.
            return Ok(());
        }
        self.send(shared)
    }

    /// Does what an event allows. `Some` when the request has ended. `is_closed`: the other side
    /// has closed, so a short read isn't the last one.
    pub(crate) fn advance(
        &mut self,
        shared: &mut Shared,
        is_closed: bool,
    ) -> Option<Result<(), Failure>> {
        if self.is_busy
            && self.sent < shared.request.len()
            && let Err(failure) = self.send(shared)
        {
            return Some(Err(failure));
        }
        loop {
            let stream = self.stream.as_mut()?;
            let n = match stream.read(&mut shared.scratch) {
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => 0,
            };
            if n == 0 {
                let was_busy = self.is_busy;
                let failure = self.fail(Failure::Connection);
                return was_busy.then_some(Err(failure));
            }
            let bytes = std::mem::take(&mut shared.scratch);
            let taken = self.take(&bytes[..n], &shared.body);
            shared.scratch = bytes;
            if shared.is_fresh && matches!(taken, Ok(true)) {
                self.stream = None;
            }
            match taken {
                Ok(false) if n < shared.scratch.len() && !is_closed => return None,
                Ok(false) => {}
                Ok(true) => return Some(Ok(())),
                Err(failure) => return Some(Err(self.fail(failure))),
            }
        }
    }

    /// Closes the connection and forgets the request. Gives `failure` back for the caller to pass on.
    pub(crate) fn fail(&mut self, failure: Failure) -> Failure {
        *self = Self::new(self.token);
        failure
    }

    fn send(&mut self, shared: &Shared) -> Result<(), Failure> {
        let Some(stream) = self.stream.as_mut() else { return Ok(()) };
        match stream.write(&shared.request[self.sent..]) {
            Ok(n) => self.sent += n,
            // Also ENOTCONN: the first event may come before the connection is there.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected
                ) => {}
            Err(_) => return Err(self.fail(Failure::Connection)),
        }
        Ok(())
    }

    /// Checks what has come; true when the response is whole.
    fn take(&mut self, bytes: &[u8], expected: &[u8]) -> Result<bool, Failure> {
        if !self.is_busy {
            return Err(Failure::Body);
        }
        if let Some((at, closes)) = self.body {
            return self.take_body(bytes, at, closes, expected);
        }
        let joined;
        let mut bytes = bytes;
        if !self.head.is_empty() {
            self.head.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.head);
            bytes = &joined;
        }
        let Some(head) = wire::head(bytes) else {
            self.head = bytes.to_vec();
            return Ok(false);
        };
        if head.status != 200 {
            return Err(Failure::Status);
        }
        if head.length != expected.len() as u64 {
            return Err(Failure::Body);
        }
        self.take_body(&bytes[head.bytes..], 0, head.closes, expected)
    }

    fn take_body(
        &mut self,
        bytes: &[u8],
        at: usize,
        closes: bool,
        expected: &[u8],
    ) -> Result<bool, Failure> {
        let end = at + bytes.len();
        if expected.get(at..end) != Some(bytes) {
            return Err(Failure::Body);
        }
        if end < expected.len() {
            self.body = Some((end, closes));
            return Ok(false);
        }
        (self.is_busy, self.body) = (false, None);
        if closes {
            self.stream = None;
        }
        Ok(true)
    }
}
