//! The simulation driver: a seeded network inside the process, with a virtual clock.
//!
//! ```text
//!   submit, cancel, close ─▶ pending operations ─┐            time jumps to the next event when
//!                                                ├─▶ net ─▶   nothing else can happen
//!   turn ─▶ events in order of (time, chance) ───┘    │
//!            delivery, FIN, reset, connect,           ▼
//!            cancel, completion ◀──────────── completions, each after a chance delay
//! ```
//!
//! It answers the driver seam and every socket call, so whatever runs on a shard runs here
//! unchanged: listeners, clients, upstreams and proxy in one runtime on one thread. One seed gives
//! one run, told by `trace_hash`. It models TCP as a shard sees it: order, windows, FIN, reset
//! (also the one that follows a close with unread data), half-close, backlogs; not packets.

mod net;
pub(crate) mod random;
mod report;
mod traffic;

use std::{collections::BTreeMap, io, net::SocketAddr, os::fd::RawFd, time::Duration};

pub use self::report::{SimEvents, SimLeaks, SimOptions, SimReport};
use self::{
    net::{Net, Side},
    random::Random,
};
use crate::runtime::{
    ListenOptions, Runtime, StartError,
    buffers::Pool,
    driver::{Completion, Driver, Kind, Op, Token, Wait},
    event, new_pool,
};

impl Runtime {
    /// Starts a runtime on a simulated network. The same seed and options give the same run, as
    /// long as the futures take chance from nowhere else.
    ///
    /// # Errors
    /// As [`Runtime::new`].
    pub fn sim(seed: u64, options: &SimOptions) -> Result<Self, StartError> {
        let pool = new_pool(&options.runtime)?;
        let driver = Driver::Sim(Box::new(Sim::new(seed, options, &pool)));
        Self::assemble(driver, pool, &options.runtime, format!("sim: seed {seed}"))
    }

    /// The hash of what has happened so far; `None` on a real driver.
    pub fn trace_hash(&self) -> Option<u64> {
        self.shard.driver.borrow_mut().sim().map(|sim| sim.trace)
    }

    /// Drops every task, drains every operation, and tells what happened and what is left. `None`
    /// on a real driver.
    pub fn finish(self) -> Option<SimReport> {
        self.shard.shut_down();
        let usage = self.shard.usage();
        let mut driver = self.shard.driver.borrow_mut();
        let sim = driver.sim()?;
        Some(SimReport {
            seed: sim.seed,
            trace_hash: sim.trace,
            elapsed: sim.now(),
            events: sim.counts,
            leaked: SimLeaks {
                operations: usage.ops_in_flight.max(self.shard.ops.live()),
                buffers: usage.buffers_in_use,
                leases: usage.leases_in_use,
                tasks: usage.tasks,
                sockets: usage.sockets.max(sim.net.open()),
                timers: self.shard.timers.live(),
            },
            violations: sim.violations.clone(),
        })
    }
}

/// Virtual time, in nanoseconds.
type Time = u64;

/// What a turn takes by itself, so that a task that only yields doesn't stop the clock.
const TURN_TIME: Time = 1_000;

/// How long, in real time, a run without events waits for another thread before it is called
/// stalled.
const STALLED_AFTER: Duration = Duration::from_secs(2);

/// The simulation driver.
pub(crate) struct Sim {
    seed: u64,
    options: SimOptions,
    random: Random,
    now: Time,
    /// By time, then by chance, then in order.
    events: BTreeMap<(Time, u64, u64), Event>,
    sequence: u64,
    net: Net,
    /// Operations in flight, by op slot.
    pending: Vec<Option<Pending>>,
    doorbell: Option<(Token, RawFd)>,
    free: Vec<u16>,
    done: Vec<Completion>,
    counts: SimEvents,
    trace: u64,
    violations: Vec<String>,
}

/// An operation in flight.
#[derive(Clone, Copy)]
struct Pending {
    token: Token,
    fd: RawFd,
    op: Op,
    /// Bytes that a send has behind it.
    progress: u32,
    /// When its final completion may come at the earliest: behind the others.
    not_before: Time,
}

