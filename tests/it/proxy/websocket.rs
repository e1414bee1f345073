//! WebSocket between any two versions of HTTP (RFC 6455, RFC 8441). Between HTTP/1.1 and HTTP/1.1
//! `forwarding` has it.

use std::{net::SocketAddr, thread};

use ringway::protocol::{
    h2::{ErrorCode, Limits, StreamId},
    http::{Framing, RequestHead},
    websocket,
};

use super::{
    endpoint::{Endpoint, ok, spawn},
    h2_up,
    h2_wire::{H2, Heard, request},
    rig::{Plan, on_both},
    wire::{Message, Wire},
};

/// The extended CONNECT that opens a WebSocket.
fn handshake(protocol: &str) -> RequestHead {
    let mut head = request("CONNECT", "/chat?room=1");
    head.set_protocol(Some(protocol)).unwrap();
    for (name, value) in [("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat")] {
        head.headers.append(name, value).unwrap();
    }
    head
}

fn open(client: &mut H2) -> StreamId {
    client.settle();
    client.send(&handshake("websocket"), Framing::None, false)
}

fn to(endpoint: &Endpoint) -> Plan {
    Plan::to(&[endpoint.address()]).listener("alpn = ['h2', 'http/1.1']").route("upgrade = true")
}

/// An endpoint of HTTP/2 that takes extended CONNECT.
fn willing() -> Limits {
    Limits { connect_protocol: true, ..Limits::default() }
}

/// The key of RFC 6455 §1.3 and its answer.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ANSWER: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn old_handshake() -> String {
    format!(
        "GET /chat?room=1 HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}

/// The `101` that `asked` wants.
fn switch(asked: &Message) -> String {
    let answer = websocket::accept(asked.field("sec-websocket-key").unwrap().as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {answer}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    )
}

/// Goes on until `bytes` are all that came on `stream`.
#[track_caller]
fn heard(h2: &mut H2, stream: StreamId, bytes: &str) {
    h2.until(|h2| h2.heard[&stream].body.len() >= bytes.len());
    assert_eq!(h2.heard[&stream].text(), bytes);
}

/// What a client of HTTP/2 hears of a consent.
#[track_caller]
fn assert_consent(heard: &Heard) {
    assert_eq!(heard.status, 200);
    assert_eq!(heard.field("sec-websocket-protocol"), Some("chat"));
    for name in ["sec-websocket-accept", "upgrade", "connection", "content-length"] {
        assert_eq!(heard.field(name), None);
    }
}

#[test]
fn a_client_of_http2_reaches_an_endpoint_of_http1() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = to(&endpoint).start(driver);
        let mut client = H2::connect(rig.address);
        let stream = open(&mut client);
        // What is sent before the answer is the tunnel's.
        client.data(stream, b"early", false);
        let mut wire = endpoint.accept();
        let asked = wire.request();
        assert!(asked.head.starts_with("GET /chat?room=1 HTTP/1.1\r\n"), "{}", asked.head);
        assert_eq!(asked.field("upgrade"), Some("websocket"));
        assert_eq!(asked.field("connection"), Some("upgrade"));
        assert_eq!(asked.field("sec-websocket-version"), Some("13"));
        assert_eq!(asked.field("sec-websocket-key").unwrap().len(), 24);
        assert!(asked.field("content-length").is_none());
        wire.send(format!("{}first", switch(&asked)));
        heard(&mut client, stream, "first");
        assert_consent(&client.heard[&stream]);
        wire.expect("early");
        // The same connection carries other requests meanwhile.
        let other = client.get("/");
        let mut second = endpoint.accept();
        second.request();
        second.send(ok("beside"));
        assert_eq!(client.whole(other).text(), "beside");
        client.data(stream, b"bye", true);
        wire.expect("bye");
        wire.closed();
        wire.send(", and bye");
        heard(&mut client, stream, "first, and bye");
        wire.finish();
        let heard = client.whole(stream);
        assert!(heard.is_whole && heard.reset.is_none(), "{heard:?}");
    });
}

