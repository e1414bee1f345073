//! The datagram generator of the benches: one spinning thread that is its own echo behind the proxy.
//! A flow is a socket; on each of them a few datagrams are under way at a time, and each must come
//! back whole. What is lost is counted, and sent anew after a pause.
//!
//! ```text
//!   while time is left: poll(0) ─▶ echo's datagrams back ─▶ flows' datagrams: check, send the next
//! ```

#[path = "parts/usage.rs"]
mod usage;

use std::{
    error::Error,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use clap::Parser;
use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Registry, Token, net::UdpSocket};
use serde_json::json;

use crate::usage::Usage;

/// A datagram generator that spins, and echoes what the proxy sends on. Prints one line of JSON.
#[derive(Debug, Parser)]
struct Plan {
    /// The proxy under load.
    #[arg(long)]
    to: SocketAddr,
    /// Address where this thread echoes.
    #[arg(long)]
    serve: SocketAddr,
    /// Flows: sockets of their own.
    #[arg(long, default_value_t = 64)]
    flows: usize,
    /// Datagrams under way on each. All flows' together must fit a socket's receive buffer.
    #[arg(long, default_value_t = 2)]
    window: usize,
    /// Bytes of a datagram, 16 at least.
    #[arg(long, default_value_t = 512)]
    bytes: usize,
    /// Seconds before measuring begins.
    #[arg(long, default_value_t = 1)]
    warmup: u64,
    /// Seconds measured.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Processes whose CPU time is taken at both ends of the measured window.
    #[arg(long = "pid")]
    pids: Vec<u32>,
}

/// The echo's token; flows have those below.
const ECHO: Token = Token(1 << 20);
/// A flow on which nothing comes back for so long has lost what was under way.
const LOST_AFTER: Duration = Duration::from_millis(200);
/// The longest round trip told apart.
const LATENCY_NANOS_MAX: u64 = 60_000_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let plan = Plan::parse();
    if plan.bytes < 16 {
        return Err(
            "--bytes must be 16 at least: a datagram carries its flow and its number".into()
        );
    }
    let report = Run::new(plan)?.measure()?;
    writeln!(io::stdout().lock(), "{report}")?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a generator is a clock: nobody hands it the time")]
fn now() -> Instant {
    Instant::now()
}

struct Run {
    plan: Plan,
    poll: Poll,
    echo: UdpSocket,
    flows: Vec<Flow>,
    seen: Seen,
}

struct Flow {
    socket: UdpSocket,
    /// What every datagram of the flow holds, but for its number.
    pattern: Vec<u8>,
    /// The number of the next datagram.
    next: u64,
    /// When each datagram that is under way was sent, by number.
    under_way: Vec<(u64, Instant)>,
    last_heard: Instant,
}

struct Seen {
    /// Round trips.
    trips: u64,
    lost: u64,
    wrong: u64,
    latency: Histogram<u64>,
}

impl Run {
    fn new(plan: Plan) -> Result<Self, Box<dyn Error>> {
        let poll = Poll::new()?;
        let mut echo = UdpSocket::bind(plan.serve)?;
        poll.registry().register(&mut echo, ECHO, Interest::READABLE)?;
        let flow = |index| Flow::new(&plan, index, poll.registry());
        let flows = (0..plan.flows).map(flow).collect::<io::Result<_>>()?;
        let latency = Histogram::new_with_bounds(1, LATENCY_NANOS_MAX, 3)?;
        let seen = Seen { trips: 0, lost: 0, wrong: 0, latency };
        Ok(Self { plan, poll, echo, flows, seen })
    }

