//! Control messages of datagrams: the size of joined ones, and which of the machine's addresses they
//! came to or go out from.
//!
//! Each is a length, a level and a type, then its data, aligned to 8 bytes (cmsg(3)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Room for control messages, aligned as they want to be.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct Control([u8; CONTROL_SIZE]);

impl Control {
    pub(super) const EMPTY: Self = Self([0; CONTROL_SIZE]);

    /// Lets `header` bring its control messages here.
    pub(super) fn receive_into(&mut self, header: &mut libc::msghdr) {
        header.msg_control = self.0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_SIZE;
    }

    /// What the control messages in the first `length` bytes say.
    pub(super) fn said(&self, length: usize) -> Said {
        let mut said = Said::default();
        let mut rest = self.0.get(..length).unwrap_or_default();
        while let Some((head, data)) = rest.split_first_chunk::<CMSG_HEAD>() {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *head;
            let whole = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
            let level = i32::from_ne_bytes([i, j, k, l]);
            let kind = i32::from_ne_bytes([m, n, o, p]);
            let Ok(whole) = usize::try_from(whole) else { break };
            let Some(data) = whole.checked_sub(CMSG_HEAD).and_then(|length| data.get(..length))
            else {
                break;
            };
            said.take(level, kind, data);
            rest = rest.get(whole.next_multiple_of(8)..).unwrap_or_default();
        }
        said
    }

    /// Writes the control messages of a send and attaches them, if it has any.
    pub(super) fn attach(&mut self, header: &mut libc::msghdr, segment: u16, from: Option<IpAddr>) {
        let mut used = 0;
        let mut put = |level: i32, kind: i32, data: &[u8]| {
            let whole = CMSG_HEAD + data.len();
            let Some(place) = self.0.get_mut(used..used + whole) else { return };
            let (head, body) = place.split_at_mut(CMSG_HEAD);
            head[..8].copy_from_slice(&(whole as u64).to_ne_bytes());
            head[8..12].copy_from_slice(&level.to_ne_bytes());
            head[12..].copy_from_slice(&kind.to_ne_bytes());
            body.copy_from_slice(data);
            used += whole.next_multiple_of(8);
        };
        if segment > 0 {
            put(libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
        }
        match from {
            Some(IpAddr::V4(ip)) => {
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&ip.octets());
                put(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            Some(IpAddr::V6(ip)) => {
                let mut info = [0; 20];
                info[..16].copy_from_slice(&ip.octets());
                put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            None => {}
        }
        if used > 0 {
            header.msg_control = self.0.as_mut_ptr().cast();
            header.msg_controllen = used;
        }
    }
}

/// What control messages say.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Size of each of the joined datagrams; 0: there was one.
    pub(super) segment: u16,
    /// The address that was sent to.
    pub(super) destination: Option<IpAddr>,
}

impl Said {
    fn take(&mut self, level: i32, kind: i32, data: &[u8]) {
        match (level, kind) {
            (libc::SOL_UDP, libc::UDP_GRO) => {
                let size = data.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
                self.segment = u16::try_from(size).unwrap_or(0);
            }
            // in_pktinfo: interface, local address, destination of the header.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let octets = data.get(8..12).and_then(<[u8]>::first_chunk::<4>);
                self.destination = octets.map(|octets| Ipv4Addr::from(*octets).into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let octets = data.first_chunk::<16>();
                self.destination = octets.map(|octets| Ipv6Addr::from(*octets).into());
            }
            _ => {}
        }
    }
}

/// Length, level and type before a control message's data.
const CMSG_HEAD: usize = 16;
/// Room for a segment's size and an IPv6 address with its interface.
const CONTROL_SIZE: usize = 24 + 40;

const _: () = assert!(size_of::<libc::cmsghdr>() == CMSG_HEAD, "64-bit Linux");