#[test]
fn keys_differ_from_handshake_to_handshake() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = to(&endpoint).start(driver);
        let mut client = H2::connect(rig.address);
        let mut key = || {
            open(&mut client);
            let mut wire = endpoint.accept();
            let asked = wire.request();
            wire.send(switch(&asked));
            asked.field("sec-websocket-key").unwrap().to_owned()
        };
        assert_ne!(key(), key());
    });
}

#[test]
fn a_client_of_http1_reaches_an_endpoint_of_http2() {
    on_both(|driver| {
        let endpoint = h2_up::Endpoint::listen();
        let rig = endpoint.plan().route("upgrade = true").start(driver);
        let mut client = rig.client();
        client.send(format!("{}early", old_handshake()));
        let mut server = endpoint.accept_with(willing());
        let stream = server.accept();
        let asked = server.heard[&stream].clone();
        let (method, path, host) = asked.asked.clone().unwrap();
        assert_eq!((&*method, &*path, &*host), ("CONNECT", "/chat?room=1", "example.com"));
        assert_eq!(asked.protocol.as_deref(), Some("websocket"));
        assert_eq!(asked.field("sec-websocket-version"), Some("13"));
        for name in ["sec-websocket-key", "upgrade", "connection"] {
            assert_eq!(asked.field(name), None);
        }
        server.answer(stream, 200, Framing::None, false);
        server.data(stream, b"first", false);
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let message = Message { head, body: Vec::new(), trailers: String::new() };
        assert_eq!(message.field("sec-websocket-accept"), Some(ANSWER));
        assert_eq!(message.field("upgrade"), Some("websocket"));
        assert_eq!(message.field("connection"), Some("upgrade"));
        client.expect("first");
        heard(&mut server, stream, "early");
        client.finish();
        server.until(|h2| h2.heard[&stream].is_whole);
        server.data(stream, b"bye", true);
        client.expect("bye");
        client.closed();
    });
}

#[test]
fn a_client_of_http2_reaches_an_endpoint_of_http2() {
    on_both(|driver| {
        let endpoint = h2_up::Endpoint::listen();
        let rig = endpoint.plan().route("upgrade = true").start(driver);
        let mut client = H2::connect(rig.address);
        let stream = open(&mut client);
        let mut server = endpoint.accept_with(willing());
        let theirs = server.accept();
        assert_eq!(server.heard[&theirs].protocol.as_deref(), Some("websocket"));
        assert_eq!(server.heard[&theirs].field("sec-websocket-key"), None);
        server.answer(theirs, 200, Framing::None, false);
        client.until(|h2| h2.heard[&stream].status == 200);
        assert_eq!(client.heard[&stream].field("sec-websocket-accept"), None);
        client.data(stream, b"ping", false);
        heard(&mut server, theirs, "ping");
        server.data(theirs, b"pong", true);
        heard(&mut client, stream, "pong");
        assert!(!server.heard[&theirs].is_whole);
        client.data(stream, b", bye", true);
        heard(&mut server, theirs, "ping, bye");
        server.until(|h2| h2.heard[&theirs].is_whole);
        // The next one shares the connection.
        let next = open(&mut client);
        let theirs = server.accept();
        server.answer(theirs, 403, Framing::Length(0), true);
        assert_eq!(client.whole(next).status, 403);
    });
}

