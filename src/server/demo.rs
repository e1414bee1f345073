//! `ringway demo`: a load balancer over three small upstreams of its own, in one process.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use super::{Error, Source, listeners};
use crate::{
    config::{self, Config},
    control::demo_upstream,
};

/// A demo that is ready to run: its upstreams serve already.
#[derive(Debug)]
pub struct Demo {
    /// The configuration of the load balancer before them.
    pub config: Config,
    /// The same as a user would write it.
    pub text: String,
    endpoints: Vec<SocketAddr>,
    listen: SocketAddr,
    dashboard: SocketAddr,
}

impl Demo {
    /// Starts the three servers. The load balancer will listen on `listen`.
    ///
    /// # Errors
    /// `listen` is taken, or no port could be had for a server.
    pub fn prepare(listen: SocketAddr) -> Result<Self, Error> {
        // Before anything is printed that wouldn't be true.
        listeners::probe(listen).map_err(|source| {
            let hint = listeners::hint(&source);
            Error::Bind { listener: "web".to_owned(), address: listen.into(), source, hint }
        })?;
        let start = |(name, port)| demo_upstream::start(name, port).map_err(Error::Thread);
        let endpoints: Vec<_> = [("a", 9001), ("b", 9002), ("c", 9003)]
            .map(start)
            .into_iter()
            .collect::<Result<_, _>>()?;
        let dashboard = dashboard().map_err(Error::Thread)?;
        let text = text(listen, dashboard, &endpoints);
        let config = config::parse("demo.toml", &text)?;
        Ok(Self { config, text, endpoints, listen, dashboard })
    }

    /// Runs the load balancer until the process is told to stop.
    ///
    /// # Errors
    /// As [`super::run`].
    pub fn run(self) -> Result<(), Error> {
        super::run(self.config, Source::Fixed, None)
    }
}

impl fmt::Display for Demo {
    /// What runs where, and what to try.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { listen, endpoints, dashboard, .. } = self;
        writeln!(f, "ringway demo: one load balancer, three servers behind it, one process\n")?;
        writeln!(f, "  listener    http://{listen}")?;
        for (name, address) in ["a", "b", "c"].iter().zip(endpoints) {
            writeln!(f, "  endpoint {name}  http://{address}")?;
        }
        writeln!(f, "  metrics     http://{dashboard}/metrics")?;
        writeln!(f, "\nTry, in another terminal:\n")?;
        writeln!(f, "  # each request goes to the next endpoint")?;
        writeln!(f, "  curl -s 'http://{listen}/[1-6]'")?;
        if let Some(second) = endpoints.get(1) {
            writeln!(f, "\n  # kill one endpoint: nothing fails; it comes back after 20 s")?;
            writeln!(f, "  curl -s -X POST http://{second}/kill; curl -s 'http://{listen}/[1-6]'")?;
        }
        writeln!(f, "\n  # what the load balancer counted")?;
        writeln!(
            f,
            "  curl -s http://{dashboard}/metrics | \
             grep -E '^ringway_(requests_total.*2xx|upstream_retries|endpoint_(healthy|requests_total))'"
        )?;
        writeln!(f, "\nCtrl-C stops it. The configuration it runs is this file:\n")?;
        for line in self.text.lines() {
            let indent = if line.is_empty() { "" } else { "  " };
            writeln!(f, "{indent}{line}")?;
        }
        Ok(())
    }
}

/// Where the metrics will be: another port where the usual one is taken (node_exporter has it).
fn dashboard() -> std::io::Result<SocketAddr> {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, DASHBOARD_PORT));
    if listeners::probe(usual).is_ok() {
        return Ok(usual);
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// The demo's configuration file.
fn text(listen: SocketAddr, dashboard: SocketAddr, endpoints: &[SocketAddr]) -> String {
    let endpoints: Vec<_> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    let endpoints = endpoints.join(", ");
    format!(
        r#"version = 1

[admin]
dashboard = "{dashboard}"

[listener.web]
address = "{listen}"

[upstream.app]
endpoints = [{endpoints}]
health    = {{ http = "/healthz", interval = "1s", timeout = "500ms", rise = 1, fall = 2 }}

[filter.request-id]
type = "request_id"

[[route]]
name     = "all"
match    = {{ path = "/*" }}
upstream = "app"
filters  = ["request-id"]
"#
    )
}

/// The usual port of the demo's metrics.
const DASHBOARD_PORT: u16 = 9100;
