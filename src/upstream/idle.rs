//! One endpoint's connections on one shard: those that are idle and those who wait for one.
//!
//! ```text
//!        oldest                                   newest
//!   idle [ c1 | c2 | c3 | ...................... | c9 ]  ◀─▶ give_back, lend: LIFO, the warmest
//!          ▲                                               first, so that the rest can age
//!          └ swept after idle_timeout; given to neighbours
//! ```
//! Each idle connection has a receive armed. Nothing may arrive while it is idle, so a receive
//! that's done means: closed by the endpoint, broken, or bytes that nobody asked for; it's
//! thrown away when it's found, at the latest by the sweep once a second.
//!
//! Requests come in bursts, an HTTP/2 client's above all, so what is above `idle_per_endpoint` isn't
//! closed at once, only to be opened again with the next burst: the sweep closes what a whole second
//! had no use for. There is never more of it than there were requests at one time.
//!
//! An idle connection costs about 250 bytes of user memory: 64 for its entry here, 32 for the
//! stream, and in the runtime a socket's and an armed operation's slot. It holds no receive buffer:
//! the ring lends one only when bytes arrive, and unasked bytes keep theirs until the sweep.

use super::{
    counters::Counters,
    endpoint::{Endpoint, Seat, Security},
    queue::{Grant, Queue},
    steal::{HOT, Mesh, Moving, UNASKED},
};
use crate::{
    config::{Share, UpstreamConfig},
    runtime::now,
    transport::{Recv, Stream},
};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// An open connection that nobody uses.
pub(super) struct Connection {
    pub(super) stream: Rc<Stream>,
    /// Requests that it carried.
    pub(super) uses: u64,
    pub(super) seat: Seat,
}

impl Connection {
    pub(super) fn new(stream: Stream, uses: u64, seat: Seat) -> Self {
        Self { stream: Rc::new(stream), uses, seat }
    }

    pub(super) fn from_moving(moving: Moving) -> Self {
        let Moving { socket, seat, uses } = moving;
        Self::new(Stream::from_owned(socket), uses, seat)
    }

    /// For another shard; only its seat when somebody still holds the stream. No operation may be
    /// in flight.
    fn into_moving(self) -> Result<Moving, Seat> {
        let Self { stream, uses, seat } = self;
        match Rc::try_unwrap(stream) {
            Ok(stream) => Ok(Moving { socket: stream.into_owned(), seat, uses }),
            Err(_) => Err(seat),
        }
    }
}

struct Idle {
    connection: Connection,
    recv: Recv,
    since: Instant,
}

const _: () = assert!(size_of::<Idle>() <= 64, "the figure above counts with it");

/// What the newest snapshot says about this endpoint's connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) idle_max: usize,
    pub(super) idle_timeout: Duration,
    pub(super) share: Share,
    pub(super) max_reuse: Option<u64>,
    pub(super) connections: Option<u32>,
    pub(super) pending: u32,
    pub(super) queue_timeout: Duration,
}

impl Rules {
    pub(super) fn of(config: &UpstreamConfig) -> Self {
        Self {
            idle_max: config.pool.idle_per_endpoint as usize,
            idle_timeout: config.pool.idle_timeout,
            share: config.pool.share,
            max_reuse: config.pool.max_reuse,
            connections: config.limits.connections,
            pending: config.limits.pending,
            queue_timeout: config.limits.queue_timeout,
        }
    }
}

/// One endpoint's connections on one shard.
pub(super) struct EndpointPool {
    endpoint: Arc<Endpoint>,
    /// The endpoint's, with sessions of this shard's own.
    security: Security,
    idle: RefCell<VecDeque<Idle>>,
    pub(super) queue: Queue,
    rules: Cell<Rules>,
    /// Whether the last connection that was wanted both here and elsewhere went elsewhere.
    gave_away: Cell<bool>,
    /// Whether a task looks after the queue.
    pub(super) is_watched: Cell<bool>,
    pub(super) mesh: Rc<Mesh>,
}

