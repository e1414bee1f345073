//! Sections 6.2, 6.3, 6.4, 6.6: HEADERS, PRIORITY, RST_STREAM, PUSH_PROMISE.

use super::pair::{
    END_HEADERS, END_STREAM, GET, HEADERS, PADDED, PRIORITY, PRIORITY_FLAG, PUSH_PROMISE,
    RST_STREAM, Side, block, frame, get, headers, rst_stream,
};
use ringway::protocol::h2::{EndStream, ErrorCode, Event, ResetCause};
use ringway::protocol::http::{Framing, RequestHead};

/// §6.2: HEADERS belongs to a stream.
#[test]
fn headers_on_stream_zero_is_a_connection_error() {
    Side::server().dies(&get(0), ErrorCode::Protocol);
}

/// §6.2: padding and priority are cut off, and fit.
#[test]
fn padding_and_priority_are_cut_off_or_refused() {
    let flags = END_STREAM | END_HEADERS;
    let mut payload = vec![3, 0, 0, 0, 5, 200];
    payload.extend(block(&GET));
    payload.extend([0; 3]);
    let mut side = Side::server();
    side.feed(&frame(HEADERS, flags | PADDED | PRIORITY_FLAG, 1, &payload)).unwrap();
    assert_eq!(side.requests[0].path(), "/");
    for (bad, extra) in [(&[9, 0x82][..], PADDED), (&[0xff], PADDED)] {
        Side::server().dies(&frame(HEADERS, flags | extra, 1, bad), ErrorCode::Protocol);
    }
    for (bad, extra) in [(&[][..], PADDED), (&[0; 4], PRIORITY_FLAG)] {
        Side::server().dies(&frame(HEADERS, flags | extra, 1, bad), ErrorCode::FrameSize);
    }
}

/// §6.3: five octets, on a stream; a wrong size is the stream's error.
#[test]
fn priority_has_five_octets_and_a_stream() {
    Side::server().dies(&frame(PRIORITY, 0, 0, &[0; 5]), ErrorCode::Protocol);
    for len in [0, 4, 6] {
        let mut side = Side::server();
        side.feed(&get(1)).unwrap();
        side.resets(&frame(PRIORITY, 0, 1, &vec![0; len]), 1, ErrorCode::FrameSize);
    }
}

/// §6.4: four octets, on a stream that isn't idle.
#[test]
fn rst_stream_has_four_octets_and_a_stream() {
    Side::server().dies(&frame(RST_STREAM, 0, 0, &[0; 4]), ErrorCode::Protocol);
    for len in [0, 3, 5] {
        let mut side = Side::server();
        side.feed(&get(1)).unwrap();
        side.dies(&frame(RST_STREAM, 0, 1, &vec![0; len]), ErrorCode::FrameSize);
    }
}

/// §6.4, §8.7: the code comes through, and REFUSED_STREAM says that nothing was done.
#[test]
fn resets_tell_their_code_and_what_it_means() {
    for (code, cause) in [
        (ErrorCode::RefusedStream, ResetCause::Unprocessed),
        (ErrorCode::Internal, ResetCause::Theirs),
        (ErrorCode::Other(0xdead), ResetCause::Theirs),
    ] {
        let mut side = Side::client();
        let mut head = RequestHead::new();
        head.headers.set("host", "a").unwrap();
        let stream = side.connection.send_request(&head, Framing::None, EndStream::Yes).unwrap();
        assert_eq!(side.feed(&rst_stream(1, code)), Ok(vec![Event::Reset { stream, code, cause }]));
        assert_eq!(side.connection.streams_open(), 0);
    }
}

/// §6.6, §8.4: nobody may push to us.
#[test]
fn push_is_refused() {
    let mut payload = vec![0, 0, 0, 2];
    payload.extend(block(&GET));
    let bytes = frame(PUSH_PROMISE, END_HEADERS, 1, &payload);
    Side::server().dies(&bytes, ErrorCode::Protocol);
    let mut side = Side::client();
    let mut head = RequestHead::new();
    head.headers.set("host", "a").unwrap();
    side.connection.send_request(&head, Framing::None, EndStream::Yes).unwrap();
    side.dies(&bytes, ErrorCode::Protocol);
}

/// §6.2: with END_STREAM a request is whole, without it is not.
#[test]
fn end_stream_ends_the_request() {
    let mut side = Side::server();
    assert!(matches!(
        side.feed(&get(1)).unwrap()[..],
        [Event::Request { end: true, framing: Framing::None, .. }]
    ));
    assert!(matches!(
        side.feed(&headers(3, 0, &GET)).unwrap()[..],
        [Event::Request { end: false, framing: Framing::Chunked, .. }]
    ));
}
