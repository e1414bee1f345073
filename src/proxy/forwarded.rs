//! Who the client is behind trusted proxies, and what the next hop is told of it.
//!
//! Forwarding fields are believed only from `trusted_proxies`, and then from the right: each proxy
//! appends the address it saw, so the rightmost address that is not a trusted proxy's own is the
//! client. Fields of an untrusted client are removed, never passed on.

use std::net::{IpAddr, SocketAddr};

use super::{client::Scheme, connection::ListenerRules, error::Error, request::Request};
use crate::{
    config::Forwarded,
    protocol::http::{
        Headers, Name, RequestHead,
        forwarded::{self, AddressText, Element, append_forwarded, append_x_forwarded_for},
    },
};

/// What a request says of itself, as far as it is believed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    pub(super) ip: IpAddr,
    pub(super) scheme: Scheme,
    pub(super) is_trusted: bool,
}

/// Who sent `head` over a connection from `address` that was made by `scheme`.
pub(super) fn client(
    head: &RequestHead,
    (address, scheme): (SocketAddr, Scheme),
    listener: &ListenerRules,
) -> Client {
    let nearest = address.ip().to_canonical();
    let is_trusted = |ip| listener.trusted_proxies.iter().any(|block| block.contains(ip));
    if listener.trusted_proxies.is_empty() || !is_trusted(nearest) {
        return Client { ip: nearest, scheme, is_trusted: false };
    }
    let headers = &head.headers;
    let (ip, proto) = if listener.forwarded == Forwarded::Rfc7239 {
        let values: Vec<_> = headers.get_all_known(Name::Forwarded).collect();
        let hops = forwarded::forwarded_for(values.iter().copied());
        let nearest_hop = values.last().and_then(|value| value.rsplit(|&byte| byte == b',').next());
        let proto = nearest_hop.and_then(|hop| Element::parse(hop.trim_ascii())?.proto);
        (forwarded::client(nearest, hops, is_trusted), proto)
    } else {
        let values: Vec<_> = headers.get_all_known(Name::XForwardedFor).collect();
        let hops = forwarded::x_forwarded_for(values.iter().copied());
        let proto = headers.get_known(Name::XForwardedProto);
        (forwarded::client(nearest, hops, is_trusted), proto)
    };
    let scheme = match proto {
        None => scheme,
        Some(proto) if proto.eq_ignore_ascii_case(b"https") => Scheme::Https,
        Some(_) => Scheme::Http,
    };
    Client { ip, scheme, is_trusted: true }
}

/// Writes the forwarding fields that the next hop gets.
pub(super) fn apply(req: &mut Request) -> Result<(), Error> {
    remove_lookalikes(&mut req.headers, &OURS);
    let mode = req.arrival.listener.forwarded;
    let is_trusted = req.arrival.is_trusted;
    let sends_x = matches!(mode, Forwarded::XForwarded | Forwarded::Both);
    let sends_rfc = matches!(mode, Forwarded::Rfc7239 | Forwarded::Both);
    if !is_trusted || !sends_x {
        for name in [Name::XForwardedFor, Name::XForwardedProto, Name::XForwardedHost] {
            req.headers.remove_known(name);
        }
    }
    if !is_trusted || !sends_rfc {
        req.headers.remove_known(Name::Forwarded);
    }
    let mut text = req.arrival.shard_text();
    if sends_x {
        x_forwarded(req, &mut text)?;
    }
    if sends_rfc {
        rfc7239(req, &mut text)?;
    }
    req.arrival.give_shard_text(text);
    Ok(())
}

fn x_forwarded(req: &mut Request, text: &mut String) -> Result<(), Error> {
    let client = req.arrival.client.ip();
    if req.headers.get_known(Name::XForwardedFor).is_none() {
        req.headers.append_valid(Name::XForwardedFor, AddressText::new(client))?;
    } else {
        join(req, Name::XForwardedFor, text);
        append_x_forwarded_for(text, client);
        req.headers.set_known(Name::XForwardedFor, &text)?;
    }
    if req.headers.get_known(Name::XForwardedProto).is_none() {
        let scheme = req.scheme().as_str();
        req.headers.append_valid(Name::XForwardedProto, scheme)?;
    }
    if req.headers.get_known(Name::XForwardedHost).is_none() {
        req.headers.append_copy(Name::XForwardedHost, Name::Host)?;
    }
    Ok(())
}

fn rfc7239(req: &mut Request, text: &mut String) -> Result<(), Error> {
    join(req, Name::Forwarded, text);
    let host = req.headers.get_known(Name::Host).and_then(|host| std::str::from_utf8(host).ok());
    append_forwarded(text, req.arrival.client.ip(), host, req.scheme().as_str());
    req.headers.set_known(Name::Forwarded, &text)?;
    Ok(())
}

/// Removes fields whose name an endpoint may take for one of `ours`, which are in lower case:
/// CGI and what descends from it read `X_Forwarded_For` and `X.Forwarded.For` as `X-Forwarded-For`.
pub(super) fn remove_lookalikes(headers: &mut Headers, ours: &[&str]) {
    let is_lookalike = |name: &[u8]| ours.iter().any(|own| looks_like(name, own.as_bytes()));
    // Looking costs a comparison of lengths a field; there is hardly ever one.
    if headers.iter().any(|(name, _)| is_lookalike(name)) {
        headers.retain(|name, _| !is_lookalike(name));
    }
}

/// Whether `name` isn't `own` but differs from it in case and in what is neither letter nor digit
/// only.
fn looks_like(name: &[u8], own: &[u8]) -> bool {
    let same = |(&a, &b): (&u8, &u8)| {
        a.eq_ignore_ascii_case(&b) || !(a.is_ascii_alphanumeric() || b.is_ascii_alphanumeric())
    };
    name.len() == own.len() && !name.eq_ignore_ascii_case(own) && name.iter().zip(own).all(same)
}

/// What endpoints believe when it comes from us.
const OURS: [&str; 3] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];

/// Writes what earlier hops said, as one list.
fn join(req: &Request, name: Name, text: &mut String) {
    text.clear();
    for value in req.headers.get_all_known(name) {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&String::from_utf8_lossy(value));
    }
}
