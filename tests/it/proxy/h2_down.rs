//! HTTP/2 clients, endpoints of HTTP/1.1.

use std::{fs, net::TcpStream, thread, time::Duration};

use ringway::protocol::{
    h2::{ErrorCode, Limits},
    http::Framing,
};

use super::{
    endpoint::{Endpoint, ok},
    h2_wire::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GET, GOAWAY, H2, HEADERS, PADDED,
        PING, RST_STREAM, SETTINGS, put, request,
    },
    rig::{Plan, on_both, timed},
    wire::{End, PATIENCE},
};
use crate::scratch::Scratch;

fn plan(endpoint: &Endpoint) -> Plan {
    Plan::to(&[endpoint.address()]).listener("alpn = ['h2', 'http/1.1']")
}

#[test]
fn a_request_reaches_an_endpoint_of_http1_and_the_answer_comes_back() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = plan(&endpoint).start(driver);
        let mut client = H2::connect(rig.address);
        let mut head = request("POST", "/a?b=c");
        for (name, value) in [("cookie", "a=1"), ("cookie", "b=2"), ("x-own", "kept")] {
            head.headers.append(name, value).unwrap();
        }
        let stream = client.send(&head, Framing::Length(5), false);
        client.data(stream, b"hello", true);
        let mut wire = endpoint.accept();
        let asked = wire.request();
        assert!(asked.head.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{}", asked.head);
        assert_eq!(asked.field("host"), Some("example.com"));
        assert_eq!(asked.field("cookie"), Some("a=1; b=2"));
        assert_eq!(asked.field("x-own"), Some("kept"));
        assert_eq!(asked.field("content-length"), Some("5"));
        assert_eq!(asked.text(), "hello");
        wire.send("HTTP/1.1 201 Created\r\nContent-Length: 4\r\nX-Mixed-Case: 1\r\n");
        wire.send("Connection: keep-alive, x-hop\r\nX-Hop: 1\r\n\r\ndone");
        let heard = client.whole(stream);
        assert_eq!((heard.status, heard.text()), (201, "done"));
        assert_eq!(heard.field("x-mixed-case"), Some("1"));
        assert_eq!(heard.field("content-length"), Some("4"));
        assert!(heard.field("connection").is_none() && heard.field("x-hop").is_none());
    });
}

#[test]
fn a_body_of_unknown_length_is_chunked_upstream_and_trailers_pass_both_ways() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = plan(&endpoint).start(driver);
        let mut client = H2::connect(rig.address);
        let stream = client.send(&request("PUT", "/"), Framing::Chunked, false);
        let mut wire = endpoint.accept();
        assert!(wire.head().contains("Transfer-Encoding: chunked\r\n"));
        client.data(stream, b"abc", false);
        wire.expect("3\r\nabc\r\n");
        client.trailers(stream, "x-sum", "7");
        wire.expect("0\r\nx-sum: 7\r\n\r\n");
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n");
        client.until(|h2| h2.heard[&stream].body == b"hi");
        wire.send("0\r\nX-Total: 9\r\n\r\n");
        let heard = client.whole(stream);
        assert_eq!(heard.trailers, "x-total: 9\n");
        assert_eq!(heard.field("content-length"), None);
    });
}

#[test]
fn many_streams_share_a_connection_and_end_in_any_order() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = plan(&endpoint).start(driver);
        let mut client = H2::connect(rig.address);
        let first = client.get("/first");
        let mut slow = endpoint.accept();
        slow.request();
        let rest: Vec<_> = (0..20).map(|n| client.get(&format!("/{n}"))).collect();
        let mut wires: Vec<_> = (0..20).map(|_| endpoint.accept()).collect();
        for wire in wires.iter_mut().rev() {
            let path = wire.request().head.split(' ').nth(1).unwrap().to_owned();
            wire.send(ok(&path));
        }
        for (n, stream) in rest.into_iter().enumerate() {
            assert_eq!(client.whole(stream).text(), format!("/{n}"));
        }
        slow.send(ok("at last"));
        assert_eq!(client.whole(first).text(), "at last");
    });
}

