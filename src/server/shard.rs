//! A shard's thread: runtime, listeners, and the orders of the control thread.

use std::{
    cell::RefCell, collections::BTreeMap, fmt, net::SocketAddr, rc::Rc, sync::Arc, sync::mpsc,
    time::Duration,
};

use super::{
    l4::{Makers, Passing, Plans},
    order::{BoundL4, BoundListener, BoundSocket, Driver, Order, Prepared, Seed, Started},
};
use crate::{
    base::address::Address,
    config::ListenerConfig,
    l4,
    proxy::{
        self, ConnectionLimit, Doors, Handler, Hooks, ListenerRules, Observe, Record, Shard,
        ShardScope, Shared, Snapshot,
        downstream::service::{Current, Service},
    },
    runtime::{self, PooledFuture, Runtime, Task, TcpListener, TcpStream, UdpSocket, mailbox},
    upstream::Pools,
};

/// Runs a shard until it is told to stop.
pub(super) fn run<H, F>(
    mut seed: Seed,
    make: F,
    started: &mpsc::Sender<Started>,
    orders: mailbox::Receiver<Order>,
) where
    H: Handler + 'static,
    F: Fn(&ShardScope) -> Result<H, proxy::Error>,
{
    let index = seed.index;
    if let Some(cpu) = seed.cpu
        && !runtime::pin(cpu)
    {
        tracing::warn!(shard = index, cpu, "cannot bind the shard to its CPU");
    }
    let runtime = match Runtime::new(&seed.options) {
        Ok(runtime) => runtime,
        Err(error) => {
            // The control thread waits for this word; when it is gone, so is the process.
            drop(started.send(Started { shard: index, result: Err(error) }));
            return;
        }
    };
    let driver = Driver { kind: runtime.driver(), reason: runtime.driver_reason().to_owned() };
    drop(started.send(Started { shard: index, result: Ok(driver) }));
    let access = seed.access.take();
    runtime.block_on(async move {
        let pools = Pools::start(seed.neighbours, u64::from(seed.process));
        let id = u16::try_from(index).unwrap_or(u16::MAX);
        let shard = Shard::new(id, seed.process, pools, seed.stats);
        shard.set_access_log(access);
        let usage = runtime::spawn(publish_usage(Rc::clone(&shard)));
        let steward = Steward::new(&shard, &seed.shared, make);
        steward.limit(seed.connections).with_makers(seed.makers).obey(orders).await;
        usage.abort();
    });
}

/// What serves on one shard: it prepares snapshots, commits them, opens and closes listeners,
/// drains. A shard's thread has one and is told what to do by the control thread; a test has one
/// inside a simulated runtime and tells it itself. Dropping it closes the listeners; connections
/// live on until they or the runtime end.
pub struct Steward<H, F> {
    shard: Rc<Shard>,
    shared: Arc<Shared>,
    connections: Option<Arc<ConnectionLimit>>,
    make: F,
    serving: Option<Serving<H>>,
    prepared: Option<Serving<H>>,
    /// By address: a listener that was renamed keeps its sockets.
    sockets: BTreeMap<Address, Open<H>>,
    closing: Vec<Task>,
    l4_shard: Rc<l4::Shard>,
    l4: l4::Listeners,
    makers: Makers,
}

/// A snapshot in use.
struct Serving<H> {
    snapshot: Arc<Snapshot>,
    handler: Rc<H>,
    observer: Rc<dyn Observe>,
    doors: Doors,
    services: BTreeMap<String, Rc<Service<H>>>,
    l4: Plans,
}

/// A listening socket for a listener of the snapshot that is committed with it.
#[derive(Debug)]
pub struct Listening {
    /// The listener's name.
    pub name: String,
    /// The address as configured.
    pub address: Address,
    /// The socket.
    pub socket: TcpListener,
}

/// What serves the connections of one socket: HTTP, and before it what is passed through.
struct Door<H> {
    http: Rc<Service<H>>,
    passing: Option<Rc<l4::Service>>,
}

impl<H: Handler + 'static> Door<H> {
    /// Serves one connection, as a task of its own.
    fn open(&self, stream: TcpStream, client: SocketAddr) {
        match &self.passing {
            Some(passing) => {
                runtime::spawn(Rc::clone(passing).serve(stream, client));
            }
            None => self.http.start(stream, client),
        }
    }
}

