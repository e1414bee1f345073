//! `host[:port]` as Host and the authority- and absolute-forms carry it (RFC 3986 §3.2).
//!
//! Grammar only: nothing is resolved, decoded or lower-cased. Ports above 65535 are refused
//! although the grammar would take any digits.

use super::chars::{byte_table, find_either};
use std::net::Ipv6Addr;

/// Whether `bytes` is a non-empty `uri-host [":" port]`: reg-name, IPv4 or bracketed literal.
///
/// An empty port (`a:`) is what RFC 3986 §3.2.3 allows; userinfo is not a part of it.
pub fn is_authority(bytes: &[u8]) -> bool {
    let Some((host, port)) = at_port(bytes) else { return false };
    is_host(host) && port.is_none_or(|digits| digits.is_empty() || parse_port(digits).is_some())
}

/// Whether `bytes` is `uri-host ":" port` with a real port, as CONNECT wants it (RFC 9112 §3.2.3).
pub fn is_connect_authority(bytes: &[u8]) -> bool {
    at_port(bytes).is_some_and(|(host, port)| {
        is_host(host) && port.and_then(parse_port).is_some_and(|port| port != 0)
    })
}

/// Host and port of a valid authority; the host keeps its brackets.
pub fn split(authority: &str) -> (&str, Option<u16>) {
    let (host, port) = split_bytes(authority.as_bytes());
    (authority.get(..host.len()).unwrap_or(authority), port)
}

/// [`split`] for bytes.
pub(crate) fn split_bytes(authority: &[u8]) -> (&[u8], Option<u16>) {
    let Some((host, port)) = at_port(authority) else { return (authority, None) };
    (host, port.and_then(parse_port))
}

/// Splits at the colon before the port, leaving brackets alone.
#[inline]
fn at_port(bytes: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let host_end = match bytes.first()? {
        b'[' => memchr::memchr(b']', bytes)? + 1,
        _ => find_either(bytes, b':', b':'),
    };
    let (host, rest) = bytes.split_at_checked(host_end)?;
    match rest {
        [] => Some((host, None)),
        [b':', port @ ..] => Some((host, Some(port))),
        _ => None,
    }
}

fn parse_port(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() || digits.len() > 5 {
        return None;
    }
    let mut port = 0u32;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        port = port * 10 + u32::from(byte - b'0');
    }
    u16::try_from(port).ok()
}

fn is_host(host: &[u8]) -> bool {
    match host {
        [] => false,
        [b'[', literal @ .., b']'] => is_ip_literal(literal),
        _ => is_reg_name(host),
    }
}

/// RFC 3986 §3.2.2 `reg-name`, which an IPv4 address is too.
fn is_reg_name(host: &[u8]) -> bool {
    // Nearly every name; the loop below takes three times as long a byte.
    if host.iter().all(|&byte| is_unreserved_or_sub_delim(byte)) {
        return true;
    }
    let mut rest = host;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            let [a, b, tail @ ..] = rest else { return false };
            if !a.is_ascii_hexdigit() || !b.is_ascii_hexdigit() {
                return false;
            }
            rest = tail;
        } else if !is_unreserved_or_sub_delim(byte) {
            return false;
        }
    }
    true
}

/// RFC 3986 §3.2.2 `IPv6address` or `IPvFuture`; zone identifiers mean nothing to a server.
fn is_ip_literal(literal: &[u8]) -> bool {
    if let [b'v' | b'V', rest @ ..] = literal {
        let Some(dot) = memchr::memchr(b'.', rest) else { return false };
        let (version, address) = rest.split_at_checked(dot).unwrap_or((rest, &[]));
        let address = address.strip_prefix(b".").unwrap_or(&[]);
        return !version.is_empty()
            && version.iter().all(u8::is_ascii_hexdigit)
            && !address.is_empty()
            && address.iter().all(|&b| b == b':' || is_unreserved_or_sub_delim(b));
    }
    std::str::from_utf8(literal).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

#[inline]
fn is_unreserved_or_sub_delim(byte: u8) -> bool {
    REG_NAME.get(usize::from(byte)).copied().unwrap_or(false)
}

const REG_NAME: [bool; 256] = byte_table(b"-._~!$&'()*+,;=");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_of_rfc_3986_decides() {
        for good in [
            "a",
            "a.example",
            "A.Example.",
            "a..b",
            "127.0.0.1",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:8080",
            "a:",
            "a:0",
            "a:65535",
            "a_b~c!$&'()*+,;=",
            "%41",
            "[v1.a:b]",
            "[::ffff:1.2.3.4]",
        ] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            ":80",
            "a b",
            "a/b",
            "u@a",
            "a:b",
            "a:65536",
            "a:999999",
            "a:+1",
            "a:1:2",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]80",
            "[]",
            "[::1%25eth0]",
            "[v.a]",
            "[v1.]",
            "%4",
            "%zz",
            "a\"b",
            "a<b",
            "ä",
            "a?b",
            "a#b",
            "[a]",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn connect_needs_a_port() {
        assert!(is_connect_authority(b"a:443") && is_connect_authority(b"[::1]:443"));
        for bad in ["a", "a:", "a:0", ":443", "u@a:443", "http://a:443"] {
            assert!(!is_connect_authority(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn host_and_port_come_apart() {
        assert_eq!(split("a.example:8080"), ("a.example", Some(8080)));
        assert_eq!(split("[::1]:80"), ("[::1]", Some(80)));
        assert_eq!(split("[::1]"), ("[::1]", None));
        assert_eq!(split("a:"), ("a", None));
    }
}
