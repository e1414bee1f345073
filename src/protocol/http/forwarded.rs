//! X-Forwarded-For and Forwarded (RFC 7239): reading addresses out and writing our own element.
//!
//! Whom to believe is the proxy's decision (`trusted_proxies`); [`client`] does the walk once it
//! is made. Names and obfuscated identifiers (`unknown`, `_hidden`) are no addresses and end it:
//! nothing before them can be vouched for.

use super::chars::{is_token_byte, trim};
use crate::base::address::{UNIX_CLIENT, UNIX_CLIENT_TEXT};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The client's address: from the right, the first that isn't trusted; the leftmost if all are.
///
/// `nearest` is who is connected to us. `hops` yields what each trusted proxy said, nearest
/// first ([`x_forwarded_for`], [`forwarded_for`]). Stops at the first entry that is no address.
pub fn client(
    nearest: IpAddr,
    hops: impl Iterator<Item = Option<IpAddr>>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut client = nearest;
    for hop in hops.take(HOPS_MAX) {
        match hop {
            Some(address) if is_trusted(client) => client = address,
            _ => break,
        }
    }
    client
}

/// Hops looked at; a longer chain is somebody's game.
pub const HOPS_MAX: usize = 64;

/// The addresses of all X-Forwarded-For values, rightmost first; `None` for what is no address.
///
/// `values` are the field's lines in wire order. Ports, which some proxies add, are dropped.
pub fn x_forwarded_for<'a>(
    values: impl DoubleEndedIterator<Item = &'a [u8]>,
) -> impl Iterator<Item = Option<IpAddr>> {
    values.rev().flat_map(|value| value.rsplit(|&b| b == b',')).map(|entry| parse_node(trim(entry)))
}

/// The `for` addresses of all Forwarded values, rightmost first; `None` for an element that is
/// malformed or holds no address. An open quote swallows what follows it up to the line's end, so
/// a client can't hide the element that a trusted proxy appended: the walk ends there.
pub fn forwarded_for<'a>(
    values: impl DoubleEndedIterator<Item = &'a [u8]>,
) -> impl Iterator<Item = Option<IpAddr>> {
    values.rev().flat_map(|value| RightToLeft { rest: Some(value) }).map(|element| {
        let element = Element::parse(element?)?;
        element.node.and_then(unquoted).and_then(parse_node)
    })
}

/// One forwarded-element, its values as they came (quotes included).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Element<'a> {
    /// `for=`
    pub node: Option<&'a [u8]>,
    /// `by=`
    pub by: Option<&'a [u8]>,
    /// `host=`
    pub host: Option<&'a [u8]>,
    /// `proto=`
    pub proto: Option<&'a [u8]>,
}

impl<'a> Element<'a> {
    /// Reads `name=value *( ";" name=value )`; `None` if it isn't that or names one twice.
    pub fn parse(element: &'a [u8]) -> Option<Self> {
        let mut parsed = Self::default();
        for pair in split_outside_quotes(element, b';') {
            let pair = trim(pair);
            if pair.is_empty() {
                continue;
            }
            let equals = memchr::memchr(b'=', pair)?;
            let (name, value) = (pair.get(..equals)?, pair.get(equals + 1..)?);
            if name.is_empty() || !name.iter().all(|&b| is_token_byte(b)) || !is_word(value) {
                return None;
            }
            let slot = match Parameter::of(name) {
                Parameter::For => &mut parsed.node,
                Parameter::By => &mut parsed.by,
                Parameter::Host => &mut parsed.host,
                Parameter::Proto => &mut parsed.proto,
                Parameter::Extension => continue,
            };
            if slot.replace(value).is_some() {
                return None;
            }
        }
        Some(parsed)
    }
}

/// Without the quotes; `None` if escapes make a copy necessary, which no address needs.
pub fn unquoted(value: &[u8]) -> Option<&[u8]> {
    match value {
        [b'"', inner @ .., b'"'] => (!inner.contains(&b'\\')).then_some(inner),
        _ => Some(value),
    }
}

