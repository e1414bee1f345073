//! What a well-behaved client and a well-behaved endpoint see of each other.

use super::{
    endpoint::{Endpoint, ok},
    rig::{Plan, on_both},
    wire::Wire,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";

#[test]
fn a_request_and_its_response_go_through_and_both_connections_stay() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).listener("forwarded = 'off'").start(driver);
        let mut client = rig.client();
        client.send("GET /a?b=c HTTP/1.1\r\nHost: example.com\r\nX-One: 1\r\n\r\n");
        let mut upstream = endpoint.accept();
        upstream.expect("GET /a?b=c HTTP/1.1\r\nHost: example.com\r\nX-One: 1\r\n\r\n");
        upstream.send("HTTP/1.1 200 Fine\r\nContent-Length: 5\r\nX-Two: 2\r\n\r\nhello");
        let response = client.response();
        assert!(response.head.starts_with("HTTP/1.1 200 Fine\r\n"), "{}", response.head);
        assert_eq!((response.text(), response.field("x-two")), ("hello", Some("2")));
        assert_eq!(response.field("connection"), None);
        for number in 0..5 {
            client.send(GET);
            upstream.head();
            upstream.send(ok(&number.to_string()));
            assert_eq!(client.response().text(), number.to_string());
        }
        endpoint.untouched();
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        upstream.head();
        upstream.send(ok("last"));
        assert_eq!(client.response().field("connection"), Some("close"));
        client.closed();
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    on_both(|driver| {
        let served = Endpoint::listen().serve(|request| {
            ok(&format!("{}{}", request.head.lines().next().unwrap(), request.text())).into()
        });
        let rig = Plan::to(&[served.address]).start(driver);
        let mut client = rig.client();
        let mut batch = String::new();
        for number in 0..50 {
            batch += &format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n");
            batch += &format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nl");
            batch += &format!(
                "PUT /{number} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                 1\r\nc\r\n0\r\n\r\n"
            );
        }
        client.send(&batch);
        for number in 0..50 {
            assert_eq!(client.response().text(), format!("GET /{number} HTTP/1.1"));
            assert_eq!(client.response().text(), format!("POST /{number} HTTP/1.1l"));
            assert_eq!(client.response().text(), format!("PUT /{number} HTTP/1.1c"));
        }
        // Cut anywhere, it is the same.
        for piece in batch.as_bytes().chunks(37).take(40) {
            client.send(piece);
        }
        assert_eq!(client.response().text(), "GET /0 HTTP/1.1");
        assert_eq!(served.connections(), 1);
    });
}

#[test]
fn an_http_1_0_client_is_closed_unless_it_asks_otherwise() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).start(driver);
        let mut client = rig.client();
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let mut upstream = endpoint.accept();
        assert!(upstream.head().starts_with("GET / HTTP/1.1\r\n"), "our own version");
        upstream.send(ok("a"));
        assert_eq!(client.response().field("connection"), Some("keep-alive"));
        client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
        upstream.head();
        upstream.send(ok("b"));
        assert_eq!(client.response().text(), "b");
        client.closed();
        // Chunks aren't for it: the connection's end is the body's.
        let mut client = rig.client();
        client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
        upstream.head();
        upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        let head = client.head();
        assert!(!head.to_lowercase().contains("chunked"), "{head}");
        client.expect("abc");
        upstream.send("2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n");
        client.expect("de");
        client.closed();
    });
}

#[test]
fn an_http_1_0_endpoint_is_understood() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).start(driver);
        let mut client = rig.client();
        client.send(GET);
        let mut upstream = endpoint.accept();
        upstream.head();
        upstream.send("HTTP/1.0 200 OK\r\n\r\nuntil the end");
        drop(upstream);
        let response = client.response();
        assert_eq!(
            (response.text(), response.field("transfer-encoding")),
            ("until the end", Some("chunked"))
        );
        assert!(response.head.starts_with("HTTP/1.1 "), "our own version");
        // Its connection isn't kept without a word, and is with one.
        client.send(GET);
        let mut upstream = endpoint.accept();
        upstream.head();
        upstream.send("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na");
        assert_eq!(client.response().text(), "a");
        upstream.closed();
        client.send(GET);
        let mut upstream = endpoint.accept();
        upstream.head();
        upstream.send("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nb");
        assert_eq!(client.response().text(), "b");
        client.send(GET);
        upstream.head();
        upstream.send(ok("c"));
        assert_eq!(client.response().text(), "c");
    });
}

