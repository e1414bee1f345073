//! The sockets of the simulated network, and the calls on them that complete at once.
//!
//! ```text
//!   Fresh ──connect──▶ Stream ◀──arrival── Listener (backlog)
//!     └───────────────── close ─────────────────┘──▶ Closed ──▶ number free again
//! ```
//!
//! Descriptor numbers are reused, the one closed last first, as a kernel does: whatever still uses
//! a stale one meets the next connection. The network itself names sockets by number and
//! generation.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::RawFd,
};

use super::Time;
use crate::runtime::{ListenOptions, slab::NONE};

/// The first descriptor number, far above the kernel's: a simulated descriptor that leaks into a
/// system call fails there.
const FIRST_FD: RawFd = 1 << 24;

/// One socket, for good: it isn't mistaken for a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) index: usize,
    generation: u32,
}

/// What a socket is.
#[derive(Debug, Default)]
pub(super) enum Role {
    #[default]
    Closed,
    Fresh,
    Listener(Listener),
    Stream(Stream),
}

#[derive(Debug)]
pub(super) struct Listener {
    pub(super) backlog: VecDeque<Side>,
    pub(super) backlog_max: usize,
    /// The slot of the accept operation, or NONE.
    pub(super) accept: u32,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) remote: SocketAddr,
    pub(super) other: Side,
    /// No faults by chance.
    pub(super) is_calm: bool,
    /// Received and not read.
    pub(super) inbox: VecDeque<u8>,
    /// Bytes on their way to here.
    pub(super) under_way: usize,
    /// The other side has finished sending, and that has arrived.
    pub(super) has_fin: bool,
    /// `errno` to report once, 0 if none.
    pub(super) error: i32,
    /// Reset: nothing more comes or goes.
    pub(super) is_dead: bool,
    /// This side has finished sending.
    pub(super) is_shut: bool,
    resets_on_close: bool,
    /// Bytes that have been sent from here.
    pub(super) taken: u64,
    /// When the last thing that was sent from here arrives: the next one doesn't overtake it.
    pub(super) last_arrival: Time,
    /// Slots of the operations that wait, in order.
    pub(super) readers: Vec<u32>,
    pub(super) writers: Vec<u32>,
}

impl Stream {
    pub(super) fn new(remote: SocketAddr, other: Side, is_calm: bool) -> Self {
        Self {
            remote,
            other,
            is_calm,
            inbox: VecDeque::new(),
            under_way: 0,
            has_fin: false,
            error: 0,
            is_dead: false,
            is_shut: false,
            resets_on_close: false,
            taken: 0,
            last_arrival: 0,
            readers: Vec::new(),
            writers: Vec::new(),
        }
    }

    /// Whether a read would return. A reset whose error a send was told is an end for reads.
    pub(super) fn is_readable(&self) -> bool {
        !self.inbox.is_empty() || self.has_fin || self.error != 0 || self.is_dead
    }
}

#[derive(Debug)]
struct Socket {
    generation: u32,
    local: SocketAddr,
    role: Role,
}

/// What the other side of a closed socket is told.
pub(super) struct Farewell {
    pub(super) to: Side,
    pub(super) is_reset: bool,
    pub(super) not_before: Time,
}

/// All sockets.
#[derive(Debug, Default)]
pub(super) struct Net {
    sockets: Vec<Socket>,
    free: Vec<usize>,
    ports_used: u16,
}

const UNBOUND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

fn not_connected() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOTCONN)
}

impl Net {
    /// Sockets that aren't closed.
    pub(super) fn open(&self) -> u32 {
        let open = self.sockets.iter().filter(|socket| !matches!(socket.role, Role::Closed));
        u32::try_from(open.count()).unwrap_or(u32::MAX)
    }

    pub(super) fn add(&mut self, local: SocketAddr, role: Role) -> Side {
        let index = self.free.pop().unwrap_or_else(|| {
            self.sockets.push(Socket { generation: 0, local: UNBOUND, role: Role::Closed });
            self.sockets.len() - 1
        });
        let socket = &mut self.sockets[index];
        socket.local = local;
        socket.role = role;
        Side { index, generation: socket.generation }
    }

    pub(super) fn fd(side: Side) -> RawFd {
        FIRST_FD + RawFd::try_from(side.index).unwrap_or(0)
    }

    /// The socket that has this number now.
    pub(super) fn side(&self, fd: RawFd) -> Option<Side> {
        let index = usize::try_from(fd.checked_sub(FIRST_FD)?).ok()?;
        let socket = self.sockets.get(index)?;
        (!matches!(socket.role, Role::Closed))
            .then_some(Side { index, generation: socket.generation })
    }

    fn socket_of(&mut self, fd: RawFd) -> io::Result<&mut Socket> {
        let side = self.side(fd).ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
        Ok(&mut self.sockets[side.index])
    }

    /// The stream, unless it is closed.
    pub(super) fn stream(&mut self, side: Side) -> Option<&mut Stream> {
        let socket = self.sockets.get_mut(side.index)?;
        match &mut socket.role {
            Role::Stream(stream) if socket.generation == side.generation => Some(stream),
            _ => None,
        }
    }

    pub(super) fn listener(&mut self, index: usize) -> Option<&mut Listener> {
        match &mut self.sockets.get_mut(index)?.role {
            Role::Listener(listener) => Some(listener),
            _ => None,
        }
    }

