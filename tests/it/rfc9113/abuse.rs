//! Section 10.5 and the attacks that came after it: each is bounded, and none of the bounds is met
//! by what honest clients do.

use super::pair::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GET, HEADERS, PADDED, PING, POST, PRIORITY,
    SETTINGS, Side, block, frame, get, headers, rst_stream, settings, window_update,
};
use ringway::protocol::h2::{
    Abuse, Connection, ConnectionError, EndStream, ErrorCode, Event, Limits, StreamId, Violation,
};
use ringway::protocol::http::{Framing, ResponseHead};
use std::time::Duration;

/// Sends what `next` makes until the connection ends; gives how many that took, and the kind.
#[track_caller]
fn flood(side: &mut Side, mut next: impl FnMut(u32) -> Vec<u8>) -> (u32, Abuse) {
    for n in 0..100_000 {
        match side.feed(&next(n)) {
            Ok(_) => {
                side.sent();
            }
            Err(ConnectionError(Violation::Abuse(abuse))) => {
                let last = side.sent().pop().unwrap();
                assert_eq!(last.payload[4..8], ErrorCode::EnhanceYourCalm.wire().to_be_bytes());
                return (n, abuse);
            }
            Err(other) => panic!("{other}"),
        }
    }
    panic!("never ended");
}

fn stream(n: u32) -> u32 {
    2 * n + 1
}

fn answer(connection: &mut Connection, stream: StreamId) {
    let head = ResponseHead::new();
    connection.send_response(stream, &head, Framing::Length(0), None, EndStream::Yes).unwrap();
}

/// CVE-2023-44487: requests that are cancelled at once.
#[test]
fn rapid_reset() {
    let mut side = Side::server();
    let (n, abuse) = flood(&mut side, |n| {
        let mut bytes = get(stream(n));
        bytes.extend(rst_stream(stream(n), ErrorCode::Cancel));
        bytes
    });
    assert_eq!((n, abuse), (200, Abuse::RapidReset));
    assert_eq!(side.connection.streams_open(), 0);
}

/// The same, a little slower than once: what leaks with time isn't an attack.
#[test]
fn cancelling_now_and_then_is_no_attack() {
    let mut side = Side::server();
    for n in 0..5000 {
        side.feed(&get(stream(n))).unwrap();
        side.feed(&rst_stream(stream(n), ErrorCode::Cancel)).unwrap();
        side.now += Duration::from_millis(20);
    }
}

/// A browser that leaves a page, many times over, with most requests answered.
#[test]
fn answered_streams_pay_for_cancelled_ones() {
    let mut side = Side::server();
    for n in 0..10_000 {
        let events = side.feed(&get(stream(n))).unwrap();
        let Event::Request { stream: id, .. } = events[0] else { panic!("{events:?}") };
        if n % 2 == 0 {
            side.feed(&rst_stream(stream(n), ErrorCode::Cancel)).unwrap();
        } else {
            answer(&mut side.connection, id);
        }
        side.sent();
    }
}

/// CVE-2025-8671, "MadeYouReset": frames that make us reset the stream, in all their kinds.
#[test]
fn made_you_reset() {
    let kinds: [fn(u32) -> Vec<u8>; 5] = [
        |id| window_update(id, 0),
        |id| window_update(id, 0x7fff_ffff),
        |id| frame(PRIORITY, 0, id, &[0; 4]),
        |id| frame(DATA, END_STREAM, id, b"after the end"),
        |id| headers(id, END_STREAM, &[("after", "the end")]),
    ];
    for provoke in kinds {
        let mut side = Side::server();
        let (n, abuse) = flood(&mut side, |n| {
            let mut bytes = get(stream(n));
            bytes.extend(provoke(stream(n)));
            bytes
        });
        assert_eq!((n, abuse), (100, Abuse::ProvokedReset));
    }
    // And requests that are malformed from the beginning.
    let (n, abuse) =
        flood(&mut Side::server(), |n| headers(stream(n), END_STREAM, &[(":method", "GET")]));
    assert_eq!((n, abuse), (100, Abuse::ProvokedReset));
}

