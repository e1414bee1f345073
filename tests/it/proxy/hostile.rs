//! Clients and endpoints that break the protocol: the tables of `rfc9112` through real sockets, and
//! what a proxy alone can get wrong.

use super::{
    endpoint::{Endpoint, ok},
    rig::{Plan, Rig, on_both},
    wire::{End, Wire},
};
use crate::rfc9112::{malformed_framing, malformed_requests, malformed_responses};

const GET: &str = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";

/// Every malformed head of the protocol's tables, with the status it must get.
fn malformed_heads() -> Vec<(String, Vec<u8>, u16)> {
    use malformed_framing::{FRAMING, WHOLE};
    use malformed_requests::{FIELDS, HOST, REQUEST_LINE, REQUEST_TARGET};
    let heads = [REQUEST_LINE, REQUEST_TARGET, FIELDS, HOST, WHOLE].into_iter().flatten();
    let mut all: Vec<_> =
        heads.map(|(name, bytes, status, _)| (name.to_string(), bytes.to_vec(), *status)).collect();
    for (name, fields, rest, status, _) in FRAMING {
        let wire = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{rest}");
        all.push((name.to_string(), wire.into_bytes(), *status));
    }
    all
}

#[test]
fn a_malformed_request_is_refused_and_nothing_of_it_reaches_an_endpoint() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).listener("connect = true").start(driver);
        let rows = malformed_heads();
        assert!(rows.len() > 100);
        for (name, bytes, status) in &rows {
            let mut client = rig.client();
            client.send(bytes);
            let response = client.response();
            assert_eq!(response.status(), *status, "{name}");
            assert_eq!(response.field("connection"), Some("close"), "{name}");
            client.closed();
            endpoint.untouched();
        }
        // What lies behind a refused request is never looked at.
        let mut client = rig.client();
        client.send(format!("GET / HTTP/1.1\r\nHost : a\r\n\r\n{GET}{GET}"));
        assert_eq!(client.response().status(), 400);
        client.closed();
        endpoint.untouched();
    });
}

#[test]
fn a_malformed_request_body_closes_the_upstream_connection_unfinished() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).start(driver);
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (name, body, _) in malformed_framing::CHUNKS {
            // In the first piece, and in the middle.
            for middle in [false, true] {
                let mut client = rig.client();
                client.send(head);
                let mut upstream = endpoint.accept();
                upstream.head();
                if middle {
                    client.send("5\r\nfirst\r\n");
                    assert_eq!(upstream.exact(10), b"5\r\nfirst\r\n");
                }
                client.send(body);
                let response = client.response();
                assert_eq!(response.status(), 400, "{name}");
                client.closed();
                let (rest, _) = upstream.rest();
                let rest = String::from_utf8_lossy(&rest);
                assert!(!rest.contains("0\r\n\r\n"), "{name}: a finished body: {rest}");
            }
        }
    });
}

#[test]
fn a_request_body_that_breaks_off_is_never_finished() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).start(driver);
        for reset in [false, true] {
            let mut client = rig.client();
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
            let mut upstream = endpoint.accept();
            upstream.head();
            upstream.expect("hello");
            if reset {
                client.reset();
            } else {
                drop(client);
            }
            upstream.ended();
            let mut client = rig.client();
            client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            let mut upstream = endpoint.accept();
            upstream.head();
            client.send("5\r\nhello\r\n7\r\nha");
            if reset {
                client.reset();
            } else {
                drop(client);
            }
            let (rest, _) = upstream.rest();
            let rest = String::from_utf8(rest).unwrap();
            assert!(!rest.contains("0\r\n\r\n"), "{rest}");
        }
        // A client that only ends its side gets to know why.
        let mut client = rig.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
        client.finish();
        assert_eq!(client.response().status(), 400);
        client.closed();
    });
}

#[test]
fn fields_of_one_connection_stay_on_it_in_both_directions() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).listener("forwarded = 'off'").start(driver);
        let mut client = rig.client();
        client.send(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-one, keep-alive\r\nX-One: 1\r\n\
             Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nX-Two: 2\r\n\
             Connection: x-three\r\nx-three: 3\r\n\r\n",
        );
        let mut upstream = endpoint.accept();
        upstream.expect("GET / HTTP/1.1\r\nHost: a\r\nX-Two: 2\r\n\r\n");
        upstream.send(
            "HTTP/1.1 200 OK\r\nConnection: x-one\r\nX-One: 1\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Authenticate: x\r\nUpgrade: h2c\r\nX-Two: 2\r\nContent-Length: 0\r\n\r\n",
        );
        let head = client.head().to_lowercase();
        for gone in ["x-one", "keep-alive", "proxy-", "upgrade", "connection"] {
            assert!(!head.contains(gone), "{gone}: {head}");
        }
        assert!(head.contains("x-two: 2\r\n"), "{head}");
    });
}

