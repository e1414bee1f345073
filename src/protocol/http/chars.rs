//! Character classes of the grammar and the scanners over them.
//!
//! Tables for short things (names, methods), eight bytes at a time in one register (SWAR) for
//! long ones (values, targets). No unsafe, no target features: at head sizes a 64-bit register
//! is within a few per cent of SSE.

/// Longest register walk: one `u64`.
const LANES: usize = 8;
pub(crate) const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// RFC 9110 §5.6.2.
const TOKEN: [bool; 256] = byte_table(b"!#$%&'*+-.^_`|~");

/// A class of bytes: ASCII letters and digits, and `symbols`.
pub(crate) const fn byte_table(symbols: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0u8;
    #[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    #[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
    while at < symbols.len() {
        table[symbols[at] as usize] = true;
        at += 1;
    }
    table
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
    let plain = plain_len(bytes);
    plain == bytes.len() || value_end(bytes, plain) == bytes.len()
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
///
/// Letters and `-`, which nearly all names consist of, go eight at a time.
#[inline]
pub(crate) fn token_end(bytes: &[u8], from: usize) -> usize {
    walk(bytes, from, not_letter_or_dash, is_token_byte)
}

/// Index of the first byte at or after `from` that may not stand in a field value (a control
/// other than HTAB); `bytes.len()` if none. Visible ASCII and spaces go eight at a time.
#[inline]
pub(crate) fn value_end(bytes: &[u8], from: usize) -> usize {
    walk(bytes, from, |x| not_between(x, 0x20), is_value_byte)
}

/// Length of the run of visible ASCII and spaces that `bytes` begins with, which is all of a plain
/// field value. HTAB and obs-text end it.
#[inline(always)]
pub(crate) fn plain_len(bytes: &[u8]) -> usize {
    scan(bytes, |x| not_between(x, 0x20))
}

/// Length of the run of visible ASCII without `?` and `#` that `bytes` begins with.
#[inline(always)]
pub(crate) fn path_len(bytes: &[u8]) -> usize {
    scan(bytes, |x| not_between(x, 0x21) | equal(x, b'?') | equal(x, b'#'))
}

/// Index of the lowest lane whose high bit is set.
#[inline(always)]
pub(crate) const fn lane(found: u64) -> usize {
    (found.trailing_zeros() / 8) as usize
}

/// Index of the first byte at or after `from` that is no visible ASCII; `bytes.len()` if none.
#[inline]
pub(crate) fn visible_end(bytes: &[u8], from: usize) -> usize {
    walk(bytes, from, |x| not_between(x, 0x21), |b| b > 0x20 && b < 0x7f)
}

/// Index of the first `a` or `b`; `bytes.len()` if none. For short texts: no call, no set-up.
#[inline(always)]
pub(crate) fn find_either(bytes: &[u8], a: u8, b: u8) -> usize {
    scan(bytes, |x| equal(x, a) | equal(x, b))
}

/// Index of the first lane that `stop` finds; `bytes.len()` if none. The lowest lane that `stop`
/// finds must be exact.
#[inline(always)]
fn scan(bytes: &[u8], stop: impl Fn(u64) -> u64) -> usize {
    let (words, rest) = bytes.as_chunks::<LANES>();
    let mut at = 0;
    for word in words {
        let found = stop(u64::from_le_bytes(*word));
        if found != 0 {
            return at + lane(found);
        }
        at += LANES;
    }
    if rest.is_empty() {
        return at;
    }
    (at + lane(stop(last_word(bytes)))).min(bytes.len())
}

/// Whether a path is read by everybody as it stands: it begins with `/`, and holds neither `%` nor
/// `\` nor a `/` before another one or before a `.`.
pub(crate) fn is_plain_path(path: &[u8]) -> bool {
    if path.first() != Some(&b'/') {
        return false;
    }
    let (words, _) = path.as_chunks::<LANES>();
    let last = last_word(path);
    // Whether the lane before the next word's first is a slash, at that first lane's high bit.
    let mut carried = 0;
    for word in words.iter().map(|word| u64::from_le_bytes(*word)).chain([last]) {
        let slash = equal(word, b'/');
        // `.` and `/` differ in the lowest bit alone.
        let slash_or_dot = equal(word | LOW, b'/');
        let doubled = (slash << 8 | carried) & slash_or_dot;
        if equal(word, b'%') | equal(word, b'\\') | doubled != 0 {
            return false;
        }
        carried = slash >> (u64::BITS - 8);
    }
    true
}

/// The bytes that don't fill a word any more, zeros behind them: out of the last eight bytes if
/// there are so many.
#[inline(always)]
fn last_word(bytes: &[u8]) -> u64 {
    let (_, rest) = bytes.as_chunks::<LANES>();
    match bytes.last_chunk::<LANES>() {
        Some(_) if rest.is_empty() => 0,
        Some(last) => u64::from_le_bytes(*last) >> (8 * (LANES - rest.len())),
        None => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// Walks over bytes that `keep` holds: eight at a time while `stop` finds nothing among them,
/// else one at a time. `stop` may find more than `!keep` does, but must miss none of those, and
/// its lowest lane must be exact.
#[inline(always)]
fn walk(bytes: &[u8], from: usize, stop: impl Fn(u64) -> u64, keep: impl Fn(u8) -> bool) -> usize {
    let mut at = from;
    let mut rest = bytes.get(from..).unwrap_or(&[]);
    while let Some((lanes, tail)) = rest.split_first_chunk::<LANES>() {
        let found = stop(u64::from_le_bytes(*lanes));
        if found == 0 {
            at += LANES;
            rest = tail;
            continue;
        }
        at += lane(found);
        rest = rest.get(lane(found)..).unwrap_or(&[]);
        // A short run of what only `keep` knows; bounded, so that its bytes are read once.
        for _ in 0..LANES {
            match rest.split_first() {
                Some((&byte, tail)) if keep(byte) => rest = tail,
                _ => return at,
            }
            at += 1;
        }
    }
    at + rest.iter().position(|&b| !keep(b)).unwrap_or(rest.len())
}

/// High bit of each lane outside `low..=0x7e`; `low` ≤ 0x80.
///
/// A lane below `low` borrows from the next and 0xff carries into it, but both are found
/// themselves, so the lowest lane found is exact.
#[inline(always)]
const fn not_between(x: u64, low: u8) -> u64 {
    (x.wrapping_sub(LOW * low as u64) | x.wrapping_add(LOW) | x) & HIGH
}

/// High bit of each lane that holds `byte`; false hits only above a true one.
#[inline(always)]
pub(crate) const fn equal(x: u64, byte: u8) -> u64 {
    let y = x ^ (LOW * byte as u64);
    y.wrapping_sub(LOW) & !y & HIGH
}

/// High bit of each lane that holds neither an ASCII letter nor `-`. Every lane is exact: seven
/// bits never carry.
#[inline(always)]
const fn not_letter_or_dash(x: u64) -> u64 {
    let lower = (x | (LOW * 0x20)) & !HIGH;
    let from_a = lower + LOW * (0x80 - b'a' as u64);
    let above_z = lower + LOW * (0x7f - b'z' as u64);
    let not_dash = ((x ^ (LOW * b'-' as u64)) & !HIGH) + LOW * 0x7f;
    (((!from_a | above_z) & not_dash) | x) & HIGH
}

/// High bit of each lane that holds neither an ASCII letter nor a digit nor `-`. Exact, like
/// [`not_letter_or_dash`].
#[inline(always)]
pub(crate) const fn not_name(x: u64) -> u64 {
    let seven = x & !HIGH;
    let from_0 = seven + LOW * (0x80 - b'0' as u64);
    let above_9 = seven + LOW * (0x7f - b'9' as u64);
    not_letter_or_dash(x) & (!from_0 | above_9 | x)
}

/// Whether `bytes` is `lower` in any case, for `lower` of lower-case letters and `-` only.
///
/// Setting one bit instead of looking at each byte takes CR for `-`; tokens and field values
/// don't hold one.
#[inline]
pub(crate) fn is_lower(bytes: &[u8], lower: &[u8]) -> bool {
    if bytes.len() != lower.len() {
        return false;
    }
    let (lanes, rest) = bytes.as_chunks::<LANES>();
    let (lower_lanes, lower_rest) = lower.as_chunks::<LANES>();
    let same = |(a, b): (&[u8; LANES], &[u8; LANES])| {
        u64::from_le_bytes(*a) | (LOW * 0x20) == u64::from_le_bytes(*b)
    };
    lanes.iter().zip(lower_lanes).all(same)
        && rest.iter().zip(lower_rest).all(|(a, b)| a | 0x20 == *b)
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
                let plain = visible || byte == b' ';
                assert_eq!(plain_len(&text), expected(plain), "plain {byte:#x} at {at}");
                let path = visible && byte != b'?' && byte != b'#';
                assert_eq!(path_len(&text), expected(path), "path {byte:#x} at {at}");
                assert_eq!(
                    token_end(&text, 0),
                    expected(is_token_byte(byte)),
                    "token {byte:#x} at {at}"
                );
            }
        }
    }

    /// Lanes don't disturb each other: any mixture of bytes gives what byte-by-byte reading gives.
    #[test]
    fn scanners_agree_on_any_mixture() {
        let mut state = 1u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            u8::try_from(state >> 56).unwrap()
        };
        for round in 0..20_000 {
            let text: Vec<u8> = (0..33)
                .map(|_| match (round % 3, next()) {
                    (0, byte) => byte,
                    (1, byte) if byte < 250 => b'a' + byte % 26,
                    (_, byte) => b"-_\t\r\0\x7f\x80\xff zAZ@[`{"[usize::from(byte) % 16],
                })
                .collect();
            let plain = |keep: fn(u8) -> bool, from: usize| {
                text[from..].iter().position(|&b| !keep(b)).map_or(text.len(), |at| from + at)
            };
            let from = round % 34;
            let of_rest = |keep: fn(u8) -> bool| plain(keep, from) - from;
            assert_eq!(plain_len(&text[from..]), of_rest(|b| matches!(b, 0x20..=0x7e)), "{text:?}");
            assert_eq!(
                path_len(&text[from..]),
                of_rest(|b| matches!(b, 0x21..=0x7e) && b != b'?' && b != b'#'),
                "{text:?}"
            );
            assert_eq!(is_value(&text[from..]), plain(is_value_byte, from) == 33, "{text:?}");
            assert_eq!(value_end(&text, from), plain(is_value_byte, from), "{text:?}");
            assert_eq!(token_end(&text, from), plain(is_token_byte, from), "{text:?}");
            assert_eq!(visible_end(&text, from), plain(|b| b > 0x20 && b < 0x7f, from), "{text:?}");
            assert_eq!(
                find_either(&text, b'-', 0xff),
                plain(|b| b != b'-' && b != 0xff, 0),
                "{text:?}"
            );
        }
    }

    #[test]
    fn plain_paths_are_told_from_others() {
        for len in 1..20 {
            let mut path = vec![b'a'; len];
            path[0] = b'/';
            assert!(is_plain_path(&path));
            for at in 1..len {
                for (odd, is_plain) in [
                    ("%", false),
                    ("\\", false),
                    ("/", at > 1),
                    (".", at > 1),
                    ("/.", false),
                    ("//", false),
                ] {
                    let mut other = path.clone();
                    if at + odd.len() <= len {
                        other[at..at + odd.len()].copy_from_slice(odd.as_bytes());
                        assert_eq!(is_plain_path(&other), is_plain, "{other:?}");
                    }
                }
            }
        }
        assert!(!is_plain_path(b"") && !is_plain_path(b"*"));
    }

    #[test]
    fn lower_case_names_match_in_any_case_and_nothing_else() {
        assert!(is_lower(b"Content-LENGTH", b"content-length"));
        for other in [
            &b"Content_Length"[..],
            b"Content-Lengt",
            b"Content-Length ",
            b"Content-Leng4h",
            b"ContentALength",
        ] {
            assert!(!is_lower(other, b"content-length"), "{other:?}");
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
