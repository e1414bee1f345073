//! Keys and values of the program's maps: bpf/src/layout.h in Rust, field by field.
//!
//! Fields that travel in packets (addresses, ports) are bytes in network order, so that nobody can
//! forget to swap them; an address is always 16 bytes and IPv4 has the first four. Tests hold names
//! and sizes against the header. Nothing here does anything.
#![expect(unsafe_code, reason = "only says which types are plain bytes")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aya::Pod;

/// Raised by every change of what a map holds; pinned maps of another version are refused.
pub const LAYOUT_VERSION: u32 = 3;
/// Slots of a Maglev ring.
pub const RING_SLOTS: usize = 65_537;
/// Slots that a ring's value has; the last ones pad it.
pub(super) const RING_SLOTS_PADDED: usize = RING_SLOTS + 3;
/// VIPs: one an address, port and protocol.
pub const VIPS_MAX: u32 = 512;
/// Rings, two a service and family.
pub const RINGS_MAX: u32 = 128;
/// Reals; id 0 is nobody.
pub const REALS_MAX: u32 = 1024;
/// A window of SYN and insert rates: 2^27 ns.
pub const WINDOW_SHIFT: u32 = 27;
/// A tick of idle times: 2^30 ns.
pub const TICK_SHIFT: u32 = 30;

/// What happens to a VIP's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Action {
    /// The stack of this box has them.
    #[default]
    Local = 0,
    /// To a real by link address; the real answers the client itself.
    Dsr = 1,
    /// To a real by address and port, and back through here.
    Nat = 2,
    /// To a real in an outer IP header; the real answers the client itself.
    Ipip = 3,
}

/// [`Vip::flags`]: the ring is asked by the client's address alone.
pub const VIP_BY_SOURCE: u8 = 1;
/// [`Vip::flags`]: SYNs above the rate are answered with cookies instead of being dropped.
pub const VIP_COOKIES: u8 = 2;
/// [`Real::flags`]: flows to it go on.
pub const REAL_UP: u8 = 1;
/// [`Real::flags`]: its link address is known.
pub const REAL_RESOLVED: u8 = 2;

/// TCP's number.
pub const TCP: u8 = 6;
/// UDP's number.
pub const UDP: u8 = 17;

macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
            #[repr(C)]
            pub struct $name { $($(#[$field_doc])* pub $field: $kind,)* }

            // SAFETY: a repr(C) struct of integers and byte arrays whose fields fill it without
            // gaps (`no_type_has_gaps` adds them up), so that every bit pattern is a value and
            // every byte of a value is one.
            unsafe impl Pod for $name {}

            impl $name {
                /// Bytes of the fields, for the test that there are no gaps between them.
                #[cfg(test)]
                fn filled() -> usize { 0 $(+ size_of::<$kind>())* }
            }
        )*
    };
}