#[test]
fn a_reset_on_one_side_is_one_on_the_other() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = to(&endpoint).start(driver);
        let mut client = H2::connect(rig.address);
        let mut tunnel = || {
            let stream = open(&mut client);
            let mut wire = endpoint.accept();
            let asked = wire.request();
            wire.send(switch(&asked));
            client.until(|h2| h2.heard[&stream].status == 200);
            (stream, wire)
        };
        let (first, mut ended) = tunnel();
        let (second, reset) = tunnel();
        client.reset(first, ErrorCode::Cancel);
        ended.ended();
        reset.reset();
        assert_eq!(client.whole(second).reset, Some(ErrorCode::Cancel));

        let endpoint = h2_up::Endpoint::listen();
        let rig = endpoint.plan().route("upgrade = true").start(driver);
        let mut client = rig.client();
        client.send(old_handshake());
        let mut server = endpoint.accept_with(willing());
        let stream = server.accept();
        server.answer(stream, 200, Framing::None, false);
        client.head();
        client.reset();
        assert_eq!(server.whole(stream).reset, Some(ErrorCode::Cancel));
        let mut client = rig.client();
        client.send(old_handshake());
        let stream = server.accept();
        server.answer(stream, 200, Framing::None, false);
        client.head();
        server.reset(stream, ErrorCode::Internal);
        client.ended();
    });
}

#[test]
fn silence_ends_a_tunnel_and_traffic_keeps_it() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let plan = to(&endpoint).route("upgrade = true\ntimeouts = { idle = '300ms' }");
        let rig = plan.start(driver);
        let mut client = H2::connect(rig.address);
        let stream = open(&mut client);
        let mut wire = endpoint.accept();
        let asked = wire.request();
        wire.send(switch(&asked));
        // For longer than the timeout, byte by byte, one way only.
        for _ in 0..20 {
            thread::park_timeout(std::time::Duration::from_millis(30));
            client.data(stream, b".", false);
        }
        wire.expect(&".".repeat(20));
        assert_eq!(client.whole(stream).reset, Some(ErrorCode::Cancel));
        wire.ended();
    });
}

/// Three megabytes each way at once, more than all windows and buffers between hold.
#[test]
fn both_ways_are_flow_controlled_and_whole() {
    const LENGTH: usize = 3 << 20;
    let bytes = |seed: usize| -> Vec<u8> {
        (0..LENGTH).map(|at| u8::try_from((at * 31 + at / 251 + seed) % 256).unwrap()).collect()
    };
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = to(&endpoint).start(driver);
        let mut client = H2::connect(rig.address);
        let stream = open(&mut client);
        let mut wire = endpoint.accept();
        let asked = wire.request();
        wire.send(switch(&asked));
        client.until(|h2| h2.heard[&stream].status == 200);
        // Taken only when everything has been sent that fits: each direction has to wait.
        let mut reader = Wire::new(wire.stream.try_clone().unwrap());
        let up = spawn(move || reader.exact(LENGTH));
        let down = bytes(1);
        let sent = down.clone();
        let writer = spawn(move || {
            wire.send(&sent);
            wire
        });
        client.data(stream, &bytes(0), true);
        assert!(up.join().unwrap() == bytes(0));
        let wire = writer_done(&mut client, stream, LENGTH, writer);
        assert!(client.heard[&stream].body == down);
        wire.finish();
        assert!(client.whole(stream).is_whole);
    });
}

/// Reads until `length` bytes came, then joins who wrote them.
fn writer_done(
    client: &mut H2,
    stream: StreamId,
    length: usize,
    writer: thread::JoinHandle<Wire>,
) -> Wire {
    client.until(|h2| h2.heard[&stream].body.len() >= length);
    writer.join().unwrap()
}

#[test]
fn a_client_that_takes_nothing_loses_its_tunnel_and_nobody_elses() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let plan = to(&endpoint)
            .listener("alpn = ['h2', 'http/1.1']\nlimits = { write_timeout = '500ms' }");
        let rig = plan.start(driver);
        let mut client = H2::connect(rig.address);
        let stream = open(&mut client);
        let mut wire = endpoint.accept();
        let asked = wire.request();
        wire.send(switch(&asked));
        client.until(|h2| h2.heard[&stream].status == 200);
        client.is_stalled = true;
        // More than the stream's window (256 KiB here) and the kernel's buffers.
        let flood = spawn(move || wire.try_send(vec![b'x'; 16 << 20]));
        let lost = client.whole(stream);
        assert_eq!(lost.reset, Some(ErrorCode::Cancel));
        assert!(lost.body.len() <= 256 * 1024, "{}", lost.body.len());
        assert!(!flood.join().unwrap());
        let other = client.get("/");
        let mut second = endpoint.accept();
        second.request();
        second.send(ok("still here"));
        assert_eq!(client.whole(other).text(), "still here");
    });
}

