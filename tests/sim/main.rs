//! The whole proxy under simulation: shards, clients and endpoints on one thread, over a seeded
//! network with a virtual clock.
//!
//! ```text
//!   clients ──▶ simulated network ──▶ shards (Steward, Pipeline, pools) ──▶ endpoints
//!      │                                                                       │
//!      └──────────────▶ ledger: who asked what, who saw what ◀─────────────────┘
//! ```
//!
//! A seed is a plan (`plan`), a plan is a run (`world`), and a run keeps the rules of `ledger`: no
//! response reaches a client it does not belong to, no byte is lost, doubled or out of order, what
//! broke off is never seen as finished, what isn't idempotent is sent once, nothing leaks, every
//! run ends, limits hold. The same seed gives the same run; a failure prints how to repeat it.
//!
//! `scripts/sim --seeds N` runs more of them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "helper functions of tests may; clippy excuses only #[test] itself"
)]

mod both;
mod client;
mod deadlines;
mod endpoint;
mod exchange;
mod ledger;
mod odds;
mod plan;
mod random;
mod relays;
mod scene;
mod settings;
mod tunnels;
mod wire;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use ledger::Tally;
use plan::{Plan, Profile};

/// Seeds of one profile in the usual test run.
const SEEDS: u64 = 120;
/// Of so many seeds one is run twice.
const TWICE_EVERY: u64 = 10;

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Runs the seeds of one profile; what all of them met.
fn seeds(profile: Profile) -> Tally {
    let first = env("RINGWAY_SIM_SEED");
    let count = env("RINGWAY_SIM_SEEDS").unwrap_or_else(|| if first.is_some() { 1 } else { SEEDS });
    let first = first.unwrap_or(0);
    let mut all = Tally::default();
    let mut failed = Vec::new();
    for seed in first..first + count {
        match catch_unwind(AssertUnwindSafe(|| once(seed, profile, count))) {
            Ok(Ok(tally)) => all.add(&tally),
            Ok(Err(violations)) => {
                eprintln!("{}", repeat(seed, profile));
                for violation in violations.iter().take(20) {
                    eprintln!("    {violation}");
                }
                failed.push(seed);
            }
            Err(_) => {
                eprintln!("{}\n    it panicked", repeat(seed, profile));
                failed.push(seed);
            }
        }
    }
    println!("{profile:?}: {count} seeds from {first}: {all:?}");
    assert!(failed.is_empty(), "{} of {count} seeds failed: {failed:?}", failed.len());
    all
}

fn once(seed: u64, profile: Profile, count: u64) -> Result<Tally, Vec<String>> {
    if count == 1 {
        eprintln!("{:#?}", Plan::new(seed, profile));
    }
    let outcome = world::run(seed, profile);
    let mut violations = outcome.violations.clone();
    if seed.is_multiple_of(TWICE_EVERY) {
        let again = world::run(seed, profile);
        if again != outcome {
            violations.push("the same seed gave another run".to_owned());
        }
    }
    if violations.is_empty() { Ok(outcome.tally) } else { Err(violations) }
}

fn repeat(seed: u64, profile: Profile) -> String {
    let name = format!("{profile:?}").to_lowercase();
    format!("seed {seed} fails; repeat it with scripts/sim --seed {seed} --profile {name}")
}

#[test]
fn calm_runs_answer_every_request() {
    let tally = seeds(Profile::Calm);
    assert!(tally.own_pages == 0, "{tally:?}");
}

#[test]
fn reload_runs_answer_every_request() {
    let tally = seeds(Profile::Reload);
    assert!(tally.own_pages == 0, "{tally:?}");
}

#[test]
fn hostile_runs_keep_the_rules() {
    let tally = seeds(Profile::Hostile);
    let met = [
        tally.broken_answers,
        tally.broken_uploads,
        tally.unanswered,
        tally.repeated,
        tally.bad_gateways,
        tally.gateway_timeouts,
        tally.unavailable,
        tally.too_large,
        tally.client_timeouts,
        tally.reused,
        tally.stolen,
        tally.queued,
        tally.limited,
    ];
    let is_whole = env("RINGWAY_SIM_SEED").is_none();
    assert!(!is_whole || met.iter().all(|count| *count > 0), "not everything is met: {tally:?}");
}

#[test]
fn stopped_runs_leave_nothing() {
    seeds(Profile::Stopped);
}
