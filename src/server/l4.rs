//! From a snapshot to what a shard's L4 listeners serve by: the configuration's routes, or handlers
//! that a program has made for a listener.

use std::{collections::BTreeMap, fmt, net::SocketAddr, rc::Rc, sync::Arc};

use crate::{
    base::access::AccessFormat,
    config::{ListenerConfig, Protocol},
    l4::{
        ConnectionHandler, DynConnectionHandler, Error, FlowForward, FlowPlan, Forward,
        ForwardOptions, ListenerPlan, Otherwise, Plan, Routes, Service, Shard, Steer, flows,
    },
    proxy::Snapshot,
    runtime::{PooledFuture, TcpStream},
    transport::{
        Place,
        counters::{FlowCounters, PerShard},
        entrance::Entrance,
    },
};

/// What an L4 handler is made from: one shard and one snapshot. A program's closure gets it once
/// per shard and configuration.
#[derive(Debug)]
pub struct L4Scope {
    shard: Rc<Shard>,
    snapshot: Arc<Snapshot>,
}

impl L4Scope {
    /// The shard's number, from 0.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.shard.id()
    }

    /// Forwards connections to the upstream of that name, with the default timeouts.
    ///
    /// # Errors
    /// There is no such upstream.
    pub fn forward(&self, upstream: &str) -> Result<Forward, Error> {
        self.forward_with(upstream, ForwardOptions::default())
    }

    /// Forwards connections to the upstream of that name, as `options` says.
    ///
    /// # Errors
    /// There is no such upstream.
    pub fn forward_with(&self, upstream: &str, options: ForwardOptions) -> Result<Forward, Error> {
        let found = self.snapshot.upstream(upstream);
        let found = found.ok_or_else(|| Error::NoUpstream(upstream.to_owned()))?;
        Ok(Forward::new(&self.shard, found, options))
    }

    /// Forwards UDP flows to the upstream of that name.
    ///
    /// # Errors
    /// There is no such upstream.
    pub fn forward_flows(&self, upstream: &str) -> Result<Rc<FlowForward>, Error> {
        let found = self.snapshot.upstream(upstream);
        let found = found.ok_or_else(|| Error::NoUpstream(upstream.to_owned()))?;
        Ok(Rc::new(FlowForward::new(&self.shard, found)))
    }
}

type Made<T> = dyn Fn(&L4Scope) -> Result<Rc<T>, Error> + Send + Sync;

/// What a program has to say about its L4 listeners, by their names.
#[derive(Clone, Default)]
pub(super) struct Makers {
    connections: BTreeMap<String, Arc<Made<dyn DynConnectionHandler>>>,
    flows: BTreeMap<String, Arc<Made<dyn Steer>>>,
}

impl Makers {
    pub(super) fn connections<H, F>(&mut self, listener: &str, make: F)
    where
        H: ConnectionHandler + 'static,
        F: Fn(&L4Scope) -> Result<H, Error> + Send + Sync + 'static,
    {
        let make = move |scope: &L4Scope| {
            let handler: Rc<dyn DynConnectionHandler> = Rc::new(make(scope)?);
            Ok(handler)
        };
        self.connections.insert(listener.to_owned(), Arc::new(make));
    }

    pub(super) fn flows<S, F>(&mut self, listener: &str, make: F)
    where
        S: Steer + 'static,
        F: Fn(&L4Scope) -> Result<S, Error> + Send + Sync + 'static,
    {
        let make = move |scope: &L4Scope| {
            let steer: Rc<dyn Steer> = Rc::new(make(scope)?);
            Ok(steer)
        };
        self.flows.insert(listener.to_owned(), Arc::new(make));
    }
}

impl fmt::Debug for Makers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.connections.keys().chain(self.flows.keys()).collect();
        f.debug_tuple("Makers").field(&names).finish()
    }
}

/// What the L4 listeners of a shard serve by.
#[derive(Debug, Default)]
pub(super) struct Plans {
    pub(super) streams: Vec<ListenerPlan>,
    pub(super) flows: Vec<FlowPlan>,
    /// Of listeners that end TLS themselves, by name: what they pass through.
    pub(super) passing: BTreeMap<String, Passing>,
}

/// What an HTTPS listener passes through: a plan that lacks who serves the rest.
#[derive(Debug)]
pub(super) struct Passing {
    plan: ListenerPlan,
    routes: Rc<Routes>,
}

impl Passing {
    /// Passes through what its routes take, and gives everything else to `serve`.
    pub(super) fn service(
        self,
        shard: &Rc<Shard>,
        serve: impl Fn(TcpStream, SocketAddr, Place) -> PooledFuture<'static, ()> + 'static,
    ) -> Rc<Service> {
        let otherwise = Some(Otherwise { routes: self.routes, serve: Rc::new(serve) });
        Service::new(shard, ListenerPlan { otherwise, ..self.plan })
    }
}