#[test]
fn what_is_no_consent_opens_no_tunnel() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = to(&endpoint).start(driver);
        let mut client = H2::connect(rig.address);
        let mut answered = |answer: &dyn Fn(&Message) -> String| {
            let stream = open(&mut client);
            let mut wire = endpoint.accept();
            let asked = wire.request();
            wire.send(answer(&asked));
            client.whole(stream)
        };
        let denied = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
        let heard = answered(&|_| denied.to_owned());
        assert_eq!((heard.status, heard.text()), (403, "no"));
        // A 2xx would tell the client that its tunnel is open.
        let plain = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
        assert_eq!(answered(&|_| plain.to_owned()).status, 501);
        let wrong = |asked: &Message| switch(asked).replace("Accept: ", "Accept: x");
        assert_eq!(answered(&wrong).status, 502);
        let none = |asked: &Message| switch(asked).replace("Sec-WebSocket-Accept", "X-Other");
        assert_eq!(answered(&none).status, 502);
    });
}

#[test]
fn a_tunnel_needs_a_protocol_that_is_known_and_a_route_that_lets_it() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = to(&endpoint).start(driver);
        let mut client = H2::connect(rig.address);
        client.settle();
        for protocol in ["connect-udp", "h2c", "webtransport"] {
            let stream = client.send(&handshake(protocol), Framing::None, false);
            assert_eq!(client.whole(stream).status, 501, "{protocol}");
        }
        let mut plain = request("CONNECT", "/");
        plain.headers.set("host", "example.com:443").unwrap();
        let stream = client.send(&plain, Framing::None, false);
        assert_eq!(client.whole(stream).status, 405);
        endpoint.untouched();

        // Without leave it is an ordinary GET, as over HTTP/1.1.
        let rig = to(&endpoint).route("").start(driver);
        let mut client = H2::connect(rig.address);
        let stream = open(&mut client);
        let mut wire = endpoint.accept();
        let asked = wire.request();
        assert!(asked.head.starts_with("GET /chat?room=1 ") && asked.field("upgrade").is_none());
        wire.send(
            "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
        );
        assert_eq!(client.whole(stream).status, 426);
    });
}

#[test]
fn an_endpoint_of_http2_that_takes_none_is_passed_over() {
    on_both(|driver| {
        let (first, second) = (h2_up::Endpoint::listen(), h2_up::Endpoint::listen());
        let both: Vec<SocketAddr> = [&first, &second].map(h2_up::Endpoint::address).to_vec();
        let mut plan = first.plan().route("upgrade = true");
        plan.endpoints = both;
        plan.upstream += "\nbalance = { policy = 'first' }";
        let rig = plan.start(driver);
        let mut client = rig.client();
        client.send(old_handshake());
        let mut unwilling = first.accept_with(Limits::default());
        unwilling.settle();
        let mut server = second.accept_with(willing());
        let stream = server.accept();
        server.answer(stream, 200, Framing::None, false);
        assert!(client.head().starts_with("HTTP/1.1 101 "));
        assert_eq!(unwilling.arrived(), 0);

        // Nobody takes it.
        let rig = first.plan().route("upgrade = true").start(driver);
        let mut client = rig.client();
        client.send(old_handshake());
        first.accept_with(Limits::default()).settle();
        assert_eq!(client.response().status(), 502);
        // Without a key no answer could be made for the client.
        let rig = first.plan().route("upgrade = true").start(driver);
        let mut client = rig.client();
        client.send(old_handshake().replace("Sec-WebSocket-Key", "X-Key"));
        first.accept_with(willing()).settle();
        assert_eq!(client.response().status(), 400);
    });
}
