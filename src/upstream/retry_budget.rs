//! How many retries an upstream may cost: a share of its requests, plus a few a second.
//!
//! Without one, retries multiply the load exactly when endpoints are least able to carry it.
//! Sans-IO: `now` is passed in. One per shard and upstream, so the minimum counts per shard.
//!
//! The last [`WINDOW_SECONDS`] seconds are kept as one slot a second:
//! ```text
//!   second  ..  41  42  43  44  45 ..        allowed when
//!   requests    90  88  95  91  12           retries in the window
//!   retries      0   0   3   7   1             < share × requests + minimum × WINDOW_SECONDS
//! ```

use std::{
    cell::{Cell, RefCell},
    time::Instant,
};

/// Counts requests and retries of one upstream on one shard.
#[derive(Debug)]
pub struct RetryBudget {
    epoch: Instant,
    slots: RefCell<[Slot; WINDOW_SECONDS as usize]>,
    refused: Cell<u64>,
}

impl RetryBudget {
    /// An empty window. `now` is the start of its first second.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { epoch: now, slots: RefCell::default(), refused: Cell::new(0) }
    }

    /// Counts a request (not a retry of one).
    pub fn deposit(&self, now: Instant) {
        self.slot(now, |slot| slot.requests = slot.requests.saturating_add(1));
    }

    /// Takes one retry, if `share` of the window's requests (and the minimum) still allow it.
    ///
    /// `share` is the route's `retry.budget`, 0.0 to 1.0 and above; NaN and negatives count as 0.
    pub fn withdraw(&self, now: Instant, share: f64) -> bool {
        let second = self.second(now);
        let (requests, retries) = self
            .slots
            .borrow()
            .iter()
            .filter(|slot| second.saturating_sub(slot.second) < u64::from(WINDOW_SECONDS))
            .fold((0_u64, 0_u64), |(requests, retries), slot| {
                (requests + u64::from(slot.requests), retries + u64::from(slot.retries))
            });
        #[expect(clippy::cast_precision_loss, reason = "counts of ten seconds are far below 2^52")]
        let allowed = share.max(0.0).mul_add(requests as f64, f64::from(RETRIES_MIN));
        #[expect(clippy::cast_precision_loss, reason = "counts of ten seconds are far below 2^52")]
        let is_allowed = (retries as f64) + 1.0 <= allowed;
        if is_allowed {
            self.slot(now, |slot| slot.retries = slot.retries.saturating_add(1));
        } else {
            self.refused.set(self.refused.get() + 1);
        }
        is_allowed
    }

    /// Retries that the budget refused, ever.
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }

    fn slot(&self, now: Instant, change: impl FnOnce(&mut Slot)) {
        let second = self.second(now);
        #[expect(clippy::cast_possible_truncation, reason = "below WINDOW_SECONDS")]
        let index = (second % u64::from(WINDOW_SECONDS)) as usize;
        let slot = &mut self.slots.borrow_mut()[index];
        if slot.second != second {
            *slot = Slot { second, ..Slot::default() };
        }
        change(slot);
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_secs()
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Slot {
    second: u64,
    requests: u32,
    retries: u32,
}

/// Length of the window that a budget looks at.
pub const WINDOW_SECONDS: u32 = 10;
/// Retries a second that are always allowed: without them an upstream with little traffic could
/// never retry at all.
pub const RETRIES_PER_SECOND_MIN: u32 = 3;
/// The minimum over one window.
const RETRIES_MIN: u32 = RETRIES_PER_SECOND_MIN * WINDOW_SECONDS;

#[cfg(test)]
mod tests {
    use super::{RETRIES_MIN, RetryBudget, WINDOW_SECONDS};
    use crate::upstream::testing;
    use std::time::{Duration, Instant};

    fn taken(budget: &RetryBudget, now: Instant, share: f64) -> u32 {
        let mut taken = 0;
        while taken < 1_000_000 && budget.withdraw(now, share) {
            taken += 1;
        }
        taken
    }

    #[test]
    fn a_share_of_the_requests_plus_a_minimum() {
        let start = testing::start();
        let budget = RetryBudget::new(start);
        assert_eq!(taken(&budget, start, 0.2), RETRIES_MIN);
        for _ in 0..1000 {
            budget.deposit(start);
        }
        assert_eq!(taken(&budget, start, 0.2), 200);
        assert_eq!(budget.refused(), 2);
    }

    #[test]
    fn old_seconds_leave_the_window() {
        let start = testing::start();
        let budget = RetryBudget::new(start);
        let at = |second: u64| start + Duration::from_secs(second);
        for second in 0..20 {
            for _ in 0..100 {
                budget.deposit(at(second));
            }
        }
        // Ten seconds count, not twenty.
        assert_eq!(taken(&budget, at(19), 0.5), 500 + RETRIES_MIN);
        assert_eq!(taken(&budget, at(19 + u64::from(WINDOW_SECONDS) - 1), 0.5), 0);
        assert_eq!(taken(&budget, at(19 + u64::from(WINDOW_SECONDS)), 0.5), RETRIES_MIN);
    }

    #[test]
    fn nothing_but_the_minimum_for_a_share_of_nothing() {
        for share in [0.0, -1.0, f64::NAN] {
            let start = testing::start();
            let budget = RetryBudget::new(start);
            for _ in 0..1000 {
                budget.deposit(start);
            }
            assert_eq!(taken(&budget, start, share), RETRIES_MIN, "{share}");
        }
    }

    #[test]
    fn a_clock_that_jumps_far_ahead_finds_an_empty_window() {
        let start = testing::start();
        let budget = RetryBudget::new(start);
        for _ in 0..1000 {
            budget.deposit(start);
        }
        let later = start + Duration::from_secs(u64::from(u32::MAX));
        assert_eq!(taken(&budget, later, 1.0), RETRIES_MIN);
        // And one that goes back a little counts as the first second.
        assert!(!budget.withdraw(later, 1.0));
    }
}
