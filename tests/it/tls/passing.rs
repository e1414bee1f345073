//! One listener that ends TLS itself for some names and passes it through for others.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    process::Command,
    sync::Arc,
};

use super::{
    authority::{Authority, connect, shown, try_connect},
    certificates::plan,
    openssl::{GET, s_client},
};
use crate::{
    proxy::{
        endpoint::{Endpoint, ok},
        rig::on_both,
        wire::PATIENCE,
    },
    real::{is_there, missing},
};

/// A route of connections to `endpoint`, beside what the listener `web` serves.
fn vault(endpoint: std::net::SocketAddr) -> String {
    format!(
        "[upstream.vault]\nendpoints = ['{endpoint}']\n[[route]]\nname = 'vault'\n\
         listener = 'web'\nupstream = 'vault'\nmatch.sni = '*.vault.test'\n"
    )
}

#[test]
fn some_names_are_served_and_others_passed_through_on_one_listener() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let entry = ours.server("web", &["web.test"]);
    on_both(|driver| {
        let served = Endpoint::listen().serve(|_| ok("served").into());
        let inner = Endpoint::listen();
        let rig = plan(served.address, &[&entry], "").more(&vault(inner.address())).start(driver);
        // Ended here, by its certificate, for requests.
        let client = Arc::new(ours.trusting());
        let mut web = connect(&rig, &client, "web.test");
        assert_eq!(web.get("/").text(), "served");

        // Passed through: the endpoint's own certificate, and nothing is understood in between.
        let secret = theirs.endpoint(&["a.vault.test"], None);
        let trusting = Arc::new(theirs.trusting());
        std::thread::scope(|scope| {
            let told = scope.spawn(|| {
                let mut wire = inner.accept_secure(&secret);
                wire.expect("not HTTP");
                wire.send("neither");
                wire.say_goodbye();
            });
            let mut wire = try_connect(&rig, &trusting, "a.vault.test").unwrap();
            assert_ne!(shown(&wire), shown(&web));
            wire.send("not HTTP");
            assert_eq!(wire.exact(7), b"neither");
            told.join().unwrap();
        });
        // The served connection lives on, and a name that is nobody's is served, too.
        assert_eq!(web.get("/").text(), "served");
        let status = rig.status();
        assert_eq!(status.flows.len(), 1);
        assert_eq!(status.listeners[0].accepted, 2);
        assert!(try_connect(&rig, &client, "other.test").is_err(), "by a certificate for web.test");
    });
}

#[test]
fn what_is_no_hello_gets_an_alert_and_silence_a_reset() {
    let authority = Authority::new("authority");
    let entry = authority.server("web", &["web.test"]);
    on_both(|driver| {
        let served = Endpoint::listen().serve(|_| ok("served").into());
        let passing = "[[route]]\nname = 'vault'\nlistener = 'web'\nupstream = 'api'\n\
                       match.sni = 'vault.test'\n";
        let rig = plan(served.address, &[&entry], "limits.header_timeout = '300ms'")
            .more(passing)
            .start(driver);
        let open = || {
            let stream = TcpStream::connect_timeout(&rig.address, PATIENCE).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        };
        let mut plain = open();
        plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        plain.read_to_end(&mut answer).unwrap();
        assert_eq!(answer.first(), Some(&21), "an alert: {answer:?}");
        let silent = open().read_to_end(&mut Vec::new());
        assert_eq!(silent.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn openssl_and_curl_get_the_one_or_the_other_by_name() {
    for program in ["openssl", "curl"] {
        if !is_there(program) {
            return missing(program);
        }
    }
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let entry = ours.server("web", &["web.test"]);
    on_both(|driver| {
        let served = Endpoint::listen().serve(|_| ok("served here").into());
        let inner = Endpoint::listen();
        let address = inner.address();
        let secret = theirs.endpoint(&["a.vault.test"], None);
        let rig = plan(served.address, &[&entry], "alpn = ['h2', 'http/1.1']")
            .more(&vault(address))
            .start(driver);
        let curl = |authority: &Authority, name: &str| {
            let to = format!("{name}:{}:{}", rig.address.port(), rig.address.ip());
            let output = Command::new("curl")
                .args([
                    "-sS",
                    "--max-time",
                    "20",
                    "--resolve",
                    &to,
                    "-w",
                    " by HTTP/%{http_version}",
                ])
                .args(["--cacert", authority.file().to_str().unwrap()])
                .arg(format!("https://{name}:{}/", rig.address.port()))
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..3 {
                    let mut wire = inner.accept_secure(&secret);
                    wire.request();
                    wire.send(ok("served there"));
                    wire.say_goodbye();
                }
            });
            assert_eq!(curl(&ours, "web.test"), "served here by HTTP/2");
            assert_eq!(curl(&theirs, "a.vault.test"), "served there by HTTP/1.1");
            for version in ["-tls1_2", "-tls1_3"] {
                for (authority, name, told) in
                    [(&ours, "web.test", "served here"), (&theirs, "a.vault.test", "served there")]
                {
                    let args = [version, "-servername", name, "-verify_hostname", name, "-ign_eof"];
                    let said = s_client(&rig, authority, &args, GET);
                    assert!(said.contains(told), "{said}");
                    assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
                }
            }
        });
    });
}
