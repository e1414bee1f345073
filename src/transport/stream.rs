//! A connected byte stream, plain or encrypted, as upstream pools lend it and exchanges use it.

use std::{
    fmt,
    future::Future,
    io,
    net::SocketAddr,
    ops::Deref,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use crate::{
    runtime::{self, Lease, OwnedSocket, PooledFuture, RecvBuf, SendBuf, TcpStream},
    transport::tls::{Handshaken, OwnedTls, TlsStream},
};

/// A connected byte stream. All methods take `&self`; at most one receive and one send are in
/// flight at a time. Dropping closes the connection, without a `close_notify` when it is encrypted:
/// [`end`](Self::end) it first when what was sent is whole.
pub struct Stream(Kind);

enum Kind {
    Plain(TcpStream),
    Tls(Rc<TlsStream>),
}

impl Stream {
    pub(super) fn tls(tls: Rc<TlsStream>) -> Self {
        Self(Kind::Tls(tls))
    }

    /// Starts a receive *now* and returns its future: it may be parked un-awaited, and then holds
    /// no buffer. Result: a non-empty piece, or an empty one at the end of the stream. A TLS
    /// connection that ends without `close_notify` has been cut (RFC 8446 §6.1): that is an
    /// `UnexpectedEof`, not an end.
    ///
    /// *Cancel safety*: as [`TcpStream::recv`].
    #[inline]
    pub fn recv(&self) -> Recv {
        match &self.0 {
            Kind::Plain(tcp) => Recv(RecvKind::Plain(tcp.recv())),
            Kind::Tls(tls) => Recv(RecvKind::Tls(Rc::clone(tls), tls.arm())),
        }
    }

    /// Receives into a lease from `offset` on; 0 bytes means end of stream. One receive at a time.
    ///
    /// *Cancel safety*: as [`TcpStream::recv_lease`].
    ///
    /// # Errors
    /// Those of `recv(2)`; `InvalidInput` when `offset` leaves no room; what TLS finds wrong.
    pub async fn recv_lease(&self, lease: Lease, offset: usize) -> (io::Result<usize>, Lease) {
        match &self.0 {
            Kind::Plain(tcp) => tcp.recv_lease(lease, offset).await,
            Kind::Tls(tls) => tls.recv_lease(lease, offset).await,
        }
    }

    /// Starts to send everything and returns the future of its end. One send at a time. Gives the
    /// buffer back for reuse.
    ///
    /// *Cancel safety*: dropping the future cancels the send somewhere in the middle; give the
    /// connection up.
    ///
    /// # Errors
    /// Those of `send(2)`.
    #[inline]
    pub fn send_all(&self, buf: impl Into<SendBuf>) -> Sending<'_> {
        Sending(match &self.0 {
            Kind::Plain(tcp) => SendingKind::Plain(tcp.send_all(buf)),
            Kind::Tls(tls) => SendingKind::Tls(PooledFuture::new(tls.send_all(buf.into()))),
        })
    }

    /// Bytes that the kernel has taken so far, as a measure of progress for write timeouts.
    pub fn sent_bytes(&self) -> u64 {
        self.socket().sent_bytes()
    }

    /// Sends the end of the stream (TLS: `close_notify`, then FIN) after everything sent before.
    /// Call it with no send in flight.
    ///
    /// # Errors
    /// Those of `shutdown(2)` and `send(2)`.
    pub async fn shutdown_write(&self) -> io::Result<()> {
        match &self.0 {
            Kind::Plain(tcp) => tcp.shutdown_write(),
            Kind::Tls(tls) => tls.shutdown_write().await,
        }
    }

    /// Says that what was sent is whole, as far as its kind can: TLS sends `close_notify`, a plain
    /// stream needs nothing. Drop it afterwards. Call it with no send in flight.
    pub async fn end(&self) {
        if let Kind::Tls(tls) = &self.0 {
            tls.close_notify().await;
        }
    }

    /// Makes the close that follows a reset: what the other side must not take for a finished body.
    pub fn reset_on_close(&self) {
        self.socket().reset_on_close();
    }

    /// The address of the other side.
    ///
    /// # Errors
    /// Those of `getpeername(2)`.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket().peer_addr()
    }

    /// The address of this side.
    ///
    /// # Errors
    /// Those of `getsockname(2)`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket().local_addr()
    }

    /// The socket, when its bytes are the stream's bytes: what [`splice`](runtime::splice()) needs.
    pub fn as_plain(&self) -> Option<&TcpStream> {
        match &self.0 {
            Kind::Plain(tcp) => Some(tcp),
            Kind::Tls(_) => None,
        }
    }

    /// Whether bytes may be moved without entering user space.
    pub fn can_splice(&self) -> bool {
        self.as_plain().is_some_and(TcpStream::can_splice)
    }

    /// Whether it is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self.0, Kind::Tls(_))
    }

    /// What the handshake agreed on; none for a plain stream, and before the handshake.
    pub fn handshaken(&self) -> Option<&Handshaken> {
        match &self.0 {
            Kind::Plain(_) => None,
            Kind::Tls(tls) => tls.handshaken(),
        }
    }

    /// The session, of an encrypted stream.
    pub fn as_tls(&self) -> Option<&TlsStream> {
        match &self.0 {
            Kind::Plain(_) => None,
            Kind::Tls(tls) => Some(tls),
        }
    }

    /// Detaches the connection from this shard, to move it to another one. No operation may be in
    /// flight and no receive parked: otherwise the connection is closed, and the result is a closed
    /// one.
    pub fn into_owned(self) -> OwnedStream {
        match self.0 {
            Kind::Plain(tcp) => OwnedStream { socket: tcp.into_owned(), tls: None },
            Kind::Tls(tls) => match Rc::try_unwrap(tls) {
                Ok(tls) => {
                    let (socket, tls) = tls.into_owned();
                    OwnedStream { socket, tls: Some(Box::new(tls)) }
                }
                Err(_) => {
                    tracing::error!("a TLS connection in use can't move to another shard");
                    OwnedStream { socket: OwnedSocket::closed(), tls: None }
                }
            },
        }
    }

    /// Attaches a detached connection to this shard. A closed one gives a stream on which every
    /// operation fails.
    pub fn from_owned(owned: OwnedStream) -> Self {
        let OwnedStream { socket, tls } = owned;
        let tcp = TcpStream::from_owned(socket);
        match tls {
            None => tcp.into(),
            Some(tls) => Self::tls(Rc::new(TlsStream::from_owned(tcp, *tls))),
        }
    }

    #[inline]
    fn socket(&self) -> &TcpStream {
        match &self.0 {
            Kind::Plain(tcp) => tcp,
            Kind::Tls(tls) => tls.socket(),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Self {
        Self(Kind::Plain(tcp))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Plain(tcp) => tcp.fmt(f),
            Kind::Tls(tls) => tls.fmt(f),
        }
    }
}

