//! `least_conn`: the endpoint with the fewest connections for its weight, of all.
//!
//! Right for long connections, whose number says how busy an endpoint is: databases, brokers,
//! WebSockets. For short requests `least_request` is better: looking at all, many shards run to
//! the same idle endpoint at once. Equals are settled by chance.

use super::{Balance, Candidates, Key, Rng, Tried, best_tier, tier};

/// Picks the least loaded of all.
#[derive(Debug)]
pub struct LeastConn {
    rng: Rng,
}

impl LeastConn {
    /// `seed` differs per shard.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed) }
    }
}

impl Balance for LeastConn {
    fn pick(
        &self,
        candidates: &(impl Candidates + ?Sized),
        tried: &Tried,
        _key: Option<Key>,
    ) -> Option<usize> {
        let wanted = best_tier(candidates, tried)?;
        let mut best: Option<(usize, u64, u64)> = None;
        let mut equals = 0;
        for index in 0..candidates.len() {
            let candidate = candidates.candidate(index);
            if tier(&candidate, tried.contains(index)) != Some(wanted) {
                continue;
            }
            // `+ 1` is the connection to come: of two idle ones the heavier has more room.
            let (load, weight) =
                (u64::from(candidate.in_flight) + 1, u64::from(candidate.weight.max(1)));
            let order = best.map_or(std::cmp::Ordering::Less, |(_, least, of)| {
                // a/b < c/d without a division: both sides stay below 2^64.
                (load * of).cmp(&(least * weight))
            });
            match order {
                std::cmp::Ordering::Less => {
                    (best, equals) = (Some((index, load, weight)), 1);
                }
                std::cmp::Ordering::Equal => {
                    equals += 1;
                    if self.rng.below(equals) == 0 {
                        best = Some((index, load, weight));
                    }
                }
                std::cmp::Ordering::Greater => {}
            }
        }
        best.map(|(index, ..)| index)
    }
}