impl<H> Clone for Door<H> {
    fn clone(&self) -> Self {
        Self { http: Rc::clone(&self.http), passing: self.passing.clone() }
    }
}

/// An open listening socket.
struct Open<H> {
    listener: Rc<TcpListener>,
    /// Serves what is accepted from now on; replaced where the address goes to another listener.
    service: Rc<RefCell<Door<H>>>,
    accepting: Task,
}

impl<H: Handler + 'static> Open<H> {
    /// Accepts no more. Connections that the kernel has established already are served: their
    /// clients don't know that nobody listens any longer.
    fn close(self) -> Task {
        self.accepting.abort();
        runtime::spawn(async move {
            for (stream, client) in self.listener.stop().await {
                self.service.borrow().open(stream, client);
            }
        })
    }
}

impl<H, F> Steward<H, F>
where
    H: Handler + 'static,
    F: Fn(&ShardScope) -> Result<H, proxy::Error>,
{
    /// Serves nothing yet. `make` builds the handler of each snapshot, and may keep in `shared`
    /// what all shards have in common.
    pub fn new(shard: &Rc<Shard>, shared: &Arc<Shared>, make: F) -> Self {
        let parts = shard.parts();
        let l4_shard =
            l4::Shard::new((parts.id, parts.process), &parts.pools, &parts.stats, parts.access);
        Self {
            l4: l4::Listeners::new(&l4_shard),
            l4_shard,
            makers: Makers::default(),
            shard: Rc::clone(shard),
            shared: Arc::clone(shared),
            connections: None,
            make,
            serving: None,
            prepared: None,
            sockets: BTreeMap::new(),
            closing: Vec::new(),
        }
    }

    /// Counts its connections with those of all who have the same `limit`.
    #[must_use]
    pub fn limit(mut self, limit: Arc<ConnectionLimit>) -> Self {
        self.l4_shard.limit(&limit);
        self.connections = Some(limit);
        self
    }

    /// L4 listeners of these names are served by what a program makes.
    pub(super) fn with_makers(mut self, makers: Makers) -> Self {
        self.makers = makers;
        self
    }

    async fn obey(mut self, mut orders: mailbox::Receiver<Order>) {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Prepare { snapshot, reply } => {
                    let result = self.prepare(&snapshot);
                    let shard = usize::from(self.shard.id());
                    // A control thread that no longer waits will abort.
                    drop(reply.send(Prepared { shard, result }));
                }
                Order::Commit { listeners, l4 } => {
                    let listeners = listeners.into_iter().filter_map(take_over).collect();
                    let l4 = l4.into_iter().filter_map(take_over_l4).collect();
                    self.commit_with(listeners, l4);
                }
                Order::Certificates { snapshot } => self.renew(&snapshot),
                Order::Abort => self.prepared = None,
                Order::Drain { reply } => {
                    self.drain();
                    self.hand_over().await;
                    // A control thread that no longer listens has given up waiting.
                    let _ = reply.send(());
                }
                Order::Stop => return,
            }
        }
    }

    /// Builds the handler of `snapshot`; nothing changes before [`commit`](Self::commit).
    ///
    /// # Errors
    /// What `make` says.
    pub fn prepare(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), proxy::Error> {
        let scope = ShardScope::new(&self.shard, snapshot, &self.shared);
        let handler = (self.make)(&scope)?;
        let Hooks { doors, observers } = scope.into_hooks();
        let record = Record::new(snapshot, &self.shard);
        let observer: Rc<dyn Observe> = match observers {
            observers if observers.is_empty() => Rc::new(record),
            observers => Rc::new((record, observers)),
        };
        self.prepared = Some(Serving {
            snapshot: Arc::clone(snapshot),
            handler: Rc::new(handler),
            observer,
            doors: doors.into_iter().collect(),
            services: BTreeMap::new(),
            l4: Plans::new(&self.l4_shard, snapshot, &self.makers)
                .map_err(|error| proxy::Error::Internal(error.to_string()))?,
        });
        Ok(())
    }

    /// Serves what was prepared: takes over the sockets of new addresses, closes those that the
    /// snapshot no longer has. Without a prepared snapshot it changes nothing.
    pub fn commit(&mut self, listeners: Vec<Listening>) {
        self.commit_with(listeners, Vec::new());
    }

    /// The same with sockets of L4 listeners.
    pub fn commit_with(&mut self, listeners: Vec<Listening>, l4: Vec<l4::Listening>) {
        let Some(mut next) = self.prepared.take() else { return };
        self.shard.apply_pool_rules(&next.snapshot.upstreams);
        let mut before = self.serving.take().map(|serving| serving.services).unwrap_or_default();
        let config = next.snapshot.config.listeners.clone();
        let plans = std::mem::take(&mut next.l4);
        self.l4.commit(plans.streams, plans.flows, l4, |name, address| {
            config.iter().any(|own| {
                own.name == name && own.protocol.is_l4() && own.bound_addresses().contains(&address)
            })
        });
        for (index, listener) in config.iter().enumerate() {
            if listener.protocol.is_l4() {
                continue;
            }
            let Some(counters) = next.snapshot.listeners.get(index) else { continue };
            let tls = next.snapshot.tls.listeners.get(index).cloned().flatten();
            let current = Current {
                handler: Rc::clone(&next.handler),
                listener: Rc::new(
                    rules_of(listener, index, &next.snapshot)
                        .with_tls(tls)
                        .with_ids_of(&next.snapshot.config),
                ),
                observer: Rc::clone(&next.observer),
                doors: Rc::clone(&next.doors),
                counters: Arc::clone(counters),
                limit: self.connections.clone(),
            };
            let name = self.name_before(listener, &config, &before);
            let service = match name.and_then(|name| before.remove(&name)) {
                Some(service) => {
                    service.replace(current);
                    service
                }
                None => Service::new(&self.shard, current),
            };
            next.services.insert(listener.name.clone(), service);
        }
        let doors = self.doors(&next.services, plans.passing);
        let sockets = std::mem::take(&mut self.sockets);
        for (address, socket) in sockets {
            let owner = config.iter().find(|listener| {
                listener.addresses.contains(&address) && !listener.protocol.is_l4()
            });
            match owner.and_then(|listener| doors.get(&listener.name)) {
                Some(service) => {
                    socket.service.replace(Door::clone(service));
                    self.sockets.insert(address, socket);
                }
                None => {
                    // It ends by itself; nobody has to wait for it.
                    let _ = socket.close();
                }
            }
        }
        for listening in listeners {
            let Some(service) = doors.get(&listening.name) else { continue };
            let service = Rc::new(RefCell::new(Door::clone(service)));
            let listener = Rc::new(listening.socket);
            let accepting = runtime::spawn(accept(Rc::clone(&listener), Rc::clone(&service)));
            let open = Open { listener, service, accepting };
            self.sockets.insert(listening.address, open);
        }
        // Listeners that the snapshot no longer has.
        before.values().for_each(|service| service.retire());
        self.serving = Some(next);
    }

    /// What the sockets of each listener are served by.
    fn doors(
        &self,
        services: &BTreeMap<String, Rc<Service<H>>>,
        mut passing: BTreeMap<String, Passing>,
    ) -> BTreeMap<String, Door<H>> {
        let door = |(name, http): (&String, &Rc<Service<H>>)| {
            let passing = passing.remove(name).map(|passing| {
                let http = Rc::clone(http);
                passing.service(&self.l4_shard, move |stream, client, place| {
                    PooledFuture::new(Rc::clone(&http).serve_admitted(stream, client, place))
                })
            });
            (name.clone(), Door { http: Rc::clone(http), passing })
        };
        services.iter().map(door).collect()
    }

    /// The name of the service that goes on as `listener`: its own, or that of a listener which is
    /// gone and whose address it has. That one was renamed, and its connections live on.
    fn name_before(
        &self,
        listener: &ListenerConfig,
        config: &[ListenerConfig],
        before: &BTreeMap<String, Rc<Service<H>>>,
    ) -> Option<String> {
        if before.contains_key(&listener.name) {
            return Some(listener.name.clone());
        }
        let mut sockets = listener.addresses.iter().filter_map(|address| self.sockets.get(address));
        sockets.find_map(|socket| {
            let is_it =
                |service: &Rc<Service<H>>| Rc::ptr_eq(service, &socket.service.borrow().http);
            let (name, _) = before.iter().find(|(_, service)| is_it(service))?;
            let is_gone = !config.iter().any(|own| own.name == *name);
            is_gone.then(|| name.clone())
        })
    }

    /// Accepts by the certificates of `snapshot`, which differs from the one in use in nothing else.
    pub fn renew(&mut self, snapshot: &Arc<Snapshot>) {
        let Some(serving) = &mut self.serving else { return };
        for (index, listener) in snapshot.config.listeners.iter().enumerate() {
            let Some(service) = serving.services.get(&listener.name) else { continue };
            let tls = snapshot.tls.listeners.get(index).cloned().flatten();
            let rules = rules_of(listener, index, snapshot).with_tls(tls);
            service.replace_listener(rules.with_ids_of(&snapshot.config));
        }
        serving.snapshot = Arc::clone(snapshot);
    }

    /// Waits until what closing listeners had accepted is with its service.
    async fn hand_over(&mut self) {
        while self.closing.iter().any(|closing| !closing.is_finished()) || !self.l4.is_handed_over()
        {
            runtime::sleep(HAND_OVER_LOOK).await;
        }
        self.closing.clear();
        // Once more round the queue: the connections' tasks enter the shard's register.
        runtime::yield_now().await;
    }

    /// Accepts nothing more, and ends keep-alive.
    pub fn drain(&mut self) {
        while let Some((_, socket)) = self.sockets.pop_first() {
            self.closing.push(socket.close());
        }
        self.l4.drain();
        self.shard.drain();
    }
}