/// A connection that belongs to no shard: `Send`. Dropping closes it.
#[derive(Debug)]
pub struct OwnedStream {
    socket: OwnedSocket,
    tls: Option<Box<OwnedTls>>,
}

/// A started receive; see [`Stream::recv`]. Dropping it cancels it.
#[derive(Debug)]
#[must_use = "dropping a receive cancels it"]
pub struct Recv(RecvKind);

#[derive(Debug)]
enum RecvKind {
    Plain(runtime::Recv),
    /// Nothing is armed while the session has something to tell without it.
    Tls(Rc<TlsStream>, Option<runtime::Recv>),
}

impl Recv {
    /// Whether data, end of stream or an error has arrived. TLS messages that carry none of these
    /// (session tickets, key updates) are taken note of, and the receive goes on.
    pub fn is_ready(&mut self) -> bool {
        match &mut self.0 {
            RecvKind::Plain(recv) => recv.is_ready(),
            RecvKind::Tls(tls, armed) => {
                while armed.as_ref().is_some_and(runtime::Recv::is_ready) {
                    let mut cx = Context::from_waker(Waker::noop());
                    if tls.poll_fill(armed, &mut cx).is_ready() {
                        return true;
                    }
                }
                armed.is_none()
            }
        }
    }

    /// Cancels and waits for the end: `Ok(None)` if nothing had been received, an empty piece if
    /// the stream had ended.
    ///
    /// # Errors
    /// What the receive met before it could be cancelled.
    pub async fn cancel(self) -> io::Result<Option<Received>> {
        match self.0 {
            RecvKind::Plain(recv) => Ok(recv.cancel().await?.map(Received::from)),
            RecvKind::Tls(tls, armed) => {
                if let Some(armed) = armed {
                    match armed.cancel().await? {
                        None => return Ok(None),
                        Some(buf) => {
                            if !tls.take_in(Ok(buf)) {
                                return Ok(None);
                            }
                        }
                    }
                }
                tls.received().map(Some)
            }
        }
    }
}

impl Future for Recv {
    type Output = io::Result<Received>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            RecvKind::Plain(recv) => Pin::new(recv).poll(cx).map_ok(Received::from),
            RecvKind::Tls(tls, armed) => tls.poll_fill(armed, cx).map(|()| tls.received()),
        }
    }
}

/// A started send; see [`Stream::send_all`].
#[derive(Debug)]
#[must_use = "dropping a send cancels it"]
pub struct Sending<'s>(SendingKind<'s>);

#[derive(Debug)]
enum SendingKind<'s> {
    Plain(runtime::Sending),
    Tls(PooledFuture<'s, (io::Result<()>, SendBuf)>),
}

impl Future for Sending<'_> {
    type Output = (io::Result<()>, SendBuf);

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            SendingKind::Plain(sending) => Pin::new(sending).poll(cx),
            SendingKind::Tls(sending) => Pin::new(sending).poll(cx),
        }
    }
}

/// A received piece of a stream. Derefs to its bytes; empty means end of stream.
#[derive(Debug)]
pub enum Received {
    /// In a buffer of the shard's ring.
    Ring(RecvBuf),
    /// Decrypted, in a vector.
    Owned(Vec<u8>),
}

impl From<RecvBuf> for Received {
    #[inline]
    fn from(buf: RecvBuf) -> Self {
        Self::Ring(buf)
    }
}

impl Deref for Received {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Ring(buf) => buf,
            Self::Owned(bytes) => bytes,
        }
    }
}
