//! The control thread's side of a server: starts the shards, holds the running snapshot, carries
//! out reloads and stops.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use nix::unistd::User;
use tokio::sync::watch;

use super::{
    Error, Source,
    certificates::{self, Certificates, Look},
    fast_path::{self, Keeper, Published, Start},
    l4::Makers,
    listeners::{self, Bound, Others},
    order::{BoundL4, BoundListener, BoundSocket, Driver, Order, Seed, Started, driver_choice},
    privileges, reload, shard,
};
use crate::{
    base::address::Address,
    config::{self, Config, ListenerConfig},
    control::{
        Control, Node, Phase, Probed, ReloadError, Reloaded, Stop, error_log::ErrorLogHandle,
        socket_file::SocketFile, upstreams, view::View,
    },
    proxy::{self, ConnectionLimit, Handler, ShardScope, Shared, Snapshot, Tls, stats::ShardStats},
    runtime::{Options, mailbox, now_uncached, wall_now_uncached},
    transport::tls::{ClientTls, Expiry},
    upstream,
    xdp::{drop_bounding_set, drop_capabilities},
};

/// Starts everything and runs until the process is told to stop.
pub(super) fn run<H, F>(
    config: Config,
    source: Source,
    error_log: Option<ErrorLogHandle>,
    makers: Makers,
    make: F,
) -> Result<(), Error>
where
    H: Handler + 'static,
    F: Fn(&ShardScope) -> Result<H, proxy::Error> + Clone + Send + 'static,
{
    privileges::raise_descriptor_limit();
    let shards = config.runtime.shards.len();
    let (control, sinks) = Control::bind(&config.admin, &config.log, shards, error_log)?;
    let bound = bind_all(&config, &BTreeMap::new())?;
    // Keys may be readable to root only.
    let mut certificates = Certificates::default();
    let tls = certificates.load(&config, Expiry::Told)?;
    for warning in &tls.warnings {
        tracing::error!("{warning}");
    }
    let user = config.runtime.user.as_deref().map(privileges::find_user).transpose()?;
    let fast_path = fast_path::start(&config)?;
    give_up_privileges(user.as_ref(), fast_path.as_ref())?;
    let packets = fast_path.map(Packets::start).transpose()?;
    let mut plane = Plane::start(config, source, make, makers, sinks, (certificates, tls))?;
    plane.packets = packets;
    plane.go_live(bound)?;
    control.run(Box::new(plane))?;
    Ok(())
}

/// Becomes another user, if there is to be one. What the fast path needs for the rest of its life goes
/// with it; capabilities don't, and every thread that is started later has none either.
fn give_up_privileges(user: Option<&User>, fast_path: Option<&Start>) -> Result<(), Error> {
    if fast_path.is_some() {
        drop_bounding_set().map_err(Error::Capabilities)?;
    }
    if let Some(user) = user {
        if let Some(Start::Running(fast_path)) = fast_path {
            fast_path.give_to(user.uid.as_raw(), user.gid.as_raw()).map_err(Error::Xdp)?;
        }
        privileges::become_user(user)?;
    }
    if fast_path.is_some() {
        drop_capabilities().map_err(Error::Capabilities)?;
    }
    Ok(())
}

/// A running server.
pub(super) struct Plane {
    pub(super) source: Source,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) stats: Vec<Arc<ShardStats>>,
    pub(super) driver: Driver,
    pub(super) history: History,
    /// Bound addresses: as configured, and as the kernel has them.
    pub(super) addresses: BTreeMap<(Address, String), Address>,
    /// Of Unix sockets among them.
    files: BTreeMap<Address, SocketFile>,
    shards: Vec<ShardHandle>,
    certificates: Certificates,
    pub(super) packets: Option<Packets>,
    phase: Arc<watch::Sender<Phase>>,
}

/// How configurations came and went.
#[derive(Debug)]
pub(super) struct History {
    pub(super) started_at: SystemTime,
    pub(super) applied_at: SystemTime,
    pub(super) reloads: u64,
    pub(super) reloads_failed: u64,
    pub(super) last_error: Option<String>,
}

