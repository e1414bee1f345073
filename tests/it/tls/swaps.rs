//! Certificates that are replaced under a running ringway.

use std::{fs, sync::Arc};

use rcgen::PKCS_ECDSA_P256_SHA256;

use super::{
    authority::{Authority, connect, for_names, shown},
    certificates::plan,
};
use crate::proxy::{
    endpoint::{Endpoint, ok},
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
        let is_over = Arc::new(std::sync::atomic::AtomicBool::new(false));
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..4)
                .map(|_| {
                    let (rig, config, is_over) = (rig.address, &config, Arc::clone(&is_over));
                    scope.spawn(move || {
                        let mut count = 0;
                        while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                            let mut wire =
                                super::authority::connect_to(rig, config, "localhost").unwrap();
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
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            let answered: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
            assert!(answered > 100, "{answered}");
        });
        // The connection from before all of that.
        let mut kept = kept;
        assert_eq!(kept.get("/").status(), 200);
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
