//! `[log]`: the access log and the error log.
//!
//! Only what is written where, and how; writing is the control thread's work.

use std::path::PathBuf;

/// Both logs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogConfig {
    /// One line per exchange. Default: none.
    pub access: Option<AccessLog>,
    /// What the process has to say.
    pub error: ErrorLog,
}

/// The access log.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessLog {
    /// Where the lines go. Required.
    pub path: LogPath,
    /// What a line looks like. Default: [`AccessFormat::Json`].
    pub format: AccessFormat,
    /// Share of exchanges that are logged, 0.0 to 1.0. Default: 1.0.
    pub sample: f64,
}

/// The error log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorLog {
    /// Where the lines go. Default: [`LogPath::Stderr`].
    pub path: LogPath,
    /// The least severe line that is still written. Default: [`LogLevel::Info`].
    pub level: LogLevel,
}

/// Where a log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPath {
    /// `"stdout"`
    Stdout,
    /// `"stderr"`
    Stderr,
    /// A file, opened for appending.
    File(PathBuf),
}

/// Severity of a line in the error log, most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed that should not.
    Error,
    /// Something is about to.
    Warn,
    /// State changed.
    Info,
    /// For those who look for a fault.
    Debug,
    /// Every step.
    Trace,
}

/// Shape of an access-log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessFormat {
    /// One JSON object a line, with every [`LogField`].
    Json,
    /// Apache's combined format.
    Combined,
    /// The pieces one after the other.
    Template(Vec<LogPiece>),
}

/// A piece of an access-log template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPiece {
    /// Text as it stands.
    Literal(String),
    /// `${name}`
    Field(LogField),
}

/// What an access-log line can tell; the name in the file is [`LogField::name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogField {
    /// When the exchange ended, RFC 3339, UTC, milliseconds.
    Time,
    /// Address of the client, as the trusted proxies tell it.
    ClientIp,
    /// Request method.
    Method,
    /// `http`
    Scheme,
    /// Host of the request, without the port.
    Host,
    /// Path as it came.
    Path,
    /// Query without `?`.
    Query,
    /// `HTTP/1.1`
    Version,
    /// Status sent to the client; 0 if none was.
    Status,
    /// Bytes of request body received.
    BytesIn,
    /// Bytes of response body sent.
    BytesOut,
    /// First byte of the request to last byte of the response, milliseconds, three decimals.
    Duration,
    /// First byte of the request to the upstream's response head, milliseconds, three decimals.
    UpstreamDuration,
    /// Name of the listener.
    Listener,
    /// Name of the route, empty if none matched.
    Route,
    /// Name of the upstream.
    Upstream,
    /// Address of the endpoint that answered.
    Endpoint,
    /// How many times the request was sent to an endpoint.
    Attempts,
    /// The request's id.
    RequestId,
    /// `Referer` of the request.
    Referer,
    /// `User-Agent` of the request.
    UserAgent,
    /// What went wrong, empty if nothing did.
    Error,
}

impl LogField {
    /// Every field, in the order of the JSON line.
    pub const ALL: [Self; 22] = [
        Self::Time,
        Self::ClientIp,
        Self::Method,
        Self::Scheme,
        Self::Host,
        Self::Path,
        Self::Query,
        Self::Version,
        Self::Status,
        Self::BytesIn,
        Self::BytesOut,
        Self::Duration,
        Self::UpstreamDuration,
        Self::Listener,
        Self::Route,
        Self::Upstream,
        Self::Endpoint,
        Self::Attempts,
        Self::RequestId,
        Self::Referer,
        Self::UserAgent,
        Self::Error,
    ];

    /// Name of the field in a template and in the JSON line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::ClientIp => "client_ip",
            Self::Method => "method",
            Self::Scheme => "scheme",
            Self::Host => "host",
            Self::Path => "path",
            Self::Query => "query",
            Self::Version => "version",
            Self::Status => "status",
            Self::BytesIn => "bytes_in",
            Self::BytesOut => "bytes_out",
            Self::Duration => "duration",
            Self::UpstreamDuration => "upstream_duration",
            Self::Listener => "listener",
            Self::Route => "route",
            Self::Upstream => "upstream",
            Self::Endpoint => "endpoint",
            Self::Attempts => "attempts",
            Self::RequestId => "request_id",
            Self::Referer => "referer",
            Self::UserAgent => "user_agent",
            Self::Error => "error",
        }
    }
}

impl Default for ErrorLog {
    fn default() -> Self {
        Self { path: LogPath::Stderr, level: LogLevel::Info }
    }
}