plain! {
    /// `vips4`'s key.
    VipKey4 {
        /// The address.
        address: [u8; 4],
        /// The port.
        port: [u8; 2],
        /// [`TCP`] or [`UDP`].
        protocol: u8,
        /// Zero.
        zero: u8,
    }
    /// `vips6`'s key.
    VipKey6 {
        /// The address.
        address: [u8; 16],
        /// The port.
        port: [u8; 2],
        /// [`TCP`] or [`UDP`].
        protocol: u8,
        /// Zero.
        zero: u8,
    }
    /// What a VIP is.
    Vip {
        /// Its row of `vip_stats` and `syn_rates`.
        index: u32,
        /// Its row of `rings`.
        ring: u32,
        /// SYNs in a window; 0 is no limit.
        syn_max: u32,
        /// An [`Action`].
        action: u8,
        /// [`VIP_BY_SOURCE`], [`VIP_COOKIES`].
        flags: u8,
        /// Zero.
        zero: [u8; 2],
    }
    /// Where packets of a VIP go.
    Real {
        /// Its address.
        address: [u8; 16],
        /// Its port; NAT rewrites to it.
        port: [u8; 2],
        /// [`REAL_UP`], [`REAL_RESOLVED`].
        flags: u8,
        /// Zero.
        zero: u8,
        /// Tells it from an earlier real with its id.
        generation: u32,
        /// Link address of the real, or of the router on the way to it.
        mac: [u8; 6],
        /// Which pair of rings it belongs to.
        pair: u16,
    }
    /// `flows4`'s key: the client's packets.
    Tuple4 {
        /// The client.
        source: [u8; 4],
        /// The VIP.
        destination: [u8; 4],
        /// The client's port.
        source_port: [u8; 2],
        /// The VIP's port.
        destination_port: [u8; 2],
        /// [`TCP`] or [`UDP`].
        protocol: u8,
        /// Zero.
        zero: [u8; 3],
    }
    /// `flows6`'s key: the client's packets.
    Tuple6 {
        /// The client.
        source: [u8; 16],
        /// The VIP.
        destination: [u8; 16],
        /// The client's port.
        source_port: [u8; 2],
        /// The VIP's port.
        destination_port: [u8; 2],
        /// [`TCP`] or [`UDP`].
        protocol: u8,
        /// Zero.
        zero: [u8; 3],
    }
    /// Where a flow goes.
    Flow {
        /// The real's id.
        real: u32,
        /// The real's generation.
        generation: u32,
        /// NAT: our port towards the real.
        nat_port: [u8; 2],
        /// NAT: [`SEEN_FIN`] and the like, from the client.
        seen: u8,
        /// 1 for NAT's flows.
        is_nat: u8,
        /// NAT: when the client last sent, in ticks.
        tick: u32,
    }
    /// `nat4`'s key: the real's packets.
    BackKey4 {
        /// The real.
        real: [u8; 4],
        /// The real's port.
        real_port: [u8; 2],
        /// Our port.
        nat_port: [u8; 2],
        /// [`TCP`] or [`UDP`].
        protocol: u8,
        /// Zero.
        zero: [u8; 3],
    }
    /// `nat6`'s key: the real's packets.
    BackKey6 {
        /// The real.
        real: [u8; 16],
        /// The real's port.
        real_port: [u8; 2],
        /// Our port.
        nat_port: [u8; 2],
        /// [`TCP`] or [`UDP`].
        protocol: u8,
        /// Zero.
        zero: [u8; 3],
    }
    /// NAT's way back.
    Back {
        /// The client.
        client: [u8; 16],
        /// The VIP.
        vip: [u8; 16],
        /// The client's port.
        client_port: [u8; 2],
        /// The VIP's port.
        vip_port: [u8; 2],
        /// The VIP's row of `vip_stats`.
        vip_index: u32,
        /// The real's id.
        real: u32,
        /// When the real last sent, in ticks.
        tick: u32,
        /// Where the client's packets come from on the link.
        mac: [u8; 6],
        /// [`SEEN_FIN`] and the like, from the real.
        seen: u8,
        /// Zero.
        zero: u8,
    }
    /// What holds for all packets.
    Settings {
        /// [`LAYOUT_VERSION`].
        version: u32,
        /// One SYN in this many is let through while cookies are answered; 0 lets none through.
        cookie_pass: u32,
        /// Added to the clock, in nanoseconds: tests let hours pass.
        clock_add: u64,
        /// Flow entries that one CPU may make in a window.
        inserts_max: u32,
        /// Rows of `shard_cpus` that local packets are spread over; 0 is off.
        steer_cpus: u32,
        /// Our IPv4 address towards reals.
        own4: [u8; 4],
        /// Our IPv6 address towards reals.
        own6: [u8; 16],
        /// NAT's first port.
        port_first: u16,
        /// NAT's last port.
        port_last: u16,
        /// Largest IP packet of the interface, in bytes.
        mtu: u32,
        /// How long a TCP flow may be silent, in ticks.
        idle_tcp: u32,
        /// How long a UDP flow may be silent, in ticks.
        idle_udp: u32,
        /// How long a TCP flow may go without an answer, in ticks.
        idle_opening: u32,
        /// How long an ended TCP flow is kept, in ticks.
        idle_closed: u32,
        /// The last tick of a sweep's deletions: until then no port is taken over.
        sweep_tick: u32,
    }
    /// One CPU's counters.
    Counts {
        /// Packets by [`EXITS`]; exactly one each.
        exits: [u64; EXITS.len()],
        /// What happened on the way, by [`EVENTS`].
        events: [u64; EVENTS.len()],
        /// The window that `inserts` is of.
        window: u64,
        /// Flow entries made in it.
        inserts: u64,
    }
    /// Traffic of a VIP or a real, as clients sent it.
    Stats {
        /// Packets.
        packets: u64,
        /// Bytes, IP header included.
        bytes: u64,
        /// Flows begun.
        flows: u64,
    }
    /// SYNs of a VIP in a window.
    Rate {
        /// The window.
        window: u64,
        /// SYNs in it.
        count: u64,
    }
}

