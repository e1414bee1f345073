//! Passive ejection: an endpoint whose real requests keep failing is left alone for a while.
//!
//! ```text
//!                 N failures in a row, and others can carry on
//!        ┌────┐ ─────────────────────────────────────────────▶ ┌─────────┐
//!        │ in │                                                │ ejected │ eject × times
//!        └────┘ ◀───────────────────────────────────────────── └─────────┘
//!                 time over (`tick`), or its probe comes back up
//! ```
//! The count of failures isn't reset by an ejection, only by a success: an endpoint that returns
//! as broken as it went is out again after one request, and for longer. Each `eject` spent in
//! service takes one off the multiplier.
//!
//! All shards report here at once. The whole state of an ejection is one word (`ejection`), each
//! change of it one compare-exchange, and only its winner gets the [`Change`]: so it's logged
//! exactly once.
//! Whether an ejection may happen depends on the other endpoints, so deciding is guarded by a
//! flag that nobody waits for: who finds it taken leaves the ejection to the next failure.

use super::{Endpoint, Upstream};
use crate::base::address::Address;
use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Instant,
};

/// How one request went, as far as the endpoint is to blame or praise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A response below 500 began.
    Answered,
    /// A response of 500 or above began.
    ServerError,
    /// No connection could be had. `Pool::lend` reports this itself.
    ConnectFailed,
    /// The connection broke before a response.
    Reset,
    /// No response in time.
    Timeout,
    /// What came wasn't a response.
    Malformed,
}

/// What can be said of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Gets requests.
    Healthy,
    /// Its probe fails.
    Unhealthy,
    /// Taken out because requests failed.
    Ejected,
}

/// One change of an endpoint's standing: exists once over all shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub endpoint: Address,
    /// What it was.
    pub from: Standing,
    /// What it is now.
    pub to: Standing,
    /// Why, in words.
    pub reason: String,
}

impl Upstream {
    /// Takes note of how a request to endpoint `index` went, on `shard`; may eject it.
    ///
    /// Logs the change, if there is one, and returns it. The cheap case (a success after a
    /// success) writes nothing that other shards read.
    pub fn report(
        &self,
        shard: usize,
        index: usize,
        outcome: Outcome,
        now: Instant,
    ) -> Option<Change> {
        let endpoint = self.endpoints.get(index)?;
        let rules = &self.config.outlier;
        let counters = endpoint.counters(shard)?;
        match outcome {
            Outcome::Answered => {}
            Outcome::ServerError => counters.server_errors.increment(),
            Outcome::ConnectFailed => counters.connect_failures.increment(),
            Outcome::Reset => counters.resets.increment(),
            Outcome::Timeout => counters.timeouts.increment(),
            Outcome::Malformed => counters.malformed.increment(),
        }
        let health = &endpoint.health;
        if outcome == Outcome::Answered {
            reset(&health.failures);
            reset(&health.server_errors);
            return None;
        }
        let server_errors = health.server_errors.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let reason = if outcome == Outcome::ServerError {
            reset(&health.failures);
            None
        } else {
            let failures = health.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            is_over(failures, rules.consecutive_failures)
                .then(|| format!("{failures} failures in a row, the last: {outcome}"))
        };
        let reason = reason.or_else(|| {
            is_over(server_errors, rules.consecutive_5xx)
                .then(|| format!("{server_errors} answers of 5xx or none in a row"))
        })?;
        self.eject(index, reason, now)
    }

    /// Takes a probe's verdict. A probe that comes back up also ends an ejection.
    ///
    /// `reason` says what the probe saw, such as `HTTP 503` or `refused`. Logs the change, if
    /// there is one, and returns it.
    pub fn set_probe(
        &self,
        index: usize,
        verdict: Verdict,
        reason: &str,
        now: Instant,
    ) -> Option<Change> {
        let endpoint = self.endpoints.get(index)?;
        let passes = verdict == Verdict::Passes;
        if endpoint.health.passes_probe.swap(passes, Ordering::Relaxed) == passes {
            return None;
        }
        let was_ejected = endpoint.is_ejected(now);
        let (from, to) = match (verdict, was_ejected) {
            (Verdict::Passes, _) => (Standing::Unhealthy, Standing::Healthy),
            (Verdict::Fails, true) => (Standing::Ejected, Standing::Unhealthy),
            (Verdict::Fails, false) => (Standing::Healthy, Standing::Unhealthy),
        };
        if verdict == Verdict::Passes {
            reset(&endpoint.health.failures);
            reset(&endpoint.health.server_errors);
            endpoint.health.ejection.end_now(now);
        }
        Some(self.announce(Change {
            endpoint: endpoint.address,
            from,
            to,
            reason: reason.to_owned(),
        }))
    }

