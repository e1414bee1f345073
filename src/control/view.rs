//! The numbers and names of a running process at one moment, plain data.
//!
//! The server fills a [`View`] from shard counters, upstreams and the snapshot; `metrics` spells it
//! for Prometheus and `status` for people. Counts grow from the start of the process; whoever
//! wants rates keeps an earlier view.

pub mod packets;

use std::time::{Duration, SystemTime};

use crate::base::{address::Address, metrics::HistogramSnapshot};
use packets::PacketsView;

/// Everything.
#[derive(Debug, Clone)]
pub struct View {
    /// `io_uring`, `epoll` or `sim`.
    pub driver: String,
    /// Why that one won.
    pub driver_reason: String,
    /// When the process began.
    pub started_at: SystemTime,
    /// Where the config came from and how reloads went.
    pub config: ConfigView,
    /// The fast path, if there is one.
    pub packets: Option<PacketsView>,
    /// In the order of the config.
    pub listeners: Vec<ListenerView>,
    /// Those of each listener in turn.
    pub certificates: Vec<CertificateView>,
    /// By index.
    pub shards: Vec<ShardView>,
    /// Both sides.
    pub h2: Vec<H2View>,
    /// One per route and upstream it used, in the order of the config; requests that matched no
    /// route have a view named `-`.
    pub routes: Vec<RouteView>,
    /// Routes of connections and flows, in the order of the config.
    pub flows: Vec<FlowView>,
    /// In the order of the config.
    pub upstreams: Vec<UpstreamView>,
    /// Filters that count something, in the order of the config.
    pub filters: Vec<FilterView>,
}

impl View {
    /// The latency of all routes together.
    pub fn latency(&self) -> HistogramSnapshot {
        let mut all = HistogramSnapshot::default();
        for route in &self.routes {
            all.merge(&route.latency);
        }
        all
    }
}

/// Where the config came from and how reloads went.
#[derive(Debug, Clone)]
pub struct ConfigView {
    /// The file's path, or `command line`.
    pub source: String,
    /// The running snapshot; the first is 1.
    pub generation: u64,
    /// When that snapshot was applied.
    pub applied_at: SystemTime,
    /// Reloads that worked.
    pub reloads: u64,
    /// Reloads that changed nothing because of an error.
    pub reloads_failed: u64,
    /// Why the last reload failed; `None` if it worked.
    pub last_error: Option<String>,
}