impl<H, F> fmt::Debug for Steward<H, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steward").field("shard", &self.shard).finish_non_exhaustive()
    }
}

fn rules_of(listener: &ListenerConfig, index: usize, snapshot: &Snapshot) -> ListenerRules {
    let rules = ListenerRules::new(listener, index);
    match snapshot.gates.get(index) {
        Some(gate) => rules.with_gate(gate),
        None => rules,
    }
}

/// Attaches a bound socket to this shard's runtime.
fn take_over(bound: BoundListener) -> Option<Listening> {
    let BoundListener { name, address, socket } = bound;
    match TcpListener::from_std(socket) {
        Ok(socket) => Some(Listening { name, address, socket }),
        Err(error) => {
            tracing::error!(listener = name, %error, "cannot take over the socket");
            None
        }
    }
}

/// Attaches a bound L4 socket to this shard's runtime.
fn take_over_l4(bound: BoundL4) -> Option<l4::Listening> {
    let BoundL4 { name, address, socket } = bound;
    let socket = match socket {
        BoundSocket::Stream(socket) => TcpListener::from_std(socket).map(l4::Socket::Tcp),
        BoundSocket::Udp(socket) => UdpSocket::from_std(socket).map(l4::Socket::Udp),
    };
    match socket {
        Ok(socket) => Some(l4::Listening { name, address, socket }),
        Err(error) => {
            tracing::error!(listener = name, %error, "cannot take over the socket");
            None
        }
    }
}

