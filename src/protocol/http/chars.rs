//! Character classes of the grammar and the scanners over them.
//!
//! Tables for short things (names, methods), eight bytes at a time in one register (SWAR) for
//! long ones (values, targets). No unsafe, no target features: at head sizes a 64-bit register
//! is within a few per cent of SSE.

/// Longest register walk: one `u64`.
const LANES: usize = 8;
const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

const TOKEN: [bool; 256] = token_table();

const fn token_table() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0u8;
    loop {
        // RFC 9110 §5.6.2: tchar.
        let symbol = matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        #[expect(clippy::indexing_slicing, reason = "evaluated at compile time; a u8 is below 256")]
        {
            table[byte as usize] = symbol || byte.is_ascii_alphanumeric();
        }
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}

/// RFC 9110 §5.6.2 `tchar`.
#[inline]
pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).copied().unwrap_or(false)
}

/// A whole token: at least one `tchar` and nothing else.
#[inline]
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| is_token_byte(b))
}

/// Allowed in a field value: HTAB, SP, VCHAR, obs-text (RFC 9110 §5.5).
#[inline]
pub(crate) fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

/// A whole field value.
#[inline]
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    value_end(bytes, 0) == bytes.len()
}

/// Allowed in a request target as we take it: VCHAR but `#`.
///
/// Wider than RFC 3986 (`"<>[]\^`{|}` pass): browsers send these in queries, and none of them
/// delimits anything in HTTP/1.1.
#[inline]
pub(crate) fn is_target_byte(byte: u8) -> bool {
    byte > 0x20 && byte < 0x7f && byte != b'#'
}

/// Index of the first byte at or after `from` that is no token byte; `bytes.len()` if none.
#[inline]
pub(crate) fn token_end(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or(&[]);
    rest.iter().position(|&b| !is_token_byte(b)).map_or(bytes.len(), |n| from + n)
}

/// Index of the first byte at or after `from` that may not stand in a field value (a control
/// other than HTAB); `bytes.len()` if none.
#[inline]
pub(crate) fn value_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    loop {
        at = skip(bytes, at, |x| below(x, 0x20) | equal(x, 0x7f), is_value_byte);
        if bytes.get(at) != Some(&b'\t') {
            return at;
        }
        at += 1;
    }
}

/// Index of the first byte at or after `from` that is no visible ASCII; `bytes.len()` if none.
#[inline]
pub(crate) fn visible_end(bytes: &[u8], from: usize) -> usize {
    skip(bytes, from, |x| below(x, 0x21) | equal(x, 0x7f) | (x & HIGH), |b| b > 0x20 && b < 0x7f)
}

/// Walks on while no lane of `stop` hits, then byte by byte while `keep` holds.
///
/// `stop` may hit falsely only above a true hit (borrows run upwards), so its lowest lane is exact.
#[inline(always)]
fn skip(bytes: &[u8], from: usize, stop: impl Fn(u64) -> u64, keep: impl Fn(u8) -> bool) -> usize {
    let mut at = from;
    let mut rest = bytes.get(from..).unwrap_or(&[]);
    while let Some((lanes, tail)) = rest.split_first_chunk::<LANES>() {
        let hit = stop(u64::from_le_bytes(*lanes));
        if hit != 0 {
            return at + (hit.trailing_zeros() / 8) as usize;
        }
        at += LANES;
        rest = tail;
    }
    at + rest.iter().position(|&b| !keep(b)).unwrap_or(rest.len())
}

/// High bit of each lane that holds less than `n`; `n` ≤ 0x80.
#[inline(always)]
const fn below(x: u64, n: u8) -> u64 {
    x.wrapping_sub(LOW * n as u64) & !x & HIGH
}

/// High bit of each lane that holds `byte`.
#[inline(always)]
const fn equal(x: u64, byte: u8) -> u64 {
    below(x ^ (LOW * byte as u64), 1)
}

/// `bytes` without SP and HTAB at both ends (RFC 9110 §5.6.3 OWS).
#[inline]
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [b' ' | b'\t', tail @ ..] = rest {
        rest = tail;
    }
    while let [head @ .., b' ' | b'\t'] = rest {
        rest = head;
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scanners agree with the plain predicate for every byte at every lane.
    #[test]
    fn scanners_agree_with_their_predicates() {
        for byte in 0..=255u8 {
            for at in 0..20usize {
                let mut text = [b'a'; 20];
                text[at] = byte;
                let expected = |keep: bool| if keep { 20 } else { at };
                assert_eq!(
                    value_end(&text, 0),
                    expected(is_value_byte(byte)),
                    "value {byte:#x} at {at}"
                );
                let visible = byte > 0x20 && byte < 0x7f;
                assert_eq!(visible_end(&text, 0), expected(visible), "visible {byte:#x} at {at}");
                assert_eq!(
                    token_end(&text, 0),
                    expected(is_token_byte(byte)),
                    "token {byte:#x} at {at}"
                );
            }
        }
    }

    #[test]
    fn the_first_of_several_hits_wins() {
        assert_eq!(value_end(b"ab\tcd\x7f\n\r\0zzzz", 0), 5);
        assert_eq!(value_end(b"\t\t\t\t\t\t\t\t\t\n", 0), 9);
        assert_eq!(visible_end(b"\x80\x01aaaaaaaa", 0), 0);
        assert_eq!(visible_end(b"aaaaaaaaaaaa", 3), 12);
    }

    #[test]
    fn trimming_takes_only_optional_whitespace() {
        assert_eq!(trim(b" \t a b\t "), b"a b");
        assert_eq!(trim(b" \t"), b"");
        assert_eq!(trim(b"\x0ba"), b"\x0ba");
    }
}
