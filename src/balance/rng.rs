//! A small random sequence for load spreading: fast and seeded, not for secrets.

use crate::base::random;
use std::cell::Cell;

/// A seeded sequence; the same seed gives the same picks, which is what a simulation needs.
#[derive(Debug)]
pub struct Rng(Cell<u64>);

impl Rng {
    /// Starts the sequence of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    /// The next 64 bits.
    pub fn next(&self) -> u64 {
        let (state, number) = random::step(self.0.get());
        self.0.set(state);
        number
    }

    /// A number below `bound`, which is at least 1.
    ///
    /// By multiplication (Lemire 2019) without his rejection step: the bias is below
    /// `bound / 2^64`, far under anything that a balancer could notice.
    #[expect(clippy::cast_possible_truncation, reason = "the product is below `bound`, a usize")]
    pub fn below(&self, bound: usize) -> usize {
        debug_assert!(bound > 0, "there is no number below 0");
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}
