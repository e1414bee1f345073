//! What a client of HTTP/2 may cost in time: the limits of `limits`, `timeouts` and `bodies`, a stream
//! each; and bodies that are larger than everything between.

use std::{thread, time::Duration};

use ringway::protocol::{
    h2::{ErrorCode, Limits, StreamId},
    http::Framing,
};

use super::{
    endpoint::{Endpoint, ok, spawn},
    h2_up,
    h2_wire::{H2, request},
    rig::{Plan, Rig, on_both, timed},
    wire::Wire,
};

const SECOND: Duration = Duration::from_secs(1);

fn plan(endpoint: &Endpoint, limits: &str) -> Plan {
    let listener = format!("alpn = ['h2', 'http/1.1']\nlimits = {{ {limits} }}");
    Plan::to(&[endpoint.address()]).listener(&listener)
}

/// Other streams of the connection are none the worse.
#[track_caller]
fn still_serves(client: &mut H2, endpoint: &Endpoint) {
    let stream = client.get("/other");
    let mut wire = endpoint.accept();
    wire.request();
    wire.send(ok("still here"));
    assert_eq!(client.whole(stream).text(), "still here");
}

#[test]
fn the_whole_exchange_has_a_time_and_who_was_waited_for_is_told() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let route = "timeouts = { total = '1s' }\nretry = { attempts = 0 }";
        let rig = plan(&endpoint, "").route(route).start(driver);
        let mut client = H2::connect(rig.address);
        // The endpoint was slow.
        let (heard, took) = timed(|| {
            let stream = client.get("/");
            client.whole(stream)
        });
        assert_eq!(heard.status, 504);
        assert!(took >= SECOND && took < 5 * SECOND, "{took:?}");
        let mut wire = endpoint.accept();
        wire.head();
        wire.ended();
        // The client was.
        let stream = client.send(&request("POST", "/"), Framing::Length(9), false);
        client.data(stream, b"half", false);
        assert_eq!(client.whole(stream).status, 408);
        endpoint.accept();
        // A response that has begun is cut off, and nobody takes it for whole.
        let stream = client.get("/");
        let mut wire = endpoint.accept();
        wire.head();
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n");
        let heard = client.whole(stream);
        assert_eq!((heard.status, heard.text(), heard.is_whole), (200, "hi", false));
        still_serves(&mut client, &endpoint);
    });
}

#[test]
fn a_body_must_come_at_a_least_speed() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let limits = "body_timeout = '500ms', write_timeout = '500ms', min_rate = '1KiB/s'";
        let rig = plan(&endpoint, limits).start(driver);
        let mut client = H2::connect(rig.address);
        let stream = client.send(&request("POST", "/"), Framing::Length(1_000_000), false);
        let mut wire = endpoint.accept();
        wire.head();
        // Never silent for long, and never fast.
        let (_, took) = timed(|| {
            for _ in 0..100 {
                if !is_open(&mut client, stream) {
                    break;
                }
                client.data(stream, b"drip", false);
                thread::park_timeout(Duration::from_millis(100));
            }
        });
        assert!(took >= SECOND && took < 8 * SECOND, "{took:?}");
        assert_eq!(client.whole(stream).status, 408);
        still_serves(&mut client, &endpoint);
        assert_eq!(slow_clients(&rig), 1);
    });
}

/// Whether nothing has been answered yet, without waiting for it.
fn is_open(client: &mut H2, stream: StreamId) -> bool {
    client.look();
    !client.heard[&stream].is_over() && client.heard[&stream].status == 0
}

fn slow_clients(rig: &Rig) -> usize {
    let lines = rig.admin().metrics().unwrap();
    let found = lines.lines().find(|line| line.starts_with("ringway_shard_slow_clients_total{"));
    found.and_then(|line| line.split(' ').nth(1)).unwrap().parse().unwrap()
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it_from_who_knows() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = plan(&endpoint, "").start(driver);
        let mut client = H2::connect(rig.address);
        let ask = |client: &mut H2| {
            let mut head = request("POST", "/");
            head.headers.append("expect", "100-continue").unwrap();
            let stream = client.send(&head, Framing::Length(5), false);
            let mut wire = endpoint.accept();
            let head = wire.head();
            assert!(head.to_lowercase().contains("expect: 100-continue\r\n"), "{head}");
            (stream, wire)
        };
        // The endpoint asks for the body; or says nothing, and after a second we ask.
        for asks in [true, false] {
            let (stream, mut wire) = ask(&mut client);
            if asks {
                wire.send("HTTP/1.1 100 Continue\r\n\r\n");
            }
            client.until(|h2| h2.heard[&stream].interim == [100]);
            client.data(stream, b"hello", true);
            wire.expect("hello");
            wire.send(ok("taken"));
            assert_eq!(client.whole(stream).text(), "taken");
        }
        // It refuses, and the body is never asked for.
        let (stream, mut wire) = ask(&mut client);
        wire.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno");
        let heard = client.whole(stream);
        assert_eq!((heard.status, heard.text(), &*heard.interim), (417, "no", &[][..]));
        // RFC 9113 §8.1: the answer is whole, and the rest isn't wanted.
        assert!(heard.reset.is_none_or(|code| code == ErrorCode::NoError), "{heard:?}");
        wire.ended();
    });
}

