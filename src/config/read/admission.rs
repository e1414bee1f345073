//! What `[listener.NAME]` says of who may connect, and what only a UDP listener has.

use std::ops::RangeInclusive;

use crate::base::units::Rate;
use crate::config::admission::{AdmissionConfig, FlowLimits, ProxyHeader, ProxyVersions};
use crate::config::fields::{Fields, Schema, Value};

use super::text::cidr;

/// Reads the keys that every protocol has; `limits` is the listener's table of that name.
pub(super) fn admission(fields: &Fields<'_>, limits: Option<&Fields<'_>>) -> AdmissionConfig {
    let blocks = |key| match fields.value(key) {
        Some(value) => value.list().iter().filter_map(cidr).collect(),
        None => Vec::new(),
    };
    let count = |key| {
        let value = limits.and_then(|limits| limits.value(key));
        value
            .and_then(|value| value.unless("unlimited", |value| value.integer(1..=10_000_000)))
            .flatten()
    };
    let per_time = |key| {
        let value = limits.and_then(|limits| limits.value(key));
        value.and_then(|value| value.unless("unlimited", rate)).flatten()
    };
    if let Some(value) = fields.value("allow")
        && value.list().is_empty()
    {
        value.complain("allow is an empty list; leave it out to let everybody in");
    }
    AdmissionConfig {
        allow: blocks("allow"),
        deny: blocks("deny"),
        connections: count("connections"),
        connections_per_ip: count("connections_per_ip"),
        new_connections: per_time("new_connections"),
        new_connections_per_ip: per_time("new_connections_per_ip"),
        proxy_protocol: fields.value("proxy_protocol").and_then(|value| proxy_header(&value)),
    }
}

/// Reads a rate of SYNs: counted in windows of 134 ms, of which none may be 0.
pub(super) fn syn_rate(limits: &Fields<'_>) -> Option<Rate> {
    let value = limits.value("syn_rate")?;
    let rate = value.unless("unlimited", rate)??;
    if !SYN_RATES.contains(&rate.per_second()) {
        let (low, high) = (SYN_RATES.start(), SYN_RATES.end());
        return value.problem_none(format!("is out of range: {low}/s to {high}/s"));
    }
    Some(rate)
}

fn rate(value: &Value<'_>) -> Option<Rate> {
    let text = value.text("a rate, such as `100/min` or `10/s`")?;
    text.parse().map_err(|error| value.problem(error)).ok()
}

fn proxy_header(value: &Value<'_>) -> Option<ProxyHeader> {
    let fields = value.table(&PROXY)?;
    let accept = fields
        .value("accept")
        .map_or(Some(ProxyVersions::Both), |value| value.word(&ProxyVersions::WORDS, &[]));
    let from = fields.required("from", "from = [\"10.0.0.0/8\"]")?;
    let blocks: Vec<_> = from.list().iter().filter_map(cidr).collect();
    if from.list().is_empty() {
        from.complain("proxy_protocol.from is an empty list; it names whose headers are believed");
    }
    let required = fields.boolean("required", true);
    Some(ProxyHeader { accept: accept?, from: blocks, required })
}

/// Reads the bounds of a UDP listener's flows.
pub(super) fn flows(limits: &Fields<'_>) -> FlowLimits {
    let default = FlowLimits::default();
    FlowLimits {
        flows: limits.integer("flows", 1..=1_000_000, default.flows),
        replies: limits
            .value("replies")
            .and_then(|value| value.unless("unlimited", |value| value.integer(1..=100)))
            .flatten(),
    }
}

pub(super) const PROXY: Schema = Schema {
    path: "listener.NAME.proxy_protocol",
    keys: &["accept", "from", "required"],
    later: &[],
};

const SYN_RATES: RangeInclusive<u32> = 8..=10_000_000;