#[test]
fn the_first_bytes_choose_the_version_and_a_listener_of_h2_alone_speaks_nothing_else() {
    on_both(|driver| {
        let endpoint = Endpoint::listen().serve(|_| ok("served").into_bytes());
        let rig = Plan::to(&[endpoint.address]).listener("alpn = ['h2', 'http/1.1']").start(driver);
        let mut old = rig.client();
        // One byte at a time: `P` may still become either.
        for byte in b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".chunks(1) {
            old.send(byte);
        }
        assert_eq!(old.response().text(), "served");
        assert_eq!(old.get("/").text(), "served");
        let mut new = H2::connect(rig.address);
        let stream = new.get("/");
        assert_eq!(new.whole(stream).text(), "served");

        let rig = Plan::to(&[endpoint.address]).listener("alpn = 'h2'").start(driver);
        let mut new = H2::connect(rig.address);
        let stream = new.get("/");
        assert_eq!(new.whole(stream).text(), "served");
        let mut old = rig.client();
        old.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let (bytes, _) = old.rest();
        assert!(!bytes.starts_with(b"HTTP/1"), "{bytes:?}");
        // SETTINGS first, and then a GOAWAY with PROTOCOL_ERROR.
        assert_eq!(bytes[3], 4);
        assert!(bytes.windows(4).any(|code| code == [0, 0, 0, 1]));
    });
}

#[test]
fn heads_without_bodies_and_interim_responses() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = plan(&endpoint).start(driver);
        let mut client = H2::connect(rig.address);
        let stream = client.send(&request("HEAD", "/"), Framing::None, true);
        let mut wire = endpoint.accept();
        wire.request();
        wire.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        client.until(|h2| h2.heard[&stream].interim == [103]);
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        let heard = client.whole(stream);
        assert_eq!((heard.status, heard.body.len()), (200, 0));
        assert_eq!(heard.field("content-length"), Some("1000"));
        for status in ["204 No Content", "304 Not Modified"] {
            let stream = client.get("/");
            wire.request();
            wire.send(format!("HTTP/1.1 {status}\r\nETag: \"x\"\r\n\r\n"));
            let heard = client.whole(stream);
            assert!(status.starts_with(&heard.status.to_string()) && heard.body.is_empty());
        }
    });
}

#[test]
fn a_client_that_waits_is_told_to_go_on() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = plan(&endpoint).start(driver);
        let mut client = H2::connect(rig.address);
        let mut head = request("POST", "/");
        head.headers.append("expect", "100-continue").unwrap();
        let stream = client.send(&head, Framing::Length(4), false);
        let mut wire = endpoint.accept();
        wire.head();
        wire.send("HTTP/1.1 100 Continue\r\n\r\n");
        client.until(|h2| h2.heard[&stream].interim == [100]);
        client.data(stream, b"body", true);
        wire.expect("body");
        wire.send(ok("thanks"));
        assert_eq!(client.whole(stream).text(), "thanks");
    });
}

#[test]
fn a_body_that_breaks_off_is_reset_and_never_ended() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = plan(&endpoint).start(driver);
        let mut client = H2::connect(rig.address);
        for head in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
            let stream = client.get("/");
            let mut wire = endpoint.accept();
            wire.request();
            wire.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n4\r\nhalf\r\n"));
            client.until(|h2| !h2.heard[&stream].body.is_empty());
            drop(wire);
            let heard = client.whole(stream);
            assert!(!heard.is_whole, "{heard:?}");
            assert_eq!(heard.reset, Some(ErrorCode::Internal));
        }
        // The connection is none the worse for it.
        let stream = client.get("/");
        answer(&endpoint, "next");
        assert_eq!(client.whole(stream).text(), "next");
    });
}

#[test]
fn a_cancelled_request_is_cancelled_upstream_at_once() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = plan(&endpoint).start(driver);
        let mut client = H2::connect(rig.address);
        let other = client.get("/other");
        let mut kept = endpoint.accept();
        kept.request();
        let before_the_head = client.get("/");
        let mut wire = endpoint.accept();
        wire.request();
        client.reset(before_the_head, ErrorCode::Cancel);
        wire.ended();
        let within_the_body = client.get("/");
        let mut wire = endpoint.accept();
        wire.request();
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
        client.until(|h2| !h2.heard[&within_the_body].body.is_empty());
        client.reset(within_the_body, ErrorCode::Cancel);
        wire.ended();
        kept.send(ok("unharmed"));
        assert_eq!(client.whole(other).text(), "unharmed");
        // The end of the connection cancels all of it.
        client.get("/");
        kept.request();
        client.close();
        kept.ended();
    });
}

