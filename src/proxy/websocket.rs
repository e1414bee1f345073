//! WebSocket over any two versions of HTTP.
//!
//! Between the two edges a handshake has the form that HTTP/1.1 gives it, so that filters, routes
//! and logs see the same whoever asks and whoever answers. Each edge of HTTP/2 translates:
//!
//! ```text
//!   client, HTTP/2      CONNECT, :protocol ─▶ from_connect ─▶ GET, Upgrade, key
//!                                 200 ◀─ to_consent ◀─ 101, Upgrade, answer
//!   endpoint, HTTP/2      GET, Upgrade, key ─▶ to_connect ─▶ CONNECT, :protocol
//!                           101, Upgrade, answer ◀─ to_switch ◀─ 200
//! ```

use super::{
    client::RequestId, error::Error, recycle::Pooled, request::Request, response::Response,
};
use crate::{
    base::random,
    protocol::{
        http::{Method, Name, RequestHead, ResponseHead, Status},
        websocket::{self, ACCEPT, KEY, PROTOCOL},
    },
};

/// Makes a client's extended CONNECT (RFC 8441) the request that it would be over HTTP/1.1.
///
/// # Errors
/// [`Error::ConnectRefused`] for a CONNECT that isn't extended, [`Error::NotSwitched`] for any
/// protocol but WebSocket, as RFC 9220 §3 has it.
pub(super) fn from_connect(head: &mut RequestHead, id: RequestId) -> Result<(), Error> {
    let protocol = head.protocol().ok_or(Error::ConnectRefused)?;
    if !websocket::is_websocket(protocol.as_bytes()) {
        return Err(Error::NotSwitched);
    }
    head.method = Method::Get;
    head.set_protocol(None).map_err(|error| Error::Internal(error.to_string()))?;
    head.headers.set(KEY, websocket::key(nonce(id)))?;
    Ok(())
}

/// Sixteen octets of a request's own.
fn nonce(id: RequestId) -> [u8; 16] {
    let seed = id.text().bytes().fold(0_u64, |seed, byte| seed.rotate_left(5) ^ u64::from(byte));
    let (next, first) = random::step(seed);
    let (_, second) = random::step(next);
    (u128::from(first) << 64 | u128::from(second)).to_be_bytes()
}

/// Whether `req`, as it goes to an endpoint, asks for WebSocket and brings nothing else.
pub(super) fn is_asked(req: &Request) -> bool {
    let protocol = req.headers.get_known(Name::Upgrade);
    req.method == Method::Get && protocol.is_some_and(websocket::is_websocket)
}

/// The extended CONNECT for an endpoint of HTTP/2.
///
/// # Errors
/// The handshake has no key, so that no answer could be made of the endpoint's consent.
pub(super) fn to_connect(req: &Request) -> Result<Pooled<RequestHead>, Error> {
    key_of(req)?;
    let mut head = Pooled::<RequestHead>::take();
    head.clone_from(req.head());
    head.method = Method::Connect;
    head.set_protocol(Some(PROTOCOL)).map_err(|error| Error::Internal(error.to_string()))?;
    head.headers.remove(KEY);
    Ok(head)
}

/// Makes an endpoint's consent to an extended CONNECT the `101` that answers `req`.
///
/// # Errors
/// As [`to_connect`].
pub(super) fn to_switch(req: &Request, head: &mut ResponseHead) -> Result<(), Error> {
    let answer = websocket::accept(key_of(req)?);
    head.set_status(Status::SWITCHING_PROTOCOLS);
    head.headers.set_known(Name::Upgrade, PROTOCOL)?;
    head.headers.set(ACCEPT, answer)?;
    Ok(())
}

/// Makes the `101` that answers `req` the `200` that a client of HTTP/2 reads.
///
/// # Errors
/// [`Error::BadHandshake`]: the answer isn't the key's, so that it may be to something else
/// (RFC 6455 §4.1).
pub(super) fn to_consent(req: &Request, response: &mut Response) -> Result<(), Error> {
    let answer = websocket::accept(key_of(req)?);
    if response.headers.get(ACCEPT) != Some(answer.as_bytes()) {
        return Err(Error::BadHandshake);
    }
    response.set_status(Status::OK);
    response.headers.remove(ACCEPT);
    Ok(())
}

fn key_of(req: &Request) -> Result<&[u8], Error> {
    let reason = "a WebSocket handshake needs Sec-WebSocket-Key";
    req.headers.get(KEY).ok_or_else(|| Error::rejected(Status::BAD_REQUEST, reason))
}
