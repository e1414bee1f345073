//! A small random sequence for spreading, sampling and tests: fast and seeded, not for secrets.
//!
//! SplitMix64 (Steele, Lea, Flood 2014): one addition and a mix of 64 bits, full period 2^64. The
//! same seed gives the same numbers on every machine.

/// One step of the sequence: the next state, and the number that comes with it. A sequence begins
/// with its seed as state.
#[inline]
#[must_use]
pub const fn step(state: u64) -> (u64, u64) {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (state, z ^ (z >> 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_the_paper() {
        // The first numbers of seed 1234567 by the authors' own program.
        let mut state = 1_234_567;
        let numbers = [6_457_827_717_110_365_317_u64, 3_203_168_211_198_807_973];
        for number in numbers {
            let (next, drawn) = step(state);
            assert_eq!(drawn, number);
            state = next;
        }
    }
}
