//! The only reader of the clock. A shard reads it once per turn; everything else takes `now`.
//!
//! Under the simulation driver time is virtual: it stands still while tasks run and jumps to the
//! next event when nothing is runnable.

use std::{
    cell::Cell,
    time::{Duration, Instant, SystemTime},
};

use crate::runtime::shard;

/// The turn's time: read from the clock once per turn of the loop, so two calls without an await
/// between them agree.
///
/// # Panics
/// Outside of a runtime.
pub fn now() -> Instant {
    shard::with(|shard| shard.clock.now())
}

/// Wall clock of the turn (for logs and `Date`). It follows the monotonic clock between
/// adjustments, which it takes over once per second.
///
/// # Panics
/// Outside of a runtime.
pub fn wall_now() -> SystemTime {
    shard::with(|shard| shard.clock.wall_now())
}

/// The monotonic clock itself, for threads that have no runtime.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads it")]
pub fn now_uncached() -> Instant {
    Instant::now()
}

/// The wall clock itself, for threads that have no runtime.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads it")]
pub fn wall_now_uncached() -> SystemTime {
    SystemTime::now()
}

/// How long the wall clock is extrapolated before it is read again.
const WALL_REFRESH: Duration = Duration::from_secs(1);

/// A shard's cached clock.
pub(crate) struct Clock {
    epoch: Instant,
    now: Cell<Instant>,
    /// `now` in nanoseconds since `epoch`: what every timer is compared with.
    elapsed: Cell<u64>,
    wall: Cell<SystemTime>,
    wall_read_at: Cell<Instant>,
    is_virtual: bool,
}

impl Clock {
    pub(crate) fn new(is_virtual: bool) -> Self {
        let now = now_uncached();
        // Virtual runs begin at a fixed second, so that logs and dates are reproducible.
        let wall = if is_virtual {
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
        } else {
            wall_now_uncached()
        };
        Self {
            epoch: now,
            now: Cell::new(now),
            elapsed: Cell::new(0),
            wall: Cell::new(wall),
            wall_read_at: Cell::new(now),
            is_virtual,
        }
    }

    #[inline]
    pub(crate) fn now(&self) -> Instant {
        self.now.get()
    }

    /// Reads the clock; a virtual one stays where it is.
    #[inline]
    pub(crate) fn refresh(&self) {
        if !self.is_virtual {
            self.set(now_uncached());
        }
    }

    /// Moves a virtual clock.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn jump(&self, to: Duration) {
        debug_assert!(self.is_virtual, "real time isn't ours to move");
        self.set(self.epoch + to);
    }

    #[inline]
    fn set(&self, now: Instant) {
        self.now.set(now);
        self.elapsed.set(self.since_epoch(now));
    }

    pub(crate) fn wall_now(&self) -> SystemTime {
        let now = self.now.get();
        let age = now.saturating_duration_since(self.wall_read_at.get());
        if age >= WALL_REFRESH && !self.is_virtual {
            self.wall.set(wall_now_uncached());
            self.wall_read_at.set(now);
            return self.wall.get();
        }
        self.wall.get() + age
    }

    /// Nanoseconds since the runtime began.
    #[inline]
    pub(crate) fn elapsed(&self) -> u64 {
        self.elapsed.get()
    }

    /// `at` in nanoseconds since the runtime began; 0 for what lies before, `u64::MAX` for what
    /// lies beyond five centuries.
    #[inline]
    pub(crate) fn since_epoch(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }
}
