//! What can be wrong with an HTTP/2 connection or stream, and the code that says so on the wire.
//!
//! A [`Violation`] is whatever the other side did (or what a limit of ours said); its code goes
//! into RST_STREAM or GOAWAY. One that ends the connection comes out as [`ConnectionError`].

use super::abuse::Abuse;
use super::hpack::HpackError;
use std::fmt;

/// An error code (RFC 9113 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// NO_ERROR
    NoError,
    /// PROTOCOL_ERROR
    Protocol,
    /// INTERNAL_ERROR
    Internal,
    /// FLOW_CONTROL_ERROR
    FlowControl,
    /// SETTINGS_TIMEOUT
    SettingsTimeout,
    /// STREAM_CLOSED
    StreamClosed,
    /// FRAME_SIZE_ERROR
    FrameSize,
    /// REFUSED_STREAM: nothing was done, the request may be sent again (§8.7).
    RefusedStream,
    /// CANCEL
    Cancel,
    /// COMPRESSION_ERROR
    Compression,
    /// CONNECT_ERROR
    Connect,
    /// ENHANCE_YOUR_CALM
    EnhanceYourCalm,
    /// INADEQUATE_SECURITY
    InadequateSecurity,
    /// HTTP_1_1_REQUIRED
    Http11Required,
    /// A code that nobody registered; treated as INTERNAL_ERROR.
    Other(u32),
}

impl ErrorCode {
    /// The registered codes, by number.
    pub const ALL: [Self; 14] = [
        Self::NoError,
        Self::Protocol,
        Self::Internal,
        Self::FlowControl,
        Self::SettingsTimeout,
        Self::StreamClosed,
        Self::FrameSize,
        Self::RefusedStream,
        Self::Cancel,
        Self::Compression,
        Self::Connect,
        Self::EnhanceYourCalm,
        Self::InadequateSecurity,
        Self::Http11Required,
    ];

    /// The code with that number.
    pub fn from_wire(code: u32) -> Self {
        Self::ALL.get(code as usize).copied().unwrap_or(Self::Other(code))
    }

    /// The number.
    pub const fn wire(self) -> u32 {
        match self {
            Self::NoError => 0,
            Self::Protocol => 1,
            Self::Internal => 2,
            Self::FlowControl => 3,
            Self::SettingsTimeout => 4,
            Self::StreamClosed => 5,
            Self::FrameSize => 6,
            Self::RefusedStream => 7,
            Self::Cancel => 8,
            Self::Compression => 9,
            Self::Connect => 10,
            Self::EnhanceYourCalm => 11,
            Self::InadequateSecurity => 12,
            Self::Http11Required => 13,
            Self::Other(code) => code,
        }
    }

    /// The RFC's name, in lower case: a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoError => "no_error",
            Self::Protocol => "protocol_error",
            Self::Internal => "internal_error",
            Self::FlowControl => "flow_control_error",
            Self::SettingsTimeout => "settings_timeout",
            Self::StreamClosed => "stream_closed",
            Self::FrameSize => "frame_size_error",
            Self::RefusedStream => "refused_stream",
            Self::Cancel => "cancel",
            Self::Compression => "compression_error",
            Self::Connect => "connect_error",
            Self::EnhanceYourCalm => "enhance_your_calm",
            Self::InadequateSecurity => "inadequate_security",
            Self::Http11Required => "http_1_1_required",
            Self::Other(_) => "other",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// Not the preface of RFC 9113 §3.4.
    Preface,
    /// The first frame isn't SETTINGS (§3.4).
    SettingsMissing,
    /// A frame above SETTINGS_MAX_FRAME_SIZE, or of a length that its type can't have (§4.2).
    FrameSize,
    /// A frame that needs a stream on stream 0, or the other way round.
    StreamZero,
    /// A stream that the other side may not open: wrong parity, or a lower number (§5.1.1).
    StreamId,
    /// A frame on a stream that nobody has opened (§5.1).
    StreamIdle,
    /// A frame on a stream that has ended (§5.1).
    StreamClosed,
    /// Streams above SETTINGS_MAX_CONCURRENT_STREAMS (§5.1.2).
    StreamsTooMany,
    /// CONTINUATION without a block, or anything else within one (§6.10).
    Continuation,
    /// Padding as long as the frame (§6.1).
    Padding,
    /// A stream that depends on itself (RFC 7540 §5.3.1).
    SelfDependency,
    /// PUSH_PROMISE, which we never allow (§6.6).
    Push,
    /// A setting with a value that it can't have (§6.5.2).
    Setting,
    /// More DATA than the window allows (§6.9.1).
    WindowExceeded,
    /// A window above 2^31-1 (§6.9.1).
    WindowOverflow,
    /// An increment of 0 (§6.9).
    ZeroIncrement,
    /// A header block that can't be decoded (§4.3).
    Hpack(HpackError),
    /// A name in upper case or not a token, or an unknown pseudo-field (§8.2.1, §8.3).
    FieldName,
    /// CR, LF, NUL, another control, or whitespace around a value (§8.2.1).
    FieldValue,
    /// A field that belongs to a connection (§8.2.2).
    ConnectionField,
    /// A pseudo-field repeated, missing, after an ordinary field, or where none may be (§8.3).
    PseudoField,
    /// A request's method, scheme, path or authority that isn't one (§8.3.1).
    Request,
    /// `:authority` and Host differ, or there is neither (§8.3.1).
    Authority,
    /// A response's status that isn't one, 101, or an interim response that ends (§8.1, §8.3.2).
    Status,
    /// Content-Length isn't a number, or isn't what came (§8.1.1).
    ContentLength,
    /// DATA before the head, or where no content may be (§8.1).
    DataMisplaced,
    /// Fields after the head that don't end the stream (§8.1).
    TrailersOpen,
    /// HEADERS behind a CONNECT: a tunnel has DATA only (§8.5).
    HeadersInTunnel,
    /// A header list above our limits.
    HeaderListTooLarge,
    /// SETTINGS not acknowledged in time (§6.5.3).
    SettingsTimeout,
    /// A keep-alive PING not acknowledged in time.
    PingTimeout,
    /// `Connection::close` was called.
    Closed,
    /// More than honest clients do.
    Abuse(Abuse),
}

