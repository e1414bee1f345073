//! What must hold of any bytes given to the codec; shared by the seeded run and by libFuzzer.
//!
//! - Nothing panics, and the verdict doesn't depend on how the wire cut the bytes.
//! - Whatever is accepted says the same to a naive reader of its lines.
//! - What we write of it reads the same to our own parser and to httparse, framing included, and
//!   holds at most one of Content-Length and Transfer-Encoding and, for requests, one Host.

use ringway::{
    base::path,
    protocol::{
        h1::{
            BodyDecoder, BodyError, ConnectionHeader, HeadLimits, Parsed, encode_chunk_end,
            encode_chunk_head, encode_last_chunk, encode_request, encode_response,
            expects_continue, parse_request, parse_response, request_keeps_alive,
            response_keeps_alive, upgrade_requested,
        },
        http::{
            Framing, Headers, Method, RequestError, RequestHead, ResponseError, ResponseHead,
            Version, request_framing, response_framing, strip_request_hops, strip_response_hops,
        },
    },
};

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Judges `bytes` as a request; true if it was accepted.
pub(crate) fn check_request(bytes: &[u8]) -> bool {
    let mut head = RequestHead::new();
    let parsed = parse_request(bytes, &LIMITS, &mut head);
    check_cut_request(bytes, parsed, &head);
    let Ok(Parsed::Complete { consumed }) = parsed else { return false };
    check_lines(&bytes[..consumed], fields(&head.headers), head.authority());
    let _ =
        (request_keeps_alive(&head), upgrade_requested(&head).is_some(), expects_continue(&head));
    check_path(head.path());
    let Ok(framing) = request_framing(&head) else { return false };
    let body = &bytes[consumed..];
    if strip_request_hops(&mut head.headers).is_err() {
        return false;
    }
    let mut wire = Vec::new();
    encode_request(&head, framing, &mut wire);
    let mut again = RequestHead::new();
    let parsed = parse_request(&wire, &LIMITS, &mut again);
    // HTTP/1.0 may come without Host; the proxy gives it one before it goes on.
    if head.authority().is_some() || head.version == Version::Http11 {
        assert_eq!(parsed, Ok(Parsed::Complete { consumed: wire.len() }), "{:?}", text(&wire));
        assert_eq!(again.method_str(), head.method_str());
        assert_eq!(
            (again.path(), again.query(), again.host()),
            (head.path(), head.query(), head.host())
        );
        assert_eq!(request_framing(&again), Ok(framing));
        assert_eq!(end_to_end(&again.headers), end_to_end(&head.headers));
    }
    check_written(&wire, true);
    check_body(body, framing)
}

/// Judges `bytes` as a response to `method`; true if it was accepted.
pub(crate) fn check_response(bytes: &[u8], method: Method) -> bool {
    let mut head = ResponseHead::new();
    let parsed = parse_response(bytes, &LIMITS, &mut head);
    check_cut_response(bytes, parsed, &head);
    let Ok(Parsed::Complete { consumed }) = parsed else { return false };
    check_lines(&bytes[..consumed], fields(&head.headers), None);
    let _ = response_keeps_alive(&head);
    let Ok(framing) = response_framing(&head, method) else { return false };
    strip_response_hops(&mut head.headers);
    let mut wire = Vec::new();
    encode_response(
        &head,
        framing,
        ConnectionHeader::Close,
        Some("Thu, 01 Jan 1970 00:00:00 GMT"),
        &mut wire,
    );
    let mut again = ResponseHead::new();
    assert_eq!(
        parse_response(&wire, &LARGER, &mut again),
        Ok(Parsed::Complete { consumed: wire.len() }),
        "{:?}",
        text(&wire)
    );
    assert_eq!((again.status, again.reason()), (head.status, head.reason()));
    assert_eq!(response_framing(&again, method), Ok(framing));
    check_written(&wire, false);
    check_body(&bytes[consumed..], framing)
}