/// An address as X-Forwarded-For holds it, in place: IPv4-mapped IPv6 is written as IPv4.
#[derive(Debug, Clone, Copy)]
pub struct AddressText {
    bytes: [u8; ADDRESS_BYTES_MAX],
    len: usize,
}

/// The longest text of an IPv6 address.
const ADDRESS_BYTES_MAX: usize = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".len();

impl AddressText {
    /// Writes `address`, for IPv4 without the formatter: this is done for every request.
    pub fn new(address: IpAddr) -> Self {
        let mut text = Self { bytes: [0; ADDRESS_BYTES_MAX], len: 0 };
        match address.to_canonical() {
            // As nginx writes it.
            UNIX_CLIENT => text.push(UNIX_CLIENT_TEXT.as_bytes()),
            IpAddr::V4(address) => text.push_v4(address),
            IpAddr::V6(address) => {
                let mut rest = text.bytes.as_mut_slice();
                // Can't fail: an address's text has no zone and fits.
                if write!(rest, "{address}").is_ok() {
                    text.len = ADDRESS_BYTES_MAX - rest.len();
                }
            }
        }
        text
    }

    fn push(&mut self, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
            self.len = bytes.len();
        }
    }

    fn push_v4(&mut self, address: Ipv4Addr) {
        for octet in address.octets() {
            let (text, len) = DOTTED.get(usize::from(octet)).copied().unwrap_or_default();
            if let Some(place) = self.bytes.get_mut(self.len..self.len + text.len()) {
                place.copy_from_slice(&text);
                self.len += usize::from(len);
            }
        }
        // Without the last dot.
        self.len -= 1;
    }
}

/// Every octet's digits and a dot, and how many bytes these are.
const DOTTED: [([u8; 4], u8); 256] = dotted();

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn dotted() -> [([u8; 4], u8); 256] {
    let mut table = [([0; 4], 0); 256];
    let mut octet = 0u8;
    loop {
        let (a, b, c) = (b'0' + octet / 100, b'0' + octet / 10 % 10, b'0' + octet % 10);
        table[octet as usize] = match octet {
            0..10 => ([c, b'.', 0, 0], 2),
            10..100 => ([b, c, b'.', 0], 3),
            100.. => ([a, b, c, b'.'], 4),
        };
        if octet == u8::MAX {
            return table;
        }
        octet += 1;
    }
}

