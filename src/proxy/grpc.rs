//! What a proxy knows of gRPC: which requests are gRPC's, their deadline, and how a failure is told.
//!
//! Messages pass as any body does. A client of gRPC expects every answer to be a 200 whose trailers
//! have the status, so an error of ours is a "trailers-only" response (gRPC over HTTP/2, §Responses).

use std::time::Duration;

use super::{body::Body, error::Error, response::Response};
use crate::protocol::http::{Headers, Name, Status};

/// Whether a request is gRPC's.
pub(super) fn is_grpc(headers: &Headers) -> bool {
    let content_type = headers.get_known(Name::ContentType).unwrap_or_default();
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// How long the client will wait for the whole exchange, from `grpc-timeout`.
pub(super) fn timeout(headers: &Headers) -> Option<Duration> {
    if !is_grpc(headers) {
        return None;
    }
    let (unit, digits) = headers.get("grpc-timeout")?.split_last()?;
    if digits.is_empty() || digits.len() > TIMEOUT_DIGITS_MAX {
        return None;
    }
    let mut count = 0_u64;
    for digit in digits {
        count = count * 10 + u64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// The response that tells a client of gRPC of `error`.
pub(super) fn page(error: &Error, id: &str) -> Response {
    let code = code(error).to_string();
    let message = format!("{} (request id: {id})", error.public_text());
    Response::new(Status::OK)
        .with("content-type", "application/grpc")
        .with("grpc-status", code)
        .with("grpc-message", percent_encoded(&message))
        .with_body(Body::empty())
}

/// The status code of gRPC that says what `error` says.
fn code(error: &Error) -> u8 {
    const CANCELLED: u8 = 1;
    const UNKNOWN: u8 = 2;
    const DEADLINE_EXCEEDED: u8 = 4;
    const PERMISSION_DENIED: u8 = 7;
    const RESOURCE_EXHAUSTED: u8 = 8;
    const UNIMPLEMENTED: u8 = 12;
    const INTERNAL: u8 = 13;
    const UNAVAILABLE: u8 = 14;
    const UNAUTHENTICATED: u8 = 16;
    if matches!(error, Error::UpstreamTimeout { .. }) {
        return DEADLINE_EXCEEDED;
    }
    match error.status().code() {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        408 | 499 => CANCELLED,
        413 | 431 => RESOURCE_EXHAUSTED,
        429 | 502 | 503 | 504 => UNAVAILABLE,
        500 => INTERNAL,
        _ => UNKNOWN,
    }
}

/// gRPC percent-encodes everything but printable ASCII without `%`.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// RFC-like limit of gRPC: at most eight digits.
const TIMEOUT_DIGITS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(content_type: &str, wait: &str) -> Headers {
        let mut headers = Headers::new();
        headers.append("content-type", content_type).unwrap();
        headers.append("grpc-timeout", wait).unwrap();
        headers
    }

    #[test]
    fn the_deadline_is_read_in_every_unit() {
        let of = |wait| timeout(&headers("application/grpc+proto", wait));
        assert_eq!(of("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(of("3M"), Some(Duration::from_secs(180)));
        assert_eq!(of("00000005S"), Some(Duration::from_secs(5)));
        assert_eq!(of("250m"), Some(Duration::from_millis(250)));
        assert_eq!(of("99999999u"), Some(Duration::from_micros(99_999_999)));
        assert_eq!(of("7n"), Some(Duration::from_nanos(7)));
        for wrong in ["", "S", "5", "5s", "-5S", "123456789S", "5 S", "1.5S"] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn only_grpc_is_grpc() {
        for (content_type, is) in [
            ("application/grpc", true),
            ("application/grpc+json", true),
            ("application/grpc;charset=x", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(&headers(content_type, "1S")), is, "{content_type}");
            assert_eq!(timeout(&headers(content_type, "1S")).is_some(), is);
        }
    }

    #[test]
    fn errors_become_the_status_that_grpc_clients_act_on() {
        let told = |error: &Error| {
            let page = page(error, "id");
            assert_eq!(page.status, Status::OK);
            assert!(page.body.is_empty());
            String::from_utf8(page.headers.get("grpc-status").unwrap().to_vec()).unwrap()
        };
        assert_eq!(told(&Error::NoEndpoint { upstream: "a".into() }), "14");
        assert_eq!(told(&Error::UpstreamTimeout { phase: "x" }), "4");
        assert_eq!(told(&Error::NoRoute), "12");
        assert_eq!(told(&Error::BodyTooLarge { limit: 1 }), "8");
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encoded("50% of ä\n"), "50%25 of %C3%A4%0A");
    }
}
