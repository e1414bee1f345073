//! Ringway: a load balancer on io_uring, and the framework it is built from.
//!
//! ```no_run
//! use ringway::{Error, Filter, Handler, RateLimit, Request, Response, Server};
//!
//! struct Hello;
//!
//! impl Filter for Hello {
//!     async fn filter(&self, req: &mut Request, next: &impl Handler) -> Result<Response, Error> {
//!         req.headers.set("x-hello", "down")?;
//!         let res = next.handle(req).await?; // the head; the body still flows
//!         Ok(res.with("x-hello", "up"))
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     Server::listen("127.0.0.1:8080".parse()?)
//!         .upstream("web", ["127.0.0.1:9001".parse()?])
//!         .run(|shard| {
//!             let limit = RateLimit::per_ip("100/min".parse()?, shard);
//!             Ok((limit, Hello).around(shard.forward("web")?))
//!         })?;
//!     Ok(())
//! }
//! ```
//!
//! Start with [`Server`], [`Filter`], [`Handler`]; `docs/FRAMEWORK.md` has more examples, cancel
//! safety, and what may block.
//!
//! Two worlds share a process. *Shards* are pinned threads that each run one ring, one listener
//! per address, one upstream pool and one executor, and carry every client byte. The *control
//! thread* does what happens per second and not per request: config, health probes, the admin
//! API, metrics. Shards get immutable snapshots from it and share nothing that they write.
//! `docs/ARCHITECTURE.md` draws it.

pub mod balance;
pub mod base;
pub mod config;
pub mod control;
pub mod l4;
pub mod protocol;
pub mod proxy;
pub mod runtime;
pub mod server;
pub mod transport;
pub mod upstream;
pub mod xdp;

pub use crate::{
    balance::Balance,
    protocol::http::Status,
    proxy::{
        Admission, Admit, Arriving, Body, Error, Filter, Forward, Handler, Observe, Request,
        Respond, Response, ShardScope, Summary,
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
