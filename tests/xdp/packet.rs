//! Packets by hand: built with right checksums, taken apart again, checked. Knows nothing of the code
//! under test; sums are computed from scratch.

use std::net::{IpAddr, SocketAddr};

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// The balancer's own link address, and that of the router that clients come through.
pub(crate) const US: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// What a packet is made from.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) protocol: u8,
    pub(crate) flags: u8,
    pub(crate) payload: Vec<u8>,
    /// VLAN tags, outermost first.
    pub(crate) tags: Vec<u16>,
    /// IPv4 options, or IPv6 hop-by-hop options, in 4 or 8 byte units.
    pub(crate) options: usize,
}

impl Spec {
    pub(crate) fn tcp(from: &str, to: &str, flags: u8) -> Self {
        Self {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            protocol: TCP,
            flags,
            payload: b"0123456789abcdef!".to_vec(),
            tags: Vec::new(),
            options: 0,
        }
    }

    pub(crate) fn udp(from: &str, to: &str) -> Self {
        Self { protocol: UDP, ..Self::tcp(from, to, 0) }
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut frame = link(&self.tags, self.from.ip());
        frame.extend(self.ip());
        frame
    }

    /// The IP packet.
    pub(crate) fn ip(&self) -> Vec<u8> {
        let mut segment = Vec::new();
        segment.extend(self.from.port().to_be_bytes());
        segment.extend(self.to.port().to_be_bytes());
        if self.protocol == TCP {
            segment.extend([0, 0, 0, 7, 0, 0, 0, 9, 5 << 4, self.flags, 1, 0, 0, 0, 0, 0]);
        } else {
            let length = u16::try_from(8 + self.payload.len()).unwrap();
            segment.extend(length.to_be_bytes());
            segment.extend([0, 0]);
        }
        segment.extend(&self.payload);
        let sum = transport_sum(self.from.ip(), self.to.ip(), self.protocol, &segment);
        let at = if self.protocol == TCP { 16 } else { 6 };
        segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        ip(self.from.ip(), self.to.ip(), self.protocol, self.options, &segment)
    }
}

pub(crate) fn link(tags: &[u16], family: IpAddr) -> Vec<u8> {
    let mut frame = US.to_vec();
    frame.extend(ROUTER);
    for (index, tag) in tags.iter().enumerate() {
        let is_outer = index + 1 < tags.len();
        frame.extend(if is_outer { [0x88, 0xa8] } else { [0x81, 0] });
        frame.extend(tag.to_be_bytes());
    }
    frame.extend(if family.is_ipv4() { [8, 0] } else { [0x86, 0xdd] });
    frame
}

pub(crate) fn ip(from: IpAddr, to: IpAddr, protocol: u8, options: usize, body: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let header = 20 + options * 4;
            let length = u16::try_from(header + body.len()).unwrap();
            packet.extend([u8::try_from(0x40 + header / 4).unwrap(), 0x10]);
            packet.extend(length.to_be_bytes());
            packet.extend([0x12, 0x34, 0x40, 0, 63, protocol, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            packet.extend(vec![1; options * 4]);
            let sum = internet_sum(&packet);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let length = u16::try_from(options * 8 + body.len()).unwrap();
            packet.extend([0x60, 0x10, 0, 5]);
            packet.extend(length.to_be_bytes());
            packet.extend([if options > 0 { 0 } else { protocol }, 63]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            if options > 0 {
                packet.extend([protocol, u8::try_from(options - 1).unwrap(), 1, 4, 0, 0, 0, 0]);
                packet.extend(vec![0; (options - 1) * 8]);
            }
        }
        _ => unreachable!("one family a packet"),
    }
    packet.extend(body);
    packet
}

/// The Internet checksum of `bytes`, to be written into them.
pub(crate) fn internet_sum(bytes: &[u8]) -> u16 {
    !folded(words(bytes))
}

/// TCP's, UDP's or ICMPv6's checksum, whose own field in `segment` is zero.
pub(crate) fn transport_sum(from: IpAddr, to: IpAddr, protocol: u8, segment: &[u8]) -> u16 {
    let address = |address: IpAddr| match address {
        IpAddr::V4(v4) => words(&v4.octets()),
        IpAddr::V6(v6) => words(&v6.octets()),
    };
    let length = segment.len() as u64;
    let sum = !folded(address(from) + address(to) + u64::from(protocol) + length + words(segment));
    if protocol == UDP && sum == 0 { 0xffff } else { sum }
}

fn words(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)))
        .sum()
}

fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

/// A packet taken apart; making one checks lengths and every checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) to_mac: [u8; 6],
    pub(crate) from_mac: [u8; 6],
    pub(crate) tags: Vec<u16>,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) protocol: u8,
    /// TCP's or UDP's payload; everything behind the IP header of another protocol.
    pub(crate) payload: Vec<u8>,
    pub(crate) flags: u8,
    pub(crate) has_sum: bool,
}

pub(crate) fn take_apart(frame: &[u8]) -> Seen {
    let mut at = 12;
    let mut tags = Vec::new();
    while let [0x81, 0] | [0x88, 0xa8] = frame[at..at + 2] {
        tags.push(u16::from_be_bytes([frame[at + 2], frame[at + 3]]));
        at += 4;
    }
    let seen = take_apart_ip(&frame[at + 2..]);
    Seen {
        to_mac: frame[..6].try_into().unwrap(),
        from_mac: frame[6..12].try_into().unwrap(),
        tags,
        ..seen
    }
}

pub(crate) fn take_apart_ip(packet: &[u8]) -> Seen {
    let (from, to, protocol, body) = ip_parts(packet);
    let ports = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    let mut seen = Seen {
        to_mac: [0; 6],
        from_mac: [0; 6],
        tags: Vec::new(),
        from: SocketAddr::new(from, 0),
        to: SocketAddr::new(to, 0),
        protocol,
        payload: body.to_vec(),
        flags: 0,
        has_sum: true,
    };
    let sum_at = match protocol {
        TCP => 16,
        UDP => 6,
        1 | 58 => 2,
        _ => return seen,
    };
    let mut zeroed = body.to_vec();
    let written = ports(sum_at);
    zeroed[sum_at..sum_at + 2].fill(0);
    let right = match protocol {
        1 => internet_sum(&zeroed),
        _ => transport_sum(from, to, protocol, &zeroed),
    };
    seen.has_sum = written != 0;
    assert!(written == right || protocol == UDP && written == 0, "sum {written:x}, not {right:x}");
    if protocol == TCP || protocol == UDP {
        seen.from.set_port(ports(0));
        seen.to.set_port(ports(2));
        let header = if protocol == TCP { usize::from(body[12] >> 4) * 4 } else { 8 };
        seen.payload = body[header..].to_vec();
        seen.flags = if protocol == TCP { body[13] } else { 0 };
    }
    seen
}

/// Addresses, protocol and body of an IP packet, its header checked.
fn ip_parts(packet: &[u8]) -> (IpAddr, IpAddr, u8, &[u8]) {
    if packet[0] >> 4 == 4 {
        let header = usize::from(packet[0] & 15) * 4;
        let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        assert_eq!(internet_sum(&packet[..header]), 0, "the IPv4 header's sum");
        let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
        return (address(12), address(16), packet[9], &packet[header..length]);
    }
    let length = 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]));
    let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
    let (mut next, mut at) = (packet[6], 40);
    while matches!(next, 0 | 43 | 60) {
        next = packet[at];
        at += (usize::from(packet[at + 1]) + 1) * 8;
    }
    (address(8), address(24), if packet[6] == next { packet[6] } else { next }, &packet[at..length])
}
