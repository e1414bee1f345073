//! The Huffman code of RFC 7541 appendix B, both ways.
//!
//! The code is canonical: the lengths below make it, and every table is computed from them at
//! compile time. Decoding looks at ten bits at once, which hold one symbol or two (all letters and
//! digits have 5–7 bits); the rare longer ones are found by their length's first code.
//!
//! ```text
//!   bits  101001|00111|1 ...      first ten: two symbols, or one, or the start of a long one
//!         ^ left-justified in a u64, filled four octets at a time
//! ```
#![expect(
    clippy::indexing_slicing,
    reason = "tables are built at compile time, lookups are masked"
)]

use super::HpackError;

/// Appends the decoded `bytes` to `out`.
///
/// # Errors
/// [`HpackError::Huffman`] for EOS, for padding over seven bits or not of ones (§5.2).
pub(super) fn decode(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), HpackError> {
    out.reserve(bytes.len() * 8 / 5 + 1);
    let mut rest = bytes;
    let (mut bits, mut have) = (0u64, 0u32);
    loop {
        if have <= 32 {
            if let Some((four, tail)) = rest.split_first_chunk::<4>() {
                bits |= u64::from(u32::from_be_bytes(*four)) << (32 - have);
                have += 32;
                rest = tail;
            } else {
                while let Some((&byte, tail)) = rest.split_first() {
                    bits |= u64::from(byte) << (56 - have);
                    have += 8;
                    rest = tail;
                }
            }
        }
        let entry = FAST[(bits >> (64 - FAST_BITS)) as usize];
        let length = u32::from(entry.length);
        if entry.count == 2 && length <= have {
            out.extend_from_slice(&entry.symbols);
            (bits, have) = (bits << length, have - length);
            continue;
        }
        if entry.count == 0 {
            match long(bits, have) {
                Some((symbol, length)) => {
                    out.push(symbol);
                    (bits, have) = (bits << length, have - length);
                }
                None => return finish(bits, have, rest),
            }
            continue;
        }
        let [first, _] = entry.symbols;
        let length = u32::from(LENGTHS[usize::from(first)]);
        if length > have {
            return finish(bits, have, rest);
        }
        out.push(first);
        (bits, have) = (bits << length, have - length);
    }
}

/// A symbol of more than ten bits.
fn long(bits: u64, have: u32) -> Option<(u8, u32)> {
    for length in FAST_BITS + 1..=LENGTH_MAX.min(have) {
        let code = u32::try_from(bits >> (64 - length)).unwrap_or(u32::MAX);
        let row = BY_LENGTH[length as usize];
        if let Some(place) = code.checked_sub(row.first).filter(|place| *place < row.count) {
            let symbol = SORTED[usize::from(row.start) + place as usize];
            // EOS (256) isn't a byte: no symbol, and what is left is no padding either.
            return u8::try_from(symbol).ok().map(|symbol| (symbol, length));
        }
    }
    None
}

/// What is left must be padding: under eight bits, all ones.
fn finish(bits: u64, have: u32, rest: &[u8]) -> Result<(), HpackError> {
    let is_padding = have < 8 && (have == 0 || bits >> (64 - have) == (1 << have) - 1);
    if rest.is_empty() && is_padding { Ok(()) } else { Err(HpackError::Huffman) }
}

/// Octets that [`encode`] makes of `bytes`.
pub(super) fn encoded_len(bytes: &[u8]) -> usize {
    let bits: usize = bytes.iter().map(|&byte| usize::from(LENGTHS[usize::from(byte)])).sum();
    bits.div_ceil(8)
}

/// Appends the code of `bytes`, padded with ones.
pub(super) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut have) = (0u64, 0u32);
    for &byte in bytes {
        let at = usize::from(byte);
        let length = u32::from(LENGTHS[at]);
        bits = bits << length | u64::from(CODES[at]);
        have += length;
        while have >= 32 {
            have -= 32;
            let four = (bits >> have) & u64::from(u32::MAX);
            out.extend_from_slice(&u32::try_from(four).unwrap_or(0).to_be_bytes());
        }
    }
    let padding = (8 - have % 8) % 8;
    bits = bits << padding | ((1 << padding) - 1);
    have += padding;
    while have >= 8 {
        have -= 8;
        out.push(u8::try_from(bits >> have & 0xff).unwrap_or(0));
    }
}

/// One look at [`FAST_BITS`] bits.
#[derive(Clone, Copy)]
struct Fast {
    symbols: [u8; 2],
    /// Bits of all `count` symbols.
    length: u8,
    /// 0: the code is longer than the look.
    count: u8,
}

/// The codes of one length.
#[derive(Clone, Copy)]
struct Row {
    first: u32,
    count: u32,
    /// Where they start in [`SORTED`].
    start: u16,
}

const FAST_BITS: u32 = 10;
const LENGTH_MAX: u32 = 30;
const SYMBOLS: usize = 257;

const CODES: [u32; SYMBOLS] = codes().0;
const SORTED: [u16; SYMBOLS] = codes().1;
const BY_LENGTH: [Row; LENGTH_MAX as usize + 1] = codes().2;
static FAST: [Fast; 1 << FAST_BITS] = fast();

