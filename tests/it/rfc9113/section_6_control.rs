//! Sections 6.5, 6.7, 6.8: SETTINGS, PING, GOAWAY.

use super::pair::{
    ACK, END_STREAM, GOAWAY, PING, RST_STREAM, SETTINGS, Side, frame, get, headers, settings,
};
use ringway::protocol::h2::{EndStream, ErrorCode, Event, Limits, ResetCause, SendError};
use ringway::protocol::http::{Framing, RequestHead, ResponseHead, Status};
use std::time::Duration;

/// §6.5: on stream 0, in sixes, and an acknowledgement is empty.
#[test]
fn settings_have_their_shape() {
    Side::server().dies(&frame(SETTINGS, 0, 1, &[]), ErrorCode::Protocol);
    Side::server().dies(&frame(SETTINGS, 0, 0, &[0; 5]), ErrorCode::FrameSize);
    Side::server().dies(&frame(SETTINGS, ACK, 0, &[0; 6]), ErrorCode::FrameSize);
}

/// §6.5.2: values out of range.
#[test]
fn settings_out_of_range_are_refused() {
    for (id, value, code) in [
        (2, 2, ErrorCode::Protocol),
        (4, 1 << 31, ErrorCode::FlowControl),
        (5, 16_383, ErrorCode::Protocol),
        (5, 1 << 24, ErrorCode::Protocol),
        (8, 2, ErrorCode::Protocol),
    ] {
        Side::server().dies(&settings(&[(id, value)]), code);
        Side::client().dies(&settings(&[(id, value)]), code);
    }
    // A server doesn't enable push; a client may.
    Side::client().dies(&settings(&[(2, 1)]), ErrorCode::Protocol);
    assert!(Side::server().feed(&settings(&[(2, 1), (0x99, 7)])).is_ok());
}

/// §6.5.3: every SETTINGS is acknowledged, in order, and unknown ones are ignored.
#[test]
fn settings_are_acknowledged() {
    let mut side = Side::server();
    side.feed(&settings(&[(1, 0), (3, 5), (6, 100), (0x4242, 1)])).unwrap();
    let sent = side.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].kind, sent[0].flags, sent[0].payload.len()), (SETTINGS, ACK, 0));
}

/// §6.5.3: who doesn't acknowledge ours is told SETTINGS_TIMEOUT.
#[test]
fn settings_have_to_be_acknowledged_in_time() {
    let mut side = Side::raw_server(Limits::default());
    let due = side.connection.next_timeout().unwrap();
    assert_eq!(due, side.now + Duration::from_secs(10));
    assert_eq!(side.connection.handle_timeout(due - Duration::from_millis(1)), Ok(()));
    let error = side.connection.handle_timeout(due).unwrap_err();
    assert_eq!(error.code(), ErrorCode::SettingsTimeout);
    assert_eq!(side.sent().pop().map(|frame| frame.kind), Some(GOAWAY));
    assert_eq!(Side::server().connection.next_timeout(), None);
}

/// §6.5.2: heads above the other side's SETTINGS_MAX_HEADER_LIST_SIZE aren't sent.
#[test]
fn heads_above_their_limit_are_not_sent() {
    let mut side = Side::client_with(Limits::default(), &[(6, 400)]);
    let mut head = RequestHead::new();
    head.headers.set("host", "a").unwrap();
    head.headers.set("x", "y".repeat(500)).unwrap();
    let result = side.connection.send_request(&head, Framing::None, EndStream::Yes);
    assert_eq!(result, Err(SendError::HeadTooLarge));
    assert_eq!(side.sent(), []);
}

/// §6.7: eight octets on stream 0, answered with the same and ACK.
#[test]
fn pings_are_answered() {
    let mut side = Side::server();
    side.feed(&frame(PING, 0, 0, b"12345678")).unwrap();
    let sent = side.sent();
    assert_eq!((sent[0].kind, sent[0].flags, &sent[0].payload[..]), (PING, ACK, &b"12345678"[..]));
    assert_eq!(side.feed(&frame(PING, ACK, 0, b"12345678")), Ok(vec![]));
    assert_eq!(side.sent(), [], "an answer isn't answered");
    Side::server().dies(&frame(PING, 0, 1, &[0; 8]), ErrorCode::Protocol);
    for len in [0, 7, 9] {
        Side::server().dies(&frame(PING, 0, 0, &vec![0; len]), ErrorCode::FrameSize);
    }
}

/// Silence while streams are open is answered by PING, and silence after that by an end.
#[test]
fn silence_is_probed_by_ping() {
    let limits = Limits { ping_interval: Some(Duration::from_secs(30)), ..Limits::default() };
    let mut side = Side::server_with(limits);
    assert_eq!(side.connection.next_timeout(), None, "no streams, no probe");
    side.feed(&get(1)).unwrap();
    let due = side.now + Duration::from_secs(30);
    assert_eq!(side.connection.next_timeout(), Some(due));
    assert_eq!(side.connection.handle_timeout(due), Ok(()));
    let ping = side.sent().remove(0);
    assert_eq!((ping.kind, ping.flags), (PING, 0));
    let late = due + Duration::from_secs(10);
    assert_eq!(side.connection.next_timeout(), Some(late));
    side.now = late - Duration::from_secs(1);
    // Another payload answers another PING.
    side.feed(&frame(PING, ACK, 0, &[0; 8])).unwrap();
    assert_eq!(side.connection.next_timeout(), Some(late));
    side.feed(&frame(PING, ACK, 0, &ping.payload)).unwrap();
    assert_eq!(side.connection.handle_timeout(late), Ok(()));
    let due = side.connection.next_timeout().unwrap();
    side.connection.handle_timeout(due).unwrap();
    assert!(side.connection.handle_timeout(due + Duration::from_secs(10)).is_err());
}

