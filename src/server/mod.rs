//! Puts the pieces together: shards, listeners, reloads, drains. The binary and every program
//! built on the library start here.
//!
//! ```text
//!   main thread = control thread                     shard threads 0..N-1
//!   ┌───────────────────────────────┐   mailbox     ┌──────────────────────────────┐
//!   │ Plane: config, snapshots,     │──── Order ───▶│ runtime ─ listeners ─ Service │
//!   │ listeners bound, probes,      │◀─── Report ───│ (one handler a snapshot)      │
//!   │ admin, signals (tokio)        │               └──────────────────────────────┘
//!   └───────────────────────────────┘
//! ```
//!
//! A reload is two steps, so that nothing is half applied: every shard first *prepares* the new
//! snapshot (builds its handlers), and only when all have, every one *commits*.

mod demo;
mod listeners;
mod order;
mod plane;
mod privileges;
mod reload;
mod scope;
mod shard;
mod view;

use std::path::PathBuf;

pub use demo::Demo;
pub use scope::ShardScope;

use crate::{
    config::{Config, ConfigErrors},
    control::{ControlError, error_log::ErrorLogHandle},
    proxy::{self, Handler, Pipeline},
    runtime,
};

/// Where a configuration comes from, and so whether it can be read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Given by arguments or by a program: a reload changes nothing.
    Fixed,
}

/// Why a server didn't start, or ended badly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A listener's address cannot be bound.
    #[error("listener `{listener}`: cannot listen on `{address}`: {source}{hint}")]
    Bind {
        /// The listener's name.
        listener: String,
        /// The address.
        address: std::net::SocketAddr,
        /// What the kernel says.
        #[source]
        source: std::io::Error,
        /// What to do about it; begins with a space, or empty.
        hint: &'static str,
    },
    /// No runtime could be had for a shard.
    #[error("shard {shard}: {source}")]
    Runtime {
        /// The shard.
        shard: usize,
        /// Why.
        #[source]
        source: runtime::StartError,
    },
    /// A handler could not be built.
    #[error("shard {shard}: {source}")]
    Handler {
        /// The shard.
        shard: usize,
        /// Why.
        #[source]
        source: proxy::Error,
    },
    /// A shard's thread ended, or didn't answer in time.
    #[error("shard {0} does not answer")]
    ShardLost(usize),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
    /// The user in `runtime.user` cannot be become.
    #[error("cannot become user `{user}`: {reason}")]
    User {
        /// The user.
        user: String,
        /// Why.
        reason: String,
    },
    /// The demo's own configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The control thread failed.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// A program's server: a configuration, and a handler made for each shard.
#[derive(Debug)]
pub struct Server {
    config: Config,
    source: Source,
    error_log: Option<ErrorLogHandle>,
}

impl Server {
    /// Serves `config`'s listeners.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, source: Source::Fixed, error_log: None }
    }

    /// Says where `config` came from, so that it can be read again.
    #[must_use]
    pub fn source(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    /// Lets reloads change the error log's path and level.
    #[must_use]
    pub fn error_log(mut self, handle: ErrorLogHandle) -> Self {
        self.error_log = Some(handle);
        self
    }

    /// Runs until the process is told to stop. `make` is called once per shard and configuration;
    /// it is the only thing that moves between threads.
    ///
    /// # Errors
    /// What kept the server from starting: see [`Error`].
    pub fn run<H, F>(self, make: F) -> Result<(), Error>
    where
        H: Handler + 'static,
        F: Fn(&ShardScope) -> Result<H, proxy::Error> + Clone + Send + 'static,
    {
        plane::run(self.config, self.source, self.error_log, make)
    }
}

/// Runs the load balancer that `config` describes, until the process is told to stop.
///
/// # Errors
/// What kept it from starting: see [`Error`].
pub fn run(config: Config, source: Source, error_log: Option<ErrorLogHandle>) -> Result<(), Error> {
    let mut server = Server::new(config).source(source);
    server.error_log = error_log;
    server.run(|shard| Pipeline::new(shard.snapshot(), shard.shard()))
}
