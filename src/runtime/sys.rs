//! Thin wrappers of the system calls that the real drivers share: sockets, options, addresses.
//!
//! Each returns `io::Result` and does one thing. Descriptors are plain numbers here; who owns them
//! is said by `sockets`. Nothing blocks: every socket is non-blocking.

#![expect(unsafe_code, reason = "the system calls themselves")]

use std::{
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd, IntoRawFd, RawFd},
    ptr,
    time::Duration,
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::{
    base::address::UNIX_CLIENT,
    runtime::{ListenOptions, look::Look},
};

/// A socket address in the kernel's layout.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) union SocketAddress {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl SocketAddress {
    pub(crate) fn new(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => Self {
                v4: libc::sockaddr_in {
                    sin_family: family(libc::AF_INET),
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                },
            },
            SocketAddr::V6(v6) => Self {
                v6: libc::sockaddr_in6 {
                    sin6_family: family(libc::AF_INET6),
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                },
            },
        }
    }

    /// No address yet.
    pub(crate) fn unspecified() -> Self {
        Self::new(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0))
    }

    /// The pointer and length that connect wants.
    pub(crate) fn as_raw(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        // SAFETY: both variants begin with the family, and `new` is the only constructor.
        let found = unsafe { self.v4.sin_family };
        let len = if found == family(libc::AF_INET) {
            size_of::<libc::sockaddr_in>()
        } else {
            size_of::<libc::sockaddr_in6>()
        };
        (ptr::from_ref(self).cast(), socklen(len))
    }

    pub(crate) fn to_std(self) -> SocketAddr {
        // SAFETY: both variants begin with the family, and `new` is the only constructor.
        if unsafe { self.v4.sin_family } == family(libc::AF_INET) {
            // SAFETY: the family says that this is the variant.
            let v4 = unsafe { self.v4 };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into()
        } else {
            // SAFETY: as above, for the other variant.
            let v6 = unsafe { self.v6 };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into()
        }
    }
}

fn family(value: i32) -> libc::sa_family_t {
    libc::sa_family_t::try_from(value).unwrap_or_default()
}

pub(crate) fn socklen(value: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(value).unwrap_or_default()
}

/// Turns `-1` into the error that `errno` names.
pub(crate) fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The same for calls that return a length; the result fits an `i32` because lengths given do.
pub(crate) fn check_len(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// A completion's result as an `io::Result`.
pub(crate) fn result(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(result.wrapping_neg()))
}

/// `-errno` of an error, as a completion carries it.
pub(crate) fn negated(error: &io::Error) -> i32 {
    -error.raw_os_error().unwrap_or(libc::EIO)
}

/// SO_REUSEADDR always, SO_REUSEPORT if asked, TCP_NODELAY (inherited by what is accepted), and
/// IPv6 only on IPv6 addresses.
pub(crate) fn listen(at: SocketAddr, options: &ListenOptions) -> io::Result<RawFd> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(at), kind, Some(Protocol::TCP))?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.bind(&at.into())?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into_raw_fd())
}

/// A socket to connect with: TCP_NODELAY set, and `from` shown as its address if that is given.
pub(crate) fn socket(to: SocketAddr, from: Option<SocketAddr>) -> io::Result<RawFd> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(to), kind, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(from) = from {
        show_source(&socket, from)?;
    }
    Ok(socket.into_raw_fd())
}

/// Connects to a Unix socket, or fails, at once; `WouldBlock` when its queue is full.
pub(crate) fn connect_unix(path: &str) -> io::Result<RawFd> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into_raw_fd())
}

/// Whether the other side has ended its stream, or the connection has failed.
pub(crate) fn has_ended(fd: RawFd) -> bool {
    let mut asked = libc::pollfd { fd, events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: the pointer is writable for one pollfd.
    let told = unsafe { libc::poll(&raw mut asked, 1, 0) };
    told > 0
}

pub(crate) fn shutdown_write(fd: RawFd) -> io::Result<()> {
    // SAFETY: takes no pointer; a wrong descriptor is an error.
    check(unsafe { libc::shutdown(fd, libc::SHUT_WR) }).map(drop)
}

pub(crate) fn reset_on_close(fd: RawFd) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let len = socklen(size_of::<libc::linger>());
    let value = ptr::from_ref(&linger).cast();
    // SAFETY: pointer and length describe `linger`, which outlives the call.
    check(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, value, len) }).map(drop)
}

/// The error that a socket has met in the background, as `errno`; 0 if none.
pub(crate) fn pending_error(fd: RawFd) -> i32 {
    let mut error: libc::c_int = 0;
    let mut len = socklen(size_of::<libc::c_int>());
    let place = (&raw mut error).cast();
    // SAFETY: pointer and length describe `error`, which outlives the call.
    let asked =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, place, &raw mut len) };
    match check(asked) {
        Ok(_) => error,
        Err(failed) => failed.raw_os_error().unwrap_or(libc::EIO),
    }
}

