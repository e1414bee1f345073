//! Certificates that are replaced under a running ringway.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use rcgen::PKCS_ECDSA_P256_SHA256;
use ringway::protocol::h2::Limits;

use super::{
    authority::{Authority, connect, connect_to, for_names, shown, try_connect},
    certificates::plan,
};
use crate::proxy::{
    endpoint::{Endpoint, ok},
    h2_wire::H2,
    rig::on_both,
};

#[test]
fn swaps_and_reloads_under_load_fail_no_request() {
    let authority = Authority::new("authority");
    on_both(|driver| {
        let file = format!("web-{driver}");
        let entry = authority.server(&file, &["localhost"]);
        let served = Endpoint::listen().serve(|_| ok("fine").into());
        let mut plan = plan(served.address, &[&entry], "");
        plan.shards = 2;
        let rig = plan.start(driver);
        let config = Arc::new(authority.trusting());
        let kept = {
            let mut wire = connect(&rig, &config, "localhost");
            assert_eq!(wire.get("/").status(), 200);
            wire
        };
        let is_over = Arc::new(AtomicBool::new(false));
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..4)
                .map(|_| {
                    let (rig, config, is_over) = (rig.address, &config, Arc::clone(&is_over));
                    scope.spawn(move || {
                        let mut count = 0;
                        while !is_over.load(Relaxed) {
                            let mut wire = connect_to(rig, config, "localhost").unwrap();
                            for _ in 0..5 {
                                assert_eq!(wire.get("/").status(), 200);
                                count += 1;
                            }
                        }
                        count
                    })
                })
                .collect();
            for round in 0..10 {
                let (cert, key) =
                    authority.issue(for_names(&["localhost"]), &PKCS_ECDSA_P256_SHA256);
                authority.write(&file, &cert, &key);
                // Some are noticed without being told.
                if round % 5 == 0 {
                    rig.logged(&["certificates were read again"]);
                }
                rig.admin().reload().unwrap();
                rig.admin().reload().unwrap();
            }
            is_over.store(true, Relaxed);
            let answered: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
            assert!(answered > 100, "{answered}");
        });
        // The connection from before all of that.
        let mut kept = kept;
        assert_eq!(kept.get("/").status(), 200);
    });
}

/// Streams of connections that live through it all, and of new ones.
#[test]
fn swaps_and_reloads_fail_no_stream_of_http2() {
    let authority = Authority::new("authority");
    on_both(|driver| {
        let file = format!("h2-{driver}");
        let entry = authority.server(&file, &["localhost"]);
        let served = Endpoint::listen().serve(|_| ok("fine").into());
        let mut plan = plan(served.address, &[&entry], "alpn = ['h2', 'http/1.1']");
        plan.shards = 2;
        let rig = plan.start(driver);
        let mut config = authority.trusting();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (config, is_over) = (Arc::new(config), AtomicBool::new(false));
        let answers = AtomicUsize::new(0);
        let ask = |rounds: usize| {
            let wire = connect_to(rig.address, &config, "localhost").unwrap();
            let mut client = H2::client_on(wire, Limits::default());
            let mut answered = 0;
            for _ in 0..rounds {
                let streams: Vec<_> = (0..8).map(|n| client.get(&format!("/{n}"))).collect();
                for stream in streams {
                    let heard = client.whole(stream);
                    assert_eq!((heard.status, heard.text()), (200, "fine"));
                    answered += 1;
                }
                client.heard.clear();
                if is_over.load(Relaxed) {
                    break;
                }
            }
            assert!(client.farewells.is_empty(), "{:?}", client.farewells);
            answered
        };
        std::thread::scope(|scope| {
            let long = scope.spawn(|| ask(usize::MAX));
            let short: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        while !is_over.load(Relaxed) {
                            answers.fetch_add(ask(10), Relaxed);
                        }
                    })
                })
                .collect();
            // Ten at least, and as many as some load needs to come by on a busy machine.
            for round in 0..1000 {
                if round >= 10 && answers.load(Relaxed) > 100 {
                    break;
                }
                let issued = authority.issue(for_names(&["localhost"]), &PKCS_ECDSA_P256_SHA256);
                authority.write(&file, &issued.0, &issued.1);
                rig.admin().reload().unwrap();
                rig.admin().reload().unwrap();
            }
            is_over.store(true, Relaxed);
            short.into_iter().for_each(|one| one.join().unwrap());
            let answered = answers.load(Relaxed);
            assert!(long.join().unwrap() > 8 && answered > 100, "{answered}");
        });
    });
}

#[test]
fn a_wrong_file_is_told_once_and_the_old_certificate_stays() {
    let authority = Authority::new("authority");
    on_both(|driver| {
        let file = format!("web-{driver}");
        let entry = authority.server(&file, &["localhost"]);
        let served = Endpoint::listen().serve(|_| ok("fine").into());
        let rig = plan(served.address, &[&entry], "").start(driver);
        let config = Arc::new(authority.trusting());
        let before = shown(&connect(&rig, &config, "localhost"));
        let good = fs::read(authority.scratch.path(&format!("{file}.pem"))).unwrap();
        fs::write(authority.scratch.path(&format!("{file}.pem")), "nothing").unwrap();
        rig.logged(&["certificates stay as they are", "has no certificate in PEM"]);
        assert_eq!(shown(&connect(&rig, &config, "localhost")), before);
        let (cert, key) = authority.issue(for_names(&["localhost"]), &PKCS_ECDSA_P256_SHA256);
        assert_ne!(cert.as_bytes(), good);
        authority.write(&file, &cert, &key);
        rig.logged(&["certificates were read again"]);
        assert_eq!(rig.count_logged(&["certificates stay as they are"]), 0);
        let after = connect(&rig, &config, "localhost");
        assert_ne!(shown(&after), before);
        // And who asks is told of the new one.
        let listed = &rig.status().certificates;
        assert_eq!(listed.len(), 1);
        assert_eq!((&*listed[0].names[0], listed[0].default), ("localhost", true));
        assert!(listed[0].expires_in > 0);
    });
}

#[test]
fn who_may_come_in_is_the_same_behind_a_swap() {
    let authority = Authority::new("authority");
    on_both(|driver| {
        let file = format!("gated-{driver}");
        let entry = authority.server(&file, &["localhost"]);
        let served = Endpoint::listen().serve(|_| ok("fine").into());
        let rig = plan(served.address, &[&entry], "proxy_protocol = { from = ['127.0.0.0/8'] }")
            .start(driver);
        let config = Arc::new(authority.trusting());
        assert!(try_connect(&rig, &config, "localhost").is_err(), "without a PROXY header");
        let (cert, key) = authority.issue(for_names(&["localhost"]), &PKCS_ECDSA_P256_SHA256);
        authority.write(&file, &cert, &key);
        rig.logged(&["certificates were read again"]);
        // The shard hears of it a moment later: each try is a new connection.
        for _ in 0..20 {
            assert!(try_connect(&rig, &config, "localhost").is_err(), "behind the swap");
        }
        assert_eq!(rig.status().listeners[0].open, 0);
    });
}
