//! `maglev`: a table of 65537 slots (Eisenbud et al., NSDI 2016, §3.4).
//!
//! ```text
//!   endpoint ─▶ its own permutation of all slots; in turns each takes its next free one
//!   key ─▶ slot = hash mod 65537 ─▶ endpoint                     one load a pick
//! ```
//! With equal weights every endpoint gets the same number of slots to within one; with unequal
//! ones it takes turns in proportion. Taking an endpoint out of the configuration moves its own
//! keys and a few per cent of the others' (the paper's figure 12). One that is merely unavailable
//! keeps its slots, and only its own keys go elsewhere: where [`Rendezvous`] sends them.
//!
//! The table is made once per configuration and shared by all shards.

use super::{BEST_TIER, Balance, Candidates, Key, Member, Rendezvous, Tried, key, tier};
use std::sync::Arc;

/// Picks by the table.
#[derive(Debug, Clone)]
pub struct Maglev {
    table: Arc<Table>,
}

#[derive(Debug)]
struct Table {
    /// An endpoint's index for each slot; empty without endpoints.
    slots: Box<[u16]>,
    otherwise: Rendezvous,
}

impl Maglev {
    /// For these endpoints, in the order of the candidates. Backups get no slots: they come in when
    /// nothing else is there. Beyond 65,537 endpoints the last ones stay without slots.
    #[must_use]
    pub fn new(members: &[Member<'_>]) -> Self {
        Self {
            table: Arc::new(Table { slots: fill(members), otherwise: Rendezvous::new(members) }),
        }
    }

    /// Tells tables apart.
    #[cfg(test)]
    pub(crate) fn identity(&self) -> usize {
        Arc::as_ptr(&self.table).addr()
    }

    /// The whole table: an endpoint's index for each slot; empty without endpoints.
    #[must_use]
    pub fn slots(&self) -> &[u16] {
        &self.table.slots
    }

    /// The endpoint that the key's slot belongs to, available or not.
    #[must_use]
    pub fn slot(&self, key: Key) -> Option<usize> {
        let slots = &self.table.slots;
        let place = usize::try_from(key.bits() % SLOTS as u64).unwrap_or(0);
        slots.get(place).map(|&index| usize::from(index))
    }
}

impl Balance for Maglev {
    fn pick(
        &self,
        candidates: &(impl Candidates + ?Sized),
        tried: &Tried,
        key: Option<Key>,
    ) -> Option<usize> {
        let key = key.unwrap_or(super::KEYLESS);
        if let Some(index) = self.slot(key)
            && index < candidates.len()
            && tier(&candidates.candidate(index), tried.contains(index)) == Some(BEST_TIER)
        {
            return Some(index);
        }
        self.table.otherwise.place(candidates, tried, key)
    }
}

/// An endpoint's walk through the slots.
struct Walk {
    index: u16,
    at: usize,
    skip: usize,
    weight: u64,
    /// Turns saved up, in units of the heaviest weight.
    credit: u64,
}

impl Walk {
    fn new(index: usize, member: &Member<'_>) -> Option<Self> {
        let hash = key::hash(member.name.as_bytes());
        let slots = SLOTS as u64;
        Some(Self {
            index: u16::try_from(index).ok()?,
            at: usize::try_from(hash % slots).unwrap_or(0),
            // 1 to SLOTS - 1: every step size reaches every slot, since SLOTS is prime.
            skip: usize::try_from(key::mix(hash) % (slots - 1)).unwrap_or(0) + 1,
            weight: u64::from(member.weight.max(1)),
            credit: 0,
        })
    }
}

fn fill(members: &[Member<'_>]) -> Box<[u16]> {
    let primaries = members.iter().enumerate().filter(|(_, member)| !member.backup);
    let mut walks: Vec<Walk> =
        primaries.filter_map(|(index, member)| Walk::new(index, member)).take(SLOTS).collect();
    let Some(heaviest) = walks.iter().map(|walk| walk.weight).max() else {
        return Box::default();
    };
    const FREE: u16 = u16::MAX;
    let mut slots = vec![FREE; SLOTS].into_boxed_slice();
    let mut taken = 0;
    loop {
        for walk in &mut walks {
            walk.credit += walk.weight;
            if walk.credit < heaviest {
                continue;
            }
            walk.credit -= heaviest;
            // Ends: a free slot exists and the walk visits all of them.
            while slots[walk.at] != FREE {
                walk.at = (walk.at + walk.skip) % SLOTS;
            }
            slots[walk.at] = walk.index;
            taken += 1;
            if taken == SLOTS {
                return slots;
            }
        }
    }
}

/// Slots of a table: the paper's size for up to some hundreds of endpoints; a prime.
pub const SLOTS: usize = 65_537;
