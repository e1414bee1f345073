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

mod certificates;
mod demo;
mod fast_path;
mod l4;
mod listeners;
mod order;
mod plane;
mod privileges;
mod reload;
mod services;
mod shard;
mod view;

use std::{fmt, net::SocketAddr, path::PathBuf};

pub use crate::proxy::ShardScope;
pub use certificates::{check_files, list_certificates};
pub use demo::Demo;
pub use l4::L4Scope;
pub use shard::{Listening, Steward};

use crate::{
    base::address::Address,
    config::{
        self, Config, ConfigErrors, Cpus, EndpointConfig, ListenerConfig, RuntimeConfig,
        UpstreamConfig,
    },
    control::{
        ControlError,
        error_log::{self, ErrorLogError, ErrorLogHandle},
    },
    l4::{ConnectionHandler, Steer},
    proxy::{self, Handler, Pipeline},
    runtime,
    xdp::XdpError,
};

/// Where a configuration comes from, and so whether it can be read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Given by arguments or by a program: a reload changes nothing.
    Fixed,
}

/// Why a server didn't start, or ended badly. `Debug` is `Display`: what `main` returns is printed
/// so.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A listener's address cannot be bound.
    #[error("listener `{listener}`: cannot listen on `{address}`: {source}{hint}")]
    Bind {
        /// The listener's name.
        listener: String,
        /// The address.
        address: Address,
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
    /// The fast path can't be had.
    #[error("xdp: {0}")]
    Xdp(#[source] XdpError),
    /// Capabilities can't be given up.
    #[error("cannot give up capabilities: {0}")]
    Capabilities(#[source] std::io::Error),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The error log cannot be written.
    #[error(transparent)]
    Log(#[from] ErrorLogError),
    /// The control thread failed.
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A program's server: a configuration, and a handler made for each shard.
///
/// ```no_run
/// use ringway::{Filter, RequestIdFilter, Server};
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     Server::listen("127.0.0.1:8080".parse()?)
///         .upstream("web", ["127.0.0.1:9001".parse()?, "127.0.0.1:9002".parse()?])
///         .run(|shard| Ok(RequestIdFilter::default().around(shard.forward("web")?)))?;
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Server {
    config: Config,
    /// Not yet held against the rules of the file.
    is_edited: bool,
    source: Source,
    error_log: Option<ErrorLogHandle>,
    starts_log: bool,
    makers: l4::Makers,
}

impl Server {
    /// Serves `config`'s listeners.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let (is_edited, starts_log) = (false, false);
        let makers = l4::Makers::default();
        Self { config, is_edited, source: Source::Fixed, error_log: None, starts_log, makers }
    }

    /// Serves `address`, by a listener named `http`, with the defaults of an empty file: one shard
    /// per physical core. There is no route; the handler decides.
    #[must_use]
    pub fn listen(address: SocketAddr) -> Self {
        let mut server = Self::new(Config {
            runtime: RuntimeConfig::new(Cpus::of_this_process().physical()),
            xdp: None,
            admin: config::AdminConfig::default(),
            log: config::LogConfig::default(),
            listeners: vec![ListenerConfig::new("http".to_owned(), vec![address])],
            routes: Vec::new(),
            upstreams: Vec::new(),
            filters: Vec::new(),
            warnings: Vec::new(),
        });
        server.is_edited = true;
        server
    }

    /// Serves connections to `address`, by a listener named `tcp`, with what `make` makes once per
    /// shard and configuration. Then [`upstream`](Self::upstream)s, and [`serve`](Self::serve).
    #[must_use]
    pub fn tcp<H, F>(address: SocketAddr, make: F) -> Self
    where
        H: ConnectionHandler + 'static,
        F: Fn(&L4Scope) -> Result<H, crate::l4::Error> + Send + Sync + 'static,
    {
        let mut server = Self::listen(address);
        server.config.listeners[0].name = "tcp".to_owned();
        server.config.listeners[0].protocol = config::Protocol::Tcp;
        server.connections("tcp", make)
    }

    /// Serves datagrams to `address`, by a listener named `udp`; `make` makes what chooses where
    /// each flow goes.
    #[must_use]
    pub fn udp<S, F>(address: SocketAddr, make: F) -> Self
    where
        S: Steer + 'static,
        F: Fn(&L4Scope) -> Result<S, crate::l4::Error> + Send + Sync + 'static,
    {
        let mut server = Self::listen(address);
        server.config.listeners[0].name = "udp".to_owned();
        server.config.listeners[0].protocol = config::Protocol::Udp;
        server.makers.flows("udp", make);
        server
    }

    /// The connections of the listener of that name (`protocol` `tcp` or `tls`) are served by what
    /// `make` makes, instead of the configuration's routes.
    #[must_use]
    pub fn connections<H, F>(mut self, listener: &str, make: F) -> Self
    where
        H: ConnectionHandler + 'static,
        F: Fn(&L4Scope) -> Result<H, crate::l4::Error> + Send + Sync + 'static,
    {
        self.makers.connections(listener, make);
        self
    }

    /// The flows of the UDP listener of that name go where what `make` makes says.
    #[must_use]
    pub fn flows<S, F>(mut self, listener: &str, make: F) -> Self
    where
        S: Steer + 'static,
        F: Fn(&L4Scope) -> Result<S, crate::l4::Error> + Send + Sync + 'static,
    {
        self.makers.flows(listener, make);
        self
    }

    /// Runs with the configuration's routes alone, until the process is told to stop.
    ///
    /// # Errors
    /// What kept the server from starting: see [`Error`].
    pub fn serve(self) -> Result<(), Error> {
        self.run(|shard| Pipeline::new(shard.snapshot(), shard.shard()))
    }

    /// Serves what a file says, and reads it again when told to reload. Its upstreams and filters
    /// are there for the handler; its routes count only if the handler is a [`Pipeline`].
    ///
    /// # Errors
    /// The file cannot be read, or has errors.
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        Ok(Self::new(config::load(&path)?).source(Source::File(path)))
    }

    /// Adds an upstream of these endpoints, in turn and without health checks;
    /// [`Server::configure`] changes that.
    #[must_use]
    pub fn upstream(self, name: &str, endpoints: impl IntoIterator<Item = SocketAddr>) -> Self {
        let endpoints = endpoints.into_iter().map(EndpointConfig::new).collect();
        let upstream = UpstreamConfig::new(name.to_owned(), endpoints);
        self.configure(|config| config.upstreams.push(upstream))
    }

    /// Changes the configuration. It is held against the rules of the file when the server
    /// [runs](Server::run).
    ///
    /// ```
    /// # use ringway::Server;
    /// # let address = "127.0.0.1:8080".parse().unwrap();
    /// let server = Server::listen(address).configure(|config| {
    ///     config.runtime.pin = false;
    ///     config.admin.dashboard = Some(([127, 0, 0, 1], 9100).into());
    ///     config.listeners[0].limits.headers = 8 * 1024;
    /// });
    /// ```
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self.is_edited = true;
        self
    }

    /// Says where `config` came from, so that it can be read again.
    #[must_use]
    pub fn source(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    /// Writes the error log that the configuration describes (stderr, from `info` up), and lets
    /// reloads change it. Not for programs that have a `tracing` subscriber of their own.
    #[must_use]
    pub fn log(mut self) -> Self {
        self.starts_log = true;
        self
    }

    /// Lets reloads change the path and level of a log that runs already.
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
    pub fn run<H, F>(mut self, make: F) -> Result<(), Error>
    where
        H: Handler + 'static,
        F: Fn(&ShardScope) -> Result<H, proxy::Error> + Clone + Send + 'static,
    {
        if self.is_edited {
            config::validate(&self.config)?;
        }
        if self.starts_log {
            self.error_log = Some(error_log::init(&self.config.log.error)?);
        }
        plane::run(self.config, self.source, self.error_log, self.makers, make)
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
