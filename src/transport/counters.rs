//! Sets of counters that several layers write and the control thread reads.
//!
//! One set per shard and named thing, each on cache lines of its own; kept over reloads by name.

use std::{sync::Arc, time::Duration};

use crossbeam_utils::CachePadded;

use super::tls::{Handshaken, Reason, Version};
use crate::{
    base::metrics::{Counter, Gauge, Histogram},
    protocol::h2::{Abuse, ErrorCode},
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
    /// A stream ended early.
    pub fn count_reset(&self, by: By, code: ErrorCode) {
        self.resets[by as usize].count(code);
    }

    /// A connection ended by a GOAWAY.
    pub fn count_goaway(&self, by: By, code: ErrorCode) {
        self.goaways[by as usize].count(code);
    }

    /// A connection was ended for abuse.
    pub fn count_abuse(&self, kind: Abuse) {
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
    pub(crate) fn carry<'a>(
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
    /// Those of addresses that `allow` doesn't list or `deny` does.
    pub denied: Counter,
    /// Those above `limits.connections` or `limits.connections_per_ip`.
    pub over_connections: Counter,
    /// Those above `limits.new_connections` or `limits.new_connections_per_ip`.
    pub over_rate: Counter,
    /// Connections that began with no PROXY header, or a malformed one, where one is required.
    pub bad_headers: Counter,
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
    pub fn count(&self, handshaken: &Handshaken) {
        let version = usize::from(handshaken.version == Version::Tls13);
        let kinds = self.handshakes.get(version);
        let kind = kinds.and_then(|kinds| kinds.get(usize::from(handshaken.is_resumed)));
        if let Some(counter) = kind {
            counter.increment();
        }
    }

    /// A handshake failed.
    pub fn count_failure(&self, reason: Reason) {
        if let Some(counter) = self.failures.get(reason.index()) {
            counter.increment();
        }
    }
}

/// What one route of TCP connections or UDP flows has seen on one shard.
#[derive(Debug, Default)]
pub struct FlowCounters {
    /// Connections, or flows, open now.
    pub open: Gauge,
    /// Those that ended well.
    pub ended: Counter,
    /// Those that ended otherwise, or came to nothing.
    pub failed: Counter,
    /// Connects that were tried again at another endpoint.
    pub retries: Counter,
    /// From accept to the last byte.
    pub duration: Histogram,
    /// Bytes from clients.
    pub bytes_in: Counter,
    /// Bytes to clients.
    pub bytes_out: Counter,
    /// Datagrams from clients.
    pub datagrams_in: Counter,
    /// Datagrams to clients.
    pub datagrams_out: Counter,
    /// Datagrams that could not be passed on.
    pub datagrams_lost: Counter,
}

impl FlowCounters {
    /// Counts one connection or flow that was open until now.
    pub fn count(&self, is_good: bool, duration: Duration) {
        let counter = if is_good { &self.ended } else { &self.failed };
        counter.increment();
        self.duration.record(duration);
    }
}