/// A ring: which real each slot is of.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Ring {
    pub(super) slots: [u16; RING_SLOTS_PADDED],
}

// SAFETY: an array of integers in a repr(C) struct: no gaps, and every bit pattern is a value.
unsafe impl Pod for Ring {}

/// [`Flow::seen`], [`Back::seen`]: a FIN.
pub const SEEN_FIN: u8 = 1;
/// [`Flow::seen`], [`Back::seen`]: a RST.
pub const SEEN_RST: u8 = 2;
/// [`Back::seen`]: anything from the real.
pub const SEEN_REPLY: u8 = 4;

/// How a packet leaves the program, by the number it is counted under; docs/XDP.md tells what each
/// means.
pub const EXITS: [&str; 21] = [
    "not_ip",
    "malformed",
    "other_protocol",
    "not_vip",
    "local",
    "steered",
    "cookie",
    "syn_rate",
    "fragment",
    "no_real",
    "no_neighbour",
    "dsr",
    "ipip",
    "too_big",
    "nat",
    "nat_reply",
    "nat_unknown",
    "nat_full",
    "icmp",
    "icmp_unknown",
    "no_room",
];

/// What happens to packets on the way, by the number it is counted under.
pub const EVENTS: [&str; 5] = ["flow_hit", "flow_new", "flow_dead", "flow_unkept", "nat_reused"];

/// An address as the maps have it.
#[must_use]
pub fn octets(address: IpAddr) -> [u8; 16] {
    let mut octets = [0; 16];
    match address {
        IpAddr::V4(v4) => octets[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => octets = v6.octets(),
    }
    octets
}

/// The first four bytes: an IPv4 address.
#[must_use]
pub fn octets4(octets: [u8; 16]) -> [u8; 4] {
    [octets[0], octets[1], octets[2], octets[3]]
}

/// The address that `octets` are of the family of `like`.
#[must_use]
pub fn address_like(octets: [u8; 16], like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from(octets4(octets)).into(),
        IpAddr::V6(_) => Ipv6Addr::from(octets).into(),
    }
}

impl Real {
    /// A real at `address`; neither up nor resolved.
    #[must_use]
    pub fn at(address: SocketAddr, generation: u32) -> Self {
        let port = address.port().to_be_bytes();
        Self { address: octets(address.ip()), port, generation, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = include_str!("../../bpf/src/layout.h");

    /// `PREFIX_SOME_NAME` of an enum in the header, as `some_name`, in order.
    fn names(prefix: &str) -> Vec<String> {
        let lines = HEADER.lines().map(str::trim);
        let names = lines.filter_map(|line| line.strip_prefix(prefix)?.strip_suffix(','));
        names.map(str::to_lowercase).collect()
    }

    fn number(name: &str) -> u64 {
        let line = HEADER.lines().find(|line| line.contains(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn exits_and_events_are_those_of_the_header() {
        assert_eq!(names("EXIT_"), EXITS);
        assert_eq!(names("EVENT_"), EVENTS);
    }

    #[test]
    fn numbers_are_those_of_the_header() {
        assert_eq!(number("#define LAYOUT_VERSION"), u64::from(LAYOUT_VERSION));
        assert_eq!(number("#define RING_SLOTS"), RING_SLOTS as u64);
    }

    #[test]
    fn no_type_has_gaps() {
        assert_eq!(Vip::filled(), size_of::<Vip>());
        assert_eq!(Real::filled(), size_of::<Real>());
        assert_eq!(Flow::filled(), size_of::<Flow>());
        assert_eq!(Back::filled(), size_of::<Back>());
        assert_eq!(Settings::filled(), size_of::<Settings>());
        assert_eq!(Counts::filled(), size_of::<Counts>());
        assert_eq!(Tuple4::filled(), size_of::<Tuple4>());
        assert_eq!(Tuple6::filled(), size_of::<Tuple6>());
        assert_eq!(BackKey4::filled(), size_of::<BackKey4>());
        assert_eq!(BackKey6::filled(), size_of::<BackKey6>());
        assert_eq!(VipKey4::filled(), size_of::<VipKey4>());
        assert_eq!(VipKey6::filled(), size_of::<VipKey6>());
        assert_eq!(Stats::filled(), size_of::<Stats>());
        assert_eq!(Rate::filled(), size_of::<Rate>());
    }

    #[test]
    fn an_address_survives_the_maps() {
        for address in ["10.1.2.3", "2001:db8::5"] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(address_like(octets(address), address), address);
        }
    }
}
