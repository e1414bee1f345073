//! UDP: one socket that listens, one per flow that talks to its endpoint.
//!
//! ```text
//!   client ─▶ listening socket ─ flow of (client, address)? ─▶ its own connected socket ─▶ endpoint
//!   client ◀─ listening socket ◀──── outbox, one send a turn ◀── reply on that socket ◀─────┘
//! ```
//! A flow keeps its endpoint as long as that exists and its probe passes; which one a new flow gets
//! is the balancer's choice by the client's address. So flows survive a reload, and with a hashing
//! policy a restart, too. The table itself, with its bounds, is `flows`. What can't be passed on at
//! once is dropped and counted, as the network would.

use std::{
    cell::{Cell, RefCell},
    fmt, io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use super::{
    flows::{Ended, Ending, FlowId, FlowKey, Flows, Limits, Opened},
    shard::Shard,
};
use crate::{
    balance::{Key, Tried},
    base::access::{AccessFormat, AccessRecord},
    base::address::Address,
    runtime::{self, Datagrams, Expired, Outbox, Signal, Task, Timer, Train, UdpSocket},
    transport::{
        admission::Gate,
        counters::{FlowCounters, ListenerCounters, PerShard},
    },
    upstream::{Held, Outcome, Pool, Upstream},
};

/// Chooses where a new flow goes: the UDP twin of the filter API. Asked once a flow, with its first
/// datagram; everything after that follows. `None` drops the datagram.
pub trait Steer {
    /// The upstream of the flow that begins with `first`.
    fn steer(&self, client: SocketAddr, first: &[u8]) -> Option<Rc<FlowForward>>;
}

/// Everything goes to one upstream.
impl Steer for Rc<FlowForward> {
    fn steer(&self, _client: SocketAddr, _first: &[u8]) -> Option<Self> {
        Some(Self::clone(self))
    }
}

/// Forwards flows to an upstream. One per shard and upstream.
pub struct FlowForward {
    pool: Rc<Pool>,
    name: String,
    /// The route's name and counters.
    route: Option<(String, Arc<PerShard<FlowCounters>>)>,
    /// Other endpoints that are tried when one can't be had.
    attempts: u32,
}

impl FlowForward {
    /// Forwards to `upstream`; one more endpoint is tried when one can't be had.
    #[must_use]
    pub fn new(shard: &Shard, upstream: &Arc<Upstream>) -> Self {
        let pool = shard.pools().open(upstream);
        Self { pool, name: upstream.config.name.clone(), route: None, attempts: 1 }
    }

    /// As a route of the configuration has it.
    #[must_use]
    pub(crate) fn of_route(
        mut self,
        name: &str,
        counters: &Arc<PerShard<FlowCounters>>,
        attempts: u32,
    ) -> Self {
        self.route = Some((name.to_owned(), Arc::clone(counters)));
        self.attempts = attempts;
        self
    }
}

impl fmt::Debug for FlowForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowForward").field("upstream", &self.name).finish_non_exhaustive()
    }
}

/// What a configuration says of a UDP listener, on one shard.
pub struct FlowPlan {
    /// The listener's name.
    pub name: Rc<str>,
    /// Who may send.
    pub gate: Arc<Gate>,
    /// Bounds of the table, and when a flow ends.
    pub limits: Limits,
    /// Where new flows go; none: nowhere.
    pub steer: Option<Rc<dyn Steer>>,
    /// Counts its flows.
    pub counters: Arc<PerShard<ListenerCounters>>,
    /// The access log's format, and the share of flows that it takes.
    pub log: Option<(AccessFormat, f64)>,
    /// Every upstream of the configuration: flows to other endpoints end.
    pub upstreams: Vec<Arc<Upstream>>,
}

impl fmt::Debug for FlowPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowPlan").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Everything that a UDP listener's sockets share on one shard. A reload replaces what is inside.
#[derive(Debug)]
pub(super) struct FlowService {
    shard: Rc<Shard>,
    plan: RefCell<Rc<FlowPlan>>,
}

impl FlowService {
    pub(super) fn new(shard: &Rc<Shard>, plan: FlowPlan) -> Rc<Self> {
        Rc::new(Self { shard: Rc::clone(shard), plan: RefCell::new(Rc::new(plan)) })
    }

    /// New flows go by `plan` from now on; those to endpoints that it doesn't have end with the
    /// next datagram of any client.
    pub(super) fn replace(&self, plan: FlowPlan) {
        self.plan.replace(Rc::new(plan));
    }

