//! What the control thread asks of the process it steers.
//!
//! The server implements [`Node`]; the control loop owns it and calls it on the control thread, one
//! call at a time. A call may take milliseconds (a reload binds sockets), never seconds.

use std::{rc::Rc, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    base::address::Address,
    config::{AdminConfig, HealthConfig, LogConfig},
    control::view::View,
    transport::tls::ClientTls,
};

/// A running ringway, as the control thread sees it.
pub trait Node: 'static {
    /// Every number and name of this moment: `status` and `/metrics` are made from it.
    fn view(&self) -> View;

    /// The endpoints to probe, from the current snapshot. Asked at the start and after each reload.
    fn probes(&self) -> Vec<Probed>;

    /// Reads the configuration again and applies it whole, or changes nothing.
    fn reload(&mut self) -> Result<Reloaded, ReloadError>;

    /// Looks at the files that the configuration names, such as certificates, and takes over those
    /// that have changed. Asked every few seconds; logs what it does.
    fn look_at_files(&mut self);

    /// Starts to stop; returns at once. The phase says how far it is. Called again, a harder stop
    /// replaces a softer one.
    fn stop(&mut self, how: Stop);

    /// Where the process stands, to be watched. The control loop ends at [`Phase::Stopped`] or when
    /// the sender is gone.
    fn phase(&self) -> watch::Receiver<Phase>;
}

/// Where the process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Listeners are being opened.
    Starting,
    /// Connections are accepted.
    Serving,
    /// No connection is accepted; exchanges in flight may end.
    Draining,
    /// Every shard has ended.
    Stopped,
}

impl Phase {
    /// As `status` and `/healthz` spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Accept nothing new, let exchanges end for at most this long (`None`: as configured), then
    /// close what is left.
    Drain(Option<Duration>),
    /// Close everything.
    Now,
}

/// A reload that worked.
#[derive(Debug, Clone, PartialEq)]
pub struct Reloaded {
    /// Number of the snapshot that runs now; the first is 1.
    pub generation: u64,
    /// What changed, a line each, to log and to show: ``listener `web` added``.
    pub changes: Vec<String>,
    /// What works but is likely not meant, as the loader said it.
    pub warnings: Vec<String>,
    /// The `[admin]` table that holds now.
    pub admin: AdminConfig,
    /// The `[log]` table that holds now.
    pub log: LogConfig,
}

/// A reload that changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.join("\n"))]
pub struct ReloadError {
    /// At least one, each a line: `proxy.toml:3:16: …`.
    pub problems: Vec<String>,
}

/// One endpoint that is to be probed.
#[derive(Clone)]
pub struct Probed {
    /// The upstream's name; with the address it says which endpoint this is.
    pub upstream: String,
    /// Where it listens.
    pub address: Address,
    /// What is sent before the question: a PROXY header, if the upstream has one.
    pub preface: Vec<u8>,
    /// How to ask.
    pub health: HealthConfig,
    /// How the connection is encrypted; none when it isn't.
    pub tls: Option<Arc<ClientTls>>,
    /// Who wants to know.
    pub endpoint: Rc<dyn Verdict>,
}

/// Takes the verdicts of a health probe.
pub trait Verdict {
    /// Called on the control thread after the first probe and at each change. `reason` says what
    /// the probe saw, in words: `status 503, expected 200-399`.
    fn set_health(&self, healthy: bool, reason: &str);
}
