//! What the balancer is told: services, their VIPs and their reals. Plain values.

use std::net::{IpAddr, SocketAddr};

use super::layout::{Action, TCP, UDP};

/// A name under which clients find reals: a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The listener's name.
    pub name: String,
    /// Where clients connect; both families may be there.
    pub vips: Vec<SocketAddr>,
    /// TCP or UDP.
    pub transport: Transport,
    /// What happens to its packets.
    pub action: Action,
    /// Whether all flows of a client go to one real.
    pub by_source: bool,
    /// SYNs a second over all CPUs; more are dropped, or answered with cookies when the action is
    /// [`Action::Local`]. Counted in windows of 134 ms.
    pub syn_rate: Option<u32>,
    /// Where they may go; none for [`Action::Local`]. A real serves VIPs of its own family only.
    pub reals: Vec<RealConfig>,
}

/// One real of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RealConfig {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share, 1 to 100.
    pub weight: u32,
    /// Whether it gets packets.
    pub state: RealState,
}

/// Whether a real gets packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RealState {
    /// All.
    Up,
    /// Those of flows that it has.
    Draining,
    /// None; its flows go to others.
    Down,
}

/// What carries the ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP, QUIC included.
    Udp,
}

impl Transport {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Tcp => TCP,
            Self::Udp => UDP,
        }
    }
}

/// Whether packets to `vip` may go to `real`: nothing translates between families.
pub(super) fn is_same_family(vip: IpAddr, real: IpAddr) -> bool {
    vip.is_ipv4() == real.is_ipv4()
}
