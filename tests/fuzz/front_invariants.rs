//! What must hold of any bytes at the front of a connection; shared by the seeded run and by
//! libFuzzer.
//!
//! - Nothing panics, and the verdict doesn't depend on how the wire cut the bytes.
//! - Once refused, more bytes don't make it accepted; a header is taken at its own end, not before.
//! - What is taken lies within its bounds, and what we write of it reads the same.

use ringway::protocol::{
    client_hello::{HELLO_MAX, Sniffer},
    proxy_protocol::{
        Accept, Announcement, HEADER_MAX, Parsed, Transport, encode_v1, encode_v2, parse,
    },
};

/// Judges `wire` as the beginning of a connection with a PROXY header; true if it was accepted.
pub(crate) fn check_proxy_header(wire: &[u8]) -> bool {
    let whole = parse(wire, Accept::Both);
    let mut is_refused = false;
    for cut in 0..=wire.len().min(HEADER_MAX + 8) {
        match parse(&wire[..cut], Accept::Both) {
            Ok(Parsed::Incomplete) => assert!(!is_refused, "{cut} bytes revive it"),
            Ok(Parsed::Complete { consumed, .. }) => {
                assert!(consumed <= cut && !is_refused);
                assert_eq!(parse(&wire[..consumed], Accept::Both), whole);
            }
            Err(error) => {
                is_refused = true;
                assert_eq!(whole, Err(error), "more bytes change the verdict");
            }
        }
    }
    let Ok(Parsed::Complete { header, consumed }) = whole else { return false };
    assert!(consumed <= HEADER_MAX && consumed <= wire.len());
    let part = |range: &Option<std::ops::Range<usize>>| range.clone().map(|range| &wire[range]);
    let (alpn, authority, unique_id) =
        (part(&header.alpn), part(&header.authority), part(&header.unique_id));
    let Some(addresses) = header.addresses else { return true };
    let mut again = Vec::new();
    let transport = Transport::Stream;
    encode_v2(&Announcement { addresses, transport, alpn, authority, unique_id }, &mut again);
    let Ok(Parsed::Complete { header: second, consumed }) = parse(&again, Accept::V2) else {
        panic!("what was written isn't taken: {}", again.escape_ascii());
    };
    assert_eq!(consumed, again.len());
    let same = |one: std::net::SocketAddr, other: std::net::SocketAddr| {
        assert_eq!(one.ip().to_canonical(), other.ip().to_canonical());
        assert_eq!(one.port(), other.port());
    };
    let taken = second.addresses.unwrap();
    same(taken.source, addresses.source);
    same(taken.destination, addresses.destination);
    let read = |range: &Option<std::ops::Range<usize>>| range.clone().map(|range| &again[range]);
    assert_eq!((read(&second.alpn), read(&second.authority)), (alpn, authority));
    assert_eq!(read(&second.unique_id), unique_id);
    again.clear();
    encode_v1(&addresses, &mut again);
    assert!(
        matches!(parse(&again, Accept::V1), Ok(Parsed::Complete { consumed, .. }) if consumed == again.len())
    );
    true
}

/// Judges `wire` as the beginning of a TLS connection; true if a ClientHello was found.
pub(crate) fn check_client_hello(wire: &[u8]) -> bool {
    let whole = Sniffer::new().push(wire);
    for segment in [1, 3, 1000] {
        let mut sniffer = Sniffer::new();
        let mut verdict = Ok(None);
        for piece in wire.chunks(segment) {
            verdict = sniffer.push(piece);
            if verdict != Ok(None) {
                break;
            }
        }
        assert_eq!(verdict, whole, "segments of {segment}");
    }
    assert!(wire.len() <= HELLO_MAX || whole != Ok(None), "it waits for more than the bound");
    let Ok(Some(hello)) = whole else { return false };
    if let Some(name) = hello.server_name {
        assert!(!name.is_empty() && name.len() <= 253 && name == name.to_ascii_lowercase());
    }
    assert!(hello.alpn.iter().all(|name| !name.is_empty() && name.len() <= 255));
    true
}
