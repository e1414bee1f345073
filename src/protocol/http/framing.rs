//! How long a message's body is (RFC 9112 §6.3), and every rule against smuggling that this asks.
//!
//! Pure over a parsed head. Nothing else in Ringway reads Content-Length or Transfer-Encoding,
//! and nothing but the encoder writes them: what is forwarded is what was understood here.

use super::chars::{is_token, trim};
use super::list::elements;
use super::{
    FramingError, Headers, Method, Name, RequestError, RequestHead, ResponseError, ResponseHead,
    Version,
};

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// No body, and no length is written.
    #[default]
    None,
    /// No body, but a Content-Length that tells what GET would have sent (HEAD and 304).
    Described(u64),
    /// Exactly that many bytes.
    Length(u64),
    /// A body that says itself where it ends, without a length ahead: chunked coding, and in
    /// HTTP/2 DATA until END_STREAM.
    Chunked,
    /// All bytes until the connection closes; responses only.
    UntilClose,
}

impl Framing {
    /// No byte of a body follows.
    #[inline]
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Described(_) | Self::Length(0))
    }

    /// The framing that a recipient of `version` understands: HTTP/1.0 has no chunked coding, so
    /// such a body runs until the connection closes.
    #[inline]
    pub const fn for_version(self, version: Version) -> Self {
        match (self, version) {
            (Self::Chunked, Version::Http10) => Self::UntilClose,
            _ => self,
        }
    }
}

/// Framing of a request's body.
///
/// # Errors
/// Any [`FramingError`]: 400, or 501 for a coding before a final `chunked`.
pub fn request_framing(head: &RequestHead) -> Result<Framing, RequestError> {
    let framing = declared(&head.headers, head.version)?;
    if head.method == Method::Connect && !framing.is_none_or(Framing::is_empty) {
        // RFC 9110 §9.3.6: what follows a CONNECT is the tunnel's, whatever the fields say.
        return Err(FramingError::ConnectContent.into());
    }
    Ok(framing.unwrap_or(Framing::None))
}

/// Framing of the body of a response to a request with `request_method`.
///
/// The fields are checked even where they don't decide: a HEAD response with two lengths is as
/// broken as a GET's.
///
/// # Errors
/// Any [`FramingError`]; the proxy answers 502 and drops the connection.
pub fn response_framing(
    head: &ResponseHead,
    request_method: Method,
) -> Result<Framing, ResponseError> {
    let framing = declared(&head.headers, head.version)?;
    let code = head.status.code();
    // RFC 9112 §6.3, rules 1 and 2.
    if head.status.is_informational() || code == 204 {
        return Ok(Framing::None);
    }
    if request_method == Method::Connect && head.status.class() == 2 {
        return Ok(Framing::None);
    }
    if request_method == Method::Head || code == 304 {
        return Ok(match framing {
            Some(Framing::Length(length)) => Framing::Described(length),
            _ => Framing::None,
        });
    }
    Ok(framing.unwrap_or(Framing::UntilClose))
}

/// What the framing fields say, or `None` where there are none.
fn declared(headers: &Headers, version: Version) -> Result<Option<Framing>, FramingError> {
    if !headers.may_hold(Name::ContentLength.bit() | Name::TransferEncoding.bit()) {
        return Ok(None);
    }
    let length = only(headers, Name::ContentLength, FramingError::LengthRepeated)?;
    let encoding = only(headers, Name::TransferEncoding, FramingError::EncodingRepeated)?;
    match (length, encoding) {
        (None, None) => Ok(None),
        // RFC 9112 §6.3 lets a server process this with Transfer-Encoding winning; every
        // smuggling attack since 2005 begins here, so we don't.
        (Some(_), Some(_)) => Err(FramingError::LengthAndEncoding),
        (Some(value), None) => parse_length(value).map(Framing::Length).map(Some),
        (None, Some(value)) => check_encoding(value, version).map(Some),
    }
}

/// The length that Content-Length declares, if there is one, for HTTP/2: Transfer-Encoding isn't
/// looked at, since there it is malformed by itself.
pub(crate) fn content_length(headers: &Headers) -> Result<Option<u64>, FramingError> {
    only(headers, Name::ContentLength, FramingError::LengthRepeated)?.map(parse_length).transpose()
}

/// The value of the only field `name`.
fn only(
    headers: &Headers,
    name: Name,
    repeated: FramingError,
) -> Result<Option<&[u8]>, FramingError> {
    if headers.is_repeated(name) && headers.get_all_known(name).nth(1).is_some() {
        return Err(repeated);
    }
    Ok(headers.get_known(name))
}

/// 1–19 digits: what fits a `u64` without an overflow check, below 2^63, and no sign or list.
fn parse_length(value: &[u8]) -> Result<u64, FramingError> {
    if value.is_empty() || value.len() > LENGTH_DIGITS_MAX {
        return Err(FramingError::LengthInvalid);
    }
    let mut length = 0u64;
    for &byte in value {
        if !byte.is_ascii_digit() {
            return Err(FramingError::LengthInvalid);
        }
        length = length * 10 + u64::from(byte - b'0');
    }
    // Kept below 2^63 as chunk sizes are: an upstream that counts in signed numbers would see a
    // negative length.
    if length > i64::MAX as u64 { Err(FramingError::LengthInvalid) } else { Ok(length) }
}

/// Ten to the 19th is below 2^64, ten to the 20th isn't.
const LENGTH_DIGITS_MAX: usize = 19;

/// Exactly one `chunked`, or the error that says what else it was.
fn check_encoding(value: &[u8], version: Version) -> Result<Framing, FramingError> {
    if version == Version::Http10 {
        return Err(FramingError::EncodingInHttp10);
    }
    let value = trim(value);
    if value.eq_ignore_ascii_case(CHUNKED) {
        return Ok(Framing::Chunked);
    }
    // RFC 9112 §6.3: unless chunked is final, the length can't be known and the answer is 400.
    // Codings before a final chunked are well-formed, only not implemented: 501 (§6.1).
    let Some(comma) = value.iter().rposition(|&b| b == b',') else {
        return Err(FramingError::EncodingInvalid);
    };
    let (before, last) = (value.get(..comma).unwrap_or(&[]), value.get(comma + 1..).unwrap_or(&[]));
    let mut codings = elements(before).peekable();
    let well_formed = codings.peek().is_some()
        && codings.all(|coding| is_token(coding) && !coding.eq_ignore_ascii_case(CHUNKED));
    if well_formed && trim(last).eq_ignore_ascii_case(CHUNKED) {
        return Err(FramingError::EncodingUnknown);
    }
    Err(FramingError::EncodingInvalid)
}

const CHUNKED: &[u8] = b"chunked";