/// One listener, all its addresses and shards together.
#[derive(Debug, Clone, Default)]
pub struct ListenerView {
    /// Its name.
    pub name: String,
    /// `http`, `https`, `tcp`, `tls` or `udp`.
    pub protocol: &'static str,
    /// The versions of HTTP that are spoken, the preferred first.
    pub alpn: Vec<&'static str>,
    /// As bound: a configured port 0 shows the port the kernel gave.
    pub addresses: Vec<Address>,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections closed at once, by reason: `max_connections`, `draining`, `accept_error`.
    pub refused: Vec<(&'static str, u64)>,
    /// Its TLS; `None` in the clear.
    pub tls: Option<TlsView>,
}

/// A listener's TLS, all shards together.
#[derive(Debug, Clone, Default)]
pub struct TlsView {
    /// Handshakes that succeeded, by version (`1.2`, `1.3`) and whether a session was resumed.
    pub handshakes: Vec<(&'static str, bool, u64)>,
    /// Handshakes that failed, by reason.
    pub failures: Vec<(&'static str, u64)>,
    /// Handshakes going on now.
    pub handshaking: u64,
    /// Encrypted connections open now.
    pub open: u64,
}

/// One certificate of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateView {
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
    /// Valid from.
    pub not_before: SystemTime,
    /// Valid until.
    pub not_after: SystemTime,
    /// Whether it is for clients that ask for no name, or for an unknown one.
    pub is_default: bool,
    /// Whether an OCSP response is stapled.
    pub has_ocsp: bool,
    /// What clients are asked for: `off`, `optional`, `required`.
    pub client_auth: &'static str,
}

/// HTTP/2 on one side, all shards together.
#[derive(Debug, Clone, Default)]
pub struct H2View {
    /// `downstream` or `upstream`.
    pub side: &'static str,
    /// Connections open.
    pub connections: u64,
    /// Streams with an exchange.
    pub streams_open: u64,
    /// Streams opened.
    pub streams: u64,
    /// Requests that broke a rule and never became one.
    pub refused: u64,
    /// Streams that ended early: by whom (`them`, `us`), code, count.
    pub resets: Vec<(&'static str, &'static str, u64)>,
    /// Connections that ended by GOAWAY, likewise.
    pub goaways: Vec<(&'static str, &'static str, u64)>,
    /// Connections that we ended for abuse, by kind.
    pub abuse: Vec<(&'static str, u64)>,
}

/// One shard.
#[derive(Debug, Clone, Default)]
pub struct ShardView {
    /// Its CPU, if pinned.
    pub cpu: Option<usize>,
    /// CPU time of its thread.
    pub busy: Duration,
    /// Turns of the event loop.
    pub turns: u64,
    /// Requests finished.
    pub requests: u64,
    /// Requests refused as malformed, before any route.
    pub bad_requests: u64,
    /// Clients that stalled within a head, a body or a response.
    pub client_timeouts: u64,
    /// Clients that sent or took less than `limits.min_rate`.
    pub slow_clients: u64,
    /// Clients that left before their response was complete.
    pub client_aborts: u64,
    /// Client connections open.
    pub connections: u64,
    /// Upgraded connections open.
    pub tunnels: u64,
    /// Tasks alive.
    pub tasks: u64,
    /// Operations with the kernel.
    pub ops_in_flight: u64,
    /// Receive buffers out of the ring.
    pub buffers_in_use: u64,
    /// Large buffers leased.
    pub leases_in_use: u64,
    /// Times a receive had to wait for a buffer.
    pub buffer_waits: u64,
    /// Times the completion queue overflowed.
    pub cq_overflows: u64,
}

/// Requests of one route, by what became of them.
#[derive(Debug, Clone, Default)]
pub struct RouteView {
    /// The route's name, `-` for requests that matched none.
    pub name: String,
    /// The upstream's name; empty where ringway answers itself.
    pub upstream: String,
    /// Finished requests by status class: 1xx, 2xx, 3xx, 4xx, 5xx.
    pub by_class: [u64; 5],
    /// Requests whose client left, or was cut off, before any status was sent.
    pub aborted: u64,
    /// End of the request's head to last byte of the response.
    pub latency: HistogramSnapshot,
    /// Bytes received from clients, heads included.
    pub bytes_in: u64,
    /// Bytes sent to clients, heads included.
    pub bytes_out: u64,
}

/// Connections or UDP flows of one route.
#[derive(Debug, Clone, Default)]
pub struct FlowView {
    /// The route's name.
    pub name: String,
    /// The upstream's name.
    pub upstream: String,
    /// Flows open now; connections are counted at their listener.
    pub open: u64,
    /// Those that ended well.
    pub ended: u64,
    /// Those that ended otherwise, or came to nothing.
    pub failed: u64,
    /// Connects that were tried again at another endpoint.
    pub retries: u64,
    /// From accept to the last byte.
    pub duration: HistogramSnapshot,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Datagrams from clients.
    pub datagrams_in: u64,
    /// Datagrams to clients.
    pub datagrams_out: u64,
    /// Datagrams that could not be passed on.
    pub datagrams_lost: u64,
}

/// One upstream.
#[derive(Debug, Clone, Default)]
pub struct UpstreamView {
    /// Its name.
    pub name: String,
    /// `http/1.1`, `h2` or `auto`; `None` where connections are relayed as they are.
    pub protocol: Option<&'static str>,
    /// `round_robin`, `least_request`.
    pub policy: String,
    /// Attempts after the first.
    pub retries: u64,
    /// Retries not made because the budget was spent.
    pub retry_budget_exhausted: u64,
    /// First byte of the request to the response head.
    pub first_byte: HistogramSnapshot,
    /// In the order of the config.
    pub endpoints: Vec<EndpointView>,
}

impl UpstreamView {
    /// The counts of all endpoints together.
    pub fn totals(&self) -> EndpointTotals {
        let mut totals = EndpointTotals::default();
        for endpoint in &self.endpoints {
            totals.add(&endpoint.totals);
        }
        totals
    }

