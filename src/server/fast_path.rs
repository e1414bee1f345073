//! The fast path of a server: started while the process may, then kept by a thread of its own.
//!
//! ```text
//!   control thread: snapshots ── Order ──▶ thread: services of the snapshot, with its endpoints' health
//!                                            │ 5 times a second: apply, tick
//!   view (status, metrics) ◀── Published ────┘ once a second
//! ```
//!
//! Health checks and ejections are the endpoints' own, the same that shards go by: an endpoint whose
//! check fails is down (its flows go to others), one that is ejected drains.

use std::{
    net::IpAddr,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    Error,
    services::{Leaving, services},
};
use crate::{
    config::{Config, Crash, XdpConfig, XdpMode},
    proxy::Snapshot,
    runtime::now_uncached,
    xdp::{self, Effective, FastPath, Mode, Plan, RealState, Report, Service, XdpError},
};

/// What a start has led to.
pub(super) enum Start {
    /// The program is on the interface.
    Running(Box<FastPath>),
    /// It isn't, and nothing needs it; the reason is why not.
    Off(String),
}

/// Puts the program on its interface, if the configuration has one. Takes capabilities.
///
/// # Errors
/// It can't be had, and either the mode or a listener insists on it.
pub(super) fn start(config: &Config) -> Result<Option<Start>, Error> {
    let Some(xdp) = &config.xdp else { return Ok(None) };
    let services = services(config, |_, _| RealState::Up);
    let answers_cookies = services
        .iter()
        .any(|service| service.action == xdp::Action::Local && service.syn_rate.is_some());
    let forwards = services.iter().any(|service| service.action != xdp::Action::Local);
    match FastPath::start(&plan(xdp, config), services, now_uncached()) {
        Ok(fast_path) => {
            tell(&fast_path);
            if answers_cookies {
                check_cookies();
            }
            Ok(Some(Start::Running(Box::new(fast_path))))
        }
        Err(error) if xdp.mode == XdpMode::Auto && !forwards => {
            tracing::warn!("xdp: off: {error}");
            Ok(Some(Start::Off(error.to_string())))
        }
        Err(error) => Err(Error::Xdp(error)),
    }
}

fn plan(xdp: &XdpConfig, config: &Config) -> Plan {
    Plan {
        interface: xdp.interface.clone(),
        mode: match xdp.mode {
            XdpMode::Auto => Mode::Auto,
            XdpMode::Native => Mode::Native,
            XdpMode::Generic => Mode::Generic,
        },
        pins: (xdp.crash == Crash::Keep).then(|| xdp.pins.clone()),
        flows: xdp.flows,
        sources: xdp.sources.clone(),
        ports: (*xdp.nat_ports.start(), *xdp.nat_ports.end()),
        steer: if config.steers() { config.runtime.shards.clone() } else { Vec::new() },
    }
}

/// One line: where the program runs, and why not in a better place.
fn tell(fast_path: &FastPath) {
    let (interface, (mode, reason)) = (fast_path.interface(), fast_path.mode());
    match reason {
        None => tracing::info!(interface, mode = mode.name(), "xdp"),
        Some(reason) => tracing::warn!(interface, mode = mode.name(), "xdp: {reason}"),
    }
}

/// A listener takes a cookie of ours only if the kernel makes cookies all the time.
fn check_cookies() {
    let setting = std::fs::read_to_string(TCP_SYNCOOKIES).unwrap_or_default();
    if setting.trim() != "2" {
        tracing::warn!(
            "net.ipv4.tcp_syncookies is {}: connections above limits.syn_rate will fail; \
             `sysctl net.ipv4.tcp_syncookies=2`",
            setting.trim()
        );
    }
}

/// What the thread has to say, from time to time.
#[derive(Debug, Default)]
pub(super) struct Published {
    pub(super) report: Report,
    pub(super) services: Vec<Service>,
    /// Reals whose link address isn't known, and why.
    pub(super) unresolved: Vec<(IpAddr, Option<String>)>,
}

/// A fast path with its thread. Dropping it ends both.
pub(super) struct Keeper {
    pub(super) interface: String,
    pub(super) mode: &'static str,
    pub(super) reason: Option<String>,
    orders: mpsc::Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    /// Serve by this snapshot.
    Serve(Arc<Snapshot>),
    /// Take the program off and end.
    End,
}

