//! One shard's upstreams: which endpoint, which connection.
//!
//! The way of a request through here, each step only when the one before had nothing:
//! ```text
//!   pick ─▶ lend ─▶ idle connection of this shard (LIFO, no await, no allocation)
//!                   ─▶ idle connection of a neighbour (`steal`, at most 2 ms)
//!                   ─▶ a new connection, if limits.connections allows one
//!                   ─▶ wait for either (`queue`), up to limits.queue_timeout
//! ```
//! Two tasks a shard: one serves the mailbox, one sweeps once a second.

use super::{
    ConnectError, Dial, Endpoint, Fault, Lent, Outcome, RetryBudget, Upstream,
    connect::{connect, spoken},
    counters::Counters,
    endpoint::{EndpointId, Seat},
    idle::{Connection, EndpointPool, Rules},
    lent::{Held, InFlight, LocalSeat},
    outlier::Change,
    queue::{self, Grant},
    steal::{Answer, Mesh, Message, Neighbours, UNASKED, steal},
};
use crate::{
    balance::{Balance, Balancer, Key, Tried},
    config::UpstreamProtocol,
    runtime::{PooledFuture, Task, now, sleep, spawn},
};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

/// The pools of one shard. Dropping the last `Rc` ends its tasks; the connections close when
/// the last [`Pool`] and [`Lent`] are gone too.
pub struct Pools {
    pub(super) mesh: Rc<Mesh>,
    seed: u64,
    endpoints: RefCell<BTreeMap<EndpointId, Weak<EndpointPool>>>,
    open: RefCell<Vec<Weak<Pool>>>,
    tasks: RefCell<Vec<Task>>,
}

impl Pools {
    /// Starts a shard's pools; call it inside the shard's runtime. `seed` decides the random
    /// choices of its balancers.
    #[must_use]
    pub fn start(neighbours: Neighbours, seed: u64) -> Rc<Self> {
        let Neighbours { shard, senders, mut receiver } = neighbours;
        let pools = Rc::new(Self {
            mesh: Rc::new(Mesh::new(shard, senders)),
            seed,
            endpoints: RefCell::default(),
            open: RefCell::default(),
            tasks: RefCell::default(),
        });
        let served = Rc::downgrade(&pools);
        let serve = spawn(async move {
            while let Some(message) = receiver.recv().await {
                let Some(pools) = served.upgrade() else { return };
                pools.receive(message).await;
            }
        });
        let swept = Rc::downgrade(&pools);
        let sweep = spawn(async move {
            loop {
                sleep(SWEEP_EVERY).await;
                let Some(pools) = swept.upgrade() else { return };
                pools.sweep();
            }
        });
        pools.tasks.borrow_mut().extend([serve, sweep]);
        pools
    }

    /// Opens an upstream on this shard: once per snapshot, not per request. Opened again, it is
    /// the same pool as long as somebody holds it, so that all routes to it take turns together.
    ///
    /// Endpoints that the snapshot took over from the one before keep their connections here, and
    /// the earlier snapshot's settings and limits until [`apply`](Self::apply): a snapshot that is
    /// only prepared changes nothing.
    #[must_use]
    pub fn open(&self, upstream: &Arc<Upstream>) -> Rc<Pool> {
        if let Some(opened) = self.opened(upstream) {
            return opened;
        }
        let shard = self.mesh.shard;
        let seed = self.seed ^ shard as u64;
        self.add(upstream, upstream.placement.balancer(&upstream.config, shard, seed))
    }

    /// Opens an upstream with a balancer in place of the configured one; none when it is open
    /// already.
    pub fn open_with(&self, upstream: &Arc<Upstream>, balancer: Balancer) -> Option<Rc<Pool>> {
        let is_open = self.opened(upstream).is_some();
        (!is_open).then(|| self.add(upstream, balancer))
    }

    fn opened(&self, upstream: &Arc<Upstream>) -> Option<Rc<Pool>> {
        let open = self.open.borrow();
        let mut pools = open.iter().rev().filter_map(Weak::upgrade);
        pools.find(|pool| Arc::ptr_eq(&pool.upstream, upstream))
    }