const LIMITS: HeadLimits = HeadLimits { bytes: 4096, fields: 32, target_bytes: 1024 };
/// Date and Connection may come on top.
const LARGER: HeadLimits = HeadLimits { bytes: 5000, fields: 36, target_bytes: 1024 };

fn fields(headers: &Headers) -> Fields {
    headers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

/// Without what the encoder writes itself, as a sorted set: Host moves to the front.
fn end_to_end(headers: &Headers) -> Fields {
    let own = ["content-length", "transfer-encoding", "connection"];
    let mut kept = fields(headers);
    kept.retain(|(name, _)| !own.iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes())));
    for (name, _) in &mut kept {
        if name.eq_ignore_ascii_case(b"host") {
            name.make_ascii_lowercase();
        }
    }
    kept.sort();
    kept
}

/// Byte by byte says what the whole said.
fn check_cut_request(bytes: &[u8], whole: Result<Parsed, RequestError>, head: &RequestHead) {
    let mut cut = RequestHead::new();
    for end in 0..=bytes.len() {
        match parse_request(&bytes[..end], &LIMITS, &mut cut) {
            Ok(Parsed::Incomplete) => {}
            Ok(complete) => {
                assert_eq!(whole, Ok(complete));
                assert_eq!(fields(&cut.headers), fields(&head.headers));
                assert_eq!((cut.path(), cut.authority()), (head.path(), head.authority()));
                return;
            }
            Err(error) => {
                assert_eq!(whole.map_err(|error| error.status()), Err(error.status()));
                return;
            }
        }
    }
    assert_eq!(whole, Ok(Parsed::Incomplete));
}

fn check_cut_response(bytes: &[u8], whole: Result<Parsed, ResponseError>, head: &ResponseHead) {
    let mut cut = ResponseHead::new();
    for end in 0..=bytes.len() {
        match parse_response(&bytes[..end], &LIMITS, &mut cut) {
            Ok(Parsed::Incomplete) => {}
            Ok(complete) => {
                assert_eq!(whole, Ok(complete));
                assert_eq!(fields(&cut.headers), fields(&head.headers));
                return;
            }
            Err(_) => {
                assert!(whole.is_err());
                return;
            }
        }
    }
    assert_eq!(whole, Ok(Parsed::Incomplete));
}

/// A reader that only knows lines and colons sees the same fields in an accepted head.
fn check_lines(head: &[u8], mut parsed: Fields, authority: Option<&str>) {
    assert!(!head.contains(&0));
    // Latin-1, so that every byte is a character.
    let head: String = head.iter().map(|&b| char::from(b)).collect();
    let lines: Vec<&str> = head.trim_start_matches("\r\n").split("\r\n").collect();
    assert!(lines.iter().all(|line| !line.contains(['\r', '\n'])), "bare CR or LF: {head:?}");
    let mut naive: Fields = Vec::new();
    for line in &lines[1..lines.len() - 2] {
        let (name, value) = line.split_once(':').unwrap();
        let value = value.trim_matches([' ', '\t']).chars().map(|c| u8::try_from(c).unwrap());
        naive.push((name.as_bytes().to_vec(), value.collect()));
    }
    if let Some(authority) = authority {
        // Absolute-form replaced it; an HTTP/1.0 request may have got one.
        let is_host = |(name, _): &(Vec<u8>, Vec<u8>)| name.eq_ignore_ascii_case(b"host");
        let hosts = parsed.iter().filter(|field| is_host(field));
        assert_eq!(
            hosts.map(|(_, value)| value.as_slice()).collect::<Vec<_>>(),
            [authority.as_bytes()]
        );
        parsed.retain(|field| !is_host(field));
        naive.retain(|field| !is_host(field));
    }
    assert_eq!(parsed, naive, "{head:?}");
}

