//! Operations in flight: one slot each, which owns the operation's buffer until the driver is done
//! with it.
//!
//! ```text
//!            start                    final completion             poll
//!   Free ───────────▶ Pending ─────────────────────────▶ Done ───────────▶ Free
//!                      │   ▲ a buffer is free (recv)       │
//!            no buffer ▼   │                               │ future dropped
//!                     Waiting                              ▼
//!                      │ future dropped            result discarded ─▶ Free
//!     future dropped ▼ ▼
//!                    Orphan (cancel submitted) ── final completion, buffer freed ──▶ Free
//! ```
//!
//! Dropping a future never frees what the kernel may still write to or read from: the slot keeps
//! the buffer, the socket counts the operation, and both go when the final completion is in.

pub(crate) mod accept;
pub(crate) mod connect;
pub(crate) mod poll;
pub(crate) mod recv;
pub(crate) mod recv_into;
pub(crate) mod send;

use std::{
    cell::{Cell, RefCell},
    marker::PhantomData,
    os::fd::RawFd,
    rc::Rc,
    task::Poll,
};

use crate::runtime::{
    Lease, SendBuf,
    driver::{Completion, GENERATION_MASK, Kind, Op, Token},
    executor::NO_TASK,
    op::accept::AcceptQueue,
    shard::{self, Shard},
    slab::{NONE, Record},
    sys::SocketAddress,
};

/// Where an operation stands; see the picture above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Free,
    Pending,
    Waiting,
    Done,
    Orphan,
}

/// What an operation owns while the driver works on it.
#[derive(Default)]
pub(crate) enum Payload {
    #[default]
    None,
    Send(SendBuf),
    Lease(Lease),
    Address(SocketAddress),
    Accept(Rc<AcceptQueue>),
}

/// One operation.
pub(crate) struct OpSlot {
    link: Cell<u32>,
    generation: Cell<u32>,
    pub(crate) socket: Cell<u32>,
    pub(crate) task: Cell<u32>,
    pub(crate) result: Cell<i32>,
    /// The pooled buffer of a finished receive, or the bytes that a send has behind it.
    pub(crate) progress: Cell<u32>,
    pub(crate) state: Cell<State>,
    pub(crate) kind: Cell<Kind>,
    /// Lent to the driver by address while the operation is in flight, so it is replaced only
    /// before the start and after the end.
    pub(crate) payload: RefCell<Payload>,
}

const _: () = assert!(size_of::<OpSlot>() <= 96, "an idle connection has one of these");

impl Default for OpSlot {
    fn default() -> Self {
        Self {
            link: Cell::new(NONE),
            generation: Cell::new(1),
            socket: Cell::new(NONE),
            task: Cell::new(NO_TASK),
            result: Cell::new(0),
            progress: Cell::new(0),
            state: Cell::new(State::Free),
            kind: Cell::new(Kind::Ignored),
            payload: RefCell::default(),
        }
    }
}

impl Record for OpSlot {
    fn link(&self) -> &Cell<u32> {
        &self.link
    }
}

/// No pooled buffer in `progress`.
pub(crate) const NO_BUFFER: u32 = u32::MAX;

/// A started operation, as its future holds it. Dropping it orphans the operation.
#[derive(Debug)]
pub(crate) struct InFlight {
    slot: u32,
    generation: u32,
    _not_send: PhantomData<Rc<()>>,
}

/// How an operation ended.
pub(crate) struct Finished {
    pub(crate) result: i32,
    pub(crate) payload: Payload,
}

impl Finished {
    fn cancelled() -> Self {
        Self { result: -libc::ECANCELED, payload: Payload::None }
    }
}

impl InFlight {
    /// Takes the outcome, or has the current task woken when it is there.
    #[inline]
    pub(crate) fn poll(&mut self) -> Poll<Finished> {
        self.poll_with(|op| Finished { result: op.result.get(), payload: op.payload.take() })
            .map(|finished| finished.unwrap_or_else(Finished::cancelled))
    }

    /// The same for an operation that owns nothing: its result and progress.
    #[inline]
    pub(crate) fn poll_bare(&mut self) -> Poll<(i32, u32)> {
        self.poll_with(|op| (op.result.get(), op.progress.get()))
            .map(|finished| finished.unwrap_or((-libc::ECANCELED, NO_BUFFER)))
    }

