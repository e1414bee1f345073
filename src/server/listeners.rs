//! Binds listening sockets: one per address and shard, all before the first is used.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::Error;
use crate::{
    config::{AcceptBalance, ListenerConfig, RuntimeConfig},
    runtime::choose_by_cpu,
};

/// Sockets of one address, one a shard.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) listener: String,
    /// As configured.
    pub(super) address: SocketAddr,
    /// As the kernel has it: differs where the port was left to it.
    pub(super) local: SocketAddr,
    pub(super) sockets: Vec<TcpListener>,
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
pub(super) fn overlaps(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// Binds `address` of `listener` once for each shard.
pub(super) fn bind(
    listener: &ListenerConfig,
    address: SocketAddr,
    runtime: &RuntimeConfig,
    others: Others,
) -> Result<Bound, Error> {
    let shards = runtime.shards.len();
    let wrong = |source: io::Error| {
        let hint = hint(&source);
        Error::Bind { listener: listener.name.clone(), address, source, hint }
    };
    // SO_REUSEPORT lets any process of the same user join the group: find out first whether
    // somebody else is there.
    if address.port() != 0 && others == Others::Refused {
        probe(address).map_err(wrong)?;
    }
    let mut local = address;
    let mut sockets = Vec::with_capacity(shards);
    for _ in 0..shards {
        let socket = open(local).map_err(wrong)?;
        local = socket.local_addr().map_err(wrong)?;
        sockets.push(socket);
    }
    if let (AcceptBalance::Cpu, Some(socket)) = (runtime.accept_balance, sockets.first()) {
        choose_by_cpu(socket, &runtime.shards).map_err(wrong)?;
    }
    Ok(Bound { listener: listener.name.clone(), address, local, sockets })
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
