//! The cells of a rate limit: one for all shards, of fixed size, without locks.
//!
//! The limit is GCRA (ITU-T I.371): a cell holds the *theoretical arrival time*, the moment at
//! which its client's bucket is full again. A request is allowed when that moment is at most
//! `burst` intervals ahead, and moves it one interval on. One compare-and-swap a request, exact
//! over all shards.
//!
//! ```text
//!   hash(client) ── set ──▶ │ tag:20 TAT:44 │ … 8 ways … │     one cache line a set
//!                └─ tag
//! ```
//!
//! A cell whose time lies in the past says nothing about its client (a fresh one is equal to it),
//! so its way is free. When all 8 ways are taken, the client whose bucket is fullest is forgotten,
//! and that is counted: the table was made too small for this many clients at a time.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crossbeam_utils::CachePadded;

use crate::base::{metrics::SharedCounter, units::Rate};

/// What a rate limit says to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Allowed,
    /// Too many; the next one is allowed after this long.
    Limited {
        /// Until the next request is allowed.
        retry_after: Duration,
    },
}

/// The cells of one rate limit.
#[derive(Debug)]
pub struct RateTable {
    sets: Box<[CachePadded<Set>]>,
    hasher: RandomState,
    epoch: Instant,
    /// Nanoseconds of a tick: a 256th of the interval, so that no rate is off by more than half a
    /// per cent, but not below [`TICK_NANOS_MIN`].
    tick: u64,
    /// Ticks from one allowed request to the next.
    interval: u64,
    /// Ticks that the arrival time may be ahead.
    tolerance: u64,
    /// Live clients forgotten because their set was full.
    evicted: SharedCounter,
    passed: SharedCounter,
    rejected: SharedCounter,
}

type Set = [AtomicU64; WAYS];

impl RateTable {
    /// A table for `rate` with room for `burst` requests at once and about `clients` clients
    /// whose bucket is not full: 8 bytes each. `now` is the beginning of its time.
    #[must_use]
    pub fn new(rate: Rate, burst: u32, clients: usize, now: Instant) -> Self {
        let sets = (clients / WAYS).next_power_of_two().max(1);
        let nanos = nanos(rate.per) / u64::from(rate.count.max(1));
        let tick = (nanos / 256).max(TICK_NANOS_MIN);
        let interval = ((nanos + tick / 2) / tick).max(1);
        Self {
            sets: (0..sets).map(|_| CachePadded::default()).collect(),
            hasher: RandomState::new(),
            epoch: now,
            tick,
            interval,
            // GCRA: a burst of n passes when the arrival time may be n - 1 intervals ahead.
            tolerance: interval * u64::from(burst.max(1) - 1),
            evicted: SharedCounter::new(),
            passed: SharedCounter::new(),
            rejected: SharedCounter::new(),
        }
    }

    /// Asks for one request of `client`.
    #[must_use]
    pub fn ask(&self, client: IpAddr, now: Instant) -> Verdict {
        let hash = self.hasher.hash_one(Key::from(client));
        #[expect(clippy::cast_possible_truncation, reason = "the low bits choose the set")]
        let set = &self.sets[(hash as usize) & (self.sets.len() - 1)];
        let tag = hash >> TIME_BITS;
        let now = self.tick_of(now);
        loop {
            let (way, seen) = self.find(set, tag, now);
            let arrival = if seen >> TIME_BITS == tag { (seen & TIME_MASK).max(now) } else { now };
            if arrival - now > self.tolerance {
                self.rejected.increment();
                let wait = arrival - now - self.tolerance;
                return Verdict::Limited { retry_after: Duration::from_nanos(wait * self.tick) };
            }
            let next = tag << TIME_BITS | ((arrival + self.interval) & TIME_MASK);
            let swapped =
                set[way].compare_exchange(seen, next, Ordering::Relaxed, Ordering::Relaxed);
            if swapped.is_ok() {
                if seen >> TIME_BITS != tag && seen & TIME_MASK > now {
                    self.evicted.increment();
                }
                self.passed.increment();
                return Verdict::Allowed;
            }
            // Another shard changed the cell between look and swap: look again.
        }
    }

    fn tick_of(&self, now: Instant) -> u64 {
        FIRST_TICK + nanos(now.saturating_duration_since(self.epoch)) / self.tick
    }

    /// The way of `tag`, or the one to take over: the first free one, else the fullest bucket's.
    fn find(&self, set: &Set, tag: u64, now: u64) -> (usize, u64) {
        let mut fallback = (0, u64::MAX, u64::MAX);
        for (way, cell) in set.iter().enumerate() {
            let seen = cell.load(Ordering::Relaxed);
            if seen != 0 && seen >> TIME_BITS == tag {
                return (way, seen);
            }
            let arrival = if seen & TIME_MASK <= now { 0 } else { seen & TIME_MASK };
            if arrival < fallback.2 {
                fallback = (way, seen, arrival);
            }
        }
        (fallback.0, fallback.1)
    }

