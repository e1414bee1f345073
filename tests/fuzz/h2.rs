//! The seeded run over HTTP/2: frames that are nearly right, header blocks, and pairs.

use crate::{codec::run_smoke as run, h2_invariants as invariants, h2_pair, random::Random};
use std::time::Instant;

/// Bytes that mean something to HPACK more often than chance would have it.
fn block(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.below(12) {
        match random.below(8) {
            0 | 1 => bytes.push(0x80 | u8::try_from(1 + random.below(70)).unwrap()),
            2 => bytes.push(0x20 | u8::try_from(random.below(32)).unwrap()),
            3 => bytes.push(u8::try_from(random.below(256)).unwrap()),
            kind => {
                let pattern = [0x40, 0x00, 0x10, 0x40][kind % 4];
                let names: [&[u8]; 6] = [b"a", b"x-b", b":path", b"cookie", b"host", b"te"];
                let values: [&[u8]; 6] = [b"", b"1", b"trailers", b"a b", b"/x?y", b"\x8f"];
                bytes.push(pattern);
                text(random.pick(&names), &mut bytes);
                text(random.pick(&values), &mut bytes);
            }
        }
    }
    bytes
}

fn text(text: &[u8], bytes: &mut Vec<u8>) {
    bytes.push(u8::try_from(text.len()).unwrap());
    bytes.extend(text);
}

/// Indexes of the static table that make a request, or a response.
fn head(random: &mut Random, is_request: bool) -> Vec<u8> {
    let mut bytes = if is_request {
        let mut bytes = vec![0x82, 0x86, 0x84, 0x01];
        text(b"a.example", &mut bytes);
        bytes
    } else {
        vec![0x88 + u8::try_from(random.below(6)).unwrap()]
    };
    if random.once_in(3) {
        bytes.extend(block(random));
    }
    if random.once_in(20) {
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
    }
    bytes
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], bytes: &mut Vec<u8>) {
    bytes.extend(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
}

/// A sequence of frames, most of them right.
fn frames(random: &mut Random, is_server: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame(4, 0, 0, &[0, 4, 0, 0, 0x10, 0], &mut bytes);
    let mut next = 1;
    for _ in 0..random.below(20) {
        let stream = 1 + 2 * u32::try_from(random.below(5)).unwrap();
        let ends = u8::from(random.once_in(2));
        match random.below(16) {
            0..=4 => {
                let id = if is_server { next } else { stream };
                next += 2;
                frame(1, 4 | ends, id, &head(random, is_server), &mut bytes);
            }
            5..=7 => {
                let len = random.below(300);
                frame(0, ends, stream, &vec![b'x'; len], &mut bytes);
            }
            8 => frame(0, 8 | ends, stream, &[random.once_in(2).into(), 0, 0], &mut bytes),
            9 => frame(8, 0, stream * u32::from(ends), &[0, 0, 0, ends], &mut bytes),
            10 => frame(3, 0, stream, &[0, 0, 0, 8], &mut bytes),
            11 => frame(6, ends, 0, &[0; 8], &mut bytes),
            12 => {
                let whole = head(random, is_server);
                let cut = random.below(whole.len());
                frame(1, ends, next, &whole[..cut], &mut bytes);
                frame(9, 4, next, &whole[cut..], &mut bytes);
                next += 2;
            }
            13 => frame(4, 0, 0, &[0, 3, 0, 0, 0, ends], &mut bytes),
            14 => frame(4, 1, 0, &[], &mut bytes),
            _ => {
                let kind = u8::try_from(random.below(18)).unwrap();
                let flags = u8::try_from(random.below(64)).unwrap();
                let len = random.below(12);
                frame(kind, flags, stream - ends as u32, &vec![0; len], &mut bytes);
            }
        }
    }
    if random.once_in(4) && !bytes.is_empty() {
        let at = random.below(bytes.len());
        bytes[at] = u8::try_from(random.below(256)).unwrap();
    }
    bytes
}

#[expect(clippy::disallowed_methods, reason = "a test has no shard whose clock it could ask")]
fn now() -> Instant {
    Instant::now()
}

fn noise(random: &mut Random, most: usize) -> Vec<u8> {
    (0..random.below(most)).map(|_| u8::try_from(random.below(256)).unwrap()).collect()
}

#[test]
fn any_cut_of_any_frames_means_the_same() {
    let now = now();
    for is_server in [true, false] {
        let (cases, lived) = run(12_000, |random| {
            let check = move |wire: &[u8]| invariants::check_frames(wire, is_server, now);
            (frames(random, is_server), Box::new(check))
        });
        assert!(
            cases < 1000 || (lived * 20 > cases && lived * 10 < cases * 9),
            "{lived} of {cases}"
        );
    }
}

#[test]
fn any_header_block_is_decoded_or_refused() {
    let (cases, accepted) = run(40_000, |random| {
        let mut bytes = Vec::new();
        for _ in 0..1 + random.below(3) {
            let block = block(random);
            bytes.push(u8::try_from(block.len()).unwrap_or(255));
            bytes.extend(block);
        }
        (bytes, Box::new(invariants::check_hpack_decoder))
    });
    assert!(cases < 1000 || (accepted * 20 > cases && accepted * 10 < cases * 9), "{accepted}");
}

#[test]
fn what_the_encoder_writes_the_decoder_reads() {
    run(10_000, |random| (noise(random, 400), Box::new(invariants::check_hpack_round_trip)));
}

#[test]
fn two_connections_never_find_fault_with_one_another() {
    let now = now();
    let (cases, completed) = run(1_000, |random| {
        (noise(random, 400), Box::new(move |script: &[u8]| h2_pair::check_pair(script, now)))
    });
    assert!(cases < 500 || completed * 2 > cases, "{completed} of {cases} had an exchange");
}
