//! A small seeded generator: the same seed gives the same run on every machine.

use crate::base::random;

/// The only source of chance in a simulation.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        let (state, number) = random::step(self.0);
        self.0 = state;
        number
    }

    /// A number below `limit`; 0 for a limit of 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.next() % limit }
    }

    /// A length from 1 to `max`; 0 only if `max` is 0. Small ones are as likely as large ones.
    pub(crate) fn length(&mut self, max: usize) -> usize {
        if max == 0 {
            return 0;
        }
        let bits = u64::from(usize::BITS - max.leading_zeros());
        let ceiling = 1_u64 << (self.below(bits) + 1);
        let drawn = self.below(ceiling) + 1;
        usize::try_from(drawn).unwrap_or(usize::MAX).min(max)
    }

    /// True with the given chance (0 to 1). No draw is made for a chance of 0.
    pub(crate) fn chance(&mut self, chance: f64) -> bool {
        if chance <= 0.0 {
            return false;
        }
        let [a, b, c, d, ..] = self.next().to_be_bytes();
        f64::from(u32::from_be_bytes([a, b, c, d])) < chance * f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_itself() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..5).map(|_| random.next()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn lengths_stay_in_range_and_reach_its_ends() {
        let mut random = Random::new(7);
        let lengths: Vec<usize> = (0..10_000).map(|_| random.length(100)).collect();
        assert!(lengths.iter().all(|length| (1..=100).contains(length)));
        assert!(lengths.contains(&1) && lengths.contains(&100));
        assert_eq!(random.length(0), 0);
    }

    #[test]
    fn chances_are_met() {
        let mut random = Random::new(3);
        assert!(!random.chance(0.0));
        let hits = (0..10_000).filter(|_| random.chance(0.25)).count();
        assert!((2200..2800).contains(&hits), "{hits}");
    }
}
