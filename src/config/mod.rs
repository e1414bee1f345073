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

mod admin;
mod filter;
mod listener;
mod log;
mod pattern;
mod route;
mod runtime;
mod template;
mod upstream;

pub use crate::base::access::{AccessFormat, LogField, LogPiece};
pub use admin::AdminConfig;
pub use filter::{FilterConfig, FilterKind, IdTrust};
pub use listener::{ErrorFormat, Forwarded, ListenerConfig, ListenerLimits};
pub use log::{AccessLog, ErrorLog, LogConfig, LogLevel, LogPath};
pub use pattern::{HostPattern, PathPattern, Segment, Specificity};
pub use route::{
    Action, HeaderEdits, Retry, RetryCause, RetryOn, Rewrite, RouteConfig, RouteMatch, Timeouts,
};
pub use runtime::{Buffers, IoDriver, RuntimeConfig};
pub use template::{Piece, Template, Variable};
pub use upstream::{
    BalancePolicy, EndpointConfig, HealthConfig, OutlierConfig, PoolConfig, Probe, Share,
    UpstreamConfig, UpstreamLimits,
};

/// A whole configuration, valid in itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Shards, buffers and limits of the process.
    pub runtime: RuntimeConfig,
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
