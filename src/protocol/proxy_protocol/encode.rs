//! Writing headers, for the connections that we open.

use std::io::Write;
use std::net::IpAddr;

use super::{Addresses, v2};
use crate::base::crc::CRC32C;

/// What a header says about a connection.
#[derive(Debug, Clone, Copy)]
pub struct Announcement<'a> {
    /// The client's address and the one it connected to.
    pub addresses: Addresses,
    /// What the connection carries.
    pub transport: Transport,
    /// The protocol negotiated by ALPN. Not sent when empty or above 255 bytes.
    pub alpn: Option<&'a [u8]>,
    /// The name that the client asked for (SNI). Not sent when empty or above 255 bytes.
    pub authority: Option<&'a [u8]>,
    /// The connection's id. Not sent when empty or above 128 bytes.
    pub unique_id: Option<&'a [u8]>,
}

/// The kind of the announced connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Stream,
    /// UDP.
    Datagram,
}

/// Appends a version 1 line: addresses only.
pub fn encode_v1(addresses: &Addresses, out: &mut Vec<u8>) {
    let (source, destination) = same_family(addresses);
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (addresses.source.port(), addresses.destination.port());
    // Writing into a vector can't fail.
    let _written = write!(out, "PROXY {family} {source} {destination} {from} {to}\r\n");
}

/// Appends a version 2 header with its TLVs, the last of them a CRC-32C over the whole.
pub fn encode_v2(announcement: &Announcement<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    let (source, destination) = same_family(&announcement.addresses);
    let kind = match announcement.transport {
        Transport::Stream => 1,
        Transport::Datagram => 2,
    };
    let family = if source.is_ipv4() { 0x10 } else { 0x20 };
    out.extend_from_slice(v2::SIGNATURE);
    out.extend_from_slice(&[0x21, family | kind, 0, 0]);
    for ip in [source, destination] {
        match ip {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
    }
    let Addresses { source, destination } = announcement.addresses;
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
    tlv(out, v2::TYPE_ALPN, announcement.alpn, v2::ALPN_MAX);
    tlv(out, v2::TYPE_AUTHORITY, announcement.authority, v2::AUTHORITY_MAX);
    tlv(out, v2::TYPE_UNIQUE_ID, announcement.unique_id, v2::UNIQUE_ID_MAX);
    tlv(out, v2::TYPE_CRC32C, Some(&[0; 4]), 4);
    let length = u16::try_from(out.len() - start - v2::FIXED).unwrap_or(u16::MAX);
    if let Some(place) = out.get_mut(start + 14..start + 16) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    let checksum = CRC32C.of(out.get(start..).unwrap_or_default());
    if let Some(place) = out.last_chunk_mut::<4>() {
        *place = checksum.to_be_bytes();
    }
}

/// Appends a version 1 line that speaks for ourselves: a health probe's.
pub fn encode_local_v1(out: &mut Vec<u8>) {
    out.extend_from_slice(b"PROXY UNKNOWN\r\n");
}

/// Appends a version 2 header that speaks for ourselves (LOCAL): a health probe's.
pub fn encode_local_v2(out: &mut Vec<u8>) {
    out.extend_from_slice(v2::SIGNATURE);
    out.extend_from_slice(&[0x20, 0, 0, 0]);
}

fn tlv(out: &mut Vec<u8>, kind: u8, value: Option<&[u8]>, most: usize) {
    let Some(value) = value.filter(|value| !value.is_empty() && value.len() <= most) else {
        return;
    };
    out.push(kind);
    out.extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(value);
}

/// Both in one family: IPv4 if both are (mapped ones count), else IPv6.
fn same_family(addresses: &Addresses) -> (IpAddr, IpAddr) {
    let (source, destination) = (addresses.source.ip(), addresses.destination.ip());
    match (source.to_canonical(), destination.to_canonical()) {
        both @ (IpAddr::V4(_), IpAddr::V4(_)) => both,
        (source, destination) => (mapped(source), mapped(destination)),
    }
}

fn mapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
        IpAddr::V6(_) => ip,
    }
}
