//! Removes what belongs to one connection only (RFC 9110 §7.6.1), in both directions.
//!
//! Read keep-alive, upgrade and `TE` wishes (`h1::request_keeps_alive` and its siblings) and the
//! framing *before* calling these: afterwards the fields are gone. What the next connection needs
//! of them, the encoder writes itself.

use super::list::{Persistence, elements, lists};
use super::{Headers, Name, RequestError};

/// Strips a request of its hop-by-hop fields and of those that Connection names.
///
/// `TE: trailers` stays where the client listed it, reduced to that; Trailer stays, since
/// trailers are forwarded.
///
/// # Errors
/// [`RequestError::ConnectionOption`] if Connection names a field that all recipients need: a
/// proxy that obeyed would drop Host, a length or credentials on the client's word, and the
/// upstream would see another request than we judged. Nothing has changed then.
pub fn strip_request_hops(headers: &mut Headers) -> Result<(), RequestError> {
    if !headers.may_hold(HOPS) {
        return Ok(());
    }
    let named = named_fields(headers);
    if named == Named::EndToEnd {
        return Err(RequestError::ConnectionOption);
    }
    let trailers = headers.get_all_known(Name::Te).any(|value| lists(value, "trailers"));
    strip(headers, named);
    if trailers {
        // Can't fail: the removal above made room for it.
        let _ = headers.append(Name::Te, "trailers");
    }
    Ok(())
}

/// Strips a response of its hop-by-hop fields and of those that Connection names.
///
/// End-to-end fields that Connection names are *not* removed: an upstream's slip (`Connection:
/// content-type`) would otherwise change the response's meaning, and framing never depends on
/// what stays here because the encoder writes it from what the codec understood.
pub fn strip_response_hops(headers: &mut Headers) {
    let named = named_fields(headers);
    strip(headers, named);
}

/// What Connection names beyond the names that go anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// Nothing: the common case needs one pass.
    Nothing,
    /// Fields of its own.
    Fields,
    /// Among them one that every recipient needs.
    EndToEnd,
}

fn named_fields(headers: &Headers) -> Named {
    let mut named = Named::Nothing;
    for value in headers.get_all_known(Name::Connection) {
        if Persistence::of(value).is_some() {
            continue;
        }
        for option in elements(value) {
            let id = Name::of(option);
            if id.bit() & END_TO_END != 0 {
                return Named::EndToEnd;
            }
            let plain = id.bit() & HOPS != 0 || option.eq_ignore_ascii_case(b"close");
            if !plain {
                named = Named::Fields;
            }
        }
    }
    named
}

fn strip(headers: &mut Headers, named: Named) {
    if named != Named::Nothing {
        headers.remove_listed(Name::Connection, HOPS | END_TO_END);
    }
    headers.remove_set(HOPS);
}

/// Always removed. Trailer isn't here: see [`strip_request_hops`]. TE is, and comes back reduced.
const HOPS: u64 = Name::Connection.bit()
    | Name::KeepAlive.bit()
    | Name::ProxyConnection.bit()
    | Name::Te.bit()
    | Name::TransferEncoding.bit()
    | Name::Upgrade.bit()
    | Name::ProxyAuthenticate.bit()
    | Name::ProxyAuthorization.bit();

/// Fields that may never be named: RFC 9110 §7.6.1 forbids options for what is "intended for all
/// recipients of the content". Transfer-Encoding is hop-by-hop, but naming it is an attempt to
/// strip the framing; nobody honest does.
const END_TO_END: u64 = Name::Host.bit()
    | Name::ContentLength.bit()
    | Name::TransferEncoding.bit()
    | Name::ContentType.bit()
    | Name::ContentEncoding.bit()
    | Name::ContentRange.bit()
    | Name::Authorization.bit()
    | Name::Cookie.bit()
    | Name::SetCookie.bit()
    | Name::CacheControl.bit()
    | Name::Date.bit()
    | Name::Expect.bit()
    | Name::Location.bit()
    | Name::Range.bit();

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> Headers {
        let mut h = Headers::new();
        for (n, v) in lines {
            h.append(n, v).unwrap();
        }
        h
    }

    fn names(h: &Headers) -> Vec<String> {
        h.iter().map(|(n, _)| String::from_utf8_lossy(n).into_owned()).collect()
    }

    #[test]
    fn fields_that_connection_names_go_too() {
        let mut h = headers(&[
            ("Host", "a"),
            ("Connection", "close, X-One"),
            ("x-one", "1"),
            ("Connection", "x-two"),
            ("X-Two", "2"),
            ("X-Three", "3"),
            ("Keep-Alive", "5"),
            ("Proxy-Connection", "keep-alive"),
            ("Upgrade", "h2c"),
            ("Transfer-Encoding", "chunked"),
            ("Trailer", "X-Sum"),
            ("TE", "gzip, Trailers;q=0.5, trailers"),
        ]);
        strip_request_hops(&mut h).unwrap();
        assert_eq!(names(&h), ["Host", "X-Three", "Trailer", "TE"]);
        assert_eq!(h.get("te"), Some(&b"trailers"[..]));
    }

    #[test]
    fn a_request_may_not_strip_end_to_end_fields() {
        for option in
            ["Host", "content-length", "Transfer-Encoding", "close, Authorization", "cookie"]
        {
            let mut h = headers(&[("Host", "a"), ("Connection", option)]);
            assert_eq!(strip_request_hops(&mut h), Err(RequestError::ConnectionOption), "{option}");
            assert_eq!(h.len(), 2);
        }
    }

    #[test]
    fn a_response_keeps_end_to_end_fields_whatever_connection_says() {
        let mut h = headers(&[
            ("Connection", "content-length, set-cookie, x-a"),
            ("Content-Length", "1"),
            ("Set-Cookie", "a=b"),
            ("X-A", "1"),
            ("X-B", "1"),
        ]);
        strip_response_hops(&mut h);
        assert_eq!(names(&h), ["Content-Length", "Set-Cookie", "X-B"]);
    }
}