/// Accepts connections until the task is aborted.
async fn accept<H: Handler + 'static>(listener: Rc<TcpListener>, service: Rc<RefCell<Door<H>>>) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                service.borrow().open(stream, client);
            }
            Err(error) => {
                service.borrow().http.count(|counters| counters.accept_errors.increment());
                tracing::warn!(%error, "accept failed");
                runtime::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Publishes the runtime's own numbers a few times a second.
async fn publish_usage(shard: Rc<Shard>) {
    let mut before = runtime::usage();
    loop {
        let usage = runtime::usage();
        let stats = shard.stats();
        stats.turns.add(usage.turns.saturating_sub(before.turns));
        let busy = usage.busy.saturating_sub(before.busy);
        stats.busy_nanos.add(u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX));
        stats.buffer_waits.add(usage.buffer_waits.saturating_sub(before.buffer_waits));
        stats.cq_overflows.add(usage.cq_overflows.saturating_sub(before.cq_overflows));
        stats.buffers_in_use.set(usage.buffers_in_use.into());
        stats.leases_in_use.set(usage.leases_in_use.into());
        stats.operations.set(usage.ops_in_flight.into());
        stats.tasks.set(usage.tasks.into());
        before = usage;
        runtime::sleep(USAGE_EVERY).await;
    }
}

/// How often a drain looks whether its listeners are closed.
const HAND_OVER_LOOK: Duration = Duration::from_millis(10);
/// After a failed accept that the runtime did not wait out itself.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// How old a shard's published numbers may be.
const USAGE_EVERY: Duration = Duration::from_millis(250);
