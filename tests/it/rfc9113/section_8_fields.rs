//! Sections 8.2 and 8.3: fields and pseudo-fields of requests, as strict as an intermediary must be.

use super::pair::{END_STREAM, GET, Side, headers};
use ringway::protocol::h2::{EndStream, ErrorCode, Event, Limits, Violation};
use ringway::protocol::http::{Form, Framing, Method, Name, RequestHead, Scheme, Version};

/// Feeds a GET with `extra` fields and says which rule it broke.
#[track_caller]
fn refused(fields: &[(&str, &str)]) -> Violation {
    let mut side = Side::server();
    let bytes = headers(1, END_STREAM, fields);
    let events = side.feed(&bytes).unwrap();
    let [Event::Refused { violation, .. }] = events[..] else { panic!("{fields:?}: {events:?}") };
    assert_eq!(violation.code(), ErrorCode::Protocol);
    assert!(side.sent().iter().any(|frame| frame.kind == super::pair::RST_STREAM));
    assert_eq!(side.connection.streams_open(), 0);
    violation
}

#[track_caller]
fn refused_with(extra: &[(&str, &str)]) -> Violation {
    refused(&[&GET[..], extra].concat())
}

#[track_caller]
fn accepted(fields: &[(&str, &str)]) -> RequestHead {
    let mut side = Side::server();
    let events = side.feed(&headers(1, END_STREAM, fields)).unwrap();
    assert!(matches!(events[..], [Event::Request { .. }]), "{fields:?}: {events:?}");
    side.requests.remove(0)
}

/// §8.2.1: names are lower-case tokens.
#[test]
fn names_are_lower_case_tokens() {
    for name in ["X-A", "xA", "", "a b", "a:b", "a\0", "a\r\nb", "\x7f", "ä", "a\t", " a"] {
        assert_eq!(refused_with(&[(name, "1")]), Violation::FieldName, "{name:?}");
    }
}

/// §8.2.1: values hold no CR, LF or NUL, no other control, and no whitespace around them.
#[test]
fn values_cannot_split_a_message() {
    for value in ["a\r\nb: c", "a\nb", "a\rb", "a\0b", " a", "a ", "\ta", "a\t", "\x7f", "\x01"] {
        assert_eq!(refused_with(&[("x", value)]), Violation::FieldValue, "{value:?}");
    }
    let head = accepted(&[&GET[..], &[("x", ""), ("y", "a\tb ü")]].concat());
    assert_eq!(head.headers.get("y"), Some("a\tb ü".as_bytes()));
}

