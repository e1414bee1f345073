//! A small random sequence for load spreading: fast and seeded, not for secrets.
//!
//! SplitMix64 (Steele, Lea, Flood 2014): one addition and a mix of 64 bits, full period 2^64.

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
        let state = self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0.set(state);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
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
