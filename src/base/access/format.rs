//! One access record as one line: JSON, combined, or a template. Pure, allocation-free.
//!
//! The JSON object always has the same keys in the same order; what is unknown is `null`:
//!
//! | key | value |
//! |---|---|
//! | `time` | RFC 3339, UTC, milliseconds |
//! | `listener` | string |
//! | `client` | `ip:port`, IPv6 in brackets |
//! | `method`, `target`, `version` | string, empty if unreadable |
//! | `host` | string or null |
//! | `status` | number, 0 if the connection broke before a response |
//! | `bytes_in`, `bytes_out` | number, bytes of body |
//! | `duration` | seconds, six decimals |
//! | `route`, `upstream`, `endpoint` | string or null |
//! | `retries` | number |
//! | `request_id`, `user_agent`, `referer`, `error` | string or null |
//!
//! JSON text is escaped by RFC 8259 §7; bytes that aren't UTF-8 become U+FFFD. In `combined` and
//! templates `"`, `\`, controls and all bytes above 0x7e become `\xHH`, as nginx writes them, and an
//! absent value is `-`. No byte of a request can therefore end a line or a quoted value.

use std::{io::Write, net::SocketAddr, time::Duration};

use crate::base::{access::AccessRecord, civil::Civil};

/// Longest piece of client-given text in a line, in bytes before escaping; the rest is cut and the
/// cut shown as `...`. Bounds a line together with the number of fields.
pub const VALUE_BYTES_MAX: usize = 8 * 1024;

/// How a line is spelt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// One JSON object, schema above.
    Json,
    /// The combined log format of Apache and nginx; no user name is known, so the third field is
    /// always `-`.
    Combined,
    /// Literal text and fields.
    Template(Vec<Piece>),
}

/// A part of a [`Format::Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Written as it stands.
    Literal(String),
    /// Replaced by the record's value.
    Field(Field),
}

/// A value a template may name as `${name}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `time`: RFC 3339 with milliseconds, UTC.
    Time,
    /// `time_common`: `24/Nov/2026:14:56:02 +0000`.
    TimeCommon,
    /// `listener`
    Listener,
    /// `client`: address and port.
    Client,
    /// `client_ip`: address alone.
    ClientIp,
    /// `method`
    Method,
    /// `target`: path and query as sent.
    Target,
    /// `version`
    Version,
    /// `host`
    Host,
    /// `status`
    Status,
    /// `bytes_in`
    BytesIn,
    /// `bytes_out`
    BytesOut,
    /// `duration`: seconds, six decimals.
    Duration,
    /// `route`
    Route,
    /// `upstream`
    Upstream,
    /// `endpoint`
    Endpoint,
    /// `retries`
    Retries,
    /// `request_id`
    RequestId,
    /// `user_agent`
    UserAgent,
    /// `referer`
    Referer,
    /// `error`
    Error,
}

impl Field {
    /// Every field with the name a template gives it.
    pub const ALL: [(&'static str, Self); 21] = [
        ("time", Self::Time),
        ("time_common", Self::TimeCommon),
        ("listener", Self::Listener),
        ("client", Self::Client),
        ("client_ip", Self::ClientIp),
        ("method", Self::Method),
        ("target", Self::Target),
        ("version", Self::Version),
        ("host", Self::Host),
        ("status", Self::Status),
        ("bytes_in", Self::BytesIn),
        ("bytes_out", Self::BytesOut),
        ("duration", Self::Duration),
        ("route", Self::Route),
        ("upstream", Self::Upstream),
        ("endpoint", Self::Endpoint),
        ("retries", Self::Retries),
        ("request_id", Self::RequestId),
        ("user_agent", Self::UserAgent),
        ("referer", Self::Referer),
        ("error", Self::Error),
    ];

    /// The field a template calls `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, field)| *field)
    }

    /// What a template calls this field.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, field)| *field == self).map_or("", |(name, _)| name)
    }
}

/// Appends the record as one line, with its newline.
pub fn format_line(record: &AccessRecord<'_>, format: &Format, out: &mut Vec<u8>) {
    match format {
        Format::Json => json(record, out),
        Format::Combined => combined(record, out),
        Format::Template(pieces) => template(record, pieces, out),
    }
    out.push(b'\n');
}

