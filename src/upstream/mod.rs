//! Where requests go: upstreams, their endpoints, and the connections to them.
//!
//! Two kinds of state. [`Upstream`] and [`Endpoint`] are shared by all shards and live in the
//! snapshot: config, relaxed atomics, nothing else. [`Pools`] is one shard's: its balancers and
//! idle connections, touched by no other thread; shards that lend each other connections do so
//! by mailbox.
//!
//! ```text
//!   Arc<Upstream> ── Arc<Endpoint> ── Arc<Endpoint>          all shards, atomics
//!        ▲                ▲
//!   shard 0: Pools ─ Pool ─ EndpointPool: idle, waiters      Rc, Cell
//!        │ mailbox: ask, give, refuse
//!   shard 1: Pools ─ Pool ─ EndpointPool
//! ```
//! It knows nothing of HTTP, routes or filters. Active probes run on the control thread, which
//! brings their verdicts by [`Upstream::set_probe`].

mod announce;
mod connect;
mod counters;
mod dial;
mod ejection;
mod endpoint;
mod handover;
mod idle;
mod lent;
mod outlier;
mod placement;
mod pool;
mod queue;
mod retry_budget;
mod steal;

pub use announce::{announce_addresses, announce_probe};
pub use connect::{ConnectError, Dial, Fault};
pub use counters::{Counters, Totals};
pub use dial::Dialed;
pub use ejection::TIMES_MAX;
pub use endpoint::{Endpoint, EndpointId};
pub use lent::{Held, InFlight, Lent};
pub use outlier::{Change, Outcome, Standing, Verdict};
pub use pool::{NoneAvailable, Pool, Pools};
pub use retry_budget::{RETRIES_PER_SECOND_MIN, RetryBudget, WINDOW_SECONDS};
pub use steal::{Neighbours, neighbours};

use crate::{
    balance::{Candidate, Candidates},
    config::UpstreamConfig,
    transport::tls::ClientTls,
};
use endpoint::Security;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Instant,
};

/// One upstream as a snapshot holds it: shared by all shards, never changed but for atomics.
#[derive(Debug)]
pub struct Upstream {
    /// As configured.
    pub config: UpstreamConfig,
    /// In the order of `config.endpoints`.
    pub endpoints: Vec<Arc<Endpoint>>,
    epoch: Instant,
    kept: Arc<Kept>,
    placement: placement::Placement,
}

/// What an upstream shares with the snapshots before and after, since they share the endpoints.
#[derive(Debug, Default)]
struct Kept {
    /// Taken while somebody decides over an ejection.
    ejecting: AtomicBool,
    /// Requests that wait for a connection, on all shards, for any endpoint.
    pending: AtomicU32,
}

impl Upstream {
    /// Builds it, taking over the endpoints of `previous` whose address is still there: with
    /// them health, ejections, in-flight counts, counters and every shard's idle connections.
    ///
    /// `shards` is the number of shards of the process. An upstream that is to be reached by TLS
    /// gets no connection: see [`build_with`](Self::build_with).
    #[must_use]
    pub fn build(
        config: &UpstreamConfig,
        shards: usize,
        now: Instant,
        previous: Option<&Self>,
    ) -> Self {
        Self::build_with(config, None, shards, now, previous)
    }

    /// As [`build`](Self::build), with what its configuration's `tls` has led to. Endpoints are
    /// taken over only if their connections would be made in the same way.
    #[must_use]
    pub fn build_with(
        config: &UpstreamConfig,
        tls: Option<&Arc<ClientTls>>,
        shards: usize,
        now: Instant,
        previous: Option<&Self>,
    ) -> Self {
        let security = match (tls, &config.tls) {
            (Some(tls), _) => Security::Tls(Arc::clone(tls)),
            (None, Some(_)) => Security::Missing,
            (None, None) => Security::Plain,
        };
        let epoch = previous.map_or(now, |previous| previous.epoch);
        let mut left: Vec<&Arc<Endpoint>> =
            previous.map_or_else(Vec::new, |previous| previous.endpoints.iter().collect());
        let endpoints = config.endpoints.iter().map(|endpoint| {
            // Taken out of the list: an address that is listed twice gets two endpoints.
            let kept = left
                .iter()
                .position(|old| {
                    old.address == endpoint.address
                        && old.shards() == shards
                        && old.security.is_like(&security)
                })
                .map(|position| Arc::clone(left.swap_remove(position)));
            kept.unwrap_or_else(|| {
                let security = security.clone();
                Arc::new(Endpoint::new(endpoint.address, security, shards, epoch))
            })
        });
        let before = previous.map(|previous| (&previous.config, &previous.placement));
        Self {
            endpoints: endpoints.collect(),
            config: config.clone(),
            placement: placement::Placement::new(config, before),
            epoch,
            kept: previous.map_or_else(Arc::default, |previous| Arc::clone(&previous.kept)),
        }
    }

    /// The endpoints as a balancer wants to see them.
    #[must_use]
    pub fn candidates(&self, now: Instant) -> impl Candidates {
        View { upstream: self, now }
    }

    /// Requests that wait for a connection now, on all shards.
    pub fn pending(&self) -> u32 {
        self.kept.pending.load(Ordering::Relaxed)
    }

    /// Takes one of the `most` places of those who wait; false when all are taken.
    fn enter_queue(&self, most: u32) -> bool {
        endpoint::take(&self.kept.pending, Some(most))
    }

    fn leave_queue(&self) {
        let before = self.kept.pending.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "each leave follows an enter");
    }

    /// Whether any endpoint may get requests.
    pub fn is_available(&self, now: Instant) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.is_available(now))
    }
}

/// Reads an upstream's atomics for a pick.
struct View<'a> {
    upstream: &'a Upstream,
    now: Instant,
}

impl Candidates for View<'_> {
    fn len(&self) -> usize {
        self.upstream.endpoints.len()
    }

    fn candidate(&self, index: usize) -> Candidate {
        let endpoint = &self.upstream.endpoints[index];
        let terms = &self.upstream.config.endpoints[index];
        Candidate {
            weight: terms.weight,
            in_flight: endpoint.in_flight(),
            available: endpoint.is_available(self.now),
            backup: terms.backup,
        }
    }
}

#[cfg(test)]
mod chaos;
#[cfg(test)]
mod testing;
