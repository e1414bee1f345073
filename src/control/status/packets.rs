//! The fast path in `GET /v1/status`.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

use crate::control::view::packets::PacketsView;

/// The fast path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct XdpStatus {
    /// Its interface.
    pub interface: String,
    /// `native`, `generic`, `adopted` (where an earlier process put it) or `off`.
    pub mode: String,
    /// Why not in a better place; empty for the best.
    pub reason: String,
    /// Packets by how they left the program.
    pub exits: BTreeMap<String, u64>,
    /// What happened to packets on the way.
    pub events: BTreeMap<String, u64>,
    /// Addresses of listeners that the program knows.
    pub vips: Vec<VipStatus>,
    /// Endpoints that it forwards to.
    pub endpoints: Vec<ForwardedStatus>,
}

/// One address of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipStatus {
    /// The listener's name.
    pub listener: String,
    /// The address.
    pub address: SocketAddr,
    /// Packets to it.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Flows begun.
    pub flows: u64,
}

/// One endpoint of a listener that forwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardedStatus {
    /// The listener's name.
    pub listener: String,
    /// Where packets go.
    pub address: SocketAddr,
    /// `up`, `draining` or `down`.
    pub state: String,
    /// Why no packet can be sent there; empty if it can.
    pub fault: String,
    /// Packets to it.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Flows begun.
    pub flows: u64,
}

impl XdpStatus {
    pub(super) fn new(view: &PacketsView) -> Self {
        let named = |counts: &[(&'static str, u64)]| {
            counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
        };
        Self {
            interface: view.interface.clone(),
            mode: view.mode.to_owned(),
            reason: view.reason.clone(),
            exits: named(&view.exits),
            events: named(&view.events),
            vips: view
                .vips
                .iter()
                .map(|vip| VipStatus {
                    listener: vip.listener.clone(),
                    address: vip.address,
                    packets: vip.traffic.packets,
                    bytes: vip.traffic.bytes,
                    flows: vip.traffic.flows,
                })
                .collect(),
            endpoints: view
                .endpoints
                .iter()
                .map(|endpoint| ForwardedStatus {
                    listener: endpoint.listener.clone(),
                    address: endpoint.address,
                    state: endpoint.state.to_owned(),
                    fault: endpoint.fault.clone(),
                    packets: endpoint.traffic.packets,
                    bytes: endpoint.traffic.bytes,
                    flows: endpoint.traffic.flows,
                })
                .collect(),
        }
    }
}