    /// What `take` finds in the finished operation; `None` when the runtime is gone, and with it the
    /// operation.
    #[inline]
    fn poll_with<T>(&mut self, take: impl FnOnce(&OpSlot) -> T) -> Poll<Option<T>> {
        let polled = shard::try_with(|shard| {
            let Some(op) = shard.op(self.slot, self.generation) else { return Poll::Ready(None) };
            if op.state.get() != State::Done {
                op.task.set(shard.tasks.current());
                return Poll::Pending;
            }
            let taken = take(op);
            shard.free_op(self.slot, op);
            self.slot = NONE;
            Poll::Ready(Some(taken))
        });
        polled.unwrap_or(Poll::Ready(None))
    }

    /// Whether `poll` would be ready.
    pub(crate) fn is_ready(&self) -> bool {
        let ready = shard::try_with(|shard| {
            shard.op(self.slot, self.generation).is_none_or(|op| op.state.get() == State::Done)
        });
        ready.unwrap_or(true)
    }

    /// Asks for an early end; `poll` still tells how it ended.
    pub(crate) fn cancel(&self) {
        shard::try_with(|shard| {
            if let Some(op) = shard.op(self.slot, self.generation) {
                shard.cancel_op(self.slot, op);
            }
        });
    }
}

impl Drop for InFlight {
    #[inline]
    fn drop(&mut self) {
        if self.slot == NONE {
            return;
        }
        shard::try_with(|shard| {
            if let Some(op) = shard.op(self.slot, self.generation) {
                shard.orphan(self.slot, op);
            }
        });
    }
}

impl Shard {
    /// The operation in `slot`, if it is still the one of that generation.
    #[inline]
    pub(crate) fn op(&self, slot: u32, generation: u32) -> Option<&OpSlot> {
        self.ops
            .get(slot)
            .filter(|op| op.generation.get() == generation && op.state.get() != State::Free)
    }

    /// The token of the operation in `slot`.
    #[inline]
    pub(crate) fn token(&self, slot: u32, op: &OpSlot) -> Token {
        Token::new(op.kind.get(), op.generation.get(), slot)
    }

    /// Takes a slot for an operation on `socket`. It isn't submitted yet.
    #[inline]
    pub(crate) fn prepare(&self, kind: Kind, socket: u32, payload: Payload) -> u32 {
        let slot = self.ops.take();
        if let Some(op) = self.ops.get(slot) {
            op.kind.set(kind);
            op.socket.set(socket);
            op.task.set(self.tasks.current());
            op.progress.set(0);
            op.state.set(State::Pending);
            // Empty since the slot is free, and most operations bring nothing.
            if !matches!(payload, Payload::None) {
                op.payload.replace(payload);
            }
        }
        slot
    }

    /// Submits a prepared operation and counts it on its socket.
    #[inline]
    pub(crate) fn submit(&self, slot: u32, fd: RawFd, operation: Op) -> InFlight {
        let Some(op) = self.ops.get(slot) else {
            return InFlight { slot: NONE, generation: 0, _not_send: PhantomData };
        };
        if let Some(socket) = self.sockets.get(op.socket.get()) {
            socket.in_flight.set(socket.in_flight.get() + 1);
        }
        self.in_flight.set(self.in_flight.get() + 1);
        self.driver.borrow_mut().submit(&self.pool, self.token(slot, op), fd, operation);
        InFlight { slot, generation: op.generation.get(), _not_send: PhantomData }
    }

    /// An operation that ended before it began.
    pub(crate) fn failed(&self, kind: Kind, result: i32, payload: Payload) -> InFlight {
        let slot = self.prepare(kind, NONE, payload);
        let mut generation = 0;
        if let Some(op) = self.ops.get(slot) {
            generation = op.generation.get();
            op.result.set(result);
            op.progress.set(if kind == Kind::Recv { NO_BUFFER } else { 0 });
            op.state.set(State::Done);
        }
        InFlight { slot, generation, _not_send: PhantomData }
    }

