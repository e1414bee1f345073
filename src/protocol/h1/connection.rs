//! What a head wishes for its connection: persistence, upgrade, 100-continue.
//!
//! Read these before `http::strip_request_hops`, which removes the fields they stand on.

use crate::protocol::http::chars::is_token_byte;
use crate::protocol::http::list::{Persistence, elements, lists};
use crate::protocol::http::{Headers, Name, RequestHead, ResponseHead, Version};

/// Whether the client wants the connection kept (RFC 9112 §9.3).
#[inline]
pub fn request_keeps_alive(head: &RequestHead) -> bool {
    keeps_alive(&head.headers, head.version)
}

/// Whether the upstream keeps the connection. The caller also asks whether the body ends
/// otherwise than by closing, and whether any byte came after it.
///
/// A 204 or 1xx that declares a body (which RFC 9112 §6.1 forbids) counts as not persistent: we
/// read no body, and what the upstream may send of one mustn't meet the next exchange.
#[inline]
pub fn response_keeps_alive(head: &ResponseHead) -> bool {
    keeps_alive(&head.headers, head.version) && !declares_forbidden_body(head)
}

fn keeps_alive(headers: &Headers, version: Version) -> bool {
    let mut keeps = version != Version::Http10;
    if !headers.may_hold(Name::Connection.bit()) {
        return keeps;
    }
    for value in headers.get_all_known(Name::Connection) {
        match Persistence::of(value) {
            Some(Persistence::Close) => return false,
            Some(Persistence::KeepAlive) => keeps = true,
            None if lists(value, "close") => return false,
            None => keeps = keeps || lists(value, "keep-alive"),
        }
    }
    keeps
}

fn declares_forbidden_body(head: &ResponseHead) -> bool {
    let bodiless = head.status.is_informational() || head.status.code() == 204;
    bodiless
        && (head.headers.get_known(Name::TransferEncoding).is_some()
            || head.headers.get_known(Name::ContentLength).is_some_and(|value| value != b"0"))
}

/// The protocols that the client asks to change to (the Upgrade value), if it may be obeyed.
///
/// `None` without `Connection: upgrade`, in HTTP/1.0 (RFC 9110 §7.8), with several Upgrade lines
/// or a malformed one, and whenever HTTP itself is among the protocols: a tunnelled `h2c` would
/// carry requests past every filter (h2c smuggling). Ignoring Upgrade is always allowed.
pub fn upgrade_requested(head: &RequestHead) -> Option<&[u8]> {
    if head.version == Version::Http10 || !head.headers.may_hold(Name::Upgrade.bit()) {
        return None;
    }
    let mut values = head.headers.get_all_known(Name::Upgrade);
    let protocols = values.next()?;
    if values.next().is_some() || elements(protocols).next().is_none() {
        return None;
    }
    let wanted = head.headers.get_all_known(Name::Connection).any(|value| lists(value, "upgrade"));
    (wanted && elements(protocols).all(is_tunnelable)).then_some(protocols)
}

/// `token ["/" token]` that isn't a version of HTTP.
fn is_tunnelable(protocol: &[u8]) -> bool {
    let name = protocol.split(|&b| b == b'/').next().unwrap_or(protocol);
    let http =
        [&b"h2c"[..], b"h2", b"h3", b"http"].iter().any(|own| name.eq_ignore_ascii_case(own));
    !http && !name.is_empty() && protocol.iter().all(|&b| is_token_byte(b) || b == b'/')
}

/// Whether the client waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1).
#[inline]
pub fn expects_continue(head: &RequestHead) -> bool {
    head.version != Version::Http10
        && head.headers.may_hold(Name::Expect.bit())
        && head.headers.get_all_known(Name::Expect).any(|value| lists(value, "100-continue"))
}
