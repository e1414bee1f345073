//! Section 6.1: DATA; 8.1.1: and Content-Length.

use super::pair::{DATA, END_STREAM, PADDED, POST, Side, frame, get, headers};
use ringway::protocol::h2::{EndStream, ErrorCode, Event};
use ringway::protocol::http::{Framing, Method, RequestHead};

/// §6.1: DATA belongs to a stream.
#[test]
fn data_on_stream_zero_is_a_connection_error() {
    Side::server().dies(&frame(DATA, 0, 0, b"x"), ErrorCode::Protocol);
    Side::client().dies(&frame(DATA, 0, 0, b"x"), ErrorCode::Protocol);
}

/// §6.1: padding is shorter than the frame, and never seen by the caller.
#[test]
fn padding_is_cut_off_or_refused() {
    let mut side = Side::server();
    side.feed(&headers(1, 0, &POST)).unwrap();
    side.feed(&frame(DATA, PADDED, 1, b"\x04data\0\0\0\0")).unwrap();
    side.feed(&frame(DATA, PADDED, 1, b"\x00data")).unwrap();
    let events = side.feed(&frame(DATA, PADDED | END_STREAM, 1, b"\x02\0\0")).unwrap();
    assert!(matches!(events[..], [Event::Data { ref range, end: true, .. }] if range.is_empty()));
    let pieces: Vec<&[u8]> = side.data.iter().map(|(_, piece, _)| piece.as_slice()).collect();
    assert_eq!(pieces, [&b"data"[..], b"data", b""]);
    for bad in [&b"\x05data"[..], b"\xff", b"\x01"] {
        let mut side = Side::server();
        side.feed(&headers(1, 0, &POST)).unwrap();
        side.dies(&frame(DATA, PADDED, 1, bad), ErrorCode::Protocol);
    }
    let mut side = Side::server();
    side.feed(&headers(1, 0, &POST)).unwrap();
    side.dies(&frame(DATA, PADDED, 1, b""), ErrorCode::FrameSize);
}

fn post(length: &str) -> Vec<u8> {
    let mut fields = POST.to_vec();
    fields.push(("content-length", length));
    headers(1, 0, &fields)
}

/// §8.1.1: as much DATA as Content-Length says.
#[test]
fn data_is_as_long_as_content_length_says() {
    let mut side = Side::server();
    let events = side.feed(&post("5")).unwrap();
    assert!(matches!(events[..], [Event::Request { framing: Framing::Length(5), end: false, .. }]));
    side.feed(&frame(DATA, 0, 1, b"hel")).unwrap();
    side.feed(&frame(DATA, END_STREAM, 1, b"lo")).unwrap();
    assert!(side.data.last().unwrap().2);
    for pieces in [&[&b"hello!"[..]][..], &[b"hello", b"!"], &[b"hell"], &[b"hell", b""]] {
        let mut side = Side::server();
        side.feed(&post("5")).unwrap();
        let mut bytes = Vec::new();
        for (at, piece) in pieces.iter().enumerate() {
            let flags = if at + 1 == pieces.len() { END_STREAM } else { 0 };
            bytes.extend(frame(DATA, flags, 1, piece));
        }
        side.resets(&bytes, 1, ErrorCode::Protocol);
        assert!(side.data.iter().all(|(.., end)| !end), "never seen as whole");
    }
}

/// §8.1.1: a length without DATA, and one that is no number.
#[test]
fn impossible_lengths_are_malformed() {
    for length in ["-1", "+1", "1,1", "", "0x1", "18446744073709551616", "9223372036854775808"] {
        Side::server().resets(&post(length), 1, ErrorCode::Protocol);
    }
    let mut fields = POST.to_vec();
    fields.push(("content-length", "1"));
    Side::server().resets(&headers(1, END_STREAM, &fields), 1, ErrorCode::Protocol);
    fields.push(("content-length", "1"));
    Side::server().resets(&headers(1, 0, &fields), 1, ErrorCode::Protocol);
    let mut side = Side::server();
    fields.truncate(4);
    fields.push(("content-length", "0"));
    let events = side.feed(&headers(1, END_STREAM, &fields)).unwrap();
    assert!(matches!(events[..], [Event::Request { framing: Framing::Length(0), end: true, .. }]));
}

fn client_with_request(method: &str) -> Side {
    let mut side = Side::client();
    let mut head = RequestHead::new();
    head.set_method(method).unwrap();
    head.headers.set("host", "a.example").unwrap();
    side.connection.send_request(&head, Framing::None, EndStream::Yes).unwrap();
    assert_eq!(head.method, Method::from_token(method.as_bytes()));
    side
}

/// §8.1.1: responses to HEAD, 204 and 304 have no content, whatever their length says.
#[test]
fn responses_without_content_have_none() {
    let cases = [
        ("HEAD", "200", Framing::Described(9)),
        ("GET", "304", Framing::Described(9)),
        ("GET", "204", Framing::None),
    ];
    for (method, status, expected) in cases {
        let fields = [(":status", status), ("content-length", "9")];
        let mut side = client_with_request(method);
        let events = side.feed(&headers(1, END_STREAM, &fields)).unwrap();
        let Event::Response { framing, end, .. } = events[0] else { panic!("{events:?}") };
        assert_eq!((framing, end), (expected, true), "{method} {status}");
        let mut side = client_with_request(method);
        side.feed(&headers(1, 0, &fields)).unwrap();
        side.resets(&frame(DATA, END_STREAM, 1, b"123456789"), 1, ErrorCode::Protocol);
        let mut side = client_with_request(method);
        side.feed(&headers(1, 0, &fields)).unwrap();
        side.feed(&frame(DATA, END_STREAM, 1, b"")).unwrap();
        assert_eq!(side.connection.streams_open(), 0);
    }
    let mut side = client_with_request("GET");
    side.resets(
        &headers(1, END_STREAM, &[(":status", "200"), ("content-length", "9")]),
        1,
        ErrorCode::Protocol,
    );
}

/// §8.1: DATA before the response's head is malformed.
#[test]
fn data_comes_after_the_head() {
    let mut side = client_with_request("GET");
    side.resets(&frame(DATA, 0, 1, b"x"), 1, ErrorCode::Protocol);
    let mut side = client_with_request("GET");
    side.feed(&headers(1, 0, &[(":status", "103"), ("link", "</a>")])).unwrap();
    side.resets(&frame(DATA, 0, 1, b"x"), 1, ErrorCode::Protocol);
}

/// A caller that resets a stream within a DATA frame gets none of the rest, and the connection
/// keeps its credit.
#[test]
fn the_rest_of_a_frame_is_dropped_after_a_reset() {
    let mut side = Side::server();
    side.feed(&headers(1, 0, &POST)).unwrap();
    let bytes = frame(DATA, END_STREAM, 1, &[1; 1000]);
    side.feed(&bytes[..500]).unwrap();
    let stream = side.data[0].0;
    side.connection.reset(stream, ErrorCode::Cancel);
    assert_eq!(side.feed(&bytes[500..]), Ok(vec![]));
    assert!(side.feed(&get(3)).is_ok());
}