#[test]
fn responses_without_a_body_keep_their_length_where_it_means_something() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).start(driver);
        let mut client = rig.client();
        let mut upstream = None;
        for (method, answer, length) in [
            ("HEAD", "200 OK\r\nContent-Length: 1000", Some("1000")),
            ("HEAD", "200 OK\r\nTransfer-Encoding: chunked", None),
            ("HEAD", "404 No\r\nContent-Length: 0", Some("0")),
            ("GET", "204 No Content", None),
            ("GET", "204 No Content\r\nContent-Length: 0", None),
            ("GET", "304 Not Modified\r\nContent-Length: 1000", Some("1000")),
            ("GET", "304 Not Modified", None),
        ] {
            client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
            let upstream = upstream.get_or_insert_with(|| endpoint.accept());
            upstream.head();
            upstream.send(format!("HTTP/1.1 {answer}\r\n\r\n"));
            let response = client.bodiless();
            assert_eq!(response.field("content-length"), length, "{method}, {answer}");
        }
        endpoint.untouched();
    });
}

#[test]
fn an_empty_body_is_said_to_be_empty() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).start(driver);
        let mut client = rig.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        let mut upstream = endpoint.accept();
        assert_eq!(upstream.request().field("content-length"), Some("0"));
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.response().field("content-length"), Some("0"));
        client.send(GET);
        assert_eq!(upstream.request().field("content-length"), None);
        upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
        assert_eq!(client.response().text(), "");
        client.send(GET);
        upstream.head();
        upstream.send(ok("still alive"));
        assert_eq!(client.response().text(), "still alive");
    });
}

#[test]
fn chunks_and_trailers_pass_both_ways_reframed() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).start(driver);
        let mut client = rig.client();
        client.send(
            "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\
             Trailer: X-Sum\r\n\r\n1;note=\"x\"\r\na\r\n002\r\nbc\r\n",
        );
        let mut upstream = endpoint.accept();
        let head = upstream.head();
        assert!(
            head.contains("Trailer: X-Sum\r\n") && head.to_lowercase().contains("te: trailers\r\n")
        );
        client.send("0\r\nX-Sum: 7\r\nX-More: 8\r\n\r\n");
        let tail = upstream.until(b"0\r\nX-Sum: 7\r\nX-More: 8\r\n\r\n");
        assert!(!tail.contains("note"), "extensions end here: {tail}");
        upstream.send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Md5\r\n\r\n\
             3;e\r\nxyz\r\n0\r\nX-Md5: 9\r\n\r\n",
        );
        let response = client.response();
        assert_eq!((response.text(), response.trailers.as_str()), ("xyz", "X-Md5: 9\r\n"));
        // And piece by piece.
        client.send(GET);
        upstream.head();
        upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let head = client.head();
        assert!(head.contains("chunked"), "the head doesn't wait for the body: {head}");
        for piece in ["3\r", "\nab", "c", "\r\n0\r\nX-", "Late: 1\r\n\r", "\n"] {
            upstream.send(piece);
        }
        let body = client.until(b"0\r\nX-Late: 1\r\n\r\n");
        assert!(body.contains('c'), "{body}");
        client.send(GET);
        upstream.head();
        upstream.send(ok("next"));
        assert_eq!(client.response().text(), "next");
    });
}

#[test]
fn absolute_form_replaces_host_and_options_asterisk_stays() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).listener("forwarded = 'off'").start(driver);
        let mut client = rig.client();
        client.send("GET http://b.example:81/x?y HTTP/1.1\r\nHost: a.example\r\n\r\n");
        let mut upstream = endpoint.accept();
        upstream.expect("GET /x?y HTTP/1.1\r\nHost: b.example:81\r\n\r\n");
        upstream.send(ok(""));
        client.response();
        client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
        upstream.expect("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
        upstream.send(ok(""));
        client.response();
        client.send("OPTIONS http://c.example HTTP/1.1\r\nHost: a\r\n\r\n");
        upstream.expect("OPTIONS * HTTP/1.1\r\nHost: c.example\r\n\r\n");
        upstream.send(ok(""));
        client.response();
        client.send("GET http://c.example HTTP/1.1\r\nHost: a\r\n\r\n");
        upstream.expect("GET / HTTP/1.1\r\nHost: c.example\r\n\r\n");
    });
}

#[test]
fn connect_is_refused_unless_allowed() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let plan = Plan::to(&[endpoint.address()]);
        let rig = plan.start(driver);
        let mut client = rig.client();
        let response = client.ask("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n");
        assert_eq!(response.status(), 405);
        assert!(response.field("allow").is_some());
        client.closed();
        endpoint.untouched();
        let rig = plan.listener("connect = true").start(driver);
        let mut client = rig.client();
        client.send("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\nearly");
        let mut upstream = endpoint.accept();
        let head = upstream.head();
        assert!(head.starts_with("CONNECT a.example:443 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("Host: a.example:443\r\n"), "{head}");
        upstream.send("HTTP/1.1 200 Connected\r\n\r\nfirst");
        let head = client.head();
        assert!(!head.to_lowercase().contains("content-length"), "{head}");
        assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
        client.expect("first");
        upstream.expect("early");
        both_ways(client, upstream);
    });
}