/// The fast path, as the control thread has it.
pub(super) enum Packets {
    /// With the last that its thread has published.
    Running { keeper: Keeper, published: watch::Receiver<Arc<Published>> },
    /// Why it is off.
    Off(String),
}

impl Packets {
    fn start(start: Start) -> Result<Self, Error> {
        match start {
            Start::Off(reason) => Ok(Self::Off(reason)),
            Start::Running(fast_path) => {
                let (sender, published) = watch::channel(Arc::default());
                let publish = move |news| drop(sender.send_replace(Arc::new(news)));
                Ok(Self::Running { keeper: Keeper::start(*fast_path, publish)?, published })
            }
        }
    }
}

struct ShardHandle {
    orders: mailbox::Sender<Order>,
    thread: JoinHandle<()>,
}

impl Plane {
    /// Starts the shards' threads; none listens yet.
    fn start<H, F>(
        config: Config,
        source: Source,
        make: F,
        makers: Makers,
        sinks: Vec<crate::base::access::AccessSink>,
        (certificates, tls): (Certificates, certificates::Ready),
    ) -> Result<Self, Error>
    where
        H: Handler + 'static,
        F: Fn(&ShardScope) -> Result<H, proxy::Error> + Clone + Send + 'static,
    {
        let count = config.runtime.shards.len();
        let process = process_number();
        let stats: Vec<_> = (0..count).map(|_| Arc::new(ShardStats::default())).collect();
        let shared = Arc::new(Shared::default());
        let connections = ConnectionLimit::new(config.runtime.max_connections);
        let (started, reports) = mpsc::channel();
        let mut shards = Vec::with_capacity(count);
        let parts = upstream::neighbours(count).into_iter().zip(sinks).zip(&config.runtime.shards);
        for (index, ((neighbours, sink), cpu)) in parts.enumerate() {
            let seed = Seed {
                index,
                cpu: config.runtime.pin.then_some(*cpu),
                options: options(&config),
                connections: Arc::clone(&connections),
                process,
                neighbours,
                stats: Arc::clone(&stats[index]),
                shared: Arc::clone(&shared),
                access: Some(sink),
                makers: makers.clone(),
            };
            shards.push(spawn(seed, make.clone(), started.clone())?);
        }
        drop(started);
        let driver = wait_for_start(&reports, count)?;
        let now = now_uncached();
        let snapshot = Snapshot::build_with(config, tls.tls, count, now, None);
        let at = wall_now_uncached();
        Ok(Self {
            source,
            snapshot,
            stats,
            driver,
            history: History {
                started_at: at,
                applied_at: at,
                reloads: 0,
                reloads_failed: 0,
                last_error: None,
            },
            addresses: BTreeMap::new(),
            files: BTreeMap::new(),
            shards,
            certificates,
            packets: None,
            phase: Arc::new(watch::Sender::new(Phase::Starting)),
        })
    }

    /// Makes every shard serve the first snapshot.
    fn go_live(&mut self, bound: Vec<Bound>) -> Result<(), Error> {
        let snapshot = Arc::clone(&self.snapshot);
        self.prepare(&snapshot)?;
        self.commit(snapshot, bound);
        self.phase.send_replace(Phase::Serving);
        Ok(())
    }

    /// Has every shard prepare `snapshot`. When one cannot, all forget it.
    pub(super) fn prepare(&self, snapshot: &Arc<Snapshot>) -> Result<(), Error> {
        let (reply, answers) = mpsc::channel();
        let result = self.ask_all(snapshot, reply).and_then(|()| {
            let mut heard = vec![false; self.shards.len()];
            for _ in 0..self.shards.len() {
                let missing = |heard: &[bool]| heard.iter().position(|heard| !heard).unwrap_or(0);
                let answer = answers
                    .recv_timeout(PREPARE_WITHIN)
                    .map_err(|_| Error::ShardLost(missing(&heard)))?;
                heard[answer.shard] = true;
                let shard = answer.shard;
                answer.result.map_err(|source| Error::Handler { shard, source })?;
            }
            Ok(())
        });
        if result.is_err() {
            self.tell_all(|| Order::Abort);
        }
        result
    }