    /// Brings back the endpoints whose time is over: each shard calls it about once a second.
    ///
    /// Requests may go there from the very millisecond (`is_available` looks at the clock); this
    /// only makes the change known and shortens the next ejection of one that kept well.
    pub fn tick(&self, now: Instant) {
        for endpoint in &self.endpoints {
            self.bring_back(endpoint, now);
            endpoint.health.ejection.forgive(now, self.config.outlier.eject);
        }
    }

    /// How many endpoints are ejected now.
    pub fn ejected(&self, now: Instant) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.is_ejected(now)).count()
    }

    /// How many may be ejected at once: the share of `max_ejected`, rounded down, never all.
    pub fn ejected_max(&self) -> usize {
        let count = self.endpoints.len();
        #[expect(clippy::cast_precision_loss, reason = "endpoints are counted in thousands")]
        let share = (count as f64 * self.config.outlier.max_ejected.clamp(0.0, 1.0)).floor();
        #[expect(clippy::cast_possible_truncation, reason = "between 0 and `count`")]
        #[expect(clippy::cast_sign_loss, reason = "between 0 and `count`")]
        let share = share as usize;
        share.min(count.saturating_sub(1))
    }

    fn eject(&self, index: usize, reason: String, now: Instant) -> Option<Change> {
        let endpoint = self.endpoints.get(index)?;
        if endpoint.is_ejected(now) {
            return None;
        }
        // Nobody came by since its time was over.
        self.bring_back(endpoint, now);
        let _turn = Turn::take(&self.kept.ejecting)?;
        let others = self.endpoints.iter().enumerate().filter(|&(other, _)| other != index);
        let can_carry_on = others.clone().any(|(_, other)| other.is_available(now));
        if !can_carry_on || self.ejected(now) >= self.ejected_max() {
            return None;
        }
        let length = endpoint.health.ejection.begin(now, self.config.outlier.eject)?;
        endpoint.health.ejections.fetch_add(1, Ordering::Relaxed);
        let from = if endpoint.passes_probe() { Standing::Healthy } else { Standing::Unhealthy };
        let reason = format!("{reason}; for {} s", length.as_secs_f64());
        Some(self.announce(Change {
            endpoint: endpoint.address,
            from,
            to: Standing::Ejected,
            reason,
        }))
    }

    /// Makes it known that an endpoint's time is over, if nobody did yet.
    fn bring_back(&self, endpoint: &Endpoint, now: Instant) {
        if endpoint.health.ejection.end_if_over(now) {
            let to = if endpoint.passes_probe() { Standing::Healthy } else { Standing::Unhealthy };
            let reason = "its time is over".to_owned();
            let endpoint = endpoint.address;
            self.announce(Change { endpoint, from: Standing::Ejected, to, reason });
        }
    }

    fn announce(&self, change: Change) -> Change {
        let Change { endpoint, from, to, reason } = &change;
        let upstream = self.config.name.as_str();
        if *to == Standing::Healthy {
            tracing::info!(upstream, %endpoint, %from, %to, reason, "endpoint is back");
        } else {
            tracing::warn!(upstream, %endpoint, %from, %to, reason, "endpoint gets no requests");
        }
        change
    }
}

/// What an active probe found, after `rise` or `fall`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It answers as expected.
    Passes,
    /// It doesn't.
    Fails,
}

/// The turn to decide over an upstream's ejections: taken or not, never waited for.
struct Turn<'a>(&'a AtomicBool);

impl<'a> Turn<'a> {
    fn take(flag: &'a AtomicBool) -> Option<Self> {
        flag.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .ok()
            .map(|_| Self(flag))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn is_over(count: u32, limit: Option<u32>) -> bool {
    limit.is_some_and(|limit| count >= limit)
}

/// Zeroes a count, without dirtying the line when it is zero already.
fn reset(count: &AtomicU32) {
    if count.load(Ordering::Relaxed) != 0 {
        count.store(0, Ordering::Relaxed);
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answered => "answered",
            Self::ServerError => "answered 5xx",
            Self::ConnectFailed => "no connection",
            Self::Reset => "broke before a response",
            Self::Timeout => "no response in time",
            Self::Malformed => "malformed response",
        })
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
        })
    }
}

#[cfg(test)]
mod tests;
