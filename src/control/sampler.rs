//! Rates from counts: remembers what the shards had counted a few seconds ago.
//!
//! The control loop gives it a view every [`SAMPLE_INTERVAL`]; it keeps two, so that a question at
//! any moment looks back one to two intervals.
//!
//! ```text
//!   older ───────── newer ────── now
//!   └─ one to two intervals ──────┘
//! ```

use std::time::Duration;

use tokio::time::Instant;

use crate::{base::metrics::HistogramSnapshot, control::view::View};

/// From one sample to the next.
pub const SAMPLE_INTERVAL: Duration = Duration::from_secs(2);

/// Keeps the samples.
#[derive(Debug)]
pub struct Sampler {
    older: Sample,
    newer: Sample,
}

/// What the shards had counted at one moment.
#[derive(Debug, Clone)]
struct Sample {
    at: Instant,
    /// Busy time and requests, per shard.
    shards: Vec<(Duration, u64)>,
    latency: HistogramSnapshot,
}

/// What happened between the older sample and now.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// How far it looks back.
    pub length: Duration,
    /// Share of it that each shard was busy, 0.0 to 1.0.
    pub loads: Vec<f64>,
    /// Requests per second of each shard.
    pub rates: Vec<f64>,
    /// Of the requests that ended in it.
    pub latency: HistogramSnapshot,
}

impl Sampler {
    /// Begins with a process that has done nothing yet.
    pub fn new(now: Instant) -> Self {
        let empty = Sample { at: now, shards: Vec::new(), latency: HistogramSnapshot::default() };
        Self { older: empty.clone(), newer: empty }
    }

    /// Takes the next sample.
    pub fn sample(&mut self, now: Instant, view: &View) {
        let next = Sample {
            at: now,
            shards: view.shards.iter().map(|shard| (shard.busy, shard.requests)).collect(),
            latency: view.latency(),
        };
        self.older = std::mem::replace(&mut self.newer, next);
    }

    /// What happened since the older sample.
    pub fn window(&self, now: Instant, view: &View) -> Window {
        let length = now.saturating_duration_since(self.older.at);
        let seconds = length.as_secs_f64().max(f64::EPSILON);
        let nothing = (Duration::ZERO, 0);
        let mut window = Window {
            length,
            latency: view.latency().since(&self.older.latency),
            ..Window::default()
        };
        for (index, shard) in view.shards.iter().enumerate() {
            let (busy, requests) = self.older.shards.get(index).copied().unwrap_or(nothing);
            let busy = shard.busy.saturating_sub(busy);
            // A turn that began before the window may make this a little more than all of it.
            window.loads.push((busy.as_secs_f64() / seconds).min(1.0));
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let count = shard.requests.saturating_sub(requests) as f64;
            window.rates.push(count / seconds);
        }
        window
    }
}