    fn ask_all(
        &self,
        snapshot: &Arc<Snapshot>,
        reply: mpsc::Sender<super::order::Prepared>,
    ) -> Result<(), Error> {
        for (index, shard) in self.shards.iter().enumerate() {
            let order = Order::Prepare { snapshot: Arc::clone(snapshot), reply: reply.clone() };
            shard.orders.send(order).map_err(|_| Error::ShardLost(index))?;
        }
        Ok(())
    }

    /// Has every shard use what it prepared.
    pub(super) fn commit(&mut self, snapshot: Arc<Snapshot>, bound: Vec<Bound>) {
        let config = &snapshot.config;
        // By address alone: a listener that was renamed keeps its sockets.
        self.addresses.retain(|(address, slot), _| {
            config
                .listeners
                .iter()
                .any(|own| own.bound_addresses().contains(address) && listeners::slot(own) == *slot)
        });
        let is_bound = |address: &Address| self.addresses.keys().any(|(own, _)| own == address);
        self.files.retain(|address, _| is_bound(address));
        let mut per_shard: Vec<(Vec<BoundListener>, Vec<BoundL4>)> =
            self.shards.iter().map(|_| Default::default()).collect();
        for bound in bound {
            self.addresses.insert((bound.address, bound.slot.clone()), bound.local);
            tracing::info!(listener = bound.listener, address = %bound.local, "listening");
            self.files.extend(bound.file.map(|file| (bound.address, file)));
            for (socket, list) in bound.sockets.into_iter().zip(&mut per_shard) {
                let (name, address) = (bound.listener.clone(), bound.address);
                match socket {
                    BoundSocket::Stream(socket) if bound.slot.is_empty() => {
                        list.0.push(BoundListener { name, address, socket });
                    }
                    socket => list.1.push(BoundL4 { name, address, socket }),
                }
            }
        }
        for (shard, (listeners, l4)) in self.shards.iter().zip(per_shard) {
            // A shard that has just prepared has room for one more order.
            drop(shard.orders.send(Order::Commit { listeners, l4 }));
        }
        if let Some(Packets::Running { keeper, .. }) = &self.packets {
            keeper.serve(Arc::clone(&snapshot));
        }
        self.snapshot = snapshot;
    }

    fn tell_all(&self, order: impl Fn() -> Order) {
        for shard in &self.shards {
            drop(shard.orders.send(order()));
        }
    }

    /// Serves by other certificates. Listeners take them over between two connections; upstreams
    /// get new endpoints where theirs would be reached in another way, as by a reload.
    fn renew(&mut self, ready: certificates::Ready) {
        for warning in &ready.warnings {
            tracing::warn!("{warning}");
        }
        let is_like =
            |(old, new): (&Option<Arc<ClientTls>>, &Option<Arc<ClientTls>>)| match (old, new) {
                (Some(old), Some(new)) => old.is_like(new),
                (old, new) => old.is_none() && new.is_none(),
            };
        let old = &self.snapshot;
        if old.tls.upstreams.iter().zip(&ready.tls.upstreams).all(is_like) {
            let upstreams = old.tls.upstreams.clone();
            self.serve_by(Tls { listeners: ready.tls.listeners, upstreams });
        } else {
            let (shards, now) = (self.shards.len(), now_uncached());
            let config = old.config.clone();
            let snapshot = Snapshot::build_with(config, ready.tls, shards, now, Some(old));
            if let Err(error) = self.prepare(&snapshot) {
                tracing::error!(%error, "certificates stay as they are");
                return;
            }
            self.commit(snapshot, Vec::new());
        }
        tracing::info!("certificates were read again");
    }

