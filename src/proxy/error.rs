//! What can go wrong in an exchange, whose fault it was, and, in one place, what the client is
//! told.

use std::io;

use crate::{
    base::{path::PathError, units::UnitError},
    protocol::{
        h1::BodyError,
        h2::{ErrorCode, Violation},
        http::{FieldError, RequestError, ResponseError, Status},
    },
    upstream::ConnectError,
};

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request's head is malformed or forbidden.
    #[error("bad request: {0}")]
    BadRequest(#[from] RequestError),
    /// The request's path can be read in two ways.
    #[error("bad request path: {}", .0.reason())]
    BadPath(PathError),
    /// The request's body is malformed, or ended before its announced length.
    #[error("bad request body: {0}")]
    BadRequestBody(#[source] BodyError),
    /// The body is longer than the listener's `limits.body` or a filter's limit.
    #[error("request body exceeds {limit} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The client closed or reset its connection.
    #[error("client closed the connection")]
    ClientClosed,
    /// The client stalled.
    #[error("client stalled: {phase}")]
    ClientTimeout {
        /// What was waited for.
        phase: &'static str,
    },
    /// The client sent or took less than the listener's `limits.min_rate`.
    #[error("client too slow: {phase}")]
    ClientTooSlow {
        /// What was waited for.
        phase: &'static str,
    },
    /// No route matches.
    #[error("no route for this request")]
    NoRoute,
    /// CONNECT where the listener doesn't allow it.
    #[error("method CONNECT is not allowed")]
    ConnectRefused,
    /// The host asks more of its clients than their connection was asked.
    #[error("this connection's TLS session is not for this host")]
    Misdirected,
    /// No endpoint can take the request.
    #[error("upstream `{upstream}` has no endpoint available")]
    NoEndpoint {
        /// The upstream's name.
        upstream: String,
    },
    /// No connection to an endpoint; nothing was sent.
    #[error("connecting failed: {0}")]
    Connect(#[from] ConnectError),
    /// The upstream didn't answer in time.
    #[error("upstream timed out: {phase}")]
    UpstreamTimeout {
        /// What was waited for.
        phase: &'static str,
    },
    /// The upstream connection broke before a response head.
    #[error("upstream closed the connection before answering")]
    UpstreamClosed(#[source] Option<io::Error>),
    /// The upstream reset the request's stream.
    #[error("upstream reset the stream: {code}")]
    UpstreamReset {
        /// Its reason.
        code: ErrorCode,
    },
    /// The upstream broke HTTP/2's rules on the request's stream.
    #[error("malformed upstream stream: {violation}")]
    UpstreamViolation {
        /// Which.
        violation: Violation,
    },
    /// The upstream's response head is malformed.
    #[error("malformed upstream response: {0}")]
    BadResponse(#[from] ResponseError),
    /// The upstream sent interim responses without end.
    #[error("upstream sent too many interim responses")]
    InterimFlood,
    /// The upstream's body is malformed or ended early. The client sees a broken-off body.
    #[error("upstream response body broke off: {0}")]
    BadResponseBody(#[source] BodyError),
    /// A protocol switch that nobody asked for.
    #[error("upstream switched protocols unasked")]
    UnaskedUpgrade,
    /// A client of HTTP/2 asked for a tunnel, and nobody switched to its protocol. A `2xx` that is
    /// meant otherwise would say that somebody did.
    #[error("nobody here switched to the protocol asked for")]
    NotSwitched,
    /// The endpoint speaks HTTP/2 and takes no WebSocket over it.
    #[error("upstream endpoint takes no extended CONNECT")]
    NoExtendedConnect,
    /// The endpoint answered a WebSocket handshake with another's answer.
    #[error("upstream's WebSocket handshake is wrong")]
    BadHandshake,
    /// A filter refused the request.
    #[error("rejected with {status}: {reason}")]
    Rejected {
        /// The status to answer with.
        status: Status,
        /// Why, for the error page and the log.
        reason: &'static str,
    },
    /// A filter wanted a header field that cannot be written.
    #[error("header edit failed: {0}")]
    Field(#[from] FieldError),
    /// A program's own failure.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Whose fault an [`Error`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The client's.
    Client,
    /// The upstream's.
    Upstream,
    /// Ours, or the configuration's.
    Ours,
}

/// For a program's `"100/min".parse()?` while it builds its handler.
impl From<UnitError> for Error {
    fn from(error: UnitError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<PathError> for Error {
    fn from(error: PathError) -> Self {
        Self::BadPath(error)
    }
}

impl Error {
    /// A refusal with `status`.
    #[must_use]
    pub fn rejected(status: Status, reason: &'static str) -> Self {
        Self::Rejected { status, reason }
    }

    /// The status the client gets, if it can still get one.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::BadRequest(error) => error.status(),
            Self::BadPath(_) | Self::BadRequestBody(_) => Status::BAD_REQUEST,
            Self::BodyTooLarge { .. } => Status::CONTENT_TOO_LARGE,
            // Never sent: nobody is there. The access log shows status 0 and this error's code.
            Self::ClientClosed => Status::new(499).unwrap_or(Status::BAD_REQUEST),
            Self::ClientTimeout { .. } | Self::ClientTooSlow { .. } => Status::REQUEST_TIMEOUT,
            Self::NoRoute => Status::NOT_FOUND,
            Self::ConnectRefused => Status::METHOD_NOT_ALLOWED,
            Self::Misdirected => Status::MISDIRECTED_REQUEST,
            Self::NoEndpoint { .. } => Status::SERVICE_UNAVAILABLE,
            Self::Connect(error) if error.is_overload() => Status::SERVICE_UNAVAILABLE,
            Self::Connect(error) => match error {
                ConnectError::Timeout { .. } => Status::GATEWAY_TIMEOUT,
                _ => Status::BAD_GATEWAY,
            },
            Self::UpstreamTimeout { .. } => Status::GATEWAY_TIMEOUT,
            Self::UpstreamClosed(_)
            | Self::UpstreamReset { .. }
            | Self::UpstreamViolation { .. }
            | Self::BadResponse(_)
            | Self::InterimFlood
            | Self::BadResponseBody(_)
            | Self::UnaskedUpgrade
            | Self::NoExtendedConnect
            | Self::BadHandshake => Status::BAD_GATEWAY,
            Self::NotSwitched => Status::NOT_IMPLEMENTED,
            Self::Rejected { status, .. } => *status,
            Self::Field(_) | Self::Internal(_) => Status::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whose fault it was.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::BadRequest(_)
            | Self::BadPath(_)
            | Self::BadRequestBody(_)
            | Self::BodyTooLarge { .. }
            | Self::ClientClosed
            | Self::ClientTimeout { .. }
            | Self::ClientTooSlow { .. }
            | Self::NoRoute
            | Self::ConnectRefused
            | Self::Misdirected
            | Self::NotSwitched
            | Self::Rejected { .. } => Fault::Client,
            Self::NoEndpoint { .. }
            | Self::Connect(_)
            | Self::UpstreamTimeout { .. }
            | Self::UpstreamClosed(_)
            | Self::UpstreamReset { .. }
            | Self::UpstreamViolation { .. }
            | Self::BadResponse(_)
            | Self::InterimFlood
            | Self::BadResponseBody(_)
            | Self::UnaskedUpgrade
            | Self::NoExtendedConnect
            | Self::BadHandshake => Fault::Upstream,
            Self::Field(_) | Self::Internal(_) => Fault::Ours,
        }
    }

    /// One word for logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::BadPath(_) => "bad_path",
            Self::BadRequestBody(_) => "bad_request_body",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::ClientClosed => "client_closed",
            Self::ClientTimeout { .. } => "client_timeout",
            Self::ClientTooSlow { .. } => "client_too_slow",
            Self::NoRoute => "no_route",
            Self::ConnectRefused => "connect_refused",
            Self::Misdirected => "misdirected",
            Self::NoEndpoint { .. } => "no_endpoint",
            Self::Connect(ConnectError::QueueFull { .. }) => "queue_full",
            Self::Connect(ConnectError::QueueTimeout { .. }) => "queue_timeout",
            Self::Connect(_) => "connect_failure",
            Self::UpstreamTimeout { .. } => "upstream_timeout",
            Self::UpstreamClosed(_) => "upstream_closed",
            Self::UpstreamReset { .. } => "upstream_reset",
            Self::UpstreamViolation { .. } => "bad_response",
            Self::BadResponse(_) => "bad_response",
            Self::InterimFlood => "interim_flood",
            Self::BadResponseBody(_) => "bad_response_body",
            Self::UnaskedUpgrade => "unasked_upgrade",
            Self::NotSwitched => "not_switched",
            Self::NoExtendedConnect => "no_extended_connect",
            Self::BadHandshake => "bad_handshake",
            Self::Rejected { .. } => "rejected",
            Self::Field(_) => "bad_field",
            Self::Internal(_) => "internal",
        }
    }

    /// What the error page says: nothing of the inside, enough to mend a request.
    #[must_use]
    pub fn public_text(&self) -> String {
        match self {
            Self::BadRequest(error) => error.reason().to_owned(),
            Self::Rejected { reason, .. } => (*reason).to_owned(),
            Self::BadRequestBody(_) => "the request body is malformed".to_owned(),
            Self::BadPath(_)
            | Self::BodyTooLarge { .. }
            | Self::ClientTimeout { .. }
            | Self::ClientTooSlow { .. }
            | Self::NoRoute
            | Self::ConnectRefused
            | Self::Misdirected
            | Self::NotSwitched => self.to_string(),
            Self::Connect(error) if error.is_overload() => {
                "the upstream has as many requests as it may have; try again later".to_owned()
            }
            Self::NoEndpoint { .. } | Self::Connect(_) => {
                "no upstream endpoint can take this request now".to_owned()
            }
            Self::NoExtendedConnect => "the upstream takes no WebSocket over HTTP/2".to_owned(),
            Self::UpstreamTimeout { .. } => "the upstream did not answer in time".to_owned(),
            Self::UpstreamClosed(_)
            | Self::UpstreamReset { .. }
            | Self::UpstreamViolation { .. }
            | Self::BadResponse(_)
            | Self::InterimFlood
            | Self::BadResponseBody(_)
            | Self::UnaskedUpgrade
            | Self::BadHandshake => "the upstream sent no valid response".to_owned(),
            Self::ClientClosed | Self::Field(_) | Self::Internal(_) => {
                "something went wrong here".to_owned()
            }
        }
    }
}
