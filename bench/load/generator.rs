//! The load generator of the benches: one spinning thread, closed or open loop, with or without the
//! backend beside it. Every response is checked to the last byte. In the open loop latency runs
//! from when a request was due, not from when it could be sent, so that a stall of the proxy is
//! charged to every request that it delayed (no coordinated omission).
//!
//! ```text
//!   while time is left: poll(0) ─▶ backend's events ─▶ clients' events ─▶ start what is due
//! ```

#[path = "parts/client.rs"]
mod client;
#[path = "parts/plan.rs"]
mod plan;
#[path = "parts/serve.rs"]
mod serve;
#[path = "parts/usage.rs"]
mod usage;
#[path = "parts/wire.rs"]
mod wire;

use std::{
    collections::VecDeque,
    error::Error,
    fs,
    io::{self, Read, Write},
    time::{Duration, Instant},
};

use clap::Parser;
use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};
use serde_json::json;

use crate::{
    client::{Client, Failure, Shared},
    plan::Plan,
    serve::{SIZES, Serve},
    usage::Usage,
};

/// Tokens below are clients, from here on the backend's.
const SERVE_BASE: usize = 1 << 20;
/// How long requests that were due in the window may take to end after it.
const GRACE: Duration = Duration::from_secs(2);
/// The longest latency told apart.
const LATENCY_NANOS_MAX: u64 = 60_000_000_000;
/// Buckets of the timeline.
const TIMELINE_STEP: Duration = Duration::from_millis(100);

fn main() -> Result<(), Box<dyn Error>> {
    let plan = Plan::parse();
    let mut run = Run::new(plan)?;
    let report = if let Some(count) = run.plan.idle { run.hold(count)? } else { run.measure()? };
    writeln!(io::stdout().lock(), "{report}")?;
    Ok(())
}

/// One run: the sockets, the clock's zero, and what was seen in the measured window.
struct Run {
    plan: Plan,
    poll: Poll,
    serve: Option<Serve>,
    shared: Shared,
    clients: Vec<Client>,
    /// When each client's request was due.
    due: Vec<Instant>,
    /// Clients without a request, longest idle first: a fixed rate uses all of them in turn.
    idle: VecDeque<usize>,
    /// Open loop: requests that are due and have no client yet.
    waiting: VecDeque<Instant>,
    window: Option<(Instant, Instant)>,
    seen: Seen,
}

struct Seen {
    latency: Histogram<u64>,
    requests: u64,
    failures: [u64; 3],
    timeline: Vec<u64>,
}

#[expect(clippy::disallowed_methods, reason = "a generator is a clock: nobody hands it the time")]
fn now() -> Instant {
    Instant::now()
}

impl Run {
    fn new(plan: Plan) -> Result<Self, Box<dyn Error>> {
        let poll = Poll::new()?;
        let bind = |address| Serve::bind(address, poll.registry(), SERVE_BASE);
        let serve = plan.serve.map(bind).transpose()?;
        let bytes = SIZES
            .iter()
            .find(|(path, _)| *path == plan.path)
            .map_or(SIZES[0].1, |(_, bytes)| *bytes);
        let (request, body, scratch) = (plan.request(), wire::body(bytes), vec![0; 256 << 10]);
        let shared = Shared { to: plan.to, request, body, scratch, is_fresh: plan.fresh };
        let count = plan.idle.unwrap_or(plan.connections);
        let clients = (0..count).map(|index| Client::new(Token(index))).collect();
        let seen = Seen {
            latency: Histogram::new_with_bounds(1, LATENCY_NANOS_MAX, 3)?,
            requests: 0,
            failures: [0; 3],
            timeline: Vec::new(),
        };
        let (due, idle) = (vec![now(); count], (0..count).collect());
        Ok(Self {
            plan,
            poll,
            serve,
            shared,
            clients,
            due,
            idle,
            waiting: VecDeque::new(),
            window: None,
            seen,
        })
    }

    /// Warm-up, window, report.
    fn measure(&mut self) -> Result<String, Box<dyn Error>> {
        let mut events = Events::with_capacity(1024);
        let begin = now();
        let start = begin + self.plan.warmup;
        let end = start + self.plan.seconds;
        self.window = Some((start, end));
        let gap = self.plan.rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
        let mut next = begin;
        let mut usage = None;
        loop {
            self.turn(&mut events, Duration::ZERO)?;
            let now = now();
            if usage.is_none() && now >= start {
                usage = Some(Usage::of(&self.plan.pids));
            }
            if now >= end {
                break;
            }
            match gap {
                Some(gap) => {
                    while next <= now {
                        self.waiting.push_back(next);
                        next += gap;
                    }
                    self.start_waiting(now);
                }
                None => self.start_all(now),
            }
        }
        let usage = Usage::of(&self.plan.pids).since(usage.unwrap_or_default());
        self.finish(&mut events, end)?;
        self.report(usage)
    }