    /// Has every shard's listeners take `tls` over between two connections.
    fn serve_by(&mut self, tls: Tls) {
        let snapshot = Arc::new(self.snapshot.with_tls(tls));
        self.tell_all(|| Order::Certificates { snapshot: Arc::clone(&snapshot) });
        self.snapshot = snapshot;
    }

    fn try_reload(&mut self, path: &Path) -> Result<Reloaded, Vec<String>> {
        let config = config::load(path).map_err(|errors| {
            errors.problems.iter().map(ToString::to_string).collect::<Vec<_>>()
        })?;
        reload::check(&self.snapshot.config, &config)?;
        let mut certificates = self.certificates.clone();
        let tls = certificates.load(&config, Expiry::Refused).map_err(|errors| {
            errors.problems.iter().map(ToString::to_string).collect::<Vec<_>>()
        })?;
        let shards = self.shards.len();
        let bound = bind_all(&config, &self.addresses).map_err(|error| vec![error.to_string()])?;
        let changes = reload::changes(&self.snapshot.config, &config);
        let (admin, log) = (config.admin.clone(), config.log.clone());
        let mut warnings = config.warnings.clone();
        warnings.extend(tls.warnings);
        let (now, previous) = (now_uncached(), Some(&*self.snapshot));
        let snapshot = Snapshot::build_with(config, tls.tls, shards, now, previous);
        self.prepare(&snapshot).map_err(|error| vec![error.to_string()])?;
        let generation = snapshot.generation;
        self.commit(snapshot, bound);
        self.certificates = certificates;
        Ok(Reloaded { generation, changes, warnings, admin, log })
    }
}

impl Node for Plane {
    fn view(&self) -> View {
        super::view::view(self)
    }

    fn probes(&self) -> Vec<Probed> {
        self.snapshot.upstreams.iter().flat_map(upstreams::probes).collect()
    }

    fn reload(&mut self) -> Result<Reloaded, ReloadError> {
        let is_ending = matches!(*self.phase.borrow(), Phase::Draining | Phase::Stopped);
        let result = match self.source.clone() {
            // It would open the listeners again.
            _ if is_ending => Err(vec![
                "ringway is ending, and takes no new configuration: start it again with that"
                    .to_owned(),
            ]),
            Source::File(path) => self.try_reload(&path),
            Source::Fixed => Err(vec![
                "there is no file to read again: ringway was started from arguments; \
                 start it with `ringway run -c FILE` to be able to reload"
                    .to_owned(),
            ]),
        };
        match result {
            Ok(reloaded) => {
                self.history.reloads += 1;
                self.history.applied_at = wall_now_uncached();
                self.history.last_error = None;
                Ok(reloaded)
            }
            Err(problems) => {
                self.history.reloads_failed += 1;
                self.history.last_error = Some(problems.join("\n"));
                Err(ReloadError { problems })
            }
        }
    }

    fn look_at_files(&mut self) {
        let snapshot = Arc::clone(&self.snapshot);
        match self.certificates.look(&snapshot.config) {
            Look::Same => {}
            Look::Changed(ready) => self.renew(ready),
            Look::Wrong(errors) => {
                for problem in &errors.problems {
                    tracing::error!("certificates stay as they are: {problem}");
                }
            }
        }
        if let Some(tls) = self.certificates.rotate_tickets(&self.snapshot.tls, now_uncached()) {
            self.serve_by(tls);
            tracing::info!("ticket keys were rotated");
        }
        self.certificates.tell_of_ends(&self.snapshot.tls);
    }

