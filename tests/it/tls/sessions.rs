//! Sessions that are resumed: on any shard, after a reload, and not for ever under old authorities.

use std::sync::Arc;

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