    /// Opens `count` connections, one request on each, and holds them until stdin ends.
    fn hold(&mut self, count: usize) -> Result<String, Box<dyn Error>> {
        let mut events = Events::with_capacity(1024);
        let mut started = 0;
        let mut open = 0;
        self.idle.clear();
        while open < count {
            // A few at a time: the backlog of a listener is bounded.
            while started < count && started - open < 64 {
                self.due[started] = now();
                let begun = self.clients[started].start(self.poll.registry(), &self.shared);
                begun.map_err(|failure| format!("connection {started}: {failure:?}"))?;
                started += 1;
            }
            self.turn(&mut events, Duration::from_millis(1))?;
            open += std::mem::take(&mut self.idle).len();
            if self.seen.failures.iter().any(|count| *count > 0) {
                return Err(format!("after {open} connections: {:?}", self.seen.failures).into());
            }
        }
        writeln!(io::stdout().lock(), "{}", json!({ "open": open }))?;
        io::stdin().read_to_end(&mut Vec::new())?;
        let backend = self.serve.as_ref().map_or(0, |serve| serve.counts.connections);
        Ok(json!({ "held": open, "backend_connections": backend }).to_string())
    }

    /// One turn of the loop: whatever the kernel has for us.
    fn turn(&mut self, events: &mut Events, wait: Duration) -> io::Result<()> {
        match self.poll.poll(events, Some(wait)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &*events {
            let index = event.token().0;
            if let Some(client) = self.clients.get_mut(index) {
                if let Some(ended) = client.advance(&mut self.shared, event.is_read_closed()) {
                    self.ended(index, ended);
                }
            } else if let Some(serve) = &mut self.serve {
                serve.handle(self.poll.registry(), event)?;
            }
        }
        Ok(())
    }

    fn start_all(&mut self, now: Instant) {
        for _ in 0..self.idle.len() {
            self.start_one(now, now);
        }
    }

    fn start_waiting(&mut self, now: Instant) {
        while !self.idle.is_empty()
            && let Some(due) = self.waiting.pop_front()
        {
            self.start_one(due, now);
        }
    }

    fn start_one(&mut self, due: Instant, now: Instant) {
        let Some(index) = self.idle.pop_front() else { return };
        self.due[index] = due.min(now);
        if let Err(failure) = self.clients[index].start(self.poll.registry(), &self.shared) {
            self.ended(index, Err(failure));
        }
    }

    fn ended(&mut self, index: usize, ended: Result<(), Failure>) {
        self.idle.push_back(index);
        let Some((start, end)) = self.window else {
            if let Err(failure) = ended {
                self.seen.failures[failure as usize] += 1;
            }
            return;
        };
        let (now, due) = (now(), self.due[index]);
        // Open loop: requests due in the window. Closed: requests that ended in it.
        let counted = if self.plan.rate.is_some() { due } else { now };
        if counted < start || counted >= end {
            return;
        }
        match ended {
            Ok(()) => {
                self.seen.requests += 1;
                let nanos = u64::try_from((now - due).as_nanos()).unwrap_or(u64::MAX);
                self.seen.latency.saturating_record(nanos);
                let slot =
                    ((now - start).as_nanos() / TIMELINE_STEP.as_nanos()).try_into().unwrap_or(0);
                if self.seen.timeline.len() <= slot {
                    self.seen.timeline.resize(slot + 1, 0);
                }
                self.seen.timeline[slot] += 1;
            }
            Err(failure) => self.seen.failures[failure as usize] += 1,
        }
    }

    /// Open loop: lets what was due in the window end; what doesn't is charged as it stands.
    fn finish(&mut self, events: &mut Events, end: Instant) -> io::Result<()> {
        if self.plan.rate.is_none() {
            return Ok(());
        }
        while now() < end + GRACE
            && (!self.waiting.is_empty() || self.clients.iter().any(Client::is_busy))
        {
            self.turn(events, Duration::ZERO)?;
            self.start_waiting(now());
        }
        let busy = (0..self.clients.len()).filter(|index| self.clients[*index].is_busy());
        let stuck: Vec<Instant> =
            busy.map(|index| self.due[index]).chain(self.waiting.drain(..)).collect();
        for due in stuck {
            self.seen.failures[Failure::Connection as usize] += 1;
            let nanos = u64::try_from((now() - due).as_nanos()).unwrap_or(u64::MAX);
            self.seen.latency.saturating_record(nanos);
        }
        Ok(())
    }

    fn report(&self, usage: Usage) -> Result<String, Box<dyn Error>> {
        let quantile =
            |q| Duration::from_nanos(self.seen.latency.value_at_quantile(q)).as_secs_f64() * 1e6;
        let [connection, status, body] = self.seen.failures;
        if let Some(path) = &self.plan.timeline {
            let lines: Vec<String> = self.seen.timeline.iter().map(u64::to_string).collect();
            fs::write(path, lines.join("\n") + "\n")?;
        }
        let backend = self.serve.as_ref().map(|serve| {
            json!({ "connections": serve.counts.connections, "requests": serve.counts.requests })
        });
        let report = json!({
            "requests": self.seen.requests,
            "seconds": self.plan.seconds.as_secs_f64(),
            "errors": { "connection": connection, "status": status, "body": body },
            "latency_us": {
                "mean": self.seen.latency.mean() / 1e3, "p50": quantile(0.5), "p90": quantile(0.9),
                "p99": quantile(0.99), "p999": quantile(0.999), "max": quantile(1.0),
            },
            "cpu_ns": { "total": usage.total },
            "cpu_ticks": { "user": usage.user, "system": usage.system },
            "backend": backend,
        });
        Ok(report.to_string())
    }
}