    /// How many endpoints may get requests.
    pub fn available(&self) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.is_available()).count()
    }
}

/// One endpoint.
#[derive(Debug, Clone)]
pub struct EndpointView {
    /// Where it listens.
    pub address: Address,
    /// What it chose to speak; `None` where it has no choice, and before its first connection.
    pub spoken: Option<&'static str>,
    /// Its share.
    pub weight: u32,
    /// Used only while no other is available.
    pub backup: bool,
    /// What the probe says; `None` where there is none.
    pub probe: Option<ProbeView>,
    /// Left out because of failures.
    pub is_ejected: bool,
    /// Times it was ejected.
    pub ejections: u64,
    /// Requests with it now.
    pub in_flight: u64,
    /// Requests waiting for a connection now.
    pub pending: u64,
    /// Connections now, idle ones included.
    pub connections: u64,
    /// Connections waiting in pools now.
    pub idle: u64,
    /// Counts since the start.
    pub totals: EndpointTotals,
}

impl EndpointView {
    /// Whether requests may go there.
    pub fn is_available(&self) -> bool {
        !self.is_ejected && self.probe.as_ref().is_none_or(|probe| probe.is_healthy)
    }
}

/// What a probe says of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeView {
    /// Its verdict.
    pub is_healthy: bool,
    /// What it saw when the verdict last changed.
    pub reason: String,
}

/// Counts of one endpoint since the start, all shards together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndpointTotals {
    /// Requests sent, or tried to be.
    pub requests: u64,
    /// Connections opened.
    pub opened: u64,
    /// Requests that a connection of the shard's own pool carried.
    pub reused: u64,
    /// Connections got from a neighbour shard.
    pub stolen: u64,
    /// Connections closed while idle: too old, one too many, closed or spoken on by the endpoint.
    pub discarded: u64,
    /// Connects that failed.
    pub connect_failures: u64,
    /// Connections that broke before a response.
    pub resets: u64,
    /// Requests that got no answer in time.
    pub timeouts: u64,
    /// Responses that weren't HTTP.
    pub malformed: u64,
    /// Answers of 500 and above.
    pub server_errors: u64,
    /// Requests turned away because the queue was full.
    pub queue_full: u64,
    /// Requests turned away after waiting too long.
    pub queue_timeouts: u64,
}

impl EndpointTotals {
    /// Adds another endpoint's counts.
    pub fn add(&mut self, other: &Self) {
        let Self {
            requests,
            opened,
            reused,
            stolen,
            discarded,
            connect_failures,
            resets,
            timeouts,
            malformed,
            server_errors,
            queue_full,
            queue_timeouts,
        } = other;
        self.requests += requests;
        self.opened += opened;
        self.reused += reused;
        self.stolen += stolen;
        self.discarded += discarded;
        self.connect_failures += connect_failures;
        self.resets += resets;
        self.timeouts += timeouts;
        self.malformed += malformed;
        self.server_errors += server_errors;
        self.queue_full += queue_full;
        self.queue_timeouts += queue_timeouts;
    }

    /// Share of requests that an existing connection carried, the shard's own or a neighbour's;
    /// `None` before the first.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn reuse_ratio(&self) -> Option<f64> {
        let kept = self.reused + self.stolen;
        let all = kept + self.opened;
        (all > 0).then(|| kept as f64 / all as f64)
    }
}

/// A filter that turns requests away.
#[derive(Debug, Clone, Default)]
pub struct FilterView {
    /// Its name.
    pub name: String,
    /// `rate_limit`
    pub kind: &'static str,
    /// Requests let through.
    pub passed: u64,
    /// Requests turned away.
    pub rejected: u64,
    /// Keys it holds in memory.
    pub entries: u64,
}

/// How the access log fares. The control thread has it, the server needn't fill it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessLogView {
    /// Per shard: lines queued, and lines dropped because the queue was full.
    pub shards: Vec<(u64, u64)>,
    /// Bytes that reached the file.
    pub bytes_written: u64,
    /// Lines lost because a write failed.
    pub lines_lost: u64,
}
