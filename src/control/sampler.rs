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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::metrics::Histogram,
        control::view::{ConfigView, RouteView, ShardView},
    };
    use std::time::UNIX_EPOCH;

    fn view(shards: &[(u64, u64)], latency: &Histogram) -> View {
        let shard = |(busy, requests): &(u64, u64)| ShardView {
            busy: Duration::from_millis(*busy),
            requests: *requests,
            ..ShardView::default()
        };
        View {
            driver: String::new(),
            driver_reason: String::new(),
            started_at: UNIX_EPOCH,
            config: ConfigView {
                source: String::new(),
                generation: 1,
                applied_at: UNIX_EPOCH,
                reloads: 0,
                reloads_failed: 0,
                last_error: None,
            },
            packets: None,
            listeners: Vec::new(),
            certificates: Vec::new(),
            h2: Vec::new(),
            shards: shards.iter().map(shard).collect(),
            routes: vec![RouteView { latency: latency.snapshot(), ..RouteView::default() }],
            upstreams: Vec::new(),
            flows: Vec::new(),
            filters: Vec::new(),
        }
    }

    #[test]
    fn a_window_reaches_back_one_to_two_intervals() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let latency = Histogram::new();
        let mut sampler = Sampler::new(start);

        latency.record(Duration::from_millis(1));
        let young = sampler.window(at(1), &view(&[(250, 10), (1_000, 0)], &latency));
        assert_eq!((young.loads, young.rates), (vec![0.25, 1.0], vec![10.0, 0.0]));
        assert_eq!(young.latency.count(), 1, "a young process looks back to its start");

        sampler.sample(at(2), &view(&[(500, 20), (1_000, 0)], &latency));
        sampler.sample(at(4), &view(&[(600, 30), (1_000, 0)], &latency));
        latency.record(Duration::from_millis(2));
        let window = sampler.window(at(5), &view(&[(1_100, 50), (4_100, 3)], &latency));
        assert_eq!(window.length, Duration::from_secs(3));
        assert_eq!(window.rates, [10.0, 1.0]);
        assert!((window.loads[0] - 0.2).abs() < 1e-9, "{:?}", window.loads);
        assert!((window.loads[1] - 1.0).abs() < 1e-9, "never above one: {:?}", window.loads);
        assert_eq!(window.latency.count(), 1, "what came before the window isn't in it");
    }
}
