//! Wait for readiness without reading or writing: what splice needs.

use std::{future::poll_fn, io};

use crate::runtime::{
    driver::{Kind, Op},
    op::Payload,
    shard, sys,
};

/// Which direction to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Data, end of stream or an error can be read.
    Read,
    /// There is room to send, or an error to meet.
    Write,
}

/// Waits until `socket` is ready.
pub(crate) async fn run(socket: u32, interest: Interest) -> io::Result<()> {
    let mut flight = shard::with(|shard| {
        let Some(entry) = shard.sockets.get(socket) else {
            return shard.failed(Kind::Poll, -libc::EBADF, Payload::None);
        };
        let slot = shard.prepare(Kind::Poll, socket, Payload::None);
        let operation = match interest {
            Interest::Read => Op::PollRead,
            Interest::Write => Op::PollWrite,
        };
        shard.submit(slot, entry.fd.get(), operation)
    });
    sys::result(poll_fn(|_| flight.poll()).await.result).map(drop)
}
