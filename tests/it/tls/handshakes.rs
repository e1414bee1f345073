//! Handshakes that go wrong: they cost little, end in time, and harm nobody else.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::Arc,
};

use super::{
    authority::{Authority, connect},
    certificates::plan,
};
use crate::proxy::{
    endpoint::{Endpoint, ok},
    rig::{Rig, on_both, timed},
    wire::{PATIENCE, Wire},
};

fn raw(rig: &Rig) -> TcpStream {
    let stream = TcpStream::connect_timeout(&rig.address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What comes until the end, a reset being one.
fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return bytes,
            Ok(length) => bytes.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return bytes,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_client_that_stalls_is_closed_in_time_and_others_are_served() {
    let authority = Authority::new("authority");
    let entry = authority.server("web", &["localhost"]);
    on_both(|driver| {
        let served = Endpoint::listen().serve(|_| ok("fine").into());
        // More stalled clients than there are ring buffers.
        let mut plan = plan(served.address, &[&entry], "tls.handshake_timeout = '1s'");
        plan.runtime = "buffers = { count = 16, size = '4KiB' }".to_owned();
        let rig = plan.start(driver);
        let stalled: Vec<_> = (0..64)
            .map(|index| {
                let mut stream = raw(&rig);
                if index % 2 == 0 {
                    stream.write_all(&[22, 3, 1, 2, 0, 1, 0]).unwrap();
                }
                stream
            })
            .collect();
        let config = Arc::new(authority.trusting());
        assert_eq!(connect(&rig, &config, "localhost").get("/").status(), 200);
        let ((), took) =
            timed(|| stalled.into_iter().for_each(|stream| assert_eq!(rest(stream), b"")));
        assert!(took < PATIENCE / 2, "{took:?}");
    });
}

#[test]
fn what_is_no_tls_gets_an_alert() {
    let authority = Authority::new("authority");
    let entries = [
        authority.server("a", &["a.test"]),
        // A second policy: the ClientHello is looked at first.
        format!(
            "{}, client_auth = {{ mode = 'required', ca = '{}' }}",
            authority.server("b", &["b.test"]),
            authority.file().display()
        ),
    ];
    on_both(|driver| {
        let served = Endpoint::listen().serve(|_| ok("fine").into());
        for entries in [&entries[..1], &entries[..]] {
            let entries: Vec<_> = entries.iter().map(String::as_str).collect();
            let rig = plan(served.address, &entries, "").start(driver);
            let junk: [&[u8]; 5] = [
                b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
                &[0; 64],
                &[22, 3, 1, 0xff, 0xff, 1, 0, 0, 0],
                &[22, 3, 1, 0, 5, 2, 0, 0, 1, 0],
                &[21, 3, 1, 0, 2, 2, 40],
            ];
            for bytes in junk {
                let mut stream = raw(&rig);
                stream.write_all(bytes).unwrap();
                let told = rest(stream);
                let is_alert = told.first() == Some(&21) && told.len() == 7;
                assert!(is_alert || bytes[0] == 21, "{bytes:x?} got {told:x?}");
            }
            assert_eq!(served.requests(), 0);
        }
    });
}

#[test]
fn a_client_hello_without_end_is_refused() {
    let authority = Authority::new("authority");
    let entries = [
        authority.server("a", &["a.test"]),
        format!(
            "{}, client_auth = {{ mode = 'required', ca = '{}' }}",
            authority.server("b", &["b.test"]),
            authority.file().display()
        ),
    ];
    on_both(|driver| {
        let served = Endpoint::listen().serve(|_| ok("fine").into());
        for entries in [&entries[..1], &entries[..]] {
            let entries: Vec<_> = entries.iter().map(String::as_str).collect();
            let rig = plan(served.address, &entries, "").start(driver);
            let mut stream = raw(&rig);
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            // A ClientHello of nearly 64 KiB, which TLS allows, in records of a kilobyte, and on.
            let mut record = vec![22, 3, 1, 4, 0, 1, 0, 0xff, 0xf0];
            record.resize(5 + 1024, 0);
            let mut sent = 0;
            while stream.write_all(&record).is_ok() {
                sent += 1;
                assert!(sent < 64 << 10, "64 MB were taken");
                record.splice(5..9, [0; 4]);
            }
        }
    });
}

#[test]
fn too_many_handshakes_at_a_time_are_refused() {
    let authority = Authority::new("authority");
    let entry = authority.server("web", &["localhost"]);
    on_both(|driver| {
        let served = Endpoint::listen().serve(|_| ok("fine").into());
        let rig = plan(served.address, &[&entry], "tls.handshakes = 2").start(driver);
        let config = Arc::new(authority.trusting());
        let mut kept = connect(&rig, &config, "localhost");
        let held = [raw(&rig), raw(&rig)];
        // They are in their handshake when the next is refused: accepts are in order.
        // The reset may come before the client's kernel has told of the connection.
        match TcpStream::connect_timeout(&rig.address, PATIENCE) {
            Ok(stream) => assert_eq!(rest(stream), b""),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        assert_eq!(kept.get("/").status(), 200);
        drop(held);
        let (wire, _) = timed(|| {
            loop {
                if let Ok(wire) = super::authority::try_connect(&rig, &config, "localhost") {
                    break wire;
                }
            }
        });
        let mut wire: Wire = wire;
        assert_eq!(wire.get("/").status(), 200);
    });
}
