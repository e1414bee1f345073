//! Bounds of a head: what is just allowed, what isn't, and that it is said early.

use super::judge::{Verdict, judge_request_in, judge_response_in};
use ringway::protocol::{
    h1::{HeadLimits, Parsed, parse_request},
    http::{FIELDS_MAX, HEADERS_BYTES_MAX, Method, RequestHead},
};

const LIMITS: HeadLimits = HeadLimits { bytes: 200, fields: 4, target_bytes: 50 };

fn judge(bytes: &[u8]) -> Verdict {
    judge_request_in(&[bytes], &LIMITS)
}

#[test]
fn a_long_target_is_414_before_it_ends() {
    let target = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(n - 1));
    judge(target(50).as_bytes()).message();
    assert_eq!(judge(target(51).as_bytes()), Verdict::Refused(414, "request line too long"));
    let endless = format!("GET /{}", "a".repeat(50));
    assert_eq!(judge(endless.as_bytes()), Verdict::Refused(414, "request line too long"));
}

#[test]
fn a_large_head_is_431_before_it_ends() {
    let head = |n: usize| {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{start}{}\r\n\r\n", "a".repeat(n - start.len() - 4))
    };
    judge(head(200).as_bytes()).message();
    assert_eq!(judge(head(201).as_bytes()), Verdict::Refused(431, "head too large"));
    assert_eq!(judge(&head(1000).as_bytes()[..199]), Verdict::Unfinished);
    assert_eq!(judge(&head(1000).as_bytes()[..200]), Verdict::Refused(431, "head too large"));
}

#[test]
fn too_many_fields_are_431() {
    let head = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(n - 1));
    assert_eq!(judge(head(4).as_bytes()).message().fields.len(), 4);
    assert_eq!(judge(head(5).as_bytes()), Verdict::Refused(431, "too many fields"));
    // The hard bounds hold whatever is configured.
    let limits = HeadLimits { bytes: usize::MAX, fields: usize::MAX, target_bytes: usize::MAX };
    let many = head(FIELDS_MAX + 1);
    assert_eq!(
        judge_request_in(&[many.as_bytes()], &limits),
        Verdict::Refused(431, "too many fields")
    );
    let large =
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(HEADERS_BYTES_MAX));
    assert_eq!(
        judge_request_in(&[large.as_bytes()], &limits),
        Verdict::Refused(431, "head too large")
    );
}

#[test]
fn a_head_that_fills_the_bound_takes_the_authority_of_its_target() {
    // Replacing Host by the target's authority needs room of its own.
    let host = "b".repeat(30);
    let wire = format!("GET http://{host}/ HTTP/1.1\r\nHost: a\r\n\r\n");
    let message = judge(wire.as_bytes()).message();
    assert_eq!(message.fields, [("Host".to_owned(), host.into_bytes())]);
}

#[test]
fn a_flood_of_response_fields_is_refused() {
    let head = |n: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(n));
    let judge = |text: String| judge_response_in(&[text.as_bytes()], Method::Get, &LIMITS);
    judge(head(4)).message();
    assert_eq!(judge(head(5)), Verdict::Refused(502, "too many fields"));
    assert_eq!(
        judge(format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(200))),
        Verdict::Refused(502, "head too large")
    );
    assert_eq!(
        judge(format!("HTTP/1.1 200 {}", "a".repeat(200))),
        Verdict::Refused(502, "head too large")
    );
}

#[test]
fn a_trickled_head_is_read_once() {
    let limits = HeadLimits::default();
    let wire = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-Name: some value\r\n".repeat(90));
    let mut head = RequestHead::new();
    for end in 0..wire.len() {
        assert_eq!(
            parse_request(&wire.as_bytes()[..end], &limits, &mut head),
            Ok(Parsed::Incomplete),
            "at {end}"
        );
    }
    let parsed = parse_request(wire.as_bytes(), &limits, &mut head);
    assert_eq!(parsed, Ok(Parsed::Complete { consumed: wire.len() }));
    assert_eq!(head.headers.len(), 91);
}