    fn add(&self, upstream: &Arc<Upstream>, balancer: Balancer) -> Rc<Pool> {
        let config = &upstream.config;
        let shard = self.mesh.shard;
        let rules = Rules::of(config);
        let endpoints = upstream.endpoints.iter().map(|endpoint| self.endpoint(endpoint, rules));
        let endpoints = endpoints.collect();
        let mut open = self.open.borrow_mut();
        open.retain(|pool| pool.strong_count() > 0);
        let before = open.iter().rev().filter_map(Weak::upgrade);
        let budget = before
            .filter(|pool| pool.upstream.config.name == config.name)
            .map(|pool| Rc::clone(&pool.budget))
            .next();
        let budget = budget.unwrap_or_else(|| Rc::new(RetryBudget::new(now())));
        let pool =
            Rc::new(Pool { upstream: Arc::clone(upstream), shard, balancer, budget, endpoints });
        open.push(Rc::downgrade(&pool));
        pool
    }

    /// Endpoints of `upstream` keep its settings and limits from now on.
    pub fn apply(&self, upstream: &Upstream) {
        let rules = Rules::of(&upstream.config);
        for endpoint in &upstream.endpoints {
            if let Some(pool) = self.find(endpoint.id()) {
                pool.set_rules(rules);
            }
        }
    }

    fn endpoint(&self, endpoint: &Arc<Endpoint>, rules: Rules) -> Rc<EndpointPool> {
        let mut endpoints = self.endpoints.borrow_mut();
        if let Some(kept) = endpoints.get(&endpoint.id()).and_then(Weak::upgrade) {
            return kept;
        }
        let pool = Rc::new(EndpointPool::new(endpoint, rules, &self.mesh));
        endpoints.insert(endpoint.id(), Rc::downgrade(&pool));
        pool
    }

    fn find(&self, endpoint: EndpointId) -> Option<Rc<EndpointPool>> {
        self.endpoints.borrow().get(&endpoint).and_then(Weak::upgrade)
    }

    async fn receive(&self, message: Message) {
        match message {
            Message::Ask { endpoint, from, serial } => {
                let pool = self.find(endpoint);
                let spare = match &pool {
                    Some(pool) => pool.release().await,
                    None => None,
                };
                let (Some(pool), Some(spare)) = (pool, spare) else {
                    self.mesh.refuse(from, serial);
                    return;
                };
                match self.mesh.give(from, endpoint, serial, spare) {
                    Ok(()) => pool.counters().given.increment(),
                    Err(kept) => pool.keep(kept),
                }
            }
            Message::Give { endpoint, serial, connection } => {
                let late = if serial == UNASKED {
                    Some(connection)
                } else {
                    self.mesh.answer(serial, Answer::Given(connection))
                };
                // An endpoint that was removed meanwhile: the connection closes.
                if let (Some(late), Some(pool)) = (late, self.find(endpoint)) {
                    pool.take_in(late);
                }
            }
            Message::Seat { endpoint, seat } => {
                if let Some(pool) = self.find(endpoint) {
                    pool.take_seat(seat);
                }
            }
            Message::Refuse { serial } => {
                let nothing = self.mesh.answer(serial, Answer::Refused);
                debug_assert!(nothing.is_none(), "a refusal brings no connection");
            }
        }
    }

    fn sweep(&self) {
        let now = now();
        self.endpoints.borrow_mut().retain(|_, pool| pool.strong_count() > 0);
        let endpoints: Vec<_> =
            self.endpoints.borrow().values().filter_map(Weak::upgrade).collect();
        for endpoint in endpoints {
            endpoint.sweep(now);
        }
        self.open.borrow_mut().retain(|pool| pool.strong_count() > 0);
        let open: Vec<_> = self.open.borrow().iter().filter_map(Weak::upgrade).collect();
        for pool in open {
            pool.upstream.tick(now);
        }
    }
}

impl Drop for Pools {
    fn drop(&mut self) {
        for task in self.tasks.get_mut() {
            task.abort();
        }
    }
}

