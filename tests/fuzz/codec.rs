//! The seeded run over the HTTP/1 codec.

use crate::{invariants, messages, random::Random};
use ringway::protocol::http::Method;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Cases of the smoke run: about two seconds on one core.
const CASES: u64 = 60_000;

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Runs `case` for each seed and says which one failed, on what.
pub(crate) fn run(
    case: impl Fn(&mut Random) -> (Vec<u8>, Box<dyn Fn(&[u8]) -> bool>),
) -> (u64, u64) {
    run_smoke(CASES, case)
}

/// Like [`run`], with a smoke run of its own size.
pub(crate) fn run_smoke(
    smoke: u64,
    case: impl Fn(&mut Random) -> (Vec<u8>, Box<dyn Fn(&[u8]) -> bool>),
) -> (u64, u64) {
    let (first, cases) = (env("RINGWAY_FUZZ_SEED", 0), env("RINGWAY_FUZZ_CASES", smoke));
    let mut accepted = 0;
    for seed in first..first + cases {
        let (wire, check) = case(&mut Random::new(seed));
        match catch_unwind(AssertUnwindSafe(|| check(&wire))) {
            Ok(ok) => accepted += u64::from(ok),
            Err(panic) => {
                eprintln!(
                    "RINGWAY_FUZZ_SEED={seed} RINGWAY_FUZZ_CASES=1 on b\"{}\"",
                    wire.escape_ascii()
                );
                resume_unwind(panic);
            }
        }
    }
    println!("{cases} cases from seed {first}, {accepted} accepted");
    (cases, accepted)
}

#[test]
fn accepted_requests_mean_the_same_to_everybody() {
    let (cases, accepted) =
        run(|random| (messages::request(random), Box::new(invariants::check_request)));
    // A generator that only makes refused (or only accepted) messages would test nothing.
    assert!(
        cases < 1000 || (accepted * 10 > cases && accepted * 10 < cases * 9),
        "{accepted} of {cases}"
    );
}

#[test]
fn accepted_responses_mean_the_same_to_everybody() {
    let (cases, accepted) = run(|random| {
        let method = [Method::Get, Method::Get, Method::Head, Method::Connect][random.below(4)];
        (messages::response(random), Box::new(move |wire| invariants::check_response(wire, method)))
    });
    assert!(
        cases < 1000 || (accepted * 10 > cases && accepted * 10 < cases * 9),
        "{accepted} of {cases}"
    );
}
