//! `hash`: the key's hash modulo the sum of the weights.
//!
//! The same key always goes to the same endpoint, and the spread is even, but any change of the
//! configuration moves most keys: `maglev`, `rendezvous` and `ketama` are there for what must stay.
//! An endpoint that is merely unavailable keeps its place; its keys go where [`Rendezvous`] says.

use super::{BEST_TIER, Balance, Candidates, Key, Member, Rendezvous, Tried, tier};

/// Picks by the remainder.
#[derive(Debug)]
pub struct Modulo {
    /// Sum of the weights up to and with each candidate; backups add nothing.
    sums: Box<[u64]>,
    otherwise: Rendezvous,
}

impl Modulo {
    /// For these endpoints, in the order of the candidates.
    #[must_use]
    pub fn new(members: &[Member<'_>]) -> Self {
        let mut sum = 0;
        let sums = members.iter().map(|member| {
            sum += if member.backup { 0 } else { u64::from(member.weight.max(1)) };
            sum
        });
        Self { sums: sums.collect(), otherwise: Rendezvous::new(members) }
    }
}

impl Balance for Modulo {
    fn pick(
        &self,
        candidates: &(impl Candidates + ?Sized),
        tried: &Tried,
        key: Option<Key>,
    ) -> Option<usize> {
        let key = key.unwrap_or(super::KEYLESS);
        let total = self.sums.last().copied().unwrap_or(0);
        if total > 0 {
            let place = key.bits() % total;
            let index = self.sums.partition_point(|&sum| sum <= place);
            if index < candidates.len()
                && tier(&candidates.candidate(index), tried.contains(index)) == Some(BEST_TIER)
            {
                return Some(index);
            }
        }
        self.otherwise.place(candidates, tried, key)
    }
}
