//! How operations meet the network: what a receive gets, what a send leaves, who is accepted.
//!
//! Chance has a say wherever a kernel may choose: how much a receive returns, how far a send gets,
//! which listener of an address is taken, whether a buffer is there, when things arrive.

#![expect(unsafe_code, reason = "copies between the caller's buffers and the network")]

use std::{net::SocketAddr, os::fd::RawFd, ptr};

use super::{
    Event, Pending, Sim,
    net::{Net, Role, Side, Stream},
};
use crate::runtime::{
    buffers::Pool,
    driver::{Completion, MORE, Op, Token},
    slab::NONE,
};

impl Sim {
    /// Begins an operation.
    pub(super) fn begin(&mut self, pool: &Pool, token: Token, fd: RawFd, op: Op) {
        let slot = token.slot();
        let Some(side) = self.net.side(fd) else { return self.end(slot, -libc::EBADF, 0) };
        match op {
            Op::Connect { address } => {
                // SAFETY: the op slot keeps the address until the completion.
                let address = unsafe { *address }.to_std();
                let delay = self.delay();
                self.schedule(delay, Event::Connect { token, client: side, address });
            }
            Op::Accept => match self.net.listener(side.index) {
                Some(listener) => {
                    listener.accept = slot;
                    self.serve_accept(side.index);
                }
                None => self.end(slot, -libc::EINVAL, 0),
            },
            Op::Recv | Op::RecvInto { .. } | Op::PollRead => match self.net.stream(side) {
                Some(stream) => {
                    stream.readers.push(slot);
                    self.serve_readers(pool, side);
                }
                None => self.end(slot, -libc::ENOTCONN, 0),
            },
            Op::Send { .. } | Op::PollWrite => match self.net.stream(side) {
                Some(stream) => {
                    stream.writers.push(slot);
                    self.serve_writers(side);
                }
                None => self.end(slot, -libc::EPIPE, 0),
            },
            Op::Doorbell { .. } => {}
        }
    }

    /// Ends an operation: its completion is on its way.
    fn end(&mut self, slot: u32, result: i32, flags: u32) {
        let pending = self.pending.get_mut(slot as usize).and_then(Option::take);
        if let Some(pending) = pending {
            self.net.forget(pending.fd, slot);
            self.finish(pending.token, result, flags, pending.not_before);
        }
    }

    fn pending(&self, slot: u32) -> Option<Pending> {
        self.pending.get(slot as usize).copied().flatten()
    }

    /// Gives waiting reads what there is.
    fn serve_readers(&mut self, pool: &Pool, side: Side) {
        while let Some(stream) = self.net.stream(side) {
            if !stream.is_readable() {
                return;
            }
            let Some(slot) = stream.readers.first().copied() else { return };
            let Some(pending) = self.pending(slot) else {
                self.violate(format!("slot {slot} waits but isn't pending"));
                return;
            };
            match pending.op {
                Op::PollRead => self.end(slot, i32::from(libc::POLLIN), 0),
                Op::RecvInto { to, len } => {
                    let result = self.read(side, to, len as usize);
                    self.end(slot, result, 0);
                }
                _ => self.receive(pool, side, slot),
            }
            self.wake_other_writer(side);
        }
    }

    /// A receive into a pooled buffer.
    fn receive(&mut self, pool: &Pool, side: Side, slot: u32) {
        let has_data = self.net.stream(side).is_some_and(|stream| !stream.inbox.is_empty());
        if !has_data {
            let result = self.read(side, ptr::null_mut(), 0);
            return self.end(slot, result, 0);
        }
        if self.random.chance(self.options.no_buffer) {
            self.counts.no_buffers += 1;
            return self.end(slot, -libc::ENOBUFS, 0);
        }
        let Some(buffer) = self.free.pop() else { return self.end(slot, -libc::ENOBUFS, 0) };
        let result = self.read(side, pool.address(buffer).as_ptr(), pool.size() as usize);
        self.end(slot, result, Completion::buffer_flags(buffer));
    }