impl AsRef<[u8]> for AddressText {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// Appends `address` to the X-Forwarded-For `text` (comma first unless it is empty).
pub fn append_x_forwarded_for(text: &mut String, address: IpAddr) {
    if !text.is_empty() {
        text.push_str(", ");
    }
    text.extend(AddressText::new(address).as_ref().iter().map(|&byte| char::from(byte)));
}

/// Appends our element to the Forwarded `text`: `for=…;host=…;proto=…`.
///
/// The client of a Unix socket is `unknown`, IPv6 goes in brackets and quotes (RFC 7239 §6); a host
/// is quoted unless it is a token. A host that couldn't be quoted safely (a control in it) is left
/// out.
pub fn append_forwarded(text: &mut String, client: IpAddr, host: Option<&str>, proto: &str) {
    if !text.is_empty() {
        text.push_str(", ");
    }
    // Writing to a String can't fail.
    let _ = match client.to_canonical() {
        UNIX_CLIENT => write!(text, "for=unknown"),
        IpAddr::V4(address) => write!(text, "for={address}"),
        IpAddr::V6(address) => write!(text, "for=\"[{address}]\""),
    };
    if let Some(host) = host.filter(|host| !host.bytes().any(|b| b.is_ascii_control())) {
        text.push_str(";host=");
        push_word(text, host);
    }
    text.push_str(";proto=");
    push_word(text, proto);
}

fn push_word(text: &mut String, word: &str) {
    if !word.is_empty() && word.bytes().all(is_token_byte) {
        text.push_str(word);
        return;
    }
    text.push('"');
    for c in word.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
}

/// `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]`, `[::1]:80`; IPv4-mapped IPv6 becomes IPv4.
pub fn parse_node(node: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(node).ok()?;
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let port_is_fine = port.is_empty() || port.strip_prefix(':').is_some_and(is_node_port);
        return port_is_fine
            .then(|| address.parse::<Ipv6Addr>().ok())
            .flatten()
            .map(|a| IpAddr::V6(a).to_canonical());
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let (address, port) = text.split_once(':')?;
    if !is_node_port(port) {
        return None;
    }
    address.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

/// RFC 7239 §6.3: a port, or an obfuscated one.
fn is_node_port(port: &str) -> bool {
    let obfuscated = port.starts_with('_') && port.len() > 1;
    let digits = !port.is_empty() && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    obfuscated || digits
}

/// A token or a whole quoted-string. Addresses with colons must be quoted, but lenient senders
/// forget it, and nothing is ambiguous about `for=1.2.3.4:80`.
fn is_word(value: &[u8]) -> bool {
    match value {
        [] => false,
        [b'"', inner @ .., b'"'] => {
            let mut escaped = false;
            for &byte in inner {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => return false,
                    _ => {}
                }
            }
            !escaped
        }
        _ => value.iter().all(|&b| is_token_byte(b) || matches!(b, b':' | b'[' | b']')),
    }
}

enum Parameter {
    For,
    By,
    Host,
    Proto,
    Extension,
}

impl Parameter {
    fn of(name: &[u8]) -> Self {
        let named =
            [("for", Self::For), ("by", Self::By), ("host", Self::Host), ("proto", Self::Proto)];
        let found = named.into_iter().find(|(text, _)| name.eq_ignore_ascii_case(text.as_bytes()));
        found.map_or(Self::Extension, |(_, parameter)| parameter)
    }
}

/// Splits at `separator` where no quoted-string is open.
fn split_outside_quotes(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(move |&byte| {
        if escaped {
            escaped = false;
            return false;
        }
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => escaped = true,
            _ => {}
        }
        byte == separator && !quoted
    })
}

