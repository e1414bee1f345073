//! One address that requests are sent to, with the state that all shards share.
//!
//! Shared means relaxed atomics, each group on a cache line of its own: what every request
//! writes (`in_flight`), what every connection writes (`connections`), and what hardly anybody
//! writes and everybody reads (health). Nothing here decides anything: ejection is `outlier`'s,
//! connections are the pools'.
//!
//! An endpoint lives as long as its address stays in the config: a reload hands the same `Arc`
//! on, and with it health, counts and the idle connections that the shards keep by its id.

use super::{
    counters::{Counters, Totals},
    ejection::Ejection,
};
use crate::{base::address::Address, config::UpstreamProtocol, transport::tls::ClientTls};
use crossbeam_utils::CachePadded;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

/// Tells endpoints apart for the life of the process; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(u64);

/// One endpoint. Shared by all shards and the control thread.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: Address,
    pub(super) security: Security,
    id: EndpointId,
    in_flight: CachePadded<AtomicU32>,
    seats: CachePadded<Seats>,
    pub(super) health: CachePadded<Health>,
    shards: Box<[CachePadded<Counters>]>,
}

/// How its connections are made.
#[derive(Debug, Clone)]
pub(super) enum Security {
    /// In the clear.
    Plain,
    /// By TLS.
    Tls(Arc<ClientTls>),
    /// By TLS, but nobody has read the files for it: no connection is made.
    Missing,
}

impl Security {
    /// Whether a connection made by one may be used in place of one made by the other.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain, Self::Plain) | (Self::Missing, Self::Missing) => true,
            (Self::Tls(own), Self::Tls(other)) => own.is_like(other),
            _ => false,
        }
    }
}

/// What the pick of every request reads and few events write.
#[derive(Debug)]
pub(super) struct Health {
    /// The active probe's last verdict; true until a probe says otherwise.
    pub(super) passes_probe: AtomicBool,
    pub(super) ejection: Ejection,
    /// Failures in a row.
    pub(super) failures: AtomicU32,
    /// Failures and 5xx in a row.
    pub(super) server_errors: AtomicU32,
    /// Ejections ever.
    pub(super) ejections: AtomicU64,
    /// What its latest connection has agreed to speak, where that is left to it.
    spoken: AtomicU8,
}

#[derive(Debug, Default)]
struct Seats {
    connections: AtomicU32,
    pending: AtomicU32,
}

impl Endpoint {
    /// A new endpoint, believed healthy. `epoch` is when the upstream began.
    pub(super) fn new(
        address: impl Into<Address>,
        security: Security,
        shards: usize,
        epoch: Instant,
    ) -> Self {
        Self {
            address: address.into(),
            security,
            id: EndpointId(NEXT_ID.fetch_add(1, Ordering::Relaxed)),
            in_flight: CachePadded::default(),
            seats: CachePadded::default(),
            health: CachePadded::new(Health {
                passes_probe: AtomicBool::new(true),
                ejection: Ejection::new(epoch),
                failures: AtomicU32::new(0),
                server_errors: AtomicU32::new(0),
                ejections: AtomicU64::new(0),
                spoken: AtomicU8::new(UNKNOWN),
            }),
            shards: (0..shards).map(|_| CachePadded::default()).collect(),
        }
    }

    /// How its connections are encrypted; none when they aren't.
    #[must_use]
    pub fn tls(&self) -> Option<&Arc<ClientTls>> {
        match &self.security {
            Security::Tls(tls) => Some(tls),
            Security::Plain | Security::Missing => None,
        }
    }

    /// What its latest connection has agreed to speak, where the upstream's protocol is `auto`; none
    /// before the first.
    #[must_use]
    pub fn spoken(&self) -> Option<UpstreamProtocol> {
        match self.health.spoken.load(Ordering::Relaxed) {
            SPEAKS_H2 => Some(UpstreamProtocol::H2),
            SPEAKS_HTTP11 => Some(UpstreamProtocol::Http11),
            _ => None,
        }
    }

    /// Notes what a new connection has agreed to speak.
    pub(super) fn note_spoken(&self, protocol: UpstreamProtocol) {
        if self.spoken() != Some(protocol) {
            let is_h2 = protocol == UpstreamProtocol::H2;
            let spoken = if is_h2 { SPEAKS_H2 } else { SPEAKS_HTTP11 };
            self.health.spoken.store(spoken, Ordering::Relaxed);
        }
    }

    /// Its identity across reloads.
    pub fn id(&self) -> EndpointId {
        self.id
    }

    /// Whether requests may go there: its probe passes (or there is none) and it isn't ejected.
    pub fn is_available(&self, now: Instant) -> bool {
        self.passes_probe() && !self.is_ejected(now)
    }

    /// The active probe's last verdict.
    pub fn passes_probe(&self) -> bool {
        self.health.passes_probe.load(Ordering::Relaxed)
    }