impl Plans {
    /// The plans of `snapshot` on `shard`.
    ///
    /// # Errors
    /// What a program's closure says.
    pub(super) fn new(
        shard: &Rc<Shard>,
        snapshot: &Arc<Snapshot>,
        makers: &Makers,
    ) -> Result<Self, Error> {
        let scope = L4Scope { shard: Rc::clone(shard), snapshot: Arc::clone(snapshot) };
        let config = &snapshot.config;
        let log = config.log.access.as_ref().map(|log| (log.format.clone(), log.sample));
        let names = config.routes.iter().map(|route| route.name.clone());
        let routes: Rc<[_]> = names.zip(snapshot.flows.iter().map(Arc::clone)).collect();
        let mut plans = Self::default();
        for (index, listener) in config.listeners.iter().enumerate() {
            if listener.forward.is_some() {
                continue;
            }
            let making = Making { scope: &scope, index, listener, log: &log };
            match listener.protocol {
                Protocol::Tcp | Protocol::Tls => {
                    plans.streams.extend(making.stream(&routes, makers)?);
                }
                Protocol::Udp => plans.flows.extend(making.flow(makers)?),
                Protocol::Https => {
                    let passing = making.passing(&routes);
                    plans.passing.extend(passing.map(|plan| (listener.name.clone(), plan)));
                }
                Protocol::Http => {}
            }
        }
        Ok(plans)
    }
}

struct Making<'m> {
    scope: &'m L4Scope,
    index: usize,
    listener: &'m ListenerConfig,
    log: &'m Option<(AccessFormat, f64)>,
}

type NamedCounters = Rc<[(String, Arc<PerShard<FlowCounters>>)]>;

impl Making<'_> {
    fn stream(
        &self,
        routes: &NamedCounters,
        makers: &Makers,
    ) -> Result<Option<ListenerPlan>, Error> {
        let handler: Rc<dyn DynConnectionHandler> =
            match makers.connections.get(&self.listener.name) {
                Some(make) => make(self.scope)?,
                None => Rc::new(Routes::new(&self.scope.shard, &self.routes())),
            };
        Ok(self.plan(routes, handler))
    }

    /// What an HTTPS listener passes through, if there is anything.
    fn passing(&self, routes: &NamedCounters) -> Option<Passing> {
        let own = self.routes();
        if own.routes.is_empty() {
            return None;
        }
        let own = Rc::new(Routes::new(&self.scope.shard, &own));
        let handler: Rc<dyn DynConnectionHandler> = Rc::new(Rc::clone(&own));
        Some(Passing { plan: self.plan(routes, handler)?, routes: own })
    }

    fn plan(
        &self,
        routes: &NamedCounters,
        handler: Rc<dyn DynConnectionHandler>,
    ) -> Option<ListenerPlan> {
        let (snapshot, listener) = (&self.scope.snapshot, self.listener);
        let (gate, counters) =
            (snapshot.gates.get(self.index)?, snapshot.listeners.get(self.index)?);
        Some(ListenerPlan {
            name: listener.name.as_str().into(),
            protocol: listener.protocol,
            entrance: Entrance {
                gate: Arc::clone(gate),
                first_bytes: listener.limits.header_timeout,
            },
            handler,
            counters: Arc::clone(counters),
            routes: Rc::clone(routes),
            log: self.log.clone(),
            otherwise: None,
        })
    }

    fn flow(&self, makers: &Makers) -> Result<Option<FlowPlan>, Error> {
        let (snapshot, listener) = (&self.scope.snapshot, self.listener);
        let (Some(gate), Some(counters)) =
            (snapshot.gates.get(self.index), snapshot.listeners.get(self.index))
        else {
            return Ok(None);
        };
        let route = self.routes().routes.into_iter().next();
        let idle = route.as_ref().map(|route| route.config.timeouts.idle);
        let steer: Option<Rc<dyn Steer>> = match makers.flows.get(&listener.name) {
            Some(make) => Some(make(self.scope)?),
            None => route.map(|route| {
                let forward = FlowForward::new(&self.scope.shard, &route.upstream);
                let attempts = route.config.retry.attempts;
                let forward = forward.of_route(&route.config.name, &route.counters, attempts);
                let steer: Rc<dyn Steer> = Rc::new(Rc::new(forward));
                steer
            }),
        };
        let default = crate::config::Timeouts::of_l4(Protocol::Udp).idle;
        Ok(Some(FlowPlan {
            name: listener.name.as_str().into(),
            gate: Arc::clone(gate),
            limits: flows::Limits {
                flows_max: listener.flows.flows as usize,
                idle: idle.unwrap_or(default),
                replies: listener.flows.replies,
            },
            steer,
            counters: Arc::clone(counters),
            log: self.log.clone(),
            upstreams: snapshot.upstreams.clone(),
        }))
    }

    fn routes(&self) -> Plan {
        let snapshot = &self.scope.snapshot;
        Plan::new(&snapshot.config, self.index, &snapshot.upstreams, &snapshot.flows)
    }
}
