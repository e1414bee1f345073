//! What the tests of this module share.

use crate::config::{
    BalancePolicy, EndpointConfig, OutlierConfig, PoolConfig, UpstreamConfig, UpstreamLimits,
};
use std::{net::SocketAddr, time::Instant};

/// A moment to count from, on a thread without a runtime.
#[expect(clippy::disallowed_methods, reason = "these threads have no runtime, hence no clock")]
pub(super) fn start() -> Instant {
    Instant::now()
}

/// An upstream `api` of these endpoints, each of weight 1, and defaults.
pub(super) fn config(endpoints: impl IntoIterator<Item = SocketAddr>) -> UpstreamConfig {
    let endpoint = |address| EndpointConfig { address, weight: 1, backup: false };
    UpstreamConfig {
        name: "api".to_owned(),
        balance: BalancePolicy::RoundRobin,
        endpoints: endpoints.into_iter().map(endpoint).collect(),
        pool: PoolConfig::default(),
        limits: UpstreamLimits::default(),
        health: None,
        outlier: OutlierConfig::default(),
    }
}
