//! Certificates that clients show: who needs one, what upstreams are told, and that no connection
//! and no session reaches what asks for more than it did.

use std::sync::Arc;

use rustls::{
    ClientConfig,
    version::{TLS12, TLS13},
};

use super::{
    authority::{Authority, Shown, connect, session, try_connect},
    certificates::plan,
};
use crate::proxy::{
    endpoint::{Endpoint, Served, ok},
    rig::{Rig, on_both},
    wire::Message,
};

/// Answers with the fields that tell of a client's certificate.
fn telling() -> Served {
    Endpoint::listen().serve(|request| {
        let told =
            |name: &str| request.field(&format!("x-client-cert-{name}")).unwrap_or("-").to_owned();
        ok(&[told("subject"), told("san"), told("fingerprint").len().to_string()].join("|")).into()
    })
}

struct World {
    authority: Authority,
    clients: Authority,
    strangers: Authority,
    entries: [String; 3],
}

impl World {
    /// `open.test` asks for nothing, `maybe.test` may have a certificate, `strict.test` must.
    fn new() -> Self {
        let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
        let asks = |mode: &str| {
            format!("client_auth = {{ mode = '{mode}', ca = '{}' }}", clients.file().display())
        };
        let entries = [
            authority.server("open", &["open.test"]),
            format!("{}, {}", authority.server("maybe", &["maybe.test"]), asks("optional")),
            format!("{}, {}", authority.server("strict", &["strict.test"]), asks("required")),
        ];
        Self { authority, clients, strangers: Authority::new("strangers"), entries }
    }

    fn rig(&self, served: &Served, driver: &'static str) -> Rig {
        let entries: Vec<_> = self.entries.iter().map(String::as_str).collect();
        plan(served.address, &entries, "").start(driver)
    }

    fn client(&self, shown: Option<Shown>) -> Arc<ClientConfig> {
        Arc::new(self.authority.trusting_with(shown, &[&TLS13, &TLS12]))
    }
}

/// A request over a new connection to `name`; none when it is refused, in TLS 1.3 after what the
/// client takes for the end of its handshake.
fn ask(rig: &Rig, config: &Arc<ClientConfig>, name: &str, request: &str) -> Option<Message> {
    let mut client = try_connect(rig, config, name).ok()?;
    if !client.try_send(request) {
        return None;
    }
    // A refusal is an alert: an error here, and not yet bytes of a response.
    client.try_fill().ok()?;
    Some(client.response())
}