/// One upstream on one shard, as one snapshot has it.
pub struct Pool {
    upstream: Arc<Upstream>,
    shard: usize,
    balancer: Balancer,
    budget: Rc<RetryBudget>,
    pub(super) endpoints: Box<[Rc<EndpointPool>]>,
}

/// No endpoint of the upstream is available: their probes fail or they are ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no endpoint is available")]
pub struct NoneAvailable;

impl Pool {
    /// The upstream.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Whether its balancer goes by a key.
    pub fn wants_key(&self) -> bool {
        self.balancer.wants_key()
    }

    /// The endpoint for the next attempt of a request, by its index, and notes it in `tried`.
    ///
    /// One that was tried is picked again only when nothing else is available. `key` is what a
    /// hashing balancer goes by, see [`wants_key`](Self::wants_key). No allocation.
    ///
    /// # Errors
    /// None is available.
    pub fn pick(&self, tried: &mut Tried, key: Option<Key>) -> Result<usize, NoneAvailable> {
        let candidates = self.upstream.candidates(now());
        let index = self.balancer.pick(&candidates, tried, key).ok_or(NoneAvailable)?;
        tried.insert(index);
        Ok(index)
    }

    /// A connection to the endpoint `index`, which [`pick`](Self::pick) returned.
    ///
    /// A failure to connect is reported for the endpoint's ejection here; how the request went
    /// after that is the caller's to [`report`](Self::report).
    ///
    /// Cancel safe: a connection that was on its way to a dropped future goes to the pool, a
    /// half-open one is closed.
    ///
    /// # Errors
    /// Each says that nothing was sent.
    ///
    /// # Panics
    /// When `index` isn't one of this upstream's endpoints.
    pub async fn lend(
        &self,
        index: usize,
        connect_timeout: Duration,
    ) -> Result<Lent, ConnectError> {
        if let Some(lent) = self.lend_idle(index) {
            return Ok(lent);
        }
        let pool = &self.endpoints[index];
        let in_flight = InFlight::enter(pool);
        pool.counters().requests.increment();
        // Its own allocation from the free list: the caller's future stays small.
        let lent = PooledFuture::new(self.acquire(pool, in_flight, connect_timeout)).await;
        if let Err(error) = &lent
            && error.fault() == Fault::Endpoint
        {
            self.report(index, Outcome::ConnectFailed);
        }
        lent
    }

    /// The warmest idle connection of this shard to endpoint `index`: what [`lend`](Self::lend)
    /// looks for first, for who wants no future when there is one.
    ///
    /// # Panics
    /// When `index` isn't one of this upstream's endpoints.
    pub fn lend_idle(&self, index: usize) -> Option<Lent> {
        let pool = &self.endpoints[index];
        let (connection, recv) = pool.take_idle()?;
        let counters = pool.counters();
        counters.requests.increment();
        counters.reused.increment();
        Some(Lent::new(connection, Some(recv), InFlight::enter(pool)))
    }

    /// A new connection to the endpoint `index`, for one client alone: it is never one that has
    /// served, and giving it back closes it. The connection's limits and waits are those of
    /// [`lend`](Self::lend).
    ///
    /// # Errors
    /// Each says that nothing but `dial.preface` was sent.
    ///
    /// # Panics
    /// When `index` isn't one of this upstream's endpoints.
    pub async fn dial_for_one(&self, index: usize, dial: Dial) -> Result<Lent, ConnectError> {
        let pool = &self.endpoints[index];
        let in_flight = InFlight::enter(pool);
        pool.counters().requests.increment();
        let opened = PooledFuture::new(async {
            let seat = self.seat(pool).await?;
            open(pool, seat, in_flight, dial).await
        });
        let lent = opened.await;
        match &lent {
            Err(error) if error.fault() == Fault::Endpoint => {
                self.report(index, Outcome::ConnectFailed);
            }
            _ => {}
        }
        lent.map(Lent::for_one_client)
    }

    /// Counts something at the endpoint `index` that needs no connection of the pool: a flow.
    ///
    /// # Panics
    /// When `index` isn't one of this upstream's endpoints.
    #[must_use]
    pub fn hold(&self, index: usize) -> Held {
        let pool = &self.endpoints[index];
        pool.counters().requests.increment();
        Held::new(pool)
    }

