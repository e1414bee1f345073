//! What happened at one endpoint, counted per shard and summed when read.
//!
//! A shard writes only its own cache line, with a plain load and store: no locked instruction,
//! no line that travels between cores. The control thread reads all of them.

use crate::base::metrics::Counter;
use std::sync::atomic::{AtomicU32, Ordering};

/// One shard's counters for one endpoint. All but `idle` and `waiting` only grow.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections that wait in this shard's pool: neighbours look here before they ask.
    pub(super) idle: AtomicU32,
    /// Requests that wait on this shard for a connection: neighbours look here when they have
    /// one to spare.
    pub(super) waiting: AtomicU32,
    /// Requests sent, or tried to be.
    pub requests: Counter,
    /// Requests that an existing connection carried.
    pub reused: Counter,
    /// Connections opened.
    pub connects: Counter,
    /// Connects that failed: refused, unreachable, timed out.
    pub connect_failures: Counter,
    /// Connections that broke before a response.
    pub resets: Counter,
    /// Requests that got no answer in time.
    pub timeouts: Counter,
    /// Responses that weren't HTTP.
    pub malformed: Counter,
    /// Answers of 500 and above.
    pub server_errors: Counter,
    /// Connections got from a neighbour, asked for or sent because requests waited here.
    pub stolen: Counter,
    /// Connections given to a neighbour.
    pub given: Counter,
    /// Asks that a neighbour couldn't serve.
    pub refused: Counter,
    /// Asks that a neighbour didn't answer in time.
    pub unanswered: Counter,
    /// Idle connections found closed, with unasked bytes, too old or one too many.
    pub discarded: Counter,
    /// Requests that had to queue for a connection.
    pub queued: Counter,
    /// Requests turned away because the queue was full.
    pub queue_full: Counter,
    /// Requests turned away after waiting too long.
    pub queue_timeouts: Counter,
}

/// The sums over all shards at one moment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is documented on `Counters`")]
pub struct Totals {
    pub idle: u64,
    pub requests: u64,
    pub reused: u64,
    pub connects: u64,
    pub connect_failures: u64,
    pub resets: u64,
    pub timeouts: u64,
    pub malformed: u64,
    pub server_errors: u64,
    pub stolen: u64,
    pub given: u64,
    pub refused: u64,
    pub unanswered: u64,
    pub discarded: u64,
    pub queued: u64,
    pub queue_full: u64,
    pub queue_timeouts: u64,
}

impl Totals {
    /// Adds one shard's numbers.
    pub(super) fn add(&mut self, shard: &Counters) {
        self.idle += u64::from(shard.idle.load(Ordering::Relaxed));
        self.requests += shard.requests.get();
        self.reused += shard.reused.get();
        self.connects += shard.connects.get();
        self.connect_failures += shard.connect_failures.get();
        self.resets += shard.resets.get();
        self.timeouts += shard.timeouts.get();
        self.malformed += shard.malformed.get();
        self.server_errors += shard.server_errors.get();
        self.stolen += shard.stolen.get();
        self.given += shard.given.get();
        self.refused += shard.refused.get();
        self.unanswered += shard.unanswered.get();
        self.discarded += shard.discarded.get();
        self.queued += shard.queued.get();
        self.queue_full += shard.queue_full.get();
        self.queue_timeouts += shard.queue_timeouts.get();
    }

    /// Share of the lent connections that were not opened for the request; `None` before the
    /// first.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn reuse_ratio(&self) -> Option<f64> {
        let lent = self.reused + self.connects;
        (lent > 0).then(|| self.reused as f64 / lent as f64)
    }
}