fn json(r: &AccessRecord<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    Civil::from_system_time(r.time).write_rfc3339(out);
    out.push(b'"');
    json_text(",\"listener\":", Some(r.listener.as_bytes()), out);
    out.extend_from_slice(b",\"client\":\"");
    address(r.client, out);
    out.push(b'"');
    json_text(",\"method\":", Some(r.method), out);
    json_text(",\"target\":", Some(r.target), out);
    json_text(",\"version\":", Some(r.version.as_bytes()), out);
    json_text(",\"host\":", r.host, out);
    json_number(",\"status\":", u64::from(r.status), out);
    json_number(",\"bytes_in\":", r.bytes_in, out);
    json_number(",\"bytes_out\":", r.bytes_out, out);
    out.extend_from_slice(b",\"duration\":");
    seconds(r.duration, out);
    json_text(",\"route\":", r.route.map(str::as_bytes), out);
    json_text(",\"upstream\":", r.upstream.map(str::as_bytes), out);
    out.extend_from_slice(b",\"endpoint\":");
    match r.endpoint {
        Some(endpoint) => {
            out.push(b'"');
            address(endpoint, out);
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
    json_number(",\"retries\":", u64::from(r.retries), out);
    json_text(",\"request_id\":", r.request_id, out);
    json_text(",\"user_agent\":", r.user_agent, out);
    json_text(",\"referer\":", r.referer, out);
    json_text(",\"error\":", r.error.map(str::as_bytes), out);
    out.push(b'}');
}

fn combined(r: &AccessRecord<'_>, out: &mut Vec<u8>) {
    field(r, Field::ClientIp, out);
    out.extend_from_slice(b" - - [");
    Civil::from_system_time(r.time).write_common_log(out);
    out.extend_from_slice(b"] \"");
    if r.method.is_empty() {
        // Nothing readable was sent: nginx leaves the quoted request empty.
    } else {
        hex_escaped(r.method, out);
        out.push(b' ');
        hex_escaped(r.target, out);
        out.push(b' ');
        hex_escaped(r.version.as_bytes(), out);
    }
    out.extend_from_slice(b"\" ");
    // nginx writes 000 where there is no status; parsers expect three digits.
    if r.status == 0 { out.extend_from_slice(b"000") } else { number(u64::from(r.status), out) }
    out.push(b' ');
    number(r.bytes_out, out);
    out.extend_from_slice(b" \"");
    field(r, Field::Referer, out);
    out.extend_from_slice(b"\" \"");
    field(r, Field::UserAgent, out);
    out.push(b'"');
}

fn template(r: &AccessRecord<'_>, pieces: &[Piece], out: &mut Vec<u8>) {
    for piece in pieces {
        match piece {
            Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Field(name) => field(r, *name, out),
        }
    }
}

fn field(r: &AccessRecord<'_>, field: Field, out: &mut Vec<u8>) {
    match field {
        Field::Time => Civil::from_system_time(r.time).write_rfc3339(out),
        Field::TimeCommon => Civil::from_system_time(r.time).write_common_log(out),
        Field::Listener => or_dash(Some(r.listener.as_bytes()), out),
        Field::Client => address(r.client, out),
        Field::ClientIp => display(r.client.ip(), out),
        Field::Method => or_dash(Some(r.method), out),
        Field::Target => or_dash(Some(r.target), out),
        Field::Version => or_dash(Some(r.version.as_bytes()), out),
        Field::Host => or_dash(r.host, out),
        Field::Status => number(u64::from(r.status), out),
        Field::BytesIn => number(r.bytes_in, out),
        Field::BytesOut => number(r.bytes_out, out),
        Field::Duration => seconds(r.duration, out),
        Field::Route => or_dash(r.route.map(str::as_bytes), out),
        Field::Upstream => or_dash(r.upstream.map(str::as_bytes), out),
        Field::Endpoint => match r.endpoint {
            Some(endpoint) => address(endpoint, out),
            None => out.push(b'-'),
        },
        Field::Retries => number(u64::from(r.retries), out),
        Field::RequestId => or_dash(r.request_id, out),
        Field::UserAgent => or_dash(r.user_agent, out),
        Field::Referer => or_dash(r.referer, out),
        Field::Error => or_dash(r.error.map(str::as_bytes), out),
    }
}

fn or_dash(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        Some(value) if !value.is_empty() => hex_escaped(value, out),
        _ => out.push(b'-'),
    }
}

fn number(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn seconds(duration: Duration, out: &mut Vec<u8>) {
    number(duration.as_secs(), out);
    out.push(b'.');
    let mut unit = 100_000;
    while unit > 0 {
        let digit = duration.subsec_micros() / unit % 10;
        out.push(b'0' + u8::try_from(digit).unwrap_or(0));
        unit /= 10;
    }
}

fn address(address: SocketAddr, out: &mut Vec<u8>) {
    // Dotted by hand: the formatter's padding support costs more than the digits.
    if let SocketAddr::V4(v4) = address {
        for (i, octet) in v4.ip().octets().into_iter().enumerate() {
            if i > 0 {
                out.push(b'.');
            }
            number(u64::from(octet), out);
        }
        out.push(b':');
        number(u64::from(v4.port()), out);
    } else {
        display(address, out);
    }
}

fn display(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    write!(out, "{value}").expect("writing to a Vec never fails");
}

fn json_number(key: &str, value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(key.as_bytes());
    number(value, out);
}

fn json_text(key: &str, value: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(key.as_bytes());
    let Some(value) = value else {
        out.extend_from_slice(b"null");
        return;
    };
    out.push(b'"');
    let (value, is_cut) = bounded(value);
    for chunk in value.utf8_chunks() {
        json_escaped(chunk.valid().as_bytes(), out);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    if is_cut {
        out.extend_from_slice(b"...");
    }
    out.push(b'"');
}

/// RFC 8259 §7: quote, backslash and U+0000 to U+001F must be escaped.
fn json_escaped(text: &[u8], out: &mut Vec<u8>) {
    let mut clean_from = 0;
    for (i, &byte) in text.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&text[clean_from..i]);
        clean_from = i + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                hex(byte, out);
            }
        }
    }
    out.extend_from_slice(&text[clean_from..]);
}

/// nginx's default escaping: `"`, `\`, and what is below 32 or above 126 as `\xHH`.
fn hex_escaped(value: &[u8], out: &mut Vec<u8>) {
    let (value, is_cut) = bounded(value);
    let mut clean_from = 0;
    for (i, &byte) in value.iter().enumerate() {
        if (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&value[clean_from..i]);
        clean_from = i + 1;
        out.extend_from_slice(b"\\x");
        hex(byte, out);
    }
    out.extend_from_slice(&value[clean_from..]);
    if is_cut {
        out.extend_from_slice(b"...");
    }
}

/// The part of `value` that a line may hold, and whether that is less than all.
fn bounded(value: &[u8]) -> (&[u8], bool) {
    match value.get(..VALUE_BYTES_MAX) {
        Some(head) if value.len() > VALUE_BYTES_MAX => (head, true),
        _ => (value, false),
    }
}

fn hex(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push(DIGITS[usize::from(byte >> 4)]);
    out.push(DIGITS[usize::from(byte & 15)]);
}

#[cfg(test)]
pub(super) mod tests;
