//! `health` of an upstream.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::fields::{Fields, Schema, Value};
use crate::config::raw::Kind;
use crate::config::upstream::{HealthConfig, Probe, UpstreamProtocol};

use super::text::is_path_text;

/// Reads the table; without a fault in it the result is a valid check.
pub(super) fn health(fields: &Fields<'_>, protocol: UpstreamProtocol) -> HealthConfig {
    let default = HealthConfig::new(Probe::Tcp);
    let probe = probe(fields);
    let interval = fields.duration("interval", TIMES, default.interval);
    // Whoever asks often wants the answer soon: the default may not exceed the interval.
    let timeout = fields.duration("timeout", TIMES, default.timeout.min(interval));
    if timeout > interval
        && let Some(value) = fields.value("timeout")
    {
        value.problem("is longer than `interval`; a check ends before the next begins");
    }
    let expect = fields.value("expect").map(|value| expect(&value));
    if let Some(value) = fields.value("expect") {
        match probe {
            Probe::Tcp => value.problem("has no effect with `tcp`; a connection has no status"),
            Probe::Grpc { .. } => value.problem("has no effect with `grpc`; SERVING is good"),
            Probe::Http { .. } => {}
        }
    }
    HealthConfig {
        probe,
        protocol,
        interval,
        timeout,
        rise: fields.integer("rise", 1..=100, default.rise),
        fall: fields.integer("fall", 1..=100, default.fall),
        expect: expect.unwrap_or(default.expect),
    }
}

fn probe(fields: &Fields<'_>) -> Probe {
    let tcp = fields.value("tcp").is_some_and(|value| value.boolean() == Some(true));
    if let Some(grpc) = fields.value("grpc") {
        return self::grpc(fields, &grpc);
    }
    let Some(http) = fields.value("http") else {
        if !tcp {
            fields.problem("health needs `http = \"/healthz\"`, `grpc = \"\"` or `tcp = true`");
        } else if let Some(host) = fields.value("host") {
            host.problem("has no effect with `tcp`");
        }
        return Probe::Tcp;
    };
    if tcp {
        http.problem("is there beside `tcp`; one of both is enough");
    }
    let what = "a path to ask for, such as `/healthz`";
    let path = http.text(what).filter(|path| {
        let is_path = is_path_text(path);
        if !is_path {
            http.problem(format!("isn't {what}"));
        }
        is_path
    });
    let host = fields.value("host").and_then(|value| host(&value));
    Probe::Http { path: path.unwrap_or("/").to_owned(), host }
}

fn grpc(fields: &Fields<'_>, value: &Value<'_>) -> Probe {
    for other in ["http", "tcp"] {
        if let Some(other) = fields.value(other) {
            other.problem("is there beside `grpc`; one of both is enough");
        }
    }
    let what = "the name of a service, such as `pkg.Service`, or empty for the server as a whole";
    let is_name =
        |text: &&str| text.len() <= SERVICE_MAX && text.bytes().all(|b| b.is_ascii_graphic());
    let service = value.text(what).filter(|text| {
        let is_name = is_name(text);
        if !is_name {
            value.problem(format!("isn't {what}"));
        }
        is_name
    });
    let host = fields.value("host").and_then(|value| host(&value));
    Probe::Grpc { service: service.unwrap_or_default().to_owned(), host }
}

fn host(value: &Value<'_>) -> Option<String> {
    let what = "a host to ask for, such as `api.internal` or `api.internal:8080`";
    let text = value.text(what)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if text.is_empty() || text.len() > HOST_MAX || !text.bytes().all(is_plain) {
        return value.expected(what);
    }
    Some(text.to_owned())
}

fn expect(value: &Value<'_>) -> Vec<RangeInclusive<u16>> {
    let values = value.list();
    if values.is_empty() {
        value.complain("health.expect is an empty list; no answer would be good");
    }
    values.iter().take(EXPECT_MAX).filter_map(statuses).collect()
}

/// `200`, `"200"` or `"200-399"`.
fn statuses(value: &Value<'_>) -> Option<RangeInclusive<u16>> {
    let what = "a status or a range of them, such as `200` or `\"200-399\"`";
    let range = match value.kind() {
        Kind::Integer(status) => u16::try_from(*status).ok().map(|status| status..=status),
        Kind::Text(text) => {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let status = |text: &str| {
                text.parse::<u16>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
            };
            status(first).zip(status(last)).map(|(first, last)| first..=last)
        }
        _ => None,
    };
    let Some(range) = range else { return value.expected(what) };
    if range.is_empty() || *range.start() < 100 || *range.end() > 599 {
        value.problem("is out of range: 100 to 599");
        return None;
    }
    Some(range)
}

pub(super) const HEALTH: Schema = Schema {
    path: "upstream.NAME.health",
    keys: &["http", "grpc", "tcp", "host", "interval", "timeout", "rise", "fall", "expect"],
    later: &[],
};

/// Checks more often than this are load, not watching.
const TIMES: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3_600);

const EXPECT_MAX: usize = 64;
const HOST_MAX: usize = 255;
const SERVICE_MAX: usize = 127;
