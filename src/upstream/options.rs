//! What an upstream is built from: endpoints, algorithm, pool, limits, outlier rules.
//!
//! Plain values that the config layer fills in; nothing is checked here but what the upstream's
//! own arithmetic needs (a weight of 0 counts as 1).

use std::{net::SocketAddr, time::Duration};

/// One `[upstream.NAME]` table.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamConfig {
    /// The table's name.
    pub name: String,
    /// How requests are spread.
    pub balance: BalancePolicy,
    /// In the order of the file.
    pub endpoints: Vec<EndpointConfig>,
    /// Idle connections.
    pub pool: PoolConfig,
    /// Connections and queue.
    pub limits: UpstreamLimits,
    /// Passive ejection.
    pub outlier: OutlierConfig,
}

/// The algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BalancePolicy {
    /// Smooth weighted round robin.
    RoundRobin,
    /// The least loaded of `choices` random endpoints.
    LeastRequest {
        /// How many are compared; default 2.
        choices: u32,
    },
}

/// One endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointConfig {
    /// Where it listens.
    pub address: SocketAddr,
    /// Share of the requests relative to the others; default 1.
    pub weight: u32,
    /// Only used when no primary endpoint is available.
    pub backup: bool,
}

/// What happens to a connection between two requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolConfig {
    /// Idle connections kept per endpoint and shard; default 64, 0 keeps none.
    pub idle_per_endpoint: u32,
    /// An idle connection is closed after this long; default 60 s.
    pub idle_timeout: Duration,
    /// Whether shards lend each other idle connections.
    pub share: Share,
    /// Requests that one connection carries at most; default unlimited.
    pub max_reuse: Option<u64>,
}

/// Whether shards lend each other idle connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// An empty pool asks a neighbour before it connects.
    Steal,
    /// Each shard for itself.
    Off,
}

/// Caps over all shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// Connections per endpoint; default unlimited.
    pub connections: Option<u32>,
    /// Requests that wait for a connection, per endpoint; default 1024.
    pub pending: u32,
    /// How long one waits at most; default 2 s.
    pub queue_timeout: Duration,
}

/// When an endpoint is taken out because of how real requests went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutlierConfig {
    /// Failures in a row (no connection, reset, timeout, malformed response); default 5, 0 = never.
    pub consecutive_failures: u32,
    /// Answers of 500 and above in a row, failures counted too; default 0 = never.
    pub consecutive_5xx: u32,
    /// First ejection's length, times the number of ejections after that; default 30 s.
    pub eject: Duration,
    /// Share of the endpoints that may be out at once; default 0.5.
    pub max_ejected: f64,
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
            consecutive_failures: 5,
            consecutive_5xx: 0,
            eject: Duration::from_secs(30),
            max_ejected: 0.5,
        }
    }
}
