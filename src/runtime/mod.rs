//! One thread's io_uring runtime: the only door to the kernel. It has never heard of HTTP.
//!
//! Interface stub: bodies are being written.
#![allow(missing_docs, unused_variables, clippy::todo, clippy::allow_attributes, clippy::allow_attributes_without_reason)]
use std::{
    future::Future,
    io,
    marker::PhantomData,
    net::SocketAddr,
    ops::{Deref, DerefMut},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// What the operator asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverChoice { Auto, IoUring, Epoll }
/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverKind { IoUring, Epoll, Sim }

#[derive(Debug, Clone)]
pub struct Options { pub driver: DriverChoice, pub ring_entries: u32, pub buffer_count: u16, pub buffer_size: u32, /// Bytes of 256 KiB lease buffers at most.
 pub lease_bytes_max: usize }
impl Default for Options { fn default() -> Self { todo!() } }

/// Why no runtime could be had, with what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

pub struct Runtime(PhantomData<*mut ()>);
impl Runtime {
    pub fn new(options: &Options) -> Result<Self, StartError> { todo!() }
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T { todo!() }
    pub fn driver(&self) -> DriverKind { todo!() }
    /// Why `driver` won: "io_uring: all features", "io_uring forbidden by kernel.io_uring_disabled=2", ...
    pub fn driver_reason(&self) -> &str { todo!() }
}

/// Counters of this thread's runtime, read by the shard and published as metrics.
#[derive(Debug, Default, Clone, Copy)]
pub struct Usage { pub turns: u64, pub busy: Duration, pub buffers_in_use: u32, pub leases_in_use: u32, pub ops_in_flight: u32, pub tasks: u32, pub buffer_waits: u64, pub cq_overflows: u64 }
pub fn usage() -> Usage { todo!() }

/// Starts a task on this thread. Dropping the handle detaches the task.
pub fn spawn(future: impl Future<Output = ()> + 'static) -> Task { todo!() }
#[derive(Debug)]
pub struct Task(());
impl Task {
    /// Drops the task's future at once (not when called from within that task: then at its next await).
    pub fn abort(&self) {}
    pub fn is_finished(&self) -> bool { todo!() }
}

/// The turn's time: read from the clock once per loop turn.
pub fn now() -> Instant { todo!() }
/// Wall clock of the turn (for logs and Date).
pub fn wall_now() -> std::time::SystemTime { todo!() }
pub async fn sleep(duration: Duration) { todo!() }
pub async fn sleep_until(at: Instant) { todo!() }
pub async fn yield_now() { todo!() }

/// A deadline that costs one store to move and nothing while it waits (hashed wheel, 10 ms ticks, lazy).
/// Not yet registered with the wheel until first set. One waiter at a time.
#[derive(Debug)]
pub struct Timer(PhantomData<Rc<()>>);
impl Timer {
    pub fn new() -> Self { todo!() }
    pub fn set(&self, at: Instant) { todo!() }
    pub fn clear(&self) { todo!() }
    pub fn is_expired(&self) -> bool { todo!() }
    pub fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<()> { todo!() }
    /// Runs `future` until it ends or the timer expires.
    pub async fn guard<T>(&self, future: impl Future<Output = T>) -> Result<T, Expired> { todo!() }
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired;

/// A received piece: a leased 16 KiB ring buffer; recycled on drop. `advance` drops bytes at the front.
#[derive(Debug)]
pub struct RecvBuf(PhantomData<Rc<()>>);
impl RecvBuf {
    pub fn advance(&mut self, n: usize) { todo!() }
    pub fn truncate(&mut self, n: usize) { todo!() }
}
impl Deref for RecvBuf { type Target = [u8]; fn deref(&self) -> &[u8] { todo!() } }

/// A 256 KiB hot buffer of the shard's LIFO slab.
#[derive(Debug)]
pub struct Lease(PhantomData<Rc<()>>);
/// None when `lease_bytes_max` are out: fall back to `recv()`.
pub fn lease() -> Option<Lease> { todo!() }
impl Deref for Lease { type Target = [u8]; fn deref(&self) -> &[u8] { todo!() } }
impl DerefMut for Lease { fn deref_mut(&mut self) -> &mut [u8] { todo!() } }

/// What `send_all` takes and gives back. (More variants may come: `From` impls exist for each payload.)
#[derive(Debug)]
pub enum SendBuf { Vec(Vec<u8>), Recv(RecvBuf), Lease(Lease, std::ops::Range<usize>), Bytes(bytes::Bytes), Static(&'static [u8]) }

#[derive(Debug, Clone)]
pub struct ListenOptions { pub backlog: u32, pub reuse_port: bool }

/// A listening socket (SO_REUSEPORT, SO_REUSEADDR, TCP_NODELAY inherited, IPV6_V6ONLY).
#[derive(Debug)]
pub struct TcpListener(PhantomData<Rc<()>>);
impl TcpListener {
    pub fn bind(address: SocketAddr, options: &ListenOptions) -> io::Result<Self> { todo!() }
    /// Takes over a bound std listener (hand-over across reloads and upgrades).
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> { todo!() }
    pub fn local_addr(&self) -> io::Result<SocketAddr> { todo!() }
    /// Cancel safe: an accepted connection is never lost. EMFILE/ENFILE back off inside with a timer.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> { todo!() }
}

/// A connected TCP socket; closing is dropping. All methods take `&self`: share it in an `Rc` to read and write at once.
#[derive(Debug)]
pub struct TcpStream(PhantomData<Rc<()>>);
impl TcpStream {
    pub async fn connect(address: SocketAddr) -> io::Result<Self> { todo!() }
    /// Starts a receive *now* and returns its future: may be parked un-awaited (pool idle watch).
    /// Result: a non-empty buffer, or an empty one at end of stream. Dropping it loses at most what the kernel
    /// had already received (so drop only when giving the connection up, or use `Recv::cancel`).
    pub fn recv(&self) -> Recv { todo!() }
    /// Receives into a lease at `offset`. One receive at a time per stream.
    pub async fn recv_lease(&self, lease: Lease, offset: usize) -> (io::Result<usize>, Lease) { todo!() }
    /// Sends everything, or fails. One send at a time per stream. Gives the buffer back for reuse.
    pub async fn send_all(&self, buf: impl Into<SendBuf>) -> (io::Result<()>, SendBuf) { todo!() }
    /// Bytes of this and earlier sends that the kernel has taken (progress for write timeouts).
    pub fn sent_bytes(&self) -> u64 { todo!() }
    pub async fn readable(&self) -> io::Result<()> { todo!() }
    pub async fn writable(&self) -> io::Result<()> { todo!() }
    pub fn shutdown_write(&self) -> io::Result<()> { todo!() }
    /// Makes the close that follows a reset (SO_LINGER 0): what the other side must not take for a finished body.
    pub fn reset_on_close(&self) { todo!() }
    pub fn peer_addr(&self) -> io::Result<SocketAddr> { todo!() }
    pub fn local_addr(&self) -> io::Result<SocketAddr> { todo!() }
    /// For moving a connection to another shard: no operation may be in flight.
    pub fn into_owned(self) -> OwnedSocket { todo!() }
    pub fn from_owned(socket: OwnedSocket) -> Self { todo!() }
    /// Whether `splice` works on this driver and socket.
    pub fn can_splice(&self) -> bool { todo!() }
}
/// A socket that belongs to no shard: `Send`. Dropping closes it.
#[derive(Debug)]
pub struct OwnedSocket(std::os::fd::RawFd);

/// A started receive.
#[derive(Debug)]
pub struct Recv(PhantomData<Rc<()>>);
impl Recv {
    /// Whether data, end of stream or an error has arrived (non-blocking look at completed operations).
    pub fn is_ready(&self) -> bool { todo!() }
    /// Cancels and waits: `Ok(None)` if nothing had been received.
    pub async fn cancel(self) -> io::Result<Option<RecvBuf>> { todo!() }
}
impl Future for Recv { type Output = io::Result<RecvBuf>; fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> { todo!() } }

/// Moves exactly `len` bytes from one socket to another through a pooled pipe, never through user space.
/// `progress` gets each step's byte count (for idle deadlines and counters).
pub async fn splice(from: &TcpStream, to: &TcpStream, len: u64, progress: impl FnMut(u64)) -> Result<(), SpliceError> { todo!() }
/// Which side failed, after how many bytes had reached `to`. `Ended` = `from` closed before `len`.
#[derive(Debug)]
pub enum SpliceError { Ended { moved: u64 }, From { error: io::Error, moved: u64 }, To { error: io::Error, moved: u64 } }

/// A boxed future whose memory comes from a per-thread free list by size class: no heap allocation after warm-up.
pub struct PooledFuture<'a, T>(PhantomData<(&'a (), T)>);
impl<'a, T> PooledFuture<'a, T> { pub fn new(future: impl Future<Output = T> + 'a) -> Self { todo!() } }
impl<T> Future for PooledFuture<'_, T> { type Output = T; fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> { todo!() } }

/// Bounded queue into a shard from any thread; wakes it by eventfd behind a pending flag.
pub mod mailbox {
    pub struct Sender<T>(std::marker::PhantomData<T>);
    impl<T> Clone for Sender<T> { fn clone(&self) -> Self { todo!() } }
    pub struct Receiver<T>(std::marker::PhantomData<T>);
    /// Made on any thread; the receiver is moved to its shard and awaited there.
    pub fn channel<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) { todo!() }
    impl<T> Sender<T> { /// Gives the message back when the queue is full or the receiver gone.
        pub fn send(&self, message: T) -> Result<(), T> { todo!() } }
    impl<T> Receiver<T> { /// None when every sender is gone. Cancel safe.
        pub async fn recv(&mut self) -> Option<T> { todo!() } pub fn try_recv(&mut self) -> Option<T> { todo!() } }
}

/// Polls two futures, returns at the first that ends (first argument wins ties).
pub enum Either<A, B> { First(A), Second(B) }
pub async fn race<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> Either<A, B> { todo!() }
