//! SSH and HTTP on one port: a TCP proxy of one's own that looks at the first bytes.
//!
//! `cargo run --example shared-port`, then `curl http://127.0.0.1:8022/`, `ssh -p 8022 127.0.0.1`.
use ringway::control::demo_upstream;
use ringway::l4::{ConnectionHandler, Downstream, Error, Forward};
use ringway::server::{L4Scope, Server};

struct ByFirstBytes {
    ssh: Forward,
    web: Forward,
}

impl ConnectionHandler for ByFirstBytes {
    async fn serve(&self, client: &Downstream) -> Result<(), Error> {
        let first = client.look(4).await?; // looked at, not taken: the endpoint gets them, too
        match &first[..] {
            [b'S', b'S', b'H', b'-', ..] => self.ssh.relay(client).await,
            [b'A'..=b'Z', ..] => self.web.relay(client).await,
            _ => Err(Error::Refused("neither SSH nor HTTP".to_owned())), // a reset
        }
    }
}

fn handler(shard: &L4Scope) -> Result<ByFirstBytes, Error> {
    Ok(ByFirstBytes { ssh: shard.forward("ssh")?, web: shard.forward("web")? })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let listen = args.next().unwrap_or_else(|| "127.0.0.1:8022".to_owned());
    let ssh = args.next().unwrap_or_else(|| "127.0.0.1:22".to_owned());
    let (ssh, web) = (ssh.parse()?, demo_upstream::start("a", 0)?);
    let server =
        Server::tcp(listen.parse()?, handler).upstream("ssh", [ssh]).upstream("web", [web]);
    Ok(server.log().serve()?)
}
