//! Asking the kernel about interfaces, routes and neighbours, by rtnetlink.
//!
//! ```text
//!   request: header │ family struct │ attributes ─▶ kernel ─▶ messages of the same shape, then DONE or ERROR
//! ```
//!
//! Reads only, so it takes no capability. Blocks for at most a second; the kernel answers at once.
//! Messages come from the kernel, but lengths are checked all the same.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

/// A conversation with the kernel.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) mtu: u32,
    pub(super) mac: Option<[u8; 6]>,
    /// The interface that it lies on: a VLAN's.
    pub(super) below: Option<u32>,
    pub(super) queues: Queues,
}

/// How many queues an interface has, each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Queues {
    pub(super) receive: u32,
    pub(super) send: u32,
}

/// The way to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    /// The interface it leaves by.
    pub(super) interface: u32,
    /// The router on the way; none when the address is on the link.
    pub(super) router: Option<IpAddr>,
    /// Our address that packets would have.
    pub(super) source: Option<IpAddr>,
}

/// What is known of an address on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub(super) interface: u32,
    pub(super) address: IpAddr,
    /// None while it is being asked for, or when nobody answers.
    pub(super) mac: Option<[u8; 6]>,
    /// Heard of lately.
    pub(super) is_fresh: bool,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let route = Protocol::from(libc::NETLINK_ROUTE);
        let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(route))?;
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER] })
    }

    /// The interface of that name.
    pub(super) fn interface(&mut self, name: &str) -> io::Result<Interface> {
        let mut body = vec![0; IFINFO];
        let mut text = name.as_bytes().to_vec();
        text.push(0);
        attribute(&mut body, IFLA_IFNAME, &text);
        let mut found = None;
        self.ask(RTM_GETLINK, 0, &body, |body| found = interface(body))?;
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The interface of that index.
    pub(super) fn interface_of(&mut self, index: u32) -> io::Result<Interface> {
        let mut body = vec![0; IFINFO];
        body[4..8].copy_from_slice(&index.to_ne_bytes());
        let mut found = None;
        self.ask(RTM_GETLINK, 0, &body, |body| found = interface(body))?;
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The way that packets to `address` take.
    pub(super) fn route(&mut self, address: IpAddr) -> io::Result<Route> {
        let octets = octets(address);
        let bits = u8::try_from(octets.len() * 8).unwrap_or(0);
        let mut body = vec![0; RTMSG];
        body[0] = family(address);
        body[1] = bits;
        attribute(&mut body, RTA_DST, &octets);
        let mut found = None;
        self.ask(RTM_GETROUTE, 0, &body, |body| found = route(body))?;
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Everybody that is known on any link.
    pub(super) fn neighbours(&mut self) -> io::Result<Vec<Neighbour>> {
        let mut all = Vec::new();
        self.ask(RTM_GETNEIGH, NLM_F_DUMP, &[0; NDMSG], |body| all.extend(neighbour(body)))?;
        Ok(all)
    }

    /// Sends one request and hands every answer's body to `each`.
    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0_u32.to_ne_bytes());
        message.extend(body);
        (&self.socket).write_all(&message)?;
        let is_dump = flags & NLM_F_DUMP != 0;
        loop {
            let count = (&self.socket).read(&mut self.buffer)?;
            let mut rest = &self.buffer[..count];
            while let Some((message, after)) = split(rest) {
                rest = after;
                if message.sequence != self.sequence {
                    continue;
                }
                match message.kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return error_of(message.body),
                    _ => each(message.body),
                }
                if !is_dump {
                    return Ok(());
                }
            }
        }
    }
}

struct Message<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

/// The first message of `bytes`, and what follows it.
fn split(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let length = number32(bytes, 0)? as usize;
    let body = bytes.get(HEADER..length)?;
    let kind = number16(bytes, 4)?;
    let sequence = number32(bytes, 8)?;
    let after = bytes.get(aligned(length)..).unwrap_or(&[]);
    Some((Message { kind, sequence, body }, after))
}

