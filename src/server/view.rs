//! A running server in numbers, for `status` and `/metrics`.

mod packets;

use std::{sync::Arc, time::Duration};

use super::{Source, certificates::certificate_views, listeners, plane::Plane};
use crate::{
    base::metrics::HistogramSnapshot,
    config::{Action, FilterKind, Layer, RouteConfig},
    control::{
        upstreams,
        view::{
            ConfigView, FilterView, FlowView, H2View, ListenerView, RouteView, ShardView, TlsView,
            UpstreamView, View,
        },
    },
    protocol::h2::Abuse,
    proxy::{
        NO_ROUTE,
        stats::{
            By, CodeCounters, FlowCounters, H2Counters, ListenerCounters, PerShard, RouteCounters,
            ShardStats, TlsCounters, UpstreamCounters,
        },
    },
    runtime::{DriverKind, now_uncached},
    transport::tls::{Reason, Version},
};

/// Everything of `plane` now.
pub(super) fn view(plane: &Plane) -> View {
    let snapshot = &plane.snapshot;
    let history = &plane.history;
    let config = ConfigView {
        source: match &plane.source {
            Source::File(path) => path.display().to_string(),
            Source::Fixed => "command line".to_owned(),
        },
        generation: snapshot.generation,
        applied_at: history.applied_at,
        reloads: history.reloads,
        reloads_failed: history.reloads_failed,
        last_error: history.last_error.clone(),
    };
    let driver = match plane.driver.kind {
        DriverKind::IoUring => "io_uring",
        DriverKind::Epoll => "epoll",
        DriverKind::Sim => "sim",
    };
    View {
        driver: driver.to_owned(),
        driver_reason: plane.driver.reason.clone(),
        started_at: history.started_at,
        config,
        packets: packets::packets(plane),
        listeners: snapshot.listeners.iter().map(|stats| listener(plane, stats)).collect(),
        certificates: certificate_views(&snapshot.config, &snapshot.tls),
        shards: shards(plane),
        h2: vec![
            h2(plane, "downstream", |stats| &stats.h2_downstream),
            h2(plane, "upstream", |stats| &stats.h2_upstream),
        ],
        routes: snapshot
            .routes
            .iter()
            .filter(|stats| !is_l4(plane, &stats.name))
            .map(|stats| route(plane, stats))
            .collect(),
        flows: flows(plane),
        upstreams: upstream_views(plane),
        filters: filters(plane),
    }
}

fn listener(plane: &Plane, stats: &PerShard<ListenerCounters>) -> ListenerView {
    let sum = |read: fn(&ListenerCounters) -> u64| stats.shards().map(read).sum();
    let listeners = &plane.snapshot.config.listeners;
    let own = listeners.iter().filter(|listener| listener.name == stats.name);
    let is_secure = own.clone().any(|listener| listener.tls.is_some());
    let protocol = own.clone().next().map_or("", |listener| listener.protocol.name());
    let of_http = own.clone().filter(|listener| !listener.protocol.is_l4());
    let alpn = of_http.flat_map(|listener| listener.alpn.iter().map(|alpn| alpn.name())).collect();
    let bound = own.clone().flat_map(|listener| {
        listener.bound_addresses().iter().map(|address| (*address, listeners::slot(listener)))
    });
    let bound = bound.filter_map(|key| plane.addresses.get(&key).copied());
    let forwarded = own.filter(|listener| listener.forward.is_some());
    let forwarded = forwarded.flat_map(|listener| listener.addresses.iter().copied());
    ListenerView {
        name: stats.name.clone(),
        protocol,
        alpn,
        addresses: bound.chain(forwarded).collect(),
        accepted: sum(|counters| counters.accepted.get()),
        open: sum(|counters| unsigned(counters.open.get())),
        refused: vec![
            ("max_connections", sum(|counters| counters.refused.get())),
            ("accept_error", sum(|counters| counters.accept_errors.get())),
            ("denied", sum(|counters| counters.denied.get())),
            ("over_connections", sum(|counters| counters.over_connections.get())),
            ("over_rate", sum(|counters| counters.over_rate.get())),
            ("bad_proxy_header", sum(|counters| counters.bad_headers.get())),
        ],
        tls: is_secure.then(|| tls(stats)),
    }
}

