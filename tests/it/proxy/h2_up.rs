//! Endpoints of HTTP/2, clients of HTTP/1.1 and of HTTP/2.

use std::net::{SocketAddr, TcpListener};

use ringway::protocol::{
    h2::{EndStream, ErrorCode, Limits},
    http::{Framing, ResponseHead, Status},
};

use super::{
    endpoint::{nobody, spawn},
    h2_wire::{H2, request},
    rig::{Plan, on_both, timed},
    wire::{End, PATIENCE},
};

/// An endpoint that speaks HTTP/2 with prior knowledge.
pub(super) struct Endpoint(TcpListener);

impl Endpoint {
    pub(super) fn listen() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    #[track_caller]
    fn accept(&self) -> H2 {
        self.accept_with(Limits::default())
    }

    #[track_caller]
    pub(super) fn accept_with(&self, limits: Limits) -> H2 {
        socket2::SockRef::from(&self.0).set_read_timeout(Some(PATIENCE)).unwrap();
        let mut server = H2::server(self.0.accept().expect("a connection").0, limits);
        server.flush();
        server
    }

    pub(super) fn plan(&self) -> Plan {
        let mut plan = Plan::to(&[self.address()]);
        plan.upstream += "\nprotocol = 'h2'";
        plan.listener("alpn = ['h2', 'http/1.1']")
    }
}

#[test]
fn a_request_of_http1_becomes_a_stream_and_its_answer_a_response() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = endpoint.plan().start(driver);
        let mut client = rig.client();
        client.send(
            "POST /a?b HTTP/1.1\r\nHost: example.com\r\nX-Own: Kept\r\nContent-Length: 5\r\n",
        );
        client.send("Connection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\r\nhello");
        let mut server = endpoint.accept();
        let stream = server.accept();
        let asked = server.whole(stream);
        let (method, path, host) = asked.asked.clone().unwrap();
        assert_eq!((&*method, &*path, &*host), ("POST", "/a?b", "example.com"));
        assert_eq!(asked.text(), "hello");
        assert_eq!(asked.field("x-own"), Some("Kept"));
        assert_eq!(asked.field("content-length"), Some("5"));
        assert!(asked.field("x-hop").is_none() && asked.field("keep-alive").is_none());
        server.ok(stream, "done");
        let answer = client.response();
        assert_eq!((answer.status(), answer.text()), (200, "done"));
        assert_eq!(answer.field("content-length"), Some("4"));
        // Of unknown length: chunked, with trailers.
        client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send("3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n");
        let stream = server.accept();
        let asked = server.whole(stream);
        assert_eq!((asked.text(), &*asked.trailers), ("abc", "x-sum: 7\n"));
        server.answer(stream, 200, Framing::Chunked, false);
        server.data(stream, b"xyz", false);
        server.trailers(stream, "x-total", "9");
        let answer = client.response();
        assert_eq!((answer.text(), &*answer.trailers), ("xyz", "x-total: 9\r\n"));
    });
}

#[test]
fn many_clients_share_a_connection() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = endpoint.plan().start(driver);
        let mut clients: Vec<_> = (0..30).map(|_| rig.client()).collect();
        for (n, client) in clients.iter_mut().enumerate() {
            client.send(format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"));
        }
        let mut server = endpoint.accept();
        let mut streams: Vec<_> = (0..30).map(|_| server.accept()).collect();
        streams.reverse();
        for stream in streams {
            let path = server.heard[&stream].asked.clone().unwrap().1;
            server.ok(stream, &path);
        }
        for (n, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.response().text(), format!("/{n}"));
        }
    });
}

#[test]
fn answers_whose_heads_come_before_all_bodies_reach_their_clients() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = endpoint.plan().start(driver);
        let mut clients: Vec<_> = (0..60).map(|_| rig.client()).collect();
        for (n, client) in clients.iter_mut().enumerate() {
            client.send(format!("GET /{n:02} HTTP/1.1\r\nHost: a\r\n\r\n"));
        }
        let mut server = endpoint.accept();
        let mut streams: Vec<_> = (0..60).map(|_| server.accept()).collect();
        streams.sort_by_key(|stream| server.heard[stream].asked.clone().unwrap().1);
        let body = [b'x'; 1000];
        // More than one receive takes, and the last body is not among it.
        server.at_once(|codec| {
            let mut head = ResponseHead::new();
            head.status = Status::OK;
            let length = Framing::Length(1000);
            for stream in &streams {
                codec.send_response(*stream, &head, length, None, EndStream::No).unwrap();
            }
            for (n, stream) in streams[..59].iter().enumerate() {
                let end = EndStream::when(n % 2 == 0);
                assert_eq!(codec.send_data(*stream, &body, end).unwrap(), 1000);
            }
        });
        let mut late = clients.pop().unwrap();
        late.head();
        for stream in streams[..59].iter().skip(1).step_by(2) {
            server.trailers(*stream, "x-sum", "7");
        }
        for client in &mut clients {
            assert_eq!(client.response().body, body);
        }
        server.data(streams[59], &body, true);
        late.until(&body);
    });
}

