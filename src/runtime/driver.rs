//! The driver seam: what a shard asks of the kernel, or of something that plays its part.
//!
//! ```text
//!            submit(token, fd, Op) ─▶ ┌────────┐
//!            cancel(token)         ─▶ │ Driver │ ─▶ Completion { token, result, flags }
//!            turn(wait)            ─▶ └────────┘      exactly one per operation that isn't marked
//!                                                     MORE, also after a cancel
//! ```
//!
//! Completion style: an operation is handed over whole, its buffer belongs to the driver until the
//! final completion, and nothing completes outside `turn`. Three drivers stand behind it: `ring`
//! (io_uring), `epoll`, and `sim`. Everything above (operations, sockets, tasks, timers) is the
//! same for all of them, which is what makes each a test oracle for the others.

use std::{io, net::SocketAddr, os::fd::RawFd, time::Duration};

#[cfg(any(test, feature = "sim"))]
use crate::runtime::sim::Sim;
use crate::runtime::{
    DriverKind, ListenOptions, buffers::Pool, epoll::Epoll, look::Look, ring::Ring, sys,
    sys::SocketAddress,
};

/// What an operation is, kept in the token so that a completion can be dispatched by it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Nobody waits for it: cancels and closes.
    Ignored = 0,
    Recv = 1,
    RecvInto = 2,
    Send = 3,
    Connect = 4,
    Accept = 5,
    Poll = 6,
    Doorbell = 7,
}

impl Kind {
    fn from_bits(bits: u8) -> Self {
        match bits {
            1 => Self::Recv,
            2 => Self::RecvInto,
            3 => Self::Send,
            4 => Self::Connect,
            5 => Self::Accept,
            6 => Self::Poll,
            7 => Self::Doorbell,
            _ => Self::Ignored,
        }
    }
}

/// An operation's name: kind (8 bits), generation (24), slot (32). It is the ring's `user_data`.
/// The generation keeps a late completion from hitting the slot's next occupant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token(pub(crate) u64);

/// Generations wrap at 24 bits.
pub(crate) const GENERATION_MASK: u32 = (1 << 24) - 1;

impl Token {
    /// The token of cancels and closes.
    pub(crate) const IGNORED: Self = Self(0);

    #[inline]
    pub(crate) fn new(kind: Kind, generation: u32, slot: u32) -> Self {
        let head = (kind as u64) << 56 | u64::from(generation & GENERATION_MASK) << 32;
        Self(head | u64::from(slot))
    }

    #[inline]
    pub(crate) fn kind(self) -> Kind {
        Kind::from_bits(self.0.to_be_bytes()[0])
    }

    #[inline]
    pub(crate) fn generation(self) -> u32 {
        let [_, a, b, c, ..] = self.0.to_be_bytes();
        u32::from_be_bytes([0, a, b, c])
    }

    #[inline]
    pub(crate) fn slot(self) -> u32 {
        let [.., a, b, c, d] = self.0.to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }
}

/// One operation. Pointers stay valid until its final completion: the op slot owns what they
/// point to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    /// Receive into a buffer that the driver takes from the pool when data is there.
    Recv,
    /// Receive into memory of the caller.
    RecvInto { to: *mut u8, len: u32 },
    /// Send all of it; a driver may still complete short.
    Send { from: *const u8, len: u32 },
    /// Connect; the address lives in the op slot.
    Connect { address: *const SocketAddress },
    /// Accept again and again: completions are marked MORE until the last one.
    Accept,
    /// Wait until the socket can be read.
    PollRead,
    /// Wait until the socket can be written.
    PollWrite,
    /// Read the eight bytes of the shard's eventfd.
    Doorbell { to: *mut u64 },
}

/// The outcome of an operation: `result` is what the system call would return, or `-errno`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Completion {
    pub(crate) token: Token,
    pub(crate) result: i32,
    pub(crate) flags: u32,
}

/// More completions of this operation follow (`IORING_CQE_F_MORE`).
pub(crate) const MORE: u32 = 1 << 1;
/// A pooled buffer was filled; its id is in the upper 16 bits (`IORING_CQE_F_BUFFER`).
const BUFFER: u32 = 1;
const BUFFER_SHIFT: u32 = 16;

