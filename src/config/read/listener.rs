//! `[listener.NAME]`.

use std::net::SocketAddr;

use crate::config::fields::{Fields, Schema, Value};
use crate::config::listener::{
    Alpn, ErrorFormat, Forwarded, HEADERS_MAX, ListenerConfig, ListenerLimits, Protocol,
};

use super::text::{cidr, listen_address};
use super::{Named, TIMES};

pub(super) const SCHEMAS: [&Schema; 2] = [&LISTENER, &LIMITS];

/// One listener.
pub(super) fn read(named: &Named<'_>) -> ListenerConfig {
    let mut listener = ListenerConfig::new(named.name.to_owned(), Vec::new());
    let Some(fields) = named.value.table(&LISTENER) else { return listener };
    if let Some(value) = fields.value("protocol") {
        let word = value.word(&Protocol::WORDS, &["tcp", "tls", "udp"]);
        listener.protocol = word.unwrap_or(listener.protocol);
    }
    if let Some(value) = fields.value("alpn") {
        listener.alpn = alpn(&value);
    }
    match (listener.protocol, fields.value("tls")) {
        (Protocol::Https, Some(value)) => listener.tls = super::tls::listener(&value),
        (Protocol::Http, Some(value)) => {
            value.complain("tls has no effect with protocol `http`; write `protocol = \"https\"`");
        }
        (Protocol::Https, None) => {
            let example = "tls.certificates = [{ cert = \"web.pem\", key = \"web.key\" }]";
            fields.problem(format!("protocol `https` needs a certificate, such as `{example}`"));
        }
        (Protocol::Http, None) => {}
    }
    if let Some(value) = fields.required("address", "address = \"0.0.0.0:80\"") {
        listener.addresses = addresses(&value);
    }
    if let Some(value) = fields.value("trusted_proxies") {
        listener.trusted_proxies = value.list().iter().filter_map(cidr).collect();
    }
    let word = fields.value("forwarded").and_then(|value| value.word(&Forwarded::WORDS, &[]));
    listener.forwarded = word.unwrap_or(listener.forwarded);
    let word = fields.value("error_format").and_then(|value| value.word(&ErrorFormat::WORDS, &[]));
    listener.error_format = word.unwrap_or(listener.error_format);
    listener.connect = fields.boolean("connect", listener.connect);
    if let Some(fields) = fields.table("limits", &LIMITS) {
        listener.limits = limits(&fields);
    }
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

fn addresses(value: &Value<'_>) -> Vec<SocketAddr> {
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
        "protocol",
        "alpn",
        "tls",
        "trusted_proxies",
        "forwarded",
        "error_format",
        "connect",
        "limits",
    ],
    later: &["redirect_https", "proxy_protocol"],
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
    ],
    later: &[],
};

const ADDRESSES_MAX: usize = 64;
