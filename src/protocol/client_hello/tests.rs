//! Hellos in one piece and in many, with everything that clients put into them, and broken ones.

use super::{ClientHello, HELLO_MAX, HelloError, Sniffer};

/// A ClientHello's message with these extensions.
fn message(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    body.push(32);
    body.extend_from_slice(&[8; 32]);
    body.extend_from_slice(&[0, 4, 0x5a, 0x5a, 0x13, 0x01, 1, 0]);
    let mut all = Vec::new();
    for (kind, content) in extensions {
        all.extend_from_slice(&kind.to_be_bytes());
        all.extend_from_slice(&block16(content));
    }
    body.extend_from_slice(&block16(&all));
    handshake(1, &body)
}

fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    message[0] = kind;
    message.extend_from_slice(body);
    message
}

fn block16(content: &[u8]) -> Vec<u8> {
    let mut block = u16::try_from(content.len()).unwrap().to_be_bytes().to_vec();
    block.extend_from_slice(content);
    block
}

/// The message in records of at most `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    for piece in message.chunks(size) {
        wire.extend_from_slice(&[22, 3, 1]);
        wire.extend_from_slice(&block16(piece));
    }
    wire
}

fn sni(name: &[u8]) -> (u16, Vec<u8>) {
    (0, block16(&[&[0][..], &block16(name)].concat()))
}

fn alpn(names: &[&[u8]]) -> (u16, Vec<u8>) {
    let list: Vec<u8> = names
        .iter()
        .flat_map(|name| [&[u8::try_from(name.len()).unwrap()], *name].concat())
        .collect();
    (16, block16(&list))
}

fn read(wire: &[u8]) -> Result<Option<ClientHello>, HelloError> {
    Sniffer::new().push(wire)
}

/// A client of today: GREASE, a hybrid key share of 1216 bytes, ECH, padding.
fn modern() -> Vec<u8> {
    let mut key_share = block16(&[0x5a; 1]);
    key_share.extend_from_slice(&[0x11, 0xec]);
    key_share.extend_from_slice(&block16(&[9; 1216]));
    message(&[
        (0x2a2a, vec![]),
        (51, block16(&key_share)),
        sni(b"WWW.Example.com"),
        (0xfe0d, vec![0; 281]),
        alpn(&[b"\x1a\x1a", b"h2", b"http/1.1"]),
        (0xcaca, vec![0]),
        (21, vec![0; 200]),
    ])
}

fn expected() -> ClientHello {
    ClientHello {
        server_name: Some("www.example.com".into()),
        alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        has_ech: true,
    }
}

#[test]
fn a_modern_client_is_understood_however_it_is_cut() {
    let message = modern();
    for record in [16_384, 1400, 100, 7, 1] {
        let mut wire = records(&message, record);
        let whole = wire.len();
        wire.extend_from_slice(b"\x14\x03\x03\0\x01\x01early data");
        for segment in [usize::MAX, 1460, 536, 13, 1] {
            let mut sniffer = Sniffer::new();
            let mut at = 0_usize;
            let hello = loop {
                let end = at.saturating_add(segment).min(wire.len());
                match sniffer.push(&wire[at..end]).unwrap() {
                    Some(hello) => break hello,
                    None => assert!(end < whole, "records of {record}, segments of {segment}"),
                }
                at = end;
            };
            assert_eq!(hello, expected(), "records of {record}, segments of {segment}");
        }
    }
}

#[test]
fn a_client_may_say_nothing() {
    assert_eq!(read(&records(&message(&[]), 9999)), Ok(Some(ClientHello::default())));
    // Without any extensions block, as old clients do.
    let mut body = vec![3, 1];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&[0, 0, 2, 0, 0x2f, 1, 0]);
    assert_eq!(read(&records(&handshake(1, &body), 9999)), Ok(Some(ClientHello::default())));
    // A name of an unknown kind only.
    let other = (0, block16(&[&[7][..], &block16(b"x")].concat()));
    assert_eq!(read(&records(&message(&[other]), 9999)).unwrap().unwrap().server_name, None);
}

