//! Section 5.1: streams, their states, their numbers, how many; 5.4: errors.

use super::pair::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GET, GOAWAY, HEADERS, POST, PRIORITY, RST_STREAM,
    Side, block, frame, get, headers, rst_stream, window_update,
};
use ringway::protocol::h2::{EndStream, ErrorCode, Event, Limits, ResetCause, SendError, StreamId};
use ringway::protocol::http::{Framing, RequestHead, ResponseHead};

fn opened(side: &mut Side, bytes: &[u8]) -> StreamId {
    match side.feed(bytes).unwrap()[..] {
        [Event::Request { stream, .. }] => stream,
        ref other => panic!("{other:?}"),
    }
}

fn answer(side: &mut Side, stream: StreamId) {
    let head = ResponseHead::new();
    side.connection.send_response(stream, &head, Framing::Length(0), None, EndStream::Yes).unwrap();
}

/// §5.1: on an idle stream only HEADERS and PRIORITY may come.
#[test]
fn frames_on_idle_streams_end_the_connection() {
    for bytes in
        [frame(DATA, END_STREAM, 1, b"x"), rst_stream(1, ErrorCode::Cancel), window_update(1, 1)]
    {
        Side::server().dies(&bytes, ErrorCode::Protocol);
        Side::client().dies(&bytes, ErrorCode::Protocol);
    }
    assert_eq!(Side::server().feed(&frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9])), Ok(vec![]));
}

/// §5.1, half-closed (remote): DATA and HEADERS are STREAM_CLOSED, of the stream.
#[test]
fn frames_after_end_stream_are_stream_closed() {
    for bytes in [frame(DATA, END_STREAM, 1, b"x"), headers(1, END_STREAM, &[("a", "b")])] {
        let mut side = Side::server();
        side.feed(&get(1)).unwrap();
        side.resets(&bytes, 1, ErrorCode::StreamClosed);
    }
    // WINDOW_UPDATE, PRIORITY and RST_STREAM may still come.
    let mut side = Side::server();
    side.feed(&get(1)).unwrap();
    assert_eq!(side.feed(&window_update(1, 10)), Ok(vec![]));
    assert_eq!(side.feed(&frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9])), Ok(vec![]));
    assert!(matches!(
        side.feed(&rst_stream(1, ErrorCode::Cancel)).unwrap()[..],
        [Event::Reset { code: ErrorCode::Cancel, cause: ResetCause::Theirs, .. }]
    ));
}

/// §5.1, closed: after both ended, DATA and HEADERS are STREAM_CLOSED, of the connection.
#[test]
fn frames_on_closed_streams_end_the_connection() {
    for bytes in [frame(DATA, END_STREAM, 1, b"x"), headers(1, END_STREAM, &[("a", "b")])] {
        let mut side = Side::server();
        let stream = opened(&mut side, &get(1));
        answer(&mut side, stream);
        assert_eq!(side.feed(&window_update(1, 10)), Ok(vec![]));
        assert_eq!(side.feed(&rst_stream(1, ErrorCode::Cancel)), Ok(vec![]));
        side.dies(&bytes, ErrorCode::StreamClosed);
    }
}

/// §5.1, closed: after they reset it nothing may come but PRIORITY.
#[test]
fn frames_after_rst_stream_end_the_connection() {
    let mut side = Side::server();
    side.feed(&headers(1, 0, &POST)).unwrap();
    side.feed(&rst_stream(1, ErrorCode::Cancel)).unwrap();
    assert_eq!(side.feed(&frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9])), Ok(vec![]));
    side.dies(&frame(DATA, 0, 1, b"x"), ErrorCode::StreamClosed);
}

/// §5.1, closed: after *we* reset it, what was on its way is ignored, and its credit comes back.
#[test]
fn frames_that_cross_our_reset_are_ignored() {
    let limits = Limits { connection_window: 65_535, ..Limits::default() };
    let mut side = Side::server_with(limits);
    let stream = opened(&mut side, &headers(1, 0, &POST));
    side.connection.reset(stream, ErrorCode::NoError);
    assert_eq!(side.sent()[0].kind, RST_STREAM);
    for _ in 0..20 {
        assert_eq!(side.feed(&frame(DATA, 0, 1, &[0; 16_000])), Ok(vec![]));
    }
    assert_eq!(side.feed(&headers(1, END_STREAM, &[("a", "b")])), Ok(vec![]));
    assert_eq!(side.feed(&rst_stream(1, ErrorCode::Cancel)), Ok(vec![]));
    assert_eq!(side.feed(&window_update(1, 10)), Ok(vec![]));
    assert!(side.sent().iter().all(|frame| frame.stream == 0));
}

