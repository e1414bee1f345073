//! One run: endpoints, shards and clients in one runtime on one thread, from the first connection
//! until nothing is left, with what must hold on the way and at the end.

use std::{
    cell::RefCell,
    fmt::Write,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use ringway::{
    config,
    proxy::{ConnectionLimit, Error, Pipeline, Shard, Snapshot, stats::ShardStats},
    runtime::{self, ListenOptions, Runtime, SimReport, TcpListener, now, sleep, spawn, usage},
    server::{Listening, ShardScope, Steward},
    upstream::{self, Endpoint, Pools},
};

use crate::{
    client, endpoint,
    ledger::{Ledger, Tally},
    plan::{Plan, Profile},
    settings::{
        ENDPOINT_PORT, ENDPOINTS_MAX, IDLE_TIMEOUT_SECONDS, INNER_PORT, LISTENER_PORT, Settings,
    },
};

/// What a run came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) report: SimReport,
    pub(crate) tally: Tally,
    pub(crate) violations: Vec<String>,
}

/// An address of the simulated network.
pub(crate) fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Carries out the plan of `seed`.
pub(crate) fn run(seed: u64, profile: Profile) -> Outcome {
    let plan = Plan::new(seed, profile);
    let runtime = Runtime::sim(seed, &plan.network).unwrap();
    let ledger = runtime.block_on(async {
        let ledger = Ledger::new(plan);
        let mut world = World::start(&ledger);
        match ledger.plan.stop_at {
            Some(stop) => drop(runtime::race(world.live(), sleep(stop)).await),
            None => {
                world.live().await;
                world.settle().await;
            }
        }
        world.count();
        ledger
    });
    let report = runtime.finish().unwrap();
    let mut violations = ledger.violations();
    if !report.is_clean() {
        violations.push(format!("something leaked: {:?} {:?}", report.leaked, report.violations));
    }
    Outcome { report, tally: ledger.total(), violations }
}

type Make = fn(&ShardScope) -> Result<Pipeline, Error>;

fn make(scope: &ShardScope) -> Result<Pipeline, Error> {
    Pipeline::new(scope.snapshot(), scope.shard())
}

struct World {
    ledger: Rc<Ledger>,
    shards: Vec<Rc<Shard>>,
    stats: Vec<Arc<ShardStats>>,
    stewards: Vec<Steward<Pipeline, Make>>,
    snapshot: Arc<Snapshot>,
    /// Of all snapshots there were.
    endpoints: Vec<Arc<Endpoint>>,
    limit: Arc<ConnectionLimit>,
    connections_max: Option<u32>,
    idle_max: u32,
    before: runtime::Usage,
    running: Rc<RefCell<Vec<usize>>>,
}

impl World {
    /// Everything listens, and every client is on its way.
    fn start(ledger: &Rc<Ledger>) -> Self {
        for port in ENDPOINT_PORT..ENDPOINT_PORT + ENDPOINTS_MAX {
            endpoint::start(ledger, port);
        }
        let plan = &ledger.plan;
        let stats: Vec<Arc<ShardStats>> = (0..plan.shards).map(|_| Arc::default()).collect();
        let neighbours = upstream::neighbours(plan.shards).into_iter().enumerate();
        let shards: Vec<_> = neighbours
            .map(|(index, neighbours)| {
                let pools = Pools::start(neighbours, plan.seed);
                let stats = Arc::clone(&stats[index]);
                Shard::new(u16::try_from(index).unwrap(), 1, pools, stats)
            })
            .collect();
        let shared = Arc::default();
        let limit = ConnectionLimit::new(plan.connections_max);
        let stewards = shards
            .iter()
            .map(|shard| Steward::new(shard, &shared, make as Make).limit(Arc::clone(&limit)));
        let stewards = stewards.collect();
        let snapshot = snapshot(&plan.settings, plan.shards, None);
        let mut world = Self {
            ledger: Rc::clone(ledger),
            shards,
            stats,
            stewards,
            snapshot: Arc::clone(&snapshot),
            endpoints: Vec::new(),
            limit,
            connections_max: Some(0),
            idle_max: 0,
            before: usage(),
            running: Rc::default(),
        };
        world.commit(&plan.settings, snapshot, true);
        world.before = usage();
        for index in 0..plan.clients.len() {
            let ledger = Rc::clone(ledger);
            let running = Rc::clone(&world.running);
            running.borrow_mut().push(index);
            spawn(async move {
                client::run(ledger, index).await;
                running.borrow_mut().retain(|client| *client != index);
            });
        }
        world
    }

    /// Every shard serves `snapshot` from now on.
    fn commit(&mut self, settings: &Settings, snapshot: Arc<Snapshot>, is_first: bool) {
        let all = snapshot.upstreams.iter().flat_map(|upstream| &upstream.endpoints);
        for endpoint in all {
            if !self.endpoints.iter().any(|known| known.id() == endpoint.id()) {
                self.endpoints.push(Arc::clone(endpoint));
            }
        }
        let most = self.connections_max.zip(settings.connections_max);
        self.connections_max = most.map(|(before, now)| before.max(now));
        self.idle_max = self.idle_max.max(settings.idle_per_endpoint);
        for steward in &mut self.stewards {
            steward.prepare(&snapshot).unwrap();
        }
        for steward in &mut self.stewards {
            let mut listening = Vec::new();
            if is_first {
                listening.push(listen("web", LISTENER_PORT));
            }
            if is_first && settings.is_chained {
                listening.push(listen("inner", INNER_PORT));
            }
            steward.commit(listening);
        }
        self.snapshot = snapshot;
    }

