//! One access record as one line: JSON, combined, or a template. Pure, allocation-free.
//!
//! The JSON object always has the same keys in the same order; what is unknown is `null`:
//!
//! | key | value |
//! |---|---|
//! | `time` | when the exchange ended: RFC 3339, UTC, milliseconds |
//! | `client_ip` | address |
//! | `method`, `scheme` | string |
//! | `host`, `path`, `query` | string or null |
//! | `version` | `HTTP/1.1` or the like |
//! | `status` | number, 0 if the client was told nothing |
//! | `bytes_in`, `bytes_out` | number, bytes of body |
//! | `duration` | milliseconds, three decimals |
//! | `upstream_duration` | the same, or null |
//! | `listener` | string |
//! | `route`, `upstream`, `endpoint` | string or null |
//! | `attempts` | number of times the request was sent to an endpoint |
//! | `request_id`, `referer`, `user_agent` | string or null |
//! | `tls` | null in the clear, else an object with what follows |
//! | `tls`: `version`, `cipher` | string |
//! | `tls`: `sni`, `alpn`, `client_subject` | string or null |
//! | `tls`: `resumed` | boolean |
//! | `error` | string or null |
//!
//! JSON text is escaped by RFC 8259 §7; bytes that aren't UTF-8 become U+FFFD. In `combined` and
//! templates `"`, `\`, controls and all bytes above 0x7e become `\xHH`, as nginx writes them, and an
//! absent value is `-`. No byte of a request can therefore end a line or a quoted value.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use crate::base::{
    access::{AccessRecord, TlsFacts},
    address::{Address, UNIX_CLIENT, UNIX_CLIENT_TEXT},
    civil::Civil,
};

/// Longest piece of client-given text in a line, in bytes before escaping; the rest is cut and the
/// cut shown as `...`. Bounds a line together with the number of fields.
pub const VALUE_BYTES_MAX: usize = 8 * 1024;

/// A JSON line of a browser's request; a buffer of this size seldom grows.
const JSON_BYTES_USUAL: usize = 1024;

/// How a line is spelt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessFormat {
    /// One JSON object, schema above.
    Json,
    /// The combined log format of Apache and nginx; no user name is known, so the third field is
    /// always `-`.
    Combined,
    /// Literal text and fields, one after the other.
    Template(Vec<LogPiece>),
}

/// A piece of an access-log template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPiece {
    /// Text as it stands.
    Literal(String),
    /// `${name}`
    Field(LogField),
}

/// What an access-log line can tell; the name in the file is [`LogField::name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogField {
    /// When the exchange ended, RFC 3339, UTC, milliseconds.
    Time,
    /// Address of the client, as the trusted proxies tell it.
    ClientIp,
    /// Request method.
    Method,
    /// `http`
    Scheme,
    /// Host of the request, without the port.
    Host,
    /// Path as it came.
    Path,
    /// Query without `?`.
    Query,
    /// `HTTP/1.1`
    Version,
    /// Status sent to the client; 0 if none was.
    Status,
    /// Bytes of request body received.
    BytesIn,
    /// Bytes of response body sent.
    BytesOut,
    /// First byte of the request to last byte of the response, milliseconds, three decimals.
    Duration,
    /// First byte of the request to the upstream's response head, milliseconds, three decimals.
    UpstreamDuration,
    /// Name of the listener.
    Listener,
    /// Name of the route, none if none matched.
    Route,
    /// Name of the upstream.
    Upstream,
    /// Address of the endpoint that answered, or that was tried last.
    Endpoint,
    /// How many times the request was sent to an endpoint.
    Attempts,
    /// The request's id.
    RequestId,
    /// `Referer` of the request.
    Referer,
    /// `User-Agent` of the request.
    UserAgent,
    /// Version of TLS: `1.2` or `1.3`; none in the clear, as all that follow.
    TlsVersion,
    /// Cipher suite, as IANA writes it.
    TlsCipher,
    /// Server name that the client asked for.
    TlsSni,
    /// Protocol that was chosen by ALPN.
    TlsAlpn,
    /// Whether an earlier session was continued: `true` or `false`.
    TlsResumed,
    /// Subject of the client's verified certificate.
    TlsClientSubject,
    /// What went wrong, none if nothing did.
    Error,
}

