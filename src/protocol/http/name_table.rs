//! Finds the id of a known field name: one multiplication, one look, one compare.
//!
//! ```text
//!   window   Content-Length: 1024\r\nEt      24 bytes, from a line's start
//!   packed   Content- Length:                three words up to the colon, zeros behind
//!   slot     top bits of (words in lower case, folded over each other) * MULTIPLIER
//! ```
//! The colon is part of what is compared, so a name that goes on after a known one (a NUL too)
//! can't match. A match is exact but for the case of letters, so it also proves that the name is a
//! token: the parser looks at no byte of it again. The multiplier is searched for at compile time;
//! a new name in [`Name::ALL`] needs nothing here.

use super::Name;
use super::chars::{LOW, equal, lane, not_name};

/// Bytes that [`Packed::before_colon`] looks at: the longest known name, its colon, and some room.
pub(crate) const WINDOW_BYTES: usize = WORDS * 8;

const WORDS: usize = 3;

/// A name and the colon behind it as little-endian words, zero after the colon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packed([u64; WORDS]);

impl Packed {
    /// The name before the first colon of `window`, its length and its id; `None` if there is no
    /// colon. The id is looked for in each branch, so that words which are zero cost nothing.
    #[inline(always)]
    pub(crate) fn before_colon(window: &[u8; WINDOW_BYTES]) -> Option<(Self, usize, Name)> {
        let [a, b, c] = words(window);
        let colon = equal(a, b':');
        if colon != 0 {
            let packed = Self([a & up_to(colon), 0, 0]);
            return Some((packed, lane(colon), packed.id()));
        }
        let colon = equal(b, b':');
        if colon != 0 {
            let packed = Self([a, b & up_to(colon), 0]);
            return Some((packed, 8 + lane(colon), packed.id()));
        }
        let colon = equal(c, b':');
        let packed = Self([a, b, c & up_to(colon)]);
        (colon != 0).then(|| (packed, 16 + lane(colon), packed.id()))
    }

    /// `name` with a colon; `None` if that is longer than any known name.
    #[inline]
    pub(crate) fn of(name: &[u8]) -> Option<Self> {
        let mut window = [0; WINDOW_BYTES];
        window.get_mut(..name.len())?.copy_from_slice(name);
        *window.get_mut(name.len())? = b':';
        Some(Self(words(&window)))
    }

    /// Whether the `len` bytes before the colon are letters, digits and dashes: surely a token.
    #[inline(never)]
    pub(crate) fn is_plain_token(self, len: usize) -> bool {
        let [a, b, c] = self.0.map(not_name);
        // The colon and what is behind it are found too, so something is.
        let end = match (a, b) {
            (0, 0) => 16 + lane(c),
            (0, _) => 8 + lane(b),
            _ => lane(a),
        };
        len == end && len > 0
    }

    /// The id, whatever the case of the letters.
    #[inline(always)]
    pub(crate) fn id(self) -> Name {
        let lower = self.0.map(to_lower);
        let id = SLOTS.get(slot(lower, MULTIPLIER)).copied().unwrap_or(Name::Other);
        if LOWER.get(id as usize) == Some(&lower) { id } else { Name::Other }
    }
}

#[inline(always)]
fn words(window: &[u8; WINDOW_BYTES]) -> [u64; WORDS] {
    let (words, _) = window.as_chunks::<8>();
    match words {
        [a, b, c] => [u64::from_le_bytes(*a), u64::from_le_bytes(*b), u64::from_le_bytes(*c)],
        _ => [0; WORDS],
    }
}

/// All bits up to the lowest lane whose high bit is set, that lane included.
#[inline(always)]
const fn up_to(found: u64) -> u64 {
    found ^ found.wrapping_sub(1)
}

/// Letters in lower case, one to one: sets bit 0x20 where bit 0x40 is set, which all letters have
/// and `-` and `:` lack. So CR, say, doesn't become `-`.
#[inline(always)]
const fn to_lower(word: u64) -> u64 {
    word | ((word >> 1) & (LOW * 0x20))
}

