//! From a head to a header block. Always anew: framing is an argument and never a field, and
//! what belongs to another connection is skipped, as `h1::encode` does it.

use super::frame::{finish_headers, reserve_head};
use super::hpack::{ENTRY_OVERHEAD, Encoder, lower_name};
use crate::protocol::http::{
    Form, Framing, Headers, Method, Name, RequestHead, ResponseHead, Scheme, Status,
};

/// What a message's HEADERS frame says beside its fields.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing {
    pub(super) stream: u32,
    pub(super) ends: bool,
}

/// Appends HEADERS (and CONTINUATIONs) of a request.
pub(super) fn put_request(
    head: &RequestHead,
    scheme: Scheme,
    framing: Framing,
    outgoing: Outgoing,
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
) {
    let start = reserve_head(out);
    encoder.begin(out);
    match head.method {
        Method::Get => encoder.indexed(METHOD_GET, out),
        Method::Post => encoder.indexed(METHOD_POST, out),
        _ => encoder.pseudo(METHOD_GET, b":method", head.method_str().as_bytes(), out),
    }
    if !is_plain_connect(head) {
        encoder.indexed(if scheme == Scheme::Https { SCHEME_HTTPS } else { SCHEME_HTTP }, out);
        put_path(head, encoder, out);
        if let Some(protocol) = head.protocol() {
            encoder.pseudo(0, b":protocol", protocol.as_bytes(), out);
        }
    }
    if let Some(host) = head.headers.get_known(Name::Host).filter(|host| !host.is_empty()) {
        encoder.pseudo(AUTHORITY, b":authority", host, out);
    }
    put_fields(&head.headers, encoder, out);
    put_length(framing, encoder, out);
    finish_headers(start, outgoing.ends, outgoing.stream, out);
}

/// CONNECT as §8.5 has it, not extended.
pub(super) fn is_plain_connect(head: &RequestHead) -> bool {
    head.method == Method::Connect && head.protocol().is_none()
}

fn put_path(head: &RequestHead, encoder: &Encoder, out: &mut Vec<u8>) {
    match (head.path(), head.query()) {
        ("/", None) => encoder.indexed(PATH_ROOT, out),
        (path, query) => {
            let path = if head.form() == Form::Authority { "/" } else { path };
            encoder.plain_pieces(PATH_ROOT, path.as_bytes(), query.map(str::as_bytes), out);
        }
    }
}

/// Appends HEADERS of a response; `date` is added to a final one that has no Date.
pub(super) fn put_response(
    head: &ResponseHead,
    framing: Framing,
    date: Option<&str>,
    outgoing: Outgoing,
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
) {
    let start = reserve_head(out);
    encoder.begin(out);
    put_status(head.status, encoder, out);
    put_fields(&head.headers, encoder, out);
    let is_final = !head.status.is_informational();
    if let (Some(date), None, true) = (date, head.headers.get_known(Name::Date), is_final) {
        encoder.field(Name::Date, b"date", date.as_bytes(), out);
    }
    if is_final && head.status.code() != 204 {
        put_length(framing, encoder, out);
    }
    finish_headers(start, outgoing.ends, outgoing.stream, out);
}

fn put_status(status: Status, encoder: &Encoder, out: &mut Vec<u8>) {
    match status.code() {
        200 => encoder.indexed(8, out),
        204 => encoder.indexed(9, out),
        206 => encoder.indexed(10, out),
        304 => encoder.indexed(11, out),
        400 => encoder.indexed(12, out),
        404 => encoder.indexed(13, out),
        500 => encoder.indexed(14, out),
        _ => encoder.plain(8, &status.digits(), out),
    }
}

/// Appends HEADERS of trailers, which end the stream.
pub(super) fn put_trailers(
    trailers: &Headers,
    stream: u32,
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
) {
    let start = reserve_head(out);
    encoder.begin(out);
    put_fields(trailers, encoder, out);
    finish_headers(start, true, stream, out);
}

fn put_fields(headers: &Headers, encoder: &mut Encoder, out: &mut Vec<u8>) {
    for (id, name, value) in headers.iter_known() {
        match id {
            // Written by us, or of another connection (RFC 9113 §8.2.2).
            Name::Host
            | Name::ContentLength
            | Name::TransferEncoding
            | Name::Connection
            | Name::KeepAlive
            | Name::ProxyConnection
            | Name::Upgrade => {}
            Name::Te if !value.eq_ignore_ascii_case(b"trailers") => {}
            Name::Other => put_other(name, value, encoder, out),
            _ => encoder.field(id, lower_name(id), value, out),
        }
    }
}

/// A name that isn't known may be in any case, and is written in lower case (§8.2.1).
fn put_other(name: &[u8], value: &[u8], encoder: &mut Encoder, out: &mut Vec<u8>) {
    if name.eq_ignore_ascii_case(b"http2-settings") {
        // Of HTTP/1.1's upgrade, which is gone (§3.1).
        return;
    }
    if !name.iter().any(u8::is_ascii_uppercase) {
        return encoder.field(Name::Other, name, value, out);
    }
    let mut buffer = [0; SHORT_NAME_BYTES];
    match buffer.get_mut(..name.len()) {
        Some(lower) => {
            lower.copy_from_slice(name);
            lower.make_ascii_lowercase();
            encoder.field(Name::Other, lower, value, out);
        }
        None => encoder.field(Name::Other, &name.to_ascii_lowercase(), value, out),
    }
}

/// Names up to this are lowered without an allocation.
const SHORT_NAME_BYTES: usize = 64;

fn put_length(framing: Framing, encoder: &Encoder, out: &mut Vec<u8>) {
    if let Framing::Length(length) | Framing::Described(length) = framing {
        encoder.plain(CONTENT_LENGTH, itoa::Buffer::new().format(length).as_bytes(), out);
    }
}

/// Bytes of a header list as §6.5.2 counts them, at most.
pub(super) fn list_bytes(headers: &Headers, line_bytes: usize) -> usize {
    let fields: usize =
        headers.iter().map(|(name, value)| name.len() + value.len() + ENTRY_OVERHEAD).sum();
    // Pseudo-fields, Content-Length and Date.
    fields + line_bytes + 7 * (ENTRY_OVERHEAD + 10)
}

const AUTHORITY: u8 = 1;
const METHOD_GET: u8 = 2;
const METHOD_POST: u8 = 3;
const PATH_ROOT: u8 = 4;
const SCHEME_HTTP: u8 = 6;
const SCHEME_HTTPS: u8 = 7;
const CONTENT_LENGTH: u8 = 28;
