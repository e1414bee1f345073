//! Tasks: a slab of boxed futures and a queue of those that are ready.
//!
//! ```text
//!   spawn ─▶ ready ─▶ poll ─┬─ done ─▶ slot free
//!              ▲            └─ pending ─▶ idle ──(completion, timer, waker)──▶ ready
//!              └──────────────────────────────────────────────────────────────┘
//! ```
//!
//! A task is polled as a whole: a completion queues the *task* that last polled the operation, not
//! a waker, and every future of the task is polled again. So futures of one task are composed with
//! [`race`](crate::runtime::race()) or plain `poll_fn`; combinators that keep wakers of their own
//! (`FuturesUnordered`) don't see completions. Foreign futures (channels from other crates) work:
//! their wakers are made on demand and may be woken from any thread.

#![expect(unsafe_code, reason = "polls futures in their slots, and builds wakers")]

use std::{
    cell::{Cell, RefCell, UnsafeCell},
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    marker::PhantomData,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker},
};

use crate::runtime::{
    PooledFuture,
    mailbox::Doorbell,
    shard,
    slab::{NONE, Record, Slab},
};

/// The index that names no task.
pub(crate) const NO_TASK: u32 = u32::MAX;

/// Polls of a turn before the driver gets its turn again, even if tasks are still ready: nothing
/// completes outside of it.
const POLLS_PER_TURN: usize = 1024;

/// Starts a task on this thread. Dropping the handle detaches the task; dropping the runtime drops
/// the task.
///
/// # Panics
/// Outside of a runtime.
pub fn spawn(future: impl Future<Output = ()> + 'static) -> Task {
    let future = PooledFuture::new(future);
    shard::with(|shard| shard.tasks.spawn(future))
}

/// A handle to a task.
#[derive(Debug)]
pub struct Task {
    index: u32,
    generation: u32,
    _not_send: PhantomData<Rc<()>>,
}

impl Task {
    /// Drops the task's future at once (not when called from within that task: then at its next
    /// await).
    pub fn abort(&self) {
        shard::try_with(|shard| shard.tasks.abort(self.index, self.generation));
    }

    /// Whether the task has ended or was aborted.
    pub fn is_finished(&self) -> bool {
        shard::try_with(|shard| !shard.tasks.is_live(self.index, self.generation)).unwrap_or(true)
    }
}

/// Lets other ready tasks run and the driver have its turn first, also when another future of the
/// same task makes it run before that. Cancel safe.
pub async fn yield_now() {
    let mut since = None;
    poll_fn(|_| {
        shard::with(|shard| {
            let turn = shard.turns();
            if since.is_some_and(|since| since != turn) {
                return Poll::Ready(());
            }
            if since.replace(turn).is_none() {
                shard.tasks.defer();
            }
            Poll::Pending
        })
    })
    .await;
}

/// A task is in the ready queue.
const QUEUED: u8 = 1;
/// It is being polled.
const RUNNING: u8 = 2;
/// It is to be dropped when the poll returns.
const ABORTED: u8 = 4;
/// The slot holds a task.
const LIVE: u8 = 8;

struct TaskSlot {
    link: Cell<u32>,
    generation: Cell<u32>,
    flags: Cell<u8>,
    future: UnsafeCell<Option<PooledFuture<'static, ()>>>,
}

/// Bytes of a task besides its future.
#[cfg(test)]
pub(crate) const TASK_SLOT_SIZE: usize = size_of::<TaskSlot>();

impl Default for TaskSlot {
    fn default() -> Self {
        Self {
            link: Cell::new(NONE),
            generation: Cell::new(0),
            flags: Cell::new(0),
            future: UnsafeCell::new(None),
        }
    }
}

impl Record for TaskSlot {
    fn link(&self) -> &Cell<u32> {
        &self.link
    }
}

/// The tasks of a shard.
pub(crate) struct Tasks {
    slots: Slab<TaskSlot>,
    ready: RefCell<VecDeque<u32>>,
    deferred: RefCell<Vec<u32>>,
    /// Tasks that run when no other is ready, in the same turn.
    settling: RefCell<Vec<u32>>,
    settled_rounds: Cell<u64>,
    current: Cell<u32>,
    /// The slot of `block_on`'s own future, which lives on its caller's stack.
    main: u32,
    /// Where wakes from other threads arrive.
    doorbell: Arc<Doorbell>,
}

