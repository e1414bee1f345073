//! `[[route]]`: which request goes where, and how.

use std::time::Duration;

use super::listener::Protocol;
use super::pattern::{HostPattern, PathPattern, Specificity};
use super::template::Template;

/// One route.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteConfig {
    /// Its name, unique.
    pub name: String,
    /// What it routes. Default: [`Layer::Http`].
    pub layer: Layer,
    /// Indices of the listeners it serves; `None` (default) is every listener of HTTP.
    pub listeners: Option<Vec<usize>>,
    /// Which requests it takes.
    pub matches: RouteMatch,
    /// Decides between equally specific routes: the greater wins. Default: 0.
    pub priority: i32,
    /// What happens to the request.
    pub action: Action,
    /// Indices of the filters it passes, in order, none twice.
    pub filters: Vec<usize>,
    /// Changes of the request's target.
    pub rewrite: Rewrite,
    /// Header edits on the way to the endpoint.
    pub request_headers: HeaderEdits,
    /// Header edits on the way to the client.
    pub response_headers: HeaderEdits,
    /// How long the upstream may take.
    pub timeouts: Timeouts,
    /// When a request is sent once more.
    pub retry: Retry,
    /// Whether `Upgrade` (WebSocket) is let through. Default: false, the header is removed.
    pub upgrade: bool,
}

/// What a route routes: that of its listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layer {
    /// Requests.
    #[default]
    Http,
    /// Connections, or UDP flows, whatever they carry.
    L4,
}

/// Requests or connections that a route takes: all must agree; an empty list takes anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteMatch {
    /// Any of these hosts; of TLS connections that are passed through, server names (SNI).
    pub hosts: Vec<HostPattern>,
    /// A TLS client offers any of these protocols (ALPN). L4 only.
    pub alpn: Vec<String>,
    /// Any of these paths.
    pub paths: Vec<PathPattern>,
    /// Any of these methods, as on the wire.
    pub methods: Vec<String>,
    /// All of these headers: lower-case name and the exact value of one of its fields.
    pub headers: Vec<(String, String)>,
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// It is sent to an endpoint of the upstream with this index.
    Upstream(usize),
    /// It is answered here.
    Respond {
        /// 200 to 599. Default: 200.
        status: u16,
        /// At most 64 KiB. Default: empty.
        body: String,
        /// Fields of the response; `content-type` is `text/plain; charset=utf-8` unless given.
        headers: Vec<(String, String)>,
    },
    /// The client is sent elsewhere.
    Redirect {
        /// Value of `Location`.
        to: Template,
        /// 301, 302, 303, 307 or 308. Default: 302.
        status: u16,
    },
}

/// Changes of the request's target before it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewrite {
    /// Taken from the front of the path at a segment's end (`/v1` makes `/users` of `/v1/users`
    /// and `/` of `/v1`); starts with `/`, doesn't end with one. Default: none.
    pub strip_prefix: Option<String>,
}

/// Header edits: first `remove`, then `set`, then `add`. Names are lower case; fields that frame
/// the message (`content-length`, `transfer-encoding`, `connection`, …) cannot be edited.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderEdits {
    /// Replace every field of that name by this one.
    pub set: Vec<(String, Template)>,
    /// Append a field.
    pub add: Vec<(String, Template)>,
    /// Remove every field of that name.
    pub remove: Vec<String>,
}

/// How long the upstream may take; never zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect to an endpoint. Default: 5 s: longer than the kernel takes to repeat a lost SYN (1 s, then 2 s).
    pub connect: Duration,
    /// From the request's last byte sent to the response's head. Default: 60 s.
    pub first_byte: Duration,
    /// Longest pause within a response body or an upgraded connection. Default: 60 s.
    pub idle: Duration,
    /// The whole exchange with all its attempts. Default: none.
    pub total: Option<Duration>,
}

