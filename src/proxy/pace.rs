//! The least speed of a client: how far one may fall behind `limits.min_rate`.
//!
//! ```text
//!   left   full ─┐      ┌ a piece came: + its bytes / rate, at most full
//!                 ╲    ╱╲
//!                  ╲__╱  ╲      falls only while the client is waited for
//!                         ╲____ 0: too slow
//! ```
//!
//! A pause is bounded elsewhere; this bounds pauses in a row, which a client that sends or takes a
//! byte now and then never lets become too long. Time in which the endpoint is waited for doesn't
//! count, and what came fast earlier counts for `full` at most.

use std::{cell::Cell, time::Duration};

use crate::base::units::ByteRate;

/// What is left of a client's time.
#[derive(Debug)]
pub(super) struct Pace {
    /// None: any speed will do.
    rate: Option<ByteRate>,
    full: Duration,
    left: Cell<Duration>,
}

impl Pace {
    /// Asks for `rate` of somebody whose single pauses are bounded by `pause`: two of those is
    /// how far one may fall behind.
    pub(super) fn new(rate: Option<ByteRate>, pause: Duration) -> Self {
        let full = pause.saturating_mul(PAUSES);
        Self { rate, full, left: Cell::new(full) }
    }

    /// Asks for nothing.
    pub(super) const fn off() -> Self {
        Self { rate: None, full: Duration::ZERO, left: Cell::new(Duration::ZERO) }
    }

    /// The longest wait now, where a single one is bounded by `pause`.
    pub(super) fn limit(&self, pause: Duration) -> Duration {
        if self.rate.is_none() { pause } else { pause.min(self.left.get()) }
    }

    /// What will be left after one more wait of `waited`, in which `moved` bytes moved. Zero: too
    /// slow.
    pub(super) fn left_after(&self, waited: Duration, moved: u64) -> Duration {
        let Some(rate) = self.rate else { return Duration::MAX };
        let gained = rate.time(moved);
        self.left.get().saturating_add(gained).saturating_sub(waited).min(self.full)
    }

    /// Takes note of such a wait.
    pub(super) fn note(&self, waited: Duration, moved: u64) {
        if self.rate.is_some() {
            self.left.set(self.left_after(waited, moved));
        }
    }

    /// Whether nothing is left.
    pub(super) fn is_over(&self) -> bool {
        self.rate.is_some() && self.left.get().is_zero()
    }
}

/// How many pauses of the greatest length a client may be behind.
const PAUSES: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace(rate: u64) -> Pace {
        Pace::new(Some(ByteRate(rate)), 30 * SECOND)
    }

    #[test]
    fn a_byte_now_and_then_is_too_slow() {
        let pace = pace(240);
        let mut waits = 0;
        while !pace.is_over() {
            let wait = pace.limit(29 * SECOND);
            pace.note(wait, u64::from(wait == 29 * SECOND));
            waits += 1;
        }
        assert_eq!(waits, 3, "29 s, 29 s, and the rest of a minute");
    }

    #[test]
    fn whoever_keeps_the_rate_may_go_on_for_ever() {
        let pace = pace(240);
        for _ in 0..10_000 {
            assert_eq!(pace.limit(29 * SECOND), 29 * SECOND);
            pace.note(29 * SECOND, 29 * 240);
        }
    }

    #[test]
    fn a_fast_beginning_buys_no_more_than_the_whole() {
        let pace = pace(240);
        pace.note(SECOND, 1 << 30);
        assert_eq!(pace.limit(Duration::MAX), 60 * SECOND);
        assert_eq!(pace.left_after(59 * SECOND, 0), SECOND);
    }

    #[test]
    fn switched_off_it_asks_for_nothing() {
        let pace = Pace::off();
        pace.note(Duration::MAX, 0);
        assert!(!pace.is_over());
        assert_eq!(pace.limit(SECOND), SECOND);
    }
}