impl LogField {
    /// Every field, in the order of the JSON line.
    pub const ALL: [Self; 28] = [
        Self::Time,
        Self::ClientIp,
        Self::Method,
        Self::Scheme,
        Self::Host,
        Self::Path,
        Self::Query,
        Self::Version,
        Self::Status,
        Self::BytesIn,
        Self::BytesOut,
        Self::Duration,
        Self::UpstreamDuration,
        Self::Listener,
        Self::Route,
        Self::Upstream,
        Self::Endpoint,
        Self::Attempts,
        Self::RequestId,
        Self::Referer,
        Self::UserAgent,
        Self::TlsVersion,
        Self::TlsCipher,
        Self::TlsSni,
        Self::TlsAlpn,
        Self::TlsResumed,
        Self::TlsClientSubject,
        Self::Error,
    ];

    /// Name of the field in a template and in the JSON line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::ClientIp => "client_ip",
            Self::Method => "method",
            Self::Scheme => "scheme",
            Self::Host => "host",
            Self::Path => "path",
            Self::Query => "query",
            Self::Version => "version",
            Self::Status => "status",
            Self::BytesIn => "bytes_in",
            Self::BytesOut => "bytes_out",
            Self::Duration => "duration",
            Self::UpstreamDuration => "upstream_duration",
            Self::Listener => "listener",
            Self::Route => "route",
            Self::Upstream => "upstream",
            Self::Endpoint => "endpoint",
            Self::Attempts => "attempts",
            Self::RequestId => "request_id",
            Self::Referer => "referer",
            Self::UserAgent => "user_agent",
            Self::TlsVersion => "tls.version",
            Self::TlsCipher => "tls.cipher",
            Self::TlsSni => "tls.sni",
            Self::TlsAlpn => "tls.alpn",
            Self::TlsResumed => "tls.resumed",
            Self::TlsClientSubject => "tls.client_subject",
            Self::Error => "error",
        }
    }
}

/// Appends the record as one line, with its newline.
pub fn format_line(record: &AccessRecord<'_>, format: &AccessFormat, out: &mut Vec<u8>) {
    match format {
        AccessFormat::Json => json(record, out),
        AccessFormat::Combined => combined(record, out),
        AccessFormat::Template(pieces) => template(record, pieces, out),
    }
    out.push(b'\n');
}

fn json(r: &AccessRecord<'_>, out: &mut Vec<u8>) {
    out.reserve(JSON_BYTES_USUAL);
    out.extend_from_slice(b"{\"time\":\"");
    Civil::from_system_time(r.time).write_rfc3339(out);
    out.extend_from_slice(b"\",\"client_ip\":\"");
    ip(r.client_ip, out);
    out.push(b'"');
    json_text(",\"method\":", Some(r.method), out);
    json_text(",\"scheme\":", Some(r.scheme.as_bytes()), out);
    json_text(",\"host\":", r.host, out);
    json_text(",\"path\":", r.path, out);
    json_text(",\"query\":", r.query, out);
    json_text(",\"version\":", Some(r.version.as_bytes()), out);
    json_number(",\"status\":", u64::from(r.status), out);
    json_number(",\"bytes_in\":", r.bytes_in, out);
    json_number(",\"bytes_out\":", r.bytes_out, out);
    out.extend_from_slice(b",\"duration\":");
    millis(r.duration, out);
    out.extend_from_slice(b",\"upstream_duration\":");
    match r.upstream_duration {
        Some(duration) => millis(duration, out),
        None => out.extend_from_slice(b"null"),
    }
    json_text(",\"listener\":", Some(r.listener.as_bytes()), out);
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
    json_number(",\"attempts\":", u64::from(r.attempts), out);
    json_text(",\"request_id\":", r.request_id, out);
    json_text(",\"referer\":", r.referer, out);
    json_text(",\"user_agent\":", r.user_agent, out);
    json_tls(r.tls, out);
    json_text(",\"error\":", r.error.map(str::as_bytes), out);
    out.push(b'}');
}

