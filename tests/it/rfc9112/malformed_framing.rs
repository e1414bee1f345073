//! §6 and §7: framing that two readers could see differently, and malformed chunks, each with its
//! status and reason. Judged like `malformed_requests`.

use super::malformed_requests::check;

/// What is wrong, the fields after Host, what follows the head, status, reason.
pub(crate) type Row = (&'static str, &'static str, &'static str, u16, &'static str);

pub(crate) const CHUNKS_END: &str = "0\r\n\r\n";

#[rustfmt::skip]
pub(crate) const FRAMING: &[Row] = &[
    ("length and chunked",
        "Content-Length: 5\r\nTransfer-Encoding: chunked", CHUNKS_END,
        400, "both Content-Length and Transfer-Encoding"),
    ("chunked and length",
        "transfer-encoding: chunked\r\ncontent-length: 5", CHUNKS_END,
        400, "both Content-Length and Transfer-Encoding"),
    ("length 0 and chunked",
        "Content-Length: 0\r\nTransfer-Encoding: chunked", CHUNKS_END,
        400, "both Content-Length and Transfer-Encoding"),
    ("two lengths", "Content-Length: 5\r\nContent-Length: 6", "", 400, "several Content-Length fields"),
    ("the same length twice", "Content-Length: 5\r\nContent-Length: 5", "", 400, "several Content-Length fields"),
    ("length list", "Content-Length: 5, 5", "", 400, "invalid Content-Length"),
    ("length with plus", "Content-Length: +5", "", 400, "invalid Content-Length"),
    ("negative length", "Content-Length: -1", "", 400, "invalid Content-Length"),
    ("hex length", "Content-Length: 0x5", "", 400, "invalid Content-Length"),
    ("hex digits", "Content-Length: ff", "", 400, "invalid Content-Length"),
    ("empty length", "Content-Length:", "", 400, "invalid Content-Length"),
    ("length with a fraction", "Content-Length: 5.0", "", 400, "invalid Content-Length"),
    ("length with a space", "Content-Length: 5 0", "", 400, "invalid Content-Length"),
    ("quoted length", "Content-Length: \"5\"", "", 400, "invalid Content-Length"),
    ("length of 20 digits", "Content-Length: 99999999999999999999", "", 400, "invalid Content-Length"),
    ("length 2^64", "Content-Length: 18446744073709551616", "", 400, "invalid Content-Length"),
    ("length 2^63", "Content-Length: 9223372036854775808", "", 400, "invalid Content-Length"),
    ("padded length", "Content-Length: 00000000000000000005", "", 400, "invalid Content-Length"),
    ("gzip then chunked", "Transfer-Encoding: gzip, chunked", CHUNKS_END, 501, "transfer coding not implemented"),
    ("unknown then chunked",
        "Transfer-Encoding: foo, bar, chunked", CHUNKS_END, 501, "transfer coding not implemented"),
    ("chunked isn't final", "Transfer-Encoding: chunked, gzip", "", 400, "invalid Transfer-Encoding"),
    ("gzip alone", "Transfer-Encoding: gzip", "", 400, "invalid Transfer-Encoding"),
    ("identity", "Transfer-Encoding: identity", "", 400, "invalid Transfer-Encoding"),
    ("chunked twice in a line", "Transfer-Encoding: chunked, chunked", CHUNKS_END, 400, "invalid Transfer-Encoding"),
    ("chunked in two lines",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", CHUNKS_END,
        400, "several Transfer-Encoding fields"),
    ("identity in another line",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", CHUNKS_END,
        400, "several Transfer-Encoding fields"),
    ("xchunked", "Transfer-Encoding: xchunked", CHUNKS_END, 400, "invalid Transfer-Encoding"),
    ("chunkedx", "Transfer-Encoding: chunkedx", CHUNKS_END, 400, "invalid Transfer-Encoding"),
    ("chunked with a parameter", "Transfer-Encoding: chunked;a=b", CHUNKS_END, 400, "invalid Transfer-Encoding"),
    ("quoted chunked", "Transfer-Encoding: \"chunked\"", CHUNKS_END, 400, "invalid Transfer-Encoding"),
    ("comma after chunked", "Transfer-Encoding: chunked,", CHUNKS_END, 400, "invalid Transfer-Encoding"),
    ("comma before chunked", "Transfer-Encoding: ,chunked", CHUNKS_END, 400, "invalid Transfer-Encoding"),
    ("empty coding", "Transfer-Encoding:", "", 400, "invalid Transfer-Encoding"),
    ("vertical tab before chunked",
        "Transfer-Encoding: \x0bchunked", CHUNKS_END, 400, "control character in a field value"),
    ("form feed after chunked",
        "Transfer-Encoding: chunked\x0c", CHUNKS_END, 400, "control character in a field value"),
    ("coding folded", "Transfer-Encoding:\r\n chunked", CHUNKS_END, 400, "folded field line"),
    ("space before the coding's colon",
        "Transfer-Encoding : chunked", CHUNKS_END, 400, "whitespace after a field name"),
    ("Connection names Content-Length",
        "Connection: content-length\r\nContent-Length: 1", "x", 400, "Connection names an end-to-end field"),
    ("Connection names Transfer-Encoding",
        "Connection: close, Transfer-Encoding\r\nTransfer-Encoding: chunked", CHUNKS_END,
        400, "Connection names an end-to-end field"),
];