#[test]
fn what_is_no_tls_is_refused_at_once() {
    for (wire, error) in [
        (&b"G"[..], HelloError::NotTls),
        (b"\x80", HelloError::NotTls), // SSL 2.0
        (b"\x15", HelloError::NotTls), // an alert
        (b"\x16\x02", HelloError::NotTls),
        (b"\x16\x03\x01\0\0", HelloError::RecordLength),
        (b"\x16\x03\x01\x40\x01", HelloError::RecordLength),
        (b"\x16\x03\x01\0\x05\x02", HelloError::NotClientHello),
        (b"\x16\x03\x01\0\x05\x01\0\0\0", HelloError::Malformed),
        (b"\x16\x03\x01\0\x05\x01\x01\0\0", HelloError::TooLong),
    ] {
        assert_eq!(read(wire), Err(error), "{}", wire.escape_ascii());
        // Byte by byte it is the same verdict, and not a byte later.
        let mut sniffer = Sniffer::new();
        let verdicts: Vec<_> = wire.iter().map(|byte| sniffer.push(&[*byte])).collect();
        assert_eq!(verdicts.last(), Some(&Err(error)), "{}", wire.escape_ascii());
        assert!(verdicts.iter().rev().skip(1).all(|verdict| *verdict == Ok(None)));
    }
}

#[test]
fn contradicting_lengths_are_refused() {
    let good = message(&[sni(b"a.test"), alpn(&[b"h2"])]);
    // The message's own length is adapted, so that each cut is one inside.
    for cut in 4..good.len() {
        let body = &good[4..cut];
        let verdict = read(&records(&handshake(1, body), 9999));
        let is_bare = cut == 4 + 2 + 32 + 1 + 32 + 6 + 2;
        assert_eq!(verdict.is_err(), !is_bare, "cut to {cut}: {verdict:?}");
    }
    let longer = [&good[4..], b"x"].concat();
    assert_eq!(read(&records(&handshake(1, &longer), 9999)), Err(HelloError::Malformed));
    for (what, extensions) in [
        ("two names", vec![sni(b"a.test"), sni(b"b.test")]),
        ("two lists", vec![alpn(&[b"h2"]), alpn(&[b"h2"])]),
        ("two ECH", vec![(0xfe0d, vec![1]), (0xfe0d, vec![1])]),
        ("empty name list", vec![(0, vec![0, 0])]),
        ("empty name extension", vec![(0, vec![])]),
        ("empty protocol", vec![alpn(&[b"h2", b""])]),
        ("empty protocol list", vec![(16, vec![0, 0])]),
        ("bytes behind the list", vec![(16, vec![0, 3, 2, b'h', b'2', 0])]),
    ] {
        let verdict = read(&records(&message(&extensions), 9999));
        assert_eq!(verdict, Err(HelloError::Malformed), "{what}");
    }
    let twice = block16(&[&[0][..], &block16(b"a"), &[0], &block16(b"b")].concat());
    assert_eq!(read(&records(&message(&[(0, twice)]), 9999)), Err(HelloError::Malformed));
}

#[test]
fn names_are_host_names() {
    for name in [&b""[..], b"a b", b"a\0b", b"a/b", b"\xc3\xa4.test", &[b'a'; 254]] {
        let verdict = read(&records(&message(&[sni(name)]), 9999));
        assert_eq!(verdict, Err(HelloError::NameInvalid), "{}", name.escape_ascii());
    }
    let longest = [b'A'; 253];
    let hello = read(&records(&message(&[sni(&longest)]), 9999)).unwrap().unwrap();
    assert_eq!(hello.server_name, Some("a".repeat(253)));
}

#[test]
fn what_is_looked_at_is_bounded() {
    // One that fits exactly into the bound, and one that is a byte too long.
    let empty = records(&message(&[(21, vec![])]), 1 << 14).len();
    let room = HELLO_MAX - empty;
    let fits = records(&message(&[(21, vec![0; room])]), 1 << 14);
    assert_eq!(fits.len(), HELLO_MAX);
    assert_eq!(read(&fits), Ok(Some(ClientHello::default())));
    let over = records(&message(&[(21, vec![0; room + 1])]), 1 << 14);
    assert_eq!(read(&over), Err(HelloError::TooLong));
    // Records of one byte: their heads count, too.
    let mut sniffer = Sniffer::new();
    let wire = records(&message(&[(21, vec![0; 8000])]), 1);
    assert!(wire.len() > HELLO_MAX);
    let mut fed = 0;
    let verdict = loop {
        match sniffer.push(&wire[fed..=fed]) {
            Ok(None) => fed += 1,
            verdict => break verdict,
        }
    };
    assert_eq!((verdict, fed), (Err(HelloError::TooLong), HELLO_MAX));
}