#[test]
fn another_connection_is_opened_when_the_endpoint_allows_no_more_streams() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = endpoint.plan().start(driver);
        let few = || Limits { streams: 2, ..Limits::default() };
        let mut warm = rig.client();
        warm.send("GET /warm HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut first = endpoint.accept_with(few());
        let stream = first.accept();
        first.settle();
        first.ok(stream, "");
        warm.response();
        let mut clients: Vec<_> = (0..3).map(|_| rig.client()).collect();
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        let mut second = endpoint.accept_with(few());
        let stream = second.accept();
        second.ok(stream, "");
        for _ in 0..2 {
            let stream = first.accept();
            first.ok(stream, "");
        }
        for client in &mut clients {
            assert_eq!(client.response().status(), 200);
        }
    });
}

#[test]
fn what_an_endpoint_did_nothing_for_is_sent_again_whatever_its_method() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = endpoint.plan().start(driver);
        let mut client = rig.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nonce");
        let mut server = endpoint.accept();
        let stream = server.accept();
        server.whole(stream);
        server.reset(stream, ErrorCode::RefusedStream);
        let stream = server.accept();
        assert_eq!(server.whole(stream).text(), "once");
        server.ok(stream, "done");
        assert_eq!(client.response().text(), "done");
    });
}

#[test]
fn no_request_is_lost_when_an_endpoint_drains() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = endpoint.plan().start(driver);
        let (mut before, mut after) = (rig.client(), rig.client());
        before.send("POST /before HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        let mut old = endpoint.accept();
        let stream = old.accept();
        old.drain();
        // Heard of: the next request goes elsewhere, this one ends where it is.
        after.send("POST /after HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        let mut new = loop {
            socket2::SockRef::from(&endpoint.0)
                .set_read_timeout(Some(std::time::Duration::from_millis(20)))
                .unwrap();
            match endpoint.0.accept() {
                Ok((stream, _)) => break H2::server(stream, Limits::default()),
                Err(_) => old.flush(),
            };
        };
        new.flush();
        let moved = new.accept();
        new.ok(moved, "moved");
        assert_eq!(after.response().text(), "moved");
        old.ok(stream, "stayed");
        assert_eq!(before.response().text(), "stayed");
        old.until_ended();
    });
}

#[test]
fn a_connection_that_dies_costs_idempotent_requests_nothing_and_others_a_502() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = endpoint.plan().start(driver);
        let (mut get, mut post) = (rig.client(), rig.client());
        get.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut server = endpoint.accept();
        server.accept();
        post.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        server.accept();
        server.close();
        let mut server = endpoint.accept();
        let stream = server.accept();
        server.ok(stream, "again");
        assert_eq!(get.response().text(), "again");
        assert_eq!(post.response().status(), 502);
        assert_eq!(server.arrived(), 1);
    });
}

#[test]
fn a_body_that_is_reset_breaks_off_for_the_client_too() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = endpoint.plan().start(driver);
        let mut old = rig.client();
        old.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut server = endpoint.accept();
        let stream = server.accept();
        server.answer(stream, 200, Framing::Chunked, false);
        server.data(stream, b"half", false);
        old.until(b"half\r\n");
        server.reset(stream, ErrorCode::Internal);
        old.ended();
        let mut new = H2::connect(rig.address);
        let asked = new.get("/");
        let stream = server.accept();
        server.answer(stream, 200, Framing::Length(100), false);
        server.data(stream, b"half", false);
        new.until(|h2| h2.heard[&asked].body == b"half");
        server.reset(stream, ErrorCode::Internal);
        assert_eq!(new.whole(asked).reset, Some(ErrorCode::Internal));
    });
}