/// Where a name in lower case stands in [`SLOTS`].
#[inline(always)]
const fn slot([a, b, c]: [u64; WORDS], multiplier: u64) -> usize {
    let folded = a ^ b.rotate_left(24) ^ c.rotate_left(48);
    (folded.wrapping_mul(multiplier) >> (u64::BITS - SLOT_BITS)) as usize
}

const SLOT_BITS: u32 = 8;

/// Every known name in lower case with its colon, by id. [`Name::Other`] is all zeros, which no
/// packed name is.
const LOWER: [[u64; WORDS]; Name::ALL.len() + 1] = lower();

/// The only name that can be meant, by [`slot`].
const SLOTS: [Name; 1 << SLOT_BITS] = slots(MULTIPLIER);

/// One that gives each known name a slot of its own.
const MULTIPLIER: u64 = multiplier();

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn lower() -> [[u64; WORDS]; Name::ALL.len() + 1] {
    let mut table = [[0; WORDS]; Name::ALL.len() + 1];
    let mut at = 0;
    while at < Name::ALL.len() {
        let name = Name::ALL[at];
        let text = name.as_str().as_bytes();
        let mut place = 0;
        while place <= text.len() {
            let byte = if place < text.len() { text[place].to_ascii_lowercase() } else { b':' };
            table[name as usize][place / 8] |= (byte as u64) << (place % 8 * 8);
            place += 1;
        }
        at += 1;
    }
    table
}

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn slots(multiplier: u64) -> [Name; 1 << SLOT_BITS] {
    let mut table = [Name::Other; 1 << SLOT_BITS];
    let mut at = 0;
    while at < Name::ALL.len() {
        let name = Name::ALL[at];
        table[slot(LOWER[name as usize], multiplier)] = name;
        at += 1;
    }
    table
}

/// Tries odd numbers from the golden ratio on: about one in 60 fits 46 names into 256 slots.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn multiplier() -> u64 {
    let mut candidate = 0x9e37_79b9_7f4a_7c15_u64;
    loop {
        let mut taken = [false; 1 << SLOT_BITS];
        let mut at = 0;
        while at < Name::ALL.len() {
            let slot = slot(LOWER[Name::ALL[at] as usize], candidate);
            if taken[slot] {
                break;
            }
            taken[slot] = true;
            at += 1;
        }
        if at == Name::ALL.len() {
            return candidate;
        }
        candidate = candidate.wrapping_mul(0x5851_f42d_4c95_7f2d);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_before_a_colon_is_found_wherever_it_ends() {
        for len in 0..WINDOW_BYTES {
            let mut window = [b'a'; WINDOW_BYTES];
            window[len] = b':';
            let name = &window[..len];
            assert_eq!(Packed::before_colon(&window), Packed::of(name).map(|p| (p, len, p.id())));
            // What follows the colon, another one too, doesn't matter.
            let mut other = window;
            other[len + 1..].fill(b':');
            assert_eq!(Packed::before_colon(&other), Packed::before_colon(&window));
        }
        assert_eq!(Packed::before_colon(&[b'a'; WINDOW_BYTES]), None);
    }

    /// One changed bit anywhere in a known name leaves it known only if it is a letter's case.
    #[test]
    fn only_case_may_differ() {
        for &name in Name::ALL {
            let text = name.as_str().as_bytes();
            for at in 0..text.len() {
                for bit in 0..8 {
                    let mut other = text.to_vec();
                    other[at] ^= 1 << bit;
                    let expected =
                        if other.eq_ignore_ascii_case(text) { name } else { Name::Other };
                    assert_eq!(Name::of(&other), expected, "{other:?}");
                }
            }
            for tail in ["\0", ":", "\0\0\0", " ", "s"] {
                let other = [text, tail.as_bytes()].concat();
                assert_eq!(Name::of(&other), Name::Other, "{other:?}");
            }
        }
    }
}
