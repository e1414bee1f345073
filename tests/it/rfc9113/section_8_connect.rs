//! Section 8.5: CONNECT.

use super::pair::{DATA, END_STREAM, Side, frame, headers};
use ringway::protocol::h2::{EndStream, ErrorCode, Event, Limits};
use ringway::protocol::http::{Form, Framing, Method, RequestHead};

/// §8.5: only method and authority, with a port.
#[test]
fn connect_has_an_authority_and_nothing_else() {
    let mut side = Side::server();
    let events = side
        .feed(&headers(1, 0, &[(":method", "CONNECT"), (":authority", "a.example:443")]))
        .unwrap();
    assert!(matches!(events[..], [Event::Request { framing: Framing::None, end: false, .. }]));
    let head = &side.requests[0];
    assert_eq!((head.method, head.form()), (Method::Connect, Form::Authority));
    assert_eq!((head.target(), head.path(), head.protocol()), ("a.example:443", "", None));
    for bad in [
        &[(":method", "CONNECT")][..],
        &[(":method", "CONNECT"), (":authority", "a.example")],
        &[(":method", "CONNECT"), (":authority", "a:1"), (":path", "/")],
        &[(":method", "CONNECT"), (":authority", "a:1"), (":scheme", "http")],
        &[(":method", "CONNECT"), (":authority", "a:1"), ("content-length", "5")],
    ] {
        Side::server().resets(&headers(1, 0, bad), 1, ErrorCode::Protocol);
    }
}

/// §8.5: on a tunnel there is DATA; fields behind it are an error of the stream, from either side.
#[test]
fn a_tunnel_has_no_trailers() {
    let connect = [(":method", "CONNECT"), (":authority", "a.example:443")];
    let mut server = Side::server();
    server.feed(&headers(1, 0, &connect)).unwrap();
    server.resets(&headers(1, END_STREAM, &[("x-sum", "1")]), 1, ErrorCode::Protocol);

    let open = || {
        let mut head = RequestHead::new();
        head.set_method("CONNECT").unwrap();
        head.headers.set("host", "a.example:443").unwrap();
        let mut client = Side::client_with(Limits::default(), &[]);
        client.connection.send_request(&head, Framing::None, EndStream::No).unwrap();
        client
    };
    let mut client = open();
    client.feed(&headers(1, 0, &[(":status", "200")])).unwrap();
    client.resets(&headers(1, END_STREAM, &[("x-sum", "1")]), 1, ErrorCode::Protocol);
    // One that was declined is an ordinary response.
    let mut client = open();
    client.feed(&headers(1, 0, &[(":status", "403")])).unwrap();
    let events = client.feed(&headers(1, END_STREAM, &[("x-sum", "1")])).unwrap();
    assert!(matches!(events[..], [Event::Trailers { .. }]), "{events:?}");
}

/// §8.5 and RFC 9110 §9.3.6: any 2xx opens the tunnel, and a length in it says nothing.
#[test]
fn any_consent_opens_a_tunnel() {
    for status in ["200", "204", "299"] {
        let mut head = RequestHead::new();
        head.set_method("CONNECT").unwrap();
        head.headers.set("host", "a.example:443").unwrap();
        let mut client = Side::client_with(Limits::default(), &[]);
        client.connection.send_request(&head, Framing::None, EndStream::No).unwrap();
        client.feed(&headers(1, 0, &[(":status", status), ("content-length", "1")])).unwrap();
        client.feed(&frame(DATA, 0, 1, b"more than one")).unwrap();
        assert_eq!(client.data[0].1, b"more than one", "{status}");
    }
}