    /// Takes note of how a request to endpoint `index` went; may eject it.
    pub fn report(&self, index: usize, outcome: Outcome) -> Option<Change> {
        self.upstream.report(self.shard, index, outcome, now())
    }

    /// The retry budget of this upstream on this shard; survives reloads.
    pub fn budget(&self) -> &RetryBudget {
        &self.budget
    }

    /// This shard's counters for endpoint `index`.
    pub fn counters(&self, index: usize) -> Option<&Counters> {
        self.endpoints.get(index).map(|pool| pool.counters())
    }

    /// Idle connections of this shard to all endpoints.
    pub fn idle(&self) -> usize {
        self.endpoints.iter().map(|pool| pool.idle_len()).sum()
    }

    async fn acquire(
        &self,
        pool: &Rc<EndpointPool>,
        in_flight: InFlight,
        connect_timeout: Duration,
    ) -> Result<Lent, ConnectError> {
        if pool.queue.is_empty() {
            let found = match steal(pool).await {
                Some(stolen) => Some(stolen),
                // One may have come back while the neighbour was asked.
                None => pool.take_idle(),
            };
            if let Some((connection, recv)) = found {
                pool.counters().reused.increment();
                return Ok(Lent::new(connection, Some(recv), in_flight));
            }
            if let Some(seat) = Seat::take(pool.endpoint(), pool.rules().connections) {
                return open(pool, seat, in_flight, Dial::within(connect_timeout)).await;
            }
        }
        watch_queue(pool);
        match queue::wait(pool, &self.upstream).await? {
            Grant::Connection(connection, recv) => {
                pool.counters().reused.increment();
                Ok(Lent::new(connection, Some(recv), in_flight))
            }
            Grant::Seat(seat) => open(pool, seat, in_flight, Dial::within(connect_timeout)).await,
        }
    }

    /// A seat for a new connection, waited for if it must be.
    async fn seat(&self, pool: &Rc<EndpointPool>) -> Result<Seat, ConnectError> {
        if pool.queue.is_empty()
            && let Some(seat) = Seat::take(pool.endpoint(), pool.rules().connections)
        {
            return Ok(seat);
        }
        watch_queue(pool);
        match queue::wait(pool, &self.upstream).await? {
            Grant::Seat(seat) => Ok(seat),
            // One that has carried requests is no good here: it closes, its seat is ours.
            Grant::Connection(connection, recv) => {
                drop(recv);
                Ok(connection.seat)
            }
        }
    }
}

/// Opens a connection in a seat.
async fn open(
    pool: &Rc<EndpointPool>,
    seat: Seat,
    in_flight: InFlight,
    dial: Dial,
) -> Result<Lent, ConnectError> {
    // Given up with the future: the next waiter gets the seat.
    let seat = LocalSeat::new(seat, pool);
    let stream = connect(pool.endpoint().address, pool.security(), dial).await?;
    pool.counters().connects.increment();
    if spoken(&stream) == UpstreamProtocol::H2 {
        // It spoke HTTP/1.1 before. Only one that may choose is offered both.
        pool.endpoint().note_spoken(UpstreamProtocol::H2);
        return Err(ConnectError::OtherProtocol(pool.endpoint().address));
    }
    Ok(Lent::new(Connection::new(stream, 0, seat.into_seat()), None, in_flight))
}

/// Looks for seats that other shards gave up, and for their idle connections, while requests
/// wait here: what happens on this shard serves the queue by itself.
pub(super) fn watch_queue(pool: &Rc<EndpointPool>) {
    if pool.is_watched.replace(true) {
        return;
    }
    let pool = Rc::clone(pool);
    let _detached = spawn(async move {
        loop {
            sleep(QUEUE_LOOK_EVERY).await;
            pool.look_for_seats();
            if pool.queue.is_empty() {
                break;
            }
            if let Some((connection, recv)) = steal(&pool).await {
                pool.put(connection, recv);
            }
        }
        pool.is_watched.set(false);
    });
}

/// How often idle connections are looked over.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How often a shard looks for what other shards freed while requests wait.
const QUEUE_LOOK_EVERY: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests;