#[test]
fn an_endpoint_of_http2_is_waited_for_too() {
    on_both(|driver| {
        let endpoint = h2_up::Endpoint::listen();
        let route = "timeouts = { first_byte = '1s', idle = '1s' }\nretry = { attempts = 0 }";
        let rig = endpoint.plan().route(route).start(driver);
        let mut client = H2::connect(rig.address);
        let silent = client.get("/");
        let mut server = endpoint.accept_with(Limits::default());
        let stream = server.accept();
        assert_eq!(client.whole(silent).status, 504);
        server.until(|h2| h2.heard[&stream].reset == Some(ErrorCode::Cancel));
        // And between two pieces of its answer.
        let broken = client.get("/");
        let stream = server.accept();
        server.answer(stream, 200, Framing::Length(9), false);
        server.data(stream, b"half", false);
        let heard = client.whole(broken);
        assert_eq!((heard.status, heard.text()), (200, "half"));
        assert!(heard.reset.is_some(), "{heard:?}");
        server.until(|h2| h2.heard[&stream].reset == Some(ErrorCode::Cancel));
    });
}

/// 100 MB in each direction, more than any window or buffer, told by their sums.
#[test]
fn large_bodies_arrive_as_they_were_sent() {
    const LENGTH: usize = 100_000_000;
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = plan(&endpoint, "body = 'unlimited'").start(driver);
        let mut client = H2::connect(rig.address);
        // Up: the endpoint counts and sums what comes.
        let taking = spawn(move || {
            let mut wire = endpoint.accept();
            let head = wire.head();
            assert!(head.contains(&format!("Content-Length: {LENGTH}\r\n")), "{head}");
            let up = sum_of(LENGTH, &mut wire);
            wire.send(ok(&up.to_string()));
            // Down.
            wire.head();
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
            for piece in pieces(LENGTH) {
                wire.send(&piece);
            }
        });
        let stream = client.send(&request("PUT", "/"), Framing::Length(LENGTH as u64), false);
        let mut sent = Sum::default();
        let mut left = LENGTH;
        for piece in pieces(LENGTH) {
            sent.add(&piece);
            left -= piece.len();
            client.data(stream, &piece, left == 0);
        }
        assert_eq!(client.whole(stream).text(), sent.to_string());
        let stream = client.get("/");
        client.until(|h2| h2.heard[&stream].status == 200);
        let (mut came, mut length) = (Sum::default(), 0);
        while length < LENGTH {
            client.until(|h2| !h2.heard[&stream].body.is_empty());
            let body = std::mem::take(&mut client.heard.get_mut(&stream).unwrap().body);
            length += body.len();
            came.add(&body);
        }
        assert!(client.whole(stream).is_whole);
        assert_eq!((length, came.to_string()), (LENGTH, sent.to_string()));
        taking.join().unwrap();
    });
}

/// The largest that gRPC's implementations are usually told to take.
#[test]
fn a_grpc_message_of_64_mib_passes_both_ways() {
    on_both(|driver| {
        let endpoint = h2_up::Endpoint::listen();
        let listener = "alpn = 'h2'\nlimits = { body = 'unlimited' }";
        let rig = endpoint.plan().listener(listener).start(driver);
        let mut client = H2::connect(rig.address);
        let mut head = request("POST", "/pkg.Service/Echo");
        for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
            head.headers.append(name, value).unwrap();
        }
        let stream = client.send(&head, Framing::Chunked, false);
        let echoing = spawn(move || {
            let mut server = endpoint.accept_with(Limits::default());
            let stream = server.accept();
            let message = server.whole(stream).body;
            server.answer(stream, 200, Framing::Chunked, false);
            server.data(stream, &message, false);
            server.trailers(stream, "grpc-status", "0");
            server.until_ended();
        });
        // Not compressed, and so long.
        let mut message = vec![0];
        message.extend_from_slice(&(64_u32 << 20).to_be_bytes());
        message.extend(pieces(64 << 20).flatten());
        client.data(stream, &message, true);
        let heard = client.whole(stream);
        assert_eq!((heard.status, &*heard.trailers), (200, "grpc-status: 0\n"));
        assert!(heard.body == message, "{} bytes came", heard.body.len());
        drop((client, rig));
        echoing.join().unwrap();
    });
}

/// `length` bytes that don't repeat with any buffer's size.
fn pieces(length: usize) -> impl Iterator<Item = Vec<u8>> {
    const PIECE: usize = 999_983;
    (0..length).step_by(PIECE).map(move |start| {
        let end = length.min(start + PIECE);
        (start..end).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 13).to_le_bytes()[0]).collect()
    })
}

/// The sum of the next `length` bytes.
fn sum_of(length: usize, wire: &mut Wire) -> Sum {
    let (mut sum, mut left) = (Sum::default(), length);
    while left > 0 {
        let piece = wire.piece_within(left).unwrap();
        left -= piece.len();
        sum.add(&piece);
    }
    sum
}

/// FNV-1a: order and value of every byte count.
#[derive(Debug, PartialEq, Eq)]
struct Sum(u64);

impl Default for Sum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
