//! libFuzzer over two HTTP/2 connections wired to one another: the input is a script of actions.
//! The invariants are those of the seeded run in `tests/fuzz/h2.rs`.
#![no_main]

#[path = "../h2_pair.rs"]
mod pair;

use libfuzzer_sys::fuzz_target;
use std::{sync::OnceLock, time::Instant};

static START: OnceLock<Instant> = OnceLock::new();

fuzz_target!(|script: &[u8]| {
    pair::check_pair(script, *START.get_or_init(Instant::now));
});
