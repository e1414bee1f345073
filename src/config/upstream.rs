//! `[upstream.NAME]`: a group of endpoints that serve the same.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::base::address::Address;

use super::admission::ProxyVersion;
use super::tls::UpstreamTls;

/// One upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamConfig {
    /// Name of the table.
    pub name: String,
    /// What endpoints speak. Default: [`UpstreamProtocol::Http11`].
    pub protocol: UpstreamProtocol,
    /// How an endpoint is chosen. Default: [`BalancePolicy::RoundRobin`].
    pub balance: BalancePolicy,
    /// At least one; no address twice.
    pub endpoints: Vec<EndpointConfig>,
    /// Whether endpoints are reached by TLS, and how. Default (`None`): in the clear.
    pub tls: Option<UpstreamTls>,
    /// The PROXY header that each connection to an endpoint begins with. Default: none. Over HTTP
    /// such a connection serves one client only, and isn't kept.
    pub proxy_protocol: Option<ProxyVersion>,
    /// Whether endpoints see the client's address as that of the connection (IP_TRANSPARENT).
    /// Default: false. L4 only.
    pub transparent: bool,
    /// Kept-alive connections.
    pub pool: PoolConfig,
    /// The circuit breaker.
    pub limits: UpstreamLimits,
    /// Active health checks. Default: none, every endpoint counts as healthy.
    pub health: Option<HealthConfig>,
    /// Passive ejection.
    pub outlier: OutlierConfig,
}

/// What endpoints speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpstreamProtocol {
    /// HTTP/1.1: one request at a time on a connection.
    #[default]
    Http11,
    /// HTTP/2 from the first byte, with prior knowledge: many requests on a connection.
    H2,
    /// What an endpoint chooses by ALPN, HTTP/2 if it can. Only with TLS.
    Auto,
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BalancePolicy {
    /// In turn, smoothly by weight.
    #[default]
    RoundRobin,
    /// The one with the fewest requests per weight among a few drawn at random.
    LeastRequest {
        /// How many are drawn, 2 to 16. Default: 2.
        choices: u32,
    },
    /// The one with the fewest requests or connections per weight of all.
    LeastConn,
    /// By chance, in proportion to the weights.
    Random,
    /// The first that is available.
    First,
    /// By the remainder of the key's hash.
    Hash(HashKey),
    /// By points on a circle, where nginx's `hash … consistent` puts them.
    Ketama(HashKey),
    /// By a table of 65537 slots.
    Maglev(HashKey),
    /// By the highest score of key and endpoint.
    Rendezvous(HashKey),
}

/// What a hashing balancer goes by. A request that lacks it goes by its client's address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HashKey {
    /// The client's address, without its port.
    #[default]
    SourceIp,
    /// The path of the request, without its query. HTTP only, as all that follow.
    Path,
    /// The first field of this name, in lower case.
    Header(String),
    /// The cookie of this name.
    Cookie(String),
    /// The parameter of this name in the query, as it is written there.
    Query(String),
}

impl BalancePolicy {
    /// The word in the file.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastRequest { .. } => "least_request",
            Self::LeastConn => "least_conn",
            Self::Random => "random",
            Self::First => "first",
            Self::Hash(_) => "hash",
            Self::Ketama(_) => "ketama",
            Self::Maglev(_) => "maglev",
            Self::Rendezvous(_) => "rendezvous",
        }
    }

    /// What it hashes, if it does.
    #[must_use]
    pub fn key(&self) -> Option<&HashKey> {
        match self {
            Self::Hash(key) | Self::Ketama(key) | Self::Maglev(key) | Self::Rendezvous(key) => {
                Some(key)
            }
            Self::RoundRobin
            | Self::LeastRequest { .. }
            | Self::LeastConn
            | Self::Random
            | Self::First => None,
        }
    }
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointConfig {
    /// Where it is; a port is not 0.
    pub address: Address,
    /// Its share, 1 to 256. Default: 1.
    pub weight: u32,
    /// Used only while no other endpoint is available. Default: false.
    pub backup: bool,
}

/// Connections kept for the next request; one pool per shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolConfig {
    /// Idle connections per endpoint and shard that are kept for `idle_timeout`, 0 to 65536; what
    /// is above it and unused for a second is closed, and 0 keeps none. Default: 64.
    pub idle_per_endpoint: u32,
    /// How long one may be idle. Default: 60 s.
    pub idle_timeout: Duration,
    /// Whether an empty pool asks its neighbours. Default: [`Share::Steal`].
    pub share: Share,
    /// Most requests on one connection; `None` (default) is unlimited.
    pub max_reuse: Option<u64>,
}

