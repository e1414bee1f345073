//! Serves the connections of one TCP or TLS listener on one shard.

use std::{cell::RefCell, fmt, net::SocketAddr, rc::Rc, sync::Arc};

use super::{
    error::Error,
    handler::{Downstream, DynConnectionHandler, Trace},
    routes::Routes,
    shard::Shard,
};
use crate::{
    base::access::{AccessFormat, AccessRecord},
    config::Protocol,
    runtime::{self, PooledFuture, TcpStream},
    transport::{
        Place,
        counters::{FlowCounters, ListenerCounters, PerShard},
        entrance::Entrance,
        relay::Moved,
    },
};

/// What a configuration says of a listener's connections, on one shard.
pub struct ListenerPlan {
    /// The listener's name.
    pub name: Rc<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Who comes in, and what stands before a connection's own bytes.
    pub entrance: Entrance,
    /// Serves what was admitted.
    pub handler: Rc<dyn DynConnectionHandler>,
    /// Counts its connections.
    pub counters: Arc<PerShard<ListenerCounters>>,
    /// Names and counters of the configuration's routes, in its order; those of requests have none.
    pub routes: Rc<[(String, Arc<PerShard<FlowCounters>>)]>,
    /// The access log's format, and the share of connections that it takes.
    pub log: Option<(AccessFormat, f64)>,
    /// Where connections go that are not passed through; none: every connection is the handler's.
    pub otherwise: Option<Otherwise>,
}

/// What a listener does with TLS connections that no route passes through: they are ended here, by a
/// server of another layer.
pub struct Otherwise {
    /// Which ones are passed through.
    pub routes: Rc<Routes>,
    /// Serves the others. Nothing of them was taken, and they have been let in.
    pub serve: Rc<dyn Fn(TcpStream, SocketAddr, Place) -> PooledFuture<'static, ()>>,
}

impl fmt::Debug for ListenerPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerPlan").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Everything that a listener's connections share on one shard. A reload replaces what is inside; a
/// connection ends with what it began with.
#[derive(Debug)]
pub struct Service {
    shard: Rc<Shard>,
    plan: RefCell<Rc<ListenerPlan>>,
}

impl Service {
    /// Serves as `plan` says.
    #[must_use]
    pub fn new(shard: &Rc<Shard>, plan: ListenerPlan) -> Rc<Self> {
        Rc::new(Self { shard: Rc::clone(shard), plan: RefCell::new(Rc::new(plan)) })
    }

    /// New connections are served by `plan` from now on.
    pub fn replace(&self, plan: ListenerPlan) {
        self.plan.replace(Rc::new(plan));
    }

    /// Counts at the listener.
    pub fn count(&self, count: impl FnOnce(&ListenerCounters)) {
        if let Some(counters) = self.plan.borrow().counters.shard(self.shard.id()) {
            count(counters);
        }
    }

    /// Serves one connection to its end.
    pub async fn serve(self: Rc<Self>, stream: TcpStream, source: SocketAddr) {
        let plan = Rc::clone(&self.plan.borrow());
        let Some(counters) = plan.counters.shard(self.shard.id()) else { return };
        let Some(place) = self.shard.take_place() else {
            counters.refused.increment();
            stream.reset_on_close();
            return;
        };
        let started = runtime::now();
        let open = Open::new(&self.shard, &plan);
        let entry = match plan.entrance.enter(&stream, source).await {
            Ok(entry) => entry,
            Err(error) => {
                error.count(counters);
                tracing::debug!(listener = &*plan.name, client = %source, %error, "not let in");
                stream.reset_on_close();
                return;
            }
        };
        let client = Downstream {
            stream,
            client: entry.client,
            header: entry.header,
            hello: RefCell::default(),
            first_bytes: plan.entrance.first_bytes,
            id: self.shard.next_id(),
            started,
            moved: Moved::default(),
            trace: Trace::default(),
            shard: Rc::clone(&self.shard),
        };
        if let Some(otherwise) = &plan.otherwise
            && !otherwise.routes.pass_through(&client).await
        {
            // Its server counts it as its own.
            drop(open);
            (otherwise.serve)(client.stream, client.client, place).await;
            return drop(entry.pass);
        }
        counters.accepted.increment();
        let result = plan.handler.serve_boxed(&client).await;
        if let Err(error) = &result {
            tracing::debug!(listener = &*plan.name, client = %source, %error, "failed");
            client.stream.reset_on_close();
        }
        self.record(&plan, &client, result.err().as_ref());
        drop((entry.pass, open, place));
    }

    /// Counts and logs a connection that is over.
    fn record(&self, plan: &ListenerPlan, client: &Downstream, error: Option<&Error>) {
        let now = runtime::now();
        let duration = now.saturating_duration_since(client.started);
        let (up, down) = (client.moved.up.get(), client.moved.down.get());
        let stats = self.shard.stats();
        stats.received_bytes.add(up);
        stats.sent_bytes.add(down);
        let route = client.trace.route.get().and_then(|index| plan.routes.get(index));
        if let Some(counters) = route.and_then(|(_, own)| own.shard(self.shard.id())) {
            counters.count(error.is_none(), duration);
            counters.bytes_in.add(up);
            counters.bytes_out.add(down);
        }
        let Some((format, sample)) = &plan.log else { return };
        let hello = client.hello.borrow();
        let name = hello.as_ref().and_then(|hello| hello.server_name.as_deref());
        let upstream = client.trace.upstream.borrow();
        let record = AccessRecord {
            time: runtime::wall_now(),
            client_ip: client.client.ip(),
            method: b"",
            scheme: plan.protocol.name(),
            host: name.map(str::as_bytes),
            path: None,
            query: None,
            version: "",
            status: 0,
            bytes_in: up,
            bytes_out: down,
            duration,
            upstream_duration: client.trace.connected.get(),
            listener: &plan.name,
            route: route.map(|(name, _)| &**name),
            upstream: upstream.as_deref(),
            endpoint: client.trace.endpoint.get(),
            attempts: client.trace.attempts.get(),
            request_id: None,
            referer: None,
            user_agent: None,
            tls: None,
            error: error.map(Error::code),
        };
        self.shard.log(&record, format, *sample);
    }
}

/// Counts an open connection until it is dropped.
struct Open {
    shard: Rc<Shard>,
    plan: Rc<ListenerPlan>,
}

impl Open {
    fn new(shard: &Rc<Shard>, plan: &Rc<ListenerPlan>) -> Self {
        let open = Self { shard: Rc::clone(shard), plan: Rc::clone(plan) };
        open.add(1);
        open
    }

    fn add(&self, delta: i64) {
        let stats = self.shard.stats();
        stats.open.set(stats.open.get() + delta);
        if let Some(counters) = self.plan.counters.shard(self.shard.id()) {
            counters.open.add(delta);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.add(-1);
    }
}
