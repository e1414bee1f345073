//! Sessions that are resumed: on any shard, after a reload, and not for ever under old authorities.

use std::{fs, sync::Arc};

use rustls::{
    HandshakeKind,
    version::{TLS12, TLS13},
};

use super::{
    authority::{Authority, connect, session},
    certificates::plan,
};
use crate::proxy::{
    endpoint::{Endpoint, ok},
    rig::on_both,
};
use crate::scratch::Scratch;

#[test]
fn sessions_are_resumed_on_all_shards_and_over_reloads() {
    let authority = Authority::new("authority");
    let entry = authority.server("web", &["localhost"]);
    on_both(|driver| {
        let served = Endpoint::listen().serve(|_| ok("fine").into());
        let mut plan = plan(served.address, &[&entry], "");
        plan.shards = 2;
        let rig = plan.start(driver);
        for version in [&TLS12, &TLS13] {
            let config = Arc::new(authority.trusting_with(None, &[version]));
            let mut first = connect(&rig, &config, "localhost");
            assert_eq!(session(&first).handshake_kind(), Some(HandshakeKind::Full));
            first.get("/");
            for round in 0..20 {
                if round == 10 {
                    rig.admin().reload().unwrap();
                }
                // Each response brings tickets for the next connection, on whichever shard.
                let mut again = connect(&rig, &config, "localhost");
                assert_eq!(again.get("/").status(), 200);
                assert_eq!(session(&again).handshake_kind(), Some(HandshakeKind::Resumed));
            }
        }
        let accepted = rig.status().listeners[0].accepted;
        assert_eq!(accepted, 42);
    });
}

/// In the access log, and in every template.
#[test]
fn what_tls_agreed_on_is_told() {
    let (authority, clients) = (Authority::new("authority"), Authority::new("clients"));
    let entry = authority.server("web", &["localhost"]);
    let ask = format!(
        "alpn = ['h2', 'http/1.1']\ntls.client_auth = {{ mode = 'optional', ca = '{}' }}",
        clients.file().display()
    );
    on_both(|driver| {
        let served = Endpoint::listen()
            .serve(|request| ok(request.field("x-tls").unwrap_or("nothing")).into());
        let scratch = Scratch::new();
        let log = scratch.path("access.log");
        let all = "${tls.version}|${tls.cipher}|${tls.sni}|${tls.alpn}|${tls.resumed}|\
                   ${tls.client_subject}";
        let plan = plan(served.address, &[&entry], &ask)
            .route(&format!("headers.request = {{ set = {{ x-tls = '{all}' }} }}"))
            .more(&format!("[log]\naccess = {{ path = '{}', format = '{all}' }}", log.display()));
        let mut rig = plan.start(driver);
        let shown = clients.client("somebody");
        let mut config = authority.trusting_with(Some(shown), &[&TLS13]);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        let cipher = "TLS13_AES_256_GCM_SHA384";
        let mut expected = String::new();
        for resumed in [false, true] {
            let told = connect(&rig, &config, "localhost").get("/");
            let facts = format!("1.3|{cipher}|localhost|http/1.1|{resumed}|CN=somebody");
            assert_eq!(told.text(), facts);
            expected += &format!("{facts}\n");
        }
        // No name and no protocol are asked for, and no certificate is shown.
        let mut config = authority.trusting_with(None, &[&TLS12]);
        config.enable_sni = false;
        let told = connect(&rig, &Arc::new(config), "localhost").get("/");
        let cipher = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
        assert_eq!(told.text(), format!("1.2|{cipher}|||false|"));
        expected += &format!("1.2|{cipher}|-|-|false|-\n");
        rig.signal("TERM");
        assert!(rig.exited().success());
        assert_eq!(fs::read_to_string(&log).unwrap(), expected);
    });
}