impl EndpointPool {
    pub(super) fn new(endpoint: &Arc<Endpoint>, rules: Rules, mesh: &Rc<Mesh>) -> Self {
        let security = match &endpoint.security {
            Security::Tls(tls) => Security::Tls(Arc::new(tls.with_own_sessions())),
            other => other.clone(),
        };
        Self {
            endpoint: Arc::clone(endpoint),
            security,
            idle: RefCell::default(),
            queue: Queue::default(),
            rules: Cell::new(rules),
            gave_away: Cell::new(false),
            is_watched: Cell::new(false),
            mesh: Rc::clone(mesh),
        }
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    pub(super) fn security(&self) -> &Security {
        &self.security
    }

    pub(super) fn rules(&self) -> Rules {
        self.rules.get()
    }

    pub(super) fn set_rules(&self, rules: Rules) {
        self.rules.set(rules);
    }

    pub(super) fn counters(&self) -> &Counters {
        self.endpoint
            .counters(self.mesh.shard)
            .expect("`Upstream::build` made counters for every shard")
    }

    pub(super) fn count_discarded(&self) {
        self.counters().discarded.increment();
    }

    /// The warmest idle connection that is still good.
    pub(super) fn take_idle(&self) -> Option<(Connection, Recv)> {
        loop {
            let Idle { connection, mut recv, .. } = self.idle.borrow_mut().pop_back()?;
            self.show_idle();
            if !recv.is_ready() {
                return Some((connection, recv));
            }
            self.discard(connection, recv);
        }
    }

    /// Takes a connection back from an exchange, or in from a neighbour. `recv` is its armed
    /// receive, if it has one.
    pub(super) fn give_back(&self, connection: Connection, recv: Option<Recv>) {
        let connection = match self.wanting_neighbour() {
            Some(neighbour) if recv.is_none() => match self.send_away(connection, neighbour) {
                Some(kept) => kept,
                None => return,
            },
            _ => connection,
        };
        if recv.is_none() && self.queue.is_empty() && self.keeps_none() {
            // Not worth arming a receive only to cancel it.
            self.close(connection);
            return;
        }
        let recv = recv.unwrap_or_else(|| connection.stream.recv());
        self.put(connection, recv);
    }

    /// Takes in a connection that came from a neighbour.
    pub(super) fn take_in(&self, moving: Moving) {
        self.counters().stolen.increment();
        self.keep(moving);
    }

    /// Makes a connection this shard's again.
    pub(super) fn keep(&self, moving: Moving) {
        let connection = Connection::from_moving(moving);
        let recv = connection.stream.recv();
        self.put(connection, recv);
    }

    /// To the first waiter, else to the idle ones.
    pub(super) fn put(&self, connection: Connection, recv: Recv) {
        let (connection, recv) = if self.queue.is_empty() {
            (connection, recv)
        } else {
            match self.serve(Grant::Connection(connection, recv)) {
                Some(Grant::Connection(connection, recv)) => (connection, recv),
                _ => return,
            }
        };
        if self.keeps_none() {
            self.discard(connection, recv);
            return;
        }
        self.idle.borrow_mut().push_back(Idle { connection, recv, since: now() });
        self.show_idle();
    }

    /// A connection of this shard was closed, or a connect failed: a waiter may open one in its
    /// seat, here or on another shard.
    pub(super) fn pass_on(&self, seat: Seat) {
        let cap = self.rules().connections;
        if cap.is_some_and(|cap| self.endpoint.connections() > cap) {
            // A reload lowered the cap.
            return;
        }
        let seat = match self.wanting_neighbour() {
            Some(neighbour) => match self.mesh.give_seat(neighbour, self.endpoint.id(), seat) {
                Ok(()) => return,
                Err(kept) => kept,
            },
            None => seat,
        };
        self.take_seat(seat);
    }

    /// Serves the first waiter, if there is one, with a seat.
    pub(super) fn take_seat(&self, seat: Seat) {
        drop(self.serve(Grant::Seat(seat)));
    }

    /// Looks for seats that became free elsewhere while requests wait here.
    pub(super) fn look_for_seats(&self) {
        while !self.queue.is_empty() {
            let Some(seat) = Seat::take(&self.endpoint, self.rules().connections) else { return };
            let unwanted = self.serve(Grant::Seat(seat));
            debug_assert!(unwanted.is_none(), "the queue wasn't empty");
        }
    }

    /// The oldest idle connection, freed from this shard; `None` when there is none to spare.
    pub(super) async fn release(&self) -> Option<Moving> {
        if self.rules().share == Share::Off {
            return None;
        }
        while let Some(Idle { connection, mut recv, .. }) = self.pop_spare() {
            self.show_idle();
            if recv.is_ready() {
                self.discard(connection, recv);
                continue;
            }
            match recv.cancel().await {
                Ok(None) => match connection.into_moving() {
                    Ok(moving) => return Some(moving),
                    Err(seat) => self.lost(seat),
                },
                Ok(Some(_)) | Err(_) => self.close(connection),
            }
        }
        None
    }

    /// Closes what has been idle for too long, and what died meanwhile.
    pub(super) fn sweep(&self, now: Instant) {
        let Rules { idle_timeout, idle_max, .. } = self.rules();
        let mut surplus = self.idle_len().saturating_sub(idle_max);
        // From the oldest on: what is above the limit goes first.
        let mut is_over = |idle: &mut Idle| {
            let age = now.saturating_duration_since(idle.since);
            let is_surplus = surplus > 0 && age >= SURPLUS_TIMEOUT;
            let is_over = is_surplus || age >= idle_timeout || idle.recv.is_ready();
            surplus -= usize::from(is_over && surplus > 0);
            is_over
        };
        let mut position = 0;
        loop {
            let found = {
                let mut idle = self.idle.borrow_mut();
                while idle.get_mut(position).is_some_and(|idle| !is_over(idle)) {
                    position += 1;
                }
                idle.remove(position)
            };
            let Some(Idle { connection, recv, .. }) = found else { break };
            self.discard(connection, recv);
        }
        self.show_idle();
    }

    /// Idle connections of this shard.
    pub(super) fn idle_len(&self) -> usize {
        self.idle.borrow().len()
    }

    fn keeps_none(&self) -> bool {
        self.rules().idle_max == 0
    }

    fn pop_spare(&self) -> Option<Idle> {
        let mut idle = self.idle.borrow_mut();
        let is_last_and_hot = idle.len() == 1
            && idle.front().is_some_and(|idle| now().saturating_duration_since(idle.since) < HOT);
        if is_last_and_hot { None } else { idle.pop_front() }
    }

    /// The neighbour whose requests wait for a connection, if it is its turn to get one.
    ///
    /// Requests that wait here and those that wait elsewhere take turns, so that no shard
    /// starves while another passes its connections round among its own.
    fn wanting_neighbour(&self) -> Option<usize> {
        // One load of a line that is written only while requests wait.
        if self.endpoint.pending() == 0 {
            return None;
        }
        let neighbour = self.endpoint.neediest_but(self.mesh.shard)?;
        let is_its_turn = self.queue.is_empty() || !self.gave_away.get();
        self.gave_away.set(is_its_turn);
        is_its_turn.then_some(neighbour)
    }

    /// Gives a connection to a neighbour; `None` when it is gone. Without sharing it is closed,
    /// so that the neighbour can open one in its seat.
    fn send_away(&self, connection: Connection, neighbour: usize) -> Option<Connection> {
        if self.rules().share == Share::Off {
            let Connection { stream, seat, .. } = connection;
            drop(stream);
            self.count_discarded();
            if let Err(kept) = self.mesh.give_seat(neighbour, self.endpoint.id(), seat) {
                self.take_seat(kept);
            }
            return None;
        }
        let moving = match connection.into_moving() {
            Ok(moving) => moving,
            Err(seat) => {
                self.lost(seat);
                return None;
            }
        };
        match self.mesh.give(neighbour, self.endpoint.id(), UNASKED, moving) {
            Ok(()) => {
                self.counters().given.increment();
                None
            }
            Err(kept) => Some(Connection::from_moving(kept)),
        }
    }

    fn serve(&self, grant: Grant) -> Option<Grant> {
        let unwanted = self.queue.serve(grant);
        self.show_waiting();
        unwanted
    }

    pub(super) fn discard(&self, connection: Connection, recv: Recv) {
        drop(recv);
        self.close(connection);
    }

    fn close(&self, connection: Connection) {
        let Connection { stream, seat, .. } = connection;
        drop(stream);
        self.lost(seat);
    }

    /// A connection is gone, its seat is left.
    fn lost(&self, seat: Seat) {
        self.count_discarded();
        self.pass_on(seat);
    }

    /// Shows neighbours how many wait here.
    pub(super) fn show_waiting(&self) {
        self.counters().waiting.store(self.queue.len(), Ordering::Relaxed);
    }

    /// Shows neighbours how many are here.
    fn show_idle(&self) {
        let count = u32::try_from(self.idle.borrow().len()).unwrap_or(u32::MAX);
        self.counters().idle.store(count, Ordering::Relaxed);
    }
}

/// How long a connection above `idle_per_endpoint` may be idle.
const SURPLUS_TIMEOUT: Duration = Duration::from_secs(1);

impl Drop for EndpointPool {
    fn drop(&mut self) {
        if let Some(counters) = self.endpoint.counters(self.mesh.shard) {
            counters.idle.store(0, Ordering::Relaxed);
            counters.waiting.store(0, Ordering::Relaxed);
        }
    }
}
