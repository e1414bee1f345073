//! `first`: the first endpoint that can be had, in the order of the configuration.
//!
//! For a primary with replicas that only stand by, and for keeping the others idle enough to be
//! switched off. There is no state and no weight.

use super::{Balance, Candidates, Key, Tried, best_tier, tier};

/// Picks the first candidate of the best tier.
#[derive(Debug, Clone, Copy, Default)]
pub struct First;

impl Balance for First {
    fn pick(
        &self,
        candidates: &(impl Candidates + ?Sized),
        tried: &Tried,
        _key: Option<Key>,
    ) -> Option<usize> {
        let wanted = best_tier(candidates, tried)?;
        (0..candidates.len()).find(|&index| {
            tier(&candidates.candidate(index), tried.contains(index)) == Some(wanted)
        })
    }
}
