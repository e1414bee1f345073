//! The whole proxy through real sockets: the binary, endpoints that speak exact bytes, clients that
//! do. Every claim is held on both drivers.
//!
//! Order comes from the bytes themselves (a test is client and endpoint in one thread), never from
//! sleeping; every wait is bounded by [`wire::PATIENCE`].

mod bodies;
pub(crate) mod endpoint;
mod forwarding;
mod h2_down;
mod h2_limits;
mod h2_up;
pub(crate) mod h2_wire;
mod hostile;
mod life;
mod limits;
mod retries;
pub(crate) mod rig;
mod routing;
mod websocket;
pub(crate) mod wire;
