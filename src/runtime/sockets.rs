//! The shard's sockets: who owns each descriptor, and when it may be closed.
//!
//! ```text
//!   adopt ─▶ open ──(stream dropped)──▶ closing ──(last operation ended)──▶ closed
//!             │                          └ everything in flight is cancelled ┘
//!             └──(into_owned)──▶ released: another shard's
//! ```
//!
//! A descriptor is closed only when no operation names it any more. Otherwise its number could
//! belong to the next connection while a late operation still uses it.

use std::{cell::Cell, os::fd::RawFd};

use crate::runtime::{
    op::{NO_BUFFER, OpSlot, State},
    shard::Shard,
    slab::{NONE, Record},
};

/// One socket of the shard.
pub(crate) struct Socket {
    link: Cell<u32>,
    pub(crate) fd: Cell<RawFd>,
    /// Operations that name the descriptor.
    pub(crate) in_flight: Cell<u32>,
    /// Those among them that nobody waits for: they are cancelled already.
    pub(crate) orphans: Cell<u32>,
    /// The slots of the receive and the send in flight, or NONE.
    pub(crate) receive: Cell<u32>,
    pub(crate) send: Cell<u32>,
    pub(crate) is_closing: Cell<bool>,
    /// Bytes sent and reported.
    pub(crate) sent: Cell<u64>,
}

impl Default for Socket {
    fn default() -> Self {
        Self {
            link: Cell::new(NONE),
            fd: Cell::new(-1),
            in_flight: Cell::new(0),
            orphans: Cell::new(0),
            receive: Cell::new(NONE),
            send: Cell::new(NONE),
            is_closing: Cell::new(false),
            sent: Cell::new(0),
        }
    }
}

impl Record for Socket {
    fn link(&self) -> &Cell<u32> {
        &self.link
    }
}

impl Shard {
    /// Takes a descriptor over; returns the index that names it.
    pub(crate) fn add_socket(&self, fd: RawFd, sent: u64) -> u32 {
        let index = self.sockets.take();
        if let Some(socket) = self.sockets.get(index) {
            socket.fd.set(fd);
            socket.in_flight.set(0);
            socket.orphans.set(0);
            socket.receive.set(NONE);
            socket.send.set(NONE);
            socket.is_closing.set(false);
            socket.sent.set(sent);
        }
        index
    }

    /// Its owner is gone: cancels what is in flight, and closes once that has ended.
    pub(crate) fn close_socket(&self, index: u32) {
        let Some(socket) = self.sockets.get(index) else { return };
        if socket.is_closing.replace(true) {
            return;
        }
        if socket.in_flight.get() == 0 {
            self.finish_close(index, socket);
            return;
        }
        // A receive that waits for a buffer isn't with the driver: it ends here.
        let receive = socket.receive.get();
        if let Some(op) = self.ops.get(receive)
            && op.state.get() == State::Waiting
        {
            socket.receive.set(NONE);
            self.end(receive, op, -libc::ECANCELED, NO_BUFFER);
            if socket.in_flight.get() == 0 {
                return; // `end` has closed it.
            }
        }
        if socket.in_flight.get() > socket.orphans.get() {
            self.driver.borrow_mut().cancel_all(socket.fd.get());
        }
    }

    /// Gives the descriptor away: the shard forgets it without closing. `None` while an operation
    /// is in flight.
    pub(crate) fn release_socket(&self, index: u32) -> Option<(RawFd, u64)> {
        let socket = self.sockets.get(index)?;
        if socket.in_flight.get() > 0 {
            return None;
        }
        let fd = socket.fd.replace(-1);
        self.driver.borrow_mut().release(fd);
        self.sockets.give(index);
        Some((fd, socket.sent.get()))
    }

    /// An operation of the socket has ended.
    #[inline]
    pub(crate) fn operation_ended(&self, index: u32) {
        let Some(socket) = self.sockets.get(index) else { return };
        let left = socket.in_flight.get() - 1;
        socket.in_flight.set(left);
        if left == 0 && socket.is_closing.get() {
            self.finish_close(index, socket);
        }
    }

    fn finish_close(&self, index: u32, socket: &Socket) {
        let fd = socket.fd.replace(-1);
        self.driver.borrow_mut().close(fd);
        self.sockets.give(index);
    }

    /// Whether the operation's socket lost its owner.
    #[inline]
    pub(crate) fn is_closing(&self, op: &OpSlot) -> bool {
        self.sockets.get(op.socket.get()).is_some_and(|socket| socket.is_closing.get())
    }
}
