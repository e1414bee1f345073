//! `rate_limit`: at most so many requests per client address, exact over all shards.

use std::sync::Arc;

use super::{RateTable, Verdict};
use crate::{
    base::units::Rate,
    protocol::http::Status,
    proxy::{Error, Filter, Handler, Request, Response, ShardScope, snapshot::RATE_CLIENTS},
    runtime,
};

/// Turns requests above the rate away with `429 Too Many Requests` and `Retry-After`
/// (RFC 6585 §4).
#[derive(Debug, Clone)]
pub struct RateLimit {
    table: Arc<RateTable>,
}

impl RateLimit {
    /// Limits by `table`, which all shards share.
    #[must_use]
    pub fn new(table: Arc<RateTable>) -> Self {
        Self { table }
    }

    /// At most `rate` requests per client address over all shards, as many at once as the rate
    /// counts. Remembers 65,536 clients at a time, in 512 KiB.
    ///
    /// Limits are told apart by their order: every shard must make the same ones, one after the
    /// other, which a closure does that doesn't ask which shard it is on. Over a reload a limit
    /// goes on where its rate is the same. For another burst or size, share a [`RateTable`]:
    /// `RateLimit::new(shard.shared("login", || RateTable::new(rate, burst, clients, now)))`.
    #[must_use]
    pub fn per_ip(rate: Rate, shard: &ShardScope) -> Self {
        let name = format!("limit {} of {rate}", shard.next_limit());
        let now = runtime::now();
        Self::new(shard.shared(&name, || RateTable::new(rate, rate.count, RATE_CLIENTS, now)))
    }
}

impl Filter for RateLimit {
    async fn filter(&self, req: &mut Request, next: &impl Handler) -> Result<Response, Error> {
        match self.table.ask(req.client_ip(), runtime::now()) {
            Verdict::Allowed => next.handle(req).await,
            Verdict::Limited { retry_after } => {
                // Whole seconds, rounded up: a client that obeys is not turned away again.
                let seconds = retry_after.as_millis().div_ceil(1000).max(1);
                let error = Error::rejected(Status::TOO_MANY_REQUESTS, "rate limit reached");
                Ok(req.error_page(&error).with("retry-after", seconds.to_string()))
            }
        }
    }
}
