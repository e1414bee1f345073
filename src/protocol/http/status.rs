//! Status codes: three digits, 100–999, with the registry's phrases for those that we write.

use std::fmt;

/// A status code, 100–999 (RFC 9110 §15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status(u16);

impl Status {
    /// 100.
    pub const CONTINUE: Self = Self(100);
    /// 101.
    pub const SWITCHING_PROTOCOLS: Self = Self(101);
    /// 200.
    pub const OK: Self = Self(200);
    /// 201.
    pub const CREATED: Self = Self(201);
    /// 202.
    pub const ACCEPTED: Self = Self(202);
    /// 204.
    pub const NO_CONTENT: Self = Self(204);
    /// 301.
    pub const MOVED_PERMANENTLY: Self = Self(301);
    /// 302.
    pub const FOUND: Self = Self(302);
    /// 303.
    pub const SEE_OTHER: Self = Self(303);
    /// 304.
    pub const NOT_MODIFIED: Self = Self(304);
    /// 307.
    pub const TEMPORARY_REDIRECT: Self = Self(307);
    /// 308.
    pub const PERMANENT_REDIRECT: Self = Self(308);
    /// 400.
    pub const BAD_REQUEST: Self = Self(400);
    /// 401.
    pub const UNAUTHORIZED: Self = Self(401);
    /// 403.
    pub const FORBIDDEN: Self = Self(403);
    /// 404.
    pub const NOT_FOUND: Self = Self(404);
    /// 405.
    pub const METHOD_NOT_ALLOWED: Self = Self(405);
    /// 408.
    pub const REQUEST_TIMEOUT: Self = Self(408);
    /// 409.
    pub const CONFLICT: Self = Self(409);
    /// 410.
    pub const GONE: Self = Self(410);
    /// 413.
    pub const CONTENT_TOO_LARGE: Self = Self(413);
    /// 414.
    pub const URI_TOO_LONG: Self = Self(414);
    /// 417.
    pub const EXPECTATION_FAILED: Self = Self(417);
    /// 421.
    pub const MISDIRECTED_REQUEST: Self = Self(421);
    /// 429.
    pub const TOO_MANY_REQUESTS: Self = Self(429);
    /// 431.
    pub const HEAD_TOO_LARGE: Self = Self(431);
    /// 500.
    pub const INTERNAL_SERVER_ERROR: Self = Self(500);
    /// 501.
    pub const NOT_IMPLEMENTED: Self = Self(501);
    /// 502.
    pub const BAD_GATEWAY: Self = Self(502);
    /// 503.
    pub const SERVICE_UNAVAILABLE: Self = Self(503);
    /// 504.
    pub const GATEWAY_TIMEOUT: Self = Self(504);
    /// 505.
    pub const VERSION_NOT_SUPPORTED: Self = Self(505);

    /// The status `code`, or `None` outside 100–999.
    #[inline]
    pub const fn new(code: u16) -> Option<Self> {
        if code >= 100 && code <= 999 { Some(Self(code)) } else { None }
    }

    /// The number.
    #[inline]
    pub const fn code(self) -> u16 {
        self.0
    }

    /// The first digit: 2 for 204.
    #[inline]
    pub const fn class(self) -> u16 {
        self.0 / 100
    }

    /// 1xx: another response follows on the same exchange.
    #[inline]
    pub const fn is_informational(self) -> bool {
        self.class() == 1
    }

    /// 5xx.
    #[inline]
    pub const fn is_server_error(self) -> bool {
        self.class() == 5
    }

    /// The three digits as they go on the wire.
    #[inline]
    pub fn digits(self) -> [u8; 3] {
        let digit = |n: u16| b'0' + u8::try_from(n % 10).unwrap_or(0);
        [digit(self.0 / 100), digit(self.0 / 10), digit(self.0)]
    }

    /// The registered reason phrase; empty for codes that nobody registered.
    pub const fn phrase(self) -> &'static str {
        match self.0 {
            100 => "Continue",
            101 => "Switching Protocols",
            103 => "Early Hints",
            200 => "OK",
            201 => "Created",
            202 => "Accepted",
            203 => "Non-Authoritative Information",
            204 => "No Content",
            205 => "Reset Content",
            206 => "Partial Content",
            300 => "Multiple Choices",
            301 => "Moved Permanently",
            302 => "Found",
            303 => "See Other",
            304 => "Not Modified",
            307 => "Temporary Redirect",
            308 => "Permanent Redirect",
            400 => "Bad Request",
            401 => "Unauthorized",
            402 => "Payment Required",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            406 => "Not Acceptable",
            407 => "Proxy Authentication Required",
            408 => "Request Timeout",
            409 => "Conflict",
            410 => "Gone",
            411 => "Length Required",
            412 => "Precondition Failed",
            413 => "Content Too Large",
            414 => "URI Too Long",
            415 => "Unsupported Media Type",
            416 => "Range Not Satisfiable",
            417 => "Expectation Failed",
            418 => "I'm a teapot",
            421 => "Misdirected Request",
            422 => "Unprocessable Content",
            425 => "Too Early",
            426 => "Upgrade Required",
            428 => "Precondition Required",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            451 => "Unavailable For Legal Reasons",
            500 => "Internal Server Error",
            501 => "Not Implemented",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            505 => "HTTP Version Not Supported",
            507 => "Insufficient Storage",
            511 => "Network Authentication Required",
            _ => "",
        }
    }
}

impl Default for Status {
    fn default() -> Self {
        Self::OK
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn only_three_digit_codes_are_statuses() {
        assert_eq!(Status::new(99), None);
        assert_eq!(Status::new(1000), None);
        assert_eq!(Status::new(100), Some(Status::CONTINUE));
        assert_eq!(Status::new(999).map(|s| s.digits()), Some(*b"999"));
        assert_eq!(Status::NOT_FOUND.digits(), *b"404");
        assert_eq!(Status::NOT_FOUND.class(), 4);
    }
}
