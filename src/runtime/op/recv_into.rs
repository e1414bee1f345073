//! Receive into a lease: the operation of large bodies, where buffer size decides the cost.

use std::{future::poll_fn, io};

use crate::runtime::{
    Lease,
    driver::{Kind, Op},
    op::Payload,
    shard, sys,
};

/// Receives into `lease` from `offset` on; see `TcpStream::recv_lease`.
pub(crate) async fn run(
    socket: u32,
    lease: Lease,
    offset: usize,
) -> (io::Result<usize>, Option<Lease>) {
    if offset >= lease.len() {
        return (Err(io::ErrorKind::InvalidInput.into()), Some(lease));
    }
    let mut flight = shard::with(|shard| {
        let mut lease = lease;
        let space = &mut lease[offset..];
        // The lease's memory doesn't move when the lease does.
        let (to, len) = (space.as_mut_ptr(), u32::try_from(space.len()).unwrap_or(u32::MAX));
        let Some(entry) = shard.sockets.get(socket) else {
            return shard.failed(Kind::RecvInto, -libc::EBADF, Payload::Lease(lease));
        };
        let fd = entry.fd.get();
        let slot = shard.prepare(Kind::RecvInto, socket, Payload::Lease(lease));
        shard.submit(slot, fd, Op::RecvInto { to, len })
    });
    let finished = poll_fn(|_| flight.poll()).await;
    let lease = match finished.payload {
        Payload::Lease(lease) => Some(lease),
        _ => None,
    };
    (sys::result(finished.result), lease)
}
