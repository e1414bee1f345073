//! One configuration made ready for all shards: built once, never changed, shared.
//!
//! A reload builds a whole new snapshot, or none. What did not change is carried over by
//! identity: endpoints by address, route counters by name, rate tables by name and rate.

use std::{sync::Arc, time::Instant};

use super::{
    filters::RateTable,
    stats::{FlowCounters, ListenerCounters, PerShard, RouteCounters, UpstreamCounters},
};
use crate::{
    config::{Config, FilterKind},
    transport::{
        admission::Gate,
        tls::{ClientTls, ServerTls},
    },
    upstream::Upstream,
};

/// A config with the state that its parts share over all shards.
#[derive(Debug)]
pub struct Snapshot {
    /// As configured.
    pub config: Config,
    /// In the order of `config.upstreams`.
    pub upstreams: Vec<Arc<Upstream>>,
    /// In the order of `config.routes`, and behind them [`NO_ROUTE`].
    pub routes: Vec<Arc<PerShard<RouteCounters>>>,
    /// In the order of `config.routes`; counts for those of L4 only.
    pub flows: Vec<Arc<PerShard<FlowCounters>>>,
    /// Who is let in, in the order of `config.listeners`.
    pub gates: Vec<Arc<Gate>>,
    /// In the order of `config.listeners`.
    pub listeners: Vec<Arc<PerShard<ListenerCounters>>>,
    /// In the order of `config.upstreams`.
    pub upstream_counters: Vec<Arc<PerShard<UpstreamCounters>>>,
    /// In the order of `config.filters`; none for filters that aren't rate limits.
    pub rate_tables: Vec<Option<Arc<RateTable>>>,
    /// What the `tls` tables have led to.
    pub tls: Tls,
    /// Counts configs since the start, from 1.
    pub generation: u64,
}

/// What the `tls` tables of a configuration have led to: made by who reads the files.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// In the order of `config.listeners`; none for those without TLS. May be too short.
    pub listeners: Vec<Option<Arc<ServerTls>>>,
    /// In the order of `config.upstreams`; none for those without TLS. May be too short.
    pub upstreams: Vec<Option<Arc<ClientTls>>>,
}

impl Snapshot {
    /// Builds the snapshot of `config` for `shards` shards, without TLS: listeners that are to be
    /// secure serve nobody.
    #[must_use]
    pub fn build(
        config: Config,
        shards: usize,
        now: Instant,
        previous: Option<&Self>,
    ) -> Arc<Self> {
        Self::build_with(config, Tls::default(), shards, now, previous)
    }

    /// Builds the snapshot of `config`, whose listeners and upstreams have this TLS, for `shards`
    /// shards.
    #[must_use]
    pub fn build_with(
        config: Config,
        tls: Tls,
        shards: usize,
        now: Instant,
        previous: Option<&Self>,
    ) -> Arc<Self> {
        let upstreams = config.upstreams.iter().enumerate().map(|(index, upstream)| {
            let before = previous.and_then(|previous| previous.upstream(&upstream.name));
            let tls = tls.upstreams.get(index).and_then(Option::as_ref);
            let before = before.map(|kept| &**kept);
            Arc::new(Upstream::build_with(upstream, tls, shards, now, before))
        });
        let route_names = config.routes.iter().map(|route| &*route.name).chain([NO_ROUTE]);
        let listeners = config.listeners.iter().map(|listener| &*listener.name);
        let rate_tables = config.filters.iter().enumerate().map(|(index, filter)| {
            let FilterKind::RateLimit { rate, burst } = &filter.kind else { return None };
            let kept = previous.and_then(|previous| previous.rate_table(&config.filters[index]));
            Some(kept.unwrap_or_else(|| Arc::new(RateTable::new(*rate, *burst, RATE_CLIENTS, now))))
        });
        let gates = config.listeners.iter().map(|listener| {
            let before = previous.and_then(|previous| previous.gate(&listener.name));
            Gate::new(&listener.admission, now, before)
        });
        let flow_names = config.routes.iter().map(|route| &*route.name);
        Arc::new(Self {
            flows: PerShard::carry(flow_names, shards, previous.map(|p| &*p.flows)),
            gates: gates.collect(),
            upstreams: upstreams.collect(),
            routes: PerShard::carry(route_names, shards, previous.map(|p| &*p.routes)),
            listeners: PerShard::carry(listeners, shards, previous.map(|p| &*p.listeners)),
            upstream_counters: PerShard::carry(
                config.upstreams.iter().map(|upstream| &*upstream.name),
                shards,
                previous.map(|p| &*p.upstream_counters),
            ),
            rate_tables: rate_tables.collect(),
            tls,
            generation: previous.map_or(1, |previous| previous.generation + 1),
            config,
        })
    }

    /// The same with other certificates.
    #[must_use]
    pub fn with_tls(&self, tls: Tls) -> Self {
        Self {
            flows: self.flows.clone(),
            gates: self.gates.clone(),
            config: self.config.clone(),
            upstreams: self.upstreams.clone(),
            routes: self.routes.clone(),
            listeners: self.listeners.clone(),
            upstream_counters: self.upstream_counters.clone(),
            rate_tables: self.rate_tables.clone(),
            tls,
            generation: self.generation,
        }
    }

    /// The upstream of that name.
    #[must_use]
    pub fn upstream(&self, name: &str) -> Option<&Arc<Upstream>> {
        let index = self.config.upstreams.iter().position(|upstream| upstream.name == name)?;
        self.upstreams.get(index)
    }

    /// The gate of the listener of that name.
    fn gate(&self, listener: &str) -> Option<&Arc<Gate>> {
        let index = self.config.listeners.iter().position(|own| own.name == listener)?;
        self.gates.get(index)
    }

    /// The table of the same filter in this snapshot.
    fn rate_table(&self, filter: &crate::config::FilterConfig) -> Option<Arc<RateTable>> {
        let index = self.config.filters.iter().position(|own| own == filter)?;
        self.rate_tables.get(index).cloned().flatten()
    }
}

/// The name under which requests that matched no route are counted.
pub const NO_ROUTE: &str = "-";
/// Clients whose bucket is not full that one rate limit remembers: 65,536 cells, 512 KiB.
pub(super) const RATE_CLIENTS: usize = 65_536;
