//! `protocol = "auto"`: endpoints say by ALPN what they speak.

use std::sync::Arc;

use ringway::protocol::h2::Limits;
use rustls::ServerConfig;

use super::authority::Authority;
use crate::proxy::{
    endpoint::{Endpoint, ok},
    h2_wire::H2,
    rig::{Plan, Rig, on_both},
    wire::Wire,
};

fn plan(endpoint: &Endpoint, authority: &Authority) -> Plan {
    let mut plan = Plan::to(&[endpoint.address()]);
    let ca = authority.file();
    plan.upstream +=
        &format!("\nprotocol = 'auto'\ntls = {{ sni = 'api.test', ca = '{}' }}", ca.display());
    plan
}

fn ask(rig: &Rig, path: &str) -> Wire {
    let mut client = rig.client();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    client
}

fn accept_h2(endpoint: &Endpoint, config: &Arc<ServerConfig>) -> H2 {
    let mut server = H2::server_on(endpoint.accept_secure(config), Limits::default());
    server.flush();
    server
}

/// What the endpoint is said to speak.
fn spoken(rig: &Rig) -> Option<String> {
    let status = rig.status();
    let upstream = status.upstreams.first().unwrap();
    assert_eq!(upstream.protocol.as_deref(), Some("auto"));
    upstream.endpoints.first().unwrap().spoken.clone()
}

#[test]
fn an_endpoint_that_speaks_http2_gets_it() {
    let authority = Authority::new("authority");
    let config = authority.endpoint_speaking(&["h2", "http/1.1"]);
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = plan(&endpoint, &authority).start(driver);
        assert_eq!(spoken(&rig), None);
        let mut first = ask(&rig, "/first");
        let mut server = accept_h2(&endpoint, &config);
        let stream = server.accept();
        let mut second = ask(&rig, "/second");
        let other = server.accept();
        server.ok(other, "two");
        server.ok(stream, "one");
        assert_eq!(first.response().text(), "one");
        assert_eq!(second.response().text(), "two");
        assert_eq!(spoken(&rig).as_deref(), Some("h2"));
        endpoint.untouched();
    });
}

/// The connection that was made to find out is the one that carries the request.
#[test]
fn an_endpoint_that_doesnt_gets_http1_on_the_same_connection() {
    let authority = Authority::new("authority");
    for protocols in [&["http/1.1"][..], &[]] {
        let config = authority.endpoint_speaking(protocols);
        on_both(|driver| {
            let endpoint = Endpoint::listen();
            let rig = plan(&endpoint, &authority).start(driver);
            let mut client = rig.client();
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nsmall");
            let mut wire = endpoint.accept_secure(&config);
            assert_eq!(wire.request().text(), "small");
            wire.send(ok("one"));
            assert_eq!(client.response().text(), "one");
            assert_eq!(spoken(&rig).as_deref(), Some("http/1.1"));
            // Kept, and good for a body that is streamed and for none.
            client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            client.send("3\r\nabc\r\n");
            assert!(wire.head().starts_with("PUT / "));
            wire.expect("3\r\nabc\r\n");
            client.send("0\r\n\r\n");
            wire.expect("0\r\n\r\n");
            wire.send(ok("two"));
            assert_eq!(client.response().text(), "two");
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(wire.request().field("content-length"), None);
            wire.send(ok("three"));
            assert_eq!(client.response().text(), "three");
            endpoint.untouched();
        });
    }
}

#[test]
fn a_large_body_reaches_an_endpoint_that_was_thought_to_speak_http2() {
    let authority = Authority::new("authority");
    let config = authority.endpoint_speaking(&["http/1.1"]);
    let body = "0123456789".repeat(10_000);
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = plan(&endpoint, &authority).start(driver);
        let mut client = rig.client();
        let length = body.len();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
        client.send(&body);
        let mut wire = endpoint.accept_secure(&config);
        assert!(wire.request().text() == body);
        wire.send(ok("whole"));
        assert_eq!(client.response().text(), "whole");
    });
}

#[test]
fn an_endpoint_may_change_its_mind() {
    let authority = Authority::new("authority");
    let (old, new) =
        (authority.endpoint_speaking(&["http/1.1"]), authority.endpoint_speaking(&["h2"]));
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = plan(&endpoint, &authority).start(driver);
        let mut client = ask(&rig, "/");
        let mut wire = endpoint.accept_secure(&old);
        wire.request();
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nold");
        assert_eq!(client.response().text(), "old");
        // Upgraded meanwhile. The first connection is meant for HTTP/1.1, the second isn't.
        let mut client = ask(&rig, "/");
        let mut meant_for_old = endpoint.accept_secure(&new);
        assert_eq!(meant_for_old.try_fill().unwrap_or(0), 0);
        let mut server = accept_h2(&endpoint, &new);
        let stream = server.accept();
        server.ok(stream, "new");
        assert_eq!(client.response().text(), "new");
        assert_eq!(spoken(&rig).as_deref(), Some("h2"));
        // And back: the connection that was meant for HTTP/2 serves.
        server.close();
        let mut client = ask(&rig, "/");
        let mut wire = endpoint.accept_secure(&old);
        wire.request();
        wire.send(ok("old again"));
        assert_eq!(client.response().text(), "old again");
        endpoint.untouched();
    });
}

#[test]
fn a_probe_asks_in_what_the_endpoint_speaks() {
    let authority = Authority::new("authority");
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let mut plan = plan(&endpoint, &authority);
        plan.upstream += "\nhealth = { http = '/healthz', interval = '20s', timeout = '10s' }";
        let rig = plan.start(driver);
        let mut server = accept_h2(&endpoint, &authority.endpoint_speaking(&["h2", "http/1.1"]));
        let stream = server.accept();
        let asked = server.heard[&stream].asked.clone().unwrap();
        assert_eq!((&*asked.0, &*asked.1), ("GET", "/healthz"));
        drop(rig);
        let rig = plan.start(driver);
        let mut wire = endpoint.accept_secure(&authority.endpoint_speaking(&["http/1.1"]));
        assert!(wire.request().head.starts_with("GET /healthz HTTP/1.1\r\n"));
        drop(rig);
    });
}
