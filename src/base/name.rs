//! What may be a name: of a listener, a route, an upstream, a filter, a header field.
//!
//! Names end up in metrics, logs and commands, so they are short and need no quoting anywhere.

/// Most characters of a name.
pub const NAME_MAX: usize = 64;

/// Whether `text` can name a thing of the configuration: 1 to 64 letters, digits, `-`, `_`, `.`.
pub fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}

/// Whether `text` is a token (RFC 9110 §5.6.2): a method, a header field's name.
pub fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_tchar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_need_no_quoting() {
        assert!(is_name("web-v1.a_b"));
        for text in ["", "a b", "ä", "a/b", "a\"", &"a".repeat(65)] {
            assert!(!is_name(text), "{text:?}");
        }
    }

    #[test]
    fn tokens_are_those_of_rfc_9110() {
        assert!(is_token("X-Request-Id"));
        for text in ["", "a b", "a:", "ä", "(a)", "a\r"] {
            assert!(!is_token(text), "{text:?}");
        }
    }
}
