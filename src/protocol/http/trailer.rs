//! Which fields may follow a body (RFC 9110 §6.5.1), in any version of HTTP.

use super::Name;

/// What happens to a trailer field (RFC 9110 §6.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrailerFate {
    /// Handed on.
    Kept,
    /// A recipient must ignore it; we don't hand it on either.
    Dropped,
    /// Somebody tries to change framing or routing after the fact.
    Refused,
}

impl TrailerFate {
    /// The fate of a field with that name.
    pub(crate) fn of(name: Name) -> Self {
        match name {
            Name::ContentLength
            | Name::TransferEncoding
            | Name::Host
            | Name::Connection
            | Name::KeepAlive
            | Name::ProxyConnection
            | Name::Te
            | Name::Trailer
            | Name::Upgrade => Self::Refused,
            Name::Authorization
            | Name::ProxyAuthorization
            | Name::ProxyAuthenticate
            | Name::Cookie
            | Name::SetCookie
            | Name::CacheControl
            | Name::ContentType
            | Name::ContentEncoding
            | Name::ContentRange
            | Name::Expect
            | Name::Location
            | Name::MaxForwards
            | Name::Range
            | Name::Forwarded
            | Name::XForwardedFor
            | Name::XForwardedHost
            | Name::XForwardedProto => Self::Dropped,
            _ => Self::Kept,
        }
    }
}