/// Streams above the limit, over and over.
#[test]
fn refused_streams() {
    let mut side = Side::server_with(Limits { streams: 1, ..Limits::default() });
    side.feed(&get(1)).unwrap();
    let (n, abuse) = flood(&mut side, |n| get(stream(n + 1)));
    assert_eq!((n, abuse), (100, Abuse::RefusedStreams));
}

/// CVE-2024-27316: a header block that never ends, in full frames, small and empty ones.
#[test]
fn continuation_flood() {
    for len in [0, 1, 4000, 16_384] {
        let mut side = Side::server();
        side.feed(&frame(HEADERS, END_STREAM, 1, &block(&GET))).unwrap();
        let (n, abuse) = flood(&mut side, |_| frame(CONTINUATION, 0, 1, &vec![0; len]));
        assert_eq!(abuse, Abuse::Continuation);
        assert!(n <= 16 && n as usize * len <= 64 * 1024, "{n} of {len}");
    }
}

/// 600,000 references to one large field, 2.4 GB of them: looked at, never copied or stored.
#[test]
fn hpack_bomb() {
    let mut side = Side::server();
    // One entry of 4 KiB less its overhead, then 16,000 references to it: 64 MB of fields.
    let mut bomb = block(&GET);
    bomb.extend([0x40, 1, b'a', 0x7f, 0xe0, 0x1e]);
    bomb.extend(vec![b'b'; 127 + 0x60 + (0x1e << 7)]);
    bomb.extend(vec![0xbe; 12_000]);
    for n in 0..50 {
        let id = stream(n);
        let events = side
            .feed(&frame(HEADERS, END_STREAM | END_HEADERS, id, &bomb[..bomb.len().min(16_384)]))
            .unwrap();
        assert!(matches!(
            events[..],
            [Event::Refused { violation: Violation::HeaderListTooLarge, .. }]
        ));
        side.sent();
    }
}

/// CVE-2019-9515, -9512, -9518, -9511, -9513, and their like: control frames without end.
#[test]
fn floods_of_control_frames() {
    type Next = fn(u32) -> Vec<u8>;
    let kinds: [(Next, Abuse); 10] = [
        (|_| settings(&[(3, 1)]), Abuse::Settings),
        (|_| frame(SETTINGS, ACK, 0, &[]), Abuse::Settings),
        (|_| frame(PING, 0, 0, &[0; 8]), Abuse::Ping),
        (|_| frame(PING, ACK, 0, &[0; 8]), Abuse::Ping),
        // The answer to a drain that isn't under way.
        (|_| frame(PING, ACK, 0, b"ringway\x01"), Abuse::Ping),
        (|_| frame(DATA, 0, 1, b""), Abuse::EmptyData),
        (|_| frame(DATA, PADDED, 1, b"\x03\0\0\0"), Abuse::EmptyData),
        (|_| window_update(0, 1), Abuse::WindowUpdate),
        (|n| frame(PRIORITY, 0, stream(n + 1), &[0; 5]), Abuse::Priority),
        (|_| frame(0x77, 0, 0, b""), Abuse::UnknownFrames),
    ];
    for (next, expected) in kinds {
        let mut side = Side::server();
        side.feed(&headers(1, 0, &POST)).unwrap();
        let (n, abuse) = flood(&mut side, next);
        assert_eq!(abuse, expected);
        assert!(n >= 16, "{expected:?} after {n}");
    }
}

/// Frames on a stream that we reset: some cross our reset, thousands don't.
#[test]
fn stray_frames() {
    let mut side = Side::server();
    side.feed(&headers(1, 0, &POST)).unwrap();
    let stream = side.first_stream.unwrap();
    side.connection.reset(stream, ErrorCode::Cancel);
    let (n, abuse) = flood(&mut side, |_| frame(DATA, 0, 1, b"x"));
    assert_eq!((n, abuse), (1000, Abuse::StrayFrames));
}