/// Talks through a tunnel, then ends one direction after the other.
fn both_ways(mut client: Wire, mut upstream: Wire) {
    for number in 0..20 {
        client.send(format!("<{number}>"));
        upstream.expect(&format!("<{number}>"));
        upstream.send(format!("[{number}]"));
        client.expect(&format!("[{number}]"));
    }
    client.finish();
    upstream.closed();
    upstream.send("after your end");
    client.expect("after your end");
    upstream.finish();
    client.closed();
}

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\
                       Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                      Upgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\n";

#[test]
fn an_upgrade_becomes_a_tunnel_with_what_came_early_and_each_half_closes_by_itself() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).route("upgrade = true").start(driver);
        let mut client = rig.client();
        client.send(format!("{UPGRADE}early"));
        let mut upstream = endpoint.accept();
        let head = upstream.head().to_lowercase();
        assert!(head.contains("upgrade: websocket\r\n"), "{head}");
        assert!(head.contains("connection: upgrade\r\n"), "{head}");
        assert!(head.contains("sec-websocket-key: x\r\n"), "{head}");
        upstream.send(format!("{SWITCH}first"));
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let head = head.to_lowercase();
        assert!(head.contains("connection: upgrade\r\n"), "{head}");
        assert!(head.contains("upgrade: websocket\r\n"), "{head}");
        assert!(head.contains("sec-websocket-accept: y\r\n"), "{head}");
        client.expect("first");
        upstream.expect("early");
        both_ways(client, upstream);
        // The other side may end first, too; and a reset takes both down.
        let mut client = rig.client();
        client.send(UPGRADE);
        let mut upstream = endpoint.accept();
        upstream.head();
        upstream.send(SWITCH);
        client.head();
        upstream.finish();
        client.closed();
        client.send("still here");
        upstream.expect("still here");
        client.reset();
        upstream.ended();
    });
}

#[test]
fn an_upgrade_that_the_endpoint_declines_is_an_ordinary_exchange() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).route("upgrade = true").start(driver);
        let mut client = rig.client();
        client.send(UPGRADE);
        let mut upstream = endpoint.accept();
        upstream.head();
        upstream.send(ok("no"));
        assert_eq!(client.response().text(), "no");
        client.send(GET);
        upstream.head();
        upstream.send(ok("next"));
        assert_eq!(client.response().text(), "next");
    });
}

#[test]
fn without_leave_the_upgrade_is_removed_and_a_switch_is_a_502() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).start(driver);
        for request in [UPGRADE, GET] {
            let mut client = rig.client();
            client.send(request);
            let mut upstream = endpoint.accept();
            let head = upstream.head().to_lowercase();
            assert!(!head.contains("upgrade"), "{head}");
            upstream.send(SWITCH);
            let response = client.response();
            assert_eq!(response.status(), 502);
            assert_eq!(response.field("upgrade"), None);
            upstream.ended();
        }
        // Allowed, but not asked for.
        let rig = Plan::to(&[endpoint.address()]).route("upgrade = true").start(driver);
        let mut client = rig.client();
        client.send(GET);
        let mut upstream = endpoint.accept();
        upstream.head();
        upstream.send(SWITCH);
        assert_eq!(client.response().status(), 502);
        upstream.ended();
    });
}

#[test]
fn interim_responses_reach_those_who_understand_them() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).start(driver);
        let hints =
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n";
        let mut client = rig.client();
        client.send(GET);
        let mut upstream = endpoint.accept();
        upstream.head();
        upstream.send(hints);
        let interim = client.head();
        assert!(interim.starts_with("HTTP/1.1 103 Early Hints\r\n"), "{interim}");
        assert!(interim.contains("Link: </a>\r\n") && !interim.contains("X-Hop"), "{interim}");
        upstream.send(format!("{hints}HTTP/1.1 102 Processing\r\n\r\n{}", ok("final")));
        assert!(client.head().starts_with("HTTP/1.1 103 "));
        assert!(client.head().starts_with("HTTP/1.1 102 "));
        assert_eq!(client.response().text(), "final");
        client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
        upstream.head();
        upstream.send(hints);
        upstream.send(ok("only this"));
        let response = client.response();
        assert_eq!((response.status(), response.text()), (200, "only this"));
    });
}