impl Keeper {
    /// Starts the thread; `publish` is called on it.
    ///
    /// # Errors
    /// No thread can be had.
    pub(super) fn start(
        fast_path: FastPath,
        publish: impl Fn(Published) + Send + 'static,
    ) -> Result<Self, Error> {
        let (orders, inbox) = mpsc::channel();
        let (mode, reason) = fast_path.mode();
        let (mode, reason) = (mode.name(), reason.map(str::to_owned));
        let interface = fast_path.interface().to_owned();
        let keeping = Keeping::new(fast_path);
        let thread = thread::Builder::new()
            .name("ringway-xdp".to_owned())
            .spawn(move || keeping.run(&inbox, publish))
            .map_err(Error::Thread)?;
        Ok(Self { interface, mode, reason, orders, thread: Some(thread) })
    }

    /// Serves by `snapshot` from now on.
    pub(super) fn serve(&self, snapshot: Arc<Snapshot>) {
        // A thread that panicked has said so on its own; packets go on as they did.
        drop(self.orders.send(Order::Serve(snapshot)));
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.orders.send(Order::End));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the fast path panicked");
        }
    }
}

/// The thread's state.
struct Keeping {
    fast_path: FastPath,
    snapshot: Option<Arc<Snapshot>>,
    leaving: Leaving,
    published_at: Option<Instant>,
    /// What went wrong last, told once.
    complaint: Option<String>,
}

impl Keeping {
    fn new(fast_path: FastPath) -> Self {
        Self {
            fast_path,
            snapshot: None,
            leaving: Leaving::default(),
            published_at: None,
            complaint: None,
        }
    }

    fn run(mut self, inbox: &mpsc::Receiver<Order>, publish: impl Fn(Published)) {
        loop {
            match inbox.recv_timeout(LOOK_EVERY) {
                Ok(Order::Serve(snapshot)) => self.take(snapshot, now_uncached()),
                Ok(Order::End) | Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            let now = now_uncached();
            let result = self.look(now, &publish);
            self.complain(result);
        }
        // A start that failed takes nothing away from whoever forwarded before it.
        let is_adopted = self.fast_path.mode().0 == Effective::Adopted;
        if self.snapshot.is_none() && is_adopted {
            return;
        }
        if let Err(error) = self.fast_path.end() {
            tracing::error!("xdp: {error}; `ringway xdp detach` ends it");
        }
    }

    /// Goes by a new snapshot: endpoints that it hasn't any more begin to leave.
    fn take(&mut self, snapshot: Arc<Snapshot>, now: Instant) {
        if let Some(before) = self.snapshot.replace(snapshot)
            && let Some(after) = &self.snapshot
        {
            let until = now + after.config.runtime.drain_timeout;
            self.leaving.note(&current(&before, now), &current(after, now), until);
        }
        self.published_at = None;
    }

    fn look(&mut self, now: Instant, publish: &impl Fn(Published)) -> Result<(), XdpError> {
        if let Some(snapshot) = &self.snapshot {
            let mut services = current(snapshot, now);
            self.leaving.add_to(&mut services, now);
            match self.fast_path.apply(services) {
                Err(XdpError::Full { .. }) => {
                    self.leaving.clear();
                    self.fast_path.apply(current(snapshot, now))?;
                }
                result => result?,
            }
        }
        self.fast_path.tick(now)?;
        let is_due = |at: Instant| now.saturating_duration_since(at) >= PUBLISH_EVERY;
        if self.published_at.is_none_or(is_due) {
            self.published_at = Some(now);
            let unresolved = self.fast_path.unresolved();
            publish(Published {
                report: self.fast_path.report()?,
                services: self.fast_path.services().to_vec(),
                unresolved: unresolved.map(|(at, why)| (at, why.map(str::to_owned))).collect(),
            });
        }
        Ok(())
    }

    fn complain(&mut self, result: Result<(), XdpError>) {
        let complaint = result.err().map(|error| error.to_string());
        if complaint != self.complaint
            && let Some(complaint) = &complaint
        {
            tracing::error!("xdp: {complaint}; packets go on as before");
        }
        self.complaint = complaint;
    }
}

/// The services of a snapshot, by its endpoints' health now.
fn current(snapshot: &Snapshot, now: Instant) -> Vec<Service> {
    services(&snapshot.config, |upstream, endpoint| {
        let found = snapshot.upstreams.get(upstream);
        match found.and_then(|upstream| upstream.endpoints.get(endpoint)) {
            Some(endpoint) if !endpoint.passes_probe() => RealState::Down,
            Some(endpoint) if endpoint.is_ejected(now) => RealState::Draining,
            _ => RealState::Up,
        }
    })
}

/// How soon a verdict, a new neighbour or a reload reaches the program.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How old the numbers in `status` and metrics may be.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);
const TCP_SYNCOOKIES: &str = "/proc/sys/net/ipv4/tcp_syncookies";
