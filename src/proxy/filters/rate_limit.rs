//! `rate_limit`: at most so many requests per client address, exact over all shards.

use std::sync::Arc;

use super::rate_table::{RateTable, Verdict};
use crate::{
    protocol::http::Status,
    proxy::{Error, Filter, Handler, Request, Response},
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
