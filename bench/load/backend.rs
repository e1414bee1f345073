//! A backend for wrk, h2load and oha: one thread, kept-alive HTTP/1.1, bodies by path (`/1k`,
//! `/64k`, `/1m`). Sleeps when there's nothing to do. `bench-backend ADDRESS`, until it's killed.

#[path = "parts/serve.rs"]
mod serve;
#[path = "parts/wire.rs"]
mod wire;

use std::{env, error::Error, io};

use mio::{Events, Poll};

fn main() -> Result<(), Box<dyn Error>> {
    let address =
        env::args().nth(1).ok_or("usage: bench-backend ADDRESS, such as 127.0.0.1:9000")?;
    let mut poll = Poll::new()?;
    let mut serve = serve::Serve::bind(address.parse()?, poll.registry(), 0)?;
    let mut events = Events::with_capacity(1024);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &events {
            serve.handle(poll.registry(), event)?;
        }
    }
}
