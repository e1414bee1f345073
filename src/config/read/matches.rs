//! `match` of a route: hosts, paths, methods, headers.

use crate::base::name::is_token;
use crate::config::fields::{Fields, Schema, Value};
use crate::config::listener::Protocol;
use crate::config::pattern::{HostPattern, PathPattern, Segment};
use crate::config::raw::quoted;
use crate::config::route::RouteMatch;

use super::text::{header_value, is_normal_path};

/// Reads the table of a route of connections. Only TLS says anything that one can route by before
/// it is passed through.
pub(super) fn l4_matches(fields: &Fields<'_>, protocol: Protocol) -> RouteMatch {
    for key in ["host", "path", "method", "header"] {
        if let Some(value) = fields.value(key) {
            value.complain(format!("match.{key} has no effect: connections are relayed unread"));
        }
    }
    let matches = RouteMatch {
        hosts: list(fields, "sni", host),
        alpn: list(fields, "alpn", alpn),
        ..RouteMatch::default()
    };
    let reads_hello = matches!(protocol, Protocol::Tls | Protocol::Https);
    if !reads_hello && (fields.has("sni") || fields.has("alpn")) {
        let name = protocol.name();
        fields.problem(format!("match has no effect on a listener with protocol `{name}`"));
    }
    matches
}

fn alpn(value: &Value<'_>) -> Option<String> {
    let what = "a protocol's name, such as `h2` or `http/1.1`";
    let text = value.text(what)?;
    let is_name =
        (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_name { Some(text.to_owned()) } else { value.expected(what) }
}

/// Reads the table of a route of requests.
pub(super) fn matches(fields: &Fields<'_>) -> RouteMatch {
    for key in ["sni", "alpn"] {
        if let Some(value) = fields.value(key) {
            value.complain(format!("match.{key} has no effect: it is for TLS that is passed through, on a listener that the route names; requests have a `host`"));
        }
    }
    RouteMatch {
        alpn: Vec::new(),
        hosts: list(fields, "host", host),
        paths: list(fields, "path", path),
        methods: list(fields, "method", method),
        headers: headers(fields),
    }
}

/// The values of a key that takes one or a list, none twice.
fn list<T: PartialEq>(
    fields: &Fields<'_>,
    key: &'static str,
    read: impl Fn(&Value<'_>) -> Option<T>,
) -> Vec<T> {
    let Some(value) = fields.value(key) else { return Vec::new() };
    let values = value.list();
    if values.is_empty() {
        value.complain(format!("match.{key} is an empty list; leave it out to match any"));
    }
    if values.len() > PATTERNS_MAX {
        value.complain(format!("match.{key} has more than {PATTERNS_MAX} entries"));
    }
    let mut items = Vec::new();
    for value in values.iter().take(PATTERNS_MAX) {
        let Some(item) = read(value) else { continue };
        if items.contains(&item) {
            value.problem("is there twice");
        }
        items.push(item);
    }
    items
}

fn host(value: &Value<'_>) -> Option<HostPattern> {
    let what = "a host, such as `api.example.com` or `*.example.com`";
    let text = value.text(what)?.to_ascii_lowercase();
    if text == "*" {
        value.problem("is any host; leave `host` out for that");
        return None;
    }
    let (name, is_suffix) = match text.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (text.as_str(), false),
    };
    let bracketed = name.starts_with('[') && name.ends_with(']');
    if !bracketed && name.contains(':') {
        value.problem("has a port; routes match the host alone");
        return None;
    }
    let is_plain = if bracketed {
        !is_suffix && name[1..name.len() - 1].parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        name.split('.').all(is_label)
    };
    if !is_plain || name.len() > HOST_MAX {
        return value.expected(what);
    }
    Some(if is_suffix {
        HostPattern::Suffix(text[1..].to_owned())
    } else {
        HostPattern::Exact(text)
    })
}

/// `_` isn't for host names, but people use it.
fn is_label(label: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len()) && label.bytes().all(is_plain)
}

fn path(value: &Value<'_>) -> Option<PathPattern> {
    let what = "a path, such as `/login`, `/v1/*` or `/users/*/posts`";
    let text = value.text(what)?;
    if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic()) {
        let shown = quoted(c.encode_utf8(&mut [0; 4]));
        value.problem(format!("has {shown}, which a path holds percent-encoded, such as `%20`"));
        return None;
    }
    if text.contains(['?', '#']) {
        value.problem("has a `?` or `#`; routes match the path alone, without the query");
        return None;
    }
    if text.len() > PATH_MAX || !text.starts_with('/') {
        return value.expected(what);
    }
    if !is_normal_path(value, text) {
        return None;
    }
    let (before, has_rest) = match text.strip_suffix("/*") {
        Some(before) => (before, true),
        None => (text, false),
    };
    if let Some(segment) = before.split('/').find(|part| part.contains('*') && *part != "*") {
        let hint = match text.strip_suffix('*') {
            Some(stem) if !stem.contains('*') => {
                format!("; did you mean {}?", quoted(&format!("{stem}/*")))
            }
            _ => String::new(),
        };
        value.problem(format!("has {}; `*` stands for a whole segment{hint}", quoted(segment)));
        return None;
    }
    if before.split('/').any(|part| part == "*") {
        let segment = |part: &str| match part {
            "*" => Segment::Any,
            text => Segment::Literal(text.to_owned()),
        };
        let segments = before.split('/').skip(1).map(segment).collect();
        return Some(PathPattern::Pattern { segments, rest: has_rest });
    }
    Some(if has_rest {
        PathPattern::Prefix(before.to_owned())
    } else {
        PathPattern::Exact(text.to_owned())
    })
}

fn method(value: &Value<'_>) -> Option<String> {
    let what = "a method, such as `GET` or `POST`";
    let text = value.text(what)?;
    if !is_token(text) || text.len() > METHOD_MAX {
        return value.expected(what);
    }
    let upper = text.to_ascii_uppercase();
    if upper != text {
        value.problem(format!("isn't upper case; did you mean {}?", quoted(&upper)));
        return None;
    }
    Some(upper)
}

fn headers(fields: &Fields<'_>) -> Vec<(String, String)> {
    let Some(value) = fields.value("header") else { return Vec::new() };
    let entries = value.entries("a table of headers, such as `{ x-env = \"prod\" }`");
    if entries.len() > PATTERNS_MAX {
        value.complain(format!("match.header has more than {PATTERNS_MAX} entries"));
    }
    let mut headers: Vec<(String, String)> = Vec::new();
    for (key, place, value) in entries.into_iter().take(PATTERNS_MAX) {
        if !is_token(key) {
            value.complain_at(place, format!("header {} isn't a field name", quoted(key)));
            continue;
        }
        let name = key.to_ascii_lowercase();
        if headers.iter().any(|(other, _)| *other == name) {
            value.complain_at(place, format!("header `{name}` is there twice"));
        }
        headers.extend(header_value(&value).map(|text| (name, text.to_owned())));
    }
    headers
}

pub(super) const MATCH: Schema = Schema {
    path: "route.match",
    keys: &["host", "path", "method", "header", "sni", "alpn"],
    later: &[],
};

const PATTERNS_MAX: usize = 256;
const HOST_MAX: usize = 253;
const PATH_MAX: usize = 4_096;
const METHOD_MAX: usize = 32;
