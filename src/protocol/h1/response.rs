//! Reads a response head (RFC 9112 §4) from an upstream.
//!
//! As strict as for requests, but for two habits of real servers that can't mislead anybody: the
//! space before an empty reason may be missing, and the reason may hold obs-text.

use super::fields::{Section, line_end, read_fields};
use super::request::read_version;
use super::{HeadLimits, Parsed};
use crate::protocol::http::chars::value_end;
use crate::protocol::http::span::Span;
use crate::protocol::http::{RequestError, ResponseError, ResponseHead, Status, SyntaxError};

/// Reads a response head from the start of `bytes` into `head`.
///
/// Resumes like [`super::parse_request`]. No empty line before the status line is tolerated: on
/// a pooled connection it would be a byte of another exchange.
///
/// # Errors
/// [`ResponseError`], as early as its first bad byte is seen; `head` is cleared then.
pub fn parse_response(
    bytes: &[u8],
    limits: &HeadLimits,
    head: &mut ResponseHead,
) -> Result<Parsed, ResponseError> {
    // A head that isn't whole within its limit is too large, whatever follows.
    let bytes = bytes.get(..limits.bytes()).unwrap_or(bytes);
    let result = parse(bytes, limits, head);
    if result.is_err() {
        head.clear();
    }
    result
}

fn parse(
    bytes: &[u8],
    limits: &HeadLimits,
    head: &mut ResponseHead,
) -> Result<Parsed, ResponseError> {
    let (base, at) = match resumable(bytes, head) {
        Some(at) => (head.line().len(), at),
        None => {
            head.clear();
            match read_line(bytes, head)? {
                Some(base) => (base, base),
                None if bytes.len() < limits.bytes() => return Ok(Parsed::Incomplete),
                None => return Err(SyntaxError::TooLarge.into()),
            }
        }
    };
    match read_fields(bytes, base, at, limits.fields(), &mut head.headers)? {
        Section::Complete { end } if end <= limits.bytes() => {
            head.set_resume(0);
            Ok(Parsed::Complete { consumed: end })
        }
        Section::Incomplete { resume } if bytes.len() < limits.bytes() => {
            head.set_resume(resume);
            Ok(Parsed::Incomplete)
        }
        _ => Err(SyntaxError::TooLarge.into()),
    }
}

/// See `request::resumable`.
fn resumable(bytes: &[u8], head: &ResponseHead) -> Option<usize> {
    let at = head.resume();
    if at == 0 {
        return None;
    }
    let rest = bytes.strip_prefix(head.line())?;
    rest.starts_with(head.headers.arena()).then_some(at)
}

/// Reads `HTTP/d.d SP 3DIGIT [SP reason] CRLF`; gives the start of the field section.
fn read_line(bytes: &[u8], head: &mut ResponseHead) -> Result<Option<usize>, ResponseError> {
    let version = read_version(bytes, 0).map_err(|error| match error {
        RequestError::VersionUnsupported => ResponseError::VersionUnsupported,
        _ => ResponseError::StatusLine,
    })?;
    let Some((version, at)) = version else { return Ok(None) };
    match bytes.get(at) {
        None => return Ok(None),
        Some(b' ') => {}
        Some(_) => return Err(ResponseError::StatusLine),
    }
    let mut code = 0u16;
    for digit in at + 1..at + 4 {
        match bytes.get(digit) {
            None => return Ok(None),
            Some(&byte) if byte.is_ascii_digit() => code = code * 10 + u16::from(byte - b'0'),
            Some(_) => return Err(ResponseError::StatusLine),
        }
    }
    let status = Status::new(code).ok_or(ResponseError::StatusInvalid)?;
    let reason_start = match bytes.get(at + 4) {
        None => return Ok(None),
        Some(b' ') => at + 5,
        Some(b'\r' | b'\n') => at + 4,
        Some(_) => return Err(ResponseError::StatusLine),
    };
    let reason_end = value_end(bytes, reason_start);
    let end = line_end(bytes, reason_end).map_err(|error| match error {
        SyntaxError::ValueInvalid => ResponseError::StatusLine,
        bare => bare.into(),
    })?;
    let Some(base) = end else { return Ok(None) };
    let line = bytes.get(..base).unwrap_or(&[]);
    head.begin(line, version, status, Span::new(reason_start, reason_end));
    Ok(Some(base))
}
