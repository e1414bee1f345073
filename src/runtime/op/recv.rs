//! Receive into a pooled buffer: the operation of small messages and of idle connections.
//!
//! The driver takes a buffer only when data has arrived. If there is none the receive joins the
//! shard's waiters and is submitted again, in order, when any buffer is free.

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    task::{Context, Poll},
};

use crate::runtime::{
    RecvBuf,
    driver::{Completion, Kind, Op},
    op::{InFlight, NO_BUFFER, OpSlot, Payload, State},
    shard::{self, Shard},
    slab::NONE,
    sys,
};

/// A started receive.
///
/// It goes on in the background until it is awaited, cancelled or dropped, and holds no buffer
/// before data is there. Dropping it cancels it; what the kernel had received already is lost.
#[derive(Debug)]
#[must_use = "dropping a receive cancels it"]
pub struct Recv(InFlight);

impl Recv {
    /// Whether data, end of stream or an error has arrived (a look at completed operations, as of
    /// this turn).
    pub fn is_ready(&self) -> bool {
        self.0.is_ready()
    }

    /// Cancels and waits for the end: `Ok(None)` if nothing had been received, an empty buffer if
    /// the stream had ended.
    ///
    /// # Errors
    /// What the receive met before it could be cancelled.
    pub async fn cancel(mut self) -> io::Result<Option<RecvBuf>> {
        self.0.cancel();
        let (result, buffer) = poll_fn(|_| self.0.poll_bare()).await;
        if result == -libc::ECANCELED {
            return Ok(None);
        }
        received(result, buffer).map(Some)
    }
}

impl Future for Recv {
    type Output = io::Result<RecvBuf>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_bare().map(|(result, buffer)| received(result, buffer))
    }
}

#[inline]
fn received(result: i32, buffer: u32) -> io::Result<RecvBuf> {
    let len = sys::result(result)?;
    let Ok(buffer) = u16::try_from(buffer) else { return Ok(RecvBuf::empty()) };
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    shard::try_with(|shard| shard.pool.wrap(buffer, len))
        .ok_or_else(|| io::ErrorKind::NotConnected.into())
}

/// Starts a receive on `socket`.
#[inline]
pub(crate) fn start(shard: &Shard, socket: u32) -> Recv {
    let Some(entry) = shard.sockets.get(socket) else {
        return Recv(shard.failed(Kind::Recv, -libc::EBADF, Payload::None));
    };
    let slot = shard.prepare(Kind::Recv, socket, Payload::None);
    entry.receive.set(slot);
    Recv(shard.submit(slot, entry.fd.get(), Op::Recv))
}

#[inline]
pub(crate) fn complete(shard: &Shard, slot: u32, op: &OpSlot, completion: Completion) {
    let result = completion.result;
    match completion.buffer() {
        // The end of a stream, or an error: no buffer is needed.
        Some(buffer) if result <= 0 => shard.recycle(buffer),
        Some(buffer) => {
            leave(shard, slot, op);
            return shard.end(slot, op, result, u32::from(buffer));
        }
        None => {}
    }
    match -result {
        libc::ENOBUFS if op.state.get() == State::Pending && !shard.is_closing(op) => {
            op.state.set(State::Waiting);
            shard.waiters.push(slot, completion.token.generation());
        }
        libc::EINTR | libc::EAGAIN if op.state.get() == State::Pending => {
            shard.resubmit(slot, op, Op::Recv);
        }
        _ => {
            leave(shard, slot, op);
            let result = if result == -libc::ENOBUFS { -libc::ECANCELED } else { result };
            shard.end(slot, op, result, NO_BUFFER);
        }
    }
}

/// The socket has this receive in flight no more. (It may have the next one already, when this one
/// was dropped and is only now told to have been cancelled.)
#[inline]
fn leave(shard: &Shard, slot: u32, op: &OpSlot) {
    if let Some(socket) = shard.sockets.get(op.socket.get())
        && socket.receive.get() == slot
    {
        socket.receive.set(NONE);
    }
}

impl Shard {
    /// Gives the receives that wait for a buffer their turn: as many as there may be buffers. True
    /// when others still wait although buffers are free, so that the next turn must not block.
    pub(crate) fn serve_waiters(&self) -> bool {
        if self.waiters.is_empty() {
            return false;
        }
        let mut free = self.pool.free();
        while free > 0
            && let Some((slot, generation)) = self.waiters.pop()
        {
            // Dropped and cancelled receives left their entries behind.
            let Some(op) = self.op(slot, generation) else { continue };
            if op.state.get() == State::Waiting {
                op.state.set(State::Pending);
                self.resubmit(slot, op, Op::Recv);
                free -= 1;
            }
        }
        // A receive that was tried may find no data and take no buffer, so the others can't rely
        // on it to free one.
        self.pool.free() > 0 && !self.waiters.is_empty()
    }
}