/// httparse reads what we wrote, and it can be framed in one way only.
fn check_written(wire: &[u8], is_request: bool) {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let (status, parsed) = if is_request {
        let mut request = httparse::Request::new(&mut headers);
        let status = request.parse(wire).unwrap_or_else(|e| panic!("{e}: {:?}", text(wire)));
        (status, request.headers.to_vec())
    } else {
        let mut response = httparse::Response::new(&mut headers);
        let status = response.parse(wire).unwrap_or_else(|e| panic!("{e}: {:?}", text(wire)));
        (status, response.headers.to_vec())
    };
    assert_eq!(status, httparse::Status::Complete(wire.len()));
    let count = |name: &str| parsed.iter().filter(|h| h.name.eq_ignore_ascii_case(name)).count();
    assert!(count("content-length") + count("transfer-encoding") <= 1, "{:?}", text(wire));
    assert!(count("connection") <= 1 && count("keep-alive") == 0);
    assert!(!is_request || count("host") == 1);
    let ours: Fields = {
        let (mut request, mut response) = (RequestHead::new(), ResponseHead::new());
        if is_request {
            let _ = parse_request(wire, &LARGER, &mut request);
            fields(&request.headers)
        } else {
            let _ = parse_response(wire, &LARGER, &mut response);
            fields(&response.headers)
        }
    };
    let theirs: Fields =
        parsed.iter().map(|h| (h.name.as_bytes().to_vec(), h.value.to_vec())).collect();
    // An empty Host is written for HTTP/1.0 requests without one, and refused by us.
    assert!(
        ours == theirs
            || theirs.first().is_some_and(|(name, value)| name == b"Host" && value.is_empty())
    );
}

/// Whole and byte by byte the body gives the same data; chunked anew it still does.
fn check_body(bytes: &[u8], framing: Framing) -> bool {
    let whole = decode(bytes.chunks(bytes.len().max(1)), framing);
    let cut = decode(bytes.chunks(1), framing);
    assert_eq!(whole.is_ok(), cut.is_ok(), "{whole:?} {cut:?}");
    let (Ok((data, trailers, done)), Ok(cut)) = (whole, cut) else { return false };
    assert_eq!((&data, &trailers, done), (&cut.0, &cut.1, cut.2));
    if !done {
        return false;
    }
    let mut wire = Vec::new();
    for piece in data.chunks(7) {
        encode_chunk_head(piece.len() as u64, &mut wire);
        wire.extend_from_slice(piece);
        encode_chunk_end(&mut wire);
    }
    let mut headers = Headers::new();
    for (name, value) in &trailers {
        headers.append(name, value).unwrap();
    }
    encode_last_chunk(Some(&headers), &mut wire);
    let again = decode(wire.chunks(3), Framing::Chunked);
    assert_eq!(again, Ok((data, trailers, true)));
    true
}

type Body = (Vec<u8>, Fields, bool);

fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>, framing: Framing) -> Result<Body, BodyError> {
    let mut decoder = BodyDecoder::new(framing);
    let mut data = Vec::new();
    for piece in pieces {
        let mut at = 0;
        while at < piece.len() && !decoder.is_done() {
            let decoded = decoder.decode(&piece[at..])?;
            assert!(decoded.consumed > 0, "no progress");
            data.extend_from_slice(&piece[at..][decoded.data.clone()]);
            at += decoded.consumed;
        }
    }
    let done = decoder.is_done() || decoder.on_eof().is_ok();
    Ok((data, fields(&decoder.trailers), done))
}

/// A normalised path is absolute, has nothing left to resolve and stays as it is.
fn check_path(path: &str) {
    let (mut once, mut twice) = (String::new(), String::new());
    let Ok(normal) = path::normalized_path(path, &mut once) else { return };
    if path.starts_with('/') {
        assert!(normal.starts_with('/'));
        assert!(!normal.contains("//"), "{path} {normal}");
        assert!(
            normal.split('/').all(|segment| segment != "." && segment != ".."),
            "{path} {normal}"
        );
    }
    assert_eq!(path::normalized_path(normal, &mut twice), Ok(normal));
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
