//! What of a request a hashing balancer goes by.

use super::request::Request;
use crate::{balance::Key, config::HashKey, protocol::http::Headers, upstream::Pool};

/// The key of `req` for the balancer of `pool`; none when that doesn't hash.
pub(super) fn of(req: &Request, pool: &Pool) -> Option<Key> {
    if !pool.wants_key() {
        return None;
    }
    // A balancer of a program's own may stand in the place of one without a key.
    let Some(key) = pool.upstream().config.balance.key() else {
        return Some(Key::of_ip(req.client_ip()));
    };
    let found = match key {
        HashKey::SourceIp => None,
        HashKey::Path => Some(req.path().as_bytes()),
        HashKey::Header(name) => req.headers.get(name),
        HashKey::Cookie(name) => cookie(&req.headers, name),
        HashKey::Query(name) => req.query().and_then(|query| parameter(query, name)),
    };
    // Without its key a request goes by its client: all such requests on one endpoint would be a
    // way to overload it.
    Some(found.map_or_else(|| Key::of_ip(req.client_ip()), Key::of))
}

/// The first cookie of that name (RFC 6265 §4.2), quotes included.
fn cookie<'r>(headers: &'r Headers, name: &str) -> Option<&'r [u8]> {
    headers.get_all("cookie").find_map(|field| {
        field.split(|byte| *byte == b';').find_map(|pair| {
            let rest = pair.trim_ascii_start().strip_prefix(name.as_bytes())?;
            rest.strip_prefix(b"=").map(<[u8]>::trim_ascii_end)
        })
    })
}

/// The first parameter of that name; percent encoding is left as it is.
fn parameter<'r>(query: &'r str, name: &str) -> Option<&'r [u8]> {
    query.split('&').find_map(|pair| match pair.split_once('=') {
        Some((key, value)) => (key == name).then_some(value.as_bytes()),
        None => (pair == name).then_some(&b""[..]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let mut headers = Headers::new();
        headers.append("cookie", "xsid=1; sid2=2").unwrap();
        headers.append("cookie", " a=b;sid=three ; sid=4").unwrap();
        assert_eq!(cookie(&headers, "sid"), Some(&b"three"[..]));
        assert_eq!(cookie(&headers, "sid2"), Some(&b"2"[..]));
        assert_eq!(cookie(&headers, "b"), None);
    }

    #[test]
    fn parameters_are_found_by_their_whole_name() {
        let query = "ab=1&a=&b&a=2";
        assert_eq!(parameter(query, "a"), Some(&b""[..]));
        assert_eq!(parameter(query, "b"), Some(&b""[..]));
        assert_eq!(parameter(query, "ab"), Some(&b"1"[..]));
        assert_eq!(parameter(query, "c"), None);
    }
}
