//! Real software through us: OpenSSL's client to two TLS servers by name.

use super::{L4, PATIENCE};
use crate::{
    proxy::rig::{on_both, own_address},
    real::{is_there, missing},
    scratch::Scratch,
};
use std::{
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Output, Stdio},
};

/// A server that ends with the test.
struct Server(Child);

impl Server {
    fn start(command: &mut Command, address: SocketAddr) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = Self(child.spawn().unwrap());
        let started = tokio::time::Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(server.0.try_wait().unwrap().is_none(), "the server has ended");
            assert!(started.elapsed() < PATIENCE, "the server doesn't listen");
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

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