fn tls(stats: &PerShard<ListenerCounters>) -> TlsView {
    let sum = |read: &dyn Fn(&TlsCounters) -> u64| {
        stats.shards().map(|counters| read(&counters.tls)).sum::<u64>()
    };
    let mut handshakes = Vec::new();
    for (version, name) in [Version::Tls12, Version::Tls13].iter().map(|v| v.as_str()).enumerate() {
        for resumed in [false, true] {
            let count = sum(&|tls| tls.handshakes[version][usize::from(resumed)].get());
            handshakes.push((name, resumed, count));
        }
    }
    let failure =
        |reason: &Reason| (reason.as_str(), sum(&|tls| tls.failures[reason.index()].get()));
    TlsView {
        handshakes,
        failures: Reason::ALL.iter().map(failure).collect(),
        handshaking: sum(&|tls| unsigned(tls.handshaking.get())),
        open: sum(&|tls| unsigned(tls.open.get())),
    }
}

fn shards(plane: &Plane) -> Vec<ShardView> {
    let runtime = &plane.snapshot.config.runtime;
    let each = plane.stats.iter().zip(&runtime.shards);
    each.map(|(stats, cpu)| shard(stats, runtime.pin.then_some(*cpu))).collect()
}

fn shard(stats: &ShardStats, cpu: Option<usize>) -> ShardView {
    ShardView {
        cpu,
        busy: Duration::from_nanos(stats.busy_nanos.get()),
        turns: stats.turns.get(),
        requests: stats.requests.get(),
        bad_requests: stats.bad_requests.get(),
        client_timeouts: stats.client_timeouts.get(),
        slow_clients: stats.slow_clients.get(),
        client_aborts: stats.client_aborts.get(),
        tunnels: unsigned(stats.tunnels.get()),
        connections: unsigned(stats.open.get()),
        tasks: unsigned(stats.tasks.get()),
        ops_in_flight: unsigned(stats.operations.get()),
        buffers_in_use: unsigned(stats.buffers_in_use.get()),
        leases_in_use: unsigned(stats.leases_in_use.get()),
        buffer_waits: stats.buffer_waits.get(),
        cq_overflows: stats.cq_overflows.get(),
    }
}

fn h2(plane: &Plane, side: &'static str, of: fn(&ShardStats) -> &H2Counters) -> H2View {
    let each = || plane.stats.iter().map(|stats| of(stats));
    let ended = |read: fn(&H2Counters) -> &[CodeCounters; 2]| {
        let mut all = Vec::new();
        for (index, by) in By::ALL.iter().enumerate() {
            for (at, (code, _)) in CodeCounters::default().each().enumerate() {
                let count = each().filter_map(|h2| read(h2)[index].each().nth(at));
                all.push((by.as_str(), code, count.map(|(_, count)| count).sum()));
            }
        }
        all
    };
    let abuse = Abuse::ALL.iter().enumerate();
    H2View {
        side,
        connections: each().map(|h2| unsigned(h2.connections.get())).sum(),
        streams_open: each().map(|h2| unsigned(h2.streams_open.get())).sum(),
        streams: each().map(|h2| h2.streams.get()).sum(),
        refused: each().map(|h2| h2.refused.get()).sum(),
        resets: ended(|h2| &h2.resets),
        goaways: ended(|h2| &h2.goaways),
        abuse: abuse
            .map(|(at, kind)| (kind.as_str(), each().map(|h2| h2.abuse[at].get()).sum()))
            .collect(),
    }
}

fn route(plane: &Plane, stats: &Arc<PerShard<RouteCounters>>) -> RouteView {
    let config = &plane.snapshot.config;
    let route = config.routes.iter().find(|route| route.name == stats.name);
    let upstream = route.filter(|_| stats.name != NO_ROUTE).and_then(|route| match route.action {
        Action::Upstream(index) => config.upstreams.get(index),
        Action::Respond { .. } | Action::Redirect { .. } => None,
    });
    let sum = |read: &dyn Fn(&RouteCounters) -> u64| stats.shards().map(read).sum::<u64>();
    let mut by_class = [0; 5];
    for (index, class) in by_class.iter_mut().enumerate() {
        *class = sum(&|counters| counters.classes[index + 1].get());
    }
    let mut latency = HistogramSnapshot::default();
    for counters in stats.shards() {
        latency.merge_live(&counters.latency);
    }
    RouteView {
        name: stats.name.clone(),
        upstream: upstream.map(|upstream| upstream.name.clone()).unwrap_or_default(),
        by_class,
        aborted: sum(&|counters| counters.classes[0].get()),
        latency,
        bytes_in: sum(&|counters| counters.bytes_in.get()),
        bytes_out: sum(&|counters| counters.bytes_out.get()),
    }
}

fn is_l4(plane: &Plane, route: &str) -> bool {
    let mut routes = plane.snapshot.config.routes.iter();
    routes.any(|own| own.name == route && own.layer == Layer::L4)
}

