//! What can be wrong with a message, by whose fault: a request's errors are the client's and
//! carry the status to answer with; a response's are the upstream's and become 502 in the proxy.
//!
//! `reason()` is a constant, so that refusing a flood of bad requests allocates nothing.

use super::Status;
use std::fmt;

/// A field that may not be put into [`super::Headers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldError {
    /// Not a token (RFC 9110 §5.1).
    NameInvalid,
    /// CR, LF, NUL or another control but HTAB (RFC 9110 §5.5).
    ValueInvalid,
    /// More than [`super::FIELDS_MAX`].
    TooMany,
    /// More bytes than [`super::HEADERS_BYTES_MAX`].
    TooLarge,
}

impl FieldError {
    /// What is wrong, in a few words.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NameInvalid => "field name isn't a token",
            Self::ValueInvalid => "field value holds a control character",
            Self::TooMany => "too many fields",
            Self::TooLarge => "fields are too large",
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for FieldError {}

/// A target, path, method or reason that may not be put into a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetError {
    /// Space, control, non-ASCII or `#`.
    Invalid,
    /// A path that doesn't start with `/`, or holds a `?`.
    NotAPath,
    /// Not a token.
    MethodInvalid,
    /// Rewritten too often or too long for one head.
    TooLong,
}

impl TargetError {
    /// What is wrong, in a few words.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Invalid => "target holds a character that a target may not",
            Self::NotAPath => "path doesn't start with `/` or holds a `?`",
            Self::MethodInvalid => "method isn't a token",
            Self::TooLong => "target is too long",
        }
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for TargetError {}

/// A field section that breaks the grammar of RFC 9112 §5 or a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyntaxError {
    /// CR without LF.
    BareCr,
    /// LF without CR.
    BareLf,
    /// A line that continues the one before (RFC 9112 §5.2).
    Folded,
    /// Whitespace before the first field line (RFC 9112 §2.2).
    LeadingSpace,
    /// `: value`.
    NameEmpty,
    /// A byte that isn't a token's.
    NameInvalid,
    /// `Name : value` or `Na me: value` (RFC 9112 §5.1).
    SpaceAfterName,
    /// A line without one.
    ColonMissing,
    /// NUL or another control.
    ValueInvalid,
    /// More fields than the limit.
    TooManyFields,
    /// More bytes than the limit.
    TooLarge,
}

impl SyntaxError {
    /// What is wrong, in a few words.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::BareCr => "bare CR",
            Self::BareLf => "bare LF",
            Self::Folded => "folded field line",
            Self::LeadingSpace => "whitespace before the first field",
            Self::NameEmpty => "empty field name",
            Self::NameInvalid => "invalid field name",
            Self::SpaceAfterName => "whitespace after a field name",
            Self::ColonMissing => "field line without a colon",
            Self::ValueInvalid => "control character in a field value",
            Self::TooManyFields => "too many fields",
            Self::TooLarge => "head too large",
        }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for SyntaxError {}

/// Framing that two readers could see differently (RFC 9112 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FramingError {
    /// Both Content-Length and Transfer-Encoding.
    LengthAndEncoding,
    /// Not 1–19 digits, or 2^63 and more.
    LengthInvalid,
    /// More than one Content-Length line, equal or not.
    LengthRepeated,
    /// More than one Transfer-Encoding line.
    EncodingRepeated,
    /// Anything but one final `chunked`.
    EncodingInvalid,
    /// A coding that we don't implement before the final `chunked`.
    EncodingUnknown,
    /// Transfer-Encoding in an HTTP/1.0 message (RFC 9112 §6.1).
    EncodingInHttp10,
    /// A CONNECT request with content (RFC 9110 §9.3.6).
    ConnectContent,
}

impl FramingError {
    /// What is wrong, in a few words.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::LengthAndEncoding => "both Content-Length and Transfer-Encoding",
            Self::LengthInvalid => "invalid Content-Length",
            Self::LengthRepeated => "several Content-Length fields",
            Self::EncodingRepeated => "several Transfer-Encoding fields",
            Self::EncodingInvalid => "invalid Transfer-Encoding",
            Self::EncodingUnknown => "transfer coding not implemented",
            Self::EncodingInHttp10 => "Transfer-Encoding in HTTP/1.0",
            Self::ConnectContent => "CONNECT with content",
        }
    }
}

