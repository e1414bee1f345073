//! Connect a new socket.

use std::{future::poll_fn, io, net::SocketAddr, time::Duration};

use crate::runtime::{
    driver::{Kind, Op},
    op::Payload,
    shard, sys,
    sys::SocketAddress,
    tcp::TcpStream,
    timers::sleep,
};

/// Connects to a Unix socket; see `TcpStream::connect_unix`. It succeeds or fails at once, so that
/// it isn't worth an operation: only a full queue of connections asks for patience, and the kernel
/// doesn't tell when it is over (EAGAIN, unix(7)).
pub(crate) async fn run_unix(path: &str) -> io::Result<TcpStream> {
    loop {
        match shard::with(|shard| shard.driver.borrow().connect_unix(path)) {
            Ok(fd) => return Ok(shard::with(|shard| TcpStream::adopt(shard, fd, 0))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(QUEUE_LOOK).await,
            Err(error) => return Err(error),
        }
    }
}

/// How often a full queue of connections is tried again.
const QUEUE_LOOK: Duration = Duration::from_millis(5);

/// Connects to `address`, showing `from` if that is given; see `TcpStream::connect`.
pub(crate) async fn run(address: SocketAddr, from: Option<SocketAddr>) -> io::Result<TcpStream> {
    // The stream owns the socket from the start: dropping this future closes it.
    let (stream, mut flight) = shard::with(|shard| {
        let fd = shard.driver.borrow_mut().socket(address, from)?;
        let stream = TcpStream::adopt(shard, fd, 0);
        let payload = Payload::Address(SocketAddress::new(address));
        let slot = shard.prepare(Kind::Connect, stream.socket(), payload);
        let place = match shard.ops.get(slot).map(|op| op.payload.borrow()).as_deref() {
            // Slots don't move and the payload isn't replaced before the end.
            Some(Payload::Address(address)) => std::ptr::from_ref(address),
            _ => return Err(io::ErrorKind::NotConnected.into()),
        };
        let flight = shard.submit(slot, fd, Op::Connect { address: place });
        Ok::<_, io::Error>((stream, flight))
    })?;
    let finished = poll_fn(|_| flight.poll()).await;
    sys::result(finished.result)?;
    Ok(stream)
}
