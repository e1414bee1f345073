//! Section 3: starting HTTP/2.

use super::pair::{
    ACK, GET, GOAWAY, HEADERS, PING, SETTINGS, Side, WINDOW_UPDATE, frame, get, headers, settings,
};
use ringway::protocol::h2::{EndStream, ErrorCode, Event, Limits, PREFACE};
use ringway::protocol::http::{Framing, RequestHead, ResponseHead};

/// §3.4: the server's preface is SETTINGS, and needs nothing from the client.
#[test]
fn the_server_sends_settings_first() {
    let mut side = Side::raw_server(Limits::default());
    let sent = side.sent();
    assert_eq!((sent[0].kind, sent[0].flags, sent[0].stream), (SETTINGS, 0, 0));
    assert_eq!(sent[1].kind, WINDOW_UPDATE);
}

/// §3.4: the client's is 24 octets and SETTINGS, and requests may follow at once.
#[test]
fn the_client_sends_preface_settings_and_requests_at_once() {
    let mut side = Side::raw_client(Limits::default());
    let mut head = RequestHead::new();
    head.headers.set("host", "a.example").unwrap();
    side.connection.send_request(&head, Framing::None, EndStream::Yes).unwrap();
    let mut out = Vec::new();
    side.connection.transmit(side.now, &mut out);
    assert!(out.starts_with(PREFACE));
    assert_eq!(out[24 + 3], SETTINGS);
}

/// §3.4: anything else is refused, as soon as it is seen, however it is cut.
#[test]
fn a_wrong_preface_ends_the_connection() {
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", b"\0"] {
        Side::raw_server(Limits::default()).dies(bytes, ErrorCode::Protocol);
    }
    let mut side = Side::raw_server(Limits::default());
    for byte in PREFACE {
        assert_eq!(side.feed(&[*byte]), Ok(vec![]));
    }
    assert_eq!(side.feed(&settings(&[])), Ok(vec![Event::Settings]));
}

/// §3.4: the first frame is SETTINGS, from either side, and no acknowledgement.
#[test]
fn the_first_frame_must_be_settings() {
    for first in [
        frame(PING, 0, 0, &[0; 8]),
        frame(SETTINGS, ACK, 0, &[]),
        get(1),
        frame(GOAWAY, 0, 0, &[0; 8]),
    ] {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(&first);
        Side::raw_server(Limits::default()).dies(&bytes, ErrorCode::Protocol);
        Side::raw_client(Limits::default()).dies(&first, ErrorCode::Protocol);
    }
}

/// §3.4: requests in the same bytes as the preface are served.
#[test]
fn a_whole_exchange_in_one_turn() {
    let mut side = Side::raw_server(Limits::default());
    let mut bytes = PREFACE.to_vec();
    bytes.extend(settings(&[]));
    bytes.extend(headers(1, 1, &GET));
    let events = side.feed(&bytes).unwrap();
    let Event::Request { stream, framing, end } = events[1] else { panic!("{events:?}") };
    assert_eq!((stream.number(), framing, end), (1, Framing::None, true));
    assert_eq!(side.requests[0].authority(), Some("a.example"));
    let mut head = ResponseHead::new();
    head.headers.set("X-Up", "1").unwrap();
    let sent = side.connection.send_response(
        stream,
        &head,
        Framing::Length(5),
        Some("Sun, 06 Nov 1994 08:49:37 GMT"),
        EndStream::No,
    );
    assert_eq!(sent, Ok(()));
    assert_eq!(side.connection.send_data(stream, b"hello", EndStream::Yes), Ok(5));
    assert_eq!(side.connection.streams_open(), 0);
    let kinds: Vec<u8> = side.sent().iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [SETTINGS, WINDOW_UPDATE, SETTINGS, HEADERS, 0]);
}
