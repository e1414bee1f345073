//! Which certificate a client gets, in which version, and what the bytes behind it are.

use std::sync::Arc;

use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use rustls::{
    NamedGroup, ProtocolVersion,
    version::{TLS12, TLS13},
};

use super::authority::{Authority, connect, session, shown, try_connect};
use crate::proxy::{
    endpoint::{Endpoint, ok},
    rig::{Plan, on_both},
    wire::End,
};

/// Everything goes to `endpoint`, over TLS with these certificates.
pub(super) fn plan(endpoint: std::net::SocketAddr, certificates: &[&str], more: &str) -> Plan {
    let list: Vec<_> = certificates.iter().map(|one| format!("{{ {one} }}")).collect();
    Plan::to(&[endpoint])
        .listener(&format!("protocol = 'https'\ntls.certificates = [{}]\n{more}", list.join(", ")))
}

#[test]
fn both_versions_are_spoken_and_the_newest_group_is_agreed_on() {
    let authority = Authority::new("authority");
    let entry = authority.server("web", &["localhost"]);
    on_both(|driver| {
        let served = Endpoint::listen()
            .serve(|request| ok(request.field("x-forwarded-proto").unwrap_or("none")).into());
        let rig = plan(served.address, &[&entry], "").start(driver);
        for (version, number) in
            [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
        {
            let config = Arc::new(authority.trusting_with(None, &[version]));
            let mut client = connect(&rig, &config, "localhost");
            assert_eq!(session(&client).protocol_version(), Some(number));
            for _ in 0..3 {
                assert_eq!(client.get("/").text(), "https");
            }
            let group = session(&client).negotiated_key_exchange_group().unwrap().name();
            let newest = if number == ProtocolVersion::TLSv1_3 {
                NamedGroup::X25519MLKEM768
            } else {
                NamedGroup::X25519
            };
            assert_eq!(group, newest);
        }
    });
}

#[test]
fn an_older_version_than_the_least_is_refused() {
    let authority = Authority::new("authority");
    let entry = authority.server("web", &["localhost"]);
    on_both(|driver| {
        let served = Endpoint::listen().serve(|_| ok("fine").into());
        let rig = plan(served.address, &[&entry], "tls.min_version = '1.3'").start(driver);
        let old = Arc::new(authority.trusting_with(None, &[&TLS12]));
        let error = try_connect(&rig, &old, "localhost").unwrap_err();
        assert!(error.to_string().contains("ProtocolVersion"), "{error}");
        let new = Arc::new(authority.trusting());
        assert_eq!(connect(&rig, &new, "localhost").get("/").status(), 200);
    });
}

#[test]
fn a_certificate_is_chosen_by_name_then_by_first_label_then_the_first() {
    let authority = Authority::new("authority");
    let entries = [
        authority.server("first", &["localhost", "127.0.0.1"]),
        authority.server("a", &["a.test"]),
        authority.server("b", &["b.test", "*.b.test"]),
        authority.server("x", &["x.b.test"]),
    ];
    on_both(|driver| {
        let served = Endpoint::listen().serve(|_| ok("fine").into());
        let entries: Vec<_> = entries.iter().map(String::as_str).collect();
        let rig = plan(served.address, &entries, "").start(driver);
        let config = Arc::new(authority.trusting());
        let chosen = |name: &str| shown(&connect(&rig, &config, name));
        // The client itself holds the certificate against the name that it asked for.
        let all = ["localhost", "a.test", "b.test", "x.b.test"].map(chosen);
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "certificate {index} twice");
        }
        assert_eq!(chosen("y.b.test"), all[2]);
        // An address is no server name: the first certificate.
        assert_eq!(chosen("127.0.0.1"), all[0]);
        let unknown = try_connect(&rig, &config, "unknown.test").unwrap_err();
        assert!(unknown.to_string().contains("not valid for name"), "{unknown}");
    });
}