#[test]
fn both_directions_flow_at_once() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = endpoint.plan().start(driver);
        let mut client = H2::connect(rig.address);
        let mut head = request("POST", "/pkg.Echo/Talk");
        head.headers.append("content-type", "application/grpc").unwrap();
        head.headers.append("te", "trailers").unwrap();
        let asked = client.send(&head, Framing::Chunked, false);
        let mut server = endpoint.accept();
        let stream = server.accept();
        assert_eq!(server.heard[&stream].field("te"), Some("trailers"));
        // The answer begins before anything was said, and the words alternate.
        server.answer(stream, 200, Framing::Chunked, false);
        client.until(|h2| h2.heard[&asked].status == 200);
        for turn in 1..=50 {
            client.data(asked, b"ping", false);
            server.until(|h2| h2.heard[&stream].body.len() == 4 * turn);
            server.data(stream, b"pong", false);
            client.until(|h2| h2.heard[&asked].body.len() == 4 * turn);
        }
        server.trailers(stream, "grpc-status", "0");
        let heard = client.whole(asked);
        assert_eq!(heard.trailers, "grpc-status: 0\n");
        // Our half was still open: the endpoint hears that nobody goes on.
        assert!(server.whole(stream).reset.is_some());
    });
}

#[test]
fn a_cancelled_request_is_cancelled_at_the_endpoint_and_the_connection_stays() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = endpoint.plan().start(driver);
        let mut client = H2::connect(rig.address);
        let asked = client.get("/");
        let mut server = endpoint.accept();
        let stream = server.accept();
        client.reset(asked, ErrorCode::Cancel);
        server.until(|h2| h2.heard[&stream].reset == Some(ErrorCode::Cancel));
        // A client of HTTP/1.1 cancels by leaving.
        let mut old = rig.client();
        old.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let stream = server.accept();
        old.reset();
        server.until(|h2| h2.heard[&stream].reset == Some(ErrorCode::Cancel));
        let asked = client.get("/");
        let stream = server.accept();
        server.ok(stream, "still here");
        assert_eq!(client.whole(asked).text(), "still here");
    });
}

#[test]
fn deadlines_hold_and_grpc_hears_of_them() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = endpoint.plan().route("timeouts = { first_byte = '300ms' }").start(driver);
        let mut client = H2::connect(rig.address);
        let plain = client.get("/");
        let mut server = endpoint.accept();
        let stream = server.accept();
        assert_eq!(client.whole(plain).status, 504);
        server.until(|h2| h2.heard[&stream].reset == Some(ErrorCode::Cancel));
        let mut head = request("POST", "/pkg.Service/Method");
        head.headers.append("content-type", "application/grpc").unwrap();
        head.headers.append("grpc-timeout", "50m").unwrap();
        let (heard, waited) = timed(|| {
            let asked = client.send(&head, Framing::None, true);
            client.whole(asked)
        });
        assert_eq!((heard.status, heard.field("grpc-status")), (200, Some("4")));
        assert!(waited.as_millis() >= 50, "{waited:?}");
    });
}

#[test]
fn an_answer_may_come_before_the_request_is_whole() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = endpoint.plan().start(driver);
        let mut client = H2::connect(rig.address);
        let asked = client.send(&request("POST", "/"), Framing::Length(1000), false);
        client.data(asked, b"only this", false);
        let mut server = endpoint.accept();
        let stream = server.accept();
        server.ok(stream, "enough");
        server.reset(stream, ErrorCode::NoError);
        let heard = client.whole(asked);
        assert_eq!((heard.status, heard.text()), (200, "enough"));
        assert!(heard.is_whole);
    });
}

#[test]
fn large_bodies_pass_whole_through_small_windows() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let mut plan = endpoint.plan();
        plan.listener += "\nlimits.body = 'unlimited'";
        let rig = plan.start(driver);
        let body: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).collect();
        let sent = body.clone();
        let serving = spawn(move || {
            let small = Limits { stream_window: 10_000, ..Limits::default() };
            let mut server = endpoint.accept_with(small);
            let stream = server.accept();
            let came = server.whole(stream).body;
            server.answer(stream, 200, Framing::Length(came.len() as u64), false);
            server.data(stream, &came, true);
            server
        });
        let mut client = H2::connect(rig.address);
        let asked = client.post("/", &sent);
        let heard = client.whole(asked);
        assert!(heard.body == body, "{} of {} bytes", heard.body.len(), body.len());
        drop(serving.join().unwrap());
    });
}

#[test]
fn an_endpoint_that_is_not_there_is_a_502_for_each_who_waits() {
    on_both(|driver| {
        let mut plan = Plan::to(&[nobody()]).listener("alpn = ['h2', 'http/1.1']");
        plan.upstream += "\nprotocol = 'h2'";
        let rig = plan.start(driver);
        let mut client = H2::connect(rig.address);
        let asked: Vec<_> = (0..10).map(|_| client.get("/")).collect();
        for asked in asked {
            assert_eq!(client.whole(asked).status, 502);
        }
    });
}

