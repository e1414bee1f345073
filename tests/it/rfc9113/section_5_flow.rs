//! Section 5.2 and 6.9: flow control, both ways.

use super::pair::{
    DATA, END_STREAM, PADDED, POST, SETTINGS, Side, WINDOW_UPDATE, frame, get, headers, settings,
    window_update,
};
use ringway::protocol::h2::{EndStream, ErrorCode, Event, Limits, StreamId, WINDOW_MAX};
use ringway::protocol::http::{Framing, ResponseHead};

fn started(side: &mut Side, bytes: &[u8]) -> StreamId {
    let events = side.feed(bytes).unwrap();
    let Event::Request { stream, .. } = events[0] else { panic!("{events:?}") };
    let head = ResponseHead::new();
    side.connection.send_response(stream, &head, Framing::Chunked, None, EndStream::No).unwrap();
    side.sent();
    stream
}

fn data_bytes(side: &mut Side) -> usize {
    side.sent().iter().filter(|frame| frame.kind == DATA).map(|frame| frame.payload.len()).sum()
}

/// §6.9.1: no more DATA than both windows allow; the rest waits and goes on.
#[test]
fn data_never_exceeds_the_windows() {
    let limits = Limits { output_bytes: 1 << 20, ..Limits::default() };
    let mut side = Side::server_with(limits);
    let one = started(&mut side, &get(1));
    let two = started(&mut side, &get(3));
    let body = vec![7; 100_000];
    assert_eq!(side.connection.send_data(one, &body, EndStream::Yes), Ok(65_535));
    assert_eq!(data_bytes(&mut side), 65_535);
    assert_eq!(side.connection.send_data(two, &body, EndStream::Yes), Ok(0));
    assert!(side.connection.blocked_since().is_some());
    // The connection's window lets the second go, whose own is full; the first has to wait.
    assert_eq!(side.feed(&window_update(0, 1000)), Ok(vec![Event::Capacity { stream: two }]));
    assert_eq!(side.connection.capacity(one), 0);
    assert_eq!(side.connection.send_data(two, &body, EndStream::Yes), Ok(1000));
    assert_eq!(side.feed(&window_update(1, 50_000)), Ok(vec![]));
    let events = side.feed(&window_update(0, 1_000_000)).unwrap();
    assert_eq!(events, [Event::Capacity { stream: one }, Event::Capacity { stream: two }]);
    assert_eq!(side.connection.send_data(one, &body[65_535..], EndStream::Yes), Ok(34_465));
    assert_eq!(side.connection.blocked_since(), None);
}

/// §6.9.1: an empty DATA with END_STREAM needs no window.
#[test]
fn the_end_needs_no_window() {
    let mut side = Side::server();
    side.feed(&settings(&[(4, 0)])).unwrap();
    let stream = started(&mut side, &get(1));
    assert_eq!(side.connection.send_data(stream, b"x", EndStream::Yes), Ok(0));
    assert_eq!(side.connection.send_data(stream, b"", EndStream::Yes), Ok(0));
    let sent = side.sent();
    assert_eq!((sent[0].kind, sent[0].flags, sent[0].payload.len()), (DATA, END_STREAM, 0));
}

/// §6.9.2: SETTINGS_INITIAL_WINDOW_SIZE changes windows of open streams, also below zero.
#[test]
fn settings_change_the_windows_of_open_streams() {
    let mut side = Side::server();
    side.feed(&settings(&[(4, 3)])).unwrap();
    let stream = started(&mut side, &get(1));
    assert_eq!(side.connection.send_data(stream, b"hello", EndStream::Yes), Ok(3));
    // 3 used of 3; lowered to 1 that is -2.
    assert_eq!(side.feed(&settings(&[(4, 1)])), Ok(vec![Event::Settings]));
    assert_eq!(side.feed(&window_update(1, 2)), Ok(vec![]));
    assert_eq!(side.connection.capacity(stream), 0);
    assert_eq!(
        side.feed(&settings(&[(4, 3)])),
        Ok(vec![Event::Settings, Event::Capacity { stream }])
    );
    assert_eq!(side.connection.capacity(stream), 2);
    // Not the connection's.
    assert_eq!(side.feed(&settings(&[(4, WINDOW_MAX)])), Ok(vec![Event::Settings]));
    side.sent();
    assert_eq!(side.connection.capacity(stream), 65_535 - 3);
}

