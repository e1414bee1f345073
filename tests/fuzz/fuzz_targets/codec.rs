//! libFuzzer over the HTTP/1 codec: the first byte chooses the direction and the request's method,
//! the rest is the wire. The invariants are those of the seeded run in `tests/fuzz/codec.rs`.
#![no_main]

#[path = "../invariants.rs"]
mod invariants;

use libfuzzer_sys::fuzz_target;
use ringway::protocol::http::Method;

fuzz_target!(|input: &[u8]| {
    let Some((choice, wire)) = input.split_first() else { return };
    match choice % 4 {
        0 | 1 => invariants::check_request(wire),
        2 => invariants::check_response(wire, Method::Get),
        _ => invariants::check_response(wire, Method::Head),
    };
});
