//! Bodies: waiting for leave to send them, early answers, large ones, slow readers.

use super::{
    endpoint::{Endpoint, ok, spawn},
    rig::{Plan, on_both, timed},
    wire::Wire,
};
use std::{io::Read, io::Write, time::Duration};

const EXPECT: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

#[test]
fn leave_to_continue_comes_from_the_endpoint() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).start(driver);
        let mut client = rig.client();
        client.send(EXPECT);
        let mut upstream = endpoint.accept();
        assert!(upstream.head().to_lowercase().contains("expect: 100-continue\r\n"));
        upstream.send(CONTINUE);
        client.expect(CONTINUE);
        client.send("hello");
        upstream.expect("hello");
        upstream.send(ok("thanks"));
        assert_eq!(client.response().text(), "thanks");
        // Silent: after a second it is ours.
        client.send(EXPECT);
        upstream.head();
        client.expect(CONTINUE);
        client.send("hello");
        upstream.expect("hello");
        upstream.send(format!("{CONTINUE}{}", ok("late")));
        assert_eq!(client.response().text(), "late", "leave isn't given twice");
    });
}

#[test]
fn a_connection_whose_endpoint_declined_the_body_is_never_used_again() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).start(driver);
        let mut client = rig.client();
        client.send(EXPECT);
        let mut upstream = endpoint.accept();
        upstream.head();
        upstream.send("HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno");
        assert_eq!(client.response().status(), 417);
        client.closed();
        // It still waits for 5 bytes: those of the next request would be taken for them.
        upstream.ended();
    });
}

#[test]
fn an_answer_may_come_before_the_request_has_ended() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).start(driver);
        let mut client = rig.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut upstream = endpoint.accept();
        upstream.head();
        upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.head();
        for number in 0..10 {
            let piece = format!("1\r\n{number}\r\n");
            client.send(&piece);
            upstream.expect(&piece);
            upstream.send(&piece);
            client.expect(&piece);
        }
        client.send("0\r\n\r\n");
        upstream.expect("0\r\n\r\n");
        upstream.send("0\r\n\r\n");
        client.expect("0\r\n\r\n");
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        upstream.head();
        upstream.send(ok("next"));
        assert_eq!(client.response().text(), "next");
        // A final answer ends it, and neither connection is used for more.
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhello");
        upstream.head();
        upstream.expect("hello");
        upstream.send("HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno");
        assert_eq!(client.response().status(), 401);
        client.closed();
        upstream.ended();
    });
}

#[test]
fn an_upload_may_take_longer_than_the_first_byte_may() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let plan = Plan::to(&[endpoint.address()]).route("timeouts = { first_byte = '700ms' }");
        let rig = plan.start(driver);
        let mut client = rig.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n");
        let mut upstream = endpoint.accept();
        upstream.head();
        for piece in ["a", "b", "c", "d"] {
            // Time itself is what is tested: a read that times out is the clock.
            upstream.stream.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
            let mut byte = [0];
            assert!(upstream.stream.read(&mut byte).is_err(), "nothing before it is sent");
            client.send(piece);
            upstream.expect(piece);
        }
        upstream.send(ok("slow"));
        assert_eq!(client.response().text(), "slow");
        // After the request's end the time runs.
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n");
        client.send("abcd");
        let (response, took) = timed(|| client.response());
        assert_eq!(response.status(), 504);
        assert!(took >= Duration::from_millis(600), "{took:?}");
    });
}

/// Byte number `at` of every large body: no two pieces of 64 KiB are alike.
fn pattern(at: usize) -> u8 {
    u8::try_from((at ^ at >> 8 ^ at >> 16) & 0xff).unwrap()
}

fn write_pattern(wire: &mut Wire, length: usize, chunked: bool) {
    let mut at = 0;
    while at < length {
        let end = length.min(at + 100_000);
        let piece: Vec<u8> = (at..end).map(pattern).collect();
        if chunked {
            wire.send(format!("{:x}\r\n", piece.len()));
        }
        wire.send(&piece);
        if chunked {
            wire.send("\r\n");
        }
        at = end;
    }
    if chunked {
        wire.send("0\r\n\r\n");
    }
}

fn framing(length: usize, chunked: bool) -> String {
    if chunked {
        "Transfer-Encoding: chunked".to_owned()
    } else {
        format!("Content-Length: {length}")
    }
}

/// Reads a body and compares it. Chunks are taken one by one.
fn read_pattern(wire: &mut Wire, length: usize, chunked: bool) {
    let mut at = 0;
    while at < length {
        let piece = if chunked {
            let line = wire.until(b"\r\n");
            let piece = wire.exact(usize::from_str_radix(line.trim_end(), 16).unwrap());
            wire.expect("\r\n");
            piece
        } else {
            wire.exact((length - at).min(60_000))
        };
        assert!(!piece.is_empty(), "ended at {at} of {length}");
        for byte in &piece {
            assert_eq!(*byte, pattern(at), "at {at}");
            at += 1;
        }
    }
    assert_eq!(at, length);
    if chunked {
        wire.expect("0\r\n\r\n");
    }
}

fn large_bodies_pass(sizes: &[usize]) {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()])
            .listener("limits = { body = 'unlimited' }")
            .start(driver);
        for (&length, chunked) in sizes.iter().flat_map(|size| [(size, false), (size, true)]) {
            let address = rig.address;
            let client = spawn(move || {
                let mut client = Wire::connect(address);
                let framing = framing(length, chunked);
                client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"));
                write_pattern(&mut client, length, chunked);
                client.head();
                read_pattern(&mut client, length, chunked);
                client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                assert_eq!(client.response().text(), "next");
            });
            let mut upstream = endpoint.accept();
            upstream.head();
            read_pattern(&mut upstream, length, chunked);
            upstream.send(format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n", framing(length, chunked)));
            write_pattern(&mut upstream, length, chunked);
            upstream.head();
            upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nnext");
            client.join().unwrap();
        }
    });
}

#[test]
fn bodies_around_every_threshold_pass_unharmed() {
    large_bodies_pass(&[1, 16_383, 16_385, 32_768, 65_536, 131_071, 131_072, 300_001, 1_048_576]);
}

#[test]
fn a_body_of_100_mib_passes_unharmed() {
    on_both(|driver| {
        const LENGTH: usize = 100 << 20;
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).start(driver);
        let mut client = rig.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut upstream = endpoint.accept();
        upstream.head();
        let piece: Vec<u8> = (0..1 << 20).map(pattern).collect();
        let sent = piece.clone();
        let sending = spawn(move || {
            upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
            for _ in 0..LENGTH >> 20 {
                upstream.stream.write_all(&sent).unwrap();
            }
        });
        client.head();
        for _ in 0..LENGTH >> 20 {
            assert!(client.exact(1 << 20) == piece);
        }
        sending.join().unwrap();
    });
}
