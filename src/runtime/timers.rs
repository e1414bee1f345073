//! Timers: a hashed wheel with 10 ms ticks and lazy deadlines.
//!
//! ```text
//!   set(at) ─▶ slot.deadline = at                 one store; re-linked only when `at` is earlier
//!   bucket of the tick comes up ─▶ deadline later? link it again there
//!                                  deadline due?   wake its task, earliest first
//!                                  cleared?        forget it
//!   buckets [ 0 | 1 | … | 4095 ]  one lap is 41 s; a bitmap finds the next bucket that isn't empty
//! ```
//!
//! A connection that pushes its idle deadline with each request costs one store per request and
//! one bucket visit per idle period. A timer never fires early, and at most one tick late (plus
//! what the turn takes). There are no kernel timers: the next tick bounds the turn's wait.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::{Future, poll_fn},
    marker::PhantomData,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use crate::runtime::{
    executor::NO_TASK,
    shard,
    slab::{NONE, Record, Slab},
};

/// A deadline that costs one store to move and nothing while it waits. Not registered with the
/// wheel until first set. One waiter at a time: the task that polled last.
pub struct Timer {
    slot: Cell<u32>,
    _not_send: PhantomData<Rc<()>>,
}

/// The timer went off before the future ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the deadline has passed")]
pub struct Expired;

impl Timer {
    /// A timer without a deadline: it never expires.
    pub const fn new() -> Self {
        Self { slot: Cell::new(NONE), _not_send: PhantomData }
    }

    /// Moves the deadline. A waiting task is woken at the tick after `at`.
    pub fn set(&self, at: Instant) {
        shard::with(|shard| {
            self.place(shard, shard.clock.since_epoch(at));
        });
    }

    /// Moves the deadline to `delay` from now: as [`set`](Self::set), without calendar arithmetic.
    #[inline]
    pub fn set_after(&self, delay: Duration) {
        shard::with(|shard| {
            let nanos = delay.as_secs().saturating_mul(1_000_000_000);
            let nanos = nanos.saturating_add(u64::from(delay.subsec_nanos()));
            // One below `NEVER`, which means that there is no deadline.
            self.place(shard, shard.clock.elapsed().saturating_add(nanos).min(NEVER - 1));
        });
    }

    #[inline]
    fn place(&self, shard: &shard::Shard, deadline: u64) {
        if self.slot.get() == NONE {
            self.slot.set(shard.timers.add());
        }
        shard.timers.set(self.slot.get(), deadline);
    }

    /// Takes the deadline away.
    pub fn clear(&self) {
        if self.slot.get() != NONE {
            shard::try_with(|shard| shard.timers.clear(self.slot.get()));
        }
    }

    /// Whether the deadline has passed, by the turn's clock.
    pub fn is_expired(&self) -> bool {
        self.slot.get() != NONE
            && shard::with(|shard| shard.timers.deadline(self.slot.get()) <= shard.clock.elapsed())
    }

    /// Ready once the deadline has passed; otherwise the current task is woken then. Pending for
    /// ever without a deadline.
    #[inline]
    pub fn poll_expired(&self, _cx: &mut Context<'_>) -> Poll<()> {
        if self.slot.get() == NONE {
            return Poll::Pending;
        }
        shard::with(|shard| {
            let Some(timer) = shard.timers.slots.get(self.slot.get()) else { return Poll::Pending };
            if timer.deadline.get() <= shard.clock.elapsed() {
                return Poll::Ready(());
            }
            timer.task.set(shard.tasks.current());
            Poll::Pending
        })
    }

    /// Runs `future` until it ends or the timer expires, whichever comes first (the future wins
    /// ties). *Cancel safety*: that of `future`, which is dropped when the timer wins.
    ///
    /// # Errors
    /// [`Expired`].
    pub async fn guard<T>(&self, future: impl Future<Output = T>) -> Result<T, Expired> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll_expired(cx).map(|()| Err(Expired)),
        })
        .await
    }
}

impl Default for Timer {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if self.slot.get() != NONE {
            shard::try_with(|shard| shard.timers.remove(self.slot.get()));
        }
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("is_set", &(self.slot.get() != NONE)).finish()
    }
}