/// The elements of a Forwarded value from the right, without copying: each step splits the rest
/// from the left and keeps its last. Quadratic in elements, and values are bounded by the head.
struct RightToLeft<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for RightToLeft<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest?;
        let last = split_outside_quotes(rest, b',').last()?;
        let left = rest.len() - last.len();
        self.rest = left.checked_sub(1).and_then(|end| rest.get(..end));
        Some(Some(last).filter(|element| !trim(element).is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn nodes_are_addresses_or_nothing() {
        for (node, address) in [
            ("192.0.2.43", "192.0.2.43"),
            ("192.0.2.43:47011", "192.0.2.43"),
            ("192.0.2.43:_x", "192.0.2.43"),
            ("[2001:db8::17]:4711", "2001:db8::17"),
            ("[2001:db8::17]", "2001:db8::17"),
            ("2001:db8::17", "2001:db8::17"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(parse_node(node.as_bytes()), Some(ip(address)), "{node}");
        }
        for node in [
            "",
            "unknown",
            "_hidden",
            "a.example",
            "[::1",
            "[::1]x",
            "1.2.3.4:",
            "1.2.3",
            "1.2.3.4:999999",
            "[1.2.3.4]",
        ] {
            assert_eq!(parse_node(node.as_bytes()), None, "{node}");
        }
    }

    #[test]
    fn x_forwarded_for_is_read_from_the_right() {
        let values = [&b"1.1.1.1, 2.2.2.2"[..], b"3.3.3.3,unknown, [::1]:80"];
        let found: Vec<_> = x_forwarded_for(values.into_iter()).collect();
        let expected = [Some("::1"), None, Some("3.3.3.3"), Some("2.2.2.2"), Some("1.1.1.1")];
        assert_eq!(found, expected.map(|a| a.map(ip)));
    }

    #[test]
    fn forwarded_elements_survive_quotes() {
        let values = [
            &b"for=1.1.1.1;proto=http, For=\"[2001:db8::1]:4711\";host=\"a,b;c\";by=_x"[..],
            b"for=_hidden, proto=https",
        ];
        let found: Vec<_> = forwarded_for(values.into_iter()).collect();
        assert_eq!(found, [None, None, Some(ip("2001:db8::1")), Some(ip("1.1.1.1"))]);
        let element = Element::parse(b" for=\"[::1]\" ; host=\"a,b;c\"").unwrap();
        assert_eq!(element.host, Some(&b"\"a,b;c\""[..]));
        assert_eq!(element.node.and_then(unquoted), Some(&b"[::1]"[..]));
        for bad in
            ["for", "for=", "=a", "for=a;for=b", "for=\"a", "for=\"a\\\"", "f r=a", "for=a b"]
        {
            assert_eq!(Element::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn the_client_is_the_first_untrusted_from_the_right() {
        let trusted = |a: IpAddr| a.to_string().starts_with("10.");
        let walk = |nearest: &str, chain: &[u8]| {
            client(ip(nearest), x_forwarded_for([chain].into_iter()), trusted)
        };
        assert_eq!(
            walk("9.9.9.9", b"1.1.1.1"),
            ip("9.9.9.9"),
            "an untrusted client may say what it likes"
        );
        assert_eq!(walk("10.0.0.1", b"1.1.1.1"), ip("1.1.1.1"));
        assert_eq!(walk("10.0.0.1", b"6.6.6.6, 1.1.1.1, 10.0.0.2"), ip("1.1.1.1"));
        assert_eq!(walk("10.0.0.1", b"1.1.1.1, unknown, 10.0.0.2"), ip("10.0.0.2"));
        assert_eq!(walk("10.0.0.1", b"10.0.0.3"), ip("10.0.0.3"));
        assert_eq!(walk("10.0.0.1", b""), ip("10.0.0.1"));
    }

    #[test]
    fn what_we_write_can_be_read() {
        let mut text = String::new();
        append_forwarded(&mut text, ip("2001:db8::1"), Some("a.example:8080"), "https");
        append_forwarded(&mut text, ip("192.0.2.1"), Some("a\"b"), "http");
        append_forwarded(&mut text, ip("::ffff:192.0.2.2"), Some("a\r\nb"), "http");
        let expected = "for=\"[2001:db8::1]\";host=\"a.example:8080\";proto=https, \
                        for=192.0.2.1;host=\"a\\\"b\";proto=http, for=192.0.2.2;proto=http";
        assert_eq!(text, expected);
        let found: Vec<_> = forwarded_for([text.as_bytes()].into_iter()).collect();
        assert_eq!(found, ["192.0.2.2", "192.0.2.1", "2001:db8::1"].map(|a| Some(ip(a))));
        for address in
            ["0.0.0.1", "1.20.100.255", "2001:db8::", "::ffff:1.2.3.4", "1:2:3:4:5:6:7:8"]
        {
            let expected = ip(address).to_canonical().to_string();
            assert_eq!(AddressText::new(ip(address)).as_ref(), expected.as_bytes());
        }
        for octet in 0..=255 {
            let address = Ipv4Addr::new(octet, 9, octet, octet);
            let text = AddressText::new(address.into());
            assert_eq!(text.as_ref(), address.to_string().as_bytes());
        }
        let longest = "fd00:1111:2222:3333:4444:5555:6666:7777";
        assert_eq!(AddressText::new(ip(longest)).as_ref(), longest.as_bytes());
        let mut text = String::new();
        append_x_forwarded_for(&mut text, ip("2001:db8::1"));
        append_x_forwarded_for(&mut text, ip("::ffff:192.0.2.2"));
        append_x_forwarded_for(&mut text, UNIX_CLIENT);
        assert_eq!(text, "2001:db8::1, 192.0.2.2, unix:");
        text.clear();
        append_forwarded(&mut text, UNIX_CLIENT, None, "http");
        assert_eq!(text, "for=unknown;proto=http");
    }
}
