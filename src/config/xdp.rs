//! `[xdp]`: the fast path, which forwards packets before the kernel's stack sees them; and
//! `forward` of a listener, which is what it does with that listener's packets.
//!
//! What the BPF program is and how it gets onto an interface is `xdp`'s; this is only what the file
//! says of it.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
};

use crate::base::address::Address;

/// The fast path. A configuration has none when `mode` is `"off"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XdpConfig {
    /// The interface that clients come in by, and endpoints are reached by; 1 to 15 bytes.
    pub interface: String,
    /// Where on the interface the program runs.
    pub mode: XdpMode,
    /// What becomes of forwarding when the process ends without being asked to. Default:
    /// [`Crash::Detach`].
    pub crash: Crash,
    /// The folder on a bpffs for program and maps, with [`Crash::Keep`]. Default:
    /// `/sys/fs/bpf/ringway-INTERFACE`.
    pub pins: PathBuf,
    /// Flows that are remembered: IPv4; IPv6 has a quarter, NAT a quarter of each. 1,024 to
    /// 64,000,000, 88 bytes each. Default: 1,000,000.
    pub flows: u32,
    /// Our ports towards endpoints of `forward = "nat"`; outside of the kernel's
    /// `net.ipv4.ip_local_port_range`. Default: 1024 to 32767.
    pub nat_ports: RangeInclusive<u16>,
    /// Our addresses towards endpoints, one a family. Default: what the kernel would take.
    pub sources: Vec<IpAddr>,
    /// Which CPU works on packets of listeners that shards serve. Default: [`PacketSteer::Off`].
    pub steer: PacketSteer,
}

/// Where on the interface the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver where it can, else in the stack; without either, and with nothing to forward,
    /// nowhere.
    Auto,
    /// In the driver, or refuse to start.
    Native,
    /// In the stack, for every driver.
    Generic,
}

/// What becomes of forwarding when the process ends without being asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// It ends, too.
    Detach,
    /// It goes on, and the next process takes over with all flows.
    Keep,
}

/// Which CPU works on packets of listeners that shards serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketSteer {
    /// The one that they come in on.
    Off,
    /// That of a shard, by the flow.
    Cpu,
}

/// How the packets of a listener get to endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketForward {
    /// By link address alone; the endpoint has the listener's address and answers the client itself.
    Dsr,
    /// By address and port, both ways.
    Nat,
    /// In an outer IP header; the endpoint takes it off and answers the client itself.
    Ipip,
}

impl XdpConfig {
    /// A fast path on `interface` with every default.
    #[must_use]
    pub fn new(interface: String, mode: XdpMode) -> Self {
        Self {
            pins: PathBuf::from(format!("{PINS}{interface}")),
            interface,
            mode,
            crash: Crash::Detach,
            flows: 1_000_000,
            nat_ports: 1024..=32_767,
            sources: Vec::new(),
            steer: PacketSteer::Off,
        }
    }
}

impl XdpMode {
    /// The words in the file, besides `off`.
    pub(super) const WORDS: [(&str, Self); 3] =
        [("auto", Self::Auto), ("native", Self::Native), ("generic", Self::Generic)];
}

impl Crash {
    /// The words in the file.
    pub(super) const WORDS: [(&str, Self); 2] = [("detach", Self::Detach), ("keep", Self::Keep)];
}

impl PacketSteer {
    /// The words in the file.
    pub(super) const WORDS: [(&str, Self); 2] = [("off", Self::Off), ("cpu", Self::Cpu)];
}

impl PacketForward {
    /// The words in the file.
    pub(super) const WORDS: [(&str, Self); 3] =
        [("dsr", Self::Dsr), ("nat", Self::Nat), ("ipip", Self::Ipip)];

    /// The word in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::WORDS.iter().find(|(_, own)| *own == self).map_or("", |(name, _)| name)
    }

    /// Whether endpoints may listen on another port than the listener has.
    #[must_use]
    pub fn changes_port(self) -> bool {
        self == Self::Nat
    }
}

/// Why no packet from another machine has this address; `None` if it may be one that clients send to.
#[must_use]
pub fn vip_fault(address: Address) -> Option<&'static str> {
    let Some(address) = address.ip().map(|address| address.ip()) else {
        return Some("is a Unix socket, which no packet reaches");
    };
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_unspecified() {
        Some("means every address of the machine; name each")
    } else if address.is_loopback() {
        Some("is reached from this machine only")
    } else if address.is_multicast() || is_broadcast {
        Some("is that of a group")
    } else {
        None
    }
}

/// Whether packets to `address` can be of an endpoint at `endpoint`: nothing changes the family.
#[must_use]
pub fn is_same_family(address: SocketAddr, endpoint: SocketAddr) -> bool {
    address.is_ipv4() == endpoint.is_ipv4()
}

/// Most addresses, over all listeners that the program knows.
pub const VIPS_MAX: usize = 512;
/// Most such listeners; one with addresses of both families counts twice.
pub const SERVICES_MAX: usize = 64;
/// Most endpoints of such listeners.
pub const REALS_MAX: usize = 1_023;

/// The default of `pins`, before the interface.
const PINS: &str = "/sys/fs/bpf/ringway-";
