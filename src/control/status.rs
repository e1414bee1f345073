//! `GET /v1/status`: the state of a process, for people and scripts.
//!
//! Made from two views, now and a few seconds ago, so that it can tell rates. The same types are
//! written by the admin API and read by `ringway status`; a script gets them with `--json`.

mod packets;

use std::{
    process,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::{
    base::{address::Address, civil::Civil, metrics::HistogramSnapshot},
    control::{
        node::Phase,
        sampler::Window,
        view::{
            AccessLogView, CertificateView, EndpointView, FlowView, RouteView, UpstreamView, View,
        },
    },
};

pub use packets::{ForwardedStatus, VipStatus, XdpStatus};

/// What a running ringway says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The package's version.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// `starting`, `serving`, `draining`, `stopped`.
    pub phase: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// Seconds since then.
    pub uptime: f64,
    /// `io_uring`, `epoll` or `sim`.
    pub driver: String,
    /// Why that one won.
    pub driver_reason: String,
    /// The fast path, if there is one.
    #[serde(default)]
    pub xdp: Option<XdpStatus>,
    /// Where the config came from and how reloads went.
    pub config: ConfigStatus,
    /// Seconds that the rates, loads and recent quantiles below look back.
    pub window: f64,
    /// Finished requests since the start.
    pub requests: u64,
    /// Over the window.
    pub requests_per_second: f64,
    /// Latency of all requests since the start; absent before the first.
    pub latency: Option<Latency>,
    /// Latency in the window; absent if nothing ended in it.
    pub recent_latency: Option<Latency>,
    /// By index.
    pub shards: Vec<ShardStatus>,
    /// In the order of the config.
    pub listeners: Vec<ListenerStatus>,
    /// Those of each listener in turn.
    #[serde(default)]
    pub certificates: Vec<CertificateStatus>,
    /// In the order of the config.
    pub routes: Vec<RouteStatus>,
    /// Routes of connections and flows, in the order of the config.
    #[serde(default)]
    pub flows: Vec<FlowStatus>,
    /// In the order of the config.
    pub upstreams: Vec<UpstreamStatus>,
    /// How the access log fares.
    pub access_log: AccessLogStatus,
}

/// Where the config came from and how reloads went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// The file's path, or `command line`.
    pub source: String,
    /// Number of the snapshot that runs; the first is 1.
    pub generation: u64,
    /// RFC 3339, UTC.
    pub applied_at: String,
    /// Reloads that worked.
    pub reloads: u64,
    /// Reloads that failed.
    pub reloads_failed: u64,
    /// Why the last one failed; absent if it worked.
    pub last_error: Option<String>,
}

/// Quantiles in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half are faster.
    pub p50: f64,
    /// One in ten is slower.
    pub p90: f64,
    /// One in a hundred is slower.
    pub p99: f64,
    /// One in a thousand is slower.
    pub p999: f64,
}

impl Latency {
    /// `None` for an empty histogram.
    fn of(snapshot: &HistogramSnapshot) -> Option<Self> {
        let hdr = snapshot.to_hdr();
        let millis = |q| Duration::from_nanos(hdr.value_at_quantile(q)).as_secs_f64() * 1e3;
        (!hdr.is_empty()).then(|| Self {
            p50: millis(0.5),
            p90: millis(0.9),
            p99: millis(0.99),
            p999: millis(0.999),
        })
    }
}

/// One shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardStatus {
    /// Its CPU, if pinned.
    pub cpu: Option<usize>,
    /// Share of the window that it was busy, 0.0 to 1.0.
    pub load: f64,
    /// Over the window.
    pub requests_per_second: f64,
    /// Client connections open.
    pub connections: u64,
    /// Receive buffers out of the ring.
    pub buffers_in_use: u64,
    /// Large buffers leased.
    pub leases_in_use: u64,
    /// Operations with the kernel.
    pub ops_in_flight: u64,
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// `http`, `https`, `tcp`, `tls` or `udp`.
    #[serde(default)]
    pub protocol: String,
    /// The versions of HTTP that are spoken, the preferred first.
    #[serde(default)]
    pub alpn: Vec<String>,
    /// As bound.
    pub addresses: Vec<Address>,
    /// Client connections open.
    pub open: u64,
    /// Accepted since the start.
    pub accepted: u64,
    /// Closed at once since the start, all reasons.
    pub refused: u64,
}

