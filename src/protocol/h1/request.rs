//! Reads a request head (RFC 9112 §3).
//!
//! Checks everything that can be checked without knowing the proxy's configuration: grammar,
//! target form, Host. The body's length is `http::request_framing`'s.

use super::fields::{Section, line_end, read_fields};
use super::{HeadLimits, Parsed};
use crate::protocol::http::chars::{path_len, token_end, visible_end};
use crate::protocol::http::span::Span;
use crate::protocol::http::{
    Method, Name, RequestError, RequestHead, SyntaxError, Version, authority, target,
};

/// Reads a request head from the start of `bytes` into `head`.
///
/// `Incomplete` wants the same `head` and the same bytes with more behind them; reading goes on
/// at the first line that wasn't whole, so trickled heads cost no more than whole ones. Any other
/// bytes, or a cleared head, simply start over. Up to two empty lines (RFC 9112 §2.2) before the
/// request line are skipped. `head` needs no clearing between messages.
///
/// # Errors
/// [`RequestError`], as early as its first bad byte is seen; `head` is cleared then.
pub fn parse_request(
    bytes: &[u8],
    limits: &HeadLimits,
    head: &mut RequestHead,
) -> Result<Parsed, RequestError> {
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
    head: &mut RequestHead,
) -> Result<Parsed, RequestError> {
    let (base, at) = match resumable(bytes, head) {
        Some(at) => (head.line().len(), at),
        None => {
            head.clear();
            match read_line(bytes, limits, head)? {
                Some(base) => (base, base),
                None if bytes.len() < limits.bytes() => return Ok(Parsed::Incomplete),
                None => return Err(RequestError::LineTooLong),
            }
        }
    };
    match read_fields(bytes, base, at, limits.fields(), &mut head.headers)? {
        Section::Complete { end } if end <= limits.bytes() => {
            head.set_resume(0);
            check_host(head)?;
            Ok(Parsed::Complete { consumed: end })
        }
        Section::Incomplete { resume } if bytes.len() < limits.bytes() => {
            head.set_resume(resume);
            Ok(Parsed::Incomplete)
        }
        _ => Err(SyntaxError::TooLarge.into()),
    }
}

/// Where to go on, if `head` really holds the start of `bytes`. Comparing costs a `memcmp` a
/// call and makes a reused head harmless: two messages can't be mixed into one.
fn resumable(bytes: &[u8], head: &RequestHead) -> Option<usize> {
    let at = head.resume();
    if at == 0 {
        return None;
    }
    let rest = bytes.strip_prefix(head.line().as_bytes())?;
    rest.starts_with(head.headers.arena()).then_some(at)
}

/// Reads the request line; gives the start of the field section, or `None` if it isn't whole.
fn read_line(
    bytes: &[u8],
    limits: &HeadLimits,
    head: &mut RequestHead,
) -> Result<Option<usize>, RequestError> {
    let Some(start) = skip_empty_lines(bytes)? else { return Ok(None) };
    let method_end = match bytes.get(start..).and_then(<[u8]>::first_chunk) {
        // Nearly every request; no need to look at each byte.
        Some(b"GET ") => start + 3,
        _ => token_end(bytes, start),
    };
    if method_end - start > METHOD_BYTES_MAX {
        return Err(RequestError::MethodTooLong);
    }
    match bytes.get(method_end) {
        None => return Ok(None),
        Some(b' ') if method_end > start => {}
        Some(_) => return Err(RequestError::MethodInvalid),
    }
    let target_start = method_end + 1;
    // The target's part before `?` and `#`, then what the rare target has of these.
    let path_end = target_start + path_len(bytes.get(target_start..).unwrap_or(&[]));
    let target_end = match bytes.get(path_end) {
        Some(b'?' | b'#') => visible_end(bytes, path_end),
        _ => path_end,
    };
    if target_end - target_start > limits.target_bytes {
        return Err(RequestError::LineTooLong);
    }
    match bytes.get(target_end) {
        None => return Ok(None),
        Some(b' ') if target_end > target_start => {}
        Some(_) => return Err(RequestError::TargetInvalid),
    }
    let Some((version, line_stop)) = read_version(bytes, target_end + 1)? else { return Ok(None) };
    let Some(base) = line_end(bytes, line_stop).map_err(version_end)? else { return Ok(None) };
    // Everything up to here is visible ASCII, space, CR or LF.
    let line = bytes
        .get(..base)
        .and_then(|line| std::str::from_utf8(line).ok())
        .ok_or(RequestError::TargetInvalid)?;
    let method = Span::new(start, method_end);
    let verb = Method::from_token(method.of_str(line).as_bytes());
    let target = Span::new(target_start, target_end);
    let parts = target::read(line, verb, method, target, path_end - target_start)?;
    head.begin(line, version, verb, parts);
    Ok(Some(base))
}

