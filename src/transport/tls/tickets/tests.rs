//! Keys and handshakes while the hours pass.

use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
    crypto::aws_lc_rs::default_provider,
    pki_types::{PrivateKeyDer, ServerName},
    version::{TLS12, TLS13},
};

use super::*;
use crate::runtime::now_uncached;

const HOUR: Duration = Duration::from_secs(3_600);

fn policy() -> Policy {
    Policy::default()
}

#[test]
fn a_ticket_opens_until_its_lifetime_is_over_and_not_much_longer() {
    let start = now_uncached();
    let mut keys = TicketKeys::default();
    let ticket = |keys: &mut TicketKeys, now| keys.of(policy(), now).unwrap().encrypt(b"session");
    let opens = |keys: &TicketKeys, ticket: &[u8]| {
        let opened = keys.get(policy()).unwrap().decrypt(ticket);
        assert!(opened.as_deref().is_none_or(|opened| opened == b"session"));
        opened.is_some()
    };
    let first = ticket(&mut keys, start).unwrap();
    // The last one that the same key makes.
    let last = ticket(&mut keys, start + 6 * HOUR - Duration::from_secs(1)).unwrap();
    assert_eq!(first[..NAME_BYTES], last[..NAME_BYTES]);
    // The control thread looks every few minutes.
    let mut rotations = 0;
    for minutes in (0..18 * 60).step_by(5) {
        let now = start + Duration::from_secs(minutes * 60);
        rotations += u32::from(keys.rotate(now).unwrap());
        assert!(opens(&keys, &first) && opens(&keys, &last), "after {minutes} min");
    }
    assert_eq!(rotations, 2);
    let newest = keys.get(policy()).unwrap().encrypt(b"session").unwrap();
    assert_ne!(newest[..NAME_BYTES], first[..NAME_BYTES]);
    assert!(keys.rotate(start + 18 * HOUR).unwrap());
    assert!(!opens(&keys, &first) && !opens(&keys, &last) && opens(&keys, &newest));
    assert_eq!(keys.0[&policy()].keys.len(), 3);
}

#[test]
fn keys_are_kept_over_a_reload_and_not_for_ever_without_use() {
    let start = now_uncached();
    let mut keys = TicketKeys::default();
    let ticket = keys.of(policy(), start).unwrap().encrypt(b"session").unwrap();
    keys.begin();
    assert_eq!(
        keys.of(policy(), start).unwrap().decrypt(&ticket).as_deref(),
        Some(&b"session"[..])
    );
    // Gone from the configuration, and back in time.
    keys.begin();
    assert!(!keys.rotate(start + 10 * HOUR).unwrap());
    let mut back = keys.clone();
    let again = back.of(policy(), start + 10 * HOUR).unwrap();
    assert!(again.decrypt(&ticket).is_some());
    assert_ne!(again.encrypt(b"").unwrap()[..NAME_BYTES], ticket[..NAME_BYTES]);
    // Gone for good.
    assert!(keys.rotate(start + 18 * HOUR).unwrap());
    assert!(keys.get(policy()).is_none());
}

#[test]
fn what_isnt_a_ticket_of_ours_opens_nothing() {
    let start = now_uncached();
    let mut keys = TicketKeys::default();
    let ours = keys.of(policy(), start).unwrap();
    let ticket = ours.encrypt(b"session").unwrap();
    for length in 0..ticket.len() {
        assert_eq!(ours.decrypt(&ticket[..length]), None, "{length}");
    }
    for at in 0..ticket.len() {
        let mut changed = ticket.clone();
        changed[at] ^= 1;
        assert_eq!(ours.decrypt(&changed), None, "{at}");
    }
    let others = TicketKeys::default().of(policy(), start).unwrap();
    assert_eq!(others.decrypt(&ticket), None);
    // The same session sealed twice doesn't look the same.
    assert_ne!(ours.encrypt(b"session"), ours.encrypt(b"session"));
}

struct World {
    server: ServerConfig,
    roots: RootCertStore,
}

impl World {
    fn new() -> Self {
        let issued = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let chain = vec![issued.cert.der().clone()];
        let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(issued.cert.der().clone()).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self { server, roots }
    }

    /// A client with sessions of its own.
    fn client(&self, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[version])
            .unwrap();
        let roots = self.roots.clone();
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    }

    /// One handshake while `keys` are in use.
    fn shake(&self, client: &Arc<ClientConfig>, keys: &TicketKeys) -> HandshakeKind {
        let mut config = self.server.clone();
        config.ticketer = keys.get(policy()).unwrap();
        let mut server = ServerConnection::new(Arc::new(config)).unwrap();
        let name = ServerName::try_from("a.test").unwrap();
        let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
        for _ in 0..8 {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            server.read_tls(&mut &*wire).unwrap();
            server.process_new_packets().unwrap();
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            client.read_tls(&mut &*wire).unwrap();
            client.process_new_packets().unwrap();
        }
        server.handshake_kind().unwrap()
    }
}

#[test]
fn sessions_are_resumed_over_rotations_until_their_lifetime_is_over() {
    let world = World::new();
    for version in [&TLS12, &TLS13] {
        let start = now_uncached();
        let mut keys = TicketKeys::default();
        drop(keys.of(policy(), start).unwrap());
        let [steady, early, late] = [(); 3].map(|()| world.client(version));
        for client in [&steady, &early, &late] {
            assert_eq!(world.shake(client, &keys), HandshakeKind::Full);
        }
        for hour in 1..=18 {
            keys.rotate(start + hour * HOUR).unwrap();
            // Whoever comes back gets a newer ticket each time.
            assert_eq!(world.shake(&steady, &keys), HandshakeKind::Resumed, "{hour} h");
            if hour == 11 {
                assert_eq!(world.shake(&early, &keys), HandshakeKind::Resumed);
            }
        }
        assert_eq!(world.shake(&late, &keys), HandshakeKind::Full);
    }
}
