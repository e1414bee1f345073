//! Stream sockets, TCP or Unix: what the layers above hold. The work is done in `op`, one file per operation.

use std::{
    fmt, io,
    marker::PhantomData,
    net::SocketAddr,
    os::fd::{IntoRawFd, OwnedFd, RawFd},
    rc::Rc,
};

use socket2::Socket;

use crate::runtime::{
    Lease, Recv, SendBuf, Sending,
    op::{
        accept::{self, AcceptQueue},
        connect,
        poll::{self, Interest},
        recv, recv_into, send,
    },
    shard::{self, Shard},
    slab::NONE,
    sys,
};

/// How to listen.
#[derive(Debug, Clone)]
pub struct ListenOptions {
    /// Connections that the kernel keeps until they are accepted; capped by `net.core.somaxconn`.
    /// Default: 4096.
    pub backlog: u32,
    /// Lets every shard listen on the same address (SO_REUSEPORT); the kernel spreads connections
    /// over them. Default: on.
    pub reuse_port: bool,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { backlog: 4096, reuse_port: true }
    }
}

/// A listening socket (SO_REUSEADDR, SO_REUSEPORT as asked, TCP_NODELAY inherited, IPV6_V6ONLY).
/// Closing is dropping; connections that were not accepted yet are reset then (see
/// [`stop`](Self::stop)).
pub struct TcpListener {
    socket: u32,
    queue: Rc<AcceptQueue>,
}

impl TcpListener {
    /// Binds and listens.
    ///
    /// # Errors
    /// Those of `socket(2)`, `bind(2)` and `listen(2)`.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn bind(address: SocketAddr, options: &ListenOptions) -> io::Result<Self> {
        shard::with(|shard| {
            let fd = shard.driver.borrow_mut().listen(address, options)?;
            Ok(Self::adopt(shard, fd))
        })
    }

    /// Takes over a bound and listening socket, TCP or Unix, bound elsewhere.
    ///
    /// # Errors
    /// When it can't be made non-blocking.
    pub fn from_std(listener: impl Into<OwnedFd>) -> io::Result<Self> {
        let socket = Socket::from(listener.into());
        socket.set_nonblocking(true)?;
        Ok(shard::with(|shard| Self::adopt(shard, socket.into_raw_fd())))
    }

    fn adopt(shard: &Shard, fd: RawFd) -> Self {
        Self { socket: shard.add_socket(fd, 0), queue: Rc::default() }
    }

    /// The address it listens on (with the port that the kernel chose for port 0).
    ///
    /// # Errors
    /// Those of `getsockname(2)`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        shard::with(|shard| {
            let fd = fd_of(shard, self.socket)?;
            shard.driver.borrow_mut().local_addr(fd)
        })
    }

    /// Accepts the next connection.
    ///
    /// *Cancel safety*: an accepted connection is never lost; the next call returns it. When
    /// descriptors or memory have run out (EMFILE, ENFILE, ENOBUFS, ENOMEM) it rests for 100 ms
    /// inside. One caller at a time.
    ///
    /// # Errors
    /// Only what makes the listener useless.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        accept::run(self).await
    }

    /// Stops accepting, and returns the connections that were accepted or in the kernel's backlog
    /// but not handed out. Drop the listener afterwards.
    pub async fn stop(&self) -> Vec<(TcpStream, SocketAddr)> {
        accept::stop(self).await
    }

    pub(crate) fn socket(&self) -> u32 {
        self.socket
    }

    pub(crate) fn queue(&self) -> &Rc<AcceptQueue> {
        &self.queue
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        shard::try_with(|shard| {
            self.queue.clear(shard);
            shard.close_socket(self.socket);
        });
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpListener").finish_non_exhaustive()
    }
}

fn fd_of(shard: &Shard, socket: u32) -> io::Result<RawFd> {
    let entry = shard.sockets.get(socket).ok_or(io::ErrorKind::NotConnected)?;
    Ok(entry.fd.get())
}

/// A connected TCP or Unix socket; closing is dropping. All methods take `&self`: share it in an `Rc` to
/// read and write at once. At most one receive and one send are in flight at a time.
pub struct TcpStream {
    socket: u32,
    _not_send: PhantomData<Rc<()>>,
}

