//! `[upstream.NAME]`, but for its health checks.

use crate::config::admission::ProxyVersion;
use crate::config::fields::{Fields, Schema, Value};
use crate::config::raw::Kind;
use crate::config::upstream::{
    EndpointConfig, OutlierConfig, PoolConfig, Share, UpstreamConfig, UpstreamLimits,
    UpstreamProtocol,
};

use super::balance::{BALANCE, KEY, balance};
use super::health::{HEALTH, health};
use super::text::endpoint_address;
use super::{Named, TIMES};

pub(super) const SCHEMAS: [&Schema; 8] =
    [&UPSTREAM, &BALANCE, &KEY, &ENDPOINT, &POOL, &LIMITS, &HEALTH, &OUTLIER];

/// One upstream.
pub(super) fn read(named: &Named<'_>) -> UpstreamConfig {
    let mut upstream = UpstreamConfig::new(named.name.to_owned(), Vec::new());
    let Some(fields) = named.value.table(&UPSTREAM) else { return upstream };
    if let Some(value) = fields.value("protocol") {
        let word = value.word(&UpstreamProtocol::WORDS, &[]);
        upstream.protocol = word.unwrap_or(upstream.protocol);
        if upstream.protocol == UpstreamProtocol::Auto && !fields.has("tls") {
            value.problem("needs `tls`; only there an endpoint says what it speaks (ALPN)");
        }
    }
    if let Some(value) = fields.value("balance") {
        upstream.balance = balance(&value).unwrap_or_default();
    }
    if !fields.has("discover")
        && let Some(value) = fields.required("endpoints", "endpoints = [\"10.0.1.11:8080\"]")
    {
        upstream.endpoints = endpoints(&value);
    }
    upstream.tls = fields.value("tls").and_then(|value| super::tls::upstream(&value));
    upstream.proxy_protocol = fields
        .value("proxy_protocol")
        .filter(|value| !value.is_word("off"))
        .and_then(|value| value.word(&ProxyVersion::WORDS, &[]));
    upstream.transparent = fields.boolean("transparent", upstream.transparent);
    if let Some(fields) = fields.table("pool", &POOL) {
        upstream.pool = pool(&fields);
    }
    if let Some(fields) = fields.table("limits", &LIMITS) {
        upstream.limits = limits(&fields);
    }
    upstream.health = fields
        .value("health")
        .filter(|value| !value.is_word("off"))
        .and_then(|value| value.table(&HEALTH))
        .map(|fields| health(&fields, upstream.protocol));
    if let Some(fields) = fields.table("outlier", &OUTLIER) {
        upstream.outlier = outlier(&fields);
    }
    upstream
}

fn endpoints(value: &Value<'_>) -> Vec<EndpointConfig> {
    let values = value.list();
    if values.is_empty() {
        value.complain("endpoints is an empty list; an upstream has at least one endpoint");
    }
    if values.len() > ENDPOINTS_MAX {
        value.complain(format!("endpoints has more than {ENDPOINTS_MAX} endpoints"));
    }
    let mut endpoints: Vec<EndpointConfig> = Vec::new();
    for value in values.iter().take(ENDPOINTS_MAX) {
        let Some((at, endpoint)) = endpoint(value) else { continue };
        if endpoints.iter().any(|other| other.address == endpoint.address) {
            at.problem("is there twice; raise its `weight` instead");
        }
        endpoints.push(endpoint);
    }
    if !endpoints.is_empty() && endpoints.iter().all(|endpoint| endpoint.backup) {
        value.complain("endpoints are all `backup`; at least one must not be");
    }
    endpoints
}

/// An endpoint, and the value that is its address.
fn endpoint<'t>(value: &Value<'t>) -> Option<(Value<'t>, EndpointConfig)> {
    if matches!(value.kind(), Kind::Text(_)) {
        let address = endpoint_address(value)?;
        return Some((value.clone(), EndpointConfig { address, weight: 1, backup: false }));
    }
    let fields = value.table(&ENDPOINT)?;
    let weight = fields.integer("weight", 1..=256, 1);
    let backup = fields.boolean("backup", false);
    let at = fields.required("address", "address = \"10.0.1.11:8080\"")?;
    let address = endpoint_address(&at)?;
    Some((at, EndpointConfig { address, weight, backup }))
}

fn pool(fields: &Fields<'_>) -> PoolConfig {
    let default = PoolConfig::default();
    PoolConfig {
        idle_per_endpoint: fields.integer(
            "idle_per_endpoint",
            0..=65_536,
            default.idle_per_endpoint,
        ),
        idle_timeout: fields.duration("idle_timeout", TIMES, default.idle_timeout),
        share: fields
            .value("share")
            .and_then(|value| value.word(&Share::WORDS, &[]))
            .unwrap_or(default.share),
        max_reuse: fields
            .value("max_reuse")
            .and_then(|value| value.unless("unlimited", |value| value.integer(1..=u32::MAX)))
            .flatten()
            .map(u64::from),
    }
}

fn limits(fields: &Fields<'_>) -> UpstreamLimits {
    let default = UpstreamLimits::default();
    UpstreamLimits {
        connections: fields
            .value("connections")
            .and_then(|value| value.unless("unlimited", |value| value.integer(1..=10_000_000)))
            .flatten(),
        pending: fields.integer("pending", 0..=1_000_000, default.pending),
        queue_timeout: fields.duration("queue_timeout", TIMES, default.queue_timeout),
    }
}

fn outlier(fields: &Fields<'_>) -> OutlierConfig {
    let default = OutlierConfig::default();
    let count = |key, default: Option<u32>| {
        let value = fields.value(key);
        value
            .and_then(|value| value.unless("off", |value| value.integer(1..=1_000)))
            .unwrap_or(default)
    };
    OutlierConfig {
        consecutive_failures: count("consecutive_failures", default.consecutive_failures),
        consecutive_5xx: count("consecutive_5xx", default.consecutive_5xx),
        eject: fields.duration("eject", TIMES, default.eject),
        max_ejected: fields.share("max_ejected", default.max_ejected),
    }
}

const UPSTREAM: Schema = Schema {
    path: "upstream.NAME",
    keys: &[
        "protocol",
        "tls",
        "balance",
        "endpoints",
        "proxy_protocol",
        "transparent",
        "pool",
        "limits",
        "health",
        "outlier",
    ],
    later: &["discover", "sticky"],
};

const ENDPOINT: Schema = Schema {
    path: "upstream.NAME.endpoints",
    keys: &["address", "weight", "backup"],
    later: &["zone"],
};

const POOL: Schema = Schema {
    path: "upstream.NAME.pool",
    keys: &["idle_per_endpoint", "idle_timeout", "share", "max_reuse"],
    later: &[],
};

const LIMITS: Schema = Schema {
    path: "upstream.NAME.limits",
    keys: &["connections", "pending", "queue_timeout"],
    later: &[],
};

const OUTLIER: Schema = Schema {
    path: "upstream.NAME.outlier",
    keys: &["consecutive_failures", "consecutive_5xx", "eject", "max_ejected"],
    later: &[],
};

const ENDPOINTS_MAX: usize = 4_096;