impl Tasks {
    pub(crate) fn new(doorbell: Arc<Doorbell>) -> Self {
        let slots = Slab::<TaskSlot>::new();
        let main = slots.take();
        if let Some(slot) = slots.get(main) {
            slot.flags.set(LIVE);
        }
        Self {
            slots,
            ready: RefCell::default(),
            deferred: RefCell::default(),
            settling: RefCell::default(),
            settled_rounds: Cell::new(0),
            current: Cell::new(NO_TASK),
            main,
            doorbell,
        }
    }

    /// The task that is being polled.
    #[inline]
    pub(crate) fn current(&self) -> u32 {
        self.current.get()
    }

    /// Tasks alive, without `block_on`'s own.
    pub(crate) fn live(&self) -> u32 {
        self.slots.live() - 1
    }

    /// Whether this is the doorbell of these tasks' shard.
    pub(crate) fn is_of(&self, doorbell: &Arc<Doorbell>) -> bool {
        Arc::ptr_eq(&self.doorbell, doorbell)
    }

    pub(crate) fn main(&self) -> u32 {
        self.main
    }

    /// Whether a task waits to be polled.
    #[inline]
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.borrow().is_empty()
            || !self.deferred.borrow().is_empty()
            || !self.settling.borrow().is_empty()
    }

    /// Queues a task; a task that is queued, gone, or nobody's is left alone.
    #[inline]
    pub(crate) fn wake(&self, index: u32) {
        let Some(slot) = self.slots.get(index) else { return };
        let flags = slot.flags.get();
        if flags & (QUEUED | LIVE) == LIVE {
            slot.flags.set(flags | QUEUED);
            self.ready.borrow_mut().push_back(index);
        }
    }

    fn spawn(&self, future: PooledFuture<'static, ()>) -> Task {
        let index = self.slots.take();
        let mut generation = 0;
        if let Some(slot) = self.slots.get(index) {
            generation = slot.generation.get();
            slot.flags.set(LIVE);
            // SAFETY: the slot was free: nobody else has access to its future.
            unsafe { *slot.future.get() = Some(future) };
        }
        self.wake(index);
        Task { index, generation, _not_send: PhantomData }
    }

    fn is_live(&self, index: u32, generation: u32) -> bool {
        self.slots.get(index).is_some_and(|slot| {
            slot.generation.get() == generation && slot.flags.get() & (LIVE | ABORTED) == LIVE
        })
    }

    fn abort(&self, index: u32, generation: u32) {
        if !self.is_live(index, generation) {
            return;
        }
        let Some(slot) = self.slots.get(index) else { return };
        slot.flags.set(slot.flags.get() | ABORTED);
        if slot.flags.get() & RUNNING == 0 {
            self.finish(index, slot);
        }
    }

    fn finish(&self, index: u32, slot: &TaskSlot) {
        slot.flags.set(slot.flags.get() | ABORTED);
        // SAFETY: the task isn't being polled (callers check), so the future is nobody's else; it
        // is moved out before its drop can reach this slot again.
        let future = unsafe { (*slot.future.get()).take() };
        drop(future);
        slot.generation.set(slot.generation.get().wrapping_add(1));
        slot.flags.set(slot.flags.get() & QUEUED);
        // A queued index is given back when it is popped, or it could be queued twice.
        if slot.flags.get() & QUEUED == 0 {
            self.slots.give(index);
        }
    }

    /// Re-queues the current task behind the driver's next turn.
    fn defer(&self) {
        self.deferred.borrow_mut().push(self.current.get());
    }

    /// Queues the current task behind all others of this turn.
    pub(crate) fn settle(&self) {
        self.settling.borrow_mut().push(self.current.get());
    }

    /// How often the tasks of [`settle`](Self::settle) got their turn.
    pub(crate) fn settled_rounds(&self) -> u64 {
        self.settled_rounds.get()
    }

    /// The next task to poll: a ready one, else those that let all others go first.
    #[inline]
    fn next(&self) -> Option<u32> {
        let next = self.ready.borrow_mut().pop_front();
        if next.is_some() || self.settling.borrow().is_empty() {
            return next;
        }
        self.settled_rounds.set(self.settled_rounds.get() + 1);
        for index in self.settling.borrow_mut().drain(..) {
            self.wake(index);
        }
        self.ready.borrow_mut().pop_front()
    }

    /// Polls ready tasks until none is left or the turn's budget is used up. `poll_main` is called
    /// for `block_on`'s own future. True when that one has ended.
    pub(crate) fn run(&self, poll_main: &mut dyn FnMut() -> bool) -> bool {
        // `wake` doesn't reach `deferred`, and the vector keeps its capacity.
        for index in self.deferred.borrow_mut().drain(..) {
            self.wake(index);
        }
        for _ in 0..POLLS_PER_TURN {
            let Some(index) = self.next() else { break };
            let Some(slot) = self.slots.get(index) else { continue };
            slot.flags.set(slot.flags.get() & !QUEUED);
            if slot.flags.get() & LIVE == 0 {
                self.slots.give(index);
                continue;
            }
            let before = self.current.replace(index);
            if index == self.main {
                let is_done = poll_main();
                self.current.set(before);
                if is_done {
                    return true;
                }
                continue;
            }
            self.poll(index, slot);
            self.current.set(before);
        }
        false
    }

    fn poll(&self, index: u32, slot: &TaskSlot) {
        slot.flags.set(slot.flags.get() | RUNNING);
        let waker = task_waker(index);
        let mut cx = Context::from_waker(&waker);
        // SAFETY: RUNNING keeps `finish` away from the future, and a task isn't polled within its
        // own poll because `run` isn't re-entrant (`block_on` refuses to nest).
        let future = unsafe { &mut *slot.future.get() };
        let is_done = match future {
            Some(future) => Pin::new(future).poll(&mut cx).is_ready(),
            None => true,
        };
        slot.flags.set(slot.flags.get() & !RUNNING);
        if is_done || slot.flags.get() & ABORTED != 0 {
            self.finish(index, slot);
        }
    }

    /// Drops every task. Tasks that their drops spawn are dropped as well.
    pub(crate) fn clear(&self) {
        // Dropping a task may spawn another; each lap drops all that exist, and a task that
        // respawns itself for ever in its drop would be a bug of its own.
        for _ in 0..64 {
            for index in 0..self.slots.capacity() {
                let Some(slot) = self.slots.get(index) else { continue };
                if index != self.main && slot.flags.get() & (LIVE | RUNNING) == LIVE {
                    self.finish(index, slot);
                }
            }
            for index in self.ready.take() {
                if let Some(slot) = self.slots.get(index)
                    && slot.flags.replace(slot.flags.get() & !QUEUED) & LIVE == 0
                {
                    self.slots.give(index);
                }
            }
            if self.live() == 0 {
                break;
            }
        }
    }
}