/// When a request is sent once more. Only what is safe to repeat is: never sent, or idempotent
/// and no byte of a response seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Most repetitions after the first try, 0 to 10. Default: 1.
    pub attempts: u32,
    /// After what. Default: `connect_failure` and `no_response`.
    pub on: RetryOn,
    /// Most repetitions as a share of requests, 0.0 to 1.0. Default: 0.2.
    pub budget: f64,
}

/// A set of [`RetryCause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetryOn(u8);

/// Why a request may be sent once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryCause {
    /// No connection to the endpoint.
    ConnectFailure,
    /// The connection ended before any byte of a response.
    NoResponse,
    /// `timeouts.first_byte` passed.
    Timeout,
    /// It refused the request's stream unread (HTTP/2: REFUSED_STREAM, or a GOAWAY before it), so
    /// that it may be sent again whatever its method.
    RefusedStream,
    /// It answered 502.
    Status502,
    /// It answered 503.
    Status503,
    /// It answered 504.
    Status504,
}

impl RouteConfig {
    /// A route with every default.
    pub fn new(name: String, matches: RouteMatch, action: Action) -> Self {
        Self {
            name,
            layer: Layer::Http,
            listeners: None,
            matches,
            priority: 0,
            action,
            filters: Vec::new(),
            rewrite: Rewrite::default(),
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            timeouts: Timeouts::default(),
            retry: Retry::default(),
            upgrade: false,
        }
    }
}

impl RouteMatch {
    /// How specific the route is when `host` and `path` are what matched.
    pub fn specificity(
        &self,
        host: Option<&HostPattern>,
        path: Option<&PathPattern>,
        priority: i32,
    ) -> Specificity {
        // ALPN narrows a connection as a method does a request.
        let is_narrow = !self.methods.is_empty() || !self.alpn.is_empty();
        Specificity::new(host, path, is_narrow, self.headers.len(), priority)
    }
}

impl HeaderEdits {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

impl RetryOn {
    /// The set without any cause.
    pub const NONE: Self = Self(0);

    /// This set and `cause`.
    #[must_use]
    pub const fn with(self, cause: RetryCause) -> Self {
        Self(self.0 | 1 << cause as u8)
    }

    /// Whether `cause` is in the set.
    pub const fn contains(self, cause: RetryCause) -> bool {
        self.0 & 1 << cause as u8 != 0
    }

    /// The causes in the set, in declaration order.
    pub fn iter(self) -> impl Iterator<Item = RetryCause> {
        RetryCause::ALL.into_iter().filter(move |cause| self.contains(*cause))
    }
}

impl RetryCause {
    /// Every cause.
    pub const ALL: [Self; 7] = [
        Self::ConnectFailure,
        Self::NoResponse,
        Self::Timeout,
        Self::RefusedStream,
        Self::Status502,
        Self::Status503,
        Self::Status504,
    ];

    /// The cause that a status is, if any.
    pub fn of_status(status: u16) -> Option<Self> {
        match status {
            502 => Some(Self::Status502),
            503 => Some(Self::Status503),
            504 => Some(Self::Status504),
            _ => None,
        }
    }

    /// The word in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConnectFailure => "connect_failure",
            Self::NoResponse => "no_response",
            Self::Timeout => "timeout",
            Self::RefusedStream => "refused_stream",
            Self::Status502 => "502",
            Self::Status503 => "503",
            Self::Status504 => "504",
        }
    }
}

impl Timeouts {
    /// The defaults of an L4 route: a connection may rest for ten minutes, a flow for one.
    #[must_use]
    pub fn of_l4(protocol: Protocol) -> Self {
        let minutes = if protocol == Protocol::Udp { 1 } else { 10 };
        Self { idle: Duration::from_secs(60 * minutes), ..Self::default() }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            total: None,
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 1,
            on: RetryOn::NONE
                .with(RetryCause::ConnectFailure)
                .with(RetryCause::NoResponse)
                .with(RetryCause::RefusedStream),
            budget: 0.2,
        }
    }
}
