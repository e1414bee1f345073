//! `ringway demo`: a load balancer over three small upstreams of its own, in one process.

/// Runs the demo.
pub fn demo() {}