fn json_tls(facts: Option<TlsFacts<'_>>, out: &mut Vec<u8>) {
    let Some(facts) = facts else { return out.extend_from_slice(b",\"tls\":null") };
    json_text(",\"tls\":{\"version\":", Some(facts.version.as_bytes()), out);
    json_text(",\"cipher\":", Some(facts.cipher.as_bytes()), out);
    json_text(",\"sni\":", facts.sni.map(str::as_bytes), out);
    json_text(",\"alpn\":", facts.alpn, out);
    out.extend_from_slice(b",\"resumed\":");
    out.extend_from_slice(truth(facts.is_resumed));
    json_text(",\"client_subject\":", facts.client_subject.map(str::as_bytes), out);
    out.push(b'}');
}

fn truth(is_so: bool) -> &'static [u8] {
    if is_so { b"true" } else { b"false" }
}

fn combined(r: &AccessRecord<'_>, out: &mut Vec<u8>) {
    ip(r.client_ip, out);
    out.extend_from_slice(b" - - [");
    Civil::from_system_time(r.time).write_common_log(out);
    out.extend_from_slice(b"] \"");
    // Where nothing readable was sent nginx leaves the quoted request empty.
    if !r.method.is_empty() {
        hex_escaped(r.method, out);
        out.push(b' ');
        hex_escaped(r.path.unwrap_or(b"*"), out);
        if let Some(query) = r.query {
            out.push(b'?');
            hex_escaped(query, out);
        }
        out.push(b' ');
        hex_escaped(r.version.as_bytes(), out);
    }
    out.extend_from_slice(b"\" ");
    // nginx writes 000 where there is no status; parsers expect three digits.
    if r.status == 0 {
        out.extend_from_slice(b"000");
    } else {
        number(u64::from(r.status), out);
    }
    out.push(b' ');
    number(r.bytes_out, out);
    out.extend_from_slice(b" \"");
    or_dash(r.referer, out);
    out.extend_from_slice(b"\" \"");
    or_dash(r.user_agent, out);
    out.push(b'"');
}

fn template(r: &AccessRecord<'_>, pieces: &[LogPiece], out: &mut Vec<u8>) {
    for piece in pieces {
        match piece {
            LogPiece::Literal(text) => out.extend_from_slice(text.as_bytes()),
            LogPiece::Field(name) => field(r, *name, out),
        }
    }
}

fn field(r: &AccessRecord<'_>, field: LogField, out: &mut Vec<u8>) {
    match field {
        LogField::Time => Civil::from_system_time(r.time).write_rfc3339(out),
        LogField::ClientIp => ip(r.client_ip, out),
        LogField::Method => or_dash(Some(r.method), out),
        LogField::Scheme => or_dash(Some(r.scheme.as_bytes()), out),
        LogField::Host => or_dash(r.host, out),
        LogField::Path => or_dash(r.path, out),
        LogField::Query => or_dash(r.query, out),
        LogField::Version => or_dash(Some(r.version.as_bytes()), out),
        LogField::Status => number(u64::from(r.status), out),
        LogField::BytesIn => number(r.bytes_in, out),
        LogField::BytesOut => number(r.bytes_out, out),
        LogField::Duration => millis(r.duration, out),
        LogField::UpstreamDuration => match r.upstream_duration {
            Some(duration) => millis(duration, out),
            None => out.push(b'-'),
        },
        LogField::Listener => or_dash(Some(r.listener.as_bytes()), out),
        LogField::Route => or_dash(r.route.map(str::as_bytes), out),
        LogField::Upstream => or_dash(r.upstream.map(str::as_bytes), out),
        LogField::Endpoint => match r.endpoint {
            Some(endpoint) => address(endpoint, out),
            None => out.push(b'-'),
        },
        LogField::Attempts => number(u64::from(r.attempts), out),
        LogField::RequestId => or_dash(r.request_id, out),
        LogField::Referer => or_dash(r.referer, out),
        LogField::UserAgent => or_dash(r.user_agent, out),
        LogField::TlsVersion
        | LogField::TlsCipher
        | LogField::TlsSni
        | LogField::TlsAlpn
        | LogField::TlsResumed
        | LogField::TlsClientSubject => or_dash(r.tls.and_then(|tls| fact(tls, field)), out),
        LogField::Error => or_dash(r.error.map(str::as_bytes), out),
    }
}

