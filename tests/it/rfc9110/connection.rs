//! §7.6 to §7.8 and §10.1: persistence, hop-by-hop fields, upgrade, expectations.

use ringway::protocol::{
    h1::{
        HeadLimits, expects_continue, parse_request, parse_response, request_keeps_alive,
        response_keeps_alive, upgrade_requested,
    },
    http::{RequestHead, ResponseHead, strip_request_hops, strip_response_hops},
};

fn request(version: &str, fields: &str) -> RequestHead {
    let mut head = RequestHead::new();
    let wire = format!("GET / {version}\r\nHost: a\r\n{fields}\r\n");
    parse_request(wire.as_bytes(), &HeadLimits::default(), &mut head).unwrap();
    head
}

fn response(status: &str, fields: &str) -> ResponseHead {
    let mut head = ResponseHead::new();
    let wire = format!("HTTP/1.1 {status}\r\n{fields}\r\n");
    parse_response(wire.as_bytes(), &HeadLimits::default(), &mut head).unwrap();
    head
}

#[test]
fn http_1_1_persists_unless_closed() {
    for (version, fields, keeps) in [
        ("HTTP/1.1", "", true),
        ("HTTP/1.1", "Connection: keep-alive\r\n", true),
        ("HTTP/1.1", "Connection: Close\r\n", false),
        ("HTTP/1.1", "Connection: x, close\r\n", false),
        ("HTTP/1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("HTTP/1.1", "Connection: closed\r\n", true),
        ("HTTP/1.0", "", false),
        ("HTTP/1.0", "Connection: Keep-Alive\r\n", true),
        ("HTTP/1.0", "Connection: keep-alive, close\r\n", false),
        ("HTTP/1.0", "Proxy-Connection: keep-alive\r\n", false),
    ] {
        assert_eq!(request_keeps_alive(&request(version, fields)), keeps, "{version} {fields}");
    }
}

#[test]
fn a_response_that_may_leave_bytes_behind_does_not_persist() {
    for (status, fields, keeps) in [
        ("200 OK", "", true),
        ("200 OK", "Connection: close\r\n", false),
        ("204 No Content", "", true),
        ("204 No Content", "Content-Length: 0\r\n", true),
        ("204 No Content", "Content-Length: 5\r\n", false),
        ("204 No Content", "Transfer-Encoding: chunked\r\n", false),
        ("304 Not Modified", "Content-Length: 5\r\n", true),
    ] {
        assert_eq!(response_keeps_alive(&response(status, fields)), keeps, "{status} {fields}");
    }
}

#[test]
fn upgrade_needs_both_fields_and_1_1() {
    let websocket = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(upgrade_requested(&request("HTTP/1.1", websocket)), Some(&b"websocket"[..]));
    assert_eq!(upgrade_requested(&request("HTTP/1.0", websocket)), None);
    for fields in [
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\n",
        "Connection: upgrade\r\nUpgrade: \r\n",
        "Connection: upgrade\r\nUpgrade: web socket\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: x\r\n",
    ] {
        assert_eq!(upgrade_requested(&request("HTTP/1.1", fields)), None, "{fields}");
    }
}

#[test]
fn http_is_never_tunnelled_as_an_upgrade() {
    for protocol in ["h2c", "H2C", "websocket, h2c", "HTTP/2.0", "h2"] {
        let fields = format!(
            "Connection: upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\nHTTP2-Settings: x\r\n"
        );
        assert_eq!(upgrade_requested(&request("HTTP/1.1", &fields)), None, "{protocol}");
    }
}

#[test]
fn only_1_1_clients_wait_for_100() {
    assert!(expects_continue(&request("HTTP/1.1", "Expect: 100-Continue\r\n")));
    assert!(!expects_continue(&request("HTTP/1.0", "Expect: 100-continue\r\n")));
    assert!(!expects_continue(&request("HTTP/1.1", "Expect: 200-ok\r\n")));
}

#[test]
fn hop_by_hop_fields_go_in_both_directions() {
    let fields = "Connection: keep-alive, X-Hop\r\nKeep-Alive: 5\r\nX-Hop: 1\r\nProxy-Connection: a\r\n\
                  Upgrade: websocket\r\nX-End: 2\r\nTrailer: X-Sum\r\n";
    let mut head = request("HTTP/1.1", fields);
    strip_request_hops(&mut head.headers).unwrap();
    let names: Vec<&[u8]> = head.headers.iter().map(|(name, _)| name).collect();
    assert_eq!(names, [&b"Host"[..], b"X-End", b"Trailer"]);
    let mut head = response("200 OK", fields);
    strip_response_hops(&mut head.headers);
    let names: Vec<&[u8]> = head.headers.iter().map(|(name, _)| name).collect();
    assert_eq!(names, [&b"X-End"[..], b"Trailer"]);
}
