//! OpenSSL's client to two of its servers, by name.

use std::process::{Command, Output, Stdio};

use crate::{
    l4::L4,
    proxy::rig::{on_both, own_address},
    real::{Server, is_there, missing},
    scratch::Scratch,
};

fn openssl(args: &[&str]) -> Output {
    Command::new("openssl").args(args).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn openssl_reaches_each_of_two_servers_by_its_name() {
    if !is_there("openssl") {
        return missing("openssl");
    }
    let scratch = Scratch::new();
    let mut servers = Vec::new();
    for name in ["a.test", "b.test"] {
        let (cert, key) = (text(&scratch, name, "pem"), text(&scratch, name, "key"));
        let subject = format!("/CN={name}");
        let made = openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            &subject,
            "-keyout",
            &key,
            "-out",
            &cert,
        ]);
        assert!(made.status.success(), "{made:?}");
        let address = own_address();
        let accept = address.to_string();
        let server = Server::start(
            Command::new("openssl")
                .args(["s_server", "-accept", &accept, "-cert", &cert, "-key", &key, "-quiet"]),
            address,
        );
        servers.push((name, address, server));
    }
    on_both(|driver| {
        let mut l4 = L4::new("tls", &[servers[0].1], "", "match.sni = 'a.test'", "");
        l4.text += &format!(
            "[upstream.b]\nendpoints = ['{}']\n[[route]]\nname = 'b'\nlistener = 'l4'\n\
             upstream = 'b'\nmatch.sni = '*.test'\n",
            servers[1].1
        );
        let _rig = l4.start(driver);
        for name in ["a.test", "b.test"] {
            let to = l4.address.to_string();
            let said = openssl(&["s_client", "-connect", &to, "-servername", name]);
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            assert!(said.contains(&format!("CN = {name}")), "{name}: {said}");
            assert!(said.contains("TLSv1.3"), "{said}");
        }
    });
}

fn text(scratch: &Scratch, name: &str, kind: &str) -> String {
    scratch.path(&format!("{name}.{kind}")).to_str().unwrap().to_owned()
}
