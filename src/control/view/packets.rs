//! The fast path in numbers: where it runs, what it forwards, how packets leave it.

use std::net::SocketAddr;

/// The fast path.
#[derive(Debug, Clone, Default)]
pub struct PacketsView {
    /// Its interface.
    pub interface: String,
    /// `native`, `generic`, `adopted` (where an earlier process put it) or `off`.
    pub mode: &'static str,
    /// Why not in a better place; empty for the best.
    pub reason: String,
    /// Packets by how they left the program: docs/XDP.md tells what each means.
    pub exits: Vec<(&'static str, u64)>,
    /// What happened to packets on the way.
    pub events: Vec<(&'static str, u64)>,
    /// Addresses of listeners that the program knows.
    pub vips: Vec<VipView>,
    /// Endpoints that it forwards to.
    pub endpoints: Vec<ForwardedView>,
}

/// One address of a listener.
#[derive(Debug, Clone)]
pub struct VipView {
    /// The listener's name.
    pub listener: String,
    /// The address.
    pub address: SocketAddr,
    /// What came to it.
    pub traffic: Traffic,
}

/// One endpoint of a listener that forwards.
#[derive(Debug, Clone)]
pub struct ForwardedView {
    /// The listener's name.
    pub listener: String,
    /// Where packets go.
    pub address: SocketAddr,
    /// `up`, `draining` (keeps its flows) or `down`.
    pub state: &'static str,
    /// Why no packet can be sent there; empty if it can.
    pub fault: String,
    /// What went there.
    pub traffic: Traffic,
}

/// Packets one way: towards endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Their bytes, IP headers included.
    pub bytes: u64,
    /// Flows begun.
    pub flows: u64,
}