impl Violation {
    /// The code for RST_STREAM or GOAWAY.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::FrameSize => ErrorCode::FrameSize,
            Self::StreamClosed => ErrorCode::StreamClosed,
            Self::StreamsTooMany => ErrorCode::RefusedStream,
            Self::WindowExceeded | Self::WindowOverflow => ErrorCode::FlowControl,
            Self::Hpack(_) => ErrorCode::Compression,
            Self::HeaderListTooLarge | Self::Abuse(_) => ErrorCode::EnhanceYourCalm,
            Self::SettingsTimeout => ErrorCode::SettingsTimeout,
            Self::PingTimeout | Self::Closed => ErrorCode::NoError,
            _ => ErrorCode::Protocol,
        }
    }

    /// What is wrong, in a few words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Preface => "not the HTTP/2 preface",
            Self::SettingsMissing => "first frame isn't SETTINGS",
            Self::FrameSize => "frame of a wrong size",
            Self::StreamZero => "frame on the wrong kind of stream",
            Self::StreamId => "stream id that may not be opened",
            Self::StreamIdle => "frame on an idle stream",
            Self::StreamClosed => "frame on a closed stream",
            Self::StreamsTooMany => "too many streams at once",
            Self::Continuation => {
                "frame within another's header block, or CONTINUATION without one"
            }
            Self::Padding => "padding longer than the frame",
            Self::SelfDependency => "stream depends on itself",
            Self::Push => "push isn't allowed",
            Self::Setting => "invalid setting",
            Self::WindowExceeded => "more data than the window allows",
            Self::WindowOverflow => "window above 2^31-1",
            Self::ZeroIncrement => "window update of zero",
            Self::Hpack(error) => error.reason(),
            Self::FieldName => "invalid field name",
            Self::FieldValue => "invalid field value",
            Self::ConnectionField => "field of a connection in HTTP/2",
            Self::PseudoField => "pseudo-field missing, repeated or misplaced",
            Self::Request => "invalid method, scheme or path",
            Self::Authority => "authority missing or unlike Host",
            Self::Status => "invalid status",
            Self::ContentLength => "content unlike Content-Length",
            Self::DataMisplaced => "DATA where none may be",
            Self::TrailersOpen => "trailers that don't end the stream",
            Self::HeadersInTunnel => "HEADERS where a tunnel has only DATA",
            Self::HeaderListTooLarge => "header list too large",
            Self::SettingsTimeout => "SETTINGS not acknowledged",
            Self::PingTimeout => "PING not acknowledged",
            Self::Closed => "closed",
            Self::Abuse(abuse) => abuse.reason(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Violation {}

/// The connection is over; GOAWAY with its code lies in the output, to be sent before closing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionError(pub Violation);

impl ConnectionError {
    /// The code that GOAWAY carries.
    pub const fn code(self) -> ErrorCode {
        self.0.code()
    }

    /// What is wrong, in a few words.
    pub const fn reason(self) -> &'static str {
        self.0.reason()
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for ConnectionError {}

impl From<Violation> for ConnectionError {
    fn from(violation: Violation) -> Self {
        Self(violation)
    }
}

impl From<HpackError> for Violation {
    fn from(error: HpackError) -> Self {
        Self::Hpack(error)
    }
}

impl From<HpackError> for ConnectionError {
    fn from(error: HpackError) -> Self {
        Self(Violation::Hpack(error))
    }
}

impl From<Abuse> for ConnectionError {
    fn from(abuse: Abuse) -> Self {
        Self(Violation::Abuse(abuse))
    }
}

/// Why something couldn't be sent. None of these breaks the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// The stream has ended, was reset, or never was: drop what is left of the exchange.
    StreamClosed,
    /// Not in this order: DATA before the head, a second head, anything after the end.
    OutOfOrder,
    /// The other side's limit on streams, or ours, is reached: wait for a stream to end.
    NoStreamFree,
    /// GOAWAY was sent or received, or the ids are used up: open another connection.
    GoingAway,
    /// Larger than the other side's SETTINGS_MAX_HEADER_LIST_SIZE.
    HeadTooLarge,
    /// Extended CONNECT, and the other side hasn't enabled it (RFC 8441 §3).
    ConnectProtocolDisabled,
}

impl SendError {
    /// What is wrong, in a few words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::StreamClosed => "stream is closed",
            Self::OutOfOrder => "sent out of order",
            Self::NoStreamFree => "no stream free",
            Self::GoingAway => "connection is going away",
            Self::HeadTooLarge => "head larger than the other side takes",
            Self::ConnectProtocolDisabled => "extended CONNECT isn't enabled",
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for SendError {}