/// Answers that nobody reads.
#[test]
fn unread_answers() {
    let mut side = Side::server();
    let mut failed = None;
    for _ in 0..100_000 {
        side.now += Duration::from_secs(1);
        if let Err(error) = side.feed(&frame(PING, 0, 0, &[0; 8])) {
            failed = Some(error);
            break;
        }
    }
    assert_eq!(failed, Some(ConnectionError(Violation::Abuse(Abuse::OutputQueue))));
    assert!(side.connection.output_len() < 70_000);
}

/// A download whose reader says everything twice, in small steps: honest, if talkative.
#[test]
fn window_updates_and_pings_for_data_are_paid_by_it() {
    let mut side = Side::server();
    side.feed(&get(1)).unwrap();
    let stream = side.first_stream.unwrap();
    side.connection
        .send_response(stream, &ResponseHead::new(), Framing::Chunked, None, EndStream::No)
        .unwrap();
    let body = vec![0; 16_384];
    for _ in 0..5000 {
        assert_eq!(side.connection.send_data(stream, &body, EndStream::No), Ok(16_384));
        side.sent();
        for _ in 0..8 {
            side.feed(&window_update(0, 2048)).unwrap();
            side.feed(&window_update(1, 2048)).unwrap();
        }
        side.feed(&frame(PING, 0, 0, &[0; 8])).unwrap();
    }
}

/// Small messages to a client that answers each with two WINDOW_UPDATEs and a PING.
#[test]
fn talkative_readers_of_small_messages_are_honest() {
    let mut side = Side::server();
    side.feed(&get(1)).unwrap();
    let stream = side.first_stream.unwrap();
    side.connection
        .send_response(stream, &ResponseHead::new(), Framing::Chunked, None, EndStream::No)
        .unwrap();
    for _ in 0..20_000 {
        assert_eq!(side.connection.send_data(stream, &[7; 20], EndStream::No), Ok(20));
        side.sent();
        side.feed(&window_update(0, 20)).unwrap();
        side.feed(&window_update(1, 20)).unwrap();
        side.feed(&frame(PING, 0, 0, &[0; 8])).unwrap();
    }
}

/// CVE-2019-9511, "data dribble": windows of one octet at a time.
#[test]
fn data_dribble() {
    let mut side = Side::server();
    side.feed(&settings(&[(4, 1)])).unwrap();
    side.feed(&get(1)).unwrap();
    let stream = side.first_stream.unwrap();
    side.connection
        .send_response(stream, &ResponseHead::new(), Framing::Chunked, None, EndStream::No)
        .unwrap();
    for n in 0..100_000 {
        side.connection.send_data(stream, &[0; 1000], EndStream::No).unwrap();
        side.sent();
        if let Err(error) = side.feed(&window_update(1, 1)) {
            assert_eq!(error, ConnectionError(Violation::Abuse(Abuse::WindowUpdate)));
            assert!((1000..1100).contains(&n), "{n}");
            return;
        }
    }
    panic!("never ended");
}

/// §10.5: a window of one octet at a time is served, and shows as blocked in between.
#[test]
fn a_stalled_reader_shows() {
    let mut side = Side::server();
    side.feed(&settings(&[(4, 1)])).unwrap();
    side.feed(&get(1)).unwrap();
    let stream = side.first_stream.unwrap();
    side.connection
        .send_response(stream, &ResponseHead::new(), Framing::Chunked, None, EndStream::No)
        .unwrap();
    assert_eq!(side.connection.blocked_since(), None);
    assert_eq!(side.connection.send_data(stream, b"hello", EndStream::Yes), Ok(1));
    assert_eq!(side.connection.blocked_since(), Some(side.now));
    side.now += Duration::from_secs(5);
    side.feed(&window_update(0, 100)).unwrap();
    assert_eq!(side.connection.blocked_since(), Some(side.now - Duration::from_secs(5)));
    side.feed(&window_update(1, 1)).unwrap();
    assert_eq!(side.connection.send_data(stream, b"ello", EndStream::Yes), Ok(1));
    assert_eq!(side.connection.blocked_since(), Some(side.now));
    side.feed(&window_update(1, 100)).unwrap();
    assert_eq!(side.connection.send_data(stream, b"llo", EndStream::Yes), Ok(3));
    assert_eq!(side.connection.blocked_since(), None);
}
