//! Takes a connection to an endpoint of an upstream and relays it.
//!
//! ```text
//!   pick ─▶ dial ─▶ announce (PROXY header) ─▶ relay
//!     ▲      │ failed: nothing of the client was sent
//!     └──────┘ another endpoint, up to `attempts` times
//! ```

use std::{fmt, rc::Rc, sync::Arc, time::Duration};

use super::{error::Error, handler::Downstream, shard::Shard};
use crate::{
    balance::{Key, Tried},
    base::address::UNIX_CLIENT,
    config::ProxyVersion,
    protocol::proxy_protocol::{Addresses, Announcement, Transport, encode_v1, encode_v2},
    runtime,
    transport::{
        counters::{FlowCounters, PerShard},
        relay::{End, relay},
    },
    upstream::{Dial, Lent, Outcome, Pool, Upstream, announce_probe},
};

/// How connections are forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardOptions {
    /// How long connecting to one endpoint may take. Default: 5 s.
    pub connect: Duration,
    /// After this much silence in both directions the connection is reset. Default: 10 min.
    pub idle: Duration,
    /// How many other endpoints are tried when connecting fails. Default: 1.
    pub attempts: u32,
}

impl Default for ForwardOptions {
    fn default() -> Self {
        let (connect, idle) = (Duration::from_secs(5), Duration::from_secs(600));
        Self { connect, idle, attempts: 1 }
    }
}

/// Forwards connections to an upstream. One per shard, upstream and set of options.
pub struct Forward {
    pool: Rc<Pool>,
    options: ForwardOptions,
    name: Rc<str>,
    counters: Option<Arc<PerShard<FlowCounters>>>,
}

impl Forward {
    /// Forwards to `upstream`.
    #[must_use]
    pub fn new(shard: &Shard, upstream: &Arc<Upstream>, options: ForwardOptions) -> Self {
        let pool = shard.pools().open(upstream);
        Self { pool, options, name: upstream.config.name.as_str().into(), counters: None }
    }

    /// Counts retries at a route.
    pub(super) fn counted(mut self, counters: &Arc<PerShard<FlowCounters>>) -> Self {
        self.counters = Some(Arc::clone(counters));
        self
    }

    /// Connects to an endpoint and relays until the end.
    ///
    /// # Errors
    /// No endpoint could be had, or the relay ended badly.
    pub async fn relay(&self, client: &Downstream) -> Result<(), Error> {
        *client.trace.upstream.borrow_mut() = Some(Rc::clone(&self.name));
        let lent = self.connect(client).await?;
        let since = runtime::now().saturating_duration_since(client.started);
        client.trace.connected.set(Some(since));
        let Some(endpoint) = lent.stream().as_plain() else { return Err(Error::NoPlain) };
        match relay(&client.stream, endpoint, None, self.options.idle, &client.moved).await {
            End::Closed => Ok(()),
            end => Err(Error::Relay(end)),
        }
    }

    /// A connection to an endpoint, announced if the upstream wants so.
    ///
    /// # Errors
    /// The last attempt's.
    pub async fn connect(&self, client: &Downstream) -> Result<Lent, Error> {
        let key = self.pool.wants_key().then(|| Key::of_ip(client.client.ip()));
        let mut tried = Tried::new();
        loop {
            let picked = self.pool.pick(&mut tried, key);
            let index = picked.map_err(|_| Error::NoEndpoint(self.name.to_string()))?;
            client.trace.attempts.set(tried.attempts());
            let upstream = self.pool.upstream();
            client.trace.endpoint.set(upstream.endpoints.get(index).map(|own| own.address));
            match self.pool.dial_for_one(index, self.dial(client)).await {
                Ok(lent) => {
                    // The connection was taken: failures in a row are over.
                    self.pool.report(index, Outcome::Answered);
                    return Ok(lent);
                }
                Err(error) if tried.attempts() > self.options.attempts => return Err(error.into()),
                Err(_) => {
                    let counters = self.counters.as_ref();
                    if let Some(own) = counters.and_then(|own| own.shard(client.shard.id())) {
                        own.retries.increment();
                    }
                }
            }
        }
    }

    fn dial(&self, client: &Downstream) -> Dial {
        let config = &self.pool.upstream().config;
        Dial {
            timeout: self.options.connect,
            from: (config.transparent && client.client.ip() != UNIX_CLIENT)
                .then_some(client.client),
            preface: config.proxy_protocol.map(|version| announce(version, client)),
        }
    }
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward").field("upstream", &self.name).finish_non_exhaustive()
    }
}

/// The PROXY header for a client's connection.
fn announce(version: ProxyVersion, client: &Downstream) -> Vec<u8> {
    let destination = match client.local_addr() {
        Ok(destination) if client.client.ip() != UNIX_CLIENT => destination,
        // A Unix socket's client has no address, one that is gone will have no connection.
        _ => return announce_probe(version),
    };
    let mut wire = Vec::with_capacity(128);
    let addresses = Addresses { source: client.client, destination };
    if version == ProxyVersion::V1 {
        encode_v1(&addresses, &mut wire);
        return wire;
    }
    // What is known here goes before what was announced to us.
    let hello = client.hello.borrow();
    let taken = client.header.as_ref();
    let said = |range: Option<std::ops::Range<usize>>| taken?.bytes.get(range?);
    let header = taken.map(|taken| taken.header.clone()).unwrap_or_default();
    let own = client.id.to_be_bytes();
    let name = hello.as_ref().and_then(|hello| hello.server_name.as_deref());
    let alpn = hello.as_ref().and_then(|hello| hello.alpn.first());
    let announcement = Announcement {
        addresses,
        transport: Transport::Stream,
        alpn: alpn.map(Vec::as_slice).or_else(|| said(header.alpn)),
        authority: name.map(str::as_bytes).or_else(|| said(header.authority)),
        unique_id: said(header.unique_id).or(Some(&own)),
    };
    encode_v2(&announcement, &mut wire);
    wire
}