    fn stop(&mut self, how: Stop) {
        let (reply, handed_over) = mpsc::channel();
        let is_drain = matches!(how, Stop::Drain(_));
        let wait = match how {
            Stop::Drain(wait) => {
                self.phase.send_replace(Phase::Draining);
                // First: whoever comes now isn't lost in a socket that nobody accepts from.
                self.files.clear();
                self.tell_all(|| Order::Drain { reply: reply.clone() });
                wait.unwrap_or(self.snapshot.config.runtime.drain_timeout)
            }
            Stop::Now => Duration::ZERO,
        };
        let orders: Vec<_> = self.shards.iter().map(|shard| shard.orders.clone()).collect();
        let stats = self.stats.clone();
        let phase = Arc::clone(&self.phase);
        drop(reply);
        tokio::spawn(async move {
            let mut waiting = if is_drain { orders.len() } else { 0 };
            let deadline = tokio::time::Instant::now() + wait;
            while tokio::time::Instant::now() < deadline {
                waiting = waiting.saturating_sub(handed_over.try_iter().count());
                if waiting == 0 && stats.iter().all(|shard| shard.open.get() <= 0) {
                    break;
                }
                tokio::time::sleep(DRAIN_LOOK).await;
            }
            for orders in orders {
                drop(orders.send(Order::Stop));
            }
            phase.send_replace(Phase::Stopped);
        });
    }

    fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.tell_all(|| Order::Stop);
        for shard in self.shards.drain(..) {
            // A shard that panicked has said so on its own.
            drop(shard.thread.join());
        }
    }
}

fn spawn<H, F>(seed: Seed, make: F, started: mpsc::Sender<Started>) -> Result<ShardHandle, Error>
where
    H: Handler + 'static,
    F: Fn(&ShardScope) -> Result<H, proxy::Error> + Send + 'static,
{
    let (orders, inbox) = mailbox::channel(ORDERS_MAX);
    let thread = thread::Builder::new()
        .name(format!("ringway-{}", seed.index))
        .spawn(move || shard::run(seed, make, &started, inbox))
        .map_err(Error::Thread)?;
    Ok(ShardHandle { orders, thread })
}

/// Waits until every shard has a runtime.
fn wait_for_start(reports: &mpsc::Receiver<Started>, count: usize) -> Result<Driver, Error> {
    let mut driver = None;
    for heard in 0..count {
        let report = reports.recv_timeout(PREPARE_WITHIN).map_err(|_| Error::ShardLost(heard))?;
        let shard = report.shard;
        driver = Some(report.result.map_err(|source| Error::Runtime { shard, source })?);
    }
    let driver = driver.ok_or(Error::ShardLost(0))?;
    tracing::info!(driver = ?driver.kind, reason = driver.reason, shards = count, "shards started");
    Ok(driver)
}

/// Binds every address that isn't bound yet.
fn bind_all(
    config: &Config,
    bound: &BTreeMap<(Address, String), Address>,
) -> Result<Vec<Bound>, Error> {
    let each = config
        .listeners
        .iter()
        .flat_map(|listener| listener.bound_addresses().iter().map(move |at| (listener, *at)));
    let mut new: Vec<Bound> = Vec::new();
    let is_new = |(listener, address): &(&ListenerConfig, Address)| {
        !bound.contains_key(&(*address, listeners::slot(listener)))
    };
    for (listener, address) in each.filter(is_new) {
        let mut ours = bound.values().copied().chain(new.iter().map(|bound| bound.local));
        let is_ours = ours.any(|own| listeners::overlaps(own, address));
        let others = if is_ours { Others::Ours } else { Others::Refused };
        new.push(listeners::bind(listener, address, &config.runtime, others)?);
    }
    Ok(new)
}

fn options(config: &Config) -> Options {
    let runtime = &config.runtime;
    Options {
        driver: driver_choice(runtime.io_driver),
        ring_entries: runtime.ring_entries,
        buffer_count: runtime.buffers.count,
        buffer_size: runtime.buffers.size,
        ..Options::default()
    }
}

/// A number that this process's request ids have in common, and an earlier process's haven't.
fn process_number() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(std::process::id());
    u32::try_from(random >> 32).unwrap_or(0)
}

/// A shard answers between two turns of its loop; longer means that it is stuck.
const PREPARE_WITHIN: Duration = Duration::from_secs(10);
/// Orders that may wait for a shard.
const ORDERS_MAX: usize = 64;
/// How often a drain looks whether it is done.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
