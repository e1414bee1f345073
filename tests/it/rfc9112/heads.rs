//! §2–§5: heads that must be accepted, and how they are understood.

use super::judge::{judge_request, judge_response};
use ringway::protocol::{
    h1::{HeadLimits, Parsed, parse_request, parse_response},
    http::{Form, Method, RequestHead, ResponseHead, Scheme, Status, Version},
};

fn request(bytes: &[u8]) -> RequestHead {
    let mut head = RequestHead::new();
    let parsed = parse_request(bytes, &HeadLimits::default(), &mut head).unwrap();
    assert_eq!(parsed, Parsed::Complete { consumed: bytes.len() });
    head
}

fn response(bytes: &[u8]) -> ResponseHead {
    let mut head = ResponseHead::new();
    let parsed = parse_response(bytes, &HeadLimits::default(), &mut head).unwrap();
    assert_eq!(parsed, Parsed::Complete { consumed: bytes.len() });
    head
}

#[test]
fn origin_form_splits_at_the_first_question_mark() {
    let head = request(b"GET /a/b?c=/d?e HTTP/1.1\r\nHost: A.example:81\r\n\r\n");
    assert_eq!((head.form(), head.path(), head.query()), (Form::Origin, "/a/b", Some("c=/d?e")));
    assert_eq!(
        (head.authority(), head.host(), head.port()),
        (Some("A.example:81"), Some("A.example"), Some(81))
    );
    assert_eq!(request(b"GET /? HTTP/1.1\r\nHost: a\r\n\r\n").query(), Some(""));
}

#[test]
fn absolute_form_replaces_host() {
    let head = request(b"GET HTTP://b:82/x?y HTTP/1.1\r\nHost: a\r\nX: z\r\n\r\n");
    assert_eq!((head.form(), head.scheme()), (Form::Absolute, Some(Scheme::Http)));
    assert_eq!((head.path(), head.query(), head.authority()), ("/x", Some("y"), Some("b:82")));
    assert_eq!(head.headers.get("host"), Some(&b"b:82"[..]));
    assert_eq!(head.headers.len(), 2);
    assert_eq!(head.target(), "HTTP://b:82/x?y");
}

