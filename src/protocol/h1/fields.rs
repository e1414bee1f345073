//! The field section (RFC 9112 §5): one pass, nothing tolerated.
//!
//! ```text
//!   bytes  GET / HTTP/1.1\r\n Host: a\r\n Accept: */*\r\n X-Par
//!                            ^base                        ^resume (start of the unread line)
//!   arena                     Host: a\r\n Accept: */*\r\n          copied up to there
//! ```
//! A line is taken only when it is whole, so reading goes on at a line's start however the wire
//! cut it. Bad bytes are refused as soon as they are seen, not when the head is complete.
//!
//! Nearly every line is plain: a token, a colon, one space, visible ASCII and spaces, CRLF. Those
//! are taken by [`plain_line`]; whatever it doesn't recognise, right or wrong, is [`line()`]'s.

use crate::protocol::http::chars::{is_token_byte, plain_len, token_end, value_end};
use crate::protocol::http::name_table::{Packed, WINDOW_BYTES};
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
    at: usize,
    fields_max: usize,
    headers: &mut Headers,
) -> Result<Section, SyntaxError> {
    let mut at = at;
    loop {
        at = read_plain_lines(bytes, base, at, fields_max, headers)?;
        match read_line(bytes, base, at, fields_max, headers)? {
            Ok(next) => at = next,
            Err(section) => {
                copy(bytes, base, at, headers);
                return Ok(section);
            }
        }
    }
}

/// Reads plain lines, a function of its own so that all it needs stays in registers; gives the
/// start of the first line that isn't plain.
#[inline(never)]
fn read_plain_lines(
    bytes: &[u8],
    base: usize,
    at: usize,
    fields_max: usize,
    headers: &mut Headers,
) -> Result<usize, SyntaxError> {
    let mut at = at;
    let mut room = fields_max.saturating_sub(headers.len());
    // The empty line ends the section; it is looked for first because what follows isn't ours.
    while bytes.get(at) != Some(&b'\r')
        && let Some(plain) = plain_line(bytes, at)
    {
        room = room.checked_sub(1).ok_or(SyntaxError::TooManyFields)?;
        headers.push_line(plain.id, at - base, plain.name_len, plain.value_len);
        at += plain.line_len;
    }
    Ok(at)
}

/// Reads any line: gives the start of the next, or what became of the section.
#[inline(never)]
fn read_line(
    bytes: &[u8],
    base: usize,
    at: usize,
    fields_max: usize,
    headers: &mut Headers,
) -> Result<Result<usize, Section>, SyntaxError> {
    if bytes.get(at..at + 2) == Some(b"\r\n") {
        return Ok(Err(Section::Complete { end: at + 2 }));
    }
    match line(bytes, at)? {
        Line::Field { name_end, value, next } => {
            if headers.len() >= fields_max {
                return Err(SyntaxError::TooManyFields);
            }
            let name = bytes.get(at..name_end).unwrap_or(&[]);
            let value = Span::new(value.start() - base, value.end() - base);
            headers.push_wire(Name::of(name), Span::new(at - base, name_end - base), value);
            Ok(Ok(next))
        }
        Line::Partial => Ok(Err(Section::Incomplete { resume: at })),
        Line::Empty => Ok(Err(Section::Complete { end: at + 2 })),
        Line::Continued if at == base => Err(SyntaxError::LeadingSpace),
        Line::Continued => Err(SyntaxError::Folded),
    }
}

/// Copies what isn't yet in the arena, up to `end`.
#[inline]
fn copy(bytes: &[u8], base: usize, end: usize, headers: &mut Headers) {
    let start = base + headers.arena().len();
    headers.extend_arena(bytes.get(start..end).unwrap_or(&[]));
}

/// A line of exactly `name: value CRLF`.
struct PlainLine {
    id: Name,
    name_len: usize,
    value_len: usize,
    line_len: usize,
}

