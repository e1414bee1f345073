//! Known field names: an id found while parsing, so that the rest of the way is an integer compare.
//!
//! The list holds what a proxy itself looks at, and what stands in most messages, because a known
//! name is also the cheapest to read. Everything else is [`Name::Other`] and compared as bytes,
//! ignoring case. How a name is found: `name_table`.

use super::name_table::Packed;

/// Id of a field name that the proxy knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Name {
    /// `Accept`
    Accept,
    /// `Accept-Encoding`
    AcceptEncoding,
    /// `Accept-Language`
    AcceptLanguage,
    /// `Accept-Ranges`
    AcceptRanges,
    /// `Age`
    Age,
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
    /// `ETag`
    ETag,
    /// `Expect`
    Expect,
    /// `Forwarded`
    Forwarded,
    /// `Host`
    Host,
    /// `If-Modified-Since`
    IfModifiedSince,
    /// `If-None-Match`
    IfNoneMatch,
    /// `Keep-Alive`
    KeepAlive,
    /// `Last-Modified`
    LastModified,
    /// `Location`
    Location,
    /// `Max-Forwards`
    MaxForwards,
    /// `Origin`
    Origin,
    /// `Pragma`
    Pragma,
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
    /// `Vary`
    Vary,
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
        Self::AcceptLanguage,
        Self::AcceptRanges,
        Self::Age,
        Self::Authorization,
        Self::CacheControl,
        Self::Connection,
        Self::ContentEncoding,
        Self::ContentLength,
        Self::ContentRange,
        Self::ContentType,
        Self::Cookie,
        Self::Date,
        Self::ETag,
        Self::Expect,
        Self::Forwarded,
        Self::Host,
        Self::IfModifiedSince,
        Self::IfNoneMatch,
        Self::KeepAlive,
        Self::LastModified,
        Self::Location,
        Self::MaxForwards,
        Self::Origin,
        Self::Pragma,
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
        Self::Vary,
        Self::Via,
        Self::XForwardedFor,
        Self::XForwardedHost,
        Self::XForwardedProto,
        Self::XRequestId,
    ];

    /// The usual spelling; empty for [`Name::Other`].
    #[inline]
    pub const fn as_str(self) -> &'static str {
        let start = self.line_start();
        start.split_at(start.len().saturating_sub(COLON_SPACE.len())).0
    }

    /// The usual spelling with a colon and a space: how a line begins.
    #[inline]
    pub(crate) const fn line_start(self) -> &'static str {
        match self {
            Self::Accept => "Accept: ",
            Self::AcceptEncoding => "Accept-Encoding: ",
            Self::AcceptLanguage => "Accept-Language: ",
            Self::AcceptRanges => "Accept-Ranges: ",
            Self::Age => "Age: ",
            Self::Authorization => "Authorization: ",
            Self::CacheControl => "Cache-Control: ",
            Self::Connection => "Connection: ",
            Self::ContentEncoding => "Content-Encoding: ",
            Self::ContentLength => "Content-Length: ",
            Self::ContentRange => "Content-Range: ",
            Self::ContentType => "Content-Type: ",
            Self::Cookie => "Cookie: ",
            Self::Date => "Date: ",
            Self::ETag => "ETag: ",
            Self::Expect => "Expect: ",
            Self::Forwarded => "Forwarded: ",
            Self::Host => "Host: ",
            Self::IfModifiedSince => "If-Modified-Since: ",
            Self::IfNoneMatch => "If-None-Match: ",
            Self::KeepAlive => "Keep-Alive: ",
            Self::LastModified => "Last-Modified: ",
            Self::Location => "Location: ",
            Self::MaxForwards => "Max-Forwards: ",
            Self::Origin => "Origin: ",
            Self::Pragma => "Pragma: ",
            Self::ProxyAuthenticate => "Proxy-Authenticate: ",
            Self::ProxyAuthorization => "Proxy-Authorization: ",
            Self::ProxyConnection => "Proxy-Connection: ",
            Self::Range => "Range: ",
            Self::Referer => "Referer: ",
            Self::Server => "Server: ",
            Self::SetCookie => "Set-Cookie: ",
            Self::Te => "TE: ",
            Self::Trailer => "Trailer: ",
            Self::TransferEncoding => "Transfer-Encoding: ",
            Self::Upgrade => "Upgrade: ",
            Self::UserAgent => "User-Agent: ",
            Self::Vary => "Vary: ",
            Self::Via => "Via: ",
            Self::XForwardedFor => "X-Forwarded-For: ",
            Self::XForwardedHost => "X-Forwarded-Host: ",
            Self::XForwardedProto => "X-Forwarded-Proto: ",
            Self::XRequestId => "X-Request-Id: ",
            Self::Other => "",
        }
    }

    /// A bit of its own, for sets of names.
    #[inline]
    pub(crate) const fn bit(self) -> u64 {
        1 << self as u8
    }

    /// The id of `name`, whatever its case.
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        Packed::of(name).map_or(Self::Other, Packed::id)
    }
}

const COLON_SPACE: &str = ": ";

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