#[test]
fn absolute_form_without_a_path_asks_for_the_root() {
    let head = request(b"GET https://b?q HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!((head.scheme(), head.path(), head.query()), (Some(Scheme::Https), "/", Some("q")));
    let head = request(b"GET http://[::1]:80 HTTP/1.0\r\n\r\n");
    assert_eq!((head.path(), head.host(), head.port()), ("/", Some("[::1]"), Some(80)));
}

#[test]
fn asterisk_form_is_for_options() {
    let head = request(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((head.form(), head.path()), (Form::Asterisk, "*"));
    // §3.2.4: an absolute target without path becomes `*`.
    let head = request(b"OPTIONS http://a:1 HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!((head.form(), head.path(), head.authority()), (Form::Asterisk, "*", Some("a:1")));
    assert_eq!(request(b"OPTIONS http://a/ HTTP/1.1\r\nHost: b\r\n\r\n").path(), "/");
}

#[test]
fn authority_form_is_for_connect() {
    let head = request(b"CONNECT [::1]:443 HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!(
        (head.method, head.form(), head.authority()),
        (Method::Connect, Form::Authority, Some("[::1]:443"))
    );
    assert_eq!(head.path(), "");
}

#[test]
fn methods_are_case_sensitive_tokens() {
    let head = request(b"get / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((head.method, head.method_str()), (Method::Other, "get"));
    let head = request(b"M-SEARCH!#$%&'*+-.^_`|~ / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((head.method, head.method_str()), (Method::Other, "M-SEARCH!#$%&'*+-.^_`|~"));
    assert_eq!(request(b"PATCH / HTTP/1.1\r\nHost: a\r\n\r\n").method, Method::Patch);
}

#[test]
fn a_higher_minor_version_is_read_as_1_1() {
    assert_eq!(request(b"GET / HTTP/1.7\r\nHost: a\r\n\r\n").version, Version::Http11);
    assert_eq!(request(b"GET / HTTP/1.0\r\n\r\n").version, Version::Http10);
    assert_eq!(response(b"HTTP/1.9 200 OK\r\n\r\n").version, Version::Http11);
}

#[test]
fn two_empty_lines_before_a_request_are_skipped() {
    let head = request(b"\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((head.path(), head.headers.get("host")), ("/a", Some(&b"a"[..])));
}

#[test]
fn values_are_trimmed_and_may_be_empty_or_obs_text() {
    let head =
        request(b"GET / HTTP/1.1\r\nHost:a\r\nA: \t b\tc \t\r\nB:\r\nC:  \r\nD: \xff\x80\r\n\r\n");
    let values: Vec<&[u8]> = head.headers.iter().map(|(_, value)| value).collect();
    assert_eq!(values, [&b"a"[..], b"b\tc", b"", b"", b"\xff\x80"]);
}

#[test]
fn fields_keep_their_order_spelling_and_number() {
    let head = request(b"GET / HTTP/1.1\r\nhOsT: a\r\nX: 1\r\nCookie: b\r\nx: 2\r\n\r\n");
    let names: Vec<&[u8]> = head.headers.iter().map(|(name, _)| name).collect();
    assert_eq!(names, [&b"hOsT"[..], b"X", b"Cookie", b"x"]);
    assert_eq!(head.headers.get_all("X").collect::<Vec<_>>(), [b"1", b"2"]);
}

#[test]
fn browsers_odd_query_characters_pass() {
    let head = request(b"GET /a|b?c=\"<>[]{}^`\\ HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((head.path(), head.query()), ("/a|b", Some("c=\"<>[]{}^`\\")));
}

#[test]
fn a_reused_head_forgets_the_message_before() {
    let mut head = RequestHead::new();
    let limits = HeadLimits::default();
    parse_request(b"PURGE /a?b HTTP/1.0\r\nHost: a\r\nX: y\r\n\r\n", &limits, &mut head).unwrap();
    parse_request(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n", &limits, &mut head).unwrap();
    assert_eq!((head.method_str(), head.query(), head.headers.len()), ("GET", None, 1));
    // Not even one that was cut off in the middle.
    parse_request(b"GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\nB", &limits, &mut head)
        .unwrap();
    parse_request(b"GET /b HTTP/1.1\r\nHost: b\r\n\r\n", &limits, &mut head).unwrap();
    assert_eq!(
        (head.path(), head.headers.len(), head.headers.get("host")),
        ("/b", 1, Some(&b"b"[..]))
    );
}

#[test]
fn a_refused_head_is_left_empty() {
    let mut head = RequestHead::new();
    let bad = b"GET /a HTTP/1.1\r\nHost: a\r\nX y\r\n\r\n";
    parse_request(bad, &HeadLimits::default(), &mut head).unwrap_err();
    assert_eq!((head.path(), head.headers.len()), ("/", 0));
}

#[test]
fn pipelined_requests_follow_each_other() {
    let wire = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: b\r\n\r\n";
    let first = judge_request(wire).message();
    assert_eq!((first.body.as_slice(), first.rest), (&b"abc"[..], 28));
    let second = judge_request(&wire[wire.len() - first.rest..]).message();
    assert_eq!((second.start.as_str(), second.rest), ("GET /b Http11", 0));
}

#[test]
fn status_lines_with_every_reason() {
    let head = response(b"HTTP/1.1 404 Nicht gefunden \xfc\r\nA: b\r\n\r\n");
    assert_eq!((head.status, head.reason()), (Status::NOT_FOUND, &b"Nicht gefunden \xfc"[..]));
    assert_eq!(response(b"HTTP/1.1 200 \r\n\r\n").reason(), b"");
    assert_eq!(response(b"HTTP/1.0 200\r\n\r\n").reason(), b"", "many servers leave out the space");
    assert_eq!(response(b"HTTP/1.1 999 ?\r\n\r\n").status.code(), 999);
    assert_eq!(response(b"HTTP/1.1 100 Continue\r\n\r\n").status, Status::CONTINUE);
}

#[test]
fn an_interim_response_is_followed_by_the_final_one() {
    let wire =
        b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
    let first = judge_response(wire, Method::Get).message();
    assert_eq!((first.start.as_str(), first.rest), ("103 Early Hints Http11", 39));
    assert_eq!(judge_response(&wire[wire.len() - first.rest..], Method::Get).message().body, b"x");
}
