//! `[filter.NAME]`: built-in filters with their settings.

use crate::base::units::Rate;

use super::route::HeaderEdits;

/// One named filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterConfig {
    /// Name of the table.
    pub name: String,
    /// What it does.
    pub kind: FilterKind,
}

/// What a filter does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterKind {
    /// Gives every request an id that endpoint, client and log see.
    RequestId {
        /// Lower-case name of the header. Default: `x-request-id`.
        header: String,
        /// Whose ids are kept. Default: [`IdTrust::Nobody`].
        trust: IdTrust,
    },
    /// At most `rate` requests per client address, exact over all shards; more get 429.
    RateLimit {
        /// The rate. Required.
        rate: Rate,
        /// How many may come at once, 1 to 1,000,000. Default: the rate's count.
        burst: u32,
    },
    /// Edits headers.
    Headers {
        /// On the way to the endpoint.
        request: HeaderEdits,
        /// On the way to the client.
        response: HeaderEdits,
    },
}

/// Whose request ids are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdTrust {
    /// Every request gets a new id.
    Nobody,
    /// An id from one of the listener's `trusted_proxies` is kept.
    TrustedProxies,
}
