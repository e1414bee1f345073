//! Addresses, header names and values: texts that several tables have in common.

use std::net::{IpAddr, SocketAddr};

use crate::base::address::{Address, UnixPath};
use crate::base::cidr::Cidr;
use crate::base::name::is_token;
use crate::base::path::normalized_path;
use crate::config::fields::Value;
use crate::config::place::Place;
use crate::config::raw::{Kind, quoted};

/// An address to listen on: IP and port, or a Unix socket.
pub(super) fn listen_address(value: &Value<'_>) -> Option<Address> {
    match unix_path(value)? {
        Some(path) => Some(Address::Unix(path)),
        None => listen_ip(value).map(Address::Ip),
    }
}

/// An address to listen on: IP and port.
pub(super) fn listen_ip(value: &Value<'_>) -> Option<SocketAddr> {
    let what = "an address to listen on, such as `0.0.0.0:80` or `[::]:80`";
    address(value, what, "is a host name; give an IP address")
}

/// The address of an endpoint: IP and port, or a Unix socket; no name.
pub(super) fn endpoint_address(value: &Value<'_>) -> Option<Address> {
    if let Some(path) = unix_path(value)? {
        return Some(Address::Unix(path));
    }
    let what = "an address, such as `10.0.1.11:8080` or `[2001:db8::1]:8080`";
    let why_no_name = "is a host name; DNS discovery is not supported yet, give an IP address";
    address(value, what, why_no_name).map(Address::Ip)
}

/// The path behind `unix:`; `Some(None)` if the text doesn't begin so, `None` if it is wrong.
fn unix_path(value: &Value<'_>) -> Option<Option<UnixPath>> {
    let Kind::Text(text) = value.kind() else { return Some(None) };
    let Some(path) = text.strip_prefix("unix:") else { return Some(None) };
    match UnixPath::new(path) {
        Ok(path) => Some(Some(path)),
        Err(error) => value.problem_none(error),
    }
}

/// A block of addresses.
pub(super) fn cidr(value: &Value<'_>) -> Option<Cidr> {
    match value.text("a block of addresses, such as `10.0.0.0/8`")?.parse() {
        Ok(block) => Some(block),
        Err(error) => {
            value.problem(error);
            None
        }
    }
}

/// The name of a header field that may be edited, in lower case; it stands at `place`.
pub(super) fn header_name(value: &Value<'_>, place: Place, name: &str) -> Option<String> {
    if !is_token(name) {
        value.complain_at(place, format!("header {} isn't a field name", quoted(name)));
        return None;
    }
    let name = name.to_ascii_lowercase();
    if FRAMING.contains(&name.as_str()) {
        value.complain_at(
            place,
            format!("header {} frames the message; only the proxy sets it", quoted(&name)),
        );
        return None;
    }
    Some(name)
}

/// A field's value: what RFC 9110 §5.5 lets through, without blanks around it.
pub(super) fn header_value<'t>(value: &Value<'t>) -> Option<&'t str> {
    let text = value.text("the value of a header, in quotes")?;
    if !is_field_value(text) {
        value.problem("isn't the value of a header: no control characters, no blanks around it");
        return None;
    }
    Some(text)
}

/// Whether a header may carry this text.
pub(super) fn is_field_value(text: &str) -> bool {
    let is_blank = |c| c == ' ' || c == '\t';
    !text.chars().any(|c| c.is_control() && c != '\t')
        && !text.starts_with(is_blank)
        && !text.ends_with(is_blank)
}

/// Whether a path is as requests have it when they are matched; else the problem is noted.
pub(super) fn is_normal_path(value: &Value<'_>, text: &str) -> bool {
    let mut scratch = String::new();
    match normalized_path(text, &mut scratch) {
        Ok(normal) if normal == text => return true,
        Ok(normal) => value.problem(format!(
            "never matches: paths are brought into normal form first; write {}",
            quoted(normal)
        )),
        Err(error) => value.problem(format!("never matches: {}", error.reason())),
    }
    false
}

/// Whether `text` can stand in a request line as path and query.
pub(super) fn is_path_text(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

fn address(value: &Value<'_>, what: &str, why_no_name: &str) -> Option<SocketAddr> {
    let text = value.text(what)?;
    if let Ok(address) = text.parse::<SocketAddr>() {
        if address.port() == 0 {
            value.problem("has port 0; give a port from 1 to 65535");
            return None;
        }
        return Some(address);
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "80"));
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        let address = SocketAddr::new(ip, 80);
        value.problem(format!("has no port; did you mean `{address}`?"));
    } else if host.is_empty() && port.parse::<u16>().is_ok() {
        value
            .problem(format!("has no IP address; did you mean `[::]:{port}` or `0.0.0.0:{port}`?"));
    } else if is_host_name(host) && port.parse::<u16>().is_ok() {
        value.problem(why_no_name);
    } else {
        return value.expected(what);
    }
    None
}

fn is_host_name(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// Fields that say where a message ends or belong to one connection (RFC 9110 §7.6.1).
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];