impl Completion {
    /// Whether this is the operation's last completion.
    #[inline]
    pub(crate) fn is_final(&self) -> bool {
        self.flags & MORE == 0
    }

    /// The pooled buffer that came with it.
    #[inline]
    pub(crate) fn buffer(&self) -> Option<u16> {
        if self.flags & BUFFER == 0 {
            return None;
        }
        u16::try_from(self.flags >> BUFFER_SHIFT).ok()
    }

    /// Flags that carry buffer `id`.
    pub(crate) fn buffer_flags(id: u16) -> u32 {
        BUFFER | u32::from(id) << BUFFER_SHIFT
    }
}

/// How long a turn may wait for the first completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all: tasks are ready.
    No,
    /// Until the next timer.
    For(Duration),
    /// Until something completes.
    Forever,
}

/// The driver of a shard. One match per call, so that each arm inlines.
pub(crate) enum Driver {
    Ring(Box<Ring>),
    Epoll(Box<Epoll>),
    #[cfg(any(test, feature = "sim"))]
    Sim(Box<Sim>),
}

/// Calls the same method on whichever driver it is.
macro_rules! each {
    ($driver:expr, $d:ident => $call:expr) => {
        match $driver {
            Driver::Ring($d) => $call,
            Driver::Epoll($d) => $call,
            #[cfg(any(test, feature = "sim"))]
            Driver::Sim($d) => $call,
        }
    };
}

impl Driver {
    pub(crate) fn kind(&self) -> DriverKind {
        match self {
            Self::Ring(_) => DriverKind::IoUring,
            Self::Epoll(_) => DriverKind::Epoll,
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(_) => DriverKind::Sim,
        }
    }

    /// Hands an operation over. Never fails: what goes wrong is its completion.
    #[inline]
    pub(crate) fn submit(&mut self, pool: &Pool, token: Token, fd: RawFd, op: Op) {
        each!(self, d => d.submit(pool, token, fd, op));
    }

    /// Asks for an early end. The operation still completes once: with `-ECANCELED`, or with what
    /// had happened before.
    pub(crate) fn cancel(&mut self, token: Token, fd: RawFd) {
        each!(self, d => d.cancel(token, fd));
    }

    /// Asks for an early end of everything in flight on `fd`.
    pub(crate) fn cancel_all(&mut self, fd: RawFd) {
        each!(self, d => d.cancel_all(fd));
    }

    /// Submits what is queued, waits at most `wait`, and appends completions to `out`.
    #[inline]
    pub(crate) fn turn(&mut self, pool: &Pool, wait: Wait, out: &mut Vec<Completion>) {
        each!(self, d => d.turn(pool, wait, out));
    }

    /// A pooled buffer is free again.
    #[inline]
    pub(crate) fn recycle(&mut self, pool: &Pool, buffer: u16) {
        each!(self, d => d.recycle(pool, buffer));
    }

    /// Closes a descriptor that has no operation in flight.
    pub(crate) fn close(&mut self, fd: RawFd) {
        each!(self, d => d.close(fd));
    }

    /// Tells the driver that a descriptor moves elsewhere (another shard): it forgets about it.
    pub(crate) fn release(&mut self, fd: RawFd) {
        match self {
            Self::Ring(ring) => ring.release(fd),
            Self::Epoll(epoll) => epoll.release(fd),
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(_) => {}
        }
    }

    /// Descriptors that the ring has registered.
    #[cfg(test)]
    pub(crate) fn registered(&self) -> usize {
        match self {
            Self::Ring(ring) => ring.registered(),
            _ => 0,
        }
    }

    /// Completion queue overflows seen so far.
    pub(crate) fn overflows(&self) -> u64 {
        match self {
            Self::Ring(ring) => ring.overflows(),
            _ => 0,
        }
    }

    /// The simulated network, if that is what runs.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn sim(&mut self) -> Option<&mut Sim> {
        match self {
            Self::Sim(sim) => Some(sim),
            _ => None,
        }
    }
}