/// One certificate of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The listener's name.
    pub listener: String,
    /// The file that it comes from.
    pub file: String,
    /// The DNS names that it is for.
    pub names: Vec<String>,
    /// The subject's distinguished name.
    pub subject: String,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// In hexadecimal.
    pub serial: String,
    /// RFC 3339, UTC.
    pub not_before: String,
    /// RFC 3339, UTC.
    pub not_after: String,
    /// Seconds until then; negative when it has expired.
    pub expires_in: i64,
    /// Whether it is for clients that ask for no name, or for an unknown one.
    pub default: bool,
    /// Whether an OCSP response is stapled.
    pub ocsp: bool,
    /// What clients are asked for: `off`, `optional`, `required`.
    pub client_auth: String,
}

impl CertificateStatus {
    /// What is shown of `view` at `now`.
    pub fn new(view: &CertificateView, now: SystemTime) -> Self {
        let seconds = |length: Duration| i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
        Self {
            listener: view.listener.clone(),
            file: view.file.clone(),
            names: view.names.clone(),
            subject: view.subject.clone(),
            issuer: view.issuer.clone(),
            serial: view.serial.clone(),
            not_before: rfc3339(view.not_before),
            not_after: rfc3339(view.not_after),
            expires_in: match view.not_after.duration_since(now) {
                Ok(left) => seconds(left),
                Err(since) => -seconds(since.duration()),
            },
            default: view.is_default,
            ocsp: view.has_ocsp,
            client_auth: view.client_auth.to_owned(),
        }
    }
}

/// One route and the upstream it used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// Its name, `-` for requests that matched none.
    pub name: String,
    /// The upstream's name, empty where ringway answers itself.
    pub upstream: String,
    /// Finished requests since the start.
    pub requests: u64,
    /// Those answered 4xx.
    pub client_errors: u64,
    /// Those answered 5xx.
    pub server_errors: u64,
    /// Since the start; absent before the first.
    pub latency: Option<Latency>,
}

/// One route of connections or UDP flows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowStatus {
    /// Its name.
    pub name: String,
    /// The upstream's name.
    pub upstream: String,
    /// UDP flows open.
    pub open: u64,
    /// Over since the start.
    pub ended: u64,
    /// Of these, not well.
    pub failed: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Datagrams that could not be passed on.
    pub datagrams_lost: u64,
}

/// One upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// `http/1.1`, `h2` or `auto`; absent where connections are relayed as they are.
    #[serde(default)]
    pub protocol: Option<String>,
    /// `round_robin`, `least_request`.
    pub policy: String,
    /// Endpoints that may get requests.
    pub available: usize,
    /// Share of requests that an existing connection carried; absent before the first.
    pub reuse_ratio: Option<f64>,
    /// Attempts after the first.
    pub retries: u64,
    /// Retries not made because the budget was spent.
    pub retry_budget_exhausted: u64,
    /// In the order of the config.
    pub endpoints: Vec<EndpointStatus>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// Where it listens.
    pub address: Address,
    /// With protocol `auto`, what it chose: `http/1.1` or `h2`; absent before its first connection.
    #[serde(default)]
    pub spoken: Option<String>,
    /// Whether requests may go there, and if not, why not.
    pub state: EndpointState,
    /// What the health probe saw when its verdict last changed; empty without a probe.
    pub reason: String,
    /// Its share.
    pub weight: u32,
    /// Used only while no other is available.
    pub backup: bool,
    /// Requests with it now.
    pub in_flight: u64,
    /// Connections to it now, idle ones included.
    pub connections: u64,
    /// Of these, idle.
    pub idle: u64,
    /// Requests since the start.
    pub requests: u64,
    /// Of these, failed in any way: connect, reset, timeout, malformed, 5xx.
    pub failures: u64,
    /// Times it was ejected.
    pub ejections: u64,
}

/// Whether requests may go to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// Its probe passes.
    Healthy,
    /// Nobody probes it, and nothing speaks against it.
    Unprobed,
    /// Its probe fails.
    Unhealthy,
    /// Left out for a while because requests failed.
    Ejected,
}

impl EndpointState {
    /// As the table shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unprobed => "unprobed",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
        }
    }
}

/// How the access log fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLogStatus {
    /// Lines queued since the start.
    pub lines: u64,
    /// Lines dropped because a queue was full, or lost because a write failed.
    pub lost: u64,
}

