//! `[filter.NAME]`.

use crate::base::units::Rate;
use crate::config::fields::{Fields, Schema, Value};
use crate::config::filter::{FilterConfig, FilterKind, IdTrust};
use crate::config::raw::Kind;
use crate::config::route::HeaderEdits;

use super::Named;
use super::headers::{Way, edits};
use super::text::header_name;

pub(super) const SCHEMAS: [&Schema; 5] = [&REQUEST_ID, &RATE_LIMIT, &HEADERS, &REQUEST, &RESPONSE];

/// One filter. Its `type` says which keys it has.
pub(super) fn read(named: &Named<'_>) -> FilterConfig {
    FilterConfig { name: named.name.to_owned(), kind: kind(&named.value).unwrap_or_else(no_edits) }
}

fn kind(value: &Value<'_>) -> Option<FilterKind> {
    let Kind::Table(table) = value.kind() else { return value.expected("a table with a `type`") };
    let Some(entry) = table.find("type") else {
        value.complain("type is missing, such as `type = \"rate_limit\"`");
        return None;
    };
    let words = [
        ("request_id", Type::RequestId),
        ("rate_limit", Type::RateLimit),
        ("headers", Type::Headers),
    ];
    let word = value.entry(entry).word(&words, &["jwt"])?;
    match word {
        Type::RequestId => Some(request_id(&value.table(&REQUEST_ID)?)),
        Type::RateLimit => rate_limit(&value.table(&RATE_LIMIT)?),
        Type::Headers => Some(headers(&value.table(&HEADERS)?)),
    }
}

#[derive(Debug, Clone, Copy)]
enum Type {
    RequestId,
    RateLimit,
    Headers,
}

fn request_id(fields: &Fields<'_>) -> FilterKind {
    let header = fields.value("header").and_then(|value| {
        header_name(&value, value.place(), value.text("the name of a header")?).filter(|name| {
            if name == "host" {
                value.problem("isn't a header for an id");
            }
            name != "host"
        })
    });
    let trust = fields.value("trust").and_then(|value| match value.kind() {
        Kind::Boolean(false) => Some(IdTrust::Nobody),
        Kind::Text(text) if text == "trusted_proxies" => Some(IdTrust::TrustedProxies),
        _ => value.expected("`false` or `trusted_proxies`"),
    });
    FilterKind::RequestId {
        header: header.unwrap_or_else(|| "x-request-id".to_owned()),
        trust: trust.unwrap_or(IdTrust::Nobody),
    }
}

fn rate_limit(fields: &Fields<'_>) -> Option<FilterKind> {
    if let Some(value) = fields.value("key") {
        value.word(&[("client_ip", ())], &["header", "cookie", "path", "host"]);
    }
    if let Some(value) = fields.value("scope") {
        value.word(&[("node", ())], &["fleet"]);
    }
    let burst = fields.value("burst").and_then(|value| value.integer(1..=BURST_MAX));
    let value = fields.required("rate", "rate = \"100/min\"")?;
    let rate: Rate = match value.text("a rate, such as `100/min` or `10/s`")?.parse() {
        Ok(rate) => rate,
        Err(error) => {
            value.problem(error);
            return None;
        }
    };
    if rate.count > BURST_MAX {
        value.problem(format!("is out of range: at most {BURST_MAX} per time"));
        return None;
    }
    Some(FilterKind::RateLimit { rate, burst: burst.unwrap_or(rate.count) })
}

fn headers(fields: &Fields<'_>) -> FilterKind {
    let side = |key, schema, way| {
        fields.value(key).map_or_else(HeaderEdits::default, |value| edits(&value, schema, way))
    };
    let request = side("request", &REQUEST, Way::Request);
    let response = side("response", &RESPONSE, Way::Response);
    if request.is_empty()
        && response.is_empty()
        && !fields.has("request")
        && !fields.has("response")
    {
        fields.problem("edits nothing; give it `request` or `response`");
    }
    FilterKind::Headers { request, response }
}

fn no_edits() -> FilterKind {
    FilterKind::Headers { request: HeaderEdits::default(), response: HeaderEdits::default() }
}

const REQUEST_ID: Schema =
    Schema { path: "filter.NAME (request_id)", keys: &["type", "header", "trust"], later: &[] };

const RATE_LIMIT: Schema = Schema {
    path: "filter.NAME (rate_limit)",
    keys: &["type", "key", "rate", "burst", "scope"],
    later: &[],
};

const HEADERS: Schema =
    Schema { path: "filter.NAME (headers)", keys: &["type", "request", "response"], later: &[] };

const REQUEST: Schema =
    Schema { path: "filter.NAME.request", keys: &["set", "add", "remove"], later: &[] };

const RESPONSE: Schema =
    Schema { path: "filter.NAME.response", keys: &["set", "add", "remove"], later: &[] };

const BURST_MAX: u32 = 1_000_000;
