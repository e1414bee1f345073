//! Smooth weighted round robin, nginx's published algorithm (commit 52327e0627f4, 2012).
//!
//! Each pick adds every eligible candidate's weight to its current value, takes the largest and
//! subtracts the sum of the weights from it. Weights {5, 1, 1} give `a a b a c a a`, not
//! `a a a a a b c`, and over one cycle (the sum of the weights) each is picked exactly its
//! weight's number of times.
//!
//! The state is one shard's. Shards that all started at the first candidate would hit the same
//! endpoint in step, so each starts at another place of the cycle: `phase` silent picks on first
//! use.

use super::{Balance, Candidates, Key, Tried, best_tier, tier};
use std::cell::{Cell, RefCell};

/// Picks in proportion to the weights, spread as evenly as they allow.
#[derive(Debug)]
pub struct RoundRobin {
    /// Current values; their sum is 0 between picks.
    current: RefCell<Vec<i64>>,
    /// Picks still to be skipped before the first real one.
    phase: Cell<u32>,
}

impl RoundRobin {
    /// For `count` candidates, beginning `phase` picks into the cycle (pass the shard's number).
    ///
    /// Allocates the values here, so that a pick never does.
    #[must_use]
    pub fn new(count: usize, phase: u32) -> Self {
        Self { current: RefCell::new(vec![0; count]), phase: Cell::new(phase % PHASE_MAX) }
    }

    fn step(
        &self,
        candidates: &(impl Candidates + ?Sized),
        tried: &Tried,
        wanted: u8,
    ) -> Option<usize> {
        let mut current = self.current.borrow_mut();
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for (index, value) in current.iter_mut().enumerate().take(candidates.len()) {
            let candidate = candidates.candidate(index);
            if tier(&candidate, tried.contains(index)) != Some(wanted) {
                continue;
            }
            let weight = i64::from(candidate.weight.max(1));
            total += weight;
            *value += weight;
            // The first of equals wins, as in nginx.
            if best.is_none_or(|(_, most)| *value > most) {
                best = Some((index, *value));
            }
        }
        let (index, _) = best?;
        current[index] -= total;
        Some(index)
    }
}

impl Balance for RoundRobin {
    fn pick(
        &self,
        candidates: &(impl Candidates + ?Sized),
        tried: &Tried,
        _key: Option<Key>,
    ) -> Option<usize> {
        debug_assert_eq!(candidates.len(), self.current.borrow().len(), "made for this upstream");
        let wanted = best_tier(candidates, tried)?;
        for _ in 0..self.phase.take() {
            self.step(candidates, tried, wanted)?;
        }
        self.step(candidates, tried, wanted)
    }
}

/// Bounds the silent picks of the first call.
const PHASE_MAX: u32 = 1024;
