//! Send everything: short sends are continued here, without waking the task.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use crate::runtime::{
    Lease, RecvBuf,
    driver::{Completion, Kind, Op},
    op::{InFlight, OpSlot, Payload, State},
    shard::Shard,
    slab::NONE,
    sys,
};

/// What `send_all` takes and gives back. (`From` impls exist for each payload.)
#[derive(Debug)]
#[non_exhaustive]
pub enum SendBuf {
    /// An owned vector, typically a head with a small body, reused for the next message.
    Vec(Vec<u8>),
    /// A received piece, forwarded as it is.
    Recv(RecvBuf),
    /// A part of a lease.
    Lease(Lease, std::ops::Range<usize>),
    /// Shared immutable bytes.
    Bytes(bytes::Bytes),
    /// Constant bytes.
    Static(&'static [u8]),
}

impl SendBuf {
    /// The bytes to send. A lease's range is cut at its end.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Vec(bytes) => bytes,
            Self::Recv(bytes) => bytes,
            Self::Lease(lease, range) => lease.get(range.clone()).unwrap_or_default(),
            Self::Bytes(bytes) => bytes,
            Self::Static(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for SendBuf {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Vec(bytes)
    }
}

impl From<RecvBuf> for SendBuf {
    fn from(bytes: RecvBuf) -> Self {
        Self::Recv(bytes)
    }
}

impl From<(Lease, std::ops::Range<usize>)> for SendBuf {
    fn from((lease, range): (Lease, std::ops::Range<usize>)) -> Self {
        Self::Lease(lease, range)
    }
}

impl From<bytes::Bytes> for SendBuf {
    fn from(bytes: bytes::Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<&'static [u8]> for SendBuf {
    fn from(bytes: &'static [u8]) -> Self {
        Self::Static(bytes)
    }
}

impl From<&'static str> for SendBuf {
    fn from(text: &'static str) -> Self {
        Self::Static(text.as_bytes())
    }
}

impl<const N: usize> From<&'static [u8; N]> for SendBuf {
    fn from(bytes: &'static [u8; N]) -> Self {
        Self::Static(bytes)
    }
}

/// One send carries at most this much; longer payloads are refused.
const SEND_MAX: usize = 1 << 30;

/// A started send of everything; see `TcpStream::send_all`.
#[derive(Debug)]
#[must_use = "dropping a send cancels it"]
pub struct Sending(InFlight);

impl Future for Sending {
    type Output = (io::Result<()>, SendBuf);

    #[inline]
    fn poll(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll().map(|finished| {
            let buf = match finished.payload {
                Payload::Send(buf) => buf,
                // Only when the runtime ended under the future, which nobody polls then.
                _ => SendBuf::Static(b""),
            };
            (sys::result(finished.result).map(drop), buf)
        })
    }
}

/// Starts to send all of `buf` on `socket`.
#[inline]
pub(crate) fn start(shard: &Shard, socket: u32, buf: SendBuf) -> Sending {
    let len = buf.as_slice().len();
    let entry = shard.sockets.get(socket);
    let (Some(entry), 1..=SEND_MAX) = (entry, len) else {
        let result = match len {
            0 => 0,
            1..=SEND_MAX => -libc::EBADF,
            _ => -libc::EINVAL,
        };
        return Sending(shard.failed(Kind::Send, result, Payload::Send(buf)));
    };
    // The bytes stay where they are when their owner moves into the slot.
    let operation = operation(&buf, 0);
    let slot = shard.prepare(Kind::Send, socket, Payload::Send(buf));
    entry.send.set(slot);
    Sending(shard.submit(slot, entry.fd.get(), operation))
}

fn operation(buf: &SendBuf, done: u32) -> Op {
    let rest = buf.as_slice().get(done as usize..).unwrap_or_default();
    Op::Send { from: rest.as_ptr(), len: u32::try_from(rest.len()).unwrap_or(u32::MAX) }
}

#[inline]
pub(crate) fn complete(shard: &Shard, slot: u32, op: &OpSlot, completion: Completion) {
    let Some(socket) = shard.sockets.get(op.socket.get()) else { return };
    let taken = u32::try_from(completion.result).unwrap_or(0);
    socket.sent.set(socket.sent.get() + u64::from(taken));
    let done = op.progress.get() + taken;
    if op.state.get() == State::Pending && !shard.is_closing(op) {
        let retry = matches!(-completion.result, libc::EINTR | libc::EAGAIN);
        if taken > 0 || retry {
            op.progress.set(done);
            let rest = match &*op.payload.borrow() {
                Payload::Send(buf) => operation(buf, done),
                _ => Op::Send { from: std::ptr::null(), len: 0 },
            };
            if let Op::Send { len, .. } = rest
                && len > 0
            {
                shard.resubmit(slot, op, rest);
                return;
            }
        }
    }
    if socket.send.get() == slot {
        socket.send.set(NONE);
    }
    // A send that was cut short by a cancel or a close is no success.
    let total = match &*op.payload.borrow() {
        Payload::Send(buf) => buf.as_slice().len(),
        _ => 0,
    };
    let result = match completion.result {
        0.. if (done as usize) < total => -libc::ECANCELED,
        result => result,
    };
    shard.end(slot, op, result, done);
}