    /// Until every client is through, with reloads and the drain at their times.
    async fn live(&mut self) {
        let ledger = Rc::clone(&self.ledger);
        let begun = now();
        let mut reloads = ledger.plan.reloads.iter().peekable();
        let mut drain_at = ledger.plan.drain_at;
        while !self.running.borrow().is_empty() {
            sleep(LOOK_EVERY).await;
            let at = now() - begun;
            while let Some((_, settings)) = reloads.next_if(|(due, _)| *due <= at) {
                let next = snapshot(settings, self.shards.len(), Some(&self.snapshot));
                self.commit(settings, next, false);
            }
            if drain_at.take_if(|due| *due <= at).is_some() {
                self.stewards.iter_mut().for_each(Steward::drain);
            }
            self.check_limits();
            if at > RUN_MAX {
                let running = self.running.borrow().clone();
                self.ledger.violate(format!("the run hangs: clients {running:?} still wait"));
                return;
            }
        }
    }

    fn check_limits(&self) {
        let open: usize = self.shards.iter().map(|shard| shard.connections()).sum();
        if open > self.ledger.plan.connections_max as usize {
            self.ledger.violate(format!("{open} client connections are open"));
        }
        for endpoint in &self.endpoints {
            let (address, connections) = (endpoint.address, endpoint.connections());
            if self.connections_max.is_some_and(|most| connections > most) {
                self.ledger.violate(format!("{address} has {connections} connections"));
            }
            // What is above the number is kept for a while, unless it is 0.
            if self.idle_max == 0 {
                self.check_idle(endpoint);
            }
        }
    }

    fn check_idle(&self, endpoint: &Endpoint) {
        let (address, idle) = (endpoint.address, endpoint.totals().idle);
        if idle > u64::from(self.idle_max) * self.shards.len() as u64 {
            self.ledger.violate(format!("{address} has {idle} idle connections"));
        }
    }

    /// Clients are gone: whatever they used must come back by itself.
    async fn settle(&self) {
        let begun = now();
        while self.is_busy() && now() - begun < SETTLE_MAX {
            sleep(LOOK_EVERY).await;
        }
        // A second, and one sweep of the pools: nothing above their number is left.
        sleep(Duration::from_millis(2100)).await;
        self.check_limits();
        self.endpoints.iter().for_each(|endpoint| self.check_idle(endpoint));
        for (shard, stats) in self.shards.iter().zip(&self.stats) {
            let (open, counted, tunnels) =
                (shard.connections(), stats.open.get(), stats.tunnels.get());
            if (open, counted, tunnels) != (0, 0, 0) {
                let id = shard.id();
                self.ledger.violate(format!(
                    "shard {id}: {open} connections are registered, {counted} counted, {tunnels} tunnels"
                ));
            }
        }
        if self.limit.open() != 0 {
            self.ledger.violate(format!("{} places are taken for ever", self.limit.open()));
        }
        for endpoint in &self.endpoints {
            let (connections, idle) = (endpoint.connections(), endpoint.totals().idle);
            let (in_flight, pending) = (endpoint.in_flight(), endpoint.pending());
            if (in_flight, pending) != (0, 0) || u64::from(connections) != idle {
                let address = endpoint.address;
                self.ledger.violate(format!(
                    "{address}: {in_flight} in flight, {pending} pending, {connections} connections \
                     of which {idle} are idle"
                ));
            }
        }
        self.check_usage(false);
        sleep(Duration::from_secs(IDLE_TIMEOUT_SECONDS + 2)).await;
        for endpoint in &self.endpoints {
            let (connections, idle) = (endpoint.connections(), endpoint.totals().idle);
            if (connections, idle) != (0, 0) {
                let address = endpoint.address;
                self.ledger
                    .violate(format!("{address} has {connections} connections, {idle} idle"));
            }
        }
        self.check_usage(true);
    }

    fn is_busy(&self) -> bool {
        self.shards.iter().any(|shard| shard.connections() > 0)
            || self.endpoints.iter().any(|endpoint| endpoint.in_flight() > 0)
    }

    /// Tasks, sockets, operations and buffers are as many as before the first client.
    fn check_usage(&self, are_pools_empty: bool) {
        let usage = usage();
        let mut leaks = String::new();
        let mut hold = |what: &str, now: u32, before: u32| {
            if now != before {
                write!(leaks, " {now} {what} instead of {before}").unwrap();
            }
        };
        hold("buffers", usage.buffers_in_use, 0);
        hold("leases", usage.leases_in_use, 0);
        if are_pools_empty && self.ledger.plan.drain_at.is_none() {
            hold("tasks", usage.tasks, self.before.tasks);
            hold("sockets", usage.sockets, self.before.sockets);
        }
        if !leaks.is_empty() {
            self.ledger.violate(format!("after the last client:{leaks}"));
        }
    }

    /// Adds the endpoints' counters to the tally.
    fn count(&self) {
        for endpoint in &self.endpoints {
            let totals = endpoint.totals();
            self.ledger.tally(|tally| {
                tally.reused += totals.reused;
                tally.stolen += totals.stolen;
                tally.queued += totals.queued;
            });
        }
    }
}

fn listen(name: &str, port: u16) -> Listening {
    let address = address(port);
    let socket = TcpListener::bind(address, &ListenOptions::default()).unwrap();
    Listening { name: name.into(), address: address.into(), socket }
}

fn snapshot(settings: &Settings, shards: usize, previous: Option<&Snapshot>) -> Arc<Snapshot> {
    let text = settings.text();
    let config =
        config::parse("sim.toml", &text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    Snapshot::build(config, shards, now(), previous)
}

/// How often the run is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The longest run: every wait in it has a limit far below.
const RUN_MAX: Duration = Duration::from_secs(900);
/// The longest of the proxy's own timeouts, and then some.
const SETTLE_MAX: Duration = Duration::from_secs(120);
