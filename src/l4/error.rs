//! Why a connection came to nothing, or ended badly.

use crate::{
    transport::{front::FrontError, relay::End},
    upstream::ConnectError,
};

/// Why a connection or a flow failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No route takes it.
    #[error("no route takes this connection")]
    NoRoute,
    /// Every endpoint is unhealthy or ejected.
    #[error("no endpoint of upstream `{0}` is available")]
    NoEndpoint(String),
    /// No endpoint could be connected to; this is the last attempt's reason.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// What stands before its own bytes could not be read.
    #[error(transparent)]
    Front(#[from] FrontError),
    /// The relay ended badly.
    #[error("the relay ended: {}", .0.failure().unwrap_or("closed"))]
    Relay(End),
    /// The endpoint's connection is encrypted, which a relay can't be.
    #[error("the connection to the endpoint is encrypted")]
    NoPlain,
    /// No upstream of that name.
    #[error("no upstream is named `{0}`")]
    NoUpstream(String),
    /// A handler of one's own refuses it.
    #[error("refused: {0}")]
    Refused(String),
}

impl Error {
    /// One word for logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::NoEndpoint(_) => "no_endpoint",
            Self::Connect(_) => "connect_failed",
            Self::Front(error) => error.code(),
            Self::Relay(end) => end.failure().unwrap_or("closed"),
            Self::NoPlain => "encrypted_endpoint",
            Self::NoUpstream(_) => "no_upstream",
            Self::Refused(_) => "refused",
        }
    }
}
