//! A proxy of one's own: request ids, a rate limit, and a filter that counts.
//!
//! `cargo run --example hello-proxy`, then `curl -i http://127.0.0.1:8080/`.
use std::cell::Cell;

use ringway::control::demo_upstream;
use ringway::{
    Error, Filter, Handler, RateLimit, Request, RequestIdFilter, Response, Server, ShardScope,
};

/// Tells the endpoint who asks, and the client how many this shard has answered.
struct Hello {
    shard: u16,
    answered: Cell<u64>,
}

impl Filter for Hello {
    async fn filter(&self, req: &mut Request, next: &impl Handler) -> Result<Response, Error> {
        req.headers.set("x-hello", "from a proxy of my own")?;
        let res = next.handle(req).await?;
        self.answered.set(self.answered.get() + 1);
        Ok(res.with("x-answered", format!("{} by shard {}", self.answered.get(), self.shard)))
    }
}

fn pipeline(shard: &ShardScope) -> Result<impl Handler + use<>, Error> {
    let limit = RateLimit::per_ip("100/min".parse()?, shard); // exact over all shards
    let hello = Hello { shard: shard.id(), answered: Cell::new(0) };
    Ok((RequestIdFilter::default(), limit, hello).around(shard.forward("web")?))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let web = [demo_upstream::start("a", 0)?, demo_upstream::start("b", 0)?]; // yours are elsewhere
    Server::listen(listen.parse()?).upstream("web", web).log().run(pipeline)?;
    Ok(())
}
