//! RFC 8441, extended CONNECT: what the codec holds of it. `proxy::websocket` has the rest.

use crate::rfc9113::pair::{DATA, END_STREAM, Side, frame, headers, settings};
use ringway::protocol::h2::{EndStream, ErrorCode, Event, Limits, SendError};
use ringway::protocol::http::{Form, Framing, Method, RequestHead, ResponseHead};

fn enabled() -> Side {
    Side::server_with(Limits { connect_protocol: true, ..Limits::default() })
}

const WEBSOCKET: [(&str, &str); 5] = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "https"),
    (":path", "/chat"),
    (":authority", "a.example"),
];

/// §3, §4: `:protocol` only once it is enabled, only with CONNECT and its fields.
#[test]
fn extended_connect_has_to_be_enabled() {
    Side::server().resets(&headers(1, 0, &WEBSOCKET), 1, ErrorCode::Protocol);
    let mut side = enabled();
    let events = side.feed(&headers(1, 0, &WEBSOCKET)).unwrap();
    assert!(matches!(events[..], [Event::Request { end: false, .. }]));
    let head = &side.requests[0];
    assert_eq!((head.method, head.protocol()), (Method::Connect, Some("websocket")));
    assert_eq!(
        (head.path(), head.authority(), head.form()),
        ("/chat", Some("a.example"), Form::Origin)
    );
    side.feed(&frame(DATA, 0, 1, b"frames")).unwrap();
    assert_eq!(side.data[0].1, b"frames");
    for at in [0, 2, 3, 4] {
        let mut fields = WEBSOCKET.to_vec();
        fields.remove(at);
        enabled().resets(&headers(1, 0, &fields), 1, ErrorCode::Protocol);
    }
    let mut fields = WEBSOCKET.to_vec();
    fields[0].1 = "GET";
    enabled().resets(&headers(1, 0, &fields), 1, ErrorCode::Protocol);
    fields[0].1 = "CONNECT";
    fields[1].1 = "web socket";
    enabled().resets(&headers(1, 0, &fields), 1, ErrorCode::Protocol);
}

/// §3: the server says that it is enabled, and doesn't take it back.
#[test]
fn the_setting_is_sent_and_kept() {
    let limits = Limits { connect_protocol: true, ..Limits::default() };
    let mut side = Side::raw_server(limits);
    let payload = side.sent()[0].payload.clone();
    assert!(payload.chunks(6).any(|entry| entry == [0, 8, 0, 0, 0, 1]));
    let mut side = Side::client_with(Limits::default(), &[(8, 1)]);
    assert!(side.connection.connect_protocol());
    side.dies(&settings(&[(8, 0)]), ErrorCode::Protocol);
}

/// §4: a client asks only a server that has enabled it, and tunnels both ways.
#[test]
fn a_client_tunnels_through_extended_connect() {
    let mut head = RequestHead::new();
    head.set_method("CONNECT").unwrap();
    head.set_protocol(Some("websocket")).unwrap();
    head.set_target("/chat").unwrap();
    head.headers.set("host", "a.example").unwrap();
    let mut side = Side::client();
    assert_eq!(
        side.connection.send_request(&head, Framing::None, EndStream::No),
        Err(SendError::ConnectProtocolDisabled)
    );
    let mut client = Side::client_with(Limits::default(), &[(8, 1)]);
    let mut server = enabled();
    let stream = client.connection.send_request(&head, Framing::None, EndStream::No).unwrap();
    let mut bytes = Vec::new();
    client.connection.transmit(client.now, &mut bytes);
    server.feed(&bytes).unwrap();
    assert_eq!(server.requests[0].protocol(), Some("websocket"));
    let theirs = server.first_stream.unwrap();
    server
        .connection
        .send_response(theirs, &ResponseHead::new(), Framing::None, None, EndStream::No)
        .unwrap();
    server.connection.send_data(theirs, b"hi", EndStream::Yes).unwrap();
    let mut bytes = Vec::new();
    server.connection.transmit(server.now, &mut bytes);
    let events = client.feed(&bytes).unwrap();
    assert_eq!(events[0], Event::Response { stream, framing: Framing::None, end: false });
    assert_eq!(client.data[0].1, b"hi");
    assert_eq!(client.connection.send_data(stream, b"bye", EndStream::Yes), Ok(3));
    assert_eq!(client.connection.streams_open(), 0);
    assert_eq!(client.feed(&frame(0x42, END_STREAM, 0, b"")), Ok(vec![]));
}
