//! What the data plane counts. A shard writes its own cache lines only; the control thread reads
//! all of them and sums.

use std::time::Duration;

use super::error::Error;
use crate::base::metrics::{Counter, Histogram};

pub use crate::transport::counters::{
    By, CodeCounters, FlowCounters, H2Counters, ListenerCounters, PerShard, ShardStats, TlsCounters,
};

/// One route on one shard.
#[derive(Debug, Default)]
pub struct RouteCounters {
    /// Responses by status class: 1xx to 5xx, and at 0 the exchanges without a response.
    pub classes: [Counter; 6],
    /// From the complete head to the response's last byte.
    pub latency: Histogram,
    /// Bytes received from clients, heads included.
    pub bytes_in: Counter,
    /// Bytes sent to clients, heads included.
    pub bytes_out: Counter,
}

/// One upstream on one shard.
#[derive(Debug, Default)]
pub struct UpstreamCounters {
    /// Attempts after the first.
    pub retries: Counter,
    /// Retries that were safe and wanted, but over the budget.
    pub retries_over_budget: Counter,
    /// From the complete request head to the complete response head.
    pub first_byte: Histogram,
}

impl ShardStats {
    /// Counts what the client's side failed by; anything else is somebody else's to count.
    pub(super) fn count_client_failure(&self, error: &Error) {
        match error {
            Error::ClientTimeout { .. } => self.client_timeouts.increment(),
            Error::ClientTooSlow { .. } => self.slow_clients.increment(),
            Error::ClientClosed => self.client_aborts.increment(),
            _ => {}
        }
    }
}

impl RouteCounters {
    /// Counts one exchange that ended with `status` (0: without a response).
    pub(super) fn count(&self, status: u16, latency: Duration) {
        let class = usize::from(status / 100).min(5);
        if let Some(counter) = self.classes.get(class) {
            counter.increment();
        }
        self.latency.record(latency);
    }
}