fn flows(plane: &Plane) -> Vec<FlowView> {
    let snapshot = &plane.snapshot;
    let each = snapshot.config.routes.iter().zip(&snapshot.flows);
    let of_l4 = each.filter(|(route, _)| route.layer == Layer::L4 && !is_forwarded(plane, route));
    of_l4.map(|(route, stats)| flow(plane, route, stats)).collect()
}

/// Whether its packets pass the shards by: what there is to count of them is the fast path's.
fn is_forwarded(plane: &Plane, route: &RouteConfig) -> bool {
    let mut own = route.listeners.iter().flatten();
    let listeners = &plane.snapshot.config.listeners;
    own.any(|index| listeners.get(*index).is_some_and(|listener| listener.forward.is_some()))
}

fn flow(plane: &Plane, route: &RouteConfig, stats: &PerShard<FlowCounters>) -> FlowView {
    let upstream = match route.action {
        Action::Upstream(index) => plane.snapshot.config.upstreams.get(index),
        Action::Respond { .. } | Action::Redirect { .. } => None,
    };
    let sum = |read: fn(&FlowCounters) -> u64| stats.shards().map(read).sum();
    let mut duration = HistogramSnapshot::default();
    for counters in stats.shards() {
        duration.merge_live(&counters.duration);
    }
    FlowView {
        name: route.name.clone(),
        upstream: upstream.map(|own| own.name.clone()).unwrap_or_default(),
        open: sum(|own| unsigned(own.open.get())),
        ended: sum(|own| own.ended.get()),
        failed: sum(|own| own.failed.get()),
        retries: sum(|own| own.retries.get()),
        duration,
        bytes_in: sum(|own| own.bytes_in.get()),
        bytes_out: sum(|own| own.bytes_out.get()),
        datagrams_in: sum(|own| own.datagrams_in.get()),
        datagrams_out: sum(|own| own.datagrams_out.get()),
        datagrams_lost: sum(|own| own.datagrams_lost.get()),
    }
}

fn upstream_views(plane: &Plane) -> Vec<UpstreamView> {
    let each = plane.snapshot.upstreams.iter().zip(&plane.snapshot.upstream_counters);
    each.enumerate()
        .map(|(index, (upstream, stats))| {
            let sum = |read: fn(&UpstreamCounters) -> u64| stats.shards().map(read).sum();
            let mut first_byte = HistogramSnapshot::default();
            for counters in stats.shards() {
                first_byte.merge_live(&counters.first_byte);
            }
            let view = upstreams::view(upstream);
            UpstreamView {
                policy: if is_by_ring(plane, index) { RING.to_owned() } else { view.policy },
                retries: sum(|counters| counters.retries.get()),
                retry_budget_exhausted: sum(|counters| counters.retries_over_budget.get()),
                first_byte,
                protocol: (!is_relayed(plane, index)).then(|| upstream.config.protocol.name()),
                ..view
            }
        })
        .collect()
}

/// Whether nobody but the fast path chooses endpoints of the upstream `index`: by its ring, whatever
/// the upstream's own policy.
fn is_by_ring(plane: &Plane, index: usize) -> bool {
    let routes = plane.snapshot.config.routes.iter();
    let mut users = routes
        .filter(|route| matches!(route.action, Action::Upstream(used) if used == index))
        .peekable();
    users.peek().is_some() && users.all(|route| is_forwarded(plane, route))
}

/// How the fast path's ring is called where policies are.
const RING: &str = "maglev";

/// Whether connections are relayed to the upstream `index` as they are.
fn is_relayed(plane: &Plane, index: usize) -> bool {
    let mut routes = plane.snapshot.config.routes.iter();
    routes.any(|route| {
        let is_used = matches!(route.action, Action::Upstream(used) if used == index);
        is_used && route.layer == Layer::L4
    })
}

fn filters(plane: &Plane) -> Vec<FilterView> {
    let now = now_uncached();
    let each = plane.snapshot.config.filters.iter().zip(&plane.snapshot.rate_tables);
    each.filter_map(|(filter, table)| {
        let (FilterKind::RateLimit { .. }, Some(table)) = (&filter.kind, table) else {
            return None;
        };
        Some(FilterView {
            name: filter.name.clone(),
            kind: "rate_limit",
            passed: table.passed(),
            rejected: table.rejected(),
            entries: table.entries(now) as u64,
        })
    })
    .collect()
}

/// A gauge that one thread writes is never below 0 for longer than an update takes.
fn unsigned(gauge: i64) -> u64 {
    u64::try_from(gauge).unwrap_or(0)
}
