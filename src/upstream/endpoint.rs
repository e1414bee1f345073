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
use crossbeam_utils::CachePadded;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
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
    pub address: SocketAddr,
    id: EndpointId,
    in_flight: CachePadded<AtomicU32>,
    seats: CachePadded<Seats>,
    pub(super) health: CachePadded<Health>,
    shards: Box<[CachePadded<Counters>]>,
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
}

#[derive(Debug, Default)]
struct Seats {
    connections: AtomicU32,
    pending: AtomicU32,
}

impl Endpoint {
    /// A new endpoint, believed healthy. `epoch` is when the upstream began.
    pub(super) fn new(address: SocketAddr, shards: usize, epoch: Instant) -> Self {
        Self {
            address,
            id: EndpointId(NEXT_ID.fetch_add(1, Ordering::Relaxed)),
            in_flight: CachePadded::default(),
            seats: CachePadded::default(),
            health: CachePadded::new(Health {
                passes_probe: AtomicBool::new(true),
                ejection: Ejection::new(epoch),
                failures: AtomicU32::new(0),
                server_errors: AtomicU32::new(0),
                ejections: AtomicU64::new(0),
            }),
            shards: (0..shards).map(|_| CachePadded::default()).collect(),
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

    /// Of the shards that may be asked, the one that shows the most idle connections.
    pub(super) fn richest(&self, may_be_asked: impl Fn(usize) -> bool) -> Option<usize> {
        self.most(may_be_asked, |counters| &counters.idle)
    }

    /// The shard, other than `giver`, where the most requests wait for a connection.
    pub(super) fn neediest_but(&self, giver: usize) -> Option<usize> {
        self.most(|shard| shard != giver, |counters| &counters.waiting)
    }

    fn most(
        &self,
        is_meant: impl Fn(usize) -> bool,
        number: impl Fn(&Counters) -> &AtomicU32,
    ) -> Option<usize> {
        let others = self.shards.iter().enumerate().filter(|&(shard, _)| is_meant(shard));
        others
            .map(|(shard, counters)| (number(counters).load(Ordering::Relaxed), shard))
            .filter(|&(count, _)| count > 0)
            .max_by_key(|&(count, _)| count)
            .map(|(_, shard)| shard)
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

static NEXT_ID: AtomicU64 = AtomicU64::new(1);
