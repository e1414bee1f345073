//! From reals with weights to a ring: `balance::Maglev`'s table, with ids in it.
//!
//! The table depends on addresses and weights alone, so boxes with the same reals have the same ring,
//! and a real that leaves frees its slots and moves hardly any other.

use std::net::SocketAddr;

use super::layout::{RING_SLOTS, RING_SLOTS_PADDED, Ring};
use crate::balance::{Maglev, Member, SLOTS};

/// A real's part of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) id: u16,
    pub(super) address: SocketAddr,
    pub(super) weight: u32,
}

/// The ring of these shares; all 0 (nobody) when there are none.
pub(super) fn ring(shares: &[Share]) -> Box<Ring> {
    let mut order = shares.to_vec();
    // The configuration's order must not matter: two boxes may list the same reals differently.
    order.sort_by_key(|share| share.address);
    let names: Vec<String> = order.iter().map(|share| share.address.to_string()).collect();
    let members = order.iter().zip(&names);
    let members: Vec<Member<'_>> =
        members.map(|(share, name)| Member { name, weight: share.weight, backup: false }).collect();
    let table = Maglev::new(&members);
    let mut ring = Box::new(Ring { slots: [0; RING_SLOTS_PADDED] });
    for (slot, index) in ring.slots.iter_mut().zip(table.slots()) {
        *slot = order.get(usize::from(*index)).map_or(0, |share| share.id);
    }
    ring
}

const _: () = assert!(SLOTS == RING_SLOTS, "the program's ring is this table");