impl fmt::Display for FramingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for FramingError {}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestError {
    /// The field section.
    Syntax(SyntaxError),
    /// Content-Length and Transfer-Encoding.
    Framing(FramingError),
    /// More than two empty lines before the request line.
    LeadingLines,
    /// Longer than the limit.
    LineTooLong,
    /// Not a token, or no single space after it.
    MethodInvalid,
    /// Longer than any method that we know.
    MethodTooLong,
    /// Space, control or non-ASCII in it, or empty.
    TargetInvalid,
    /// `#` in it.
    TargetFragment,
    /// A form that doesn't go with the method (RFC 9112 §3.2).
    TargetForm,
    /// Absolute-form with a scheme other than `http` and `https`.
    SchemeUnknown,
    /// `user@host` (RFC 9110 §4.2.4).
    Userinfo,
    /// Not `HTTP/d.d`.
    VersionInvalid,
    /// A major version other than 1.
    VersionUnsupported,
    /// None in HTTP/1.1 (RFC 9112 §3.2).
    HostMissing,
    /// More than one.
    HostRepeated,
    /// Not `host[:port]`.
    HostInvalid,
    /// Connection names a field that is meant for every recipient (RFC 9110 §7.6.1).
    ConnectionOption,
}

impl RequestError {
    /// What is wrong, in a few words: fit for an error page and a log line.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Syntax(error) => error.reason(),
            Self::Framing(error) => error.reason(),
            Self::LeadingLines => "empty lines before the request",
            Self::LineTooLong => "request line too long",
            Self::MethodInvalid => "invalid method",
            Self::MethodTooLong => "method too long",
            Self::TargetInvalid => "invalid request target",
            Self::TargetFragment => "fragment in the request target",
            Self::TargetForm => "request target form doesn't fit the method",
            Self::SchemeUnknown => "unknown scheme in the request target",
            Self::Userinfo => "userinfo in the authority",
            Self::VersionInvalid => "invalid version",
            Self::VersionUnsupported => "version not supported",
            Self::HostMissing => "Host missing",
            Self::HostRepeated => "several Host fields",
            Self::HostInvalid => "invalid Host",
            Self::ConnectionOption => "Connection names an end-to-end field",
        }
    }

    /// The status to answer with: 400, 414, 431, 501 or 505. The connection closes after it.
    pub fn status(&self) -> Status {
        match self {
            Self::LineTooLong => Status::URI_TOO_LONG,
            Self::MethodTooLong | Self::Framing(FramingError::EncodingUnknown) => {
                Status::NOT_IMPLEMENTED
            }
            Self::VersionUnsupported => Status::VERSION_NOT_SUPPORTED,
            Self::Syntax(SyntaxError::TooManyFields | SyntaxError::TooLarge) => {
                Status::HEAD_TOO_LARGE
            }
            _ => Status::BAD_REQUEST,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for RequestError {}

impl From<SyntaxError> for RequestError {
    fn from(error: SyntaxError) -> Self {
        Self::Syntax(error)
    }
}

impl From<FramingError> for RequestError {
    fn from(error: FramingError) -> Self {
        Self::Framing(error)
    }
}

/// Why an upstream's response is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseError {
    /// The field section.
    Syntax(SyntaxError),
    /// Content-Length and Transfer-Encoding.
    Framing(FramingError),
    /// Not `HTTP/d.d SP 3DIGIT [SP reason]`.
    StatusLine,
    /// Below 100.
    StatusInvalid,
    /// A major version other than 1.
    VersionUnsupported,
}

impl ResponseError {
    /// What is wrong, in a few words.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Syntax(error) => error.reason(),
            Self::Framing(error) => error.reason(),
            Self::StatusLine => "invalid status line",
            Self::StatusInvalid => "invalid status",
            Self::VersionUnsupported => "version not supported",
        }
    }
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for ResponseError {}

impl From<SyntaxError> for ResponseError {
    fn from(error: SyntaxError) -> Self {
        Self::Syntax(error)
    }
}

impl From<FramingError> for ResponseError {
    fn from(error: FramingError) -> Self {
        Self::Framing(error)
    }
}