/// No registered method is longer than 17 bytes (`UPDATEREDIRECTREF`).
const METHOD_BYTES_MAX: usize = 32;

/// Skips CRLFs before a request; `None` if there is nothing else yet.
fn skip_empty_lines(bytes: &[u8]) -> Result<Option<usize>, RequestError> {
    let mut at = 0;
    loop {
        match bytes.get(at) {
            None => return Ok(None),
            Some(b'\r' | b'\n') if at >= EMPTY_BYTES_MAX => return Err(RequestError::LeadingLines),
            Some(b'\r' | b'\n') => match line_end(bytes, at)? {
                Some(next) => at = next,
                None => return Ok(None),
            },
            Some(_) => return Ok(Some(at)),
        }
    }
}

/// Old clients send one CRLF too many after a body; two are generous.
const EMPTY_BYTES_MAX: usize = 4;

/// Reads `HTTP/d.d` at `at`; gives the version and where it ends.
#[inline]
pub(super) fn read_version(
    bytes: &[u8],
    at: usize,
) -> Result<Option<(Version, usize)>, RequestError> {
    const PREFIX: &[u8] = b"HTTP/";
    let rest = bytes.get(at..).unwrap_or(&[]);
    let Some((text, _)) = rest.split_first_chunk::<8>() else {
        // Not whole yet: refuse what can't become a version any more.
        let known = rest.len().min(PREFIX.len());
        let possible = rest.get(..known) == PREFIX.get(..known);
        return if possible { Ok(None) } else { Err(RequestError::VersionInvalid) };
    };
    let version = match text {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        // RFC 9110 §2.5: a higher minor version is read as the highest that we know.
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Version::Http11,
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            return Err(RequestError::VersionUnsupported);
        }
        _ => return Err(RequestError::VersionInvalid),
    };
    Ok(Some((version, at + 8)))
}

/// Anything but CRLF after the version is the version's fault, except for the two bare ends.
fn version_end(error: SyntaxError) -> RequestError {
    match error {
        SyntaxError::BareCr | SyntaxError::BareLf => error.into(),
        _ => RequestError::VersionInvalid,
    }
}

/// Host's rules (RFC 9112 §3.2), and the target's authority in its place (§3.2.2).
fn check_host(head: &mut RequestHead) -> Result<(), RequestError> {
    if head.headers.is_repeated(Name::Host) {
        return Err(RequestError::HostRepeated);
    }
    match head.headers.get_known(Name::Host) {
        None if head.version == Version::Http11 => return Err(RequestError::HostMissing),
        None => {}
        // An empty Host would be right for a target without authority only, and http has none.
        Some(value) if !authority::is_authority(value) => return Err(RequestError::HostInvalid),
        Some(_) => {}
    }
    if let Some(span) = head.target_authority() {
        let (line, headers) = head.line_and_headers();
        headers.set(Name::Host, span.of_str(line)).map_err(|_| SyntaxError::TooLarge)?;
    }
    Ok(())
}
