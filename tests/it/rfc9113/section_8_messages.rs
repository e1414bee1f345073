//! Section 8.1: messages: interim responses, trailers, early ends; 8.3.2: responses.

use super::pair::{DATA, END_STREAM, POST, Side, frame, headers};
use ringway::protocol::h2::{EndStream, ErrorCode, Event, ResetCause, StreamId, Violation};
use ringway::protocol::http::{Framing, Headers, RequestHead, ResponseHead, Status};

fn client() -> (Side, StreamId) {
    let mut side = Side::client();
    let mut head = RequestHead::new();
    head.headers.set("host", "a.example").unwrap();
    let stream = side.connection.send_request(&head, Framing::Chunked, EndStream::No).unwrap();
    side.sent();
    (side, stream)
}

#[track_caller]
fn malformed(fields: &[(&str, &str)], flags: u8) -> Violation {
    let (mut side, _) = client();
    let events = side.feed(&headers(1, flags, fields)).unwrap();
    match events[..] {
        [
            Event::Reset {
                code: ErrorCode::Protocol, cause: ResetCause::Violation(violation), ..
            },
        ] => violation,
        _ => panic!("{fields:?}: {events:?}"),
    }
}

/// §8.3.2: `:status`, once, first, three digits; 101 doesn't exist (§8.6).
#[test]
fn responses_have_one_status() {
    for status in ["", "20", "2000", "abc", "+20", "099", "101", " 200"] {
        assert_eq!(malformed(&[(":status", status)], 0), Violation::Status, "{status:?}");
    }
    assert_eq!(malformed(&[("a", "b")], 0), Violation::PseudoField);
    assert_eq!(malformed(&[(":status", "200"), (":status", "200")], 0), Violation::PseudoField);
    assert_eq!(malformed(&[("a", "b"), (":status", "200")], 0), Violation::PseudoField);
    assert_eq!(malformed(&[(":status", "200"), (":path", "/")], 0), Violation::PseudoField);
    assert_eq!(malformed(&[(":status", "200"), ("A", "b")], 0), Violation::FieldName);
    assert_eq!(malformed(&[(":status", "200"), ("a", "b\r\nc: d")], 0), Violation::FieldValue);
    assert_eq!(
        malformed(&[(":status", "200"), ("transfer-encoding", "chunked")], 0),
        Violation::ConnectionField
    );
    assert_eq!(
        malformed(&[(":status", "200"), ("content-length", "x")], 0),
        Violation::ContentLength
    );
}

/// §8.1: any number of interim responses, which never end a stream, then the final one.
#[test]
fn interim_responses_come_before_the_final_one() {
    let (mut side, stream) = client();
    for status in ["100", "103", "199"] {
        assert_eq!(
            side.feed(&headers(1, 0, &[(":status", status)])),
            Ok(vec![Event::Interim { stream }])
        );
    }
    let events = side.feed(&headers(1, END_STREAM, &[(":status", "200")])).unwrap();
    assert_eq!(events, [Event::Response { stream, framing: Framing::Length(0), end: true }]);
    assert_eq!(malformed(&[(":status", "100")], END_STREAM), Violation::Status);
}

/// §8.1: a server sends them too.
#[test]
fn a_server_sends_interim_responses() {
    let mut side = Side::server();
    side.feed(&headers(1, 0, &POST)).unwrap();
    let stream = side.first_stream.unwrap();
    let mut head = ResponseHead::new();
    head.set_status(Status::CONTINUE);
    let connection = &mut side.connection;
    for _ in 0..2 {
        connection
            .send_response(stream, &head, Framing::None, Some("date"), EndStream::No)
            .unwrap();
    }
    assert!(connection.send_response(stream, &head, Framing::None, None, EndStream::Yes).is_err());
    head.set_status(Status::OK);
    connection.send_response(stream, &head, Framing::None, None, EndStream::Yes).unwrap();
}

