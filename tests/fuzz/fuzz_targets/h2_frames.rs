//! libFuzzer over one HTTP/2 connection: the first byte chooses the role, the rest is the wire
//! after the preface. The invariants are those of the seeded run in `tests/fuzz/h2.rs`.
#![no_main]

#[path = "../h2_invariants.rs"]
#[expect(dead_code, reason = "the HPACK half has a target of its own")]
mod invariants;

use libfuzzer_sys::fuzz_target;
use std::{sync::OnceLock, time::Instant};

static START: OnceLock<Instant> = OnceLock::new();

fuzz_target!(|input: &[u8]| {
    let Some((choice, wire)) = input.split_first() else { return };
    invariants::check_frames(wire, choice % 2 == 0, *START.get_or_init(Instant::now));
});
