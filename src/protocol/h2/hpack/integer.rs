//! Integers with a prefix of 1–8 bits (RFC 7541 §5.1).
//!
//! Nothing in HPACK needs more than 32 bits here: indexes, lengths and table sizes are all bounded
//! far below, so longer encodings are refused, as §5.1 tells implementations to.

use super::HpackError;

/// Reads an integer with a prefix of `bits`; gives it and the bytes that it took.
#[inline]
pub(super) fn decode(bytes: &[u8], bits: u32) -> Result<(usize, usize), HpackError> {
    let Some(&first) = bytes.first() else { return Err(HpackError::Truncated) };
    let mask = u8::MAX >> (8 - bits);
    let prefix = first & mask;
    if prefix < mask {
        return Ok((usize::from(prefix), 1));
    }
    decode_long(bytes, mask)
}

fn decode_long(bytes: &[u8], mask: u8) -> Result<(usize, usize), HpackError> {
    let mut value = u64::from(mask);
    for (at, &byte) in bytes.iter().enumerate().skip(1).take(OCTETS_MAX) {
        value += u64::from(byte & 0x7f) << (7 * (at - 1));
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).map_err(|_| HpackError::IntegerTooLarge)?;
            return Ok((value as usize, at + 1));
        }
    }
    if bytes.len() > OCTETS_MAX {
        return Err(HpackError::IntegerTooLarge);
    }
    Err(HpackError::Truncated)
}

/// Octets after the prefix: five hold 35 bits, and only zeros could follow.
const OCTETS_MAX: usize = 5;

/// Appends `value` with a prefix of `bits`, whose octet also carries `pattern`.
#[inline]
pub(super) fn encode(value: usize, bits: u32, pattern: u8, out: &mut Vec<u8>) {
    let mask = u8::MAX >> (8 - bits);
    match u8::try_from(value) {
        Ok(small) if small < mask => out.push(pattern | small),
        _ => {
            out.push(pattern | mask);
            let mut rest = value - usize::from(mask);
            while rest >= 0x80 {
                out.push(low_seven(rest) | 0x80);
                rest >>= 7;
            }
            out.push(low_seven(rest));
        }
    }
}

#[inline]
fn low_seven(value: usize) -> u8 {
    u8::try_from(value & 0x7f).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541 appendix C.1.
    #[test]
    fn the_examples_of_appendix_c_1() {
        for (value, bits, wire) in [
            (10, 5, &[0b0000_1010][..]),
            (1337, 5, &[0b0001_1111, 0b1001_1010, 0b0000_1010]),
            (42, 8, &[0b0010_1010]),
        ] {
            let mut out = Vec::new();
            encode(value, bits, 0, &mut out);
            assert_eq!(out, wire);
            assert_eq!(decode(wire, bits), Ok((value, wire.len())));
        }
    }

    #[test]
    fn every_prefix_round_trips_around_its_edges() {
        for bits in 1..=8 {
            for value in (0..600).chain([16_383, 16_384, 65_535, 1 << 28, u32::MAX as usize]) {
                let mut out = Vec::new();
                encode(value, bits, 0, &mut out);
                assert_eq!(decode(&out, bits), Ok((value, out.len())), "{value} in {bits}");
                assert_eq!(decode(&out[..out.len() - 1], bits), Err(HpackError::Truncated));
            }
        }
    }

    #[test]
    fn what_doesnt_fit_is_refused() {
        assert_eq!(decode(&[0xff; 12], 7), Err(HpackError::IntegerTooLarge));
        assert_eq!(
            decode(&[0x1f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0], 5),
            Err(HpackError::IntegerTooLarge)
        );
        assert_eq!(
            decode(&[0x1f, 0xff, 0xff, 0xff, 0xff, 0x7f], 5),
            Err(HpackError::IntegerTooLarge)
        );
        assert_eq!(decode(&[], 5), Err(HpackError::Truncated));
    }
}