/// What needs another head, or bytes that are no text.
#[rustfmt::skip]
pub(crate) const WHOLE: &[(&str, &[u8], u16, &str)] = &[
    ("length with obs-text",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \xb25\r\n\r\n", 400, "invalid Content-Length"),
    ("bad length with GET", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, "invalid Content-Length"),
    ("no-break space after chunked",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\xa0\r\n\r\n0\r\n\r\n",
        400, "invalid Transfer-Encoding"),
    ("chunked in HTTP/1.0",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400, "Transfer-Encoding in HTTP/1.0"),
    ("Connection names Host",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Host\r\n\r\n", 400, "Connection names an end-to-end field"),
    ("Connection names Authorization",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: authorization\r\n\r\n",
        400, "Connection names an end-to-end field"),
];

/// Bodies of a chunked request, without the head.
pub(crate) type ChunkRow = (&'static str, &'static [u8], &'static str);

#[rustfmt::skip]
pub(crate) const CHUNKS: &[ChunkRow] = &[
    ("empty size", b"\r\nabc\r\n0\r\n\r\n", "invalid chunk size"),
    ("size with plus", b"+3\r\nabc\r\n0\r\n\r\n", "invalid chunk size"),
    ("negative size", b"-3\r\nabc\r\n0\r\n\r\n", "invalid chunk size"),
    ("size with 0x", b"0x3\r\nabc\r\n0\r\n\r\n", "invalid chunk size"),
    ("space before the size", b" 3\r\nabc\r\n0\r\n\r\n", "invalid chunk size"),
    ("space after the size", b"3 \r\nabc\r\n0\r\n\r\n", "invalid chunk extension"),
    ("size not hex", b"g\r\nabc\r\n0\r\n\r\n", "invalid chunk size"),
    ("size with underscore", b"1_0\r\nabc\r\n0\r\n\r\n", "invalid chunk size"),
    ("size ends in LF", b"3\nabc\r\n0\r\n\r\n", "invalid chunk size"),
    ("size ends in CR", b"3\rabc\r\n0\r\n\r\n", "invalid chunk size"),
    ("size 2^63", b"8000000000000000\r\nabc", "chunk size too large"),
    ("size 2^64", b"10000000000000000\r\nabc", "chunk size too large"),
    ("size wraps to 3", b"10000000000000003\r\nabc\r\n0\r\n\r\n", "chunk size too large"),
    ("size of 17 digits", b"00000000000000003\r\nabc\r\n0\r\n\r\n", "chunk size too large"),
    ("no CRLF after the data", b"3\r\nabc0\r\n\r\n", "no CRLF after a chunk"),
    ("LF after the data", b"3\r\nabc\n0\r\n\r\n", "no CRLF after a chunk"),
    ("CR after the data", b"3\r\nabc\r0\r\n\r\n", "no CRLF after a chunk"),
    ("data longer than the size", b"2\r\nabc\r\n0\r\n\r\n", "no CRLF after a chunk"),
    ("empty extension", b"3;\r\nabc\r\n0\r\n\r\n", "invalid chunk extension"),
    ("LF in an extension", b"3;a\nabc\r\n0\r\n\r\n", "invalid chunk extension"),
    ("CR in a quoted extension", b"3;a=\"\rb\"\r\nabc\r\n0\r\n\r\n", "invalid chunk extension"),
    ("NUL in an extension", b"3;a=\0\r\nabc\r\n0\r\n\r\n", "invalid chunk extension"),
    ("CR in an extension", b"3;a\rb\r\nabc\r\n0\r\n\r\n", "invalid chunk size"),
    ("quote never closed", b"3;a=\"b\r\nabc\r\n0\r\n\r\n", "invalid chunk extension"),
    ("LF ends the trailers", b"0\r\n\n", "bare LF"),
    ("CR ends the trailers", b"0\r\n\rX", "bare CR"),
    ("trailer folded", b"0\r\nA: b\r\n c\r\n\r\n", "folded field line"),
    ("trailer without colon", b"0\r\nA\r\n\r\n", "field line without a colon"),
    ("trailer line ends in LF", b"0\r\nA: b\n\r\n", "bare LF"),
    ("trailer with NUL", b"0\r\nA: \0\r\n\r\n", "control character in a field value"),
    ("trailer with a space before the colon", b"0\r\nA : b\r\n\r\n", "whitespace after a field name"),
    ("trailer sets a length", b"0\r\nContent-Length: 5\r\n\r\n", "field not allowed in trailers"),
    ("trailer sets a coding", b"0\r\nTransfer-Encoding: chunked\r\n\r\n", "field not allowed in trailers"),
    ("trailer sets Host", b"0\r\nhost: b\r\n\r\n", "field not allowed in trailers"),
    ("trailer sets Connection", b"0\r\nConnection: close\r\n\r\n", "field not allowed in trailers"),
    ("trailer sets Upgrade", b"0\r\nUpgrade: x\r\n\r\n", "field not allowed in trailers"),
    ("another request instead of CRLF", b"0\r\nGET /b HTTP/1.1\r\nHost: b\r\n\r\n", "whitespace after a field name"),
];

#[test]
fn ambiguous_framing_is_refused() {
    for (name, fields, rest, status, reason) in FRAMING {
        let wire = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{rest}");
        check(name, wire.as_bytes(), *status, reason);
    }
    for (name, wire, status, reason) in WHOLE {
        check(name, wire, *status, reason);
    }
}

#[test]
fn malformed_chunks_are_refused() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (name, body, reason) in CHUNKS {
        check(name, &[&head[..], body].concat(), 400, reason);
    }
}
