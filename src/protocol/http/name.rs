//! Known field names: an id found while parsing, so that the rest of the way is an integer compare.
//!
//! The list holds what a proxy itself looks at. Everything else is [`Name::Other`] and compared
//! as bytes, ignoring case.

use super::chars::is_lower;

/// Id of a field name that the proxy knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Name {
    /// `Accept`
    Accept,
    /// `Accept-Encoding`
    AcceptEncoding,
    /// `Authorization`
    Authorization,
    /// `Cache-Control`
    CacheControl,
    /// `Connection`
    Connection,
    /// `Content-Encoding`
    ContentEncoding,
    /// `Content-Length`
    ContentLength,
    /// `Content-Range`
    ContentRange,
    /// `Content-Type`
    ContentType,
    /// `Cookie`
    Cookie,
    /// `Date`
    Date,
    /// `Expect`
    Expect,
    /// `Forwarded`
    Forwarded,
    /// `Host`
    Host,
    /// `Keep-Alive`
    KeepAlive,
    /// `Location`
    Location,
    /// `Max-Forwards`
    MaxForwards,
    /// `Proxy-Authenticate`
    ProxyAuthenticate,
    /// `Proxy-Authorization`
    ProxyAuthorization,
    /// `Proxy-Connection`
    ProxyConnection,
    /// `Range`
    Range,
    /// `Referer`
    Referer,
    /// `Server`
    Server,
    /// `Set-Cookie`
    SetCookie,
    /// `TE`
    Te,
    /// `Trailer`
    Trailer,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// `Upgrade`
    Upgrade,
    /// `User-Agent`
    UserAgent,
    /// `Via`
    Via,
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `X-Forwarded-Host`
    XForwardedHost,
    /// `X-Forwarded-Proto`
    XForwardedProto,
    /// `X-Request-Id`
    XRequestId,
    /// A name without an id.
    Other,
}

impl Name {
    /// Every known name.
    pub const ALL: &[Self] = &[
        Self::Accept,
        Self::AcceptEncoding,
        Self::Authorization,
        Self::CacheControl,
        Self::Connection,
        Self::ContentEncoding,
        Self::ContentLength,
        Self::ContentRange,
        Self::ContentType,
        Self::Cookie,
        Self::Date,
        Self::Expect,
        Self::Forwarded,
        Self::Host,
        Self::KeepAlive,
        Self::Location,
        Self::MaxForwards,
        Self::ProxyAuthenticate,
        Self::ProxyAuthorization,
        Self::ProxyConnection,
        Self::Range,
        Self::Referer,
        Self::Server,
        Self::SetCookie,
        Self::Te,
        Self::Trailer,
        Self::TransferEncoding,
        Self::Upgrade,
        Self::UserAgent,
        Self::Via,
        Self::XForwardedFor,
        Self::XForwardedHost,
        Self::XForwardedProto,
        Self::XRequestId,
    ];

