//! Which connection goes to which upstream, as the configuration says.
//!
//! ```text
//!   tcp   the listener's one route
//!   tls   exact server name ─▶ longest matching `*.name` ─▶ any          each: ALPN first, priority
//! ```
//! The names are in a table, so that thousands of routes cost one look each for the name and its
//! domains.

use std::{collections::HashMap, rc::Rc, sync::Arc};

use super::{
    error::Error,
    forward::{Forward, ForwardOptions},
    handler::{ConnectionHandler, Downstream},
    shard::Shard,
};
use crate::{
    config::{Action, Config, HostPattern, Layer, Protocol, RouteConfig, Specificity},
    protocol::client_hello::ClientHello,
    transport::{
        counters::{FlowCounters, PerShard},
        front::FrontError,
    },
    upstream::Upstream,
};

/// A configuration's L4 routes for one listener, with what they share over all shards.
#[derive(Debug)]
pub struct Plan {
    /// In the order of the configuration.
    pub routes: Vec<RoutePlan>,
    /// What the listener speaks.
    pub protocol: Protocol,
}

/// One route.
#[derive(Debug, Clone)]
pub struct RoutePlan {
    /// Its place in the configuration.
    pub index: usize,
    /// As configured.
    pub config: RouteConfig,
    /// Where it leads.
    pub upstream: Arc<Upstream>,
    /// Counts its connections.
    pub counters: Arc<PerShard<FlowCounters>>,
}

impl Plan {
    /// The routes of listener `index` of `config`. `upstreams` and `counters` are in the order of
    /// the configuration's upstreams and routes.
    #[must_use]
    pub fn new(
        config: &Config,
        index: usize,
        upstreams: &[Arc<Upstream>],
        counters: &[Arc<PerShard<FlowCounters>>],
    ) -> Self {
        let is_own = |route: &RouteConfig| {
            route.layer == Layer::L4
                && route.listeners.iter().flatten().any(|listener| *listener == index)
        };
        let routes = config.routes.iter().enumerate().filter(|(_, route)| is_own(route));
        let routes = routes.filter_map(|(index, route)| {
            let Action::Upstream(upstream) = route.action else { return None };
            Some(RoutePlan {
                index,
                config: route.clone(),
                upstream: Arc::clone(upstreams.get(upstream)?),
                counters: Arc::clone(counters.get(index)?),
            })
        });
        let protocol = config.listeners.get(index).map_or(Protocol::Tcp, |own| own.protocol);
        Self { routes: routes.collect(), protocol }
    }
}

/// The routes of one listener on one shard.
#[derive(Debug)]
pub struct Routes {
    protocol: Protocol,
    forwards: Vec<(usize, Forward)>,
    exact: HashMap<String, Vec<Way>>,
    suffixes: HashMap<String, Vec<Way>>,
    any: Vec<Way>,
}

/// One way to match a route, the most specific first in its list.
#[derive(Debug)]
struct Way {
    rank: Specificity,
    forward: usize,
    alpn: Rc<[Vec<u8>]>,
}

impl Routes {
    /// The routes of `plan` on `shard`.
    #[must_use]
    pub fn new(shard: &Shard, plan: &Plan) -> Self {
        let mut routes = Self {
            protocol: plan.protocol,
            forwards: Vec::new(),
            exact: HashMap::new(),
            suffixes: HashMap::new(),
            any: Vec::new(),
        };
        for route in &plan.routes {
            let config = &route.config;
            let options = ForwardOptions {
                connect: config.timeouts.connect,
                idle: config.timeouts.idle,
                attempts: config.retry.attempts,
            };
            let forward = Forward::new(shard, &route.upstream, options).counted(&route.counters);
            let place = routes.forwards.len();
            routes.forwards.push((route.index, forward));
            let alpn: Rc<[Vec<u8>]> =
                config.matches.alpn.iter().map(|name| name.clone().into_bytes()).collect();
            let way = |host: Option<&HostPattern>| Way {
                rank: config.matches.specificity(host, None, config.priority),
                forward: place,
                alpn: Rc::clone(&alpn),
            };
            if config.matches.hosts.is_empty() {
                routes.any.push(way(None));
            }
            for host in &config.matches.hosts {
                let (table, name) = match host {
                    HostPattern::Exact(name) => (&mut routes.exact, name),
                    HostPattern::Suffix(name) => (&mut routes.suffixes, name),
                };
                table.entry(name.clone()).or_default().push(way(Some(host)));
            }
        }
        let lists = routes.exact.values_mut().chain(routes.suffixes.values_mut());
        for list in lists.chain([&mut routes.any]) {
            list.sort_by(|one, other| other.rank.cmp(&one.rank));
        }
        routes
    }

    /// Whether a connection of a listener that also ends TLS itself is passed through. What says no
    /// hello that can be read isn't: the TLS server answers it as it should be.
    pub(super) async fn pass_through(&self, client: &Downstream) -> bool {
        match client.client_hello().await {
            Ok(hello) => self.by_hello(&hello).is_some(),
            Err(Error::Front(FrontError::Hello(_))) => false,
            // It has ended, or took too long: the handler will say so.
            Err(_) => true,
        }
    }

    /// The route of a TLS client.
    fn by_hello(&self, hello: &ClientHello) -> Option<usize> {
        let fits = |way: &&Way| {
            way.alpn.is_empty() || hello.alpn.iter().any(|name| way.alpn.contains(name))
        };
        let first = |list: Option<&Vec<Way>>| Some(list?.iter().find(fits)?.forward);
        let named = hello.server_name.as_deref().and_then(|name| {
            let mut domains = name.match_indices('.').filter(|(at, _)| *at > 0);
            first(self.exact.get(name)).or_else(|| {
                // The longest first: `a.b.c` is asked for as `.b.c`, then `.c`.
                domains.find_map(|(at, _)| first(self.suffixes.get(&name[at..])))
            })
        });
        named.or_else(|| first(Some(&self.any)))
    }
}

impl ConnectionHandler for Routes {
    async fn serve(&self, client: &Downstream) -> Result<(), Error> {
        let place = match self.protocol {
            Protocol::Tls | Protocol::Https => self.by_hello(&*client.client_hello().await?),
            _ => self.any.first().map(|way| way.forward),
        };
        let route = place.and_then(|place| self.forwards.get(place));
        let (index, forward) = route.ok_or(Error::NoRoute)?;
        client.trace.route.set(Some(*index));
        forward.relay(client).await
    }
}