    /// Copies what has arrived: the result of a read. With nothing there, the error or the end.
    fn read(&mut self, side: Side, to: *mut u8, len: usize) -> i32 {
        let Some(stream) = self.net.stream(side) else { return -libc::EBADF };
        if stream.inbox.is_empty() {
            let error = std::mem::take(&mut stream.error);
            // After the error has been told, there is only the end (as Linux does).
            stream.has_fin = true;
            return -error;
        }
        let mut len = stream.inbox.len().min(len);
        if self.random.chance(self.options.short_read) {
            let shorter = self.random.length(len);
            self.counts.short_reads += u64::from(shorter < len);
            len = shorter;
        }
        let Some(stream) = self.net.stream(side) else { return -libc::EBADF };
        let bytes: Vec<u8> = stream.inbox.drain(..len).collect();
        // SAFETY: `to` is writable for the operation's length, which `len` doesn't exceed, and
        // belongs to the driver until the completion.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, len) };
        self.counts.bytes += len as u64;
        i32::try_from(len).unwrap_or(i32::MAX)
    }

    /// Reading made room: the other side may go on.
    fn wake_other_writer(&mut self, side: Side) {
        if let Some(stream) = self.net.stream(side) {
            let other = stream.other;
            self.serve_writers(other);
        }
    }

    /// Lets waiting writes send as far as there is room.
    fn serve_writers(&mut self, side: Side) {
        loop {
            let Some(stream) = self.net.stream(side) else { return };
            let Some(slot) = stream.writers.first().copied() else { return };
            let other = stream.other;
            let failure = match stream {
                Stream { error: 0, is_dead: false, is_shut: false, .. } => 0,
                Stream { error: 0, .. } => libc::EPIPE,
                stream => std::mem::take(&mut stream.error),
            };
            let Some(pending) = self.pending(slot) else {
                self.violate(format!("slot {slot} waits but isn't pending"));
                return;
            };
            // What is sent to a closed side leaves, and a reset comes back.
            let taken =
                self.net.stream(other).map_or(0, |other| other.under_way + other.inbox.len());
            let room = self.options.window.saturating_sub(taken);
            match pending.op {
                _ if failure != 0 => self.end(slot, -failure, 0),
                _ if room == 0 => return,
                Op::Send { from, len } => self.send(side, other, slot, (from, len), room),
                _ => self.end(slot, i32::from(libc::POLLOUT), 0),
            }
        }
    }

    /// Sends one piece of a send.
    fn send(&mut self, side: Side, other: Side, slot: u32, data: (*const u8, u32), room: usize) {
        let (from, len) = data;
        let Some(pending) = self.pending.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        let progress = pending.progress;
        let rest = (len - progress) as usize;
        let mut piece = rest.min(room);
        if self.random.chance(0.5) {
            piece = self.random.length(piece);
        }
        // SAFETY: `progress <= len`, so the pointer stays inside the buffer.
        let start = unsafe { from.add(progress as usize) };
        // SAFETY: the op slot owns these bytes until the completion, and `piece <= len - progress`.
        let bytes = unsafe { std::slice::from_raw_parts(start, piece) }.to_vec();
        let sent = progress + u32::try_from(piece).unwrap_or(0);
        pending.progress = sent;
        let delay = self.delay();
        let now = self.now;
        let Some(stream) = self.net.stream(side) else { return };
        let at = (stream.last_arrival + 1).max(now.saturating_add(delay));
        stream.last_arrival = at;
        stream.taken += piece as u64;
        if let Some(other) = self.net.stream(other) {
            other.under_way += piece;
        }
        self.schedule_at(at, Event::Deliver { to: other, from: side, bytes });
        if sent == len {
            self.end(slot, i32::try_from(sent).unwrap_or(i32::MAX), 0);
        } else if self.random.chance(self.options.short_write) {
            self.counts.short_writes += 1;
            self.end(slot, i32::try_from(sent).unwrap_or(i32::MAX), 0);
        }
    }

