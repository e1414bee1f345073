//! `rendezvous`: highest random weight (Thaler, Ravishankar 1998).
//!
//! Each pair of key and endpoint has a score, and the highest score wins. Taking an endpoint away
//! moves its own keys only, and spreads them over all others by weight; adding one takes its share
//! from each. There is no table: a pick looks at every endpoint, which is right up to some dozens.
//!
//! It also settles for the other algorithms what becomes of a key whose place can't be had.

use super::{Balance, Candidates, Key, Member, Tried, best_tier, key, tier};

/// Picks by the score of key and endpoint.
#[derive(Debug)]
pub struct Rendezvous {
    /// A hash of each endpoint's name, in the order of the candidates.
    names: Box<[u64]>,
}

impl Rendezvous {
    /// For these endpoints, in the order of the candidates.
    #[must_use]
    pub fn new(members: &[Member<'_>]) -> Self {
        Self { names: members.iter().map(|member| key::hash(member.name.as_bytes())).collect() }
    }

    /// The winner among those of the best tier.
    pub(super) fn place(
        &self,
        candidates: &(impl Candidates + ?Sized),
        tried: &Tried,
        key: Key,
    ) -> Option<usize> {
        let wanted = best_tier(candidates, tried)?;
        let mut best: Option<(usize, f64)> = None;
        for (index, name) in self.names.iter().enumerate().take(candidates.len()) {
            let candidate = candidates.candidate(index);
            if tier(&candidate, tried.contains(index)) != Some(wanted) {
                continue;
            }
            let score = score(key, *name, candidate.weight);
            if best.is_none_or(|(_, highest)| score > highest) {
                best = Some((index, score));
            }
        }
        best.map(|(index, _)| index)
    }
}

/// `weight / -ln(u)` with `u` even in (0, 1): the winner is each with probability of its weight's
/// share (Mosko, IETF draft-ietf-bess-weighted-hrw §3), exactly and whatever the others are.
#[expect(clippy::cast_precision_loss, reason = "53 bits of a hash are what a fraction holds")]
fn score(key: Key, name: u64, weight: u32) -> f64 {
    let bits = key::mix(key.bits() ^ name) >> 11;
    let even = (bits as f64 + 0.5) / (1_u64 << 53) as f64;
    f64::from(weight.max(1)) / -even.ln()
}

impl Balance for Rendezvous {
    fn pick(
        &self,
        candidates: &(impl Candidates + ?Sized),
        tried: &Tried,
        key: Option<Key>,
    ) -> Option<usize> {
        self.place(candidates, tried, key.unwrap_or(super::KEYLESS))
    }
}
