//! Version 1: one line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Addresses, Header, HeaderError, Parsed};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// The longest line that the specification allows, with its end.
pub(super) const LINE_MAX: usize = 107;

/// `bytes` begin like [`SIGNATURE`].
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    let window = bytes.get(..LINE_MAX).unwrap_or(bytes);
    let Some(end) = window.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if window.len() == LINE_MAX {
            Err(HeaderError::LineTooLong)
        } else {
            Ok(Parsed::Incomplete)
        };
    };
    match (window.get(end), window.get(end + 1)) {
        (Some(b'\r'), None) if window.len() < LINE_MAX => return Ok(Parsed::Incomplete),
        (Some(b'\r'), None) => return Err(HeaderError::LineTooLong),
        (Some(b'\r'), Some(b'\n')) => {}
        _ => return Err(HeaderError::LineMalformed),
    }
    let line = window.get(..end).and_then(|line| std::str::from_utf8(line).ok());
    let addresses = line.and_then(|line| line.strip_prefix("PROXY ")).and_then(addresses);
    let addresses = addresses.ok_or(HeaderError::LineMalformed)?;
    Ok(Parsed::Complete { header: Header { addresses, ..Header::default() }, consumed: end + 2 })
}

/// What stands behind `PROXY `; the outer `None` is malformed.
fn addresses(rest: &str) -> Option<Option<Addresses>> {
    let mut words = rest.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        // Whatever follows is to be ignored (§2.1).
        return Some(None);
    }
    let (source, destination) = (words.next()?, words.next()?);
    let (from, to) = (port(words.next()?)?, port(words.next()?)?);
    if words.next().is_some() {
        return None;
    }
    let ip = |text: &str| match family {
        "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    };
    Some(Some(Addresses {
        source: SocketAddr::new(ip(source)?, from),
        destination: SocketAddr::new(ip(destination)?, to),
    }))
}

/// Digits only, no leading zero, at most 65535.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_padded = text.len() > 1 && text.starts_with('0');
    if is_plain && !is_padded { text.parse().ok() } else { None }
}
