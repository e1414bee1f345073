//! The control thread: what happens per second and not per request.
//!
//! One tokio current-thread runtime runs signals, the admin API, the dashboard's `/metrics` and
//! `/healthz`, and the health probes; a second thread writes the access log. None of it ever
//! touches a client's byte. What the process *is* (shards, snapshots, reloads, drains) belongs to
//! the server, which this module reaches through the [`Node`] trait only.
//!
//! ```text
//!   signals ─┐                                   ┌─▶ Node::reload / stop
//!   admin  ──┼─ Command ─▶ the control loop ─────┼─▶ Node::view ─▶ Status, /metrics
//!   tcp    ──┘             (owns the Node)       └─▶ Node::probes ─▶ health probes
//! ```

pub mod access_log;
pub mod admin;
pub mod client;
pub mod demo_upstream;
pub mod error_log;
pub mod health_probe;
pub mod metrics;
pub mod node;
pub mod run;
pub mod sampler;
pub(crate) mod socket_file;
pub mod status;
pub mod upstreams;
pub mod view;

pub use node::{Node, Phase, Probed, ReloadError, Reloaded, Stop, Verdict};
pub use run::{Control, ControlError};