#[test]
fn hardly_any_of_many_cancelled_requests_reaches_an_endpoint() {
    on_both(|driver| {
        let served = Endpoint::listen().serve(|_| ok("served").into_bytes());
        let rig = Plan::to(&[served.address]).listener("alpn = 'h2'").start(driver);
        let mut attacker = Frames::connect(rig.address);
        let mut sent = 0;
        for first in (1..40_000_u32).step_by(200) {
            let mut bytes = Vec::new();
            for stream in (first..first + 200).step_by(2) {
                put(&mut bytes, HEADERS, END_STREAM | END_HEADERS, stream, GET);
                put(&mut bytes, RST_STREAM, 0, stream, &[0, 0, 0, 8]);
            }
            sent += 100;
            if !attacker.raw(&bytes) {
                break;
            }
        }
        let farewell = attacker.farewell();
        // A reset may overtake the GOAWAY.
        assert!(matches!(farewell, None | Some(11)), "{farewell:?}");
        let reached = served.requests();
        assert!(reached <= 5, "{reached} of {sent} reached the endpoint");
        // Others are served as before.
        let mut honest = H2::connect(rig.address);
        let stream = honest.get("/");
        assert_eq!(honest.whole(stream).text(), "served");
    });
}

#[test]
fn floods_end_the_connection() {
    on_both(|driver| {
        let served = Endpoint::listen().serve(|_| ok("served").into_bytes());
        let rig = Plan::to(&[served.address]).listener("alpn = 'h2'").start(driver);
        let flood = |frame: &dyn Fn(&mut Vec<u8>)| {
            let mut attacker = Frames::connect(rig.address);
            attacker.get(1);
            let mut bytes = Vec::new();
            for _ in 0..100 {
                frame(&mut bytes);
            }
            for _ in 0..1000 {
                if !attacker.raw(&bytes) {
                    return;
                }
            }
            let farewell = attacker.farewell();
            assert!(matches!(farewell, None | Some(11)), "{farewell:?}");
        };
        flood(&|bytes| put(bytes, PING, 0, 0, &[0; 8]));
        flood(&|bytes| put(bytes, SETTINGS, 0, 0, &[]));
        flood(&|bytes| put(bytes, 8, 0, 0, &[0, 0, 0, 1]));
        // A header block without end (CVE-2024-27316), and DATA without content.
        let mut attacker = Frames::connect(rig.address);
        attacker.send(HEADERS, END_STREAM, 1, GET);
        while attacker.send(CONTINUATION, 0, 1, &[0x82; 1024]) {}
        let mut attacker = Frames::connect(rig.address);
        attacker.send(HEADERS, END_HEADERS, 1, &[0x83, 0x86, 0x84, 0x41, 1, b'a']);
        while attacker.send(DATA, 0, 1, &[]) {}
        // The shard is none the worse for it.
        let mut honest = H2::connect(rig.address);
        let stream = honest.get("/");
        assert_eq!(honest.whole(stream).text(), "served");
    });
}

#[test]
fn a_drain_takes_requests_on_their_way_and_ends_when_all_are_answered() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let mut rig = plan(&endpoint).start(driver);
        let mut client = Frames::connect(rig.address);
        client.get(1);
        let mut wire = endpoint.accept();
        wire.request();
        let mut idle = H2::connect(rig.address);
        idle.settle();
        rig.signal("TERM");
        let warning = client.find(GOAWAY);
        assert_eq!(warning.payload, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        // On its way when the warning was: it is served like the one before.
        client.get(3);
        let mut late = endpoint.accept();
        late.request();
        let ping = client.find(PING);
        client.send(PING, ACK, 0, &ping.payload);
        let last = client.find(GOAWAY);
        assert_eq!(last.payload, [0, 0, 0, 3, 0, 0, 0, 0]);
        for (wire, stream) in [(&mut late, 3), (&mut wire, 1)] {
            wire.send(ok("taken"));
            let data = client.find(DATA);
            assert_eq!((data.stream, &data.payload[..]), (stream, &b"taken"[..]));
        }
        assert_eq!(client.next(), None);
        assert_eq!(idle.until_ended(), End::Closed);
        assert_eq!(idle.farewells.last(), Some(&ErrorCode::NoError));
        assert!(rig.exited().success());
    });
}

#[test]
fn streams_above_the_limit_are_refused_and_the_others_served() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let plan = plan(&endpoint).listener("alpn = 'h2'\nlimits = { h2_streams = 2 }");
        let rig = plan.start(driver);
        let mut client = H2::connect(rig.address);
        // Before the limit is known.
        let streams: Vec<_> = (0..4).map(|_| client.get("/")).collect();
        let mut wires = [endpoint.accept(), endpoint.accept()];
        for stream in &streams[2..] {
            assert_eq!(client.whole(*stream).reset, Some(ErrorCode::RefusedStream));
        }
        endpoint.untouched();
        for (wire, stream) in wires.iter_mut().zip(&streams) {
            wire.request();
            wire.send(ok("one of two"));
            assert_eq!(client.whole(*stream).text(), "one of two");
        }
    });
}

