//! §6 and §7: how long a body is, and what is in it.

use super::judge::{Verdict, judge_request, judge_response};
use ringway::protocol::{
    h1::{BodyDecoder, BodyError, EXTENSION_EXCESS_MAX, TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX},
    http::{Framing, Method, Version},
};

fn framing_of(head: &str, method: Method) -> Framing {
    match judge_response(head.as_bytes(), method) {
        Verdict::Accepted(message) => message.framing,
        other => panic!("{head}: {other:?}"),
    }
}

fn chunked(body: &[u8]) -> Verdict {
    judge_request(
        &[b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED \r\n\r\n", body].concat(),
    )
}

#[test]
fn a_request_without_length_has_no_body() {
    let message = judge_request(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n").message();
    assert_eq!((message.framing, message.body.len()), (Framing::None, 0));
    let message =
        judge_request(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\n\r\n1234567")
            .message();
    assert_eq!((message.framing, message.body.as_slice()), (Framing::Length(7), &b"1234567"[..]));
    let message =
        judge_request(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").message();
    assert!(message.framing.is_empty());
}

#[test]
fn the_largest_length_is_understood() {
    let wire = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\nx";
    assert_eq!(judge_request(wire), Verdict::Unfinished);
}

#[test]
fn responses_that_never_have_a_body() {
    for status in ["100 Continue", "101 Switching Protocols", "103 Early Hints", "204 No Content"] {
        assert_eq!(
            framing_of(&format!("HTTP/1.1 {status}\r\n\r\n"), Method::Get),
            Framing::None,
            "{status}"
        );
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(framing_of(&head, Method::Get), Framing::None, "{status}");
        let head = format!("HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(framing_of(&head, Method::Get), Framing::None, "{status}");
    }
    let plain = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(framing_of(plain, Method::Head), Framing::Described(5));
    assert_eq!(
        framing_of("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Method::Get),
        Framing::Described(5)
    );
    assert_eq!(framing_of("HTTP/1.1 304 Not Modified\r\n\r\n", Method::Get), Framing::None);
    assert_eq!(
        framing_of("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Method::Head),
        Framing::None
    );
    assert_eq!(framing_of(plain, Method::Connect), Framing::None);
    let refused = "HTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(framing_of(refused, Method::Connect), Framing::Length(1));
}

#[test]
fn a_response_without_length_runs_until_close() {
    for version in ["HTTP/1.0", "HTTP/1.1"] {
        let message =
            judge_response(format!("{version} 200 OK\r\n\r\nabc").as_bytes(), Method::Get)
                .message();
        assert_eq!((message.framing, message.body.as_slice()), (Framing::UntilClose, &b"abc"[..]));
    }
}

#[test]
fn http_1_0_recipients_get_no_chunks() {
    assert_eq!(Framing::Chunked.for_version(Version::Http10), Framing::UntilClose);
    assert_eq!(Framing::Chunked.for_version(Version::Http11), Framing::Chunked);
    assert_eq!(Framing::Length(3).for_version(Version::Http10), Framing::Length(3));
}

#[test]
fn chunks_extensions_and_trailers() {
    let wire = b"3\r\nabc\r\n00A;x=\"a;b\\\"\" ; y\r\n0123456789\r\n000;z\r\nX-Sum: 1 \r\nx-two:2\r\n\r\nrest";
    let message = chunked(wire).message();
    assert_eq!((message.body.as_slice(), message.rest), (&b"abc0123456789"[..], 4));
    assert_eq!(
        message.trailers,
        [("X-Sum".to_owned(), b"1".to_vec()), ("x-two".to_owned(), b"2".to_vec())]
    );
    assert_eq!(chunked(b"0\r\n\r\n").message().body, b"");
}

#[test]
fn trailers_that_only_make_sense_before_a_body_are_dropped() {
    let wire = b"0\r\nAuthorization: a\r\nSet-Cookie: b\r\nX-Forwarded-For: c\r\nCache-Control: d\r\nX: e\r\n\r\n";
    assert_eq!(chunked(wire).message().trailers, [("X".to_owned(), b"e".to_vec())]);
}

#[test]
fn trailers_are_bounded() {
    let long = format!("0\r\nX: {}\r\n\r\n", "a".repeat(TRAILER_BYTES_MAX));
    assert_eq!(chunked(long.as_bytes()), Verdict::Refused(400, "trailers too large"));
    let endless = format!("0\r\n{}", "a".repeat(TRAILER_BYTES_MAX + 1));
    assert_eq!(chunked(endless.as_bytes()), Verdict::Refused(400, "trailers too large"));
    let just = format!("0\r\nX: {}\r\n\r\n", "a".repeat(TRAILER_BYTES_MAX - "X: \r\n".len()));
    assert_eq!(chunked(just.as_bytes()).message().trailers.len(), 1);
    let many = |n: usize| format!("0\r\n{}\r\n", "X: y\r\n".repeat(n));
    assert_eq!(
        chunked(many(TRAILER_FIELDS_MAX).as_bytes()).message().trailers.len(),
        TRAILER_FIELDS_MAX
    );
    assert_eq!(
        chunked(many(TRAILER_FIELDS_MAX + 1).as_bytes()),
        Verdict::Refused(400, "trailers too large")
    );
}

#[test]
fn extensions_may_not_outweigh_the_data() {
    let chunk = |extension: usize, data: usize| {
        format!("{data:x};{}\r\n{}\r\n", "e".repeat(extension), "d".repeat(data)).into_bytes()
    };
    // A signature on each 64 KiB is fine for ever; a kilobyte for each byte isn't for long.
    let fair = [chunk(1000, 65_536).repeat(40), b"0\r\n\r\n".to_vec()].concat();
    assert_eq!(chunked(&fair).message().body.len(), 40 * 65_536);
    let heavy = usize::try_from(EXTENSION_EXCESS_MAX).unwrap() / 1000 + 1;
    let unfair = chunk(1000, 1).repeat(heavy);
    assert_eq!(chunked(&unfair), Verdict::Refused(400, "chunk extensions too long"));
    assert_eq!(chunked(&chunk(1024, 1)), Verdict::Refused(400, "chunk extensions too long"));
}

#[test]
fn a_cut_body_is_truncated() {
    for (framing, bytes) in [
        (Framing::Length(5), &b"abcd"[..]),
        (Framing::Chunked, b""),
        (Framing::Chunked, b"3\r\nabc"),
        (Framing::Chunked, b"3\r\nabc\r\n"),
        (Framing::Chunked, b"3\r\nabc\r\n0"),
        (Framing::Chunked, b"3\r\nabc\r\n0\r\n"),
        (Framing::Chunked, b"3\r\nabc\r\n0\r\n\r"),
        (Framing::Chunked, b"0\r\nX: y\r\n"),
    ] {
        let mut decoder = BodyDecoder::new(framing);
        let mut at = 0;
        while at < bytes.len() {
            at += decoder.decode(&bytes[at..]).unwrap().consumed;
        }
        assert_eq!(decoder.on_eof(), Err(BodyError::Truncated), "{framing:?} {bytes:?}");
        assert!(!decoder.is_done());
    }
    let mut decoder = BodyDecoder::new(Framing::UntilClose);
    assert!(!decoder.decode(b"abc").unwrap().done);
    assert_eq!(decoder.on_eof(), Ok(()));
    assert!(decoder.is_done());
}

#[test]
fn spliced_bytes_are_skipped() {
    let mut decoder = BodyDecoder::new(Framing::Length(10));
    assert_eq!(decoder.remaining(), Some(10));
    decoder.skip(4);
    assert_eq!(decoder.decode(b"abc").unwrap().data, 0..3);
    assert_eq!(decoder.remaining(), Some(3));
    decoder.skip(3);
    assert!(decoder.is_done());
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    assert_eq!(decoder.remaining(), None);
    assert_eq!(decoder.decode(b"a\r\nab").unwrap().data, 3..5);
    decoder.skip(8);
    assert!(decoder.decode(b"\r\n0\r\n\r\n").unwrap().done);
}

#[test]
fn a_decoder_can_be_used_again() {
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    assert!(decoder.decode(b"0\r\nX: y\r\n\r\n").unwrap().done);
    assert_eq!(decoder.trailers.len(), 1);
    decoder.reset(Framing::Length(2));
    assert!(decoder.trailers.is_empty());
    let decoded = decoder.decode(b"abc").unwrap();
    assert_eq!((decoded.consumed, decoded.data, decoded.done), (2, 0..2, true));
    decoder.reset(Framing::None);
    assert!(decoder.is_done());
}
