//! The L7 proxy: the filter API, routing, forwarding and the HTTP downstreams.
//!
//! One request is one *exchange*. It runs to completion on the shard that accepted its
//! connection and takes this way, down once and up once:
//!
//! ```text
//!   client bytes                                                       client bytes
//!       │                                                                   ▲
//!       ▼                                                                   │
//!   downstream::h1 ─ Request ─▶ filter ─▶ filter ─▶ router ─▶ forward ─┐   write, relay
//!       ▲                                                              │    │
//!       └──────────── Response ◀─ filter ◀─ filter ◀──────────────────┘◀───┘
//! ```
//!
//! `next.handle(req)` returns at the response's head. Bodies flow afterwards, piece by piece and
//! with bounded memory; a body that no filter touched stays a [`Body`] on the wire, and the relay
//! moves it without entering user code. Per-request state is a local variable of a filter's async
//! method, cancellation is `Drop`, nothing here is `Send`.

mod admit;
mod body;
mod client;
mod connection;
mod deadline;
pub mod downstream;
mod error;
pub mod filters;
mod forward;
mod forward_h2;
mod forwarded;
mod grpc;
mod h2;
mod handler;
mod hash_key;
mod head_reader;
mod observe;
mod outgoing;
mod pace;
mod pipeline;
mod recycle;
mod relay;
mod request;
mod respond;
mod response;
mod router;
mod scope;
mod secure;
mod send;
mod shard;
mod shared;
mod snapshot;
pub mod stats;
mod tunnel;
mod upload;
mod websocket;
mod wire;

pub use crate::transport::ConnectionLimit;
pub use admit::{Admission, Admit, Arriving, Doors};
pub use body::{Body, BodyStream, Chunk};
pub use client::{IdText, RequestId, Scheme};
use connection::Versions;
pub use connection::{Connection, ListenerRules};
pub use error::{Error, Fault};
pub use forward::{Forward, ForwardOptions};
pub use handler::{Around, DynFilter, DynHandler, Filter, Handler, Next};
pub use observe::{Observe, Record, Summary};
pub use pipeline::Pipeline;
pub use recycle::{Pooled, Recycle};
pub use request::Request;
pub use respond::{Redirect, Respond};
pub use response::Response;
pub use router::{Found, RouteId, Router};
pub(crate) use scope::Hooks;
pub use scope::ShardScope;
pub use secure::{CLIENT_CERT_FINGERPRINT, CLIENT_CERT_SAN, CLIENT_CERT_SUBJECT};
pub use shard::Shard;
pub use shared::Shared;
pub use snapshot::{NO_ROUTE, Snapshot, Tls};
