//! Active health checks: asks each endpoint at its interval and tells what it found.
//!
//! One task per endpoint on the control thread. A reload keeps the tasks of endpoints whose probe
//! is unchanged, with their tally; starts and stops the others. How an endpoint is asked is in
//! `ask`, what a row of answers means in `tally`; this file only drives.
//!
//! ```text
//!   every interval ± 10 % ─▶ ask ─▶ Ok / Err(reason) ─▶ Tally ─▶ change? ─▶ Verdict::set_health
//! ```

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{task::AbortHandle, time::Instant};

use crate::{
    base::address::Address,
    config::HealthConfig,
    control::{
        node::{Probed, Verdict},
        view::{ProbeView, UpstreamView},
    },
    transport::tls::ClientTls,
};

mod ask;
mod ask_h2;
mod tally;

use tally::Tally;

/// Runs the probes. Lives on the control thread, inside its `LocalSet`.
#[derive(Default)]
pub struct Prober {
    running: HashMap<Key, Probe>,
}

/// Which endpoint: the upstream's name and the address.
type Key = (String, Address);

/// One endpoint's probe.
struct Probe {
    health: HealthConfig,
    tls: Option<Arc<ClientTls>>,
    preface: Vec<u8>,
    state: Rc<RefCell<State>>,
    task: AbortHandle,
}

/// What the task and the prober share.
struct State {
    tally: Tally,
    /// What the probe saw when the verdict last changed.
    reason: String,
    /// Replaced when a reload made a new object for the endpoint.
    endpoint: Rc<dyn Verdict>,
}

impl Prober {
    /// Makes the running probes those of `probes`: unchanged ones go on, new ones ask at once, those
    /// that are gone stop and leave their endpoint healthy, for nobody will say otherwise any more.
    ///
    /// Must be called inside a `LocalSet`.
    pub fn apply(&mut self, probes: Vec<Probed>) {
        let mut before = std::mem::take(&mut self.running);
        for probed in probes {
            let key = (probed.upstream.clone(), probed.address);
            let probe = match before.remove(&key) {
                Some(probe) => probe.carry_on(probed),
                None => Probe::start(probed, Tally::default(), String::new()),
            };
            self.running.insert(key, probe);
        }
        for probe in before.into_values() {
            probe.task.abort();
            let state = probe.state.borrow();
            state.endpoint.set_health(true, "not probed any more");
        }
    }

    /// Writes what the probes found into the view of the endpoints.
    pub fn describe(&self, upstreams: &mut [UpstreamView]) {
        for upstream in upstreams {
            for endpoint in &mut upstream.endpoints {
                let probe = self.running.get(&(upstream.name.clone(), endpoint.address));
                endpoint.probe = probe.map(|probe| {
                    let state = probe.state.borrow();
                    let is_healthy = state.tally.verdict().unwrap_or(true);
                    ProbeView { is_healthy, reason: state.reason.clone() }
                });
            }
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        for probe in self.running.values() {
            probe.task.abort();
        }
    }
}

impl Probe {
    fn start(probed: Probed, tally: Tally, reason: String) -> Self {
        let Probed { upstream: _, address, preface, health, tls, endpoint } = probed;
        let state = Rc::new(RefCell::new(State { tally, reason, endpoint }));
        let how = How { preface: preface.clone(), health: health.clone(), tls: tls.clone() };
        let work = run(address, how, Rc::clone(&state));
        let task = tokio::task::spawn_local(work).abort_handle();
        Self { health, tls, preface, state, task }
    }

    /// The same endpoint after a reload. A changed way of asking starts anew but believes the last
    /// verdict until it has asked.
    fn carry_on(self, probed: Probed) -> Self {
        let is_alike = match (&self.tls, &probed.tls) {
            (Some(own), Some(next)) => own.is_like(next),
            (own, next) => own.is_none() && next.is_none(),
        };
        if self.health == probed.health && self.preface == probed.preface && is_alike {
            let mut state = self.state.borrow_mut();
            if !Rc::ptr_eq(&state.endpoint, &probed.endpoint) {
                if let Some(verdict) = state.tally.verdict() {
                    probed.endpoint.set_health(verdict, &state.reason);
                }
                state.endpoint = probed.endpoint;
            }
            drop(state);
            return self;
        }
        self.task.abort();
        let state = self.state.borrow();
        Self::start(probed, state.tally.restarted(), state.reason.clone())
    }
}

impl State {
    fn take(&mut self, answer: Result<String, String>, health: &HealthConfig) {
        let is_good = answer.is_ok();
        if let Some(verdict) = self.tally.observe(is_good, health) {
            self.reason = answer.unwrap_or_else(|reason| reason);
            self.endpoint.set_health(verdict, &self.reason);
        }
    }
}

/// How an endpoint is asked.
struct How {
    preface: Vec<u8>,
    health: HealthConfig,
    tls: Option<Arc<ClientTls>>,
}

/// Asks for ever.
async fn run(address: Address, how: How, state: Rc<RefCell<State>>) {
    let mut random = seed(address);
    loop {
        let next = Instant::now() + jittered(how.health.interval, &mut random);
        let answer = ask::ask(address, &how.preface, &how.health, how.tls.as_deref()).await;
        state.borrow_mut().take(answer, &how.health);
        tokio::time::sleep_until(next).await;
    }
}

/// Endpoints and processes that start together shall not ask together.
fn seed(address: Address) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a seed, on the control thread")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    now.as_secs()
        ^ u64::from(now.subsec_nanos()) << 32
        ^ address.ip().map_or(0, |ip| u64::from(ip.port())) << 16
}

/// The interval, give or take up to a tenth.
fn jittered(interval: Duration, random: &mut u64) -> Duration {
    // One step of xorshift64*; zero would stay zero.
    let mut x = *random | 1;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *random = x;
    let permille = x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
    let permille = u32::try_from(900 + permille % 201).unwrap_or(1_000);
    interval * permille / 1_000
}

#[cfg(test)]
mod tests;