fn fact(tls: TlsFacts<'_>, field: LogField) -> Option<&[u8]> {
    match field {
        LogField::TlsVersion => Some(tls.version.as_bytes()),
        LogField::TlsCipher => Some(tls.cipher.as_bytes()),
        LogField::TlsSni => tls.sni.map(str::as_bytes),
        LogField::TlsAlpn => tls.alpn,
        LogField::TlsResumed => Some(truth(tls.is_resumed)),
        LogField::TlsClientSubject => tls.client_subject.map(str::as_bytes),
        _ => None,
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

/// Milliseconds, three decimals.
fn millis(duration: Duration, out: &mut Vec<u8>) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    number(micros / 1_000, out);
    out.push(b'.');
    for unit in [100, 10, 1] {
        out.push(b'0' + u8::try_from(micros / unit % 10).unwrap_or(0));
    }
}

fn address(address: Address, out: &mut Vec<u8>) {
    match address {
        Address::Ip(SocketAddr::V4(v4)) => {
            dotted(*v4.ip(), out);
            out.push(b':');
            number(u64::from(v4.port()), out);
        }
        Address::Ip(SocketAddr::V6(_)) => display(address, out),
        Address::Unix(path) => hex_escaped(format!("unix:{}", path.as_str()).as_bytes(), out),
    }
}

fn ip(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        UNIX_CLIENT => out.extend_from_slice(UNIX_CLIENT_TEXT.as_bytes()),
        IpAddr::V4(v4) => dotted(v4, out),
        IpAddr::V6(_) => display(ip, out),
    }
}

/// By hand: the formatter's padding support costs more than the digits.
fn dotted(v4: Ipv4Addr, out: &mut Vec<u8>) {
    for (i, octet) in v4.octets().into_iter().enumerate() {
        if i > 0 {
            out.push(b'.');
        }
        number(u64::from(octet), out);
    }
}

fn display(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    write!(out, "{value}").expect("writing to a Vec never fails");
}

#[inline]
fn json_number(key: &str, value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(key.as_bytes());
    number(value, out);
}

#[inline]
fn json_text(key: &str, value: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(key.as_bytes());
    match value {
        Some(value) => json_string(value, out),
        None => out.extend_from_slice(b"null"),
    }
}

fn json_string(value: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let (value, is_cut) = bounded(value);
    if is_plain(value) {
        out.extend_from_slice(value);
    } else {
        for chunk in value.utf8_chunks() {
            json_escaped(chunk.valid().as_bytes(), out);
            if !chunk.invalid().is_empty() {
                out.extend_from_slice("\u{fffd}".as_bytes());
            }
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
    if is_plain(value) {
        out.extend_from_slice(value);
    } else {
        for &byte in value {
            if is_plain_byte(byte) {
                out.push(byte);
            } else {
                out.extend_from_slice(b"\\x");
                hex(byte, out);
            }
        }
    }
    if is_cut {
        out.extend_from_slice(b"...");
    }
}

/// Whether no format needs to escape any of it, as is nearly always the case. Looked at eight bytes
/// at a time: a JSON line of 540 bytes went from 480 to 250 ns of CPU time (Linux 6.18 in a VM,
/// rustc 1.95 -O, loop over one record).
fn is_plain(value: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x80 * ONES;
    // A high bit in the result: that byte, or one below it, is zero.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let (words, rest) = value.as_chunks::<8>();
    let mut suspects = 0;
    for word in words {
        let word = u64::from_ne_bytes(*word);
        suspects |= word
            | (word.wrapping_sub(0x20 * ONES) & !word)
            | zeros(word ^ (u64::from(b'"') * ONES))
            | zeros(word ^ (u64::from(b'\\') * ONES))
            | zeros(word ^ (0x7f * ONES));
    }
    suspects & HIGHS == 0 && rest.iter().all(|byte| is_plain_byte(*byte))
}

fn is_plain_byte(byte: u8) -> bool {
    (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\'
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