impl Status {
    /// Says it all.
    pub fn new(
        now: SystemTime,
        view: &View,
        window: &Window,
        phase: Phase,
        access: &AccessLogView,
    ) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: process::id(),
            phase: phase.name().to_owned(),
            started_at: rfc3339(view.started_at),
            uptime: now.duration_since(view.started_at).unwrap_or(Duration::ZERO).as_secs_f64(),
            driver: view.driver.clone(),
            driver_reason: view.driver_reason.clone(),
            xdp: view.packets.as_ref().map(XdpStatus::new),
            config: ConfigStatus {
                source: view.config.source.clone(),
                generation: view.config.generation,
                applied_at: rfc3339(view.config.applied_at),
                reloads: view.config.reloads,
                reloads_failed: view.config.reloads_failed,
                last_error: view.config.last_error.clone(),
            },
            window: window.length.as_secs_f64(),
            requests: view.shards.iter().map(|shard| shard.requests).sum(),
            requests_per_second: window.rates.iter().sum(),
            latency: Latency::of(&view.latency()),
            recent_latency: Latency::of(&window.latency),
            shards: shards(view, window),
            listeners: listeners(view),
            certificates: view
                .certificates
                .iter()
                .map(|certificate| CertificateStatus::new(certificate, now))
                .collect(),
            routes: view.routes.iter().map(route).collect(),
            flows: view.flows.iter().map(flow).collect(),
            upstreams: view.upstreams.iter().map(upstream).collect(),
            access_log: AccessLogStatus {
                lines: access.shards.iter().map(|(lines, _)| lines).sum(),
                lost: access.shards.iter().map(|(_, dropped)| dropped).sum::<u64>()
                    + access.lines_lost,
            },
        }
    }
}

fn shards(view: &View, window: &Window) -> Vec<ShardStatus> {
    let measured = window.loads.iter().zip(&window.rates);
    view.shards
        .iter()
        .zip(measured)
        .map(|(shard, (load, rate))| ShardStatus {
            cpu: shard.cpu,
            load: *load,
            requests_per_second: *rate,
            connections: shard.connections,
            buffers_in_use: shard.buffers_in_use,
            leases_in_use: shard.leases_in_use,
            ops_in_flight: shard.ops_in_flight,
        })
        .collect()
}

fn listeners(view: &View) -> Vec<ListenerStatus> {
    view.listeners
        .iter()
        .map(|listener| ListenerStatus {
            name: listener.name.clone(),
            protocol: listener.protocol.to_owned(),
            alpn: listener.alpn.iter().map(ToString::to_string).collect(),
            addresses: listener.addresses.clone(),
            open: listener.open,
            accepted: listener.accepted,
            refused: listener.refused.iter().map(|(_, count)| count).sum(),
        })
        .collect()
}

fn flow(flow: &FlowView) -> FlowStatus {
    FlowStatus {
        name: flow.name.clone(),
        upstream: flow.upstream.clone(),
        open: flow.open,
        ended: flow.ended + flow.failed,
        failed: flow.failed,
        bytes_in: flow.bytes_in,
        bytes_out: flow.bytes_out,
        datagrams_lost: flow.datagrams_lost,
    }
}

fn route(route: &RouteView) -> RouteStatus {
    RouteStatus {
        name: route.name.clone(),
        upstream: route.upstream.clone(),
        requests: route.by_class.iter().sum::<u64>() + route.aborted,
        client_errors: route.by_class[3],
        server_errors: route.by_class[4],
        latency: Latency::of(&route.latency),
    }
}

fn upstream(upstream: &UpstreamView) -> UpstreamStatus {
    UpstreamStatus {
        name: upstream.name.clone(),
        protocol: upstream.protocol.map(str::to_owned),
        policy: upstream.policy.clone(),
        available: upstream.available(),
        reuse_ratio: upstream.totals().reuse_ratio(),
        retries: upstream.retries,
        retry_budget_exhausted: upstream.retry_budget_exhausted,
        endpoints: upstream.endpoints.iter().map(endpoint).collect(),
    }
}

fn endpoint(endpoint: &EndpointView) -> EndpointStatus {
    let state = match &endpoint.probe {
        Some(probe) if !probe.is_healthy => EndpointState::Unhealthy,
        _ if endpoint.is_ejected => EndpointState::Ejected,
        Some(_) => EndpointState::Healthy,
        None => EndpointState::Unprobed,
    };
    let totals = &endpoint.totals;
    EndpointStatus {
        address: endpoint.address,
        spoken: endpoint.spoken.map(str::to_owned),
        state,
        reason: endpoint.probe.as_ref().map(|probe| probe.reason.clone()).unwrap_or_default(),
        weight: endpoint.weight,
        backup: endpoint.backup,
        in_flight: endpoint.in_flight,
        connections: endpoint.connections,
        idle: endpoint.idle,
        requests: totals.requests,
        failures: totals.connect_failures
            + totals.resets
            + totals.timeouts
            + totals.malformed
            + totals.server_errors,
        ejections: endpoint.ejections,
    }
}

fn rfc3339(time: SystemTime) -> String {
    let mut out = Vec::with_capacity(24);
    Civil::from_system_time(time).write_rfc3339(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}