/// Reads the line at `at` if it is whole and plain; `None` says nothing about it.
#[inline(always)]
fn plain_line(bytes: &[u8], at: usize) -> Option<PlainLine> {
    let rest = bytes.get(at..)?;
    let (packed, name_len, id) = match rest.first_chunk() {
        Some(window) => Packed::before_colon(window)?,
        None => Packed::before_colon(&short_window(rest))?,
    };
    if id == Name::Other && !packed.is_plain_token(name_len) {
        return None;
    }
    let (before, value) = rest.get(name_len + 1..)?.split_first()?;
    let value_len = plain_len(value);
    let (value, end) = value.split_at_checked(value_len)?;
    if *before != b' ' || *value.first()? == b' ' || *value.last()? == b' ' {
        return None;
    }
    let line_len = name_len + 2 + value_len + 2;
    end.starts_with(b"\r\n").then_some(PlainLine { id, name_len, value_len, line_len })
}

/// The last line of a head without a body may be shorter than a window.
#[cold]
fn short_window(rest: &[u8]) -> [u8; WINDOW_BYTES] {
    let mut window = [0; WINDOW_BYTES];
    if let Some(start) = window.get_mut(..rest.len()) {
        start.copy_from_slice(rest);
    }
    window
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Names, colons, values and ends of lines; now and then one stands in another's place.
    const PIECES: [&[&[u8]]; 4] = [
        &[b"Host", b"content-LENGTH", b"X-Forwarded-Proto", b"sec-ch-ua", b"x_odd", b"X-1", b"("],
        &[b": ", b": ", b": ", b":", b":  ", b":\t", b" :"],
        &[
            b"a",
            b"some words",
            b"more than one word of eight bytes",
            b"",
            b"\xff",
            b"\x7f",
            b"a\0",
            b"b ",
        ],
        &[b"\r\n", b"\r\n", b"\r\n", b"\r\n\r\n", b"\r", b"\n", b"\n\r"],
    ];

    fn section(seed: u64) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap()
        };
        let mut bytes = Vec::new();
        for at in 0..4 * (1 + next() % 3) {
            let role = if next() % 16 == 0 { next() } else { at };
            let pieces = PIECES[role % PIECES.len()];
            bytes.extend_from_slice(pieces[next() % pieces.len()]);
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }

    /// What the quick reader takes is what the thorough one would have said.
    #[test]
    fn plain_lines_are_read_as_any_line_is() {
        let mut taken = 0;
        for seed in 0..100_000u64 {
            let bytes = section(seed);
            let Some(plain) = plain_line(&bytes, 0) else { continue };
            taken += 1;
            let value = Span::new(plain.name_len + 2, plain.name_len + 2 + plain.value_len);
            let expected = Line::Field { name_end: plain.name_len, value, next: plain.line_len };
            assert_eq!(line(&bytes, 0), Ok(expected), "seed {seed}: {bytes:?}");
            assert_eq!(plain.id, Name::of(&bytes[..plain.name_len]), "seed {seed}: {bytes:?}");
        }
        assert!(taken > 1000, "only {taken} plain lines were made");
    }

    /// Bytes behind a section change neither its fields nor its end.
    #[test]
    fn a_section_reads_the_same_whatever_follows() {
        let mut complete = 0;
        for seed in 0..30_000u64 {
            let bytes = section(seed);
            let mut alone = Headers::new();
            let Ok(Section::Complete { end }) = read_fields(&bytes, 0, 0, 100, &mut alone) else {
                continue;
            };
            complete += usize::from(!alone.is_empty());
            for tail in [&b""[..], b":", b"Host: a\r\n\r\n", &[b'x'; 64]] {
                let mut other = Headers::new();
                let whole = [&bytes[..end], tail].concat();
                let read = read_fields(&whole, 0, 0, 100, &mut other);
                assert_eq!(read, Ok(Section::Complete { end }), "seed {seed}: {bytes:?}");
                assert!(alone.iter_known().eq(other.iter_known()), "seed {seed}: {bytes:?}");
            }
        }
        assert!(complete > 1000, "only {complete} sections were whole");
    }
}