#[test]
fn a_client_that_takes_nothing_loses_its_stream_but_nobody_elses() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let limits = "alpn = 'h2'\nlimits = { write_timeout = '300ms' }";
        let rig = plan(&endpoint).listener(limits).start(driver);
        let own = Limits { stream_window: 1000, ..Limits::default() };
        let mut client = H2::client(TcpStream::connect(rig.address).unwrap(), own);
        client.settle();
        client.is_stalled = true;
        let stalled = client.get("/");
        let mut wire = endpoint.accept();
        wire.request();
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{}", "x".repeat(5000)));
        let heard = client.whole(stalled);
        assert_eq!((heard.body.len(), heard.reset), (1000, Some(ErrorCode::Cancel)));
        let other = client.get("/");
        wire.request();
        wire.send(ok("fits"));
        assert_eq!(client.whole(other).text(), "fits");
    });
}

#[test]
fn an_idle_client_that_goes_away_is_let_go_at_once() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = plan(&endpoint).start(driver);
        let mut client = H2::connect(rig.address);
        client.settle();
        client.go_away();
        let (end, waited) = timed(|| client.until_ended());
        assert_eq!(end, End::Closed);
        assert!(waited < PATIENCE / 2, "{waited:?}");
    });
}

#[test]
fn nothing_more_is_read_of_a_client_that_takes_no_heads() {
    on_both(|driver| {
        let large = "x".repeat(8000);
        let route = format!(
            "[[route]]\nname = 'all'\nrespond = {{ status = 204, headers = {{ x-large = '{large}' }} }}"
        );
        let listener = "alpn = 'h2'\nlimits = { h2_streams = 10000 }";
        let rig =
            Plan { shards: 1, ..Plan::default() }.listener(listener).more(&route).start(driver);
        let mut client = Frames::connect(rig.address);
        client.hurry(Duration::from_millis(500));
        // Requests with much padding and little else, so that few fill what the kernel keeps.
        let mut padded = vec![255];
        padded.extend(GET);
        padded.resize(padded.len() + 255, 0);
        let mut asked = 0_u32;
        let is_held = loop {
            let mut bytes = Vec::new();
            put(&mut bytes, HEADERS, END_STREAM | END_HEADERS | PADDED, 2 * asked + 1, &padded);
            if !client.raw(&bytes) {
                break true;
            }
            asked += 1;
            if asked == 20_000 {
                break false;
            }
        };
        assert!(is_held, "{asked} requests were taken");
        // Once it reads, everything goes on.
        for _ in 0..asked {
            client.find(HEADERS);
        }
    });
}

#[test]
fn limits_of_a_request_hold() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let limits = "alpn = 'h2'\nlimits = { body = 10, body_timeout = '300ms', idle = '400ms' }";
        let rig = plan(&endpoint).listener(limits).start(driver);
        let mut client = H2::connect(rig.address);
        let announced = client.send(&request("POST", "/"), Framing::Length(11), false);
        assert_eq!(client.whole(announced).status, 413);
        endpoint.untouched();
        let unannounced = client.send(&request("POST", "/"), Framing::Chunked, false);
        client.data(unannounced, b"0123456789a", false);
        assert_eq!(client.whole(unannounced).status, 413);
        let mut wire = endpoint.accept();
        wire.head();
        wire.rest();
        let slow = client.send(&request("POST", "/"), Framing::Length(5), false);
        client.data(slow, b"ab", false);
        assert_eq!(client.whole(slow).status, 408);
        let (end, waited) = timed(|| client.until_ended());
        assert_eq!(end, End::Closed);
        assert_eq!(client.farewells, [ErrorCode::NoError]);
        assert!(waited < PATIENCE / 2, "{waited:?}");
    });
}

#[test]
fn large_bodies_pass_whole_both_ways() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let plan = plan(&endpoint).listener("alpn = 'h2'\nlimits.body = 'unlimited'");
        let rig = plan.start(driver);
        let body: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let echo = thread::scope(|scope| {
            let sent = &body;
            let endpoint = &endpoint;
            scope.spawn(move || {
                let mut wire = endpoint.accept();
                let asked = wire.request();
                assert!(asked.body == *sent, "{} bytes came", asked.body.len());
                wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len()));
                wire.send(sent);
            });
            let mut client = H2::connect(rig.address);
            let stream = client.post("/", &body);
            client.whole(stream)
        });
        assert!(echo.body == body, "{} of {} bytes", echo.body.len(), body.len());
    });
}

