//! TLS towards endpoints: whom we believe, what we show, and that a connection is used again.

use rcgen::{ExtendedKeyUsagePurpose, PKCS_ECDSA_P256_SHA256};

use super::authority::{Authority, for_names};
use crate::proxy::{
    endpoint::{Endpoint, ok, spawn},
    rig::{Plan, Rig, on_both},
    wire::{End, Message},
};

/// Everything goes to `endpoint`, reached by `tls`.
fn rig(endpoint: &Endpoint, tls: &str, driver: &'static str) -> Rig {
    let mut plan = Plan::to(&[endpoint.address()]);
    plan.upstream += &format!("\ntls = {{ {tls} }}");
    // The handshake is a part of it, and the endpoint here is a thread of a busy machine.
    plan.route = "timeouts = { connect = '20s' }\nretry = { attempts = 0 }".to_owned();
    plan.start(driver)
}

/// What the client gets while `endpoint` fails in its handshake.
fn refused(endpoint: &Endpoint, authority: &Authority, names: &[&str], rig: &Rig) -> Message {
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut connection = endpoint.accept_secure(&authority.endpoint(names, None));
    // An alert, or the end.
    assert!(connection.try_fill().map_or(true, |length| length == 0));
    client.response()
}

#[test]
fn an_endpoint_is_believed_by_authority_and_name_only() {
    let (authority, stranger) = (Authority::new("authority"), Authority::new("stranger"));
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let ca = format!("ca = '{}'", authority.file().display());
        let rig = rig(&endpoint, &format!("sni = 'api.test', {ca}"), driver);
        let wrong_name = refused(&endpoint, &authority, &["other.test"], &rig);
        assert_eq!(wrong_name.status(), 502, "{wrong_name:?}");
        let wrong_authority = refused(&endpoint, &stranger, &["api.test"], &rig);
        assert_eq!(wrong_authority.status(), 502, "{wrong_authority:?}");

        let config = authority.endpoint(&["api.test"], None);
        let mut client = rig.client();
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut upstream = endpoint.accept_secure(&config);
        upstream.request();
        upstream.send(ok("first"));
        assert_eq!(client.response().text(), "first");
        // The same connection again, although tickets came on it while it was idle.
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        upstream.request();
        upstream.send(ok("second"));
        assert_eq!(client.response().text(), "second");
        endpoint.untouched();
    });
}

#[test]
fn without_a_name_the_address_must_be_in_the_certificate() {
    let authority = Authority::new("authority");
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = rig(&endpoint, &format!("ca = '{}'", authority.file().display()), driver);
        let named = refused(&endpoint, &authority, &["localhost"], &rig);
        assert_eq!(named.status(), 502);
        let mut client = rig.client();
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut upstream = endpoint.accept_secure(&authority.endpoint(&["127.0.0.1"], None));
        upstream.request();
        upstream.send(ok("fine"));
        assert_eq!(client.response().text(), "fine");
    });
}

#[test]
fn verification_is_off_only_where_that_is_said() {
    let stranger = Authority::new("stranger");
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = rig(&endpoint, "danger_skip_verification = true", driver);
        let mut client = rig.client();
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut upstream = endpoint.accept_secure(&stranger.endpoint(&["whoever.test"], None));
        upstream.request();
        upstream.send(ok("fine"));
        assert_eq!(client.response().text(), "fine");
        assert!(rig.count_logged(&["doesn't verify endpoints"]) > 0);
    });
}

#[test]
fn an_endpoint_that_asks_is_shown_our_certificate() {
    let (authority, ours) = (Authority::new("authority"), Authority::new("ours"));
    let mut params = for_names(&["proxy.test"]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let (cert, key) = ours.issue(params, &PKCS_ECDSA_P256_SHA256);
    let shown = ours.write("proxy", &cert, &key);
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let ca = authority.file();
        let tls = format!("sni = 'api.test', ca = '{}', {shown}", ca.display());
        let rig = rig(&endpoint, &tls, driver);
        let mut client = rig.client();
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut upstream = endpoint.accept_secure(&authority.endpoint(&["api.test"], Some(&ours)));
        upstream.request();
        upstream.send(ok("fine"));
        assert_eq!(client.response().text(), "fine");
    });
}

/// The end of a connection ends a body well only if the endpoint said that it is the end.
#[test]
fn a_body_that_is_cut_without_close_notify_is_broken() {
    let authority = Authority::new("authority");
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let tls = format!("sni = 'api.test', ca = '{}'", authority.file().display());
        let rig = rig(&endpoint, &tls, driver);
        let config = authority.endpoint(&["api.test"], None);
        for is_said in [true, false] {
            let mut client = rig.client();
            client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let mut upstream = endpoint.accept_secure(&config);
            upstream.request();
            upstream.send("HTTP/1.1 200 OK\r\n\r\nhello");
            if is_said {
                upstream.say_goodbye();
            }
            drop(upstream);
            client.head();
            client.expect("5\r\nhello\r\n");
            if is_said {
                client.expect("0\r\n\r\n");
            } else {
                assert!(matches!(client.ended(), End::Closed | End::Reset));
            }
        }
    });
}

#[test]
fn large_bodies_pass_encrypted_on_both_ways() {
    let authority = Authority::new("authority");
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let tls = format!("sni = 'api.test', ca = '{}'", authority.file().display());
        let rig = rig(&endpoint, &tls, driver);
        let body: Vec<u8> = (0..3_000_001_u32).map(|at| (at % 251) as u8).collect();
        let mut client = rig.client();
        let length = body.len();
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        let mut sender = client.stream.try_clone().unwrap();
        let sent = [head.into_bytes(), body.clone()].concat();
        let sending = spawn(move || std::io::Write::write_all(&mut sender, &sent));
        let mut upstream = endpoint.accept_secure(&authority.endpoint(&["api.test"], None));
        assert!(upstream.request().body == body);
        sending.join().unwrap().unwrap();
        let answer = std::thread::scope(|scope| {
            let reading = scope.spawn(|| client.response());
            upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"));
            upstream.send(&body);
            reading.join().unwrap()
        });
        assert!(answer.body == body);
    });
}
