//! One thread's runtime: what belongs together, and the loop that turns.
//!
//! ```text
//!          ┌───────────────────────────── turn ─────────────────────────────┐
//!          │  serve receives that wait for a buffer                         │
//!          │  driver: submit all, wait for the first completion or timer    │
//!          │  read the clock                                                │
//!          │  completions ─▶ operations ─▶ ready tasks                      │
//!          │  due timers ──────────────────▶ ready tasks                    │
//!          └──────────────▶ poll ready tasks ──▶ (again) ───────────────────┘
//! ```
//!
//! Futures reach the shard through a thread-local pointer and only ever share it (`&Shard`): every
//! part keeps its own cells and borrows them for one call. Nothing is borrowed across a poll, and
//! nothing of the caller's is dropped inside a borrow.

#![expect(unsafe_code, reason = "the thread-local pointer to the shard")]

use std::{
    cell::{Cell, RefCell, UnsafeCell},
    future::Future,
    io,
    os::fd::RawFd,
    pin::pin,
    ptr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use crate::runtime::{
    DriverKind, Options, StartError, Usage,
    buffers::{Pool, Waiters},
    clock::Clock,
    driver::{Completion, Driver, Kind, Op, Wait},
    executor::{Tasks, task_waker},
    lease::Leases,
    mailbox::Doorbell,
    op::{OpSlot, Payload, State},
    slab::{NONE, Slab},
    sockets::Socket,
    splice::Pipes,
    sys,
    timers::Wheel,
};

thread_local! {
    static CURRENT: Cell<*const Shard> = const { Cell::new(ptr::null()) };
}

/// Calls `f` with this thread's shard.
///
/// # Panics
/// When the thread has none: these functions are called from within a runtime.
#[inline]
pub(crate) fn with<R>(f: impl FnOnce(&Shard) -> R) -> R {
    let shard = CURRENT.get();
    assert!(!shard.is_null(), "runtime functions are called on a thread that has a `Runtime`");
    // SAFETY: `Shard::enter` set the pointer to a boxed shard of this thread, and `leave` clears it
    // before the box is freed.
    f(unsafe { &*shard })
}

/// The same, or `None` when the thread has none: for drops.
#[inline]
pub(crate) fn try_with<R>(f: impl FnOnce(&Shard) -> R) -> Option<R> {
    let shard = CURRENT.get();
    // SAFETY: as in `with`; a null pointer becomes `None`.
    unsafe { shard.as_ref() }.map(f)
}

/// A thread's runtime.
pub(crate) struct Shard {
    pub(crate) driver: RefCell<Driver>,
    pub(crate) pool: Pool,
    pub(crate) waiters: Waiters,
    pub(crate) ops: Slab<OpSlot>,
    pub(crate) sockets: Slab<Socket>,
    pub(crate) tasks: Tasks,
    pub(crate) timers: Wheel,
    pub(crate) clock: Clock,
    pub(crate) leases: Leases,
    pub(crate) pipes: Pipes,
    /// Operations that the driver has.
    pub(crate) in_flight: Cell<u32>,
    completions: RefCell<Vec<Completion>>,
    doorbell: Arc<Doorbell>,
    /// Where the driver reads the doorbell's count to; nobody looks at it.
    doorbell_count: UnsafeCell<u64>,
    doorbell_slot: Cell<u32>,
    turns: Cell<u64>,
    is_running: Cell<bool>,
    is_ending: Cell<bool>,
}

impl Shard {
    /// Puts a runtime together around a driver.
    pub(crate) fn new(
        driver: Driver,
        pool: Pool,
        options: &Options,
    ) -> Result<Box<Self>, StartError> {
        let doorbell = Doorbell::new(driver.kind())
            .map_err(|error| StartError::new(format!("no eventfd can be had: {error}")))?;
        let doorbell = Arc::new(doorbell);
        let is_virtual = driver.kind() == DriverKind::Sim;
        Ok(Box::new(Self {
            driver: RefCell::new(driver),
            pool,
            waiters: Waiters::default(),
            ops: Slab::new(),
            sockets: Slab::new(),
            tasks: Tasks::new(doorbell.clone()),
            timers: Wheel::new(),
            clock: Clock::new(is_virtual),
            leases: Leases::new(options.lease_bytes_max),
            pipes: Pipes::default(),
            in_flight: Cell::new(0),
            completions: RefCell::default(),
            doorbell,
            doorbell_count: UnsafeCell::new(0),
            doorbell_slot: Cell::new(NONE),
            turns: Cell::new(0),
            is_running: Cell::new(false),
            is_ending: Cell::new(false),
        }))
    }

    /// Makes this the thread's shard. False if it has one already.
    pub(crate) fn enter(&self) -> bool {
        if !CURRENT.get().is_null() {
            return false;
        }
        CURRENT.set(self);
        true
    }

    /// Whether the thread has a shard.
    pub(crate) fn is_entered() -> bool {
        !CURRENT.get().is_null()
    }

    /// Turns so far.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.get()
    }

    /// Runs tasks and `future` until that ends.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        assert!(!self.is_running.replace(true), "`block_on` isn't called from within a task");
        let mut future = pin!(future);
        let mut output = None;
        let main = self.tasks.main();
        let waker = task_waker(main);
        self.clock.refresh();
        self.tasks.wake(main);
        let mut poll_main = || match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => {
                output = Some(value);
                true
            }
            Poll::Pending => false,
        };
        while !self.tasks.run(&mut poll_main) {
            self.turn(None);
        }
        self.is_running.set(false);
        output.expect("`run` is true only after `poll_main` has set the output")
    }

    /// One turn: see the picture above. `limit` bounds the wait.
    fn turn(&self, limit: Option<Duration>) {
        let must_not_wait = self.serve_waiters();
        let wait = if must_not_wait || self.tasks.has_ready() {
            Wait::No
        } else {
            match (self.timers.next_timeout(self.clock.elapsed()), limit) {
                (Some(timer), Some(limit)) => Wait::For(timer.min(limit)),
                (Some(duration), None) | (None, Some(duration)) => Wait::For(duration),
                (None, None) => Wait::Forever,
            }
        };
        let mut completions = self.completions.take();
        self.driver.borrow_mut().turn(&self.pool, wait, &mut completions);
        self.refresh_clock();
        self.turns.set(self.turns.get() + 1);
        for completion in completions.drain(..) {
            self.complete(completion);
        }
        *self.completions.borrow_mut() = completions;
        self.timers.fire(self.clock.elapsed(), |task| self.tasks.wake(task));
    }

    #[inline]
    fn refresh_clock(&self) {
        #[cfg(any(test, feature = "sim"))]
        if let Some(sim) = self.driver.borrow_mut().sim() {
            self.clock.jump(sim.now());
            return;
        }
        self.clock.refresh();
    }

    /// A buffer is free again.
    #[inline]
    pub(crate) fn recycle(&self, buffer: u16) {
        self.pool.give(buffer);
        self.driver.borrow_mut().recycle(&self.pool, buffer);
    }

    /// The descriptor of a socket, -1 if it has none.
    pub(crate) fn fd(&self, socket: u32) -> RawFd {
        self.sockets.get(socket).map_or(-1, |socket| socket.fd.get())
    }

    /// Whether splice(2) works on this driver's sockets.
    pub(crate) fn can_splice(&self) -> bool {
        self.driver.borrow().kind() != DriverKind::Sim
    }

    /// Where other threads ring; from now on the driver listens.
    pub(crate) fn doorbell(&self) -> &Arc<Doorbell> {
        if self.doorbell_slot.get() == NONE && !self.is_ending.get() {
            let slot = self.prepare(Kind::Doorbell, NONE, Payload::None);
            self.doorbell_slot.set(slot);
            self.in_flight.set(self.in_flight.get() + 1);
            self.listen_for_doorbell(slot);
        }
        &self.doorbell
    }

    fn listen_for_doorbell(&self, slot: u32) {
        let Some(op) = self.ops.get(slot) else { return };
        let operation = Op::Doorbell { to: self.doorbell_count.get() };
        let mut driver = self.driver.borrow_mut();
        driver.submit(&self.pool, self.token(slot, op), self.doorbell.fd(), operation);
    }

    /// Another thread rang: wakes the tasks that it named, and listens again.
    pub(crate) fn doorbell_rang(&self, slot: u32, op: &OpSlot, completion: Completion) {
        self.doorbell.answer(|task| self.tasks.wake(task));
        let is_open = completion.result >= 0 || completion.result == -libc::EINTR;
        if is_open && op.state.get() == State::Pending && !self.is_ending.get() {
            self.listen_for_doorbell(slot);
            return;
        }
        op.state.set(State::Orphan);
        self.doorbell_slot.set(NONE);
        self.end(slot, op, completion.result, 0);
    }

    pub(crate) fn usage(&self) -> Usage {
        let is_virtual = self.driver.borrow().kind() == DriverKind::Sim;
        Usage {
            turns: self.turns.get(),
            busy: if is_virtual { Duration::ZERO } else { sys::thread_cpu_time() },
            buffers_in_use: self.pool.in_use(),
            leases_in_use: self.leases.out(),
            ops_in_flight: self.in_flight.get(),
            tasks: self.tasks.live(),
            sockets: self.sockets.live(),
            buffer_waits: self.waiters.waited(),
            cq_overflows: self.driver.borrow().overflows(),
        }
    }

    /// Drops every task, cancels what is in flight, and waits until the driver has given back every
    /// buffer: only then may their memory go.
    pub(crate) fn shut_down(&self) {
        self.tasks.clear();
        self.is_ending.set(true);
        for _ in 0..DRAIN_TURNS_MAX {
            if self.in_flight.get() == 0 {
                break;
            }
            for slot in 0..self.ops.capacity() {
                if let Some(op) = self.ops.get(slot)
                    && matches!(op.state.get(), State::Pending | State::Orphan | State::Waiting)
                {
                    self.cancel_op(slot, op);
                }
            }
            self.turn(Some(DRAIN_TURN));
            self.tasks.clear();
        }
        if self.in_flight.get() > 0 {
            tracing::error!(operations = self.in_flight.get(), "operations can't be drained");
        }
    }

    /// Takes the shard away from its thread.
    pub(crate) fn leave(&self) {
        if ptr::eq(CURRENT.get(), self) {
            CURRENT.set(ptr::null());
        }
    }
}

/// Turns that the end of a runtime waits for operations to drain, and how long each may wait.
const DRAIN_TURNS_MAX: u32 = 100;
const DRAIN_TURN: Duration = Duration::from_millis(50);

/// An error of the driver itself, not of an operation: said once each time, for the operator.
pub(crate) fn report(what: &str, error: &io::Error) {
    tracing::error!(%error, "{what}");
}
