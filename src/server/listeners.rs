//! Binds listening sockets: one per address and shard, all before the first is used.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::Path,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{Error, order::BoundSocket};
use crate::{
    base::address::{Address, UnixPath},
    config::{self, AcceptBalance, ListenerConfig, RuntimeConfig},
    control::socket_file::{Holder, SocketFile, SocketFileError},
    runtime::choose_by_cpu,
};

/// Sockets of one address, one a shard.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) listener: String,
    /// As configured.
    pub(super) address: Address,
    /// As the kernel has it: differs where the port was left to it.
    pub(super) local: Address,
    pub(super) sockets: Vec<BoundSocket>,
    /// Of a Unix socket.
    pub(super) file: Option<SocketFile>,
    /// As [`slot`] has it.
    pub(super) slot: String,
}

/// What may share an address: listeners of HTTP take over each other's sockets, those of L4 don't,
/// and UDP has ports of its own.
pub(super) fn slot(listener: &ListenerConfig) -> String {
    if listener.protocol.is_l4() {
        format!("{}:{}", listener.protocol.name(), listener.name)
    } else {
        String::new()
    }
}

/// Who else may listen on an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    /// Nobody.
    Refused,
    /// A socket of ours does, on all addresses of the host or on one of them: a reload goes from
    /// one to the other.
    Ours,
}

/// Whether sockets of the two addresses would be taken for the same by [`probe`].
pub(super) fn overlaps(one: Address, other: Address) -> bool {
    let (Address::Ip(one), Address::Ip(other)) = (one, other) else { return one == other };
    one.port() == other.port()
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// Binds `address` of `listener` once for each shard.
pub(super) fn bind(
    listener: &ListenerConfig,
    address: Address,
    runtime: &RuntimeConfig,
    others: Others,
) -> Result<Bound, Error> {
    match address {
        Address::Ip(ip) => bind_ip(listener, ip, runtime, others),
        Address::Unix(path) => bind_unix(listener, path, runtime.shards.len(), others),
    }
}

/// One socket for all shards: the kernel has no groups of Unix sockets. Each shard accepts from it.
fn bind_unix(
    listener: &ListenerConfig,
    path: UnixPath,
    shards: usize,
    others: Others,
) -> Result<Bound, Error> {
    let address = Address::Unix(path);
    let wrong = |source: io::Error| {
        let hint = match source.kind() {
            io::ErrorKind::AddrInUse => " (another process listens there; `ss -lxp` shows which)",
            io::ErrorKind::PermissionDenied => " (its directory must be writable)",
            _ => "",
        };
        Error::Bind { listener: listener.name.clone(), address, source, hint }
    };
    let holder = match others {
        Others::Refused => Holder::Nobody,
        Others::Ours => Holder::Ours,
    };
    let bound = SocketFile::bind(Path::new(path.as_str()), listener.socket_mode, holder);
    let (socket, file) = bound.map_err(|error| {
        wrong(match error {
            SocketFileError::InUse => io::ErrorKind::AddrInUse.into(),
            SocketFileError::NotASocket => io::Error::other("exists and isn't a socket"),
            SocketFileError::Io(error) => error,
        })
    })?;
    let clones = (0..shards).map(|_| Ok(BoundSocket::Stream(socket.try_clone()?.into())));
    let sockets = clones.collect::<io::Result<_>>().map_err(wrong)?;
    let (listener, slot) = (listener.name.clone(), slot(listener));
    Ok(Bound { listener, address, local: address, sockets, file: Some(file), slot })
}

fn bind_ip(
    listener: &ListenerConfig,
    address: SocketAddr,
    runtime: &RuntimeConfig,
    others: Others,
) -> Result<Bound, Error> {
    let shards = runtime.shards.len();
    let wrong = |source: io::Error| {
        let hint = hint(&source);
        Error::Bind { listener: listener.name.clone(), address: address.into(), source, hint }
    };
    let protocol = listener.protocol;
    // SO_REUSEPORT lets any process of the same user join the group: find out first whether
    // somebody else is there.
    if address.port() != 0 && others == Others::Refused {
        probe_for(protocol, address).map_err(wrong)?;
    }
    let mut local = address;
    let mut sockets = Vec::with_capacity(shards);
    for _ in 0..shards {
        let socket = if protocol == config::Protocol::Udp {
            let socket = open_udp(local).map_err(wrong)?;
            local = socket.local_addr().map_err(wrong)?;
            BoundSocket::Udp(socket)
        } else {
            let socket = open(local).map_err(wrong)?;
            local = socket.local_addr().map_err(wrong)?;
            BoundSocket::Stream(socket.into())
        };
        sockets.push(socket);
    }
    // Datagrams of a flow stay with the shard that has the flow.
    if let (AcceptBalance::Cpu, Some(BoundSocket::Stream(socket))) =
        (runtime.accept_balance, sockets.first())
    {
        choose_by_cpu(socket, &runtime.shards).map_err(wrong)?;
    }
    let (listener, slot) = (listener.name.clone(), slot(listener));
    let (address, local) = (address.into(), local.into());
    Ok(Bound { listener, address, local, sockets, file: None, slot })
}

fn probe_for(protocol: config::Protocol, address: SocketAddr) -> io::Result<()> {
    if protocol != config::Protocol::Udp {
        return probe(address);
    }
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())
}

/// Receive buffers as large as the system lets them be, up to this: a burst waits for the shard.
fn open_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Capped at net.core.rmem_max and wmem_max; smaller ones only drop earlier.
    drop(socket.set_recv_buffer_size(UDP_BUFFER));
    drop(socket.set_send_buffer_size(UDP_BUFFER));
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Fails when another socket listens on `address` already.
pub(super) fn probe(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(1)
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

pub(super) fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (another process listens there; `ss -ltnp` shows which)",
        io::ErrorKind::PermissionDenied => {
            " (ports below 1024 need root, CAP_NET_BIND_SERVICE, or a lower \
             net.ipv4.ip_unprivileged_port_start)"
        }
        io::ErrorKind::AddrNotAvailable => " (no interface has this address; `ip addr` shows them)",
        _ => "",
    }
}

/// Connections that may wait to be accepted, per socket; the kernel caps it at
/// net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// What is asked for as buffers of a listening UDP socket.
const UDP_BUFFER: usize = 4 << 20;
