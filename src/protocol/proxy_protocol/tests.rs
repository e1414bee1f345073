//! Headers that are taken, headers that are refused, and what we write ourselves.

use super::{
    Accept, Addresses, Announcement, Header, HeaderError, LENGTH_MAX, Parsed, Transport,
    encode_local_v1, encode_local_v2, encode_v1, encode_v2, parse,
};

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn addresses(source: &str, destination: &str) -> Addresses {
    Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

fn v2(ver_cmd: u8, family: u8, length: u16, rest: &[u8]) -> Vec<u8> {
    let mut wire = V2.to_vec();
    wire.extend_from_slice(&[ver_cmd, family]);
    wire.extend_from_slice(&length.to_be_bytes());
    wire.extend_from_slice(rest);
    wire
}

fn v4_block() -> Vec<u8> {
    let mut block = vec![203, 0, 113, 7, 203, 0, 113, 8];
    block.extend_from_slice(&[4, 87, 8, 174]); // 1111, 2222
    block
}

/// The whole header, after checking that every shorter piece is incomplete.
fn read(wire: &[u8]) -> (Header, usize) {
    let Ok(Parsed::Complete { header, consumed }) = parse(wire, Accept::Both) else {
        panic!("{:?}: {:?}", wire.escape_ascii().to_string(), parse(wire, Accept::Both));
    };
    for cut in 0..consumed {
        assert_eq!(parse(&wire[..cut], Accept::Both), Ok(Parsed::Incomplete), "first {cut} bytes");
    }
    (header, consumed)
}

/// The verdict, after checking that no shorter piece was taken for a header.
fn refused(wire: &[u8]) -> HeaderError {
    for cut in 0..wire.len() {
        match parse(&wire[..cut], Accept::Both) {
            Ok(Parsed::Incomplete) => {}
            Err(error) => return error,
            Ok(taken) => panic!("{:?}: {taken:?}", wire.escape_ascii().to_string()),
        }
    }
    parse(wire, Accept::Both).unwrap_err()
}

#[test]
fn lines_of_version_1() {
    let (header, consumed) = read(b"PROXY TCP4 203.0.113.7 203.0.113.8 1111 2222\r\nx");
    assert_eq!(header.addresses, Some(addresses("203.0.113.7:1111", "203.0.113.8:2222")));
    assert_eq!(consumed, 46);
    let (header, _) = read(b"PROXY TCP6 2001:db8::1 2001:db8::2 0 65535\r\n");
    assert_eq!(header.addresses, Some(addresses("[2001:db8::1]:0", "[2001:db8::2]:65535")));
    assert_eq!(read(b"PROXY UNKNOWN\r\nx").0, Header::default());
    assert_eq!(read(b"PROXY UNKNOWN what ever 1 2 3\r\n").0, Header::default());
    // The longest line of the specification.
    let longest = format!("PROXY UNKNOWN {f} {f} 65535 65535\r\n", f = "ffff:".repeat(7) + "ffff");
    assert_eq!(longest.len(), 107);
    read(longest.as_bytes());
}

#[test]
fn malformed_lines_are_refused() {
    for line in [
        "PROXY TCP4 999.1.1.1 1.1.1.1 1 2\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 99999\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 2\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 2\rx",
        "PROXY TCP4 1.1.1.1 1.1.1.1 01 2\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 +1 2\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 2 3\r\n",
        "PROXY TCP4 1.1.1.1  1.1.1.1 1 2\r\n",
        "PROXY TCP4 01.1.1.1 1.1.1.1 1 2\r\n",
        "PROXY TCP4 1.1.1 1.1.1.1 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.1.1.1 1.1.1.1 1 2\r\n",
        "PROXY TCP6 fe80::1%1 ::1 1 2\r\n",
        "PROXY TCP5 1.1.1.1 1.1.1.1 1 2\r\n",
        "PROXY UDP4 1.1.1.1 1.1.1.1 1 2\r\n",
        "PROXY  TCP4 1.1.1.1 1.1.1.1 1 2\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 2 \r\n",
        "PROXY \r\n",
        "PROXY TCP4 1.1.1.1\0 1.1.1.1 1 2\r\n",
        "PROXY unknown\r\n",
    ] {
        assert_eq!(refused(line.as_bytes()), HeaderError::LineMalformed, "{line:?}");
    }
    let long = format!("PROXY TCP4 {}\r\n", "1".repeat(200));
    assert_eq!(refused(long.as_bytes()), HeaderError::LineTooLong);
    let long = format!("PROXY UNKNOWN {}\r\n", "1".repeat(92));
    assert_eq!(long.len(), 108);
    assert_eq!(refused(long.as_bytes()), HeaderError::LineTooLong);
    for missing in
        ["GET / HTTP/1.0\r\n\r\n", "PROXX", "proxy TCP4", "\r\n\r\n\0\r\nQUIX", "\x16\x03\x01"]
    {
        assert_eq!(refused(missing.as_bytes()), HeaderError::Missing, "{missing:?}");
    }
}

#[test]
fn headers_of_version_2() {
    let (header, consumed) = read(&v2(0x21, 0x11, 12, &v4_block()));
    assert_eq!(header.addresses, Some(addresses("203.0.113.7:1111", "203.0.113.8:2222")));
    assert_eq!(consumed, 28);
    // UDP over IPv4, and bytes behind the header.
    let mut wire = v2(0x21, 0x12, 12, &v4_block());
    wire.extend_from_slice(b"payload");
    assert_eq!(read(&wire).1, 28);
    let mut block = [0; 36];
    block[15] = 1;
    block[31] = 2;
    block[32..].copy_from_slice(&[0, 1, 0, 2]);
    let (header, _) = read(&v2(0x21, 0x21, 36, &block));
    assert_eq!(header.addresses, Some(addresses("[::1]:1", "[::2]:2")));
    // No addresses to be had: LOCAL with anything, UNSPEC, Unix sockets.
    assert_eq!(read(&v2(0x20, 0, 0, b"")).0, Header::default());
    assert_eq!(read(&v2(0x20, 0xff, 3, b"\x01\xff\xff")).0, Header::default());
    assert_eq!(read(&v2(0x21, 0, 0, b"")).0, Header::default());
    assert_eq!(read(&v2(0x21, 0x31, 216, &[0; 216])).0, Header::default());
}

#[test]
fn tlvs_are_found_and_checked() {
    let mut rest = v4_block();
    rest.extend_from_slice(b"\x04\0\x02\0\0"); // NOOP
    rest.extend_from_slice(b"\x01\0\x02h2\x02\0\x06a.test\x05\0\x03id1\xea\0\x01\x09");
    let length = u16::try_from(rest.len()).unwrap();
    let wire = v2(0x21, 0x11, length, &rest);
    let (header, _) = read(&wire);
    let text = |range: &Option<std::ops::Range<usize>>| range.clone().map(|range| &wire[range]);
    assert_eq!(text(&header.alpn), Some(&b"h2"[..]));
    assert_eq!(text(&header.authority), Some(&b"a.test"[..]));
    assert_eq!(text(&header.unique_id), Some(&b"id1"[..]));
    for (tlv, error) in [
        (&b"\x01\0\x05h2"[..], HeaderError::Truncated),
        (b"\x01\0", HeaderError::Truncated),
        (b"\x01", HeaderError::Truncated),
        (b"\x01\0\0", HeaderError::TlvMalformed),
        (b"\x01\0\x02h2\x01\0\x02h3", HeaderError::TlvMalformed),
        (b"\x03\0\x02ab", HeaderError::TlvMalformed),
        (b"\x03\0\x04abcd", HeaderError::ChecksumWrong),
    ] {
        let rest = [&v4_block(), tlv].concat();
        let length = u16::try_from(rest.len()).unwrap();
        assert_eq!(refused(&v2(0x21, 0x11, length, &rest)), error, "{}", tlv.escape_ascii());
    }
    let long = [&v4_block()[..], b"\x05\0\x81", &[7; 129]].concat();
    let length = u16::try_from(long.len()).unwrap();
    assert_eq!(refused(&v2(0x21, 0x11, length, &long)), HeaderError::TlvMalformed);
}

#[test]
fn malformed_headers_are_refused_as_soon_as_they_show() {
    for (wire, error) in [
        (v2(0x31, 0x11, 12, &v4_block()), HeaderError::Unknown),
        (v2(0x2f, 0x11, 12, &v4_block()), HeaderError::Unknown),
        (v2(0x11, 0x11, 12, &v4_block()), HeaderError::Unknown),
        (v2(0x21, 0x13, 12, &v4_block()), HeaderError::Unknown),
        (v2(0x21, 0x10, 12, &v4_block()), HeaderError::Unknown),
        (v2(0x21, 0x41, 12, &v4_block()), HeaderError::Unknown),
        (v2(0x21, 0x11, 4, &[0; 4]), HeaderError::Truncated),
        (v2(0x21, 0x21, 12, &v4_block()), HeaderError::Truncated),
        (v2(0x21, 0x31, 36, &[0; 36]), HeaderError::Truncated),
        (v2(0x21, 0x11, 4097, &[]), HeaderError::TooLong),
        (v2(0x20, 0x00, u16::MAX, &[]), HeaderError::TooLong),
    ] {
        assert_eq!(refused(&wire), error, "{}", wire.escape_ascii());
    }
    const { assert!(LENGTH_MAX == 4096) };
}

#[test]
fn versions_can_be_refused() {
    let one = b"PROXY UNKNOWN\r\n";
    let two = v2(0x20, 0, 0, b"");
    assert_eq!(parse(one, Accept::V2), Err(HeaderError::VersionRefused));
    assert_eq!(parse(&two, Accept::V1), Err(HeaderError::VersionRefused));
    assert!(matches!(parse(one, Accept::V1), Ok(Parsed::Complete { consumed: 15, .. })));
    assert!(matches!(parse(&two, Accept::V2), Ok(Parsed::Complete { consumed: 16, .. })));
}

#[test]
fn what_we_write_reads_back() {
    for (source, destination, expected) in [
        ("203.0.113.7:1111", "192.0.2.1:443", None),
        ("[2001:db8::1]:5", "[2001:db8::2]:6", None),
        ("[::ffff:203.0.113.7]:1111", "192.0.2.1:443", Some("203.0.113.7:1111")),
        ("203.0.113.7:1111", "[2001:db8::2]:6", Some("[::ffff:203.0.113.7]:1111")),
    ] {
        let given = addresses(source, destination);
        let source = expected.unwrap_or(source).parse().unwrap();
        let mut line = Vec::new();
        encode_v1(&given, &mut line);
        assert!(line.len() <= 107);
        let (header, consumed) = read(&line);
        assert_eq!((header.addresses.unwrap().source, consumed), (source, line.len()));
        for (alpn, authority, unique_id) in [
            (None, None, None),
            (Some(&b"h2"[..]), Some(&b"a.test"[..]), Some(&b"0123"[..])),
            (Some(&[][..]), None, Some(&[1; 129][..])),
        ] {
            let transport = Transport::Stream;
            let said = Announcement { addresses: given, transport, alpn, authority, unique_id };
            let mut wire = b"before".to_vec();
            encode_v2(&said, &mut wire);
            let wire = &wire[6..];
            let (header, consumed) = read(wire);
            assert_eq!((header.addresses.unwrap().source, consumed), (source, wire.len()));
            let fits = |value: Option<&[u8]>| value.is_some_and(|v| !v.is_empty() && v.len() < 129);
            assert_eq!(header.alpn.is_some(), fits(alpn));
            assert_eq!(header.unique_id.is_some(), fits(unique_id));
            // Every flipped bit behind the fixed part is noticed.
            for at in 16..wire.len() {
                let mut damaged = wire.to_vec();
                damaged[at] ^= 0x10;
                let verdict = parse(&damaged, Accept::Both);
                assert!(!matches!(verdict, Ok(Parsed::Complete { .. })) || tlv_renamed(wire, at));
            }
        }
    }
}

/// Flipping a bit of the checksum's own type makes it an unknown TLV, which guards nothing.
fn tlv_renamed(wire: &[u8], at: usize) -> bool {
    at == wire.len() - 7
}

#[test]
fn our_own_probes_are_announced_as_such() {
    let mut wire = Vec::new();
    encode_local_v1(&mut wire);
    assert_eq!(read(&wire), (Header::default(), 15));
    wire.clear();
    encode_local_v2(&mut wire);
    assert_eq!(read(&wire), (Header::default(), 16));
    wire.clear();
    let said = Announcement {
        addresses: addresses("192.0.2.1:53", "192.0.2.2:53"),
        transport: Transport::Datagram,
        alpn: None,
        authority: None,
        unique_id: None,
    };
    encode_v2(&said, &mut wire);
    assert_eq!(wire[13], 0x12, "UDP over IPv4");
}
