//! `[listener.NAME]`.

use crate::base::address::Address;
use crate::config::fields::{Fields, Schema, Value};
use crate::config::listener::{
    Alpn, ErrorFormat, Forwarded, HEADERS_MAX, HTTPS_PORT, ListenerConfig, ListenerLimits, Protocol,
};
use crate::config::raw::Kind;
use crate::config::xdp::PacketForward;

use super::admission::{PROXY, admission, flows, syn_rate};
use super::text::{cidr, listen_address};
use super::{Named, TIMES};

pub(super) const SCHEMAS: [&Schema; 3] = [&LISTENER, &LIMITS, &PROXY];

/// One listener.
pub(super) fn read(named: &Named<'_>) -> ListenerConfig {
    let mut listener = ListenerConfig::new(named.name.to_owned(), Vec::<Address>::new());
    let Some(fields) = named.value.table(&LISTENER) else { return listener };
    if let Some(value) = fields.value("protocol") {
        let word = value.word(&Protocol::WORDS, &[]);
        listener.protocol = word.unwrap_or(listener.protocol);
    }
    if let Some(value) = fields.value("alpn") {
        listener.alpn = alpn(&value);
    }
    match (listener.protocol, fields.value("tls")) {
        (Protocol::Https, Some(value)) => listener.tls = super::tls::listener(&value),
        (Protocol::Https, None) => {
            let example = "tls.certificates = [{ cert = \"web.pem\", key = \"web.key\" }]";
            fields.problem(format!("protocol `https` needs a certificate, such as `{example}`"));
        }
        (protocol, Some(value)) => {
            let name = protocol.name();
            value.complain(format!(
                "tls has no effect with protocol `{name}`; write `protocol = \"https\"`"
            ));
        }
        (_, None) => {}
    }
    if let Some(value) = fields.required("address", "address = \"0.0.0.0:80\"") {
        listener.addresses = addresses(&value);
        if listener.protocol == Protocol::Udp
            && let Some(unix) = listener.addresses.iter().find(|address| address.ip().is_none())
        {
            value.complain(format!("protocol `udp` listens on IP addresses, not on `{unix}`"));
        }
    }
    if let Some(value) = fields.value("socket_mode") {
        if listener.addresses.iter().all(|address| address.ip().is_some()) {
            value.complain(
                "socket_mode has no effect without an address such as `unix:/run/x.sock`",
            );
        }
        listener.socket_mode = value.mode().unwrap_or(listener.socket_mode);
    }
    if let Some(value) = fields.value("trusted_proxies") {
        listener.trusted_proxies = value.list().iter().filter_map(cidr).collect();
    }
    let word = fields.value("forwarded").and_then(|value| value.word(&Forwarded::WORDS, &[]));
    listener.forwarded = word.unwrap_or(listener.forwarded);
    let word = fields.value("error_format").and_then(|value| value.word(&ErrorFormat::WORDS, &[]));
    listener.error_format = word.unwrap_or(listener.error_format);
    listener.connect = fields.boolean("connect", listener.connect);
    listener.redirect_https =
        fields.value("redirect_https").and_then(|value| redirect_https(&value));
    let limits_read = fields.table("limits", &LIMITS);
    if let Some(limits_read) = &limits_read {
        listener.limits = limits(limits_read);
        listener.flows = flows(limits_read);
        listener.syn_rate = syn_rate(limits_read);
    }
    listener.admission = admission(&fields, limits_read.as_ref());
    refuse_useless(listener.protocol, &fields, limits_read.as_ref());
    listener.forward = forward(listener.protocol, &fields, limits_read.as_ref());
    listener
}

fn alpn(value: &Value<'_>) -> Vec<Alpn> {
    let values = value.list();
    if values.is_empty() {
        value.complain("alpn is an empty list; it names at least one version, such as `http/1.1`");
    }
    let mut versions = Vec::new();
    for value in &values {
        let Some(version) = value.word(&Alpn::WORDS, &["h3"]) else { continue };
        if versions.contains(&version) {
            value.problem("is there twice");
        } else {
            versions.push(version);
        }
    }
    versions
}

/// `true`, `false` or a port.
fn redirect_https(value: &Value<'_>) -> Option<u16> {
    match value.kind() {
        Kind::Boolean(is_wanted) => is_wanted.then_some(HTTPS_PORT),
        Kind::Integer(_) => u16::try_from(value.integer(1..=65_535)?).ok(),
        _ => value.expected("`true`, `false` or the port of HTTPS, such as `8443`"),
    }
}

/// Keys that the protocol has no use for are mistakes.
fn refuse_useless(protocol: Protocol, fields: &Fields<'_>, limits: Option<&Fields<'_>>) {
    let refuse = |fields: &Fields<'_>, path: &str, keys: &[&'static str]| {
        for key in keys {
            if let Some(value) = fields.value(key) {
                let name = protocol.name();
                value.complain(format!("{path}{key} has no effect with protocol `{name}`"));
            }
        }
    };
    let (own, bounds): (&[&'static str], &[&'static str]) = match protocol {
        Protocol::Http => (&[], &["flows", "replies"]),
        Protocol::Https => (&["redirect_https"], &["flows", "replies"]),
        Protocol::Tcp | Protocol::Tls => (&OF_HTTP, &TCP_USELESS),
        Protocol::Udp => (&OF_HTTP_OR_TCP, &UDP_USELESS),
    };
    refuse(fields, "", own);
    if let Some(limits) = limits {
        refuse(limits, "limits.", bounds);
    }
}

