//! What one client may cost: sizes, times, connections; and who is told what when it is too much.

use super::{
    endpoint::{Endpoint, ok, spawn},
    rig::{Plan, on_both, timed},
    wire::Wire,
};
use std::{io::ErrorKind, net::TcpStream, time::Duration};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn heads_targets_and_bodies_have_limits() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()])
            .listener("limits = { headers = '4KiB', body = '1KiB' }")
            .start(driver);
        let long = "a".repeat(5_000);
        for (request, status) in [
            (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), 431),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n".to_owned(), 413),
        ] {
            let mut client = rig.client();
            assert_eq!(client.ask(&request).status(), status);
            client.closed();
        }
        endpoint.untouched();
        // A chunked body shows its length only as it comes.
        let mut client = rig.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n");
        client.send("b".repeat(1024));
        client.send("\r\n1\r\nb\r\n");
        let mut upstream = endpoint.accept();
        assert_eq!(client.response().status(), 413);
        client.closed();
        let (bytes, _) = upstream.rest();
        assert!(!bytes.ends_with(b"0\r\n\r\n"), "the endpoint must not see a finished body");
    });
}

#[test]
fn a_head_and_a_body_must_come_in_time() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()])
            .listener("limits = { header_timeout = '1s', body_timeout = '1s' }")
            .start(driver);
        let mut client = rig.client();
        let (status, took) = timed(|| {
            client.send("GET / HTTP/1.1\r\nHo");
            client.response().status()
        });
        assert_eq!(status, 408);
        assert!(took >= SECOND && took < 5 * SECOND, "{took:?}");
        client.closed();
        let mut client = rig.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf");
        let mut upstream = endpoint.accept();
        upstream.head();
        upstream.expect("half");
        assert_eq!(client.response().status(), 408);
        client.closed();
        upstream.ended();
    });
}

#[test]
fn a_client_that_reads_nothing_is_cut_off() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()])
            .listener("limits = { write_timeout = '1s' }")
            .start(driver);
        let mut client = rig.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut upstream = endpoint.accept();
        upstream.head();
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
        let piece = vec![b'x'; 1 << 20];
        let (sent, took) = timed(|| (0..100).take_while(|_| upstream.try_send(&piece)).count());
        assert!(sent < 100, "everything was taken though nobody read");
        assert!(took < 15 * SECOND, "{took:?}");
    });
}

#[test]
fn an_endpoint_must_answer_in_time() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()])
            .route("timeouts = { first_byte = '1s' }\nretry = { attempts = 0 }")
            .start(driver);
        let mut client = rig.client();
        let (status, took) = timed(|| client.get("/").status());
        assert_eq!(status, 504);
        assert!(took >= SECOND && took < 5 * SECOND, "{took:?}");
        endpoint.accept().head();
    });
}

#[test]
fn a_client_that_goes_away_takes_its_request_with_it() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).start(driver);
        let mut client = rig.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut upstream = endpoint.accept();
        upstream.head();
        let gone = timed(|| {
            client.reset();
            upstream.ended()
        });
        assert!(gone.1 < 5 * SECOND, "{:?}", gone.1);
    });
}

#[test]
fn connections_have_a_limit() {
    on_both(|driver| {
        let endpoint = Endpoint::listen().serve(|_| ok("in").into());
        let mut plan = Plan::to(&[endpoint.address]);
        plan.runtime = "max_connections = 2".to_owned();
        let rig = plan.start(driver);
        let mut inside: Vec<Wire> = (0..2).map(|_| rig.client()).collect();
        for client in &mut inside {
            assert_eq!(client.get("/").text(), "in");
        }
        // The reset may come before the client's kernel has told of the connection.
        match TcpStream::connect(rig.address) {
            Ok(stream) => {
                Wire::new(stream).ended();
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    });
}

#[test]
fn a_waiting_byte_holds_no_buffer() {
    on_both(|driver| {
        let endpoint = Endpoint::listen().serve(|_| ok("still here").into());
        let mut plan = Plan::to(&[endpoint.address]);
        plan.runtime = "buffers = { count = 16, size = '4KiB' }".to_owned();
        let rig = plan.start(driver);
        let waiting: Vec<Wire> = (0..64)
            .map(|_| {
                let mut client = rig.client();
                client.send("G");
                client
            })
            .collect();
        for _ in 0..4 {
            assert_eq!(rig.client().get("/").text(), "still here");
        }
        drop(waiting);
    });
}

#[test]
fn a_tunnel_whose_client_does_not_read_holds_no_buffer() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let mut plan = Plan::to(&[endpoint.address()]).route("upgrade = true");
        plan.runtime = "buffers = { count = 16, size = '4KiB' }".to_owned();
        let rig = plan.start(driver);
        let mut tunnels = Vec::new();
        let mut floods = Vec::new();
        for _ in 0..24 {
            let mut client = rig.client();
            client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
            let mut upstream = endpoint.accept();
            upstream.head();
            let switch = "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
            upstream.send(switch);
            client.head();
            tunnels.push(client);
            floods.push(spawn(move || {
                // Until nothing is taken for a while: every buffer on the way is full then.
                upstream.stream.set_write_timeout(Some(SECOND)).unwrap();
                let piece = vec![b'x'; 1 << 20];
                while upstream.try_send(&piece) {}
                upstream
            }));
        }
        let floods: Vec<_> = floods.into_iter().map(|flood| flood.join().unwrap()).collect();
        for _ in 0..4 {
            let mut client = rig.client();
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            let mut upstream = endpoint.accept();
            upstream.head();
            upstream.send(ok("still here"));
            assert_eq!(client.response().text(), "still here");
            drop(upstream);
        }
        drop((tunnels, floods));
    });
}
