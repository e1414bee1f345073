//! PROXY headers for connections that aren't relayed as they are: probes, and requests over HTTP.

use std::net::SocketAddr;

use crate::{
    base::address::UNIX_CLIENT,
    config::ProxyVersion,
    protocol::proxy_protocol::{
        Addresses, Announcement, Transport, encode_local_v1, encode_local_v2, encode_v1, encode_v2,
    },
};

/// The header of a health probe, which speaks for itself.
#[must_use]
pub fn announce_probe(version: ProxyVersion) -> Vec<u8> {
    let mut wire = Vec::new();
    match version {
        ProxyVersion::V1 => encode_local_v1(&mut wire),
        ProxyVersion::V2 => encode_local_v2(&mut wire),
    }
    wire
}

/// What a connection of `client` that came in at `destination` is announced with over HTTP. A client
/// of a Unix socket has no address that could be told.
#[must_use]
pub fn announce_addresses(
    version: ProxyVersion,
    client: SocketAddr,
    destination: SocketAddr,
) -> Vec<u8> {
    if client.ip() == UNIX_CLIENT {
        return announce_probe(version);
    }
    let mut wire = Vec::new();
    let addresses = Addresses { source: client, destination };
    match version {
        ProxyVersion::V1 => encode_v1(&addresses, &mut wire),
        ProxyVersion::V2 => {
            let transport = Transport::Stream;
            let (alpn, authority, unique_id) = (None, None, None);
            let said = Announcement { addresses, transport, alpn, authority, unique_id };
            encode_v2(&said, &mut wire);
        }
    }
    wire
}
