//! The built-in filters, one file each, and the form in which a config names them.

mod headers;
mod rate_limit;
mod request_id;

pub(super) use headers::expand;
pub use headers::{Edits, HeaderFilter};
pub use rate_limit::RateLimit;
pub use request_id::RequestIdFilter;

pub use crate::transport::{RateTable, Verdict};

use super::{
    error::Error,
    handler::{Filter, Handler},
    request::Request,
    response::Response,
};

/// A built-in filter, chosen by a config at run time without a box.
#[derive(Debug)]
pub enum BuiltIn {
    /// `type = "request_id"`
    RequestId(RequestIdFilter),
    /// `type = "rate_limit"`
    RateLimit(RateLimit),
    /// `type = "headers"`
    Headers(HeaderFilter),
}

impl Filter for BuiltIn {
    async fn filter(&self, req: &mut Request, next: &impl Handler) -> Result<Response, Error> {
        match self {
            Self::RequestId(filter) => filter.filter(req, next).await,
            Self::RateLimit(filter) => filter.filter(req, next).await,
            Self::Headers(filter) => filter.filter(req, next).await,
        }
    }
}