#[test]
fn an_idle_connection_is_closed_in_time() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let mut plan = endpoint.plan();
        plan.upstream += "\npool = { idle_timeout = '300ms' }";
        let rig = plan.start(driver);
        let mut client = rig.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut server = endpoint.accept();
        let stream = server.accept();
        server.ok(stream, "");
        client.response();
        let (end, waited) = timed(|| server.until_ended());
        assert_eq!(end, End::Closed);
        assert_eq!(server.farewells, [ErrorCode::NoError]);
        assert!(waited < PATIENCE / 2, "{waited:?}");
    });
}

#[test]
fn a_connection_that_is_not_to_be_kept_carries_its_requests() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let mut plan = endpoint.plan();
        plan.upstream += "\npool = { idle_per_endpoint = 0 }";
        let rig = plan.start(driver);
        let mut client = rig.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut server = endpoint.accept();
        let stream = server.accept();
        server.ok(stream, "served");
        assert_eq!(client.response().text(), "served");
        assert_eq!(server.until_ended(), End::Closed);
    });
}

#[test]
fn a_head_that_is_larger_than_an_endpoint_takes_is_a_431() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = endpoint.plan().start(driver);
        let mut client = rig.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut server =
            endpoint.accept_with(Limits { header_list_bytes: 2000, ..Limits::default() });
        let stream = server.accept();
        server.settle();
        server.ok(stream, "");
        assert_eq!(client.response().status(), 200);
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(2000)));
        assert_eq!(client.response().status(), 431);
    });
}

#[test]
fn each_stream_that_ends_lets_one_who_waits_go_on() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let mut plan = endpoint.plan();
        plan.upstream += "\nlimits = { connections = 1 }";
        let rig = plan.start(driver);
        let mut client = H2::connect(rig.address);
        let warm = client.get("/warm");
        let mut server = endpoint.accept_with(Limits { streams: 2, ..Limits::default() });
        let first = server.accept();
        server.settle();
        server.ok_all(&[first]);
        client.whole(warm);
        let asked: Vec<_> = (0..4).map(|_| client.get("/")).collect();
        let running = [server.accept(), server.accept()];
        // Both of them end in one turn.
        server.ok_all(&running);
        let rest = [server.accept(), server.accept()];
        server.ok_all(&rest);
        for stream in asked {
            assert_eq!(client.whole(stream).status, 200);
        }
    });
}

#[test]
fn clients_that_take_nothing_hold_nobody_up() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = endpoint.plan().start(driver);
        let mut stalled = H2::connect(rig.address);
        stalled.settle();
        stalled.is_stalled = true;
        let asked: Vec<_> = (0..8).map(|_| stalled.get("/large")).collect();
        let mut server = endpoint.accept();
        server.settle();
        // As much as each stream's window lets through: what they don't take lies here.
        for _ in &asked {
            let stream = server.accept();
            server.answer(stream, 200, Framing::Chunked, false);
            server.data(stream, &[7; 256 * 1024], false);
        }
        let mut other = rig.client();
        other.send("GET /small HTTP/1.1\r\nHost: a\r\n\r\n");
        let stream = server.accept();
        server.ok(stream, "not held up");
        assert_eq!(other.response().text(), "not held up");
        stalled.close();
    });
}

#[test]
fn health_checks_speak_what_the_endpoint_speaks() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let mut plan = endpoint.plan();
        plan.upstream +=
            "\nhealth = { grpc = 'pkg.Service', interval = '50ms', rise = 1, fall = 1 }";
        let rig = plan.start(driver);
        let mut probe = endpoint.accept();
        let stream = probe.accept();
        let asked = probe.whole(stream);
        let (method, path, _) = asked.asked.clone().unwrap();
        assert_eq!((&*method, &*path), ("POST", "/grpc.health.v1.Health/Check"));
        assert_eq!(asked.body, [&[0, 0, 0, 0, 13, 0x0a, 11][..], b"pkg.Service"].concat());
        probe.answer(stream, 200, Framing::Chunked, false);
        // HealthCheckResponse: NOT_SERVING.
        probe.data(stream, &[0, 0, 0, 0, 2, 8, 2], false);
        probe.trailers(stream, "grpc-status", "0");
        rig.logged(&["NOT_SERVING"]);
        assert_eq!(rig.client().get("/").status(), 503);
        // The next one finds it well again.
        let mut probe = endpoint.accept();
        let stream = probe.accept();
        probe.answer(stream, 200, Framing::Chunked, false);
        probe.data(stream, &[0, 0, 0, 0, 2, 8, 1], false);
        probe.trailers(stream, "grpc-status", "0");
        rig.logged(&["\"SERVING\""]);
    });
}