    /// Requests let through.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.passed.get()
    }

    /// Requests turned away.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected.get()
    }

    /// Clients whose bucket is not full at `now`. Reads the whole table.
    #[must_use]
    pub fn entries(&self, now: Instant) -> usize {
        let now = self.tick_of(now);
        let cells = self.sets.iter().flat_map(|set| set.iter());
        cells.filter(|cell| cell.load(Ordering::Relaxed) & TIME_MASK > now).count()
    }

    /// Clients forgotten before their bucket was full again.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted.get()
    }
}

/// Whom a cell is for: an IPv4 address, or the /64 of an IPv6 address, since one client has all
/// of that.
#[derive(Hash)]
struct Key([u8; 8]);

impl From<IpAddr> for Key {
    fn from(address: IpAddr) -> Self {
        let mut key = [0; 8];
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                // Behind ::/32, which no client's /64 is in.
                key[4..].copy_from_slice(&v4.octets());
            }
            IpAddr::V6(v6) => key.copy_from_slice(&v6.octets()[..8]),
        }
        Self(key)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Cells of a set: with [`AtomicU64`], one cache line.
const WAYS: usize = 8;
/// The shortest tick: rates above 3,900 a second are rounded to it.
const TICK_NANOS_MIN: u64 = 1_000;
/// Bits of a cell's arrival time: 2^44 ticks are at least 203 days of uptime (rates above 3,900 a
/// second), 2.2 years at 1,000 a second, centuries at 100 a minute. The 20 bits that are left tell
/// clients of one set apart: two of them share a bucket with a probability of 8 / 2^20.
const TIME_BITS: u32 = 44;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
/// Time 0 is an empty cell's.
const FIRST_TICK: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn table(count: u32, per: Duration, burst: u32) -> (RateTable, Instant) {
        let now = crate::runtime::now_uncached();
        (RateTable::new(Rate { count, per }, burst, 1024, now), now)
    }

    fn client(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    #[test]
    fn a_burst_passes_and_the_next_one_waits() {
        let (table, now) = table(60, Duration::from_secs(60), 5);
        for _ in 0..5 {
            assert_eq!(table.ask(client(1), now), Verdict::Allowed);
        }
        let Verdict::Limited { retry_after } = table.ask(client(1), now) else {
            unreachable!("the sixth of five")
        };
        assert!(retry_after > Duration::from_millis(999) && retry_after <= Duration::from_secs(1));
        assert_eq!(table.ask(client(2), now), Verdict::Allowed, "another client has its own");
        let later = now + Duration::from_millis(1001);
        assert_eq!(table.ask(client(1), later), Verdict::Allowed);
        assert!(matches!(table.ask(client(1), later), Verdict::Limited { .. }));
    }

    #[test]
    fn the_long_run_rate_is_exact() {
        let (table, now) = table(100, Duration::from_secs(1), 1);
        let allowed = (0..100_000_u64)
            .filter(|i| {
                table.ask(client(1), now + Duration::from_micros(i * 100)) == Verdict::Allowed
            })
            .count();
        assert!((1000..=1001).contains(&allowed), "{allowed} in ten seconds of 100/s");
    }

    #[test]
    fn high_rates_are_not_rounded_up() {
        for count in [1_000, 10_000, 45_000] {
            let (table, now) = table(count, Duration::from_secs(1), 1);
            let asks = u64::from(count) * 4;
            let step = 1_000_000_000 / asks;
            let at = |ask: u64| now + Duration::from_nanos(ask * step);
            let allowed =
                (0..asks).filter(|ask| table.ask(client(1), at(*ask)) == Verdict::Allowed);
            let allowed = allowed.count() as f64 / f64::from(count);
            assert!((0.97..=1.02).contains(&allowed), "{allowed} of {count}/s");
        }
    }

    #[test]
    fn threads_share_one_limit_exactly() {
        let (table, now) = table(1, Duration::from_secs(3600), 1000);
        let allowed = SharedCounter::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        if table.ask(client(9), now) == Verdict::Allowed {
                            allowed.increment();
                        }
                    }
                });
            }
        });
        assert_eq!(allowed.get(), 1000);
    }

    #[test]
    fn more_clients_than_cells_are_counted_not_lost() {
        let now = crate::runtime::now_uncached();
        let table = RateTable::new(Rate { count: 1, per: Duration::from_secs(60) }, 1, 64, now);
        for high in 0..=255_u8 {
            assert_eq!(table.ask(Ipv4Addr::new(10, 0, 0, high).into(), now), Verdict::Allowed);
        }
        assert!(table.evicted() >= 256 - 64);
    }

    #[test]
    fn one_ipv6_network_is_one_client() {
        let (table, now) = table(1, Duration::from_secs(60), 1);
        assert_eq!(table.ask("2001:db8::1".parse().unwrap(), now), Verdict::Allowed);
        assert!(matches!(table.ask("2001:db8::2".parse().unwrap(), now), Verdict::Limited { .. }));
        assert_eq!(table.ask("2001:db8:0:1::1".parse().unwrap(), now), Verdict::Allowed);
    }
}