/// Either direction of an exchange has its own deadline.
#[test]
fn a_wait_for_room_does_not_shorten_the_wait_for_the_body() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let limits = "alpn = 'h2'\nlimits = { write_timeout = '400ms', body_timeout = '20s' }";
        let rig = Plan::to(&[endpoint.address()]).listener(limits).start(driver);
        let mut client = H2::connect(rig.address);
        client.is_stalled = true;
        let stream = client.send(&request("POST", "/"), Framing::Chunked, false);
        let mut wire = endpoint.accept();
        wire.head();
        // More than the stream's window, and no end: both ways stay open.
        wire.send(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
            300_000
        ));
        wire.send(vec![b'x'; 300_000]);
        client.until(|h2| h2.heard[&stream].body.len() == 256 * 1024);
        client.resume();
        client.until(|h2| h2.heard[&stream].body.len() == 300_000);
        thread::park_timeout(Duration::from_millis(700));
        client.data(stream, b"more", true);
        wire.expect("4\r\nmore\r\n0\r\n\r\n");
        wire.send("\r\n0\r\n\r\n");
        assert!(client.whole(stream).is_whole);
    });
}

#[test]
fn connect_is_refused_and_upgrade_means_nothing() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = plan(&endpoint).start(driver);
        let mut client = Frames::connect(rig.address);
        // CONNECT with :authority only (RFC 9113 §8.5).
        let block = [&[0x02, 7][..], b"CONNECT", &[0x41, 4], b"a:80"].concat();
        client.send(HEADERS, END_HEADERS, 1, &block);
        let answer = client.find(HEADERS);
        assert!(answer.payload.windows(3).any(|digits| digits == b"405"), "{answer:?}");
        // h2c by Upgrade is ignored (RFC 9113 §3.1).
        let mut old = rig.client();
        old.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n");
        old.send("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n");
        let mut wire = endpoint.accept();
        let asked = wire.request();
        assert!(asked.field("upgrade").is_none() && asked.field("http2-settings").is_none());
        wire.send(ok("as ever"));
        assert_eq!(old.response().text(), "as ever");
    });
}

#[test]
fn errors_are_told_to_grpc_as_grpc_wants_it() {
    on_both(|driver| {
        let rig = Plan::to(&[super::endpoint::nobody()]).listener("alpn = 'h2'").start(driver);
        let mut client = H2::connect(rig.address);
        let mut head = request("POST", "/pkg.Service/Method");
        head.headers.append("content-type", "application/grpc").unwrap();
        head.headers.append("te", "trailers").unwrap();
        let stream = client.send(&head, Framing::Chunked, true);
        let heard = client.whole(stream);
        assert_eq!(heard.status, 200);
        assert_eq!(heard.field("grpc-status"), Some("14"));
        assert_eq!(heard.field("content-type"), Some("application/grpc"));
        assert!(heard.body.is_empty() && heard.is_whole && heard.field("content-length").is_none());
    });
}

#[test]
fn the_access_log_has_each_stream() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let scratch = Scratch::new();
        let log = scratch.path("access.log");
        let more = format!("[log]\naccess = {{ path = '{}', format = 'json' }}", log.display());
        let mut rig = plan(&endpoint).more(&more).start(driver);
        let mut client = H2::connect(rig.address);
        let stream = client.post("/logged", b"12345");
        answer(&endpoint, "seen");
        client.whole(stream);
        let cancelled = client.get("/cancelled");
        let mut wire = endpoint.accept();
        wire.request();
        client.reset(cancelled, ErrorCode::Cancel);
        wire.ended();
        client.close();
        rig.signal("TERM");
        rig.exited();
        let text = fs::read_to_string(&log).unwrap();
        let line = |path: &str| text.lines().find(|line| line.contains(path)).unwrap().to_owned();
        let logged = line("/logged");
        assert!(logged.contains("\"status\":200") && logged.contains("HTTP/2"), "{logged}");
        let cancelled = line("/cancelled");
        assert!(cancelled.contains("\"status\":0"), "{cancelled}");
        assert!(cancelled.contains("client_closed"), "{cancelled}");
    });
}

/// Answers the next request of a new connection with `body`, and closes that.
fn answer(endpoint: &Endpoint, body: &str) {
    let mut wire = endpoint.accept();
    wire.request();
    wire.send(ok(body));
}