/// §5.1.1: clients' numbers are odd and rise.
#[test]
fn stream_numbers_are_odd_and_rise() {
    Side::server().dies(&get(2), ErrorCode::Protocol);
    let mut side = Side::server();
    side.feed(&get(5)).unwrap();
    side.dies(&get(3), ErrorCode::Protocol);
    // A client takes no stream from its server.
    Side::client().dies(&headers(2, END_STREAM, &[(":status", "200")]), ErrorCode::Protocol);
    Side::client().dies(&headers(1, END_STREAM, &[(":status", "200")]), ErrorCode::Protocol);
}

/// §5.1.2: streams above the limit are refused, and may be sent again (§8.7).
#[test]
fn streams_above_the_limit_are_refused() {
    let mut side = Side::server_with(Limits { streams: 2, ..Limits::default() });
    let first = opened(&mut side, &get(1));
    opened(&mut side, &get(3));
    side.resets(&get(5), 5, ErrorCode::RefusedStream);
    answer(&mut side, first);
    opened(&mut side, &get(7));
}

/// §5.1.2: and we honour theirs.
#[test]
fn a_client_opens_no_more_streams_than_the_server_allows() {
    let mut side = Side::client_with(Limits::default(), &[(3, 1)]);
    let mut head = RequestHead::new();
    head.headers.set("host", "a").unwrap();
    assert_eq!(side.connection.streams_free(), 1);
    side.connection.send_request(&head, Framing::None, EndStream::Yes).unwrap();
    assert_eq!(
        side.connection.send_request(&head, Framing::None, EndStream::Yes),
        Err(SendError::NoStreamFree)
    );
    side.feed(&headers(1, END_STREAM, &[(":status", "204")])).unwrap();
    assert_eq!(side.connection.streams_free(), 1);
}

/// §5.3.1 of RFC 7540, which RFC 9113 keeps for those who look: no stream depends on itself.
#[test]
fn a_stream_does_not_depend_on_itself() {
    let mut payload = vec![0, 0, 0, 1, 16];
    payload.extend(block(&GET));
    let bytes = frame(HEADERS, END_STREAM | END_HEADERS | 0x20, 1, &payload);
    Side::server().resets(&bytes, 1, ErrorCode::Protocol);
    let mut side = Side::server();
    side.feed(&get(1)).unwrap();
    side.resets(&frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 16]), 1, ErrorCode::Protocol);
}

/// §5.4.1: after an error GOAWAY names the last stream that was taken, and nothing is read any more.
#[test]
fn a_connection_error_names_the_last_stream() {
    let mut side = Side::server();
    side.feed(&get(7)).unwrap();
    let error = side.feed(&frame(CONTINUATION, 0, 7, b"")).unwrap_err();
    let goaway = side.sent().pop().unwrap();
    assert_eq!((goaway.kind, &goaway.payload[..4]), (GOAWAY, &[0, 0, 0, 7][..]));
    assert_eq!(side.feed(&get(9)), Err(error));
    assert!(side.connection.is_finished());
}

/// Calls for streams that are over are answered, not obeyed.
#[test]
fn sending_out_of_order_is_refused() {
    let mut side = Side::server();
    let stream = opened(&mut side, &get(1));
    let connection = &mut side.connection;
    assert_eq!(connection.send_data(stream, b"x", EndStream::No), Err(SendError::OutOfOrder));
    let head = ResponseHead::new();
    let send = |connection: &mut ringway::protocol::h2::Connection, end| {
        connection.send_response(stream, &head, Framing::Chunked, None, end)
    };
    assert_eq!(send(connection, EndStream::No), Ok(()));
    assert_eq!(send(connection, EndStream::No), Err(SendError::OutOfOrder));
    assert_eq!(connection.send_data(stream, b"x", EndStream::Yes), Ok(1));
    assert_eq!(connection.send_data(stream, b"x", EndStream::Yes), Err(SendError::StreamClosed));
    connection.reset(stream, ErrorCode::Cancel);
    assert!(side.sent().iter().all(|frame| frame.kind != RST_STREAM));
}
