//! libFuzzer over HPACK: the first byte chooses between decoding and a round trip. The invariants
//! are those of the seeded run in `tests/fuzz/h2.rs`.
#![no_main]

#[path = "../h2_invariants.rs"]
#[expect(dead_code, reason = "the frames have a target of their own")]
mod invariants;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first() else { return };
    match choice % 2 {
        0 => invariants::check_hpack_decoder(bytes),
        _ => invariants::check_hpack_round_trip(bytes),
    };
});
