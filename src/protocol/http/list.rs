//! Comma-separated lists of tokens (RFC 9110 §5.6.1), as `Connection`, `TE` and `Upgrade` use.
//!
//! Not for lists whose elements may hold quoted commas (`Forwarded` has its own reader).

use super::chars::{is_lower, trim};

/// The elements of `value`, trimmed; empty ones are left out as §5.6.1.2 asks of a recipient.
pub(crate) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(trim).filter(|element| !element.is_empty())
}

/// What nearly every Connection value is: one word about the connection's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    Close,
    KeepAlive,
}

impl Persistence {
    /// `None` if `value` says anything else, or more.
    #[inline]
    pub(crate) fn of(value: &[u8]) -> Option<Self> {
        match value.len() {
            10 => is_lower(value, b"keep-alive").then_some(Self::KeepAlive),
            5 => is_lower(value, b"close").then_some(Self::Close),
            _ => None,
        }
    }
}

/// Whether `value` lists `option`, whatever its case.
pub(crate) fn lists(value: &[u8], option: &str) -> bool {
    elements(value).any(|element| element.eq_ignore_ascii_case(option.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_word_is_told_from_a_list() {
        assert_eq!(Persistence::of(b"Keep-Alive"), Some(Persistence::KeepAlive));
        assert_eq!(Persistence::of(b"cloSe"), Some(Persistence::Close));
        for other in ["", "closed", "close,", "keep_alive", "te", "close, te"] {
            assert_eq!(Persistence::of(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn elements_are_trimmed_and_empty_ones_left_out() {
        let found: Vec<&[u8]> = elements(b" a ,,\tb\t, ,c").collect();
        assert_eq!(found, [b"a", b"b", b"c"]);
        assert!(lists(b"keep-alive, Close", "close"));
        assert!(!lists(b"keep-alive, closed", "close"));
    }
}
