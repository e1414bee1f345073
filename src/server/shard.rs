//! A shard's thread: runtime, listeners, and the orders of the control thread.

use std::{
    collections::BTreeMap, fmt, net::SocketAddr, rc::Rc, sync::Arc, sync::mpsc, time::Duration,
};

use super::order::{BoundListener, Driver, Order, Prepared, Seed, Started};
use crate::{
    config::ListenerConfig,
    proxy::{
        self, Handler, ListenerRules, Observe, Record, Shard, ShardScope, Shared, Snapshot,
        downstream::h1::{Current, Service},
    },
    runtime::{self, Runtime, Task, TcpListener, mailbox},
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
        shard.set_connections_max(seed.connections_max);
        let usage = runtime::spawn(publish_usage(Rc::clone(&shard)));
        Steward::new(&shard, &seed.shared, make).obey(orders).await;
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
    make: F,
    serving: Option<Serving<H>>,
    prepared: Option<Serving<H>>,
    /// By listener and address.
    sockets: BTreeMap<(String, SocketAddr), Open<H>>,
    closing: Vec<Task>,
}

/// A snapshot in use.
struct Serving<H> {
    snapshot: Arc<Snapshot>,
    handler: Rc<H>,
    observer: Rc<dyn Observe>,
    services: BTreeMap<String, Rc<Service<H>>>,
}

/// A listening socket for a listener of the snapshot that is committed with it.
#[derive(Debug)]
pub struct Listening {
    /// The listener's name.
    pub name: String,
    /// The address as configured.
    pub address: SocketAddr,
    /// The socket.
    pub socket: TcpListener,
}

/// An open listening socket.
struct Open<H> {
    listener: Rc<TcpListener>,
    service: Rc<Service<H>>,
    accepting: Task,
}

impl<H: Handler + 'static> Open<H> {
    /// Accepts no more. Connections that the kernel has established already are served: their
    /// clients don't know that nobody listens any longer.
    fn close(self) -> Task {
        self.accepting.abort();
        runtime::spawn(async move {
            for (stream, client) in self.listener.stop().await {
                runtime::spawn(Rc::clone(&self.service).serve(stream, client));
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
        Self {
            shard: Rc::clone(shard),
            shared: Arc::clone(shared),
            make,
            serving: None,
            prepared: None,
            sockets: BTreeMap::new(),
            closing: Vec::new(),
        }
    }

    async fn obey(&mut self, mut orders: mailbox::Receiver<Order>) {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Prepare { snapshot, reply } => {
                    let result = self.prepare(&snapshot);
                    let shard = usize::from(self.shard.id());
                    // A control thread that no longer waits will abort.
                    drop(reply.send(Prepared { shard, result }));
                }
                Order::Commit { listeners } => {
                    self.commit(listeners.into_iter().filter_map(take_over).collect());
                }
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
        let handler = (self.make)(&ShardScope::new(&self.shard, snapshot, &self.shared))?;
        self.prepared = Some(Serving {
            snapshot: Arc::clone(snapshot),
            handler: Rc::new(handler),
            observer: Rc::new(Record::new(snapshot, &self.shard)),
            services: BTreeMap::new(),
        });
        Ok(())
    }

    /// Serves what was prepared: takes over the sockets of new addresses, closes those that the
    /// snapshot no longer has. Without a prepared snapshot it changes nothing.
    pub fn commit(&mut self, listeners: Vec<Listening>) {
        let Some(mut next) = self.prepared.take() else { return };
        let mut before = self.serving.take().map(|serving| serving.services).unwrap_or_default();
        let config = next.snapshot.config.listeners.clone();
        for (index, listener) in config.iter().enumerate() {
            let Some(counters) = next.snapshot.listeners.get(index) else { continue };
            let tls = next.snapshot.tls.get(index).cloned().flatten();
            let current = Current {
                handler: Rc::clone(&next.handler),
                listener: Rc::new(ListenerRules::new(listener, index).with_tls(tls)),
                observer: Rc::clone(&next.observer),
                counters: Arc::clone(counters),
            };
            let service = match before.remove(&listener.name) {
                Some(service) => {
                    service.replace(current);
                    service
                }
                None => Service::new(&self.shard, current),
            };
            next.services.insert(listener.name.clone(), service);
        }
        let sockets = std::mem::take(&mut self.sockets);
        for ((name, address), socket) in sockets {
            let is_wanted = |listener: &ListenerConfig| {
                listener.name == name && listener.addresses.contains(&address)
            };
            if config.iter().any(is_wanted) {
                self.sockets.insert((name, address), socket);
            } else {
                // It ends by itself; nobody has to wait for it.
                let _ = socket.close();
            }
        }
        for listening in listeners {
            let Some(service) = next.services.get(&listening.name) else { continue };
            let (listener, service) = (Rc::new(listening.socket), Rc::clone(service));
            let accepting = runtime::spawn(accept(Rc::clone(&listener), Rc::clone(&service)));
            let open = Open { listener, service, accepting };
            self.sockets.insert((listening.name, listening.address), open);
        }
        // Listeners that the snapshot no longer has.
        before.values().for_each(|service| service.retire());
        self.serving = Some(next);
    }

    /// Waits until what closing listeners had accepted is with its service.
    async fn hand_over(&mut self) {
        while self.closing.iter().any(|closing| !closing.is_finished()) {
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
        self.shard.drain();
    }
}

impl<H, F> fmt::Debug for Steward<H, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steward").field("shard", &self.shard).finish_non_exhaustive()
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

/// Accepts connections until the task is aborted.
async fn accept<H: Handler + 'static>(listener: Rc<TcpListener>, service: Rc<Service<H>>) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                runtime::spawn(Rc::clone(&service).serve(stream, client));
            }
            Err(error) => {
                service.count(|counters| counters.accept_errors.increment());
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
