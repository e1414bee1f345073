//! Which endpoint gets the next request: one trait, one file per algorithm.
//!
//! Pure decisions: no I/O, no clock, no system randomness, no allocation per pick. A balancer
//! belongs to one shard and one upstream; what other shards do reaches it only through the
//! in-flight counts that the caller's [`Candidates`] reads. It doesn't know why a candidate is
//! unavailable (probe, ejection, drain) and keeps no health of its own.
//!
//! Every algorithm picks within the best non-empty tier:
//! ```text
//!   1. primaries, available, not yet tried by this request
//!   2. backups,   available, not yet tried
//!   3. primaries, available, tried          (a retry with nowhere else to go)
//!   4. backups,   available, tried
//!      none of these: `None`; there is no panic mode, an unhealthy endpoint is never picked
//! ```

mod first;
mod ketama;
mod key;
mod least_conn;
mod least_request;
mod maglev;
mod modulo;
mod own;
mod random;
mod rendezvous;
mod rng;
mod round_robin;
#[cfg(test)]
mod tests;

pub use first::First;
pub use ketama::Ketama;
pub use key::Key;
pub use least_conn::LeastConn;
pub use least_request::{CHOICES_MAX, LeastRequest};
pub use maglev::{Maglev, SLOTS};
pub use modulo::Modulo;
pub use own::{DynBalance, Own};
pub use random::Random;
pub use rendezvous::Rendezvous;
pub use rng::Rng;
pub use round_robin::RoundRobin;

/// An endpoint as the hashing balancers are built from it, in the order of the candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// What its place is made from: `host:port`, the same on every machine that shall agree.
    pub name: &'a str,
    /// Its share; 0 counts as 1.
    pub weight: u32,
    /// Gets no place of its own.
    pub backup: bool,
}

/// What a balancer sees of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Share of the requests, relative to the others; 0 counts as 1.
    pub weight: u32,
    /// Requests now with the endpoint, from all shards.
    pub in_flight: u32,
    /// Whether it may be picked at all.
    pub available: bool,
    /// Only picked when no primary can be.
    pub backup: bool,
}

/// The endpoints to choose from, in the config's order.
///
/// Indices stay the same for the life of a balancer: a reload that changes them makes new ones.
pub trait Candidates {
    /// How many there are, available or not.
    fn len(&self) -> usize;

    /// Reads one; `index` is below [`len`](Self::len).
    fn candidate(&self, index: usize) -> Candidate;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Candidates for [Candidate] {
    fn len(&self) -> usize {
        self.len()
    }

    fn candidate(&self, index: usize) -> Candidate {
        self[index]
    }
}

/// An algorithm with the state that one shard keeps for one upstream.
pub trait Balance {
    /// The index of the candidate that gets the request, or `None` when none is available.
    ///
    /// A candidate in `tried` is picked only when no other is available. `key` is what hashing
    /// balancers go by; the others don't look at it, and without one all requests count as having
    /// the same.
    fn pick(
        &self,
        candidates: &(impl Candidates + ?Sized),
        tried: &Tried,
        key: Option<Key>,
    ) -> Option<usize>;
}

/// The algorithms of the config language, chosen at run time without a box.
#[derive(Debug)]
pub enum Balancer {
    /// `round_robin`: smooth weighted round robin.
    RoundRobin(RoundRobin),
    /// `least_request`: the least loaded of a few random ones.
    LeastRequest(LeastRequest),
    /// `least_conn`: the least loaded of all.
    LeastConn(LeastConn),
    /// `random`: by weighted chance.
    Random(Random),
    /// `first`: the first that can be had.
    First(First),
    /// `hash`: by the remainder of the key's hash.
    Hash(Modulo),
    /// `maglev`: by a table of 65537 slots.
    Maglev(Maglev),
    /// `rendezvous`: by the highest score.
    Rendezvous(Rendezvous),
    /// `ketama`: by points on a circle, as nginx.
    Ketama(Ketama),
    /// A program's own.
    Own(Own),
}

impl Balancer {
    /// Whether it goes by a key: the caller may spare itself making one otherwise.
    #[must_use]
    pub fn wants_key(&self) -> bool {
        match self {
            Self::Hash(_)
            | Self::Maglev(_)
            | Self::Rendezvous(_)
            | Self::Ketama(_)
            | Self::Own(_) => true,
            Self::RoundRobin(_)
            | Self::LeastRequest(_)
            | Self::LeastConn(_)
            | Self::Random(_)
            | Self::First(_) => false,
        }
    }
}

impl Balance for Balancer {
    fn pick(
        &self,
        candidates: &(impl Candidates + ?Sized),
        tried: &Tried,
        key: Option<Key>,
    ) -> Option<usize> {
        match self {
            Self::RoundRobin(balance) => balance.pick(candidates, tried, key),
            Self::LeastRequest(balance) => balance.pick(candidates, tried, key),
            Self::LeastConn(balance) => balance.pick(candidates, tried, key),
            Self::Random(balance) => balance.pick(candidates, tried, key),
            Self::First(balance) => balance.pick(candidates, tried, key),
            Self::Hash(balance) => balance.pick(candidates, tried, key),
            Self::Maglev(balance) => balance.pick(candidates, tried, key),
            Self::Rendezvous(balance) => balance.pick(candidates, tried, key),
            Self::Ketama(balance) => balance.pick(candidates, tried, key),
            Self::Own(balance) => balance.pick(candidates, tried, key),
        }
    }
}

/// The candidates that one request was already sent to, newest last.
///
/// Remembers the last [`TRIED_MAX`]; a request that is retried more often forgets its oldest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tried {
    indices: [u32; TRIED_MAX],
    /// How many were ever added; the newest sits at `(count - 1) % TRIED_MAX`.
    count: u32,
}

impl Tried {
    /// Nothing tried yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { indices: [0; TRIED_MAX], count: 0 }
    }

    /// Notes one more attempt at `index`.
    pub fn insert(&mut self, index: usize) {
        let slot = self.count as usize % TRIED_MAX;
        self.indices[slot] = u32::try_from(index).unwrap_or(u32::MAX);
        self.count = self.count.saturating_add(1);
    }

    /// Whether `index` is among the remembered attempts.
    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        let known = (self.count as usize).min(TRIED_MAX);
        self.indices[..known].iter().any(|&tried| tried as usize == index)
    }

    /// How many attempts were noted.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.count
    }
}

/// How many attempts [`Tried`] remembers.
pub const TRIED_MAX: usize = 8;

/// A candidate's tier: lower is better, `None` is never picked.
fn tier(candidate: &Candidate, is_tried: bool) -> Option<u8> {
    candidate.available.then_some(u8::from(is_tried) * 2 + u8::from(candidate.backup))
}

/// The best tier that any candidate has.
fn best_tier(candidates: &(impl Candidates + ?Sized), tried: &Tried) -> Option<u8> {
    let mut best = None;
    for index in 0..candidates.len() {
        let Some(tier) = tier(&candidates.candidate(index), tried.contains(index)) else {
            continue;
        };
        if tier == BEST_TIER {
            return Some(tier);
        }
        best = Some(best.map_or(tier, |best: u8| best.min(tier)));
    }
    best
}

/// Untried, available primaries: nothing can beat it.
const BEST_TIER: u8 = 0;

/// What a hashing balancer takes for the key of requests that have none.
const KEYLESS: Key = Key::EMPTY;