    /// Warm-up, window, report.
    fn measure(&mut self) -> Result<String, Box<dyn Error>> {
        let mut events = Events::with_capacity(1024);
        let mut scratch = vec![0; 65536];
        let start = now() + Duration::from_secs(self.plan.warmup);
        let end = start + Duration::from_secs(self.plan.seconds);
        let mut usage = None;
        for flow in &mut self.flows {
            flow.fill(self.plan.window)?;
        }
        let mut next_look = now() + LOST_AFTER;
        loop {
            match self.poll.poll(&mut events, Some(Duration::ZERO)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(error.into());
                }
                _ => {}
            }
            for event in &events {
                if event.token() == ECHO {
                    echo(&self.echo, &mut scratch)?;
                } else if let Some(flow) = self.flows.get_mut(event.token().0) {
                    flow.receive(self.plan.window, &mut scratch, &mut self.seen)?;
                }
            }
            let now = now();
            if now >= next_look {
                next_look = now + LOST_AFTER;
                for flow in &mut self.flows {
                    self.seen.lost += flow.give_up(now);
                    flow.fill(self.plan.window)?;
                }
            }
            if usage.is_none() && now >= start {
                usage = Some(Usage::of(&self.plan.pids));
                self.seen.trips = 0;
                self.seen.latency.reset();
            }
            if now >= end {
                break;
            }
        }
        let usage = Usage::of(&self.plan.pids).since(usage.unwrap_or_default());
        Ok(self.report(usage))
    }

    fn report(&self, usage: Usage) -> String {
        let Seen { trips, lost, wrong, latency } = &self.seen;
        let quantile = |q| Duration::from_nanos(latency.value_at_quantile(q)).as_secs_f64() * 1e6;
        json!({
            // Datagrams that the proxy has passed on: each trip is one in each direction.
            "requests": trips * 2,
            "seconds": self.plan.seconds,
            "errors": { "lost": lost, "wrong": wrong },
            "latency_us": {
                "mean": latency.mean() / 1e3, "p50": quantile(0.5), "p90": quantile(0.9),
                "p99": quantile(0.99), "p999": quantile(0.999), "max": quantile(1.0),
            },
            "cpu_ns": { "total": usage.total },
            "cpu_ticks": { "user": usage.user, "system": usage.system },
        })
        .to_string()
    }
}

impl Flow {
    fn new(plan: &Plan, index: usize, registry: &Registry) -> io::Result<Self> {
        let mut socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        socket.connect(plan.to)?;
        registry.register(&mut socket, Token(index), Interest::READABLE)?;
        let number = u64::try_from(index).unwrap_or(u64::MAX).to_be_bytes();
        let pattern = number.into_iter().chain([0; 8]).chain((16..=255).cycle());
        let pattern = pattern.take(plan.bytes).collect();
        Ok(Self { socket, pattern, next: 0, under_way: Vec::new(), last_heard: now() })
    }

    /// Sends until `window` are under way.
    fn fill(&mut self, window: usize) -> io::Result<()> {
        while self.under_way.len() < window {
            self.pattern[8..16].copy_from_slice(&self.next.to_be_bytes());
            match self.socket.send(&self.pattern) {
                // Refused: nobody listened when the one before arrived. It will be missed.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            self.under_way.push((self.next, now()));
            self.next += 1;
        }
        Ok(())
    }

    fn receive(&mut self, window: usize, scratch: &mut [u8], seen: &mut Seen) -> io::Result<()> {
        loop {
            let n = match self.socket.recv(scratch) {
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(error) => return Err(error),
            };
            self.last_heard = now();
            match self.take(&scratch[..n]) {
                Some(sent) => {
                    seen.trips += 1;
                    let nanos = (self.last_heard - sent).as_nanos();
                    seen.latency.saturating_record(u64::try_from(nanos).unwrap_or(u64::MAX));
                }
                None => seen.wrong += 1,
            }
            self.fill(window)?;
        }
    }

    /// When the datagram was sent, if it is one of ours that is under way, unchanged.
    fn take(&mut self, datagram: &[u8]) -> Option<Instant> {
        let number = u64::from_be_bytes(datagram.get(8..16)?.try_into().ok()?);
        let is_ours = datagram.len() == self.pattern.len()
            && datagram[..8] == self.pattern[..8]
            && datagram[16..] == self.pattern[16..];
        let place = self.under_way.iter().position(|(sent, _)| *sent == number);
        Some(self.under_way.swap_remove(place.filter(|_| is_ours)?).1)
    }

    /// Forgets what is under way if nothing has come back for long; how many those were.
    fn give_up(&mut self, now: Instant) -> u64 {
        if now.saturating_duration_since(self.last_heard) < LOST_AFTER {
            return 0;
        }
        self.last_heard = now;
        u64::try_from(self.under_way.drain(..).count()).unwrap_or(u64::MAX)
    }
}

/// Sends back what has come.
fn echo(socket: &UdpSocket, scratch: &mut [u8]) -> io::Result<()> {
    loop {
        match socket.recv_from(scratch) {
            Ok((n, from)) => {
                // A full buffer loses it, as on any network; its flow counts it.
                let _full = socket.send_to(&scratch[..n], from);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        }
    }
}
