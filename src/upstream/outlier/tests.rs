//! The state machine of ejections, in steps and by many threads at once.

use super::{Change, Outcome, Standing, Upstream, Verdict};
use crate::{
    config::{OutlierConfig, UpstreamConfig},
    upstream::{TIMES_MAX, testing},
};
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

fn address(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(index).unwrap()], 80))
}

fn config(count: usize, outlier: OutlierConfig) -> UpstreamConfig {
    UpstreamConfig { outlier, ..testing::config((0..count).map(address)) }
}

fn rules() -> OutlierConfig {
    OutlierConfig {
        consecutive_failures: Some(3),
        consecutive_5xx: None,
        eject: Duration::from_secs(10),
        max_ejected: 0.5,
    }
}

struct World {
    upstream: Upstream,
    start: Instant,
}

impl World {
    fn new(count: usize, rules: OutlierConfig) -> Self {
        let start = testing::start();
        Self { upstream: Upstream::build(&config(count, rules), 1, start, None), start }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    /// Reports `times` failures; the change that the last one made.
    fn fail(&self, index: usize, times: u32, seconds: f64) -> Option<Change> {
        let mut last = None;
        for _ in 0..times {
            assert_eq!(last, None, "a change before the last of {times} failures");
            last = self.upstream.report(0, index, Outcome::Reset, self.at(seconds));
        }
        last
    }

    fn is_available(&self, index: usize, seconds: f64) -> bool {
        self.upstream.endpoints[index].is_available(self.at(seconds))
    }
}

#[test]
fn enough_failures_in_a_row_eject_and_time_brings_back() {
    let world = World::new(3, rules());
    assert_eq!(world.fail(0, 2, 0.0), None);
    let change = world.fail(0, 1, 0.0).unwrap();
    assert_eq!(
        (change.endpoint, change.from, change.to),
        (address(0).into(), Standing::Healthy, Standing::Ejected)
    );
    assert_eq!(change.reason, "3 failures in a row, the last: broke before a response; for 10 s");
    assert!(!world.is_available(0, 9.9));
    assert!(world.is_available(0, 10.0));
    assert_eq!(world.upstream.endpoints[0].ejections(), 1);
}

#[test]
fn a_success_starts_the_count_again() {
    let world = World::new(3, rules());
    for _ in 0..10 {
        assert_eq!(world.fail(0, 2, 0.0), None);
        assert_eq!(world.upstream.report(0, 0, Outcome::Answered, world.at(0.0)), None);
    }
    assert!(world.is_available(0, 0.0));
}

#[test]
fn every_kind_of_failure_counts_and_has_its_counter() {
    let kinds = [Outcome::ConnectFailed, Outcome::Reset, Outcome::Timeout, Outcome::Malformed];
    for kind in kinds {
        let world = World::new(2, rules());
        let changes: Vec<_> =
            (0..3).map(|_| world.upstream.report(0, 0, kind, world.at(0.0))).collect();
        assert!(changes[2].is_some(), "{kind:?}");
        let totals = world.upstream.endpoints[0].totals();
        let counts = [totals.connect_failures, totals.resets, totals.timeouts, totals.malformed];
        assert_eq!(counts.iter().sum::<u64>(), 3);
        assert_eq!(counts[kinds.iter().position(|&other| other == kind).unwrap()], 3);
    }
}

#[test]
fn answers_of_5xx_eject_only_when_asked_to() {
    let world = World::new(3, rules());
    for _ in 0..100 {
        assert_eq!(world.upstream.report(0, 0, Outcome::ServerError, world.at(0.0)), None);
    }
    let world = World::new(3, OutlierConfig { consecutive_5xx: Some(4), ..rules() });
    let report = |outcome| world.upstream.report(0, 0, outcome, world.at(0.0));
    // A failure is no answer, so it counts with them; an answer below 500 ends the row.
    assert_eq!(report(Outcome::ServerError), None);
    assert_eq!(report(Outcome::Answered), None);
    assert_eq!(report(Outcome::ServerError), None);
    assert_eq!(report(Outcome::ServerError), None);
    assert_eq!(report(Outcome::Timeout), None);
    let change = report(Outcome::ServerError).unwrap();
    assert_eq!(change.reason, "4 answers of 5xx or none in a row; for 10 s");
    assert_eq!(world.upstream.endpoints[0].totals().server_errors, 4);
}

#[test]
fn switched_off_it_never_ejects() {
    let off = OutlierConfig { consecutive_failures: None, consecutive_5xx: None, ..rules() };
    let world = World::new(3, off);
    assert_eq!(world.fail(0, 1, 0.0), None);
    for _ in 0..1000 {
        assert_eq!(world.fail(0, 1, 0.0), None);
    }
    assert!(world.is_available(0, 0.0));
}

#[test]
fn one_that_returns_broken_is_out_again_at_once_and_for_longer() {
    let world = World::new(3, rules());
    assert!(world.fail(0, 3, 0.0).is_some());
    // Back at 10 s; its first failure ejects it for twice as long.
    let change = world.fail(0, 1, 10.0).unwrap();
    assert!(change.reason.ends_with("for 20 s"), "{}", change.reason);
    assert!(!world.is_available(0, 29.9));
    assert!(world.is_available(0, 30.0));
    // A success in between, and it has its full number of failures again.
    world.upstream.report(0, 0, Outcome::Answered, world.at(30.0));
    assert_eq!(world.fail(0, 2, 30.0), None);
    assert!(world.fail(0, 1, 30.0).unwrap().reason.ends_with("for 30 s"));
}

#[test]
fn the_length_is_bounded() {
    let world = World::new(3, rules());
    assert!(world.fail(0, 3, 0.0).is_some());
    let mut now = 10.0;
    for times in 2..40_u16 {
        let length = f64::from(times.min(TIMES_MAX)) * 10.0;
        assert!(world.fail(0, 1, now).is_some(), "ejection {times}");
        assert!(!world.is_available(0, now + length - 0.1));
        now += length;
        assert!(world.is_available(0, now));
    }
}

#[test]
fn good_service_shortens_the_next_ejection_again() {
    let world = World::new(3, rules());
    assert!(world.fail(0, 3, 0.0).is_some());
    assert!(world.fail(0, 1, 10.0).is_some());
    world.upstream.tick(world.at(30.0));
    world.upstream.report(0, 0, Outcome::Answered, world.at(30.0));
    // Two ejections count. Twice `eject` in service and they're forgiven.
    for second in 31..=51 {
        world.upstream.tick(world.at(f64::from(second)));
    }
    assert!(world.fail(0, 3, 52.0).unwrap().reason.ends_with("for 10 s"));
}

#[test]
fn never_more_than_max_ejected_and_never_all() {
    for (count, share, most) in [
        (1, 1.0, 0),
        (2, 1.0, 1),
        (2, 0.5, 1),
        (3, 0.5, 1),
        (4, 0.5, 2),
        (10, 0.25, 2),
        (10, 1.0, 9),
        (10, 0.0, 0),
    ] {
        let world = World::new(count, OutlierConfig { max_ejected: share, ..rules() });
        assert_eq!(world.upstream.ejected_max(), most, "{count} × {share}");
        for index in 0..count {
            for _ in 0..5 {
                world.upstream.report(0, index, Outcome::Timeout, world.at(0.0));
            }
        }
        assert_eq!(world.upstream.ejected(world.at(0.0)), most, "{count} × {share}");
        assert!(world.upstream.is_available(world.at(0.0)));
    }
}

#[test]
fn the_last_one_that_its_probe_passes_is_never_ejected() {
    let world = World::new(3, rules());
    world.upstream.set_probe(0, Verdict::Fails, "refused", world.at(0.0)).unwrap();
    world.upstream.set_probe(1, Verdict::Fails, "refused", world.at(0.0)).unwrap();
    for _ in 0..10 {
        assert_eq!(world.fail(2, 1, 0.0), None);
    }
    assert!(world.is_available(2, 0.0));
    // Once another is back, one more failure is enough.
    world.upstream.set_probe(0, Verdict::Passes, "200", world.at(1.0)).unwrap();
    assert!(world.fail(2, 1, 1.0).is_some());
}

#[test]
fn a_probe_takes_out_and_brings_back_each_once() {
    let world = World::new(2, rules());
    let probe = |verdict, reason, at| world.upstream.set_probe(1, verdict, reason, world.at(at));
    assert_eq!(probe(Verdict::Passes, "200", 0.0), None);
    let change = probe(Verdict::Fails, "HTTP 503", 1.0).unwrap();
    assert_eq!((change.from, change.to), (Standing::Healthy, Standing::Unhealthy));
    assert_eq!(change.reason, "HTTP 503");
    assert_eq!(probe(Verdict::Fails, "HTTP 503", 2.0), None);
    assert!(!world.is_available(1, 1e6));
    let change = probe(Verdict::Passes, "200", 3.0).unwrap();
    assert_eq!((change.from, change.to), (Standing::Unhealthy, Standing::Healthy));
    assert!(world.is_available(1, 3.0));
}

#[test]
fn a_probe_that_comes_back_up_ends_an_ejection_but_one_that_never_failed_does_not() {
    let world = World::new(3, rules());
    assert!(world.fail(0, 3, 0.0).is_some());
    // Requests failed although the probe passed: its passing says nothing new.
    assert_eq!(world.upstream.set_probe(0, Verdict::Passes, "200", world.at(1.0)), None);
    assert!(!world.is_available(0, 1.0));
    // It was down and is up: a restart.
    let change = world.upstream.set_probe(0, Verdict::Fails, "refused", world.at(2.0)).unwrap();
    assert_eq!((change.from, change.to), (Standing::Ejected, Standing::Unhealthy));
    let change = world.upstream.set_probe(0, Verdict::Passes, "200", world.at(3.0)).unwrap();
    assert_eq!((change.from, change.to), (Standing::Unhealthy, Standing::Healthy));
    assert!(world.is_available(0, 3.0));
    // With a full number of failures before it goes again.
    assert_eq!(world.fail(0, 2, 4.0), None);
    assert!(world.fail(0, 1, 4.0).is_some());
}

#[test]
fn a_reload_keeps_health_and_ejections_by_address() {
    let world = World::new(3, rules());
    assert!(world.fail(0, 3, 0.0).is_some());
    world.upstream.set_probe(1, Verdict::Fails, "refused", world.at(0.0)).unwrap();
    let mut config = config(4, rules());
    config.endpoints.reverse();
    config.endpoints[3].weight = 7;
    let next = Upstream::build(&config, 1, world.at(5.0), Some(&world.upstream));
    let is_available = |index: usize| next.endpoints[index].is_available(world.at(5.0));
    assert_eq!([0, 1, 2, 3].map(is_available), [true, true, false, false]);
    for index in 0..3 {
        let kept =
            std::sync::Arc::ptr_eq(&next.endpoints[3 - index], &world.upstream.endpoints[index]);
        assert!(kept, "endpoint {index} moved to place {}", 3 - index);
    }
    // What the old snapshot's requests still find out counts for the new one too.
    world.upstream.report(0, 2, Outcome::Reset, world.at(6.0));
    assert_eq!(next.report(0, 1, Outcome::Reset, world.at(6.0)), None);
    assert!(next.report(0, 1, Outcome::Reset, world.at(6.0)).is_some());
    // Another number of shards is another layout of counters: nothing is kept.
    let other = Upstream::build(&config, 2, world.at(5.0), Some(&next));
    assert!(other.endpoints.iter().all(|endpoint| endpoint.is_available(world.at(6.0))));
}

#[test]
fn many_threads_make_each_change_once_and_hold_the_limit() {
    const THREADS: usize = 4;
    for round in 0..50 {
        let start = testing::start();
        let rules =
            OutlierConfig { max_ejected: 0.5, eject: Duration::from_millis(100), ..rules() };
        let upstream = Upstream::build(&config(6, rules), THREADS, start, None);
        let changes = AtomicU64::new(0);
        let most = AtomicU64::new(0);
        let barrier = Barrier::new(THREADS);
        let seen: Vec<BTreeSet<String>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|shard| {
                    let (upstream, changes, most, barrier) = (&upstream, &changes, &most, &barrier);
                    scope.spawn(move || {
                        let mut seen = BTreeSet::new();
                        for step in 0..200_u64 {
                            // All threads at the same virtual moment, on the same endpoints.
                            let now = start + Duration::from_millis(step * 10);
                            barrier.wait();
                            for index in 0..6 {
                                if let Some(change) =
                                    upstream.report(shard, index, Outcome::Timeout, now)
                                {
                                    changes.fetch_add(1, Ordering::Relaxed);
                                    seen.insert(format!("{step} {}", change.endpoint));
                                }
                                let ejected = upstream.ejected(now) as u64;
                                most.fetch_max(ejected, Ordering::Relaxed);
                            }
                        }
                        seen
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let most = most.into_inner();
        assert!(most <= 3, "round {round}: {most} of 6 were out at once");
        let distinct: BTreeSet<_> = seen.iter().flatten().collect();
        let total: usize = seen.iter().map(BTreeSet::len).sum();
        assert_eq!(distinct.len(), total, "round {round}: two threads made the same change");
        let ejections: u64 = upstream.endpoints.iter().map(|endpoint| endpoint.ejections()).sum();
        assert_eq!(ejections, changes.into_inner(), "round {round}");
        assert!(ejections >= 3, "round {round}: {ejections}");
    }
}

/// Counts what is logged with a given message.
struct Log {
    message: &'static str,
    count: std::sync::Arc<AtomicU64>,
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Message(String);
        impl tracing::field::Visit for Message {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        if message.0 == self.message {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_return_is_logged_once_over_all_shards() {
    const THREADS: usize = 4;
    let count = std::sync::Arc::new(AtomicU64::new(0));
    let start = testing::start();
    let upstream = Upstream::build(&config(3, rules()), THREADS, start, None);
    let barrier = Barrier::new(THREADS);
    for round in 1..=100 {
        // Long after the round before, so that each ejection is a first one.
        let began = start + Duration::from_secs(1000 * round);
        for _ in 0..3 {
            upstream.report(0, 0, Outcome::Reset, began);
        }
        thread::scope(|scope| {
            for _ in 0..THREADS {
                let log = Log { message: "endpoint is back", count: count.clone() };
                let (upstream, barrier) = (&upstream, &barrier);
                scope.spawn(move || {
                    tracing::subscriber::with_default(log, || {
                        barrier.wait();
                        upstream.tick(began + Duration::from_secs(100));
                        upstream.tick(began + Duration::from_secs(200));
                    });
                });
            }
        });
        upstream.report(0, 0, Outcome::Answered, began + Duration::from_secs(300));
        assert_eq!(count.load(Ordering::Relaxed), round);
    }
}