    /// Whether it is taken out for how requests went.
    pub fn is_ejected(&self, now: Instant) -> bool {
        self.health.ejection.is_out(now)
    }

    /// How often it was ever ejected.
    pub fn ejections(&self) -> u64 {
        self.health.ejections.load(Ordering::Relaxed)
    }

    /// Requests that are with it now, waiting ones included, from all shards.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Connections to it now, idle ones and half-open ones included, from all shards.
    pub fn connections(&self) -> u32 {
        self.seats.connections.load(Ordering::Relaxed)
    }

    /// Requests that wait for a connection now, on all shards.
    pub fn pending(&self) -> u32 {
        self.seats.pending.load(Ordering::Relaxed)
    }

    /// The counters of all shards together.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for shard in &self.shards {
            totals.add(shard);
        }
        totals
    }

    /// One shard's counters; `None` when there is no such shard.
    pub fn counters(&self, shard: usize) -> Option<&Counters> {
        self.shards.get(shard).map(|padded| &**padded)
    }

    /// How many shards it has counters for.
    pub(super) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Of the neighbours that may be asked, the one that shows the most idle connections.
    pub(super) fn richest_but(
        &self,
        asker: usize,
        may_be_asked: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        self.most(asker, may_be_asked, |counters| &counters.idle)
    }

    /// The shard, other than `giver`, where the most requests wait for a connection.
    pub(super) fn neediest_but(&self, giver: usize) -> Option<usize> {
        self.most(giver, |_| true, |counters| &counters.waiting)
    }

    /// The neighbour of `shard` with the largest number above 0. The next one round wins a tie:
    /// if all went to the first, all would go to the same.
    fn most(
        &self,
        shard: usize,
        is_meant: impl Fn(usize) -> bool,
        number: impl Fn(&Counters) -> &AtomicU32,
    ) -> Option<usize> {
        let count = self.shards.len();
        let neighbours = (1..count).map(|step| (shard + step) % count);
        let mut most = None;
        for neighbour in neighbours.filter(|&neighbour| is_meant(neighbour)) {
            let number = number(&self.shards[neighbour]).load(Ordering::Relaxed);
            if number > most.map_or(0, |(most, _)| most) {
                most = Some((number, neighbour));
            }
        }
        most.map(|(_, neighbour)| neighbour)
    }

    pub(super) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        let before = self.in_flight.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "each leave follows an enter");
    }

    pub(super) fn enter_queue(&self) {
        self.seats.pending.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave_queue(&self) {
        let before = self.seats.pending.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "each leave follows an enter");
    }
}

/// The right to one connection to an endpoint, counted against its cap over all shards.
///
/// Moves with the connection from shard to shard and is given back when dropped.
#[derive(Debug)]
pub(super) struct Seat(Arc<Endpoint>);

impl Seat {
    /// `None` when `cap` connections exist.
    pub(super) fn take(endpoint: &Arc<Endpoint>, cap: Option<u32>) -> Option<Self> {
        take(&endpoint.seats.connections, cap).then(|| Self(Arc::clone(endpoint)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let before = self.0.seats.connections.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a seat is given back once");
    }
}

/// Adds one unless `cap` is reached.
pub(super) fn take(counter: &AtomicU32, cap: Option<u32>) -> bool {
    let cap = cap.unwrap_or(u32::MAX);
    counter
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            (count < cap).then(|| count + 1)
        })
        .is_ok()
}

const UNKNOWN: u8 = 0;
const SPEAKS_HTTP11: u8 = 1;
const SPEAKS_H2: u8 = 2;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

#[cfg(test)]
mod tests {
    use super::{Endpoint, Security};
    use crate::upstream::testing::start;
    use std::{net::SocketAddr, sync::atomic::Ordering};

    #[test]
    fn the_richest_neighbour_is_asked_and_ties_go_round() {
        let endpoint =
            Endpoint::new(SocketAddr::from(([127, 0, 0, 1], 80)), Security::Plain, 4, start());
        let show = |idle: [u32; 4]| {
            for (shard, idle) in idle.into_iter().enumerate() {
                endpoint.counters(shard).unwrap().idle.store(idle, Ordering::Relaxed);
            }
        };
        let richest = |asker| endpoint.richest_but(asker, |_| true);
        assert_eq!([0, 1, 2, 3].map(richest), [None; 4]);
        show([0, 2, 5, 1]);
        assert_eq!([0, 1, 2, 3].map(richest), [Some(2), Some(2), Some(1), Some(2)]);
        show([1; 4]);
        assert_eq!([0, 1, 2, 3].map(richest), [Some(1), Some(2), Some(3), Some(0)]);
        assert_eq!(endpoint.richest_but(0, |shard| shard != 1), Some(2));
    }
}
