//! Seeded fuzzing: generators that know the grammar and break it, with a smoke run in every test
//! run and long runs by environment.
//!
//! `RINGWAY_FUZZ_CASES=1000000 RINGWAY_FUZZ_SEED=7 cargo nextest run --test fuzz` runs cases
//! 7, 8, …; each case's seed alone makes the case, and a failure prints it. `tests/fuzz/Cargo.toml`
//! runs the same invariants under libFuzzer (`cargo fuzz run --fuzz-dir tests/fuzz codec`; the
//! targets are listed there).
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "helper functions of tests may; clippy excuses only #[test] itself"
)]

mod codec;
mod front;
mod front_invariants;
mod h2;
mod h2_invariants;
mod h2_pair;
mod invariants;
mod messages;
mod random;
