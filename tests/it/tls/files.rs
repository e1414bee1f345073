//! Files that aren't what they should be: told by `ringway check` and at a reload, with the place
//! that names the file; what runs goes on.

use std::{fs, process::Command, sync::Arc};

use rcgen::{PKCS_ECDSA_P256_SHA256, date_time_ymd};

use super::{
    authority::{Authority, connect, for_names},
    certificates::plan,
};
use crate::proxy::{
    endpoint::{Endpoint, ok},
    rig::on_both,
};

/// What `ringway check` says of a listener with this `tls` table; the certificate's folder is `.`.
fn check(authority: &Authority, tls: &str) -> String {
    let file = authority.scratch.path("ringway.toml");
    let text = format!(
        "version = 1\n[listener.web]\naddress = '127.0.0.1:443'\nprotocol = 'https'\n{tls}\n\
         [[route]]\nname = 'all'\nrespond = {{}}\n"
    );
    fs::write(&file, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["check", "-c", file.to_str().unwrap()])
        .output()
        .unwrap();
    let told = [output.stdout, output.stderr].concat();
    let folder = format!("{}/", authority.scratch.directory().display());
    String::from_utf8(told).unwrap().replace(&folder, "")
}

#[test]
fn every_wrong_file_is_told_with_its_place_and_why() {
    let authority = Authority::new("authority");
    let write = |name: &str, text: &str| fs::write(authority.scratch.path(name), text).unwrap();
    authority.server("good", &["localhost"]);
    authority.server("other", &["localhost"]);
    let dated = |from: i32, to: i32| {
        let mut params = for_names(&["localhost"]);
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        authority.issue(params, &PKCS_ECDSA_P256_SHA256)
    };
    for (name, from, to) in [("old", 2001, 2002), ("new", 3001, 3002)] {
        let (cert, key) = dated(from, to);
        authority.write(name, &cert, &key);
    }
    write("empty.pem", "");
    write("junk.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    write("broken.pem", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n");
    write(
        "locked.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let pair = |cert: &str, key: &str| {
        check(&authority, &format!("tls.certificates = [{{ cert = '{cert}', key = '{key}' }}]"))
    };
    let at = |column: u32, key: &str, file: &str, why: &str| {
        format!(
            "error: ringway.toml:5:{column}: listener `web`: tls.certificates.{key} `{file}` ({file}) {why}\n"
        )
    };
    assert_eq!(
        pair("good.pem", "other.key"),
        at(48, "key", "other.key", "isn't the key of the certificate in good.pem")
    );
    for (cert, why) in [
        ("none.pem", "can't be read: No such file or directory (os error 2)"),
        (".", "is a directory"),
        ("empty.pem", "has no certificate in PEM (`-----BEGIN CERTIFICATE-----`)"),
        ("good.key", "has no certificate in PEM (`-----BEGIN CERTIFICATE-----`)"),
        ("old.pem", "expired at 2002-01-01T00:00:00Z"),
        ("new.pem", "isn't valid before 3001-01-01T00:00:00Z"),
    ] {
        let key = cert.replace(".pem", ".key");
        let key = if authority.scratch.path(&key).is_file() { &key } else { "good.key" };
        assert_eq!(pair(cert, key), at(30, "cert", cert, why));
    }
    for (cert, why) in [("junk.pem", "isn't a certificate: "), ("broken.pem", "isn't PEM: ")] {
        let told = pair(cert, "good.key");
        assert!(told.starts_with(at(30, "cert", cert, why).trim_end()), "{told}");
    }
    for (key, why) in [
        ("none.key", "can't be read: No such file or directory (os error 2)"),
        ("good.pem", "has no private key in PEM (`-----BEGIN PRIVATE KEY-----`)"),
        ("locked.key", "is encrypted; decrypt it, such as by `openssl pkey`"),
    ] {
        assert_eq!(pair("good.pem", key), at(48, "key", key, why));
    }
    let good = "tls.certificates = [{ cert = 'good.pem', key = 'good.key', ocsp = 'good.pem' }]";
    let told = check(&authority, good);
    assert_eq!(told, at(67, "ocsp", "good.pem", "isn't an OCSP response in DER"));
    let auth = "tls.certificates = [{ cert = 'good.pem', key = 'good.key' }]\n\
                tls.client_auth = { mode = 'required', ca = 'empty.pem' }";
    assert_eq!(
        check(&authority, auth),
        "error: ringway.toml:6:45: listener `web`: tls.client_auth.ca `empty.pem` (empty.pem) has no certificate in PEM \
         (`-----BEGIN CERTIFICATE-----`)\n"
    );
    assert!(pair("good.pem", "good.key").starts_with("ringway.toml: ok, "));
}

#[test]
fn a_reload_with_a_wrong_file_changes_nothing() {
    let authority = Authority::new("authority");
    let entry = authority.server("web", &["localhost"]);
    let (cert, _) = authority.issue(for_names(&["localhost"]), &PKCS_ECDSA_P256_SHA256);
    on_both(|driver| {
        let served = Endpoint::listen().serve(|_| ok("fine").into());
        let rig = plan(served.address, &[&entry], "").start(driver);
        let wrong = authority.write(&format!("wrong-{driver}"), &cert, "");
        rig.rewrite(&plan(served.address, &[&wrong], ""));
        let told = rig.admin().reload().unwrap_err().to_string();
        assert!(told.contains(&format!("wrong-{driver}.key")), "{told}");
        assert!(told.contains("has no private key"), "{told}");
        let config = Arc::new(authority.trusting());
        assert_eq!(connect(&rig, &config, "localhost").get("/").status(), 200);
    });
}