/// §6.9.1, §6.9.2: a window above 2^31-1 is FLOW_CONTROL_ERROR.
#[test]
fn windows_do_not_overflow() {
    let mut side = Side::server();
    started(&mut side, &get(1));
    side.resets(&window_update(1, WINDOW_MAX), 1, ErrorCode::FlowControl);
    side.dies(&window_update(0, WINDOW_MAX), ErrorCode::FlowControl);
    let mut side = Side::server();
    started(&mut side, &get(1));
    side.feed(&window_update(1, 1)).unwrap();
    side.dies(&settings(&[(4, WINDOW_MAX)]), ErrorCode::FlowControl);
}

/// §6.9: an increment of zero is an error: of the stream, or of the connection.
#[test]
fn increments_are_not_zero() {
    let mut side = Side::server();
    started(&mut side, &get(1));
    side.resets(&window_update(1, 0), 1, ErrorCode::Protocol);
    side.dies(&window_update(0, 0), ErrorCode::Protocol);
}

/// §6.9: WINDOW_UPDATE has four octets.
#[test]
fn window_updates_have_four_octets() {
    for len in [0, 3, 5] {
        Side::server().dies(&frame(WINDOW_UPDATE, 0, 0, &[1; 8][..len]), ErrorCode::FrameSize);
    }
}

/// §6.9.1: they may not send more than we gave: the stream's, then the connection's window.
#[test]
fn data_beyond_our_windows_is_refused() {
    let limits = Limits { stream_window: 20_000, connection_window: 65_535, ..Limits::default() };
    let mut side = Side::server_with(limits.clone());
    side.feed(&headers(1, 0, &POST)).unwrap();
    side.feed(&frame(DATA, 0, 1, &[0; 16_000])).unwrap();
    side.resets(&frame(DATA, 0, 1, &[0; 4001]), 1, ErrorCode::FlowControl);
    let mut side = Side::server_with(Limits { stream_window: 1 << 20, ..limits });
    side.feed(&headers(1, 0, &POST)).unwrap();
    for _ in 0..4 {
        side.feed(&frame(DATA, 0, 1, &[0; 16_000])).unwrap();
    }
    side.dies(&frame(DATA, 0, 1, &[0; 1536]), ErrorCode::FlowControl);
}

/// §6.9: credit comes back when the caller releases it, in halves of a window.
#[test]
fn released_bytes_become_credit() {
    let limits = Limits { stream_window: 40_000, connection_window: 100_000, ..Limits::default() };
    let mut side = Side::server_with(limits);
    let events = side.feed(&headers(1, 0, &POST)).unwrap();
    let Event::Request { stream, .. } = events[0] else { panic!("{events:?}") };
    side.feed(&frame(DATA, 0, 1, &[0; 16_000])).unwrap();
    side.connection.release(stream, 16_000);
    assert_eq!(side.sent(), [], "not worth a frame yet");
    side.feed(&frame(DATA, 0, 1, &[0; 10_000])).unwrap();
    side.connection.release(stream, 10_000);
    let sent = side.sent();
    assert_eq!((sent[0].kind, sent[0].stream), (WINDOW_UPDATE, 1));
    assert_eq!(sent[0].payload, 26_000u32.to_be_bytes());
    assert_eq!(sent.len(), 1, "the connection's isn't half used");
    for _ in 0..3 {
        side.feed(&frame(DATA, 0, 1, &[0; 10_000])).unwrap();
        side.connection.release(stream, 10_000);
    }
    let total: u32 = side
        .sent()
        .iter()
        .filter(|frame| frame.stream == 0)
        .map(|frame| u32::from_be_bytes(*frame.payload.first_chunk().unwrap()))
        .sum();
    assert_eq!(total, 56_000);
}