    /// Relays what comes to `socket` until the task is aborted.
    pub(super) async fn serve(self: Rc<Self>, socket: UdpSocket) {
        let table = Table::new(&self, socket);
        let _closing = Closing(Rc::clone(&table));
        let flusher = runtime::spawn(flush(Rc::clone(&table)));
        *table.flusher.borrow_mut() = Some(flusher);
        let timer = Timer::new();
        let mut batch = Datagrams::new();
        loop {
            table.follow_plan();
            table.expire(runtime::now());
            match table.flows.borrow().next_timeout() {
                Some(at) => timer.set(at),
                None => timer.clear(),
            }
            match timer.guard(table.socket.readable()).await {
                Ok(Ok(())) => {
                    // First: a flow that is to end takes no request with it.
                    table.follow_plan();
                    table.receive(&mut batch).await;
                }
                Err(Expired) => {}
                Ok(Err(error)) => {
                    tracing::error!(listener = &*table.plan.borrow().name, %error, "UDP ended");
                    return;
                }
            }
        }
    }
}

/// The flows of one listening socket.
struct Table {
    service: Rc<FlowService>,
    plan: RefCell<Rc<FlowPlan>>,
    socket: UdpSocket,
    flows: RefCell<Flows<Flow>>,
    outbox: RefCell<Outbox>,
    has_replies: Signal,
    flusher: RefCell<Option<Task>>,
}

/// What is kept with a flow. Dropping it ends the flow's task.
struct Flow {
    socket: Rc<UdpSocket>,
    held: Held,
    forward: Rc<FlowForward>,
    index: usize,
    meter: Rc<Meter>,
    started: Instant,
    task: Option<Task>,
}

impl Drop for Flow {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Bytes of a flow.
#[derive(Debug, Default)]
struct Meter {
    up: Cell<u64>,
    down: Cell<u64>,
    has_reply: Cell<bool>,
}

/// Ends all flows of a table when its task ends.
struct Closing(Rc<Table>);

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(flusher) = self.0.flusher.take() {
            flusher.abort();
        }
        let ended = self.0.flows.borrow_mut().retain(|_| false);
        ended.into_iter().for_each(|ended| self.0.record(ended));
    }
}

impl Table {
    fn new(service: &Rc<FlowService>, socket: UdpSocket) -> Rc<Self> {
        let plan = Rc::clone(&service.plan.borrow());
        let flows = Flows::new(plan.limits, service.shard.seed());
        Rc::new(Self {
            service: Rc::clone(service),
            plan: RefCell::new(plan),
            socket,
            flows: RefCell::new(flows),
            outbox: RefCell::new(Outbox::new()),
            has_replies: Signal::new(),
            flusher: RefCell::default(),
        })
    }

    /// Takes over a new configuration: flows whose endpoint is gone end, all others go on.
    fn follow_plan(&self) {
        let newest = Rc::clone(&self.service.plan.borrow());
        if Rc::ptr_eq(&newest, &self.plan.borrow()) {
            return;
        }
        let is_there = |flow: &Flow| {
            let id = flow.held.endpoint().id();
            newest.upstreams.iter().any(|own| own.endpoints.iter().any(|other| other.id() == id))
        };
        let ended = {
            let mut flows = self.flows.borrow_mut();
            flows.set_limits(newest.limits);
            flows.retain(is_there)
        };
        ended.into_iter().for_each(|ended| self.record(ended));
        self.plan.replace(newest);
    }

    fn expire(&self, now: Instant) {
        loop {
            let ended = self.flows.borrow_mut().handle_timeout(now);
            let Some(ended) = ended else { return };
            self.record(ended);
        }
    }

