//! Comma-separated lists of tokens (RFC 9110 §5.6.1), as `Connection`, `TE` and `Upgrade` use.
//!
//! Not for lists whose elements may hold quoted commas (`Forwarded` has its own reader).

use super::chars::trim;

/// The elements of `value`, trimmed; empty ones are left out as §5.6.1.2 asks of a recipient.
pub(crate) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(trim).filter(|element| !element.is_empty())
}

/// Whether `value` lists `option`, whatever its case.
pub(crate) fn lists(value: &[u8], option: &str) -> bool {
    elements(value).any(|element| element.eq_ignore_ascii_case(option.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_trimmed_and_empty_ones_left_out() {
        let found: Vec<&[u8]> = elements(b" a ,,\tb\t, ,c").collect();
        assert_eq!(found, [b"a", b"b", b"c"]);
        assert!(lists(b"keep-alive, Close", "close"));
        assert!(!lists(b"keep-alive, closed", "close"));
    }
}