/// §6.8: on stream 0, at least eight octets.
#[test]
fn goaway_has_its_shape() {
    Side::server().dies(&frame(GOAWAY, 0, 1, &[0; 8]), ErrorCode::Protocol);
    Side::server().dies(&frame(GOAWAY, 0, 0, &[0; 7]), ErrorCode::FrameSize);
    let mut side = Side::server();
    let payload = [&[0; 4][..], &[0, 0, 0, 2], b"why"].concat();
    assert_eq!(
        side.feed(&frame(GOAWAY, 0, 0, &payload)),
        Ok(vec![Event::GoAway { code: ErrorCode::Internal }])
    );
}

/// §6.8: what is above the last stream wasn't processed; no new streams; the others go on.
#[test]
fn goaway_says_which_requests_may_be_sent_elsewhere() {
    let mut side = Side::client();
    let mut head = RequestHead::new();
    head.headers.set("host", "a").unwrap();
    let mut send = || side.connection.send_request(&head, Framing::None, EndStream::Yes).unwrap();
    let (_, second, third) = (send(), send(), send());
    let events = side.feed(&frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])).unwrap();
    let lost =
        |stream| Event::Reset { stream, code: ErrorCode::NoError, cause: ResetCause::Unprocessed };
    assert_eq!(events, [lost(second), lost(third), Event::GoAway { code: ErrorCode::NoError }]);
    assert_eq!(side.connection.streams_free(), 0);
    assert_eq!(
        side.connection.send_request(&head, Framing::None, EndStream::Yes),
        Err(SendError::GoingAway)
    );
    assert!(!side.connection.is_finished());
    // Late frames on the lost streams do no harm.
    side.feed(&headers(3, END_STREAM, &[(":status", "200")])).unwrap();
    side.feed(&headers(1, END_STREAM, &[(":status", "200")])).unwrap();
    assert_eq!(side.responses.last().map(|head| head.status), Some(Status::OK));
    assert!(side.connection.is_finished());
}

/// §6.8: a drain warns, takes what was on its way, then names the last stream and ignores the rest.
#[test]
fn a_drain_loses_no_request() {
    let mut side = Side::server();
    side.feed(&get(1)).unwrap();
    side.connection.drain(side.now);
    let sent = side.sent();
    assert_eq!(sent[0].payload, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    assert_eq!(sent[1].kind, PING);
    let events = side.feed(&get(3)).unwrap();
    let Event::Request { stream, .. } = events[0] else { panic!("{events:?}") };
    side.feed(&frame(PING, ACK, 0, &sent[1].payload)).unwrap();
    let last = side.sent();
    assert_eq!((last[0].kind, &last[0].payload[..]), (GOAWAY, &[0, 0, 0, 3, 0, 0, 0, 0][..]));
    assert_eq!(side.feed(&get(5)), Ok(vec![]), "ignored, not refused");
    assert!(side.sent().iter().all(|frame| frame.kind != RST_STREAM));
    let head = ResponseHead::new();
    for stream in [stream, side_stream(&side)] {
        side.connection
            .send_response(stream, &head, Framing::Length(0), None, EndStream::Yes)
            .unwrap();
    }
    assert!(side.connection.is_finished());
}

/// The stream of the first request, which the drain test has still open.
fn side_stream(side: &Side) -> ringway::protocol::h2::StreamId {
    side.first_stream.unwrap()
}

/// §6.8: the second GOAWAY doesn't depend on the client's answer.
#[test]
fn a_drain_ends_by_itself() {
    let mut side = Side::server();
    side.connection.drain(side.now);
    side.sent();
    let due = side.connection.next_timeout().unwrap();
    assert!(!side.connection.is_finished());
    side.connection.handle_timeout(due).unwrap();
    assert_eq!(side.sent().pop().map(|frame| frame.kind), Some(GOAWAY));
    assert!(side.connection.is_finished());
}

/// A client that drains opens no more streams and finishes the open ones.
#[test]
fn a_client_drains_too() {
    let mut side = Side::client();
    let mut head = RequestHead::new();
    head.headers.set("host", "a").unwrap();
    side.connection.send_request(&head, Framing::None, EndStream::Yes).unwrap();
    side.connection.drain(side.now);
    assert_eq!(
        side.connection.send_request(&head, Framing::None, EndStream::Yes),
        Err(SendError::GoingAway)
    );
    assert!(!side.connection.is_finished());
    side.feed(&headers(1, END_STREAM, &[(":status", "200")])).unwrap();
    assert!(side.connection.is_finished());
}