    pub(super) fn deliver(&mut self, pool: &Pool, to: Side, from: Side, bytes: &[u8]) {
        let resets = self.options.reset;
        let Some(stream) = self.net.stream(to) else {
            // Nobody is there any more: the sender is told so.
            let delay = self.delay();
            return self.schedule(delay, Event::Reset { to: from });
        };
        stream.under_way = stream.under_way.saturating_sub(bytes.len());
        if stream.is_dead {
            return;
        }
        if !stream.is_calm && self.random.chance(resets) {
            self.counts.resets += 1;
            let delay = self.delay();
            self.schedule(delay, Event::Reset { to: from });
            return self.reset(pool, to);
        }
        if let Some(stream) = self.net.stream(to) {
            stream.inbox.extend(bytes);
        }
        self.serve_readers(pool, to);
    }

    pub(super) fn fin(&mut self, pool: &Pool, to: Side) {
        if let Some(stream) = self.net.stream(to) {
            stream.has_fin = true;
            self.serve_readers(pool, to);
        }
    }

    pub(super) fn reset(&mut self, pool: &Pool, to: Side) {
        let Some(stream) = self.net.stream(to) else { return };
        if !stream.is_dead {
            stream.is_dead = true;
            stream.error = libc::ECONNRESET;
            self.serve_readers(pool, to);
            self.serve_writers(to);
        }
    }

    /// A connection attempt arrives at its address.
    pub(super) fn arrive(&mut self, token: Token, client: Side, address: SocketAddr) {
        let slot = token.slot();
        if self.pending(slot).is_none_or(|pending| pending.token != token) {
            return; // Cancelled on the way.
        }
        let is_calm = self.options.calm_ports.contains(&address.port());
        let listeners = self.net.listeners_at(address);
        if listeners.is_empty() {
            return self.end(slot, -libc::ECONNREFUSED, 0);
        }
        if !is_calm && self.random.chance(self.options.refuse) {
            self.counts.refusals += 1;
            return self.end(slot, -libc::ECONNREFUSED, 0);
        }
        let drawn = self.random.below(listeners.len() as u64);
        let index = listeners[usize::try_from(drawn).unwrap_or(0)];
        let is_full = self
            .net
            .listener(index)
            .is_none_or(|listener| listener.backlog.len() >= listener.backlog_max);
        if is_full {
            return self.end(slot, -libc::ETIMEDOUT, 0);
        }
        let remote = self.net.local(client);
        let server = self.net.add(address, Role::Stream(Stream::new(remote, client, is_calm)));
        self.net.connected(client, Stream::new(address, server, is_calm));
        if let Some(listener) = self.net.listener(index) {
            listener.backlog.push_back(server);
        }
        self.counts.connections += 1;
        self.serve_accept(index);
        self.end(slot, 0, 0);
    }

    /// Hands what has arrived at a listener to its accept operation.
    fn serve_accept(&mut self, index: usize) {
        while let Some(listener) = self.net.listener(index)
            && listener.accept != NONE
            && let slot = listener.accept
            && let Some(side) = listener.backlog.pop_front()
        {
            if self.random.chance(self.options.no_descriptor) {
                self.counts.no_descriptors += 1;
                if let Some(listener) = self.net.listener(index) {
                    listener.backlog.push_front(side);
                }
                return self.end(slot, -libc::EMFILE, 0);
            }
            let jitter = self.jitter();
            let at = self.now.saturating_add(jitter);
            let Some(Some(pending)) = self.pending.get_mut(slot as usize) else { return };
            // The last completion of the operation mustn't overtake this one.
            pending.not_before = pending.not_before.max(at + 1);
            let (token, result) = (pending.token, Net::fd(side));
            self.schedule_at(at, Event::Complete(Completion { token, result, flags: MORE }));
        }
    }
}