    /// Takes batches until the socket is empty, with others in between.
    async fn receive(self: &Rc<Self>, batch: &mut Datagrams) {
        loop {
            let received = self.socket.recv_batch(batch);
            let now = runtime::now();
            match received {
                Ok(count) => {
                    batch.trains().for_each(|train| self.take(&train, now));
                    if count < Datagrams::CAPACITY {
                        return;
                    }
                }
                // An error of an earlier send (ICMP): told once, nothing is lost.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            runtime::yield_now().await;
        }
    }

    /// Passes the datagrams of one sender on.
    fn take(self: &Rc<Self>, train: &Train<'_>, now: Instant) {
        let plan = Rc::clone(&self.plan.borrow());
        if !plan.gate.lets_in(train.from.ip()) {
            self.count(&plan, |counters| counters.denied.increment());
            return;
        }
        let key = FlowKey { client: train.from, to: train.to };
        let known = self.flows.borrow_mut().request(now, &key, train.count() as u64);
        if let Some(id) = known {
            match self.send(id, train) {
                Sent::Yes => return,
                // Its endpoint is gone: the client gets another one, with this datagram.
                Sent::No => self.close(id),
            }
        }
        self.open(&plan, key, train, now);
    }

    fn send(&self, id: FlowId, train: &Train<'_>) -> Sent {
        let flows = self.flows.borrow();
        let Some(flow) = flows.data(id) else { return Sent::No };
        if !flow.held.endpoint().passes_probe() {
            return Sent::No;
        }
        match flow.socket.send(train) {
            Ok(()) => {
                let meter = &flow.meter;
                meter.up.set(meter.up.get() + train.bytes() as u64);
                self.count_route(&flow.forward, |own| {
                    own.datagrams_in.add(train.count() as u64);
                    own.bytes_in.add(train.bytes() as u64);
                });
                Sent::Yes
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                flow.forward.pool.report(flow.index, Outcome::ConnectFailed);
                Sent::No
            }
            Err(_) => {
                let lost = train.count() as u64;
                self.count_route(&flow.forward, |own| own.datagrams_lost.add(lost));
                Sent::Yes
            }
        }
    }

    /// Opens a flow and sends its first datagram.
    fn open(self: &Rc<Self>, plan: &FlowPlan, key: FlowKey, train: &Train<'_>, now: Instant) {
        let steer = plan.steer.as_ref();
        let Some(forward) = steer.and_then(|steer| steer.steer(key.client, train.first())) else {
            return;
        };
        let Some(flow) = self.connect(&forward, key.client, now) else {
            let lost = train.count() as u64;
            self.count_route(&forward, |own| own.datagrams_lost.add(lost));
            return;
        };
        let (socket, meter) = (Rc::clone(&flow.socket), Rc::clone(&flow.meter));
        let opened = self.flows.borrow_mut().open(now, key, train.count() as u64, flow);
        let id = match opened {
            Ok(Opened { id, ended }) => {
                ended.into_iter().for_each(|ended| self.record(ended));
                id
            }
            Err((_full, flow)) => {
                drop(flow);
                self.count(plan, |counters| counters.refused.increment());
                return;
            }
        };
        self.count(plan, |counters| counters.accepted.increment());
        self.count(plan, |counters| counters.open.add(1));
        self.count_route(&forward, |own| own.open.add(1));
        let replies = Replies { table: Rc::clone(self), id, key, socket, meter };
        let task = runtime::spawn(replies.run());
        self.flows.borrow_mut().with_data(id, |flow| flow.task = Some(task));
        // A refusal can't be known yet: it comes back with a later datagram.
        let _sent = self.send(id, train);
    }

    fn connect(&self, forward: &Rc<FlowForward>, client: SocketAddr, now: Instant) -> Option<Flow> {
        let pool = &forward.pool;
        let key = pool.wants_key().then(|| Key::of_ip(client.ip()));
        let from = pool.upstream().config.transparent.then_some(client);
        let mut tried = Tried::new();
        while tried.attempts() <= forward.attempts {
            let index = pool.pick(&mut tried, key).ok()?;
            let held = pool.hold(index);
            // The configuration has no others for UDP.
            let Address::Ip(address) = held.endpoint().address else { continue };
            match UdpSocket::connect(address, from) {
                Ok(socket) => {
                    return Some(Flow {
                        socket: Rc::new(socket),
                        held,
                        forward: Rc::clone(forward),
                        index,
                        meter: Rc::default(),
                        started: now,
                        task: None,
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "no socket for a flow");
                    pool.report(index, Outcome::ConnectFailed);
                }
            }
        }
        None
    }

    fn close(&self, id: FlowId) {
        let ended = self.flows.borrow_mut().close(id);
        if let Some(ended) = ended {
            self.record(ended);
        }
    }

    /// Counts and logs a flow that is over.
    fn record(&self, ended: Ended<Flow>) {
        let Ended { key, data: flow, why } = ended;
        let plan = Rc::clone(&self.plan.borrow());
        let duration = runtime::now().saturating_duration_since(flow.started);
        let has_reply = flow.meter.has_reply.get();
        self.count(&plan, |counters| counters.open.add(-1));
        self.count_route(&flow.forward, |own| {
            own.open.add(-1);
            own.count(has_reply, duration);
        });
        let Some((format, sample)) = &plan.log else { return };
        let record = AccessRecord {
            time: runtime::wall_now(),
            client_ip: key.client.ip(),
            method: b"",
            scheme: "udp",
            host: None,
            path: None,
            query: None,
            version: "",
            status: 0,
            bytes_in: flow.meter.up.get(),
            bytes_out: flow.meter.down.get(),
            duration,
            upstream_duration: None,
            listener: &plan.name,
            route: flow.forward.route.as_ref().map(|(name, _)| &**name),
            upstream: Some(&flow.forward.name),
            endpoint: Some(flow.held.endpoint().address),
            attempts: 1,
            request_id: None,
            referer: None,
            user_agent: None,
            tls: None,
            error: match why {
                Ending::Evicted => Some("evicted"),
                _ if !has_reply => Some("no_reply"),
                Ending::Idle | Ending::Answered | Ending::Closed => None,
            },
        };
        self.service.shard.log(&record, format, *sample);
    }

    fn count(&self, plan: &FlowPlan, count: impl FnOnce(&ListenerCounters)) {
        if let Some(counters) = plan.counters.shard(self.service.shard.id()) {
            count(counters);
        }
    }

    fn count_route(&self, forward: &FlowForward, count: impl FnOnce(&FlowCounters)) {
        let route = forward.route.as_ref();
        if let Some(counters) = route.and_then(|(_, own)| own.shard(self.service.shard.id())) {
            count(counters);
        }
    }
}

/// Whether a datagram was dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Yes,
    No,
}

/// Brings one flow's replies to its client.
struct Replies {
    table: Rc<Table>,
    id: FlowId,
    key: FlowKey,
    socket: Rc<UdpSocket>,
    meter: Rc<Meter>,
}

impl Replies {
    async fn run(self) {
        while self.socket.readable().await.is_ok() {
            for _ in 0..REPLIES_PER_TURN {
                if self.table.outbox.borrow().is_full() {
                    self.table.flush();
                }
                let received = self.table.outbox.borrow_mut().receive(
                    &self.socket,
                    self.key.client,
                    self.key.to,
                );
                match received {
                    Ok(received) => {
                        if self.note(received) {
                            return;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        self.fail(&error);
                        return;
                    }
                }
            }
        }
    }

    /// Counts a reply; true when it was the flow's last.
    fn note(&self, received: runtime::Received) -> bool {
        let table = &self.table;
        table.has_replies.notify();
        let (count, bytes) = (received.count as u64, received.bytes as u64);
        self.meter.down.set(self.meter.down.get() + bytes);
        let is_first = !self.meter.has_reply.replace(true);
        if let Some(flow) = table.flows.borrow().data(self.id) {
            if is_first {
                flow.forward.pool.report(flow.index, Outcome::Answered);
            }
            table.count_route(&flow.forward, |own| {
                own.datagrams_out.add(count);
                own.bytes_out.add(bytes);
            });
        }
        let ended = table.flows.borrow_mut().reply(runtime::now(), self.id, count);
        let is_over = ended.is_some();
        ended.into_iter().for_each(|ended| table.record(ended));
        is_over
    }

    /// The endpoint refuses datagrams, or can't be reached: the next one goes elsewhere.
    fn fail(&self, error: &io::Error) {
        tracing::debug!(%error, "a flow ended");
        if let Some(flow) = self.table.flows.borrow().data(self.id) {
            flow.forward.pool.report(flow.index, Outcome::ConnectFailed);
        }
        self.table.close(self.id);
    }
}

impl Table {
    fn flush(&self) {
        let failed = self.outbox.borrow_mut().flush(&self.socket);
        if failed > 0 {
            tracing::debug!(failed, "replies could not be sent");
        }
    }
}

/// Sends the replies of each turn together.
async fn flush(table: Rc<Table>) {
    loop {
        std::future::poll_fn(|_| {
            if table.outbox.borrow().is_empty() {
                table.has_replies.listen();
                return std::task::Poll::Pending;
            }
            std::task::Poll::Ready(())
        })
        .await;
        runtime::settled().await;
        table.flush();
    }
}

/// Replies that one flow may bring before others have their turn.
const REPLIES_PER_TURN: usize = 32;