/// Socket calls that complete at once. The simulation answers them itself; the real drivers share
/// the kernel's.
#[cfg_attr(
    not(any(test, feature = "sim")),
    expect(clippy::needless_pass_by_ref_mut, reason = "the simulation needs it")
)]
impl Driver {
    /// A bound and listening socket.
    pub(crate) fn listen(&mut self, at: SocketAddr, options: &ListenOptions) -> io::Result<RawFd> {
        match self {
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(sim) => sim.listen(at, options),
            _ => sys::listen(at, options),
        }
    }

    /// A socket fit to connect to `to`, which shows `from` if that is given.
    pub(crate) fn socket(&mut self, to: SocketAddr, from: Option<SocketAddr>) -> io::Result<RawFd> {
        match self {
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(sim) => sim.socket(to),
            _ => sys::socket(to, from),
        }
    }

    /// A socket that is connected to the Unix socket at `path`.
    pub(crate) fn connect_unix(&self, path: &str) -> io::Result<RawFd> {
        match self {
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(_) => Err(io::ErrorKind::Unsupported.into()),
            _ => sys::connect_unix(path),
        }
    }

    /// Sends FIN after what was sent before.
    pub(crate) fn shutdown_write(&mut self, fd: RawFd) -> io::Result<()> {
        match self {
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(sim) => sim.shutdown_write(fd),
            _ => sys::shutdown_write(fd),
        }
    }

    /// Makes the close a reset.
    pub(crate) fn reset_on_close(&mut self, fd: RawFd) -> io::Result<()> {
        match self {
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(sim) => sim.reset_on_close(fd),
            _ => sys::reset_on_close(fd),
        }
    }

    pub(crate) fn peer_addr(&mut self, fd: RawFd) -> io::Result<SocketAddr> {
        match self {
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(sim) => sim.peer_addr(fd),
            _ => sys::peer_addr(fd),
        }
    }

    pub(crate) fn local_addr(&mut self, fd: RawFd) -> io::Result<SocketAddr> {
        match self {
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(sim) => sim.local_addr(fd),
            _ => sys::local_addr(fd),
        }
    }

    /// Accepts one connection that is waiting already, or `None`.
    pub(crate) fn accept_now(&mut self, fd: RawFd) -> io::Result<Option<RawFd>> {
        match self {
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(sim) => sim.accept_now(fd),
            _ => sys::accept_now(fd),
        }
    }

    /// Reads what is there, taking it or not.
    pub(crate) fn look(&self, fd: RawFd, buf: &mut [u8], look: Look) -> io::Result<usize> {
        match self {
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(_) => Err(io::ErrorKind::Unsupported.into()),
            _ => sys::look(fd, buf, look),
        }
    }

    /// Lets the socket count as readable only when `count` bytes are there.
    /// Whether nothing will come behind what is there.
    pub(crate) fn has_ended(&self, fd: RawFd) -> bool {
        match self {
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(_) => false,
            _ => sys::has_ended(fd),
        }
    }

    pub(crate) fn set_low_water(&self, fd: RawFd, count: usize) -> io::Result<()> {
        match self {
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(_) => Err(io::ErrorKind::Unsupported.into()),
            _ => sys::set_option(
                fd,
                libc::SOL_SOCKET,
                libc::SO_RCVLOWAT,
                i32::try_from(count).unwrap_or(i32::MAX),
            ),
        }
    }

    /// Bytes that the kernel has taken for sending so far, where it can tell.
    pub(crate) fn bytes_taken(&self, fd: RawFd) -> Option<u64> {
        match self {
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(sim) => sim.bytes_taken(fd),
            _ => sys::bytes_taken(fd),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gives_back_what_it_was_made_of() {
        for kind in [Kind::Ignored, Kind::Recv, Kind::Accept, Kind::Poll, Kind::Doorbell] {
            let token = Token::new(kind, 0x00ab_cdef, 0x1234_5678);
            assert_eq!(token.kind(), kind);
            assert_eq!(token.generation(), 0x00ab_cdef);
            assert_eq!(token.slot(), 0x1234_5678);
        }
    }

    #[test]
    fn a_completion_names_its_buffer() {
        let flags = Completion::buffer_flags(513) | MORE;
        let completion = Completion { token: Token::IGNORED, result: 1, flags };
        assert_eq!(completion.buffer(), Some(513));
        assert!(!completion.is_final());
        assert_eq!(Completion { flags: 0, ..completion }.buffer(), None);
    }
}