pub(crate) fn close(fd: RawFd) {
    // SAFETY: the caller owns the descriptor and forgets it. Errors mean that it is gone anyway.
    let _ = unsafe { libc::close(fd) };
}

type NameCall =
    unsafe extern "C" fn(RawFd, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

pub(crate) fn peer_addr(fd: RawFd) -> io::Result<SocketAddr> {
    name(fd, libc::getpeername)
}

pub(crate) fn local_addr(fd: RawFd) -> io::Result<SocketAddr> {
    name(fd, libc::getsockname)
}

fn name(fd: RawFd, call: NameCall) -> io::Result<SocketAddr> {
    let mut storage = mem::MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut len = socklen(size_of::<libc::sockaddr_storage>());
    // SAFETY: `storage` is writable for `len` bytes and both outlive the call.
    check(unsafe { call(fd, storage.as_mut_ptr().cast(), &raw mut len) })?;
    // SAFETY: all-zero storage is valid, and the kernel wrote a valid address over it.
    let storage = unsafe { storage.assume_init() };
    let nowhere = SocketAddr::new(UNIX_CLIENT, 0);
    Ok(address_of(&storage).unwrap_or(nowhere))
}

/// The internet address in `storage`, if it is one.
pub(crate) fn address_of(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    if !matches!(i32::from(storage.ss_family), libc::AF_INET | libc::AF_INET6) {
        return None;
    }
    let place: *const SocketAddress = ptr::from_ref(storage).cast();
    // SAFETY: `sockaddr_storage` is larger and at least as aligned as either variant.
    let address = unsafe { place.read() };
    Some(address.to_std())
}

/// Reads what is there, taking it or not, without waiting.
pub(crate) fn look(fd: RawFd, buf: &mut [u8], look: Look) -> io::Result<usize> {
    let stay = if look == Look::Peek { libc::MSG_PEEK } else { 0 };
    let flags = libc::MSG_DONTWAIT | stay;
    // SAFETY: pointer and length describe `buf`.
    check_len(unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), flags) })
}

/// Sets an option that is an int.
pub(crate) fn set_option(fd: RawFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    let len = socklen(size_of::<libc::c_int>());
    let place = ptr::from_ref(&value).cast();
    // SAFETY: pointer and length describe `value`, which outlives the call.
    check(unsafe { libc::setsockopt(fd, level, option, place, len) }).map(drop)
}

/// Makes a socket that isn't connected yet show `from` as its address, which need not be one of
/// this machine. Another port is taken if that one is in use towards the same address.
pub(crate) fn show_source(socket: &Socket, from: SocketAddr) -> io::Result<()> {
    match from {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
        SocketAddr::V6(_) => {
            set_option(socket.as_raw_fd(), libc::SOL_IPV6, libc::IPV6_TRANSPARENT, 1)?;
        }
    }
    socket.set_reuse_address(true)?;
    // The port is chosen when connecting, so that one address has as many as there are towards
    // each endpoint.
    set_option(socket.as_raw_fd(), libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
    socket.bind(&SocketAddr::new(from.ip(), 0).into())
}

/// Accepts a waiting connection, or `None` when there is none.
pub(crate) fn accept_now(fd: RawFd) -> io::Result<Option<RawFd>> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: null address pointers are allowed: the address isn't asked for.
    match check(unsafe { libc::accept4(fd, ptr::null_mut(), ptr::null_mut(), flags) }) {
        Ok(accepted) => Ok(Some(accepted)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Bytes the kernel has taken for sending: acknowledged ones and those in its queue. `None` when
/// this isn't a TCP socket.
pub(crate) fn bytes_taken(fd: RawFd) -> Option<u64> {
    let mut info = mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = socklen(size_of::<libc::tcp_info>());
    let place = info.as_mut_ptr().cast();
    // SAFETY: `info` is writable for `len` bytes and both outlive the call.
    check(unsafe { libc::getsockopt(fd, libc::SOL_TCP, libc::TCP_INFO, place, &raw mut len) })
        .ok()?;
    // SAFETY: all zero is valid, and the kernel wrote over it what it knows.
    let acked = unsafe { info.assume_init() }.tcpi_bytes_acked;
    let mut queued: libc::c_int = 0;
    // SAFETY: TIOCOUTQ writes one int.
    check(unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut queued) }).ok()?;
    Some(acked + u64::try_from(queued).unwrap_or(0))
}

/// CPU time that the calling thread has used, user and system.
pub(crate) fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is writable for a timespec.
    let asked = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    if check(asked).is_err() {
        return Duration::ZERO;
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernels_layout() {
        for text in ["127.0.0.1:80", "[::1]:65535", "[fe80::1%3]:443", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(SocketAddress::new(address).to_std(), address);
        }
    }
}