#[test]
fn a_name_with_two_kinds_of_keys_gets_what_the_client_understands() {
    let authority = Authority::new("authority");
    let entries = [
        authority.server_with("ec", &["localhost"], &PKCS_ECDSA_P256_SHA256),
        authority.server_with("rsa", &["localhost"], &PKCS_RSA_SHA256),
    ];
    on_both(|driver| {
        let served = Endpoint::listen().serve(|_| ok("fine").into());
        let rig = plan(served.address, &[&entries[0], &entries[1]], "").start(driver);
        let any = Arc::new(authority.trusting());
        let first = shown(&connect(&rig, &any, "localhost"));
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        let is_rsa = |suite: &rustls::SupportedCipherSuite| format!("{suite:?}").contains("_RSA_");
        provider.cipher_suites.retain(is_rsa);
        let config = authority.trusting_by(provider, None, &[&TLS12]);
        let rsa = connect(&rig, &Arc::new(config), "localhost");
        assert_ne!(shown(&rsa), first);
    });
}

#[test]
fn unknown_names_are_refused_where_that_is_asked_for() {
    let authority = Authority::new("authority");
    let entry = authority.server("web", &["localhost", "127.0.0.1"]);
    on_both(|driver| {
        let served = Endpoint::listen().serve(|_| ok("fine").into());
        let rig = plan(served.address, &[&entry], "tls.reject_unknown_sni = true").start(driver);
        let config = Arc::new(authority.trusting());
        assert_eq!(connect(&rig, &config, "localhost").get("/").status(), 200);
        assert_eq!(connect(&rig, &config, "127.0.0.1").get("/").status(), 200);
        assert!(try_connect(&rig, &config, "unknown.test").is_err());
    });
}

#[test]
fn alpn_is_agreed_on_or_the_handshake_fails() {
    let authority = Authority::new("authority");
    let entry = authority.server("web", &["localhost"]);
    on_both(|driver| {
        let served = Endpoint::listen().serve(|_| ok("fine").into());
        let rig = plan(served.address, &[&entry], "alpn = ['http/1.1']").start(driver);
        let offering = |names: &[&str]| {
            let mut config = authority.trusting();
            config.alpn_protocols = names.iter().map(|name| name.as_bytes().to_vec()).collect();
            try_connect(&rig, &Arc::new(config), "localhost")
        };
        let mut both = offering(&["spdy/3", "http/1.1"]).unwrap();
        assert_eq!(session(&both).alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(both.get("/").status(), 200);
        assert_eq!(offering(&[]).unwrap().get("/").status(), 200);
        let error = offering(&["spdy/3"]).unwrap_err();
        assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    });
}

#[test]
fn large_bodies_go_through_both_ways() {
    let authority = Authority::new("authority");
    let entry = authority.server("web", &["localhost"]);
    on_both(|driver| {
        let served = Endpoint::listen().serve(|request| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
            [head.as_bytes(), &request.body].concat()
        });
        let rig = plan(served.address, &[&entry], "").start(driver);
        for version in [&TLS12, &TLS13] {
            let config = Arc::new(authority.trusting_with(None, &[version]));
            let mut client = connect(&rig, &config, "localhost");
            for length in [0, 1, 16_383, 16_384, 16_385, 40_000, 131_073, 1_000_000, 5_000_003] {
                let body: Vec<u8> = (0..length)
                    .map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
                    .collect();
                let head = format!(
                    "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
                );
                // What lies behind the body belongs to the next request.
                let next = b"GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n";
                client.send([head.as_bytes(), &body, next].concat());
                let response = client.response();
                assert!(response.body == body, "{length} bytes");
                assert_eq!(client.response().text(), "");
            }
        }
    });
}

#[test]
fn a_body_that_ends_with_its_connection_ends_by_close_notify() {
    let authority = Authority::new("authority");
    let entry = authority.server("web", &["localhost"]);
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = plan(endpoint.address(), &[&entry], "").start(driver);
        let config = Arc::new(authority.trusting());
        let mut client = connect(&rig, &config, "localhost");
        client.send("GET / HTTP/1.0\r\nHost: localhost\r\n\r\n");
        let mut upstream = endpoint.accept();
        upstream.request();
        upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        upstream.send("5\r\nwhole\r\n0\r\n\r\n");
        client.head();
        assert_eq!(client.rest(), (b"whole".to_vec(), End::Closed));
        // And one that breaks off doesn't.
        let mut client = connect(&rig, &config, "localhost");
        client.send("GET / HTTP/1.0\r\nHost: localhost\r\n\r\n");
        upstream.request();
        upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        upstream.send("5\r\nwhole\r\n");
        client.head();
        client.expect("whole");
        drop(upstream);
        assert_ne!(client.ended(), End::Closed);
    });
}