fn get(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[test]
fn a_certificate_is_asked_for_as_configured_and_its_facts_go_upstream() {
    let world = World::new();
    on_both(|driver| {
        let served = telling();
        let rig = world.rig(&served, driver);
        let none = world.client(None);
        let known = world.client(Some(world.clients.client("alice")));
        let stranger = world.client(Some(world.strangers.client("mallory")));
        let text = |config, name: &str| {
            ask(&rig, config, name, &get(name)).map(|response| response.text().to_owned())
        };
        let nobody = Some("-|-|1".to_owned());
        let alice = Some("CN=alice|DNS:client.test|64".to_owned());
        assert_eq!(text(&none, "open.test"), nobody);
        assert_eq!(text(&known, "open.test"), nobody);
        assert_eq!(text(&none, "maybe.test"), nobody);
        assert_eq!(text(&known, "maybe.test"), alice);
        assert_eq!(text(&stranger, "maybe.test"), None);
        assert_eq!(text(&none, "strict.test"), None);
        assert_eq!(text(&known, "strict.test"), alice);
        assert_eq!(text(&stranger, "strict.test"), None);
    });
}

#[test]
fn what_a_client_says_of_its_certificate_is_never_believed() {
    let world = World::new();
    on_both(|driver| {
        let served = telling();
        let rig = world.rig(&served, driver);
        let spoofed = |host: &str| {
            format!(
                "GET / HTTP/1.1\r\nHost: {host}\r\nX-Client-Cert-Subject: CN=root\r\n\
                 x-client-cert-san: DNS:root\r\nX-CLIENT-CERT-FINGERPRINT: 00\r\n\r\n"
            )
        };
        let answer = ask(&rig, &world.client(None), "open.test", &spoofed("open.test"));
        assert_eq!(answer.unwrap().text(), "-|-|1");
        let known = world.client(Some(world.clients.client("alice")));
        let answer = ask(&rig, &known, "strict.test", &spoofed("strict.test"));
        assert_eq!(answer.unwrap().text(), "CN=alice|DNS:client.test|64");
    });
}

#[test]
fn a_host_that_asks_for_more_than_its_connection_is_misdirected() {
    let world = World::new();
    on_both(|driver| {
        let served = telling();
        let rig = world.rig(&served, driver);
        let status = |config: &Arc<ClientConfig>, name: &str, host: &str| {
            ask(&rig, config, name, &get(host)).unwrap().status()
        };
        let none = world.client(None);
        let known = world.client(Some(world.clients.client("alice")));
        assert_eq!(status(&none, "open.test", "strict.test"), 421);
        assert_eq!(status(&none, "open.test", "STRICT.test.:443"), 421);
        assert_eq!(status(&none, "open.test", "maybe.test"), 421);
        assert_eq!(status(&none, "maybe.test", "strict.test"), 421);
        // The same authority, but another demand.
        assert_eq!(status(&known, "maybe.test", "strict.test"), 421);
        // Less may always be reached, and what no certificate is for is like the first.
        assert_eq!(status(&known, "strict.test", "open.test"), 200);
        assert_eq!(status(&none, "open.test", "unknown.test"), 200);
        assert_eq!(served.requests(), 2);
    });
}

/// haproxy and others resume a session that was made without a certificate where one is required.
#[test]
fn a_session_is_never_resumed_under_another_policy() {
    let world = World::new();
    on_both(|driver| {
        let served = telling();
        let rig = world.rig(&served, driver);
        for version in [&TLS12, &TLS13] {
            let config = |shown| Arc::new(world.authority.trusting_with(shown, &[version]));
            let open = config(None);
            for _ in 0..2 {
                connect(&rig, &open, "open.test").get("/");
            }
            let again = connect(&rig, &open, "open.test");
            assert_eq!(session(&again).handshake_kind(), Some(rustls::HandshakeKind::Resumed));
            // The very tickets of `open.test`, offered to `strict.test`: the client keeps them by
            // name, so it is told that they are for the other one.
            let mut stolen = world.authority.trusting_with(None, &[version]);
            stolen.resumption = rustls::client::Resumption::store(Arc::new(Renamed {
                from: "open.test",
                to: "strict.test",
                inner: rustls::client::ClientSessionMemoryCache::new(32),
            }));
            let stolen = Arc::new(stolen);
            for _ in 0..2 {
                connect(&rig, &stolen, "open.test").get("/");
            }
            let answer = ask(&rig, &stolen, "strict.test", &get("strict.test"));
            assert_eq!(answer, None, "{version:?}");
        }
    });
}

/// Gives the sessions of one name out for another's.
#[derive(Debug)]
struct Renamed {
    from: &'static str,
    to: &'static str,
    inner: rustls::client::ClientSessionMemoryCache,
}

impl Renamed {
    fn name(
        &self,
        name: &rustls::pki_types::ServerName<'_>,
    ) -> rustls::pki_types::ServerName<'static> {
        if name.to_str() == self.to {
            rustls::pki_types::ServerName::try_from(self.from).unwrap()
        } else {
            name.to_owned()
        }
    }
}

impl rustls::client::ClientSessionStore for Renamed {
    fn set_kx_hint(&self, name: rustls::pki_types::ServerName<'static>, group: rustls::NamedGroup) {
        self.inner.set_kx_hint(self.name(&name), group);
    }
    fn kx_hint(&self, name: &rustls::pki_types::ServerName<'_>) -> Option<rustls::NamedGroup> {
        self.inner.kx_hint(&self.name(name))
    }
    fn set_tls12_session(
        &self,
        name: rustls::pki_types::ServerName<'static>,
        value: rustls::client::Tls12ClientSessionValue,
    ) {
        self.inner.set_tls12_session(self.name(&name), value);
    }
    fn tls12_session(
        &self,
        name: &rustls::pki_types::ServerName<'_>,
    ) -> Option<rustls::client::Tls12ClientSessionValue> {
        self.inner.tls12_session(&self.name(name))
    }
    fn remove_tls12_session(&self, name: &rustls::pki_types::ServerName<'static>) {
        self.inner.remove_tls12_session(&self.name(name));
    }
    fn insert_tls13_ticket(
        &self,
        name: rustls::pki_types::ServerName<'static>,
        value: rustls::client::Tls13ClientSessionValue,
    ) {
        self.inner.insert_tls13_ticket(self.name(&name), value);
    }
    fn take_tls13_ticket(
        &self,
        name: &rustls::pki_types::ServerName<'static>,
    ) -> Option<rustls::client::Tls13ClientSessionValue> {
        self.inner.take_tls13_ticket(&self.name(name))
    }
}
