//! The L4 proxy: TCP, TLS that is passed through, UDP. The same upstreams, balancers, health and
//! limits as for requests, for everything that isn't HTTP.
//!
//! ```text
//!   accepted ─▶ admission ─▶ PROXY header? ─▶ handler ─┬─ Routes: by listener, SNI, ALPN ─┬─▶ Forward
//!                                                      └─ your own ConnectionHandler ─────┘    │
//!                              transport::relay ◀── dial, announce ◀── pick, retry ◀───────────┘
//!
//!   datagram ─▶ flow known? ─▶ its socket          no: steer ─▶ pick by the flow's key ─▶ socket
//! ```
//! One task per connection; one per UDP listener and one per flow. Bytes are relayed and never
//! understood: what is looked at in front (a PROXY header, a ClientHello) is `transport::front`'s.
//! Knows nothing of requests, and the HTTP proxy knows nothing of this.

mod error;
pub mod flows;
mod forward;
mod handler;
mod listeners;
mod routes;
mod service;
mod shard;
mod udp;

pub use error::Error;
pub use forward::{Forward, ForwardOptions};
pub use handler::{ConnectionHandler, Downstream, DynConnectionHandler};
pub use listeners::{Listeners, Listening, Socket};
pub use routes::{Plan, RoutePlan, Routes};
pub use service::{ListenerPlan, Otherwise, Service};
pub use shard::Shard;
pub use udp::{FlowForward, FlowPlan, Steer};
