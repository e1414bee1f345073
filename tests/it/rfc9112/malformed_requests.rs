//! Requests that must be refused, each with the exact status and reason.
//!
//! Every row is judged whole and cut after every byte: how the wire cuts a message must not
//! change the verdict.

use super::judge::{Verdict, judge_request, judge_request_in};
use ringway::protocol::h1::HeadLimits;

/// What is wrong, the bytes, status, reason.
pub(crate) type Row = (&'static str, &'static [u8], u16, &'static str);

#[rustfmt::skip]
pub(crate) const REQUEST_LINE: &[Row] = &[
    ("no version (HTTP/0.9)", b"GET /\r\n\r\n", 400, "invalid request target"),
    ("no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid request target"),
    ("no method", b" / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid method"),
    ("empty target", b"GET  HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid request target"),
    ("two spaces after the method", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid request target"),
    ("two spaces after the target", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid version"),
    ("tab after the method", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid method"),
    ("tab after the target", b"GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid request target"),
    ("space after the version", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400, "invalid version"),
    ("space in the target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid version"),
    ("method with a slash", b"GE/T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid method"),
    ("method with a colon", b"GET: / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid method"),
    ("method with NUL", b"G\0T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid method"),
    ("method not ASCII", b"G\xc3\x84T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid method"),
    ("method of 33 bytes",
        b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\nHost: a\r\n\r\n", 501, "method too long"),
    ("TLS on a plaintext port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "invalid method"),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version not supported"),
    ("HTTP/2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "version not supported"),
    ("HTTP/3.0", b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505, "version not supported"),
    ("HTTP/0.9", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505, "version not supported"),
    ("lower-case http", b"GET / http/1.1\r\nHost: a\r\n\r\n", 400, "invalid version"),
    ("version of one digit", b"GET / HTTP/1\r\nHost: a\r\n\r\n", 400, "invalid version"),
    ("version of three digits", b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400, "invalid version"),
    ("major of two digits", b"GET / HTTP/11.1\r\nHost: a\r\n\r\n", 400, "invalid version"),
    ("version with letters", b"GET / HTTP/1.x\r\nHost: a\r\n\r\n", 400, "invalid version"),
    ("another protocol", b"GET / ICAP/1.0\r\nHost: a\r\n\r\n", 400, "invalid version"),
    ("request line ends in LF", b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "bare LF"),
    ("request line with bare CR", b"GET / HTTP/1.1\rHost: a\r\n\r\n", 400, "bare CR"),
    ("CR in the target", b"GET /\ra HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid request target"),
    ("leading LF", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bare LF"),
    ("leading CR", b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bare CR"),
    ("three empty lines before",
        b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "empty lines before the request"),
    ("space before the method", b"\r\n GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid method"),
];

#[rustfmt::skip]
pub(crate) const REQUEST_TARGET: &[Row] = &[
    ("fragment", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "fragment in the request target"),
    ("fragment in absolute-form",
        b"GET http://a/#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "fragment in the request target"),
    ("target not ASCII", b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid request target"),
    ("NUL in the target", b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid request target"),
    ("DEL in the target", b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid request target"),
    ("relative path", b"GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request target form doesn't fit the method"),
    ("query alone", b"GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request target form doesn't fit the method"),
    ("asterisk with GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request target form doesn't fit the method"),
    ("asterisk and more",
        b"OPTIONS *a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request target form doesn't fit the method"),
    ("authority with GET",
        b"GET a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request target form doesn't fit the method"),
    ("CONNECT with a path",
        b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request target form doesn't fit the method"),
    ("CONNECT with absolute-form",
        b"CONNECT http://a:1/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request target form doesn't fit the method"),
    ("CONNECT without port",
        b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request target form doesn't fit the method"),
    ("CONNECT to port 0",
        b"CONNECT a:0 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request target form doesn't fit the method"),
    ("CONNECT with userinfo", b"CONNECT u@a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "userinfo in the authority"),
    ("CONNECT with a length",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 1\r\n\r\nx", 400, "CONNECT with content"),
    ("CONNECT with chunks",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "CONNECT with content"),
    ("unknown scheme", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "unknown scheme in the request target"),
    ("userinfo", b"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "userinfo in the authority"),
    ("empty authority", b"GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid Host"),
    ("authority with only a port", b"GET http://:80/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid Host"),
    ("authority with a bad port", b"GET http://a:65536/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid Host"),
    ("authority with a backslash", b"GET http://a\\b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid Host"),
    ("authority with an open bracket", b"GET http://[::1/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid Host"),
];

#[rustfmt::skip]
pub(crate) const FIELDS: &[Row] = &[
    ("no colon", b"GET / HTTP/1.1\r\nHost\r\n\r\n", 400, "field line without a colon"),
    ("empty name", b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400, "empty field name"),
    ("space before the colon", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "whitespace after a field name"),
    ("tab before the colon", b"GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", 400, "whitespace after a field name"),
    ("space in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n", 400, "whitespace after a field name"),
    ("space before the first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "whitespace before the first field"),
    ("tab before the first field", b"GET / HTTP/1.1\r\n\tHost: a\r\n\r\n", 400, "whitespace before the first field"),
    ("folded by a space", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400, "folded field line"),
    ("folded by a tab", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", 400, "folded field line"),
    ("folded by nothing", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n \r\n\r\n", 400, "folded field line"),
    ("field line ends in LF", b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400, "bare LF"),
    ("head ends in LF", b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400, "bare LF"),
    ("all lines end in LF", b"GET / HTTP/1.1\nHost: a\n\n", 400, "bare LF"),
    ("bare CR in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", 400, "bare CR"),
    ("CR CR LF", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", 400, "bare CR"),
    ("CR alone in the empty line", b"GET / HTTP/1.1\r\nHost: a\r\n\rX", 400, "bare CR"),
    ("bare CR in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX\rY: b\r\n\r\n", 400, "bare CR"),
    ("LF in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX\nY: b\r\n\r\n", 400, "bare LF"),
    ("NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", 400, "control character in a field value"),
    ("NUL in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", 400, "invalid field name"),
    ("DEL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", 400, "control character in a field value"),
    ("escape in a value",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[0m\r\n\r\n", 400, "control character in a field value"),
    ("vertical tab in a value",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x0bb\r\n\r\n", 400, "control character in a field value"),
    ("bracket in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX[]: b\r\n\r\n", 400, "invalid field name"),
    ("name not ASCII", b"GET / HTTP/1.1\r\nHost: a\r\nX\xc3\xa4: b\r\n\r\n", 400, "invalid field name"),
    ("quote in a name", b"GET / HTTP/1.1\r\nHost: a\r\n\"X\": b\r\n\r\n", 400, "invalid field name"),
];

#[rustfmt::skip]
pub(crate) const HOST: &[Row] = &[
    ("none in HTTP/1.1", b"GET / HTTP/1.1\r\n\r\n", 400, "Host missing"),
    ("none with absolute-form", b"GET http://a/ HTTP/1.1\r\n\r\n", 400, "Host missing"),
    ("two", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "several Host fields"),
    ("the same twice", b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400, "several Host fields"),
    ("two with absolute-form", b"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "several Host fields"),
    ("empty", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "invalid Host"),
    ("space inside", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "invalid Host"),
    ("path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "invalid Host"),
    ("userinfo", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, "invalid Host"),
    ("port with letters", b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400, "invalid Host"),
    ("port too large", b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400, "invalid Host"),
    ("two ports", b"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", 400, "invalid Host"),
    ("only a port", b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400, "invalid Host"),
    ("IPv6 without brackets", b"GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", 400, "invalid Host"),
    ("broken IPv6", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, "invalid Host"),
    ("text after the bracket", b"GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n", 400, "invalid Host"),
    ("not ASCII", b"GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n", 400, "invalid Host"),
    ("broken escape", b"GET / HTTP/1.1\r\nHost: a%2\r\n\r\n", 400, "invalid Host"),
    ("a scheme", b"GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", 400, "invalid Host"),
    ("bad in HTTP/1.0 too", b"GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", 400, "invalid Host"),
    ("bad, with absolute-form", b"GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "invalid Host"),
];

/// Holds the verdict of `bytes`, whole and cut.
pub(super) fn check(name: &str, bytes: &[u8], status: u16, reason: &'static str) {
    let expected = Verdict::Refused(status, reason);
    assert_eq!(judge_request(bytes), expected, "{name}, whole");
    let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(judge_request_in(&pieces, &HeadLimits::default()), expected, "{name}, byte by byte");
    for cut in 1..bytes.len() {
        let (head, tail) = bytes.split_at(cut);
        assert_eq!(
            judge_request_in(&[head, tail], &HeadLimits::default()),
            expected,
            "{name}, cut at {cut}"
        );
    }
}

fn check_all(rows: &[Row]) {
    for (name, bytes, status, reason) in rows {
        check(name, bytes, *status, reason);
    }
}

#[test]
fn malformed_request_lines_are_refused() {
    check_all(REQUEST_LINE);
}

#[test]
fn malformed_request_targets_are_refused() {
    check_all(REQUEST_TARGET);
}

#[test]
fn malformed_fields_are_refused() {
    check_all(FIELDS);
}

#[test]
fn malformed_hosts_are_refused() {
    check_all(HOST);
}

#[test]
fn the_tables_are_as_long_as_promised() {
    let rows: usize = [REQUEST_LINE, REQUEST_TARGET, FIELDS, HOST].iter().map(|t| t.len()).sum();
    assert!(rows >= 80);
}
