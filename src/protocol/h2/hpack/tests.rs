//! HPACK against the examples of RFC 7541 appendix C, and against itself.

use super::{Decoder, Encoder, Field, Fields, HpackError};
use crate::protocol::http::Name;

/// Collects what a decoder gives.
#[derive(Debug, Default, PartialEq, Eq)]
struct List(Vec<(String, String)>);

impl Fields for List {
    fn field(&mut self, field: Field<'_>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.0.push((text(field.name), text(field.value)));
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, HpackError> {
    let mut list = List::default();
    decoder.decode(block, &mut list).map(|()| list.0)
}

/// Decodes a chain of blocks and compares fields.
#[track_caller]
fn check(decoder: &mut Decoder, blocks: &[(&str, &[(&str, &str)])]) {
    for (block, fields) in blocks {
        let expected: Vec<_> =
            fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        assert_eq!(decode(decoder, &hex(block)), Ok(expected), "{block}");
    }
}

/// Appendix C.2: each representation alone.
#[test]
fn the_representations_of_appendix_c_2() {
    let cases: [(&str, &[(&str, &str)]); 4] = [
        (
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            &[("custom-key", "custom-header")],
        ),
        ("040c 2f73 616d 706c 652f 7061 7468", &[(":path", "/sample/path")]),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", &[("password", "secret")]),
        ("82", &[(":method", "GET")]),
    ];
    for case in cases {
        check(&mut Decoder::new(), &[case]);
    }
}

const REQUESTS: [&[(&str, &str)]; 3] = [
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")],
    &[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
        ("cache-control", "no-cache"),
    ],
    &[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ],
];

/// Appendix C.3 and C.4.
#[test]
fn the_requests_of_appendix_c_3_and_4() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let huffman = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for blocks in [plain, huffman] {
        let mut decoder = Decoder::new();
        for (block, fields) in blocks.iter().zip(REQUESTS) {
            check(&mut decoder, &[(block, fields)]);
        }
        assert_eq!((decoder.table().len(), decoder.table().size()), (3, 164));
    }
}

const RESPONSES: [&[(&str, &str)]; 3] = [
    &[
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ],
    &[
        (":status", "307"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ],
    &[
        (":status", "200"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        ("location", "https://www.example.com"),
        ("content-encoding", "gzip"),
        ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    ],
];

/// Appendix C.5 and C.6: a table of 256 octets, so that entries are evicted.
#[test]
fn the_responses_of_appendix_c_5_and_6() {
    let plain = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133
         2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70
         6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d
         54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049
         5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e
         3d31",
    ];
    let huffman = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6
         2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab
         77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f
         9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    for blocks in [plain, huffman] {
        let mut decoder = Decoder::new();
        // The examples begin with tables of 256 octets: said by a size update here.
        assert_eq!(decode(&mut decoder, &hex("3f e1 01")), Ok(Vec::new()));
        for ((block, fields), size) in blocks.iter().zip(RESPONSES).zip([222, 222, 215]) {
            check(&mut decoder, &[(block, fields)]);
            assert_eq!(decoder.table().size(), size);
        }
    }
}

/// Our own Huffman coding gives the examples' octets.
#[test]
fn huffman_strings_are_those_of_appendix_c() {
    for (text, code) in [
        ("www.example.com", "f1e3 c2e5 f23a 6ba0 ab90 f4ff"),
        ("no-cache", "a8eb 1064 9cbf"),
        ("custom-key", "25a8 49e9 5ba9 7d7f"),
        ("custom-value", "25a8 49e9 5bb8 e8b4 bf"),
        ("302", "6402"),
        ("Mon, 21 Oct 2013 20:13:21 GMT", "d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff"),
    ] {
        let mut out = Vec::new();
        super::huffman::encode(text.as_bytes(), &mut out);
        assert_eq!(out, hex(code), "{text}");
    }
}

#[test]
fn broken_blocks_are_errors() {
    for (block, error) in [
        ("80", HpackError::IndexInvalid),
        ("be", HpackError::IndexInvalid),
        ("ff00", HpackError::IndexInvalid),
        ("7e 01 61", HpackError::IndexInvalid),
        ("0f 2f 01 61", HpackError::IndexInvalid),
        ("40 0a 61", HpackError::Truncated),
        ("40 01 61", HpackError::Truncated),
        ("ff 80 80 80 80 80 80", HpackError::IntegerTooLarge),
        ("3f e2 1f", HpackError::SizeUpdateTooLarge),
        ("82 20", HpackError::SizeUpdateMisplaced),
        ("00 81 ff 00", HpackError::Huffman),
    ] {
        assert_eq!(decode(&mut Decoder::new(), &hex(block)), Err(error), "{block}");
    }
}

/// §4.2: after a lower limit was acknowledged, the next block says that it was heard.
#[test]
fn a_lowered_limit_has_to_be_signalled() {
    let mut decoder = Decoder::new();
    decoder.set_size_max(100);
    assert_eq!(decode(&mut decoder, &hex("82")), Err(HpackError::SizeUpdateMissing));
    let mut decoder = Decoder::new();
    decoder.set_size_max(100);
    assert!(decode(&mut decoder, &hex("3f 45 82")).is_ok());
    assert!(decode(&mut decoder, &hex("82")).is_ok());
}

/// An entry may be named by the one that it evicts.
#[test]
fn the_name_of_an_evicted_entry_survives_its_eviction() {
    let mut decoder = Decoder::new();
    decode(&mut decoder, &hex("3f 09")).unwrap();
    assert_eq!(decode(&mut decoder, &hex("40 01 61 01 31")).unwrap(), [("a".into(), "1".into())]);
    assert_eq!(decode(&mut decoder, &hex("7e 02 32 32")).unwrap(), [("a".into(), "22".into())]);
    assert_eq!(decode(&mut decoder, &hex("be")).unwrap(), [("a".into(), "22".into())]);
}

fn encode(encoder: &mut Encoder, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    for (name, value) in fields {
        encoder.field(Name::of(name.as_bytes()), name.as_bytes(), value.as_bytes(), &mut out);
    }
    out
}

#[test]
fn what_repeats_becomes_an_index_and_what_doesnt_never_enters_the_table() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let mut sizes = Vec::new();
    for n in 0..200 {
        let id = format!("{n:032}");
        let fields = [
            ("content-type", "application/grpc"),
            ("x-kind", "a thing that is always the same"),
            ("x-request-id", id.as_str()),
            ("x-trace", id.as_str()),
        ];
        let block = encode(&mut encoder, &fields);
        let expected: Vec<_> =
            fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        assert_eq!(decode(&mut decoder, &block), Ok(expected));
        sizes.push(block.len());
    }
    assert_eq!(decoder.table().len(), 2);
    assert!(sizes[2] < sizes[0] - 40 && sizes[199] == sizes[2], "{sizes:?}");
}

/// RFC 7541 §7.1.3: and by the pattern that forbids it to everybody on the way.
#[test]
fn credentials_are_never_indexed() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let fields = [("authorization", "Bearer abc"), ("cookie", "a=1"), ("x-auth-token", "t")];
    for _ in 0..5 {
        let block = encode(&mut encoder, &fields);
        assert_eq!(block[..2], [0x1f, 23 - 15]);
        assert_eq!(decode(&mut decoder, &block).map(|list| list.len()), Ok(3));
    }
    assert_eq!(decoder.table().len(), 0);
}

#[test]
fn size_changes_are_signalled_before_the_next_block() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let fields = [("server", "ringway")];
    for _ in 0..3 {
        decode(&mut decoder, &encode(&mut encoder, &fields)).unwrap();
    }
    assert_eq!(decoder.table().len(), 1);
    encoder.set_size_max(0);
    encoder.set_size_max(1024);
    let block = encode(&mut encoder, &fields);
    assert_eq!(block[..4], [0x20, 0x3f, 0xe1, 0x07], "the smallest, then the last");
    decode(&mut decoder, &block).unwrap();
    assert_eq!(decoder.table().size_max(), 1024);
    encoder.set_size_max(0);
    for _ in 0..3 {
        decode(&mut decoder, &encode(&mut encoder, &fields)).unwrap();
    }
    assert_eq!((decoder.table().len(), decoder.table().size_max()), (0, 0));
}
