//! What we write: framing from the argument only, and nothing that could split a message.

use ringway::protocol::{
    h1::{
        CHUNK_HEAD_BYTES_MAX, ConnectionHeader, HeadLimits, encode_chunk_end, encode_chunk_head,
        encode_last_chunk, encode_request, encode_response, parse_request, parse_response,
    },
    http::{Framing, Headers, RequestHead, ResponseHead, Status, strip_request_hops},
};

fn request(wire: &str) -> RequestHead {
    let mut head = RequestHead::new();
    parse_request(wire.as_bytes(), &HeadLimits::default(), &mut head).unwrap();
    head
}

fn encoded(head: &RequestHead, framing: Framing) -> String {
    let mut out = Vec::new();
    encode_request(head, framing, &mut out);
    String::from_utf8(out).unwrap()
}

fn encoded_response(
    wire: &str,
    framing: Framing,
    connection: ConnectionHeader,
    date: Option<&str>,
) -> String {
    let mut head = ResponseHead::new();
    parse_response(wire.as_bytes(), &HeadLimits::default(), &mut head).unwrap();
    let mut out = Vec::new();
    encode_response(&head, framing, connection, date, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn host_comes_first_and_framing_last() {
    let head = request("POST /a?b HTTP/1.0\r\nX: 1\r\nContent-Length: 9\r\nHost: h\r\nY:2\r\n\r\n");
    let expected = "POST /a?b HTTP/1.1\r\nHost: h\r\nX: 1\r\nY: 2\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(encoded(&head, Framing::Length(3)), expected);
    let expected =
        "POST /a?b HTTP/1.1\r\nHost: h\r\nX: 1\r\nY: 2\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(encoded(&head, Framing::Chunked), expected);
    assert_eq!(
        encoded(&head, Framing::None),
        "POST /a?b HTTP/1.1\r\nHost: h\r\nX: 1\r\nY: 2\r\n\r\n"
    );
}

#[test]
fn fields_never_make_framing() {
    let mut head = RequestHead::new();
    for (name, value) in [
        ("Content-Length", "5"),
        ("transfer-encoding", "chunked"),
        ("Connection", "close, host"),
        ("Keep-Alive", "1"),
        ("Proxy-Connection", "x"),
    ] {
        head.headers.append(name, value).unwrap();
    }
    assert_eq!(encoded(&head, Framing::None), "GET / HTTP/1.1\r\nHost: \r\n\r\n");
}

#[test]
fn every_form_is_written_as_an_upstream_wants_it() {
    for (line, host, written) in [
        ("GET http://b/x?y HTTP/1.1", "a", "GET /x?y HTTP/1.1\r\nHost: b"),
        ("GET http://b HTTP/1.1", "a", "GET / HTTP/1.1\r\nHost: b"),
        ("OPTIONS * HTTP/1.1", "a", "OPTIONS * HTTP/1.1\r\nHost: a"),
        ("OPTIONS http://b HTTP/1.1", "a", "OPTIONS * HTTP/1.1\r\nHost: b"),
        ("CONNECT b:1 HTTP/1.1", "a", "CONNECT b:1 HTTP/1.1\r\nHost: b:1"),
        ("purge /x HTTP/1.1", "a", "purge /x HTTP/1.1\r\nHost: a"),
    ] {
        let head = request(&format!("{line}\r\nHost: {host}\r\n\r\n"));
        assert_eq!(encoded(&head, Framing::None), format!("{written}\r\n\r\n"));
    }
}

#[test]
fn a_rewritten_path_is_what_goes_out() {
    let mut head = request("GET http://b/api/x?y HTTP/1.1\r\nHost: a\r\n\r\n");
    head.set_path("/x").unwrap();
    assert_eq!(encoded(&head, Framing::None), "GET /x?y HTTP/1.1\r\nHost: b\r\n\r\n");
}

#[test]
fn connection_names_te_and_upgrade() {
    let mut head =
        request("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers, gzip\r\nConnection: TE, close\r\n\r\n");
    strip_request_hops(&mut head.headers).unwrap();
    assert_eq!(
        encoded(&head, Framing::None),
        "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n"
    );
    head.headers.set("Upgrade", "websocket").unwrap();
    assert!(
        encoded(&head, Framing::None)
            .ends_with("Upgrade: websocket\r\nConnection: upgrade, TE\r\n\r\n")
    );
}

#[test]
fn responses_speak_1_1_and_keep_their_reason() {
    let wire = "HTTP/1.0 404 Nope\r\nServer: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\n";
    assert_eq!(
        encoded_response(wire, Framing::Length(1), ConnectionHeader::Implied, Some("D")),
        "HTTP/1.1 404 Nope\r\nServer: x\r\nDate: D\r\nContent-Length: 1\r\n\r\n"
    );
    assert_eq!(
        encoded_response(
            "HTTP/1.1 200\r\nDate: E\r\n\r\n",
            Framing::Chunked,
            ConnectionHeader::Close,
            Some("D")
        ),
        "HTTP/1.1 200 \r\nDate: E\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn bodiless_responses_get_no_length() {
    for status in ["100 Continue", "103 Early Hints", "204 No Content"] {
        let wire = format!("HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\n");
        for framing in [Framing::Length(3), Framing::Chunked, Framing::None] {
            let written = encoded_response(&wire, framing, ConnectionHeader::Implied, None);
            assert_eq!(written, format!("HTTP/1.1 {status}\r\n\r\n"));
        }
    }
    assert_eq!(
        encoded_response(
            "HTTP/1.1 304 Not Modified\r\n\r\n",
            Framing::Described(7),
            ConnectionHeader::Implied,
            None
        ),
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"
    );
    let mut switching = ResponseHead::new();
    switching.set_status(Status::SWITCHING_PROTOCOLS);
    switching.headers.set("Upgrade", "websocket").unwrap();
    let mut out = Vec::new();
    encode_response(&switching, Framing::None, ConnectionHeader::Upgrade, None, &mut out);
    let expected =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn chunk_heads_are_short_hex() {
    for (len, text) in [
        (1, "1\r\n"),
        (10, "a\r\n"),
        (255, "ff\r\n"),
        (4096, "1000\r\n"),
        (u64::MAX, "ffffffffffffffff\r\n"),
    ] {
        let mut out = Vec::new();
        encode_chunk_head(len, &mut out);
        assert_eq!(out, text.as_bytes());
        assert!(out.len() <= CHUNK_HEAD_BYTES_MAX);
    }
    let mut out = Vec::new();
    encode_chunk_end(&mut out);
    encode_last_chunk(None, &mut out);
    assert_eq!(out, b"\r\n0\r\n\r\n");
}

#[test]
fn trailers_are_written_without_framing_fields() {
    let mut trailers = Headers::new();
    for (name, value) in
        [("X-Sum", "1"), ("Content-Length", "5"), ("Host", "b"), ("Connection", "x")]
    {
        trailers.append(name, value).unwrap();
    }
    let mut out = Vec::new();
    encode_last_chunk(Some(&trailers), &mut out);
    assert_eq!(out, b"0\r\nX-Sum: 1\r\n\r\n");
}
