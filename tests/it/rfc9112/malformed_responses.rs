//! Responses that must be refused (the proxy answers 502), each with its reason, whole and cut
//! after every byte.

use super::judge::{Verdict, judge_response, judge_response_in};
use ringway::protocol::{h1::HeadLimits, http::Method};

/// What is wrong, the bytes, reason.
pub(crate) type Row = (&'static str, &'static [u8], &'static str);

#[rustfmt::skip]
pub(crate) const HEADS: &[Row] = &[
    ("garbage", b"hello world\r\n\r\n", "invalid status line"),
    ("binary garbage", b"\0\0\0\x12\x04\0\0\0\0\0", "invalid status line"),
    ("a request", b"GET / HTTP/1.1\r\n\r\n", "invalid status line"),
    ("HTML without a head (HTTP/0.9)", b"<html></html>", "invalid status line"),
    ("empty line first", b"\r\nHTTP/1.1 200 OK\r\n\r\n", "invalid status line"),
    ("space first", b" HTTP/1.1 200 OK\r\n\r\n", "invalid status line"),
    ("lower-case http", b"http/1.1 200 OK\r\n\r\n", "invalid status line"),
    ("another protocol", b"ICY 200 OK\r\n\r\n", "invalid status line"),
    ("no minor version", b"HTTP/1 200 OK\r\n\r\n", "invalid status line"),
    ("version of three digits", b"HTTP/1.11 200 OK\r\n\r\n", "invalid status line"),
    ("HTTP/2.0", b"HTTP/2.0 200 OK\r\n\r\n", "version not supported"),
    ("HTTP/0.9", b"HTTP/0.9 200 OK\r\n\r\n", "version not supported"),
    ("no status", b"HTTP/1.1\r\n\r\n", "invalid status line"),
    ("no status, only a space", b"HTTP/1.1 \r\n\r\n", "invalid status line"),
    ("status of two digits", b"HTTP/1.1 20 OK\r\n\r\n", "invalid status line"),
    ("status of four digits", b"HTTP/1.1 2000 OK\r\n\r\n", "invalid status line"),
    ("status with letters", b"HTTP/1.1 2xx OK\r\n\r\n", "invalid status line"),
    ("status with plus", b"HTTP/1.1 +20 OK\r\n\r\n", "invalid status line"),
    ("negative status", b"HTTP/1.1 -20 OK\r\n\r\n", "invalid status line"),
    ("status 099", b"HTTP/1.1 099 Low\r\n\r\n", "invalid status"),
    ("status 000", b"HTTP/1.1 000 None\r\n\r\n", "invalid status"),
    ("two spaces before the status", b"HTTP/1.1  200 OK\r\n\r\n", "invalid status line"),
    ("tab before the status", b"HTTP/1.1\t200 OK\r\n\r\n", "invalid status line"),
    ("tab after the status", b"HTTP/1.1 200\tOK\r\n\r\n", "invalid status line"),
    ("NUL in the reason", b"HTTP/1.1 200 O\0K\r\n\r\n", "invalid status line"),
    ("status line ends in LF", b"HTTP/1.1 200 OK\nA: b\r\n\r\n", "bare LF"),
    ("bare CR in the reason", b"HTTP/1.1 200 O\rK\r\n\r\n", "bare CR"),
    ("NUL in a value", b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", "control character in a field value"),
    ("control in a value", b"HTTP/1.1 200 OK\r\nA: \x08\r\n\r\n", "control character in a field value"),
    ("folded", b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "folded field line"),
    ("space before the first field", b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n", "whitespace before the first field"),
    ("space before the colon", b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "whitespace after a field name"),
    ("no colon", b"HTTP/1.1 200 OK\r\nA\r\n\r\n", "field line without a colon"),
    ("empty name", b"HTTP/1.1 200 OK\r\n: a\r\n\r\n", "empty field name"),
    ("invalid name", b"HTTP/1.1 200 OK\r\nA(b): c\r\n\r\n", "invalid field name"),
    ("field ends in LF", b"HTTP/1.1 200 OK\r\nA: b\n\r\n", "bare LF"),
    ("bare CR in a value", b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", "bare CR"),
    ("head ends in LF", b"HTTP/1.1 200 OK\r\nA: b\r\n\nbody", "bare LF"),
];

#[rustfmt::skip]
pub(crate) const FRAMING: &[Row] = &[
    ("length and chunked",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "both Content-Length and Transfer-Encoding"),
    ("two lengths",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "several Content-Length fields"),
    ("the same length twice",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "several Content-Length fields"),
    ("length list", b"HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc", "invalid Content-Length"),
    ("negative length", b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc", "invalid Content-Length"),
    ("hex length", b"HTTP/1.1 200 OK\r\nContent-Length: 0x3\r\n\r\nabc", "invalid Content-Length"),
    ("empty length", b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nabc", "invalid Content-Length"),
    ("length overflows",
        b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551619\r\n\r\nabc", "invalid Content-Length"),
    ("chunked in HTTP/1.0",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding in HTTP/1.0"),
    ("gzip then chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "transfer coding not implemented"),
    ("gzip alone", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc", "invalid Transfer-Encoding"),
    ("identity", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nabc", "invalid Transfer-Encoding"),
    ("chunked twice",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "several Transfer-Encoding fields"),
    ("two lengths on 304",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        "several Content-Length fields"),
    ("bad length on 204", b"HTTP/1.1 204 No Content\r\nContent-Length: x\r\n\r\n", "invalid Content-Length"),
];

#[rustfmt::skip]
pub(crate) const CHUNKS: &[Row] = &[
    ("garbage size", b"zz\r\nabc\r\n0\r\n\r\n", "invalid chunk size"),
    ("size with 0x", b"0x3\r\nabc\r\n0\r\n\r\n", "invalid chunk size"),
    ("size overflows", b"fffffffffffffffff\r\nabc", "chunk size too large"),
    ("no CRLF after the data", b"3\r\nabcd\r\n0\r\n\r\n", "no CRLF after a chunk"),
    ("LF for CRLF", b"3\nabc\n0\n\n", "invalid chunk size"),
    ("trailer sets a length", b"3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n", "field not allowed in trailers"),
    ("trailer folded", b"0\r\nA: b\r\n\tc\r\n\r\n", "folded field line"),
    ("the next response in the trailers", b"0\r\nHTTP/1.1 200 OK\r\n\r\n", "invalid field name"),
];

const CHUNKED_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

fn check(name: &str, bytes: &[u8], reason: &'static str) {
    let expected = Verdict::Refused(502, reason);
    assert_eq!(judge_response(bytes, Method::Get), expected, "{name}, whole");
    let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
    let limits = HeadLimits::default();
    assert_eq!(judge_response_in(&pieces, Method::Get, &limits), expected, "{name}, byte by byte");
    for cut in 1..bytes.len() {
        let (head, tail) = bytes.split_at(cut);
        assert_eq!(
            judge_response_in(&[head, tail], Method::Get, &limits),
            expected,
            "{name}, cut at {cut}"
        );
    }
}

#[test]
fn malformed_heads_are_refused() {
    for (name, bytes, reason) in HEADS {
        check(name, bytes, reason);
    }
}

#[test]
fn ambiguous_framing_is_refused() {
    for (name, bytes, reason) in FRAMING {
        check(name, bytes, reason);
        // HEAD's response has no body, and is broken all the same.
        assert_eq!(
            judge_response(bytes, Method::Head),
            Verdict::Refused(502, reason),
            "{name}, HEAD"
        );
    }
}

#[test]
fn malformed_chunks_are_refused() {
    for (name, body, reason) in CHUNKS {
        check(name, &[CHUNKED_HEAD, body].concat(), reason);
    }
}

#[test]
fn the_table_is_as_long_as_promised() {
    assert!(HEADS.len() + FRAMING.len() + CHUNKS.len() >= 40);
}