    /// The usual spelling; empty for [`Name::Other`].
    #[inline]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "Accept",
            Self::AcceptEncoding => "Accept-Encoding",
            Self::Authorization => "Authorization",
            Self::CacheControl => "Cache-Control",
            Self::Connection => "Connection",
            Self::ContentEncoding => "Content-Encoding",
            Self::ContentLength => "Content-Length",
            Self::ContentRange => "Content-Range",
            Self::ContentType => "Content-Type",
            Self::Cookie => "Cookie",
            Self::Date => "Date",
            Self::Expect => "Expect",
            Self::Forwarded => "Forwarded",
            Self::Host => "Host",
            Self::KeepAlive => "Keep-Alive",
            Self::Location => "Location",
            Self::MaxForwards => "Max-Forwards",
            Self::ProxyAuthenticate => "Proxy-Authenticate",
            Self::ProxyAuthorization => "Proxy-Authorization",
            Self::ProxyConnection => "Proxy-Connection",
            Self::Range => "Range",
            Self::Referer => "Referer",
            Self::Server => "Server",
            Self::SetCookie => "Set-Cookie",
            Self::Te => "TE",
            Self::Trailer => "Trailer",
            Self::TransferEncoding => "Transfer-Encoding",
            Self::Upgrade => "Upgrade",
            Self::UserAgent => "User-Agent",
            Self::Via => "Via",
            Self::XForwardedFor => "X-Forwarded-For",
            Self::XForwardedHost => "X-Forwarded-Host",
            Self::XForwardedProto => "X-Forwarded-Proto",
            Self::XRequestId => "X-Request-Id",
            Self::Other => "",
        }
    }

    /// The name in lower case; empty for [`Name::Other`].
    #[inline]
    const fn lower(self) -> &'static [u8] {
        match self {
            Self::Accept => b"accept",
            Self::AcceptEncoding => b"accept-encoding",
            Self::Authorization => b"authorization",
            Self::CacheControl => b"cache-control",
            Self::Connection => b"connection",
            Self::ContentEncoding => b"content-encoding",
            Self::ContentLength => b"content-length",
            Self::ContentRange => b"content-range",
            Self::ContentType => b"content-type",
            Self::Cookie => b"cookie",
            Self::Date => b"date",
            Self::Expect => b"expect",
            Self::Forwarded => b"forwarded",
            Self::Host => b"host",
            Self::KeepAlive => b"keep-alive",
            Self::Location => b"location",
            Self::MaxForwards => b"max-forwards",
            Self::ProxyAuthenticate => b"proxy-authenticate",
            Self::ProxyAuthorization => b"proxy-authorization",
            Self::ProxyConnection => b"proxy-connection",
            Self::Range => b"range",
            Self::Referer => b"referer",
            Self::Server => b"server",
            Self::SetCookie => b"set-cookie",
            Self::Te => b"te",
            Self::Trailer => b"trailer",
            Self::TransferEncoding => b"transfer-encoding",
            Self::Upgrade => b"upgrade",
            Self::UserAgent => b"user-agent",
            Self::Via => b"via",
            Self::XForwardedFor => b"x-forwarded-for",
            Self::XForwardedHost => b"x-forwarded-host",
            Self::XForwardedProto => b"x-forwarded-proto",
            Self::XRequestId => b"x-request-id",
            Self::Other => b"",
        }
    }

    /// A bit of its own, for sets of names.
    #[inline]
    pub(crate) const fn bit(self) -> u64 {
        1 << self as u8
    }

    /// The id of `name`, whatever its case.
    ///
    /// Length, first and last letter leave one candidate, so one compare decides. A test holds
    /// that the table below is complete.
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        let (Some(first), Some(last)) = (name.first(), name.last()) else { return Self::Other };
        let candidate = match (name.len(), first | 0x20, last | 0x20) {
            (2, b't', b'e') => Self::Te,
            (3, b'v', b'a') => Self::Via,
            (4, b'h', b't') => Self::Host,
            (4, b'd', b'e') => Self::Date,
            (5, b'r', b'e') => Self::Range,
            (6, b'a', b't') => Self::Accept,
            (6, b'c', b'e') => Self::Cookie,
            (6, b'e', b't') => Self::Expect,
            (6, b's', b'r') => Self::Server,
            (7, b'r', b'r') => Self::Referer,
            (7, b't', b'r') => Self::Trailer,
            (7, b'u', b'e') => Self::Upgrade,
            (8, b'l', b'n') => Self::Location,
            (9, b'f', b'd') => Self::Forwarded,
            (10, b'c', b'n') => Self::Connection,
            (10, b'k', b'e') => Self::KeepAlive,
            (10, b's', b'e') => Self::SetCookie,
            (10, b'u', b't') => Self::UserAgent,
            (12, b'c', b'e') => Self::ContentType,
            (12, b'm', b's') => Self::MaxForwards,
            (12, b'x', b'd') => Self::XRequestId,
            (13, b'a', b'n') => Self::Authorization,
            (13, b'c', b'e') => Self::ContentRange,
            (13, b'c', b'l') => Self::CacheControl,
            (14, b'c', b'h') => Self::ContentLength,
            (15, b'a', b'g') => Self::AcceptEncoding,
            (15, b'x', b'r') => Self::XForwardedFor,
            (16, b'c', b'g') => Self::ContentEncoding,
            (16, b'p', b'n') => Self::ProxyConnection,
            (16, b'x', b't') => Self::XForwardedHost,
            (17, b't', b'g') => Self::TransferEncoding,
            (17, b'x', b'o') => Self::XForwardedProto,
            (18, b'p', b'e') => Self::ProxyAuthenticate,
            (19, b'p', b'n') => Self::ProxyAuthorization,
            _ => return Self::Other,
        };
        if is_lower(name, candidate.lower()) { candidate } else { Self::Other }
    }
}

/// Sets of names are 64 bits.
const _: () = assert!(Name::ALL.len() < 64);

impl AsRef<[u8]> for Name {
    fn as_ref(&self) -> &[u8] {
        self.as_str().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for &name in Name::ALL {
            let text = name.as_str();
            assert_eq!(Name::of(text.as_bytes()), name, "{text}");
            assert_eq!(Name::of(text.to_ascii_lowercase().as_bytes()), name, "{text}");
            assert_eq!(Name::of(text.to_ascii_uppercase().as_bytes()), name, "{text}");
        }
    }

    #[test]
    fn near_misses_are_other() {
        for text in ["", "Hos", "Hxst", "Content-Lengtx", "C0ntent-Length", "Content_Length", "TEE"]
        {
            assert_eq!(Name::of(text.as_bytes()), Name::Other, "{text}");
        }
    }
}