/// The attributes behind a fixed part.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(number16(bytes, 0)?);
        let kind = number16(bytes, 2)? & NLA_TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(aligned(length)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

fn interface(body: &[u8]) -> Option<Interface> {
    let mut interface = Interface {
        index: number32(body, 4)?,
        mtu: 0,
        mac: None,
        below: None,
        queues: Queues::default(),
    };
    for (kind, value) in attributes(body.get(IFINFO..)?) {
        match kind {
            IFLA_MTU => interface.mtu = number32(value, 0)?,
            IFLA_ADDRESS => interface.mac = value.try_into().ok(),
            IFLA_LINK => interface.below = number32(value, 0),
            IFLA_NUM_TX_QUEUES => interface.queues.send = number32(value, 0)?,
            IFLA_NUM_RX_QUEUES => interface.queues.receive = number32(value, 0)?,
            _ => {}
        }
    }
    Some(interface)
}

fn route(body: &[u8]) -> Option<Route> {
    let mut route = Route { interface: 0, router: None, source: None };
    for (kind, value) in attributes(body.get(RTMSG..)?) {
        match kind {
            RTA_OIF => route.interface = number32(value, 0)?,
            RTA_GATEWAY => route.router = address(value),
            RTA_PREFSRC => route.source = address(value),
            _ => {}
        }
    }
    (route.interface != 0).then_some(route)
}

fn neighbour(body: &[u8]) -> Option<Neighbour> {
    let interface = number32(body, 4)?;
    let state = number16(body, 8)?;
    let mut found = None;
    let mut mac = None;
    for (kind, value) in attributes(body.get(NDMSG..)?) {
        match kind {
            NDA_DST => found = address(value),
            NDA_LLADDR => mac = value.try_into().ok(),
            _ => {}
        }
    }
    let is_known = state & (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT) != 0;
    let is_fresh = state & (NUD_REACHABLE | NUD_PERMANENT) != 0;
    Some(Neighbour { interface, address: found?, mac: mac.filter(|_| is_known), is_fresh })
}

fn error_of(body: &[u8]) -> io::Result<()> {
    match number32(body, 0).map(u32::cast_signed) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn address(value: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(value) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(value).ok().map(|v6| Ipv6Addr::from(v6).into())
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    u8::try_from(family).unwrap_or(0)
}

fn attribute(into: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    into.extend(length.to_ne_bytes());
    into.extend(kind.to_ne_bytes());
    into.extend(value);
    into.resize(aligned(into.len()), 0);
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn number32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn number16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The kernel answers a request before the write returns; longer means that something is wrong.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// The kernel fills dumps in pieces of 32 KiB at most.
const BUFFER: usize = 64 * 1024;

/// `struct nlmsghdr`, `ifinfomsg`, `rtmsg`, `ndmsg`.
const HEADER: usize = 16;
const IFINFO: usize = 16;
const RTMSG: usize = 12;
const NDMSG: usize = 12;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLA_TYPE_MASK: u16 = 0x3fff;
const RTM_GETLINK: u16 = 18;
const RTM_GETROUTE: u16 = 26;
const RTM_GETNEIGH: u16 = 30;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_REACHABLE: u16 = 0x02;
const NUD_STALE: u16 = 0x04;
const NUD_DELAY: u16 = 0x08;
const NUD_PROBE: u16 = 0x10;
const NUD_PERMANENT: u16 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_found() {
        let mut netlink = Netlink::open().unwrap();
        let lo = netlink.interface("lo").unwrap();
        assert!(lo.mtu >= 1280);
        assert_eq!(netlink.interface_of(lo.index).unwrap(), lo);
        assert!(netlink.interface("no-such-thing").is_err());
    }

    #[test]
    fn the_way_to_loopback_is_loopback() {
        let mut netlink = Netlink::open().unwrap();
        let lo = netlink.interface("lo").unwrap();
        let route = netlink.route("127.0.0.1".parse().unwrap()).unwrap();
        assert_eq!((route.interface, route.router), (lo.index, None));
        assert_eq!(route.source, Some("127.0.0.1".parse().unwrap()));
        netlink.neighbours().unwrap();
    }

    #[test]
    fn cut_messages_end_the_walk() {
        let mut message = vec![0; NDMSG];
        attribute(&mut message, NDA_DST, &[10, 0, 0, 1]);
        attribute(&mut message, NDA_LLADDR, &[1, 2, 3, 4, 5, 6]);
        message[8] = 2;
        let whole = neighbour(&message).unwrap();
        assert_eq!(whole.mac, Some([1, 2, 3, 4, 5, 6]));
        for length in 0..message.len() {
            // Whatever is missing, nothing panics and nothing is made up.
            let found = neighbour(&message[..length]);
            assert!(found.is_none_or(|found| found.mac.is_none() || found == whole));
            assert!(split(&message[..length]).is_none());
        }
    }
}