/// Sleeps for `duration`, rounded up to the next 10 ms tick. Cancel safe.
pub async fn sleep(duration: Duration) {
    sleep_until(super::now() + duration).await;
}

/// Sleeps until `at`, rounded up to the next 10 ms tick. Cancel safe.
pub async fn sleep_until(at: Instant) {
    let timer = Timer::new();
    timer.set(at);
    poll_fn(|cx| timer.poll_expired(cx)).await;
}

/// Nanoseconds in a tick.
const TICK: u64 = 10_000_000;
const BUCKETS: usize = 4096;
const WORDS: usize = BUCKETS / 64;
const _: () = assert!(WORDS == 64, "the summary is one word");

/// No deadline, and not in a bucket.
const NEVER: u64 = u64::MAX;

struct TimerSlot {
    /// Free chain, or the next slot of the bucket.
    next: Cell<u32>,
    prev: Cell<u32>,
    task: Cell<u32>,
    deadline: Cell<u64>,
    /// The tick whose bucket it is linked in, or NEVER.
    tick: Cell<u64>,
}

/// Bytes of a timer that was set.
#[cfg(test)]
pub(crate) const TIMER_SLOT_SIZE: usize = size_of::<TimerSlot>();

impl Default for TimerSlot {
    fn default() -> Self {
        Self {
            next: Cell::new(NONE),
            prev: Cell::new(NONE),
            task: Cell::new(NO_TASK),
            deadline: Cell::new(NEVER),
            tick: Cell::new(NEVER),
        }
    }
}

impl Record for TimerSlot {
    fn link(&self) -> &Cell<u32> {
        &self.next
    }
}