/// How packets are forwarded. No shard looks at them: what a shard would do has no effect.
fn forward(
    protocol: Protocol,
    fields: &Fields<'_>,
    limits: Option<&Fields<'_>>,
) -> Option<PacketForward> {
    let value = fields.value("forward")?;
    let forward = value.word(&PacketForward::WORDS, &[])?;
    if !matches!(protocol, Protocol::Tcp | Protocol::Udp) {
        let name = protocol.name();
        return value.problem_none(format!(
            "is for `protocol = \"tcp\"` or `\"udp\"`: what `{name}` says in its packets nobody reads"
        ));
    }
    let name = forward.name();
    for key in ["allow", "deny", "proxy_protocol"] {
        if let Some(value) = fields.value(key) {
            value.complain(format!("{key} has no effect with forward `{name}`"));
        }
    }
    for key in FORWARD_USELESS {
        if let Some(value) = limits.and_then(|limits| limits.value(key)) {
            value.complain(format!("limits.{key} has no effect with forward `{name}`"));
        }
    }
    Some(forward)
}

fn addresses(value: &Value<'_>) -> Vec<Address> {
    let values = value.list();
    if values.is_empty() {
        value.complain("address is an empty list; a listener has at least one address");
    }
    if values.len() > ADDRESSES_MAX {
        value.complain(format!("address has more than {ADDRESSES_MAX} addresses"));
    }
    let mut addresses = Vec::new();
    for value in values.iter().take(ADDRESSES_MAX) {
        let Some(address) = listen_address(value) else { continue };
        if addresses.contains(&address) {
            value.problem("is there twice");
        } else {
            addresses.push(address);
        }
    }
    addresses
}

fn limits(fields: &Fields<'_>) -> ListenerLimits {
    let default = ListenerLimits::default();
    let headers = fields
        .value("headers")
        .and_then(|value| value.size(1 << 10..=u64::from(HEADERS_MAX)))
        .and_then(|size| u32::try_from(size).ok());
    let body = fields
        .value("body")
        .and_then(|value| value.unless("unlimited", |value| value.size(0..=1 << 50)));
    let min_rate = fields
        .value("min_rate")
        .and_then(|value| value.unless("off", |value| value.byte_rate(1..=1 << 30)));
    ListenerLimits {
        header_timeout: fields.duration("header_timeout", TIMES, default.header_timeout),
        body_timeout: fields.duration("body_timeout", TIMES, default.body_timeout),
        write_timeout: fields.duration("write_timeout", TIMES, default.write_timeout),
        min_rate: min_rate.unwrap_or(default.min_rate),
        idle: fields.duration("idle", TIMES, default.idle),
        headers: headers.unwrap_or(default.headers),
        body: body.unwrap_or(default.body),
        h2_streams: fields.integer("h2_streams", 1..=10_000, default.h2_streams),
    }
}

const LISTENER: Schema = Schema {
    path: "listener.NAME",
    keys: &[
        "address",
        "socket_mode",
        "protocol",
        "forward",
        "alpn",
        "tls",
        "trusted_proxies",
        "forwarded",
        "error_format",
        "connect",
        "redirect_https",
        "limits",
        "allow",
        "deny",
        "proxy_protocol",
    ],
    later: &[],
};

const LIMITS: Schema = Schema {
    path: "listener.NAME.limits",
    keys: &[
        "header_timeout",
        "body_timeout",
        "write_timeout",
        "min_rate",
        "idle",
        "headers",
        "body",
        "h2_streams",
        "connections",
        "connections_per_ip",
        "new_connections",
        "new_connections_per_ip",
        "syn_rate",
        "flows",
        "replies",
    ],
    later: &[],
};

/// What only requests have.
const OF_HTTP: [&str; 6] =
    ["alpn", "trusted_proxies", "forwarded", "error_format", "connect", "redirect_https"];

/// The same, and what only connections have.
const OF_HTTP_OR_TCP: [&str; 7] = [
    "alpn",
    "trusted_proxies",
    "forwarded",
    "error_format",
    "connect",
    "redirect_https",
    "proxy_protocol",
];

/// Limits of requests.
const TCP_USELESS: [&str; 8] =
    ["body_timeout", "write_timeout", "idle", "headers", "body", "h2_streams", "flows", "replies"];

/// Limits of connections, which a flow isn't, and of requests.
const UDP_USELESS: [&str; 12] = [
    "syn_rate",
    "h2_streams",
    "header_timeout",
    "body_timeout",
    "write_timeout",
    "idle",
    "headers",
    "body",
    "connections",
    "connections_per_ip",
    "new_connections",
    "new_connections_per_ip",
];

/// Limits that shards keep, besides those that L4 hasn't.
const FORWARD_USELESS: [&str; 8] = [
    "header_timeout",
    "min_rate",
    "connections",
    "connections_per_ip",
    "new_connections",
    "new_connections_per_ip",
    "flows",
    "replies",
];

const ADDRESSES_MAX: usize = 64;