    /// Submits an operation again that is still counted: the rest of a send, a receive that found
    /// no buffer.
    pub(crate) fn resubmit(&self, slot: u32, op: &OpSlot, operation: Op) {
        let fd = self.sockets.get(op.socket.get()).map_or(-1, |socket| socket.fd.get());
        self.driver.borrow_mut().submit(&self.pool, self.token(slot, op), fd, operation);
    }

    pub(crate) fn cancel_op(&self, slot: u32, op: &OpSlot) {
        match op.state.get() {
            State::Pending | State::Orphan => {
                let fd = self.sockets.get(op.socket.get()).map_or(-1, |socket| socket.fd.get());
                self.driver.borrow_mut().cancel(self.token(slot, op), fd);
            }
            // The driver doesn't have it: it ends here.
            State::Waiting => self.end(slot, op, -libc::ECANCELED, NO_BUFFER),
            State::Done | State::Free => {}
        }
    }

    /// Nobody waits for the operation any more.
    #[inline]
    fn orphan(&self, slot: u32, op: &OpSlot) {
        match op.state.get() {
            State::Done => {
                self.discard(op);
                self.free_op(slot, op);
            }
            State::Pending => {
                self.count_orphan(op);
                self.cancel_op(slot, op);
            }
            State::Waiting => {
                self.count_orphan(op);
                self.end(slot, op, -libc::ECANCELED, NO_BUFFER);
            }
            State::Orphan | State::Free => {}
        }
    }

    fn count_orphan(&self, op: &OpSlot) {
        op.state.set(State::Orphan);
        if let Some(socket) = self.sockets.get(op.socket.get()) {
            socket.orphans.set(socket.orphans.get() + 1);
        }
    }

    /// Drops what a finished operation brought and nobody wants.
    fn discard(&self, op: &OpSlot) {
        match op.kind.get() {
            Kind::Recv => {
                if let Ok(buffer) = u16::try_from(op.progress.get()) {
                    self.recycle(buffer);
                }
            }
            // Dropped outside of the slot: its drop may come back to the runtime.
            _ => drop(op.payload.take()),
        }
    }

    /// Makes the slot free for the next operation.
    #[inline]
    pub(crate) fn free_op(&self, slot: u32, op: &OpSlot) {
        debug_assert!(matches!(*op.payload.borrow(), Payload::None), "taken or discarded before");
        op.state.set(State::Free);
        op.task.set(NO_TASK);
        let generation = op.generation.get().wrapping_add(1) & GENERATION_MASK;
        op.generation.set(generation.max(1));
        self.ops.give(slot);
    }

    /// The final completion is in: wakes the waiting task, or frees an orphan. `progress` is what
    /// the future finds.
    #[inline]
    pub(crate) fn end(&self, slot: u32, op: &OpSlot, result: i32, progress: u32) {
        op.result.set(result);
        op.progress.set(progress);
        let socket = op.socket.get();
        self.in_flight.set(self.in_flight.get() - 1);
        if op.state.get() == State::Orphan {
            if let Some(socket) = self.sockets.get(socket) {
                socket.orphans.set(socket.orphans.get() - 1);
            }
            self.discard(op);
            self.free_op(slot, op);
        } else {
            op.state.set(State::Done);
            self.tasks.wake(op.task.get());
        }
        self.operation_ended(socket);
    }

    /// Routes a completion to its operation.
    #[inline]
    pub(crate) fn complete(&self, completion: Completion) {
        let token = completion.token;
        if token.kind() == Kind::Ignored {
            return;
        }
        if let Some(buffer) = completion.buffer() {
            self.pool.take(buffer);
        }
        let Some(op) = self.op(token.slot(), token.generation()) else {
            // Every operation completes once, so this would be a driver's bug; keep the buffer.
            debug_assert!(false, "a completion without an operation: {completion:?}");
            if let Some(buffer) = completion.buffer() {
                self.recycle(buffer);
            }
            return;
        };
        let slot = token.slot();
        match token.kind() {
            Kind::Recv => recv::complete(self, slot, op, completion),
            Kind::Send => send::complete(self, slot, op, completion),
            Kind::Accept => accept::complete(self, slot, op, completion),
            Kind::RecvInto | Kind::Connect | Kind::Poll => {
                self.end(slot, op, completion.result, 0);
            }
            Kind::Doorbell => self.doorbell_rang(slot, op, completion),
            Kind::Ignored => {}
        }
    }
}