/// A shard's wheel.
pub(crate) struct Wheel {
    slots: Slab<TimerSlot>,
    heads: Box<[Cell<u32>; BUCKETS]>,
    /// One bit per bucket that isn't empty, and one bit per word that isn't zero.
    bitmap: [Cell<u64>; WORDS],
    summary: Cell<u64>,
    /// The last tick that was fired.
    current: Cell<u64>,
    due: RefCell<Vec<(u64, u32, u32)>>,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self {
            slots: Slab::new(),
            heads: Box::new([const { Cell::new(NONE) }; BUCKETS]),
            bitmap: [const { Cell::new(0) }; WORDS],
            summary: Cell::new(0),
            current: Cell::new(0),
            due: RefCell::default(),
        }
    }

    fn add(&self) -> u32 {
        self.slots.take()
    }

    fn remove(&self, slot: u32) {
        let Some(timer) = self.slots.get(slot) else { return };
        self.unlink(slot, timer);
        timer.deadline.set(NEVER);
        timer.task.set(NO_TASK);
        self.slots.give(slot);
    }

    #[inline]
    fn set(&self, slot: u32, deadline: u64) {
        let Some(timer) = self.slots.get(slot) else { return };
        timer.deadline.set(deadline);
        let tick = deadline.div_ceil(TICK);
        if tick < timer.tick.get() {
            self.unlink(slot, timer);
            self.link(slot, timer, tick);
        }
    }

    fn clear(&self, slot: u32) {
        // It stays in its bucket, which forgets it when it comes up.
        if let Some(timer) = self.slots.get(slot) {
            timer.deadline.set(NEVER);
        }
    }

    #[inline]
    fn deadline(&self, slot: u32) -> u64 {
        self.slots.get(slot).map_or(NEVER, |timer| timer.deadline.get())
    }

    #[cfg(test)]
    fn wait(&self, slot: u32, task: u32) {
        if let Some(timer) = self.slots.get(slot) {
            timer.task.set(task);
        }
    }

    /// Timers that exist.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn live(&self) -> u32 {
        self.slots.live()
    }

    fn link(&self, slot: u32, timer: &TimerSlot, tick: u64) {
        // A tick that was fired already is late: the next one takes it.
        let tick = tick.max(self.current.get() + 1);
        let bucket = bucket_of(tick);
        let head = self.heads[bucket].get();
        timer.tick.set(tick);
        timer.prev.set(NONE);
        timer.next.set(head);
        if let Some(head) = self.slots.get(head) {
            head.prev.set(slot);
        }
        self.heads[bucket].set(slot);
        self.mark(bucket);
    }

    fn unlink(&self, _slot: u32, timer: &TimerSlot) {
        if timer.tick.get() == NEVER {
            return;
        }
        let bucket = bucket_of(timer.tick.get());
        let (prev, next) = (timer.prev.get(), timer.next.get());
        if let Some(next) = self.slots.get(next) {
            next.prev.set(prev);
        }
        match self.slots.get(prev) {
            Some(prev) => prev.next.set(next),
            None => self.heads[bucket].set(next),
        }
        timer.tick.set(NEVER);
        timer.prev.set(NONE);
        timer.next.set(NONE);
        if self.heads[bucket].get() == NONE {
            self.unmark(bucket);
        }
    }

    fn mark(&self, bucket: usize) {
        let word = bucket / 64;
        self.bitmap[word].set(self.bitmap[word].get() | 1 << (bucket % 64));
        self.summary.set(self.summary.get() | 1 << word);
    }

    fn unmark(&self, bucket: usize) {
        let word = bucket / 64;
        self.bitmap[word].set(self.bitmap[word].get() & !(1 << (bucket % 64)));
        if self.bitmap[word].get() == 0 {
            self.summary.set(self.summary.get() & !(1 << word));
        }
    }

    /// The first tick after `current` whose bucket isn't empty.
    fn next_tick(&self) -> Option<u64> {
        if self.summary.get() == 0 {
            return None;
        }
        let first = self.current.get() + 1;
        let start = bucket_of(first);
        let (word, bit) = (start / 64, start % 64);
        let found = match self.bitmap[word].get() & (u64::MAX << bit) {
            0 => {
                // The words behind, then (a lap on) those before; this word's low bits come last.
                let rotated = self.summary.get().rotate_right(u32::try_from(word).unwrap_or(0) + 1);
                let ahead = rotated.trailing_zeros() as usize;
                let word = (word + 1 + ahead) % WORDS;
                word * 64 + self.bitmap[word].get().trailing_zeros() as usize
            }
            bits => word * 64 + bits.trailing_zeros() as usize,
        };
        let distance = (found + BUCKETS - start) % BUCKETS;
        Some(first + distance as u64)
    }

    /// Nanoseconds from `now` to the next tick that has a timer; `None` without timers.
    #[inline]
    pub(crate) fn next_timeout(&self, now: u64) -> Option<Duration> {
        let tick = self.next_tick()?;
        Some(Duration::from_nanos((tick * TICK).saturating_sub(now)))
    }

    /// Calls `wake` with the task of each timer that is due at `now`, in the order of deadlines.
    pub(crate) fn fire(&self, now: u64, mut wake: impl FnMut(u32)) {
        let until = now / TICK;
        while let Some(tick) = self.next_tick()
            && tick <= until
        {
            self.current.set(tick.max(self.current.get()));
            self.fire_bucket(tick, now);
        }
        self.current.set(until.max(self.current.get()));
        let mut due = self.due.take();
        due.sort_unstable();
        for (_, _, task) in due.drain(..) {
            wake(task);
        }
        *self.due.borrow_mut() = due;
    }

    fn fire_bucket(&self, tick: u64, now: u64) {
        let mut next = self.heads[bucket_of(tick)].get();
        while let Some(timer) = self.slots.get(next) {
            let slot = next;
            next = timer.next.get();
            if timer.tick.get() > tick {
                continue; // A later lap's.
            }
            self.unlink(slot, timer);
            let deadline = timer.deadline.get();
            if deadline == NEVER {
                continue;
            }
            if deadline > now {
                self.link(slot, timer, deadline.div_ceil(TICK));
            } else if timer.task.get() != NO_TASK {
                let task = timer.task.replace(NO_TASK);
                self.due.borrow_mut().push((deadline, slot, task));
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is below BUCKETS")]
fn bucket_of(tick: u64) -> usize {
    (tick % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(wheel: &Wheel, now_ms: u64) -> Vec<u32> {
        let mut tasks = Vec::new();
        wheel.fire(now_ms * 1_000_000, |task| tasks.push(task));
        tasks
    }

    fn timer(wheel: &Wheel, task: u32, at_ms: u64) -> u32 {
        let slot = wheel.add();
        wheel.set(slot, at_ms * 1_000_000);
        wheel.wait(slot, task);
        slot
    }

    #[test]
    fn timers_of_one_tick_fire_in_the_order_of_their_deadlines() {
        let wheel = Wheel::new();
        for (task, at) in [(1, 28), (2, 21), (3, 25), (4, 30)] {
            timer(&wheel, task, at);
        }
        assert_eq!(fired(&wheel, 29), [0_u32; 0]);
        assert_eq!(fired(&wheel, 30), [2, 3, 1, 4]);
        assert_eq!(wheel.next_timeout(0), None);
    }

    #[test]
    fn a_deadline_moved_later_is_one_store_and_fires_later() {
        let wheel = Wheel::new();
        let slot = timer(&wheel, 7, 50);
        wheel.set(slot, 200 * 1_000_000);
        assert_eq!(wheel.slots.get(slot).unwrap().tick.get(), 5, "not re-linked");
        assert_eq!(fired(&wheel, 60), [0_u32; 0]);
        assert_eq!(fired(&wheel, 199), [0_u32; 0]);
        assert_eq!(fired(&wheel, 200), [7]);
    }

    #[test]
    fn a_deadline_moved_earlier_fires_earlier() {
        let wheel = Wheel::new();
        let slot = timer(&wheel, 7, 60_000);
        wheel.set(slot, 20 * 1_000_000);
        assert_eq!(wheel.next_timeout(0), Some(Duration::from_millis(20)));
        assert_eq!(fired(&wheel, 20), [7]);
    }

    #[test]
    fn laps_are_told_apart() {
        let wheel = Wheel::new();
        let lap = 10 * BUCKETS as u64;
        timer(&wheel, 1, 100);
        timer(&wheel, 2, 100 + lap);
        timer(&wheel, 3, 100 + 3 * lap);
        assert_eq!(fired(&wheel, 100), [1]);
        assert_eq!(fired(&wheel, 99 + lap), [0_u32; 0]);
        assert_eq!(fired(&wheel, 100 + lap), [2]);
        assert_eq!(fired(&wheel, 90 + 3 * lap), [0_u32; 0]);
        assert_eq!(fired(&wheel, 100 + 3 * lap), [3]);
    }

    #[test]
    fn a_cleared_or_removed_timer_does_not_fire() {
        let wheel = Wheel::new();
        let cleared = timer(&wheel, 1, 20);
        let removed = timer(&wheel, 2, 20);
        timer(&wheel, 3, 20);
        wheel.clear(cleared);
        wheel.remove(removed);
        assert_eq!(fired(&wheel, 1000), [3]);
        wheel.set(cleared, 2_000_000_000);
        wheel.wait(cleared, 1);
        assert_eq!(fired(&wheel, 2000), [1]);
    }

    #[test]
    fn random_timers_fire_once_in_time() {
        // A reference list of (deadline, task) beside the wheel, seeded.
        let mut seed = 0x1234_5678_9abc_def1_u64;
        let mut random = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        let wheel = Wheel::new();
        let mut expected: Vec<(u64, u32, u32)> = Vec::new();
        let mut now = 0;
        for round in 0..3000_u32 {
            let at = now + random(90_000);
            let slot = timer(&wheel, round, at);
            expected.push((at.div_ceil(10).max(now / 10 + 1) * 10, round, slot));
            if random(4) == 0 && expected.len() > 1 {
                let (_, task, slot) = expected.swap_remove(0);
                wheel.remove(slot);
                assert!(task <= round);
            }
            now += random(300);
            let mut tasks = fired(&wheel, now);
            tasks.sort_unstable();
            let mut due: Vec<u32> = expected.iter().filter(|e| e.0 <= now).map(|e| e.1).collect();
            due.sort_unstable();
            assert_eq!(tasks, due, "round {round} at {now} ms");
            expected.retain(|e| {
                if e.0 <= now {
                    wheel.remove(e.2);
                }
                e.0 > now
            });
        }
        assert_eq!(wheel.live() as usize, expected.len());
    }
}
