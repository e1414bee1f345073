//! Path normalisation for routing and access decisions (RFC 3986 §6.2.2).
//!
//! Decisions are made on the normalised path; the raw one is forwarded unless rewritten. So
//! `/public/..%2e/admin`, `/a/%2e%2e/admin`, `//admin` and `/%61dmin` can't pass as something
//! else than `/admin`. Escapes of reserved characters (`%2F`) stay escapes: decoding them would
//! change the path's meaning; [`has_encoded_slash`] tells of them.

/// A path that has no safe reading; answer 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathError {
    /// More `..` than segments before them.
    AboveRoot,
    /// `%` without two hex digits.
    EscapeInvalid,
    /// A `.` or `..` segment between encoded slashes or backslashes, which an endpoint that decodes
    /// first would follow.
    DotSegmentHidden,
    /// `%00`, which ends a string for whoever reads it in C.
    NulEscaped,
}

impl PathError {
    /// What is wrong, in a few words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::AboveRoot => "path leads above the root",
            Self::EscapeInvalid => "invalid percent-escape in the path",
            Self::DotSegmentHidden => "dot segment behind an encoded slash in the path",
            Self::NulEscaped => "escaped NUL in the path",
        }
    }
}

/// `path` as routes see it: unreserved escapes decoded, others upper-case, empty, `.` and `..`
/// segments resolved. Gives `path` itself if it is normal already, which costs one scan; else
/// writes into `scratch`, whose capacity is kept.
///
/// # Errors
/// [`PathError`]: refuse the request.
pub fn normalized_path<'a>(path: &'a str, scratch: &'a mut String) -> Result<&'a str, PathError> {
    if hides_dot_segment(path) {
        return Err(PathError::DotSegmentHidden);
    }
    if is_normal(path.as_bytes()) {
        return Ok(path);
    }
    scratch.clear();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let start = scratch.len();
        scratch.push('/');
        push_decoded(segment, scratch)?;
        let keep = match scratch.get(start + 1..).unwrap_or("") {
            "" | "." => start,
            ".." if start == 0 => return Err(PathError::AboveRoot),
            ".." => scratch.get(..start).and_then(|before| before.rfind('/')).unwrap_or(0),
            _ => continue,
        };
        scratch.truncate(keep);
        if segments.peek().is_none() {
            scratch.push('/');
        }
    }
    Ok(scratch)
}

/// Whether a `.` or `..` segment appears once escaped slashes, backslashes and dots are decoded and
/// backslashes count as slashes, and doesn't without the slashes' decoding. One scan when there is
/// neither a backslash nor an escape.
fn hides_dot_segment(path: &str) -> bool {
    if !path.contains('\\') && !has_encoded_slash(path) {
        return false;
    }
    let lower = path.to_ascii_lowercase().replace("%2e", ".");
    let plain = |segment: &str| segment == "." || segment == "..";
    let split = |text: &str| text.split('/').filter(|segment| plain(segment)).count();
    let decoded = lower.replace("%2f", "/").replace("%5c", "/").replace('\\', "/");
    split(&decoded) > split(&lower)
}

/// Whether the path holds an escaped slash or backslash, which some upstreams decode and then
/// split at.
pub fn has_encoded_slash(path: &str) -> bool {
    let mut rest = path.as_bytes();
    while let Some(at) = memchr::memchr(b'%', rest) {
        rest = rest.get(at + 1..).unwrap_or(&[]);
        if matches!(rest.first_chunk().copied().and_then(unescape), Some(b'/' | b'\\')) {
            return true;
        }
    }
    false
}

/// Nothing to resolve or decode. `/.x` goes the long way, and comes back unchanged.
fn is_normal(path: &[u8]) -> bool {
    if path.first() != Some(&b'/') {
        // `*` and authority-form have no path.
        return true;
    }
    let mut last = 0;
    for &byte in path {
        if byte == b'%' || (last == b'/' && matches!(byte, b'/' | b'.')) {
            return false;
        }
        last = byte;
    }
    true
}

/// Appends `segment` with unreserved escapes decoded and the others in upper case.
fn push_decoded(segment: &str, out: &mut String) -> Result<(), PathError> {
    let mut rest = segment;
    while let Some((plain, escape)) = rest.split_once('%') {
        out.push_str(plain);
        let byte = escape
            .as_bytes()
            .first_chunk()
            .copied()
            .and_then(unescape)
            .ok_or(PathError::EscapeInvalid)?;
        if byte == 0 {
            return Err(PathError::NulEscaped);
        }
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend(escape.chars().take(2).map(|digit| digit.to_ascii_uppercase()));
        }
        rest = escape.get(2..).unwrap_or("");
    }
    out.push_str(rest);
    Ok(())
}

/// The byte of two hex digits.
fn unescape([high, low]: [u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|n| u8::try_from(n).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_segment_behind_an_encoded_slash_is_refused() {
        let mut scratch = String::new();
        for path in [
            "/public/..%2fadmin",
            "/public/..%5Cadmin",
            "/public/..\\admin",
            "/a%2f..%2fadmin",
            "/a%2f%2E%2e",
            "/a%5c.%5cb",
        ] {
            let refused = normalized_path(path, &mut scratch);
            assert_eq!(refused, Err(PathError::DotSegmentHidden), "{path}");
        }
    }

    #[test]
    fn dodges_come_out_as_what_they_mean() {
        let mut scratch = String::new();
        for (path, normal) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/", "/a/"),
            ("*", "*"),
            ("", ""),
            ("//admin", "/admin"),
            ("/a//b///c", "/a/b/c"),
            ("/a/./b", "/a/b"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/public/../admin", "/admin"),
            ("/public/%2e%2e/admin", "/admin"),
            ("/public/.%2E/admin", "/admin"),
            ("/public//../admin", "/admin"),
            ("/%61dmin", "/admin"),
            ("/%41%5a%7e%2d", "/AZ~-"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2f..b%2f", "/a%2F..b%2F"),
            ("/a\\b", "/a\\b"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
            ("/a/..b", "/a/..b"),
            ("/%e4", "/%E4"),
            ("/a%25b", "/a%25b"),
            ("/%252e%252e/a", "/%252e%252e/a"),
        ] {
            assert_eq!(normalized_path(path, &mut scratch), Ok(normal), "{path}");
        }
    }

    #[test]
    fn paths_without_a_safe_reading_are_refused() {
        let mut scratch = String::new();
        for (path, error) in [
            ("/..", PathError::AboveRoot),
            ("/a/../..", PathError::AboveRoot),
            ("/%2e%2e/etc", PathError::AboveRoot),
            ("//..", PathError::AboveRoot),
            ("/%", PathError::EscapeInvalid),
            ("/%4", PathError::EscapeInvalid),
            ("/%zz", PathError::EscapeInvalid),
            ("/%4/1", PathError::EscapeInvalid),
            ("/a%00b", PathError::NulEscaped),
        ] {
            assert_eq!(normalized_path(path, &mut scratch), Err(error), "{path}");
        }
    }

    #[test]
    fn normalising_twice_changes_nothing() {
        let mut once = String::new();
        let mut twice = String::new();
        for path in ["/a%2fb/../c/%41", "//x/./y/..", "/%7Ea/%3f"] {
            let first = normalized_path(path, &mut once).unwrap();
            assert_eq!(normalized_path(first, &mut twice), Ok(first));
        }
    }

    #[test]
    fn encoded_slashes_are_seen() {
        assert!(has_encoded_slash("/a%2fb") && has_encoded_slash("/%41%5C"));
        assert!(!has_encoded_slash("/a/b%41") && !has_encoded_slash("/%2"));
    }
}