/// §6.9: whatever becomes of a stream, the connection gets all of its credit back, padding too.
#[test]
fn cancelled_streams_cost_the_connection_no_credit() {
    let limits = Limits { connection_window: 65_535, ..Limits::default() };
    let mut side = Side::server_with(limits);
    // One octet of content.
    let padded = [&[254][..], &[7; 255]].concat();
    for id in (1..1000).step_by(2) {
        let events = side.feed(&headers(id, 0, &POST)).unwrap();
        let Event::Request { stream, .. } = events[0] else { panic!("{events:?}") };
        // The caller holds 1000 bytes when padding comes, and more padding is cut by the end.
        side.feed(&frame(DATA, 0, id, &[0; 1000])).unwrap();
        side.feed(&frame(DATA, PADDED, id, &padded)).unwrap();
        let last = frame(DATA, PADDED, id, &padded);
        side.feed(&last[..9]).unwrap();
        side.connection.reset(stream, ErrorCode::Cancel);
        side.feed(&last[9..]).unwrap();
        side.sent();
    }
}

/// §6.9.1: padding counts, and comes back by itself.
#[test]
fn padding_counts_and_comes_back() {
    let limits = Limits { stream_window: 1000, ..Limits::default() };
    let mut side = Side::server_with(limits);
    side.feed(&headers(1, 0, &POST)).unwrap();
    let mut padded = vec![255, b'x'];
    padded.resize(257, 0);
    for _ in 0..100 {
        side.feed(&frame(DATA, PADDED, 1, &padded)).unwrap();
        side.connection.release(side.data.last().unwrap().0, 1);
    }
    assert_eq!(side.data.len(), 100);
    let updates = side.sent().iter().filter(|f| f.kind == WINDOW_UPDATE && f.stream == 1).count();
    assert!((25..=51).contains(&updates), "{updates}");
}

/// §6.9.2: our SETTINGS bind them from the acknowledgement on, and not before.
#[test]
fn our_settings_are_in_force_once_acknowledged() {
    let limits = Limits { stream_window: 1000, ..Limits::default() };
    let mut side = Side::raw_server(limits);
    let mut bytes = ringway::protocol::h2::PREFACE.to_vec();
    bytes.extend(settings(&[]));
    bytes.extend(headers(1, 0, &POST));
    bytes.extend(frame(DATA, 0, 1, &[0; 5000]));
    bytes.extend(frame(SETTINGS, 1, 0, &[]));
    side.feed(&bytes).unwrap();
    side.resets(&frame(DATA, 0, 1, b"x"), 1, ErrorCode::FlowControl);
}

/// Credit released under the old, larger window isn't lost to the new one.
#[test]
fn credit_survives_a_smaller_window() {
    let limits = Limits { stream_window: 1000, ..Limits::default() };
    let mut side = Side::raw_server(limits);
    let mut bytes = ringway::protocol::h2::PREFACE.to_vec();
    bytes.extend(settings(&[]));
    bytes.extend(headers(1, 0, &POST));
    bytes.extend(frame(DATA, 0, 1, &[0; 5000]));
    side.feed(&bytes).unwrap();
    let stream = side.first_stream.unwrap();
    side.connection.release(stream, 5000);
    assert!(side.sent().iter().all(|frame| frame.kind != WINDOW_UPDATE || frame.stream == 0));
    side.feed(&frame(SETTINGS, 1, 0, &[])).unwrap();
    let sent = side.sent();
    assert_eq!((sent[0].kind, sent[0].stream), (WINDOW_UPDATE, 1));
    assert_eq!(sent[0].payload, 5000u32.to_be_bytes());
}

/// Output that nobody fetches holds DATA back, and fetching it lets DATA go on.
#[test]
fn unsent_output_is_bounded() {
    let limits = Limits { output_bytes: 20_000, ..Limits::default() };
    let mut side = Side::server_with(limits);
    let stream = started(&mut side, &get(1));
    let body = vec![7; 50_000];
    assert_eq!(side.connection.send_data(stream, &body, EndStream::Yes), Ok(20_000));
    assert!(side.connection.output_len() < 20_100);
    assert_eq!(side.connection.send_data(stream, &body[20_000..], EndStream::Yes), Ok(0));
    side.sent();
    assert_eq!(side.connection.poll_event(), Some(Event::Capacity { stream }));
    assert_eq!(side.connection.send_data(stream, &body[20_000..], EndStream::Yes), Ok(20_000));
}
