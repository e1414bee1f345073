//! Section 4: frames.

use super::pair::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GET, HEADERS, PING, PUSH_PROMISE, SETTINGS, Side,
    block, frame, get, headers,
};
use ringway::protocol::h2::{ErrorCode, Event, FRAME_BYTES_MAX};

/// §4.1: frames of unknown types are ignored, and so are unknown flags and the reserved bit.
#[test]
fn what_is_unknown_is_ignored() {
    let mut side = Side::server();
    assert_eq!(side.feed(&frame(0x42, 0xff, 0, b"whatever")), Ok(vec![]));
    assert_eq!(side.feed(&frame(0xfe, 0, 77, &[])), Ok(vec![]));
    assert_eq!(side.feed(&frame(PING, 0xfe, 0, &[1; 8])), Ok(vec![]));
    let mut bytes = get(1);
    bytes[5] |= 0x80;
    assert_eq!(side.feed(&bytes).map(|events| events.len()), Ok(1));
}

/// §4.2: 2^14 octets are taken, one more is FRAME_SIZE_ERROR, whatever the type.
#[test]
fn frames_above_the_maximum_size_end_the_connection() {
    let mut side = Side::server();
    side.feed(&headers(1, 0, &super::pair::POST)).unwrap();
    assert!(side.feed(&frame(DATA, 0, 1, &[0; FRAME_BYTES_MAX])).is_ok());
    for kind in [DATA, HEADERS, SETTINGS, PING, 0x42] {
        let stream = u32::from(kind < SETTINGS);
        let bytes = frame(kind, 0, stream, &[0; FRAME_BYTES_MAX + 1]);
        // The head alone decides: nothing of that size is collected.
        Side::server().dies(&bytes[..9], ErrorCode::FrameSize);
    }
}

/// §4.3: a block that can't be decoded is COMPRESSION_ERROR for the connection.
#[test]
fn undecodable_blocks_end_the_connection() {
    for bad in [&[0x80][..], &[0xbe], &[0x40, 0x0a, b'a'], &[0x3f, 0xe2, 0x1f], &[0x82, 0x20]] {
        let bytes = frame(HEADERS, END_STREAM | END_HEADERS, 1, bad);
        Side::server().dies(&bytes, ErrorCode::Compression);
    }
}

/// §4.3: also where nobody wants the fields: on a stream that was reset, or is refused.
#[test]
fn unwanted_blocks_are_decoded_all_the_same() {
    let mut side = Side::server();
    side.resets(&headers(1, END_STREAM, &[("X", "y")]), 1, ErrorCode::Protocol);
    // A field that enters the table, on the stream that is gone.
    let mut indexed = vec![0x40, 1, b'a', 1, b'1'];
    assert_eq!(side.feed(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &indexed)), Ok(vec![]));
    indexed = block(&GET);
    indexed.push(0xbe);
    side.feed(&frame(HEADERS, END_STREAM | END_HEADERS, 3, &indexed)).unwrap();
    assert_eq!(side.requests[0].headers.get("a"), Some(&b"1"[..]));
    side.resets(&headers(5, END_STREAM, &[("X", "y")]), 5, ErrorCode::Protocol);
    side.dies(&frame(HEADERS, END_STREAM | END_HEADERS, 5, &[0x80]), ErrorCode::Compression);
}

/// §4.3, §6.10: within a block nothing else may come, on any stream.
#[test]
fn a_header_block_is_not_interrupted() {
    let whole = block(&GET);
    let start = frame(HEADERS, END_STREAM, 1, &whole[..5]);
    for other in [
        frame(PING, 0, 0, &[0; 8]),
        frame(DATA, 0, 1, b"x"),
        get(3),
        frame(CONTINUATION, END_HEADERS, 3, &whole[5..]),
        frame(0x42, 0, 0, b""),
        frame(PUSH_PROMISE, 0, 1, &[0; 8]),
    ] {
        let mut side = Side::server();
        assert_eq!(side.feed(&start), Ok(vec![]));
        side.dies(&other, ErrorCode::Protocol);
    }
    Side::server().dies(&frame(CONTINUATION, END_HEADERS, 1, &whole), ErrorCode::Protocol);
}

/// §6.10: any number of pieces, empty ones too, give the same head.
#[test]
fn a_header_block_may_come_in_pieces() {
    let whole = block(&GET);
    for cut in 0..whole.len() {
        let mut side = Side::server();
        let mut bytes = frame(HEADERS, END_STREAM, 1, &whole[..cut]);
        bytes.extend(frame(CONTINUATION, 0, 1, &[]));
        bytes.extend(frame(CONTINUATION, END_HEADERS, 1, &whole[cut..]));
        let events = side.feed(&bytes).unwrap();
        assert!(matches!(events[..], [Event::Request { end: true, .. }]));
        assert_eq!(side.requests[0].authority(), Some("a.example"));
    }
}

/// However the wire cuts them, frames mean the same.
#[test]
fn frames_may_be_cut_anywhere() {
    let mut bytes = headers(1, 0, &super::pair::POST);
    bytes.extend(frame(DATA, 0, 1, b"hello "));
    bytes.extend(frame(PING, 0, 0, &[3; 8]));
    bytes.extend(frame(DATA, super::pair::PADDED | END_STREAM, 1, b"\x03world\0\0\0"));
    bytes.extend(get(3));
    for size in 1..bytes.len() {
        let mut side = Side::server();
        for piece in bytes.chunks(size) {
            side.feed(piece).unwrap();
        }
        let body: Vec<u8> = side.data.iter().flat_map(|(_, piece, _)| piece.clone()).collect();
        assert_eq!(body, b"hello world", "pieces of {size}");
        assert_eq!(side.data.iter().filter(|(.., end)| *end).count(), 1);
        assert_eq!(side.requests.len(), 2);
    }
}
