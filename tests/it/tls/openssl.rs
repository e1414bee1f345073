//! OpenSSL's client against us: another reading of the RFCs than rustls's on both ends.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use super::{authority::Authority, certificates::plan};
use crate::{
    proxy::{
        endpoint::{Endpoint, ok},
        rig::{Rig, on_both},
    },
    real::{is_there, missing},
    scratch::Scratch,
};

/// What `openssl s_client` says, both streams together, with `said` as its input. It asks for
/// `localhost` unless `args` say otherwise.
pub(super) fn s_client(rig: &Rig, authority: &Authority, args: &[&str], said: &str) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &rig.address.to_string(), "-servername", "localhost"])
        .args(["-verify_return_error", "-CAfile", authority.file().to_str().unwrap()])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that was refused reads nothing.
    drop(child.stdin.take().unwrap().write_all(said.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

pub(super) const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

fn with_rig(claim: impl Fn(&Rig, &Authority) + Sync) {
    if !is_there("openssl") {
        return missing("openssl");
    }
    let authority = Authority::new("authority");
    let entry = authority.server("web", &["localhost"]);
    on_both(|driver| {
        let served = Endpoint::listen().serve(|_| ok("fine").into());
        let rig = plan(served.address, &[&entry], "alpn = ['h2', 'http/1.1']\nlimits.idle = '2s'")
            .start(driver);
        claim(&rig, &authority);
    });
}

#[test]
fn both_versions_are_spoken_and_none_older() {
    with_rig(|rig, authority| {
        for (version, told) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
            let said = s_client(rig, authority, &[version, "-ign_eof"], GET);
            assert!(said.contains(&format!("New, {told}, Cipher is ")), "{said}");
            assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
            assert!(said.contains("HTTP/1.1 200 OK") && said.contains("fine"), "{said}");
        }
        // OpenSSL offers 1.1 only where its level of security is lowered.
        let said = s_client(rig, authority, &["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"], GET);
        assert!(said.contains("New, (NONE)") && said.contains("alert handshake failure"), "{said}");
    });
}

#[test]
fn a_session_is_resumed_in_both_versions() {
    with_rig(|rig, authority| {
        let scratch = Scratch::new();
        for version in ["-tls1_2", "-tls1_3"] {
            let file = scratch.path(version);
            let file = file.to_str().unwrap();
            let first = s_client(rig, authority, &[version, "-sess_out", file, "-ign_eof"], GET);
            assert!(first.contains("New, TLSv1."), "{first}");
            // RFC 5077 and RFC 8446 §4.6.1: how long it may be used.
            assert!(first.contains("ticket lifetime hint: 43200 (seconds)"), "{first}");
            let again = s_client(rig, authority, &[version, "-sess_in", file, "-ign_eof"], GET);
            assert!(again.contains("Reused, TLSv1.") && again.contains("fine"), "{again}");
        }
    });
}

/// CVE-2009-3555 and the load of it: TLS 1.3 has none, and in 1.2 we do none.
#[test]
fn renegotiation_is_refused() {
    with_rig(|rig, authority| {
        // `R` at the beginning of a line asks for it.
        let said = s_client(rig, authority, &["-tls1_2"], "R\n");
        assert!(said.contains("RENEGOTIATING"), "{said}");
        let is_refused = said.contains("no renegotiation") || said.contains("unexpected message");
        assert!(is_refused, "{said}");
    });
}

#[test]
fn the_protocol_is_agreed_on_or_the_handshake_fails() {
    with_rig(|rig, authority| {
        for (offered, agreed) in [
            ("h2,http/1.1", "ALPN protocol: h2"),
            ("http/1.1", "ALPN protocol: http/1.1"),
            ("spdy/3,http/1.1", "ALPN protocol: http/1.1"),
        ] {
            let said = s_client(rig, authority, &["-alpn", offered], "");
            assert!(said.contains(agreed), "{said}");
        }
        for version in ["-tls1_2", "-tls1_3"] {
            let said = s_client(rig, authority, &[version, "-alpn", "spdy/3"], "");
            assert!(said.contains("no application protocol"), "{said}");
        }
    });
}