/// The waker of a task, for code that insists on one. It names the task by index, so cloning it
/// (which is what foreign futures do) makes a real one, good for any thread.
pub(crate) fn task_waker(index: u32) -> Waker {
    let data = std::ptr::without_provenance(index as usize);
    // SAFETY: the functions of the table take any index and uphold the waker's contract; the data
    // is a number, so there is nothing to own or free.
    unsafe { Waker::from_raw(RawWaker::new(data, &LOCAL)) }
}

static LOCAL: RawWakerVTable = RawWakerVTable::new(local_clone, local_wake, local_wake, local_drop);

fn local_clone(data: *const ()) -> RawWaker {
    let index = u32::try_from(data.addr()).unwrap_or(NO_TASK);
    let doorbell = shard::try_with(|shard| shard.doorbell().clone());
    let Some(doorbell) = doorbell else { return RawWaker::new(data, &LOCAL) };
    let waker = ManuallyForgotten::raw(Arc::new(ForeignWaker { task: index, doorbell }));
    waker.0
}

fn local_wake(data: *const ()) {
    let index = u32::try_from(data.addr()).unwrap_or(NO_TASK);
    shard::try_with(|shard| shard.tasks.wake(index));
}

fn local_drop(_data: *const ()) {}

/// A raw waker taken out of a `Waker` without dropping it.
struct ManuallyForgotten(RawWaker);

impl ManuallyForgotten {
    fn raw(waker: Arc<ForeignWaker>) -> Self {
        let waker = std::mem::ManuallyDrop::new(Waker::from(waker));
        // Data and table are those of a live waker, whose ownership moves here: it is never dropped.
        Self(RawWaker::new(waker.data(), waker.vtable()))
    }
}

/// A waker that foreign futures may send anywhere.
struct ForeignWaker {
    task: u32,
    doorbell: Arc<Doorbell>,
}

impl Wake for ForeignWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        Doorbell::wake(&self.doorbell, self.task);
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("live", &self.live()).finish_non_exhaustive()
    }
}