/// Something that will happen.
enum Event {
    /// Bytes arrive at a side.
    Deliver { to: Side, from: Side, bytes: Vec<u8> },
    /// A side learns that the other one has finished sending.
    Fin { to: Side },
    /// A side learns that the connection is dead.
    Reset { to: Side },
    /// A connection attempt arrives.
    Connect { token: Token, client: Side, address: SocketAddr },
    /// A cancel takes effect, if the operation hasn't ended.
    Cancel { token: Token },
    /// A completion becomes visible.
    Complete(Completion),
}

impl Sim {
    pub(crate) fn new(seed: u64, options: &SimOptions, pool: &Pool) -> Self {
        Self {
            seed,
            options: options.clone(),
            random: Random::new(seed),
            now: 0,
            events: BTreeMap::new(),
            sequence: 0,
            net: Net::default(),
            pending: Vec::new(),
            doorbell: None,
            free: (0..pool.count()).rev().collect(),
            done: Vec::new(),
            counts: SimEvents::default(),
            trace: 0xcbf2_9ce4_8422_2325,
            violations: Vec::new(),
        }
    }

    /// Virtual time since the start.
    pub(crate) fn now(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    pub(crate) fn submit(&mut self, pool: &Pool, token: Token, fd: RawFd, op: Op) {
        if let Op::Doorbell { .. } = op {
            self.doorbell = Some((token, fd));
            return;
        }
        let slot = token.slot() as usize;
        if slot >= self.pending.len() {
            self.pending.resize(slot + 1, None);
        }
        if self.pending[slot].is_some() {
            self.violate(format!("slot {slot} was submitted twice"));
        }
        self.pending[slot] = Some(Pending { token, fd, op, progress: 0, not_before: 0 });
        self.begin(pool, token, fd, op);
    }

    pub(crate) fn cancel(&mut self, token: Token, _fd: RawFd) {
        if token.kind() == Kind::Doorbell {
            if self.doorbell.take_if(|(bell, _)| *bell == token).is_some() {
                self.finish(token, -libc::ECANCELED, 0, 0);
            }
            return;
        }
        let delay = self.jitter();
        self.schedule(delay, Event::Cancel { token });
    }

    pub(crate) fn cancel_all(&mut self, fd: RawFd) {
        let tokens: Vec<Token> =
            self.pending.iter().flatten().filter(|p| p.fd == fd).map(|p| p.token).collect();
        for token in tokens {
            self.cancel(token, fd);
        }
    }

    pub(crate) fn recycle(&mut self, _pool: &Pool, buffer: u16) {
        if self.free.contains(&buffer) {
            self.violate(format!("buffer {buffer} was recycled twice"));
        }
        self.free.push(buffer);
    }

    pub(crate) fn turn(&mut self, pool: &Pool, wait: Wait, out: &mut Vec<Completion>) {
        self.now += TURN_TIME;
        let deadline = match wait {
            Wait::No => self.now,
            Wait::For(duration) => {
                let wait = Time::try_from(duration.as_nanos()).unwrap_or(Time::MAX);
                self.now.saturating_add(wait)
            }
            Wait::Forever => Time::MAX,
        };
        self.hear_doorbell();
        loop {
            while let Some(entry) = self.events.first_entry()
                && entry.key().0 <= self.now
            {
                let event = entry.remove();
                self.happen(pool, event);
            }
            if !self.done.is_empty() || self.now >= deadline {
                break;
            }
            match self.events.first_key_value() {
                Some((key, _)) if key.0 <= deadline => self.now = key.0,
                _ if deadline < Time::MAX => self.now = deadline,
                _ => self.wait_for_threads(),
            }
        }
        for completion in &self.done {
            let result = u64::from(completion.result.cast_unsigned());
            let kind = completion.token.kind() as u64;
            self.trace = mix(mix(mix(self.trace, self.now), kind), result);
        }
        out.append(&mut self.done);
    }

    /// Nothing can happen any more in here: only another thread can ring.
    fn wait_for_threads(&mut self) {
        let rang = self.doorbell.is_some_and(|(_, fd)| event::wait(fd, STALLED_AFTER));
        let seed = self.seed;
        assert!(rang, "seed {seed}: the run has stalled: tasks wait, and nothing will ever happen");
        self.hear_doorbell();
    }

    fn hear_doorbell(&mut self) {
        if let Some((token, fd)) = self.doorbell
            && event::take(fd)
        {
            self.doorbell = None;
            self.done.push(Completion { token, result: 8, flags: 0 });
        }
    }

    fn happen(&mut self, pool: &Pool, event: Event) {
        match event {
            Event::Deliver { to, from, bytes } => self.deliver(pool, to, from, &bytes),
            Event::Fin { to } => self.fin(pool, to),
            Event::Reset { to } => self.reset(pool, to),
            Event::Connect { token, client, address } => self.arrive(token, client, address),
            Event::Cancel { token } => {
                let slot = token.slot() as usize;
                let pending = self.pending.get_mut(slot);
                if let Some(pending) = pending.and_then(|p| p.take_if(|p| p.token == token)) {
                    self.counts.cancelled += 1;
                    let sent = i32::try_from(pending.progress).unwrap_or(i32::MAX);
                    let result = if sent > 0 { sent } else { -libc::ECANCELED };
                    self.net.forget(pending.fd, token.slot());
                    self.finish(token, result, 0, pending.not_before);
                }
            }
            Event::Complete(completion) => {
                self.counts.completions += 1;
                self.done.push(completion);
            }
        }
    }

    /// Has a completion become visible after a while.
    fn finish(&mut self, token: Token, result: i32, flags: u32, not_before: Time) {
        let at = self.now.saturating_add(self.jitter()).max(not_before);
        self.schedule_at(at, Event::Complete(Completion { token, result, flags }));
    }

    fn schedule(&mut self, delay: Time, event: Event) {
        self.schedule_at(self.now.saturating_add(delay), event);
    }

    fn schedule_at(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        let chance = self.random.next();
        self.events.insert((at, chance, self.sequence), event);
    }

    fn jitter(&mut self) -> Time {
        let max = Time::try_from(self.options.jitter_max.as_nanos()).unwrap_or(0);
        self.random.below(max + 1)
    }

    fn delay(&mut self) -> Time {
        let max = Time::try_from(self.options.delay_max.as_nanos()).unwrap_or(0);
        self.random.below(max + 1)
    }

    fn violate(&mut self, what: String) {
        self.violations.push(what);
    }
}

/// Socket calls that complete at once.
impl Sim {
    pub(crate) fn listen(&mut self, at: SocketAddr, options: &ListenOptions) -> io::Result<RawFd> {
        self.net.listen(at, options)
    }

