//! Writes heads and chunks. Always anew: no byte of a head is copied from the wire unparsed.
//!
//! Framing is an argument and never a field: Content-Length, Transfer-Encoding, Connection and
//! the other hop-by-hop fields that a head may still hold are skipped, and the right ones are
//! written from what the caller decided. Heads can't hold CR or LF (their setters and the
//! parsers see to it), so nothing here can be split. Whatever came, we speak HTTP/1.1.

use crate::protocol::http::{Form, Framing, Headers, Method, Name, RequestHead, ResponseHead};

/// What a response says about its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConnectionHeader {
    /// Nothing: HTTP/1.1 keeps the connection.
    #[default]
    Implied,
    /// `keep-alive`, which HTTP/1.0 clients need to hear.
    KeepAlive,
    /// `close`.
    Close,
    /// `upgrade`, with 101 and 426; the head holds the Upgrade field.
    Upgrade,
}

/// Appends a request head to `out`.
///
/// The target is written in origin-form (`*` for asterisk-form, the authority for CONNECT), Host
/// comes first and is empty if the head has none. If the head holds Upgrade or TE, Connection
/// names them, as RFC 9110 §7.8 and §10.1.4 want.
pub fn encode_request(head: &RequestHead, framing: Framing, out: &mut Vec<u8>) {
    match head.unchanged_line() {
        Some(line) => out.extend_from_slice(line),
        None => {
            out.extend_from_slice(head.method_str().as_bytes());
            out.push(b' ');
            encode_target(head, out);
        }
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if head.headers.begins_with(Name::Host) {
        head.headers.write_lines(WRITTEN_BY_US, out);
    } else {
        out.extend_from_slice(b"Host: ");
        out.extend_from_slice(head.headers.get_known(Name::Host).unwrap_or(b""));
        out.extend_from_slice(b"\r\n");
        head.headers.write_lines(WRITTEN_BY_US | Name::Host.bit(), out);
    }
    encode_framing(framing, out);
    out.extend_from_slice(connection_line(&head.headers));
    out.extend_from_slice(b"\r\n");
}

/// Appends a response head to `out`.
///
/// `date` is added if the head has no Date (RFC 9110 §6.6.1 asks that of whoever forwards one
/// without). 1xx and 204 never get a length. [`Framing::None`] writes no length either: that is
/// right for those, for HEAD and for 304; an empty body elsewhere is `Framing::Length(0)`.
pub fn encode_response(
    head: &ResponseHead,
    framing: Framing,
    connection: ConnectionHeader,
    date: Option<&str>,
    out: &mut Vec<u8>,
) {
    match head.unchanged_line() {
        Some(line) => out.extend_from_slice(line),
        None => {
            out.extend_from_slice(b"HTTP/1.1 ");
            out.extend_from_slice(&head.status.digits());
            out.push(b' ');
            out.extend_from_slice(head.reason());
            out.extend_from_slice(b"\r\n");
        }
    }
    head.headers.write_lines(WRITTEN_BY_US, out);
    if let (None, Some(date)) = (head.headers.get_known(Name::Date), date) {
        debug_assert!(!date.contains(['\r', '\n']), "a date is one line");
        for part in [&b"Date: "[..], date.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    if !head.status.is_informational() && head.status.code() != 204 {
        encode_framing(framing, out);
    }
    out.extend_from_slice(match connection {
        ConnectionHeader::Implied => b"",
        ConnectionHeader::KeepAlive => b"Connection: keep-alive\r\n",
        ConnectionHeader::Close => b"Connection: close\r\n",
        ConnectionHeader::Upgrade => b"Connection: upgrade\r\n",
    });
    out.extend_from_slice(b"\r\n");
}

/// Most bytes that [`encode_chunk_head`] writes: 16 digits and CRLF.
pub const CHUNK_HEAD_BYTES_MAX: usize = 18;

/// Appends the line before a chunk of `len` data bytes. `len` isn't 0: that would end the body
/// (see [`encode_last_chunk`]).
pub fn encode_chunk_head(len: u64, out: &mut Vec<u8>) {
    debug_assert!(len > 0, "an empty chunk ends the body");
    let digits = (u64::BITS - len.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        let digit = u8::try_from(len >> (place * 4) & 0xf).unwrap_or(0);
        out.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends what follows a chunk's data.
pub fn encode_chunk_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Appends the last chunk and the trailers. Fields that may not be trailers aren't written.
pub fn encode_last_chunk(trailers: Option<&Headers>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        trailers.write_lines(WRITTEN_BY_US | NEVER_TRAILERS, out);
    }
    out.extend_from_slice(b"\r\n");
}

fn encode_target(head: &RequestHead, out: &mut Vec<u8>) {
    if head.method == Method::Connect && head.form() == Form::Authority {
        out.extend_from_slice(head.authority().unwrap_or_default().as_bytes());
        return;
    }
    out.extend_from_slice(head.path().as_bytes());
    if let Some(query) = head.query() {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
}

fn encode_framing(framing: Framing, out: &mut Vec<u8>) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(length) | Framing::Described(length) => {
            out.extend_from_slice(b"Content-Length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
}

/// Never copied from a head.
const WRITTEN_BY_US: u64 = Name::ContentLength.bit()
    | Name::TransferEncoding.bit()
    | Name::Connection.bit()
    | Name::KeepAlive.bit()
    | Name::ProxyConnection.bit();

const NEVER_TRAILERS: u64 =
    Name::Host.bit() | Name::Te.bit() | Name::Upgrade.bit() | Name::Trailer.bit();

/// The Connection line that names the hop-by-hop fields which a request's head still holds.
fn connection_line(headers: &Headers) -> &'static [u8] {
    if !headers.may_hold(Name::Upgrade.bit() | Name::Te.bit()) {
        return b"";
    }
    let holds = |name| headers.get_known(name).is_some();
    match (holds(Name::Upgrade), holds(Name::Te)) {
        (false, false) => b"",
        (true, false) => b"Connection: upgrade\r\n",
        (false, true) => b"Connection: TE\r\n",
        (true, true) => b"Connection: upgrade, TE\r\n",
    }
}
