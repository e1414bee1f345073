//! A small seeded generator, and the bytes of bodies.

use std::time::Duration;

use ringway::base::random;

/// Pseudo-random numbers: the only chance in a plan.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        let (state, number) = random::step(self.0);
        self.0 = state;
        number
    }

    /// Below `bound`, which isn't 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// From `low` to `high`, both included.
    pub(crate) fn within(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// True in `percent` of a hundred cases.
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of them.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Up to `max` milliseconds, short ones more often.
    pub(crate) fn millis(&mut self, max: usize) -> Duration {
        let ceiling = self.within(0, max);
        Duration::from_micros(self.below(ceiling * 1000 + 1) as u64)
    }

    /// A body's length: mostly small, at times larger than every buffer.
    pub(crate) fn length(&mut self) -> usize {
        match self.below(20) {
            0..2 => 0,
            2..10 => self.within(1, 300),
            10..16 => self.within(300, 20_000),
            16..19 => self.within(16_000, 70_000),
            19 if self.percent(90) => self.within(60_000, 180_000),
            _ => self.within(180_000, 700_000),
        }
    }
}

/// The byte at `position` of the body that belongs to `salt`: a byte that is lost, doubled or out
/// of order shows.
pub(crate) fn byte(salt: u64, position: usize) -> u8 {
    let step = (position as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed =
        (salt.wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ step).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed.to_be_bytes()[0]
}

/// A whole body.
pub(crate) fn body(salt: u64, length: usize) -> Vec<u8> {
    (0..length).map(|position| byte(salt, position)).collect()
}
