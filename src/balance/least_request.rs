//! Least request by the power of N random choices (Mitzenmacher 2001).
//!
//! Draws `choices` different candidates at random and takes the one with the smallest
//! `(in_flight + 1) / weight`; equals are settled by chance. Two choices already keep the most
//! loaded endpoint exponentially closer to the average than one, and unlike "the least of all"
//! they don't make all shards run to the same idle endpoint at once.
//!
//! With unequal weights and next to no load the heavier one wins each draw it is part of: that
//! is what the measure says, since one request costs it the smaller share of its capacity.

use super::{BEST_TIER, Balance, Candidate, Candidates, Key, Rng, Tried, best_tier, tier};

/// Picks the least loaded of a few random candidates.
#[derive(Debug)]
pub struct LeastRequest {
    choices: usize,
    rng: Rng,
}

impl LeastRequest {
    /// Compares `choices` candidates a pick (1 to [`CHOICES_MAX`], others are brought into that
    /// range). `seed` differs per shard.
    #[must_use]
    pub fn new(choices: u32, seed: u64) -> Self {
        let choices = (choices as usize).clamp(1, CHOICES_MAX);
        Self { choices, rng: Rng::new(seed) }
    }

    /// Draws by rejection: no scan over a long list when most of it is available.
    fn draw(&self, candidates: &(impl Candidates + ?Sized), tried: &Tried) -> Option<usize> {
        let mut drawn = [usize::MAX; CHOICES_MAX];
        let mut count = 0;
        let mut best: Option<Best> = None;
        for _ in 0..self.choices * DRAWS_PER_CHOICE {
            let index = self.rng.below(candidates.len());
            let candidate = candidates.candidate(index);
            if tier(&candidate, tried.contains(index)) != Some(BEST_TIER)
                || drawn[..count].contains(&index)
            {
                continue;
            }
            drawn[count] = index;
            count += 1;
            best = Some(Best::of(best, index, &candidate, &self.rng));
            if count == self.choices {
                return best.map(|best| best.index);
            }
        }
        None
    }

    /// Draws by walking over all: exact whatever is left of them.
    ///
    /// Selection sampling (Knuth, algorithm S): each of the `left` eligible ones is taken with
    /// probability `needed / left`, which gives every subset the same chance without a list.
    fn scan(&self, candidates: &(impl Candidates + ?Sized), tried: &Tried) -> Option<usize> {
        let wanted = best_tier(candidates, tried)?;
        let is_eligible =
            |index| tier(&candidates.candidate(index), tried.contains(index)) == Some(wanted);
        let mut left = (0..candidates.len()).filter(|&index| is_eligible(index)).count();
        let mut needed = self.choices.min(left);
        let mut best: Option<Best> = None;
        for index in 0..candidates.len() {
            let candidate = candidates.candidate(index);
            if needed == 0 || left == 0 {
                break;
            }
            if tier(&candidate, tried.contains(index)) != Some(wanted) {
                continue;
            }
            if self.rng.below(left) < needed {
                needed -= 1;
                best = Some(Best::of(best, index, &candidate, &self.rng));
            }
            left -= 1;
        }
        // Another shard's ejection between the two walks can leave nothing drawn.
        best.map(|best| best.index).or_else(|| (0..candidates.len()).find(|&i| is_eligible(i)))
    }
}

impl Balance for LeastRequest {
    fn pick(
        &self,
        candidates: &(impl Candidates + ?Sized),
        tried: &Tried,
        _key: Option<Key>,
    ) -> Option<usize> {
        if candidates.len() > SCAN_MAX
            && let Some(index) = self.draw(candidates, tried)
        {
            return Some(index);
        }
        self.scan(candidates, tried)
    }
}

/// The least loaded candidate so far.
#[derive(Clone, Copy)]
struct Best {
    index: usize,
    load: u64,
    weight: u64,
    /// How many equals were seen, this one included.
    equals: usize,
}

impl Best {
    fn of(best: Option<Self>, index: usize, candidate: &Candidate, rng: &Rng) -> Self {
        let load = u64::from(candidate.in_flight) + 1;
        let weight = u64::from(candidate.weight.max(1));
        let new = Self { index, load, weight, equals: 1 };
        let Some(best) = best else { return new };
        // a/b < c/d without a division: both sides stay below 2^64.
        match (load * best.weight).cmp(&(best.load * weight)) {
            std::cmp::Ordering::Less => new,
            std::cmp::Ordering::Greater => best,
            std::cmp::Ordering::Equal => {
                let equals = best.equals + 1;
                // The n-th equal replaces with probability 1/n: each ends up with the same chance.
                if rng.below(equals) == 0 {
                    Self { equals, ..new }
                } else {
                    Self { equals, ..best }
                }
            }
        }
    }
}

/// The largest number of choices: more is a scan under another name.
pub const CHOICES_MAX: usize = 16;
/// Up to this many candidates are walked over, which is cheaper than drawing and rejecting.
const SCAN_MAX: usize = 8;
/// Draws before rejection gives up and walks.
const DRAWS_PER_CHOICE: usize = 4;
