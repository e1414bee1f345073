//! Ringway: an L4 and L7 load balancer on io_uring, and the framework it is built from.
//!
//! Two worlds share a process. *Shards* are pinned threads that each run one ring, one listener
//! per address, one upstream pool and one executor, and carry every client byte. The *control
//! thread* does what happens per second and not per request: config, health probes, the admin
//! API, metrics. Shards get immutable snapshots from it and share nothing that they write.

pub mod balance;
pub mod base;
pub mod config;
pub mod control;
pub mod protocol;
pub mod proxy;
pub mod runtime;
pub mod server;
pub mod transport;
pub mod upstream;

pub use crate::{
    protocol::http::Status,
    proxy::{
        Body, Error, Filter, Forward, Handler, Request, Respond, Response, ShardScope,
        filters::{self, RateLimit, RequestIdFilter},
    },
    server::Server,
};

/// The examples of these pages compile, or the doctests fail.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/FRAMEWORK.md")]
    struct Framework;
}
