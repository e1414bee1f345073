//! However the wire cuts a message, it is the same message: every prefix, every position, every
//! piece size.

use super::judge::{Verdict, judge_request, judge_request_in, judge_response, judge_response_in};
use ringway::protocol::{h1::HeadLimits, http::Method};

const REQUESTS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\nGET http://b:81/x?y HTTP/1.1\r\nHost: a\r\nX:\t 1 \t\r\nY:\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world",
    b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nokGET /next HTTP/1.1\r\n",
    b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
      5\r\nhello\r\n6;a=\"b\\\"\";c\r\n world\r\n0\r\n\r\n",
    b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
      1\r\na\r\n1\r\nb\r\n1\r\nc\r\n00;x\r\nX-A: 1\r\nX-B: 2\r\n\r\nmore",
    b"OPTIONS * HTTP/1.0\r\nConnection: keep-alive, x-a\r\nX-A: b\r\n\r\n",
];

const RESPONSES: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n10 ;a=b\r\n0123456789abcdef\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nServer: \xff\r\n\r\nuntil the end",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
];

/// Holds that `judge` says the same of all ways to cut `wire` into two and three pieces, and into
/// pieces of each size.
fn check(wire: &[u8], whole: &Verdict, judge: impl Fn(&[&[u8]]) -> Verdict) {
    for first in 0..=wire.len() {
        let (a, rest) = wire.split_at(first);
        assert_eq!(&judge(&[a, rest]), whole, "cut at {first}");
        for second in 0..=rest.len() {
            let (b, c) = rest.split_at(second);
            assert_eq!(&judge(&[a, b, c]), whole, "cut at {first} and {}", first + second);
        }
    }
    for size in 1..=wire.len() {
        let pieces: Vec<&[u8]> = wire.chunks(size).collect();
        assert_eq!(&judge(&pieces), whole, "pieces of {size}");
    }
}

#[test]
fn requests_read_the_same_however_they_are_cut() {
    for wire in REQUESTS {
        let whole = judge_request(wire);
        assert!(matches!(whole, Verdict::Accepted(_)), "{whole:?}");
        check(wire, &whole, |pieces| judge_request_in(pieces, &HeadLimits::default()));
    }
}

#[test]
fn responses_read_the_same_however_they_are_cut() {
    for wire in RESPONSES {
        let whole = judge_response(wire, Method::Get);
        assert!(matches!(whole, Verdict::Accepted(_)), "{whole:?}");
        check(wire, &whole, |pieces| {
            judge_response_in(pieces, Method::Get, &HeadLimits::default())
        });
    }
}

#[test]
fn no_prefix_of_a_request_is_a_request() {
    for wire in REQUESTS {
        let rest = judge_request(wire).message().rest;
        for end in 0..wire.len() - rest {
            assert_eq!(judge_request(&wire[..end]), Verdict::Unfinished, "{end}");
        }
    }
}
