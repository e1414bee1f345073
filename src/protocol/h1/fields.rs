//! The field section (RFC 9112 §5): one pass, nothing tolerated.
//!
//! ```text
//!   bytes  GET / HTTP/1.1\r\n Host: a\r\n Accept: */*\r\n X-Par
//!                            ^base                        ^resume (start of the unread line)
//!   arena                     Host: a\r\n Accept: */*\r\n          copied up to there
//! ```
//! A line is taken only when it is whole, so reading goes on at a line's start however the wire
//! cut it. Bad bytes are refused as soon as they are seen, not when the head is complete.

use crate::protocol::http::chars::{is_token_byte, token_end, value_end};
use crate::protocol::http::span::Span;
use crate::protocol::http::{Headers, Name, SyntaxError};

/// What [`read_fields`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    /// The line that begins at `resume` isn't whole.
    Incomplete { resume: usize },
    /// The empty line was read; what follows is at `end`.
    Complete { end: usize },
}

/// Reads field lines of `bytes` from `at` into `headers`, whose arena mirrors `bytes[base..]`.
pub(crate) fn read_fields(
    bytes: &[u8],
    base: usize,
    mut at: usize,
    fields_max: usize,
    headers: &mut Headers,
) -> Result<Section, SyntaxError> {
    loop {
        match line(bytes, at)? {
            Line::Field { name_end, value, next } => {
                if headers.len() >= fields_max {
                    return Err(SyntaxError::TooManyFields);
                }
                let name = bytes.get(at..name_end).unwrap_or(&[]);
                let value = Span::new(value.start() - base, value.start() + value.len() - base);
                headers.push_wire(Name::of(name), Span::new(at - base, name_end - base), value);
                at = next;
            }
            Line::Partial => {
                copy(bytes, base, at, headers);
                return Ok(Section::Incomplete { resume: at });
            }
            Line::Empty => {
                copy(bytes, base, at, headers);
                return Ok(Section::Complete { end: at + 2 });
            }
            Line::Continued if at == base => return Err(SyntaxError::LeadingSpace),
            Line::Continued => return Err(SyntaxError::Folded),
        }
    }
}

/// Copies what isn't yet in the arena, up to `end`.
#[inline]
fn copy(bytes: &[u8], base: usize, end: usize, headers: &mut Headers) {
    let start = base + headers.arena().len();
    headers.extend_arena(bytes.get(start..end).unwrap_or(&[]));
}

/// One line of a field section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// `name: value CRLF`.
    Field { name_end: usize, value: Span, next: usize },
    /// CRLF alone.
    Empty,
    /// Starts with whitespace.
    Continued,
    /// No error, and no end yet.
    Partial,
}

/// Reads the line at `at`.
#[inline]
pub(crate) fn line(bytes: &[u8], at: usize) -> Result<Line, SyntaxError> {
    let name_end = token_end(bytes, at);
    let Some(&stop) = bytes.get(name_end) else { return Ok(Line::Partial) };
    if stop != b':' || name_end == at {
        return odd_line(bytes, at, name_end, stop);
    }
    let mut start = name_end + 1;
    while let Some(b' ' | b'\t') = bytes.get(start) {
        start += 1;
    }
    let stop = value_end(bytes, start);
    let Some(next) = line_end(bytes, stop)? else { return Ok(Line::Partial) };
    let mut end = stop;
    while end > start && matches!(bytes.get(end - 1), Some(b' ' | b'\t')) {
        end -= 1;
    }
    Ok(Line::Field { name_end, value: Span::new(start, end), next })
}

/// Start of the next line if CRLF stands at `at`; `None` if the bytes end within it.
#[inline]
pub(crate) fn line_end(bytes: &[u8], at: usize) -> Result<Option<usize>, SyntaxError> {
    match (bytes.get(at), bytes.get(at + 1)) {
        (Some(b'\r'), Some(b'\n')) => Ok(Some(at + 2)),
        (None, _) | (Some(b'\r'), None) => Ok(None),
        (Some(b'\r'), Some(_)) => Err(SyntaxError::BareCr),
        (Some(b'\n'), _) => Err(SyntaxError::BareLf),
        (Some(_), _) => Err(SyntaxError::ValueInvalid),
    }
}

/// A line that isn't `token:`: the empty line, or the precise error.
#[cold]
fn odd_line(bytes: &[u8], at: usize, name_end: usize, stop: u8) -> Result<Line, SyntaxError> {
    if name_end == at {
        return match stop {
            b'\r' | b'\n' => Ok(line_end(bytes, at)?.map_or(Line::Partial, |_| Line::Empty)),
            b' ' | b'\t' => Ok(Line::Continued),
            b':' => Err(SyntaxError::NameEmpty),
            _ => Err(SyntaxError::NameInvalid),
        };
    }
    debug_assert!(!is_token_byte(stop), "token_end stops at the first byte that is none");
    Err(match stop {
        b' ' | b'\t' => SyntaxError::SpaceAfterName,
        b'\r' => match bytes.get(name_end + 1) {
            None => return Ok(Line::Partial),
            Some(b'\n') => SyntaxError::ColonMissing,
            Some(_) => SyntaxError::BareCr,
        },
        b'\n' => SyntaxError::BareLf,
        _ => SyntaxError::NameInvalid,
    })
}
