//! Version 2: a binary header with TLVs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use super::{Addresses, Header, HeaderError, LENGTH_MAX, Parsed};
use crate::base::crc::CRC32C;

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version with command, family with kind, length.
pub(super) const FIXED: usize = 16;

/// `bytes` begin like [`SIGNATURE`].
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    // Each byte is judged when it is there: what can't become a header isn't waited for.
    let command = match bytes.get(12) {
        None => return Ok(Parsed::Incomplete),
        Some(0x20) => Command::Local,
        Some(0x21) => Command::Proxy,
        Some(_) => return Err(HeaderError::Unknown),
    };
    let Some(family) = bytes.get(13).copied() else { return Ok(Parsed::Incomplete) };
    let needed = match (command, family) {
        // The family of LOCAL is to be ignored (§2.2).
        (Command::Local, _) | (Command::Proxy, 0x00) => 0,
        (Command::Proxy, 0x11 | 0x12) => V4,
        (Command::Proxy, 0x21 | 0x22) => V6,
        (Command::Proxy, 0x31 | 0x32) => UNIX,
        (Command::Proxy, _) => return Err(HeaderError::Unknown),
    };
    let Some(&[high, low]) = bytes.get(14..FIXED) else { return Ok(Parsed::Incomplete) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LENGTH_MAX {
        return Err(HeaderError::TooLong);
    }
    if length < needed {
        return Err(HeaderError::Truncated);
    }
    let consumed = FIXED + length;
    let Some(whole) = bytes.get(..consumed) else { return Ok(Parsed::Incomplete) };
    let mut header = Header::default();
    if command == Command::Proxy {
        header.addresses = addresses(whole.get(FIXED..).unwrap_or_default(), family);
        tlvs(whole, FIXED + needed, &mut header)?;
    }
    Ok(Parsed::Complete { header, consumed })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Local,
    Proxy,
}

fn addresses(block: &[u8], family: u8) -> Option<Addresses> {
    let (first, second): (IpAddr, IpAddr) = match family >> 4 {
        1 => {
            let ip = |at| Some(Ipv4Addr::from(block.get(at..at + 4)?.first_chunk::<4>().copied()?));
            (ip(0)?.into(), ip(4)?.into())
        }
        2 => {
            let ip =
                |at| Some(Ipv6Addr::from(block.get(at..at + 16)?.first_chunk::<16>().copied()?));
            (ip(0)?.into(), ip(16)?.into())
        }
        _ => return None,
    };
    let ports = if family >> 4 == 1 { 8 } else { 32 };
    let &[a, b, c, d] = block.get(ports..ports + 4)?.first_chunk::<4>()?;
    Some(Addresses {
        source: SocketAddr::new(first, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(second, u16::from_be_bytes([c, d])),
    })
}

/// Walks over the TLVs from `at` to the end of `whole`.
fn tlvs(whole: &[u8], mut at: usize, header: &mut Header) -> Result<(), HeaderError> {
    let mut checksum = None;
    while at < whole.len() {
        let Some(&[kind, high, low]) = whole.get(at..at + 3) else {
            return Err(HeaderError::Truncated);
        };
        let start = at + 3;
        let end = start + usize::from(u16::from_be_bytes([high, low]));
        if end > whole.len() {
            return Err(HeaderError::Truncated);
        }
        let value = start..end;
        match kind {
            TYPE_ALPN => once(&mut header.alpn, value, ALPN_MAX)?,
            TYPE_AUTHORITY => once(&mut header.authority, value, AUTHORITY_MAX)?,
            TYPE_UNIQUE_ID => once(&mut header.unique_id, value, UNIQUE_ID_MAX)?,
            TYPE_CRC32C if value.len() != 4 => return Err(HeaderError::TlvMalformed),
            TYPE_CRC32C => once(&mut checksum, value, 4)?,
            // NOOP, SSL, NETNS and what others define: not ours to judge.
            _ => {}
        }
        at = end;
    }
    checksum.map_or(Ok(()), |place| check(whole, place))
}

fn once(
    field: &mut Option<Range<usize>>,
    value: Range<usize>,
    most: usize,
) -> Result<(), HeaderError> {
    if value.is_empty() || value.len() > most || field.replace(value).is_some() {
        return Err(HeaderError::TlvMalformed);
    }
    Ok(())
}

/// The checksum is that of the header with zeros in its own place (§2.2.4).
fn check(whole: &[u8], place: Range<usize>) -> Result<(), HeaderError> {
    let part = |range: Range<usize>| whole.get(range).unwrap_or_default();
    let own = CRC32C
        .begin()
        .update(part(0..place.start))
        .update(&[0; 4])
        .update(part(place.end..whole.len()))
        .finish();
    if part(place) == own.to_be_bytes() { Ok(()) } else { Err(HeaderError::ChecksumWrong) }
}

/// Bytes of the address block.
pub(super) const V4: usize = 12;
pub(super) const V6: usize = 36;
const UNIX: usize = 216;

pub(super) const TYPE_ALPN: u8 = 0x01;
pub(super) const TYPE_AUTHORITY: u8 = 0x02;
pub(super) const TYPE_CRC32C: u8 = 0x03;
pub(super) const TYPE_UNIQUE_ID: u8 = 0x05;

/// An ALPN protocol's name is at most this long (RFC 7301 §3.1).
pub(super) const ALPN_MAX: usize = 255;
/// A host name is.
pub(super) const AUTHORITY_MAX: usize = 255;
/// The specification's bound.
pub(super) const UNIQUE_ID_MAX: usize = 128;