    pub(crate) fn socket(&mut self, to: SocketAddr) -> io::Result<RawFd> {
        self.net.socket(to)
    }

    pub(crate) fn bytes_taken(&self, fd: RawFd) -> Option<u64> {
        self.net.bytes_taken(fd)
    }

    pub(crate) fn peer_addr(&mut self, fd: RawFd) -> io::Result<SocketAddr> {
        self.net.peer_addr(fd)
    }

    pub(crate) fn local_addr(&mut self, fd: RawFd) -> io::Result<SocketAddr> {
        self.net.local_addr(fd)
    }

    pub(crate) fn reset_on_close(&mut self, fd: RawFd) -> io::Result<()> {
        self.net.reset_on_close(fd)
    }

    pub(crate) fn accept_now(&mut self, fd: RawFd) -> io::Result<Option<RawFd>> {
        self.net.accept_now(fd)
    }

    pub(crate) fn shutdown_write(&mut self, fd: RawFd) -> io::Result<()> {
        if let Some((to, at)) = self.net.shut(fd)? {
            let at = at.max(self.now.saturating_add(self.delay()));
            self.net.ordered(fd, at);
            self.schedule_at(at, Event::Fin { to });
        }
        Ok(())
    }

    pub(crate) fn close(&mut self, fd: RawFd) {
        if self.pending.iter().flatten().any(|pending| pending.fd == fd) {
            self.violate(format!("descriptor {fd} was closed under an operation"));
        }
        for farewell in self.net.close(fd) {
            let at = farewell.not_before.max(self.now.saturating_add(self.delay()));
            let event = if farewell.is_reset {
                Event::Reset { to: farewell.to }
            } else {
                Event::Fin { to: farewell.to }
            };
            self.schedule_at(at, event);
        }
    }
}

fn mix(hash: u64, value: u64) -> u64 {
    (hash ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23)
}
