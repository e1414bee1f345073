//! The configuration: what a TOML file may say, checked and typed.
//!
//! Text becomes a tree with places (`raw`), every table of the tree becomes a type of its own
//! (one file a table), and only a whole that holds no contradiction becomes a [`Config`]. Whoever
//! has a [`Config`] needs to check nothing again: references are indices that exist, numbers are
//! in their ranges, no two routes fight for the same request. Nothing here touches a socket or a
//! clock; the only I/O is reading the files and the machine's CPU list.
//!
//! ```text
//!   file(s) ─▶ raw tree + places ─▶ tables, one by one ─▶ references, conflicts ─▶ Config
//!                    └───────────────┴───── problems ───────┴─▶ ConfigErrors (all of them)
//! ```

use std::net::SocketAddr;

mod admin;
mod admission;
mod conflict;
mod cpus;
mod fields;
mod filter;
mod listener;
mod load;
mod log;
mod pattern;
mod place;
mod raw;
mod read;
mod render;
mod route;
mod runtime;
mod suggest;
mod template;
mod tls;
mod upstream;
mod xdp;

pub use crate::base::access::{AccessFormat, LogField, LogPiece};
pub use admin::AdminConfig;
pub use admission::{AdmissionConfig, FlowLimits, ProxyHeader, ProxyVersion, ProxyVersions};
pub use cpus::Cpus;
pub use fields::Schema;
pub use filter::{FilterConfig, FilterKind, IdTrust};
pub use listener::{
    Alpn, ErrorFormat, Forwarded, HEADERS_MAX, HTTPS_PORT, ListenerConfig, ListenerLimits, Protocol,
};
pub use load::{load, parse, parse_on};
pub use log::{AccessLog, ErrorLog, LogConfig, LogLevel, LogPath};
pub use pattern::{HostPattern, PathPattern, Segment, Specificity};
pub use place::{ConfigErrors, Location, Problem};
pub use render::render;
pub use route::{
    Action, HeaderEdits, Layer, Retry, RetryCause, RetryOn, Rewrite, RouteConfig, RouteMatch,
    Timeouts,
};
pub use runtime::{AcceptBalance, Buffers, IoDriver, RuntimeConfig};
pub use template::{Piece, Template, Variable};
pub use tls::{
    CertificateConfig, ClientAuth, ClientAuthMode, FileName, ListenerTls, TlsVersion, UpstreamTls,
};
pub use upstream::{
    BalancePolicy, EndpointConfig, HashKey, HealthConfig, OutlierConfig, PoolConfig, Probe, Share,
    UpstreamConfig, UpstreamLimits, UpstreamProtocol,
};
pub use xdp::{
    Crash, PacketForward, PacketSteer, REALS_MAX, SERVICES_MAX, VIPS_MAX, XdpConfig, XdpMode,
    is_same_family, vip_fault,
};

/// A whole configuration, valid in itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Shards, buffers and limits of the process.
    pub runtime: RuntimeConfig,
    /// The fast path for packets; `None` when it is off.
    pub xdp: Option<XdpConfig>,
    /// Where the process is steered and watched.
    pub admin: AdminConfig,
    /// Access log and error log.
    pub log: LogConfig,
    /// Where clients connect. At least one.
    pub listeners: Vec<ListenerConfig>,
    /// Which request goes where, in file order.
    pub routes: Vec<RouteConfig>,
    /// Groups of endpoints.
    pub upstreams: Vec<UpstreamConfig>,
    /// Named filters; routes refer to them by index.
    pub filters: Vec<FilterConfig>,
    /// What works but is likely not meant, ready to print with its place.
    pub warnings: Vec<String>,
}

/// The configuration of `ringway run --listen ADDR --to ADDR,ADDR`: everything that reaches
/// `listen` goes to `endpoints` in turn.
///
/// # Errors
/// [`ZeroError`] where a file with these addresses would be refused.
pub fn zero(listen: SocketAddr, endpoints: &[SocketAddr]) -> Result<Config, ZeroError> {
    if endpoints.is_empty() {
        return Err(ZeroError::NoEndpoint);
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        if endpoint.port() == 0 {
            return Err(ZeroError::NoPort(*endpoint));
        }
        if endpoints[..index].contains(endpoint) {
            return Err(ZeroError::Twice(*endpoint));
        }
    }
    if listen.port() == 0 {
        return Err(ZeroError::NoPort(listen));
    }
    let endpoints = endpoints.iter().copied().map(EndpointConfig::new).collect();
    let all =
        RouteMatch { paths: vec![PathPattern::Prefix(String::new())], ..RouteMatch::default() };
    let mut route = RouteConfig::new("all".to_owned(), all, Action::Upstream(0));
    route.upgrade = true;
    Ok(Config {
        runtime: RuntimeConfig::new(Cpus::of_this_process().physical()),
        xdp: None,
        admin: AdminConfig::default(),
        log: LogConfig::default(),
        listeners: vec![ListenerConfig::new("http".to_owned(), vec![listen])],
        routes: vec![route],
        upstreams: vec![UpstreamConfig::new("main".to_owned(), endpoints)],
        filters: Vec::new(),
        warnings: Vec::new(),
    })
}

impl Config {
    /// Whether packets of listeners that shards serve move to the CPUs of the shards.
    #[must_use]
    pub fn steers(&self) -> bool {
        self.xdp.as_ref().is_some_and(|xdp| xdp.steer == PacketSteer::Cpu)
    }

    /// Whether packets of `listener` do: shards serve it over TCP, on an address that it names.
    #[must_use]
    pub fn is_steered(&self, listener: &ListenerConfig) -> bool {
        let is_served = listener.forward.is_none() && listener.protocol != Protocol::Udp;
        let mut addresses = listener.addresses.iter();
        self.steers() && is_served && addresses.any(|address| vip_fault(*address).is_none())
    }

    /// Turns the places of the files that it names into lines and columns.
    fn locate(&mut self, sources: &place::Sources) {
        let listeners = self.listeners.iter_mut();
        listeners.filter_map(|listener| listener.tls.as_mut()).for_each(|tls| tls.locate(sources));
        let upstreams = self.upstreams.iter_mut();
        upstreams.filter_map(|upstream| upstream.tls.as_mut()).for_each(|tls| tls.locate(sources));
    }
}

/// Holds a configuration that a program has made or changed against the rules of the file.
///
/// # Errors
/// Everything that [`parse`] would refuse. The places are those of [`render()`]'s text.
pub fn validate(config: &Config) -> Result<(), ConfigErrors> {
    parse("(program)", &render(config)).map(drop)
}

/// Why there is no configuration of these addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ZeroError {
    /// There is nowhere to go.
    #[error("there is no endpoint to send requests to")]
    NoEndpoint,
    /// An endpoint is there twice.
    #[error("endpoint `{0}` is there twice")]
    Twice(SocketAddr),
    /// Port 0.
    #[error("address `{0}` has port 0; give a port from 1 to 65535")]
    NoPort(SocketAddr),
}

/// The keys of every table that this build reads, in the order of the documentation.
pub fn schemas() -> Vec<&'static Schema> {
    read::schemas()
}