type Codes = ([u32; SYMBOLS], [u16; SYMBOLS], [Row; LENGTH_MAX as usize + 1]);

/// The canonical code: shorter first, then by symbol.
#[expect(clippy::cast_possible_truncation, reason = "there are 257 symbols")]
const fn codes() -> Codes {
    let mut codes = [0u32; SYMBOLS];
    let mut sorted = [0u16; SYMBOLS];
    let mut rows = [Row { first: 0, count: 0, start: 0 }; LENGTH_MAX as usize + 1];
    let (mut code, mut place, mut length) = (0u32, 0u16, 1usize);
    while length <= LENGTH_MAX as usize {
        rows[length] = Row { first: code, count: 0, start: place };
        let mut symbol = 0usize;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                codes[symbol] = code;
                sorted[place as usize] = symbol as u16;
                rows[length].count += 1;
                code += 1;
                place += 1;
            }
            symbol += 1;
        }
        code <<= 1;
        length += 1;
    }
    (codes, sorted, rows)
}

const fn fast() -> [Fast; 1 << FAST_BITS] {
    let mut table = [Fast { symbols: [0, 0], length: 0, count: 0 }; 1 << FAST_BITS];
    let mut look = 0u32;
    while look < 1 << FAST_BITS {
        let mut entry = Fast { symbols: [0, 0], length: 0, count: 0 };
        if let Some(first) = symbol_at(look, FAST_BITS) {
            let used = LENGTHS[first as usize];
            entry = Fast { symbols: [first, 0], length: used, count: 1 };
            let left = FAST_BITS - used as u32;
            if let Some(second) = symbol_at(look & ((1 << left) - 1), left) {
                entry.symbols[1] = second;
                entry.length = used + LENGTHS[second as usize];
                entry.count = 2;
            }
        }
        table[look as usize] = entry;
        look += 1;
    }
    table
}

/// The symbol whose code starts the `have` bits of `bits`, if all of it is there; never EOS,
/// which has 30 bits.
#[expect(clippy::cast_possible_truncation, reason = "symbols of ten bits and less are bytes")]
const fn symbol_at(bits: u32, have: u32) -> Option<u8> {
    let mut length = 1;
    while length <= have {
        let code = bits >> (have - length);
        let row = BY_LENGTH[length as usize];
        if code >= row.first && code - row.first < row.count {
            return Some(SORTED[row.start as usize + (code - row.first) as usize] as u8);
        }
        length += 1;
    }
    None
}

/// Bits of each symbol's code, EOS last (RFC 7541 appendix B).
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_appendix_b() {
        for (symbol, code) in [
            (usize::from(b'0'), 0x0),
            (usize::from(b'a'), 0x3),
            (usize::from(b' '), 0x14),
            (usize::from(b'/'), 0x18),
            (usize::from(b'Z'), 0xfd),
            (0, 0x1ff8),
            (10, 0x3fff_fffc),
            (249, 0xfff_fffe),
            (255, 0x3ff_ffee),
            (256, 0x3fff_ffff),
        ] {
            assert_eq!(CODES[symbol], code, "{symbol}");
        }
    }

    #[test]
    fn every_byte_round_trips_beside_every_other() {
        for a in 0..=255u8 {
            for b in 0..=255u8 {
                for text in [&[a, b][..], &[a, b, b'e', b], &[b'0', a, b'z', b'z', b]] {
                    let (mut code, mut again) = (Vec::new(), Vec::new());
                    encode(text, &mut code);
                    assert_eq!(code.len(), encoded_len(text));
                    assert_eq!(decode(&code, &mut again), Ok(()), "{text:?}");
                    assert_eq!(again, text);
                }
            }
        }
    }

    /// RFC 7541 §5.2.
    #[test]
    fn bad_padding_and_eos_are_refused() {
        let decoded = |wire: &[u8]| decode(wire, &mut Vec::new());
        assert_eq!(decoded(&[]), Ok(()));
        assert_eq!(decoded(&[0x07]), Ok(()), "`0` and three ones");
        assert_eq!(decoded(&[0x06]), Err(HpackError::Huffman), "padding not of ones");
        assert_eq!(decoded(&[0x00]), Err(HpackError::Huffman), "padding of zeros");
        assert_eq!(decoded(&[0x07, 0xff]), Err(HpackError::Huffman), "eleven bits of padding");
        assert_eq!(decoded(&[0xff]), Err(HpackError::Huffman), "eight bits of padding");
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xfc]), Err(HpackError::Huffman), "EOS");
        assert_eq!(
            decoded(&[0xff, 0xff, 0xff, 0xff, 0x07]),
            Err(HpackError::Huffman),
            "EOS and more"
        );
        assert_eq!(decoded(&[0xff, 0xff, 0xff]), Err(HpackError::Huffman), "a code cut short");
        assert_eq!(decoded(&[0xff; 8]), Err(HpackError::Huffman), "EOS with all bits there are");
    }
}
