//! `random`: by chance, in proportion to the weights.
//!
//! Needs no state that shards would have to keep in step, and stays even when many balancers use
//! the same endpoints. The price is bad luck: with few requests the spread is uneven.

use super::{Balance, Candidates, Key, Rng, Tried, best_tier, tier};

/// Picks by weighted chance.
#[derive(Debug)]
pub struct Random {
    rng: Rng,
}

impl Random {
    /// `seed` differs per shard.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed) }
    }
}

impl Balance for Random {
    fn pick(
        &self,
        candidates: &(impl Candidates + ?Sized),
        tried: &Tried,
        _key: Option<Key>,
    ) -> Option<usize> {
        let wanted = best_tier(candidates, tried)?;
        // One walk: the n-th replaces the choice with the probability of its share so far.
        let mut total: usize = 0;
        let mut chosen = None;
        for index in 0..candidates.len() {
            let candidate = candidates.candidate(index);
            if tier(&candidate, tried.contains(index)) != Some(wanted) {
                continue;
            }
            let weight = candidate.weight.max(1) as usize;
            total += weight;
            if self.rng.below(total) < weight {
                chosen = Some(index);
            }
        }
        chosen
    }
}
