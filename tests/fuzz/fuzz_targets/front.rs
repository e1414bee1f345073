//! libFuzzer over what stands before a connection's own bytes: the first byte chooses PROXY header
//! or ClientHello, the rest is the wire. The invariants are those of `tests/fuzz/front.rs`.
#![no_main]

#[path = "../front_invariants.rs"]
mod front_invariants;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((choice, wire)) = input.split_first() else { return };
    if choice % 2 == 0 {
        front_invariants::check_proxy_header(wire);
    } else {
        front_invariants::check_client_hello(wire);
    }
});