/// What an empty pool does before it connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Takes an idle connection from a neighbour shard.
    Steal,
    /// Connects at once.
    Off,
}

/// The circuit breaker, over all shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// Most connections to one endpoint; `None` (default) is unlimited.
    pub connections: Option<u32>,
    /// Most requests that wait for a connection of this upstream; more get 503. Default: 1024.
    pub pending: u32,
    /// How long one waits before it gets 503. Default: 2 s.
    pub queue_timeout: Duration,
}

/// Active health checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthConfig {
    /// How an endpoint is asked.
    pub probe: Probe,
    /// What it speaks, for [`Probe::Http`]: the upstream's protocol. Default: HTTP/1.1.
    pub protocol: UpstreamProtocol,
    /// From one check to the next. Default: 2 s.
    pub interval: Duration,
    /// How long an answer may take; not longer than `interval`. Default: 1 s.
    pub timeout: Duration,
    /// Good checks in a row until it is healthy again, 1 to 100. Default: 2.
    pub rise: u32,
    /// Bad checks in a row until it is not, 1 to 100. Default: 3.
    pub fall: u32,
    /// Good statuses, for [`Probe::Http`]; not empty. Default: 200 to 399.
    pub expect: Vec<RangeInclusive<u16>>,
}

/// How an endpoint is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// It must accept a connection.
    Tcp,
    /// It must answer GET with a status of [`HealthConfig::expect`].
    Http {
        /// Path and query asked for.
        path: String,
        /// The `Host` sent. Default (`None`): the endpoint's address.
        host: Option<String>,
    },
    /// It must answer `grpc.health.v1` with SERVING, over HTTP/2.
    Grpc {
        /// The service asked for; empty: the server as a whole. At most 127 bytes.
        service: String,
        /// The authority sent. Default (`None`): the endpoint's address.
        host: Option<String>,
    },
}

/// Passive ejection: an endpoint that fails requests is left out for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct OutlierConfig {
    /// Failed connects, broken or malformed responses and timeouts in a row; 1 to 1000, `None` is
    /// off. Default: 5.
    pub consecutive_failures: Option<u32>,
    /// Answers with 500 to 599 in a row; 1 to 1000. Default: `None`, off.
    pub consecutive_5xx: Option<u32>,
    /// How long it is left out. Default: 10 s.
    pub eject: Duration,
    /// Most of the endpoints that may be left out at one time, 0.0 to 1.0. Default: 0.5.
    pub max_ejected: f64,
}

impl UpstreamConfig {
    /// An upstream of these endpoints with every default.
    pub fn new(name: String, endpoints: Vec<EndpointConfig>) -> Self {
        Self {
            name,
            protocol: UpstreamProtocol::default(),
            balance: BalancePolicy::default(),
            endpoints,
            tls: None,
            proxy_protocol: None,
            transparent: false,
            pool: PoolConfig::default(),
            limits: UpstreamLimits::default(),
            health: None,
            outlier: OutlierConfig::default(),
        }
    }
}

impl EndpointConfig {
    /// An endpoint with weight 1.
    pub fn new(address: impl Into<Address>) -> Self {
        Self { address: address.into(), weight: 1, backup: false }
    }
}

impl HealthConfig {
    /// A check with every default.
    pub fn new(probe: Probe) -> Self {
        Self {
            probe,
            protocol: UpstreamProtocol::Http11,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
            expect: vec![200..=399],
        }
    }
}

impl UpstreamProtocol {
    /// The words in the file.
    pub(super) const WORDS: [(&str, Self); 3] =
        [("http/1.1", Self::Http11), ("h2", Self::H2), ("auto", Self::Auto)];

    /// The word in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::WORDS.iter().find(|(_, own)| *own == self).map_or("", |(name, _)| name)
    }
}

impl Share {
    /// The words in the file.
    pub(super) const WORDS: [(&str, Self); 2] = [("steal", Self::Steal), ("off", Self::Off)];
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            idle_per_endpoint: 64,
            idle_timeout: Duration::from_secs(60),
            share: Share::Steal,
            max_reuse: None,
        }
    }
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self { connections: None, pending: 1024, queue_timeout: Duration::from_secs(2) }
    }
}

impl Default for OutlierConfig {
    fn default() -> Self {
        Self {
            consecutive_failures: Some(5),
            consecutive_5xx: None,
            eject: Duration::from_secs(10),
            max_ejected: 0.5,
        }
    }
}
