//! A shard's thread: runtime, listeners, and the orders of the control thread.

use std::{collections::BTreeMap, net::SocketAddr, rc::Rc, sync::Arc, sync::mpsc, time::Duration};

use super::order::{BoundListener, Driver, Order, Prepared, Seed, Started};
use crate::{
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
        let sockets = BTreeMap::new();
        Steward { shard, shared: seed.shared, make, serving: None, prepared: None, sockets }
            .obey(orders)
            .await;
        usage.abort();
    });
}

/// Carries out a shard's orders.
struct Steward<H, F> {
    shard: Rc<Shard>,
    shared: Arc<Shared>,
    make: F,
    serving: Option<Serving<H>>,
    prepared: Option<Serving<H>>,
    /// By listener and address.
    sockets: BTreeMap<(String, SocketAddr), Open>,
}

/// A snapshot in use.
struct Serving<H> {
    snapshot: Arc<Snapshot>,
    handler: Rc<H>,
    observer: Rc<dyn Observe>,
    services: BTreeMap<String, Rc<Service<H>>>,
}

/// An open listening socket; closed when dropped.
struct Open {
    accepting: Task,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl<H, F> Steward<H, F>
where
    H: Handler + 'static,
    F: Fn(&ShardScope) -> Result<H, proxy::Error>,
{
    async fn obey(&mut self, mut orders: mailbox::Receiver<Order>) {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Prepare { snapshot, reply } => {
                    let result = self.prepare(&snapshot);
                    let shard = usize::from(self.shard.id());
                    // A control thread that no longer waits will abort.
                    drop(reply.send(Prepared { shard, result }));
                }
                Order::Commit { listeners } => self.commit(listeners),
                Order::Abort => self.prepared = None,
                Order::Drain => {
                    self.sockets.clear();
                    self.shard.drain();
                }
                Order::Stop => return,
            }
        }
    }

    fn prepare(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), proxy::Error> {
        let handler = (self.make)(&ShardScope::new(&self.shard, snapshot, &self.shared))?;
        self.prepared = Some(Serving {
            snapshot: Arc::clone(snapshot),
            handler: Rc::new(handler),
            observer: Rc::new(Record::new(snapshot, &self.shard)),
            services: BTreeMap::new(),
        });
        Ok(())
    }

    fn commit(&mut self, listeners: Vec<BoundListener>) {
        let Some(mut next) = self.prepared.take() else { return };
        let mut before = self.serving.take().map(|serving| serving.services).unwrap_or_default();
        let config = next.snapshot.config.listeners.clone();
        for (index, listener) in config.iter().enumerate() {
            let Some(counters) = next.snapshot.listeners.get(index) else { continue };
            let current = Current {
                handler: Rc::clone(&next.handler),
                listener: Rc::new(ListenerRules::new(listener, index)),
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
        self.sockets.retain(|(name, address), _| {
            config
                .iter()
                .any(|listener| listener.name == *name && listener.addresses.contains(address))
        });
        for bound in listeners {
            self.open(bound, &next.services);
        }
        self.serving = Some(next);
    }

    fn open(&mut self, bound: BoundListener, services: &BTreeMap<String, Rc<Service<H>>>) {
        let Some(service) = services.get(&bound.name) else { return };
        match TcpListener::from_std(bound.socket) {
            Ok(listener) => {
                let accepting = runtime::spawn(accept(listener, Rc::clone(service)));
                self.sockets.insert((bound.name, bound.address), Open { accepting });
            }
            Err(error) => {
                tracing::error!(listener = bound.name, %error, "cannot take over the socket");
            }
        }
    }
}

/// Accepts connections until the task is aborted.
async fn accept<H: Handler + 'static>(listener: TcpListener, service: Rc<Service<H>>) {
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

/// After a failed accept that the runtime did not wait out itself.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// How old a shard's published numbers may be.
const USAGE_EVERY: Duration = Duration::from_millis(250);
