//! Counters, gauges and latency histograms that a shard can afford on every request.
//!
//! Each is a relaxed atomic (or an array of them), so that the control thread may read while a
//! shard writes. Nothing here orders other memory and nothing is exact to the instant: a scrape
//! sees each number as it was at some moment of the scrape. Numbers belong to one shard and are
//! summed on read. This file knows no names, labels or text formats (`control::metrics` does).
//!
//! Wrap a struct of these in `crossbeam_utils::CachePadded` when there is one per shard.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

pub use crate::base::histogram::{Histogram, HistogramSnapshot};

/// A count that only grows, written by **one** thread: an add is a load and a store, not a locked
/// instruction. Two writers would lose counts (never memory safety); use [`SharedCounter`] there.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at zero.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `n`; wraps at 2^64.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Adds one.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// The count now; any thread may ask.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A count that only grows, written by any thread (one locked add each).
#[derive(Debug, Default)]
pub struct SharedCounter(AtomicU64);

impl SharedCounter {
    /// A counter at zero.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `n`; wraps at 2^64.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Adds one.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// The count now.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A level that goes up and down. Any thread may write.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// A gauge at zero.
    pub const fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    /// Replaces the level.
    #[inline]
    pub fn set(&self, level: i64) {
        self.0.store(level, Relaxed);
    }

    /// Moves the level by `delta`, which may be negative.
    #[inline]
    pub fn add(&self, delta: i64) {
        self.0.fetch_add(delta, Relaxed);
    }

    /// The level now.
    #[inline]
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn counter_adds_and_wraps() {
        let counter = Counter::new();
        counter.increment();
        counter.add(41);
        assert_eq!(counter.get(), 42);
        counter.add(u64::MAX - 41);
        assert_eq!(counter.get(), 0);
    }

    #[test]
    fn shared_counter_loses_nothing_between_threads() {
        let counter = SharedCounter::new();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| counter.increment()));
            }
        });
        assert_eq!(counter.get(), 40_000);
    }

    #[test]
    fn gauge_moves_both_ways() {
        let gauge = Gauge::new();
        gauge.add(5);
        gauge.add(-7);
        assert_eq!(gauge.get(), -2);
        gauge.set(9);
        assert_eq!(gauge.get(), 9);
    }
}