impl TcpStream {
    /// Takes a descriptor over.
    pub(crate) fn adopt(shard: &Shard, fd: RawFd, sent: u64) -> Self {
        Self { socket: shard.add_socket(fd, sent), _not_send: PhantomData }
    }

    pub(crate) fn socket(&self) -> u32 {
        self.socket
    }

    /// Connects (TCP_NODELAY set). No time limit of its own: wrap it in [`Timer::guard`].
    /// *Cancel safety*: dropping the future closes the socket.
    ///
    /// # Errors
    /// Those of `connect(2)`.
    ///
    /// [`Timer::guard`]: crate::runtime::Timer::guard
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        connect::run(address, None).await
    }

    /// The same with another address than this machine's as the one that the other side sees
    /// (IP_TRANSPARENT: CAP_NET_ADMIN, and routes that lead the answers here). The port of `from`
    /// isn't kept.
    ///
    /// # Errors
    /// Those of `setsockopt(2)`, `bind(2)` and `connect(2)`.
    pub async fn connect_from(address: SocketAddr, from: SocketAddr) -> io::Result<Self> {
        connect::run(address, Some(from)).await
    }

    /// Connects to the Unix socket at `path`. No time limit of its own: while the queue of whoever
    /// listens there is full it tries again every few milliseconds. Cancel safe.
    ///
    /// # Errors
    /// Those of `socket(2)` and `connect(2)`; `Unsupported` in the simulation.
    pub async fn connect_unix(path: &str) -> io::Result<Self> {
        connect::run_unix(path).await
    }

    /// Starts a receive *now* and returns its future: it may be parked un-awaited (as the watch
    /// over an idle pooled connection), and then holds no buffer. Result: a non-empty buffer, or an
    /// empty one at the end of the stream.
    ///
    /// *Cancel safety*: dropping it loses at most what the kernel had received already, so drop it
    /// only when giving the connection up, or use [`Recv::cancel`].
    pub fn recv(&self) -> Recv {
        shard::with(|shard| recv::start(shard, self.socket))
    }

    /// Receives into a lease from `offset` on; 0 bytes means end of stream. One receive at a time.
    /// *Cancel safety*: as [`recv`](Self::recv); the lease returns to its slab.
    ///
    /// # Errors
    /// Those of `recv(2)`; `InvalidInput` when `offset` leaves no room.
    pub async fn recv_lease(&self, lease: Lease, offset: usize) -> (io::Result<usize>, Lease) {
        let (result, lease) = recv_into::run(self.socket, lease, offset).await;
        (result, lease.unwrap_or_else(Lease::stand_in))
    }

    /// Starts to send everything *now* and returns the future of its end. One send at a time. Gives
    /// the buffer back for reuse.
    /// *Cancel safety*: dropping the future cancels the send somewhere in the middle; give the
    /// connection up.
    ///
    /// # Errors
    /// Those of `send(2)`; EPIPE instead of a signal. `InvalidInput` above 1 GiB.
    #[inline]
    pub fn send_all(&self, buf: impl Into<SendBuf>) -> Sending {
        let buf = buf.into();
        shard::with(|shard| send::start(shard, self.socket, buf))
    }

    /// Bytes that the kernel has taken so far, as a measure of progress for write timeouts: it
    /// grows while a send is in flight. Two system calls then, so ask when a deadline comes up,
    /// not per send.
    pub fn sent_bytes(&self) -> u64 {
        shard::with(|shard| {
            let Some(entry) = shard.sockets.get(self.socket) else { return 0 };
            let reported = entry.sent.get();
            if entry.send.get() == NONE {
                return reported;
            }
            let taken = shard.driver.borrow().bytes_taken(entry.fd.get());
            taken.map_or(reported, |taken| taken.max(reported))
        })
    }

    /// Whether a send is in flight.
    pub fn is_sending(&self) -> bool {
        shard::with(|shard| {
            shard.sockets.get(self.socket).is_some_and(|entry| entry.send.get() != NONE)
        })
    }

    /// Waits until something can be read, or the stream has ended or failed. Cancel safe.
    ///
    /// # Errors
    /// `ECANCELED` when the stream is dropped meanwhile.
    pub async fn readable(&self) -> io::Result<()> {
        poll::run(self.socket, Interest::Read).await
    }

    /// Waits until there is room to send, or the connection has failed. Cancel safe.
    ///
    /// # Errors
    /// `ECANCELED` when the stream is dropped meanwhile.
    pub async fn writable(&self) -> io::Result<()> {
        poll::run(self.socket, Interest::Write).await
    }

    /// Sends FIN after everything sent before. Call it with no send in flight.
    ///
    /// # Errors
    /// Those of `shutdown(2)`.
    pub fn shutdown_write(&self) -> io::Result<()> {
        // The system call, not the ring's operation: that one always goes to a worker thread and
        // looks the descriptor up there, when it may be another connection's already.
        shard::with(|shard| {
            let fd = fd_of(shard, self.socket)?;
            shard.driver.borrow_mut().shutdown_write(fd)
        })
    }

    /// Makes the close that follows a reset (SO_LINGER 0): what the other side must not take for a
    /// finished body.
    pub fn reset_on_close(&self) {
        shard::with(|shard| {
            if let Ok(fd) = fd_of(shard, self.socket)
                && let Err(error) = shard.driver.borrow_mut().reset_on_close(fd)
            {
                tracing::debug!(%error, "SO_LINGER was refused");
            }
        });
    }

    /// The address of the other side; [`UNIX_CLIENT`](crate::base::address::UNIX_CLIENT) and port
    /// 0 for a Unix socket.
    ///
    /// # Errors
    /// Those of `getpeername(2)`.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        shard::with(|shard| {
            let fd = fd_of(shard, self.socket)?;
            shard.driver.borrow_mut().peer_addr(fd)
        })
    }

    /// The address of this side.
    ///
    /// # Errors
    /// Those of `getsockname(2)`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        shard::with(|shard| {
            let fd = fd_of(shard, self.socket)?;
            shard.driver.borrow_mut().local_addr(fd)
        })
    }

    /// Detaches the socket from this shard, to move the connection to another one. No operation
    /// may be in flight: otherwise the connection is closed, and the result is a closed socket.
    pub fn into_owned(self) -> OwnedSocket {
        let released = shard::with(|shard| shard.release_socket(self.socket));
        let Some((fd, sent)) = released else {
            tracing::error!("a connection with an operation in flight can't move to another shard");
            return OwnedSocket::closed();
        };
        // The slot is free: nothing is left for `Drop` to close.
        let this = std::mem::ManuallyDrop::new(self);
        debug_assert!(this.socket != NONE, "a stream names its socket");
        OwnedSocket { fd, sent }
    }

    /// Attaches a detached socket to this shard.
    pub fn from_owned(socket: OwnedSocket) -> Self {
        let socket = std::mem::ManuallyDrop::new(socket);
        shard::with(|shard| Self::adopt(shard, socket.fd, socket.sent))
    }

    /// Takes over a connected socket of std.
    ///
    /// # Errors
    /// When it can't be made non-blocking.
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(shard::with(|shard| Self::adopt(shard, stream.into_raw_fd(), 0)))
    }

    /// Whether [`splice`](crate::runtime::splice()) works on this driver and socket.
    pub fn can_splice(&self) -> bool {
        shard::with(|shard| shard.can_splice())
    }
}

impl Drop for TcpStream {
    #[inline]
    fn drop(&mut self) {
        shard::try_with(|shard| shard.close_socket(self.socket));
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpStream").field("socket", &self.socket).finish()
    }
}

/// A socket that belongs to no shard: `Send`. Dropping closes it.
#[derive(Debug)]
pub struct OwnedSocket {
    fd: RawFd,
    sent: u64,
}

impl OwnedSocket {
    /// None: what a connection that was lost on its way is.
    pub(crate) fn closed() -> Self {
        Self { fd: -1, sent: 0 }
    }
}

impl Drop for OwnedSocket {
    fn drop(&mut self) {
        if self.fd >= 0 {
            // A simulated socket is closed by its driver, a real one by anybody.
            let closed = shard::try_with(|shard| shard.driver.borrow_mut().close(self.fd));
            if closed.is_none() {
                sys::close(self.fd);
            }
        }
    }
}