/// §8.2.2: fields of a connection are malformed; TE may say `trailers`.
#[test]
fn fields_of_a_connection_are_malformed() {
    for (name, value) in [
        ("connection", "close"),
        ("connection", "x-a"),
        ("keep-alive", "5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("te", "trailers, deflate"),
    ] {
        assert_eq!(refused_with(&[(name, value)]), Violation::ConnectionField, "{name}");
    }
    assert_eq!(
        accepted(&[&GET[..], &[("te", "trailers")]].concat()).headers.get("te"),
        Some(&b"trailers"[..])
    );
}

/// §8.3: pseudo-fields are known, come first, and once.
#[test]
fn pseudo_fields_come_first_once_and_are_known() {
    assert_eq!(refused_with(&[(":foo", "1")]), Violation::FieldName);
    assert_eq!(refused_with(&[(":status", "200")]), Violation::PseudoField);
    for (at, field) in GET.into_iter().enumerate() {
        assert_eq!(refused_with(&[field]), Violation::PseudoField, "{field:?} twice");
        let mut fields = GET.to_vec();
        fields.remove(at);
        let expected = if at == 3 { Violation::Authority } else { Violation::PseudoField };
        assert_eq!(refused(&fields), expected, "without {field:?}");
        fields.push(("x", "1"));
        fields.push(field);
        assert_eq!(refused(&fields), Violation::PseudoField, "{field:?} late");
    }
}

fn with(at: usize, value: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut fields = GET.to_vec();
    fields[at].1 = value;
    fields
}

/// §8.3.1: what each may be.
#[test]
fn pseudo_fields_have_values_that_they_may_have() {
    for method in ["", "G T", "GET\r\n", "a\0", "THISMETHODISLONGERTHANTHIRTYTWOBYTES"] {
        assert_eq!(refused(&with(0, method)), Violation::Request, "{method:?}");
    }
    for scheme in ["", "ftp", "http:", "https\0"] {
        assert_eq!(refused(&with(1, scheme)), Violation::Request, "{scheme:?}");
    }
    for path in ["", "a", "*", "/a b", "/a#b", "/\r\n", "/\0", "http://a/", "?a", "/ä", "/\t"] {
        assert_eq!(refused(&with(2, path)), Violation::Request, "{path:?}");
    }
    for authority in ["", "a b", "u@a", "a:99999", "a:b", "[::1", "a/b", "a\r\n", "a\0"] {
        assert_eq!(refused(&with(3, authority)), Violation::Authority, "{authority:?}");
    }
}

/// §8.3.1: into the same head that HTTP/1.1 gives.
#[test]
fn a_request_reads_as_it_would_in_http_1() {
    let head = accepted(&[
        (":path", "/a/b?c=d?e"),
        (":method", "PURGE"),
        (":authority", "A.example:8080"),
        (":scheme", "https"),
        ("accept", "*/*"),
    ]);
    assert_eq!(
        (head.version, head.method, head.method_str()),
        (Version::Http2, Method::Other, "PURGE")
    );
    assert_eq!((head.target(), head.path(), head.query()), ("/a/b?c=d?e", "/a/b", Some("c=d?e")));
    assert_eq!(
        (head.authority(), head.host(), head.port()),
        (Some("A.example:8080"), Some("A.example"), Some(8080))
    );
    assert_eq!(
        (head.form(), head.scheme(), head.protocol()),
        (Form::Origin, Some(Scheme::Https), None)
    );
    let names: Vec<&[u8]> = head.headers.iter().map(|(name, _)| name).collect();
    assert_eq!(names, [&b"host"[..], b"accept"]);
    let head =
        accepted(&[(":method", "OPTIONS"), (":scheme", "http"), (":path", "*"), ("host", "a")]);
    assert_eq!((head.form(), head.path(), head.host()), (Form::Asterisk, "*", Some("a")));
}

/// §8.3.1: Host says what `:authority` says, or is refused, and there is one of them.
#[test]
fn host_and_authority_agree() {
    assert_eq!(refused_with(&[("host", "b.example")]), Violation::Authority);
    assert_eq!(refused_with(&[("host", "")]), Violation::Authority);
    assert_eq!(refused_with(&[("host", "a.example"), ("host", "b")]), Violation::Authority);
    let head = accepted(&[&GET[..], &[("host", "A.Example")]].concat());
    assert_eq!(head.headers.get_all("host").collect::<Vec<_>>(), [b"a.example"]);
    let only_host = [&GET[..3], &[("host", "b")]].concat();
    assert_eq!(accepted(&only_host).authority(), Some("b"));
    assert_eq!(refused(&[&only_host[..], &[("host", "c")]].concat()), Violation::Authority);
    assert_eq!(refused(&[&GET[..3], &[("host", "b c")]].concat()), Violation::Authority);
}

/// §8.2.3: crumbs of a cookie become one again.
#[test]
fn cookie_crumbs_are_joined() {
    let head = accepted(
        &[&GET[..], &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")]]
            .concat(),
    );
    assert_eq!(head.headers.get_all_known(Name::Cookie).collect::<Vec<_>>(), [b"a=1; b=2; c=3"]);
    assert_eq!(head.headers.len(), 3);
    let head = accepted(&[&GET[..], &[("cookie", "a=1")]].concat());
    assert_eq!(head.headers.get_known(Name::Cookie), Some(&b"a=1"[..]));
}

/// §10.5.1: too large a head is answered by 431, and the connection goes on.
#[test]
fn large_heads_are_answered_by_431() {
    let limits = Limits { header_list_bytes: 1000, fields: 10, ..Limits::default() };
    let big = "x".repeat(900);
    for extra in [vec![("a", big.as_str())], vec![("a", "b"); 7]] {
        let mut side = Side::server_with(limits.clone());
        let fields = [&GET[..], &extra].concat();
        let events = side.feed(&headers(1, 0, &fields)).unwrap();
        assert!(matches!(
            events[..],
            [Event::Refused { violation: Violation::HeaderListTooLarge, .. }]
        ));
        let sent = side.sent();
        assert_eq!((sent[0].kind, sent[0].flags & END_STREAM), (super::pair::HEADERS, END_STREAM));
        assert!(sent[0].payload.windows(3).any(|part| part == b"431"));
        assert_eq!(sent[1].payload, ErrorCode::NoError.wire().to_be_bytes());
        assert!(side.feed(&headers(3, END_STREAM, &GET)).is_ok());
        assert_eq!(side.requests.len(), 1);
    }
}

/// §8.2.1, §8.2.2: and what we send obeys the same rules, whatever the head holds.
#[test]
fn requests_are_written_as_http_2_wants_them() {
    let (mut client, mut server) = (Side::client(), Side::server());
    let mut head = RequestHead::new();
    head.set_method("PUT").unwrap();
    head.set_target("/a?b").unwrap();
    for (name, value) in [
        ("Host", "a.example"),
        ("X-Long-Name-In-Upper-Case", "1"),
        ("Connection", "close"),
        ("Keep-Alive", "5"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "x"),
        ("HTTP2-Settings", "AAMAAABk"),
        ("TE", "gzip"),
        ("Content-Length", "99"),
        ("User-Agent", "me"),
    ] {
        head.headers.append(name, value).unwrap();
    }
    client.connection.send_request(&head, Framing::Length(3), EndStream::No).unwrap();
    let mut bytes = Vec::new();
    client.connection.transmit(client.now, &mut bytes);
    let events = server.feed(&bytes).unwrap();
    assert!(matches!(events[..], [Event::Request { framing: Framing::Length(3), end: false, .. }]));
    let seen: Vec<(String, String)> = server.requests[0]
        .headers
        .iter()
        .map(|(n, v)| (String::from_utf8_lossy(n).into(), String::from_utf8_lossy(v).into()))
        .collect();
    let expected = [
        ("host", "a.example"),
        ("x-long-name-in-upper-case", "1"),
        ("user-agent", "me"),
        ("content-length", "3"),
    ];
    assert_eq!(seen, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    assert_eq!(server.requests[0].target(), "/a?b");
}