/// §8.1: trailers end the stream, hold no pseudo-fields, and nothing that frames or routes.
#[test]
fn trailers_end_the_stream_and_hold_no_pseudo_fields() {
    let open = || {
        let mut side = Side::server();
        side.feed(&headers(1, 0, &POST)).unwrap();
        side.feed(&frame(DATA, 0, 1, b"body")).unwrap();
        side
    };
    let mut side = open();
    let events =
        side.feed(&headers(1, END_STREAM, &[("grpc-status", "0"), ("cookie", "a")])).unwrap();
    assert!(matches!(events[..], [Event::Trailers { .. }]));
    let fields: Vec<_> = side.trailers[0].iter().collect();
    assert_eq!(fields, [(&b"grpc-status"[..], &b"0"[..])], "cookie means nothing here");
    open().resets(&headers(1, 0, &[("a", "b")]), 1, ErrorCode::Protocol);
    for bad in [
        (":path", "/"),
        (":status", "200"),
        ("content-length", "4"),
        ("transfer-encoding", "chunked"),
        ("host", "b"),
        ("te", "trailers"),
        ("A", "b"),
        ("a", "b\n"),
    ] {
        open().resets(&headers(1, END_STREAM, &[bad]), 1, ErrorCode::Protocol);
    }
}

/// §8.1.1: trailers end a body that has its length.
#[test]
fn trailers_do_not_cut_a_body_short() {
    let mut side = Side::server();
    let mut fields = POST.to_vec();
    fields.push(("content-length", "5"));
    side.feed(&headers(1, 0, &fields)).unwrap();
    side.feed(&frame(DATA, 0, 1, b"body")).unwrap();
    side.resets(&headers(1, END_STREAM, &[("a", "b")]), 1, ErrorCode::Protocol);
}

/// Trailers without a body, and a response of trailers only, as gRPC has them.
#[test]
fn bodies_may_be_missing() {
    let (mut side, stream) = client();
    side.feed(&headers(1, 0, &[(":status", "200"), ("content-type", "application/grpc")])).unwrap();
    assert_eq!(
        side.feed(&headers(1, END_STREAM, &[("grpc-status", "0")])),
        Ok(vec![Event::Trailers { stream }])
    );
    let (mut side, stream) = client();
    let events = side.feed(&headers(1, END_STREAM, &[(":status", "200"), ("grpc-status", "12")]));
    assert_eq!(
        events,
        Ok(vec![Event::Response { stream, framing: Framing::Length(0), end: true }])
    );
    assert_eq!(side.responses[0].headers.get("grpc-status"), Some(&b"12"[..]));
}

/// §8.1: a server may answer before the request has come, and stop it by NO_ERROR.
#[test]
fn an_early_response_stops_the_request() {
    let (mut side, stream) = client();
    side.feed(&headers(1, END_STREAM, &[(":status", "413")])).unwrap();
    assert_eq!(side.connection.send_data(stream, b"more", EndStream::No), Ok(4));
    let events = side.feed(&super::pair::rst_stream(1, ErrorCode::NoError)).unwrap();
    assert_eq!(
        events,
        [Event::Reset { stream, code: ErrorCode::NoError, cause: ResetCause::Theirs }]
    );
}

/// A whole exchange between our own two sides, with trailers both ways.
#[test]
fn our_two_sides_understand_each_other() {
    let (mut client, stream) = client();
    let mut server = Side::server();
    let pass = |from: &mut Side, to: &mut Side| {
        let mut bytes = Vec::new();
        from.connection.transmit(from.now, &mut bytes);
        to.feed(&bytes).unwrap()
    };
    let mut trailers = Headers::new();
    trailers.append("X-Sum", "1").unwrap();
    // The head went out before.
    let mut head = RequestHead::new();
    head.headers.set("host", "a.example").unwrap();
    let second = client.connection.send_request(&head, Framing::Chunked, EndStream::No).unwrap();
    client.connection.send_data(second, b"ping", EndStream::No).unwrap();
    client.connection.send_trailers(second, &trailers).unwrap();
    let events = pass(&mut client, &mut server);
    assert!(matches!(
        events[..],
        [Event::Request { .. }, Event::Data { .. }, Event::Trailers { .. }]
    ));
    assert_eq!(server.trailers[0].get("x-sum"), Some(&b"1"[..]));
    let theirs = server.first_stream.unwrap();
    server
        .connection
        .send_response(theirs, &ResponseHead::new(), Framing::Length(4), None, EndStream::No)
        .unwrap();
    server.connection.send_data(theirs, b"pong", EndStream::No).unwrap();
    server.connection.send_trailers(theirs, &trailers).unwrap();
    let events = pass(&mut server, &mut client);
    assert_eq!(events[2], Event::Trailers { stream: second });
    assert_eq!(client.data[0].1, b"pong");
    assert_eq!((client.connection.streams_open(), server.connection.streams_open()), (1, 0));
    client.connection.reset(stream, ErrorCode::Cancel);
}