/// Sends a request, lets the endpoint answer with `bytes` and end, and returns what came of it.
fn answered_with(rig: &Rig, endpoint: &Endpoint, bytes: &[u8]) -> (Wire, Wire) {
    let mut client = rig.client();
    client.send(GET);
    let mut upstream = endpoint.accept();
    upstream.head();
    upstream.send(bytes);
    upstream.finish();
    (client, upstream)
}

#[test]
fn a_malformed_response_is_a_502_and_its_connection_is_closed() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).start(driver);
        let tables = [malformed_responses::HEADS, malformed_responses::FRAMING];
        let heads = tables.into_iter().flatten().map(|(name, bytes, _)| (*name, bytes.to_vec()));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunks = malformed_responses::CHUNKS;
        let chunks = chunks.iter().map(|(name, body, _)| (*name, [&chunked[..], body].concat()));
        let rows: Vec<_> = heads.chain(chunks).collect();
        assert!(rows.len() >= 40);
        for (name, bytes) in &rows {
            let (mut client, mut upstream) = answered_with(&rig, &endpoint, bytes);
            let response = client.response();
            assert_eq!(response.status(), 502, "{name}");
            upstream.ended();
            // The client's connection is as good as before; the upstream's is another.
            client.send(GET);
            let mut upstream = endpoint.accept();
            upstream.head();
            upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na");
            assert_eq!(client.response().text(), "a", "{name}");
        }
    });
}

#[test]
fn floods_are_a_502() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).start(driver);
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(200));
        let large = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(70_000));
        let line = format!("HTTP/1.1 200 {}\r\n\r\n", "b".repeat(70_000));
        for flood in [many, large, line] {
            let mut client = rig.client();
            client.send(GET);
            let mut upstream = endpoint.accept();
            upstream.head();
            upstream.try_send(flood);
            assert_eq!(client.response().status(), 502);
            upstream.ended();
        }
        let mut client = rig.client();
        client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
        let mut upstream = endpoint.accept();
        upstream.head();
        upstream.try_send("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000));
        assert_eq!(client.response().status(), 502);
        upstream.ended();
    });
}

#[test]
fn a_truncated_response_is_visibly_broken_off() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).start(driver);
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
        let (mut client, _upstream) = answered_with(&rig, &endpoint, head.as_bytes());
        assert!(client.head().contains("Content-Length: 10\r\n"));
        client.expect("abc");
        client.ended();
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
        let (mut client, _upstream) = answered_with(&rig, &endpoint, head.as_bytes());
        client.head();
        let (rest, _) = client.rest();
        assert_eq!(rest, b"3\r\nabc\r\n", "no last chunk");
        // Broken in the middle, after our head has gone.
        let mut client = rig.client();
        client.send(GET);
        let mut upstream = endpoint.accept();
        upstream.head();
        upstream.send(head);
        client.head();
        client.expect("3\r\nabc\r\n");
        upstream.send("zz\r\n");
        client.ended();
        upstream.ended();
        // Where the end of the connection is the end of the body, only a reset tells.
        for body in
            ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"]
        {
            let mut client = rig.client();
            client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
            let mut upstream = endpoint.accept();
            upstream.head();
            upstream.send(format!("HTTP/1.1 200 OK\r\n{body}"));
            let has_length = client.head().contains("Content-Length");
            client.expect("abc");
            drop(upstream);
            let end = client.ended();
            assert!(has_length || end == End::Reset, "{body:?}");
        }
    });
}

#[test]
fn what_follows_a_response_is_never_seen_by_the_next_request() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).start(driver);
        let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
        for answer in [
            ok("good"),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n"
                .to_owned(),
        ] {
            // At once with the response.
            let mut client = rig.client();
            client.send(GET);
            let mut upstream = endpoint.accept();
            upstream.head();
            upstream.send(format!("{answer}{poison}"));
            assert_eq!(client.response().text(), "good");
            upstream.ended();
            // On the idle connection: once it is seen closed, nobody can be given it.
            client.send(GET);
            let mut upstream = endpoint.accept();
            upstream.head();
            upstream.send(&answer);
            assert_eq!(client.response().text(), "good");
            upstream.send(poison);
            client.send(GET);
            let mut fresh = endpoint.accept();
            fresh.head();
            fresh.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\ntrue");
            assert_eq!(client.response().text(), "true");
            upstream.ended();
        }
        // Behind a response that has no body.
        let mut client = rig.client();
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut upstream = endpoint.accept();
        upstream.head();
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
        client.bodiless();
        upstream.ended();
    });
}
