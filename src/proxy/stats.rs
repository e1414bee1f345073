//! What the data plane counts. A shard writes its own cache lines only; the control thread reads
//! all of them and sums.

use std::{sync::Arc, time::Duration};

use crossbeam_utils::CachePadded;

use super::error::Error;
use crate::{
    base::metrics::{Counter, Gauge, Histogram},
    protocol::h2::{Abuse, ErrorCode},
    transport::tls::{Handshaken, Reason, Version},
};

/// One shard's counters. One writer: the shard.
#[derive(Debug, Default)]
pub struct ShardStats {
    /// Client connections open now.
    pub open: Gauge,
    /// Requests whose head was complete.
    pub requests: Counter,
    /// Requests refused as malformed, before any route.
    pub bad_requests: Counter,
    /// Clients that stalled within a head, a body or a response.
    pub client_timeouts: Counter,
    /// Clients that sent or took less than `limits.min_rate`.
    pub slow_clients: Counter,
    /// Clients that went away before their response was complete.
    pub client_aborts: Counter,
    /// Upgraded connections open now.
    pub tunnels: Gauge,
    /// HTTP/2 with clients.
    pub h2_downstream: H2Counters,
    /// HTTP/2 with endpoints.
    pub h2_upstream: H2Counters,
    /// Bytes received from and sent to clients.
    pub received_bytes: Counter,
    /// Bytes sent to clients.
    pub sent_bytes: Counter,
    /// Turns of the loop.
    pub turns: Counter,
    /// Nanoseconds in which the shard did not wait for the kernel.
    pub busy_nanos: Counter,
    /// Ring buffers lent out now.
    pub buffers_in_use: Gauge,
    /// 256 KiB buffers lent out now.
    pub leases_in_use: Gauge,
    /// Operations in the kernel now.
    pub operations: Gauge,
    /// Tasks alive now.
    pub tasks: Gauge,
    /// Receives that had to wait for a ring buffer.
    pub buffer_waits: Counter,
    /// Times the completion queue overflowed.
    pub cq_overflows: Counter,
}

/// HTTP/2 on one side of one shard.
#[derive(Debug, Default)]
pub struct H2Counters {
    /// Connections open now.
    pub connections: Gauge,
    /// Streams with an exchange now.
    pub streams_open: Gauge,
    /// Streams that were opened.
    pub streams: Counter,
    /// Requests that broke a rule of HTTP/2 and never became one.
    pub refused: Counter,
    /// Streams that ended early: reset by the other side, by us.
    pub resets: [CodeCounters; 2],
    /// Connections that ended by a GOAWAY: of the other side, of us.
    pub goaways: [CodeCounters; 2],
    /// Connections that we ended for abuse, by [`Abuse::ALL`].
    pub abuse: [Counter; Abuse::ALL.len()],
}

/// One counter for each error code of HTTP/2, and a last one for those that nobody registered.
#[derive(Debug, Default)]
pub struct CodeCounters([Counter; ErrorCode::ALL.len() + 1]);

/// Who ended something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The other side.
    Them,
    /// This one.
    Us,
}

impl By {
    /// Both, in the order of the counters.
    pub const ALL: [Self; 2] = [Self::Them, Self::Us];

    /// The label in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Them => "them",
            Self::Us => "us",
        }
    }
}

impl CodeCounters {
    fn count(&self, code: ErrorCode) {
        let index = ErrorCode::ALL.iter().position(|own| *own == code);
        if let Some(counter) = self.0.get(index.unwrap_or(ErrorCode::ALL.len())) {
            counter.increment();
        }
    }

    /// The codes' names with their counts.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = ErrorCode::ALL.iter().map(|code| code.as_str()).chain(["other"]);
        names.zip(&self.0).map(|(name, counter)| (name, counter.get()))
    }
}

impl H2Counters {
    pub(super) fn count_reset(&self, by: By, code: ErrorCode) {
        self.resets[by as usize].count(code);
    }

    pub(super) fn count_goaway(&self, by: By, code: ErrorCode) {
        self.goaways[by as usize].count(code);
    }

    pub(super) fn count_abuse(&self, kind: Abuse) {
        let index = Abuse::ALL.iter().position(|own| *own == kind);
        if let Some(counter) = index.and_then(|index| self.abuse.get(index)) {
            counter.increment();
        }
    }
}

/// A named thing's counters, one padded set a shard. Kept over reloads by name.
#[derive(Debug)]
pub struct PerShard<T> {
    /// Whose they are.
    pub name: String,
    shards: Box<[CachePadded<T>]>,
}

impl<T: Default> PerShard<T> {
    /// Counters for `shards` shards.
    #[must_use]
    pub fn new(name: &str, shards: usize) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            shards: (0..shards).map(|_| CachePadded::default()).collect(),
        })
    }

    /// For each of `names` the counters that `previous` has, or new ones.
    pub(super) fn carry<'a>(
        names: impl Iterator<Item = &'a str>,
        shards: usize,
        previous: Option<&[Arc<Self>]>,
    ) -> Vec<Arc<Self>> {
        let kept = |name: &str| previous?.iter().find(|stats| stats.name == name).map(Arc::clone);
        names.map(|name| kept(name).unwrap_or_else(|| Self::new(name, shards))).collect()
    }

    /// The counters of `shard`.
    #[must_use]
    pub fn shard(&self, shard: u16) -> Option<&T> {
        self.shards.get(usize::from(shard)).map(|padded| &**padded)
    }

    /// Every shard's counters.
    pub fn shards(&self) -> impl Iterator<Item = &T> {
        self.shards.iter().map(|padded| &**padded)
    }
}

/// One listener on one shard.
#[derive(Debug, Default)]
pub struct ListenerCounters {
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections open now.
    pub open: Gauge,
    /// Connections closed at once because `runtime.max_connections` was reached.
    pub refused: Counter,
    /// Accepts that failed.
    pub accept_errors: Counter,
    /// What happened to TLS.
    pub tls: TlsCounters,
}

/// The TLS of one listener on one shard.
#[derive(Debug, Default)]
pub struct TlsCounters {
    /// Handshakes that succeeded: TLS 1.2 and 1.3, each in full and resumed.
    pub handshakes: [[Counter; 2]; 2],
    /// Handshakes that failed, by [`Reason::index`].
    pub failures: [Counter; Reason::ALL.len()],
    /// Encrypted connections open now.
    pub open: Gauge,
    /// Handshakes going on now.
    pub handshaking: Gauge,
}

impl TlsCounters {
    /// A handshake succeeded.
    pub(super) fn count(&self, handshaken: &Handshaken) {
        let version = usize::from(handshaken.version == Version::Tls13);
        let kinds = self.handshakes.get(version);
        let kind = kinds.and_then(|kinds| kinds.get(usize::from(handshaken.is_resumed)));
        if let Some(counter) = kind {
            counter.increment();
        }
    }

    /// A handshake failed.
    pub(super) fn count_failure(&self, reason: Reason) {
        if let Some(counter) = self.failures.get(reason.index()) {
            counter.increment();
        }
    }
}

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