    /// The listeners that an address reaches.
    pub(super) fn listeners_at(&self, address: SocketAddr) -> Vec<usize> {
        let reaches = |local: SocketAddr| {
            local.port() == address.port()
                && (local.ip() == address.ip() || local.ip().is_unspecified())
        };
        (0..self.sockets.len())
            .filter(|index| {
                let socket = &self.sockets[*index];
                matches!(socket.role, Role::Listener(_)) && reaches(socket.local)
            })
            .collect()
    }

    pub(super) fn local(&self, side: Side) -> SocketAddr {
        self.sockets[side.index].local
    }

    /// Turns a fresh socket into a stream. False if it is closed by now.
    pub(super) fn connected(&mut self, side: Side, stream: Stream) -> bool {
        match self.sockets.get_mut(side.index) {
            Some(socket)
                if socket.generation == side.generation && matches!(socket.role, Role::Fresh) =>
            {
                socket.role = Role::Stream(stream);
                true
            }
            _ => false,
        }
    }

    /// Takes a slot off its socket's lists.
    pub(super) fn forget(&mut self, fd: RawFd, slot: u32) {
        let Ok(socket) = self.socket_of(fd) else { return };
        match &mut socket.role {
            Role::Stream(stream) => {
                stream.readers.retain(|reader| *reader != slot);
                stream.writers.retain(|writer| *writer != slot);
            }
            Role::Listener(listener) if listener.accept == slot => listener.accept = NONE,
            _ => {}
        }
    }

    fn port(&mut self) -> u16 {
        self.ports_used = (self.ports_used + 1) % 28_000;
        32_768 + self.ports_used
    }

    pub(super) fn listen(&mut self, at: SocketAddr, options: &ListenOptions) -> io::Result<RawFd> {
        let mut at = at;
        if at.port() == 0 {
            at.set_port(self.port());
        } else if !options.reuse_port && !self.listeners_at(at).is_empty() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let listener = Listener {
            backlog: VecDeque::new(),
            backlog_max: usize::try_from(options.backlog).unwrap_or(usize::MAX).max(1),
            accept: NONE,
        };
        Ok(Self::fd(self.add(at, Role::Listener(listener))))
    }

    pub(super) fn socket(&mut self, to: SocketAddr) -> io::Result<RawFd> {
        let ip = match to.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let local = SocketAddr::new(ip, self.port());
        Ok(Self::fd(self.add(local, Role::Fresh)))
    }

    pub(super) fn bytes_taken(&self, fd: RawFd) -> Option<u64> {
        match &self.sockets.get(self.side(fd)?.index)?.role {
            Role::Stream(stream) => Some(stream.taken),
            _ => None,
        }
    }

    pub(super) fn peer_addr(&mut self, fd: RawFd) -> io::Result<SocketAddr> {
        match &self.socket_of(fd)?.role {
            Role::Stream(stream) if !stream.is_dead => Ok(stream.remote),
            _ => Err(not_connected()),
        }
    }

    pub(super) fn local_addr(&mut self, fd: RawFd) -> io::Result<SocketAddr> {
        Ok(self.socket_of(fd)?.local)
    }

    pub(super) fn reset_on_close(&mut self, fd: RawFd) -> io::Result<()> {
        if let Role::Stream(stream) = &mut self.socket_of(fd)?.role {
            stream.resets_on_close = true;
        }
        Ok(())
    }

    pub(super) fn accept_now(&mut self, fd: RawFd) -> io::Result<Option<RawFd>> {
        match &mut self.socket_of(fd)?.role {
            Role::Listener(listener) => Ok(listener.backlog.pop_front().map(Self::fd)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Finishes sending. The side to tell (if there is anything to tell), and when at the earliest.
    pub(super) fn shut(&mut self, fd: RawFd) -> io::Result<Option<(Side, Time)>> {
        let Role::Stream(stream) = &mut self.socket_of(fd)?.role else {
            return Err(not_connected());
        };
        if stream.is_dead {
            return Err(not_connected());
        }
        if stream.is_shut {
            return Ok(None);
        }
        stream.is_shut = true;
        Ok(Some((stream.other, stream.last_arrival + 1)))
    }

    /// Notes when the last thing sent from here arrives.
    pub(super) fn ordered(&mut self, fd: RawFd, at: Time) {
        if let Some(side) = self.side(fd)
            && let Some(stream) = self.stream(side)
        {
            stream.last_arrival = at;
        }
    }

    /// Closes a socket, and everything in a listener's backlog with it.
    pub(super) fn close(&mut self, fd: RawFd) -> Vec<Farewell> {
        let Some(side) = self.side(fd) else { return Vec::new() };
        let mut farewells = Vec::new();
        let mut closing = vec![(side, false)];
        while let Some((side, is_forced)) = closing.pop() {
            let socket = &mut self.sockets[side.index];
            socket.generation = socket.generation.wrapping_add(1);
            match std::mem::take(&mut socket.role) {
                Role::Listener(listener) => {
                    closing.extend(listener.backlog.into_iter().map(|side| (side, true)));
                }
                Role::Stream(stream) if !stream.is_dead => {
                    // Closing with unread data resets, as Linux does (RFC 2525 §2.17).
                    let is_reset = is_forced || stream.resets_on_close || !stream.inbox.is_empty();
                    if is_reset || !stream.is_shut {
                        let not_before = stream.last_arrival + 1;
                        farewells.push(Farewell { to: stream.other, is_reset, not_before });
                    }
                }
                _ => {}
            }
            self.free.push(side.index);
        }
        farewells
    }
}
