//! Runs one message through the codec as the proxy does, whole or cut into pieces.

use ringway::protocol::h1::{BodyDecoder, HeadLimits, Parsed, parse_request, parse_response};
use ringway::protocol::http::{
    Framing, Method, RequestHead, ResponseHead, request_framing, response_framing,
    strip_request_hops, strip_response_hops,
};

/// A message as understood: enough to compare two readings of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) start: String,
    pub(super) fields: Vec<(String, Vec<u8>)>,
    pub(super) framing: Framing,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(String, Vec<u8>)>,
    /// Bytes after the message.
    pub(super) rest: usize,
}

/// What became of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted(Box<Message>),
    /// Status for a request (400 for its body too), 502 for a response; and the reason.
    Refused(u16, &'static str),
    /// More bytes are wanted.
    Unfinished,
}

impl Verdict {
    pub(super) fn message(self) -> Message {
        match self {
            Self::Accepted(message) => *message,
            other => panic!("not accepted: {other:?}"),
        }
    }
}

/// Judges a request given at once.
pub(super) fn judge_request(bytes: &[u8]) -> Verdict {
    judge_request_in(&[bytes], &HeadLimits::default())
}

/// Judges a request that arrives in `pieces`.
pub(super) fn judge_request_in(pieces: &[&[u8]], limits: &HeadLimits) -> Verdict {
    let mut head = RequestHead::new();
    let mut wire = Vec::new();
    let mut pieces = pieces.iter();
    let consumed = loop {
        let Some(piece) = pieces.next() else { return Verdict::Unfinished };
        wire.extend_from_slice(piece);
        match parse_request(&wire, limits, &mut head) {
            Ok(Parsed::Incomplete) => {}
            Ok(Parsed::Complete { consumed }) => break consumed,
            Err(error) => return Verdict::Refused(error.status().code(), error.reason()),
        }
    };
    let framing = match request_framing(&head) {
        Ok(framing) => framing,
        Err(error) => return Verdict::Refused(error.status().code(), error.reason()),
    };
    if let Err(error) = strip_request_hops(&mut head.headers) {
        return Verdict::Refused(error.status().code(), error.reason());
    }
    let start = format!("{} {} {:?}", head.method_str(), head.target(), head.version);
    let first = wire.split_off(consumed);
    finish(start, owned(head.headers.iter()), framing, &first, pieces.copied(), 400)
}

/// Judges a response to `method` given at once and then ended.
pub(super) fn judge_response(bytes: &[u8], method: Method) -> Verdict {
    judge_response_in(&[bytes], method, &HeadLimits::default())
}

/// Judges a response that arrives in `pieces`, after which the connection ends.
pub(super) fn judge_response_in(pieces: &[&[u8]], method: Method, limits: &HeadLimits) -> Verdict {
    let mut head = ResponseHead::new();
    let mut wire = Vec::new();
    let mut pieces = pieces.iter();
    let consumed = loop {
        let Some(piece) = pieces.next() else { return Verdict::Unfinished };
        wire.extend_from_slice(piece);
        match parse_response(&wire, limits, &mut head) {
            Ok(Parsed::Incomplete) => {}
            Ok(Parsed::Complete { consumed }) => break consumed,
            Err(error) => return Verdict::Refused(502, error.reason()),
        }
    };
    let framing = match response_framing(&head, method) {
        Ok(framing) => framing,
        Err(error) => return Verdict::Refused(502, error.reason()),
    };
    strip_response_hops(&mut head.headers);
    let start =
        format!("{} {} {:?}", head.status, String::from_utf8_lossy(head.reason()), head.version);
    let first = wire.split_off(consumed);
    finish(start, owned(head.headers.iter()), framing, &first, pieces.copied(), 502)
}

/// Reads the body from `first` and then `pieces`.
fn finish<'a>(
    start: String,
    fields: Vec<(String, Vec<u8>)>,
    framing: Framing,
    first: &'a [u8],
    pieces: impl Iterator<Item = &'a [u8]>,
    fault: u16,
) -> Verdict {
    let mut decoder = BodyDecoder::new(framing);
    let mut body = Vec::new();
    let mut rest = 0;
    for piece in std::iter::once(first).chain(pieces) {
        let mut at = 0;
        loop {
            let decoded = match decoder.decode(&piece[at..]) {
                Ok(decoded) => decoded,
                Err(error) => return Verdict::Refused(fault, error.reason()),
            };
            assert!(decoded.data.end <= decoded.consumed && decoded.consumed <= piece.len() - at);
            assert_eq!(decoded.done, decoder.is_done());
            body.extend_from_slice(&piece[at..][decoded.data.clone()]);
            at += decoded.consumed;
            if decoded.done {
                break;
            }
            if decoded.consumed == 0 {
                assert_eq!(at, piece.len(), "a decoder that isn't done takes every byte");
                break;
            }
        }
        rest += piece.len() - at;
    }
    if framing == Framing::UntilClose {
        decoder.on_eof().unwrap();
    }
    if !decoder.is_done() {
        assert!(decoder.on_eof().is_err(), "a cut body is truncated");
        return Verdict::Unfinished;
    }
    let trailers = owned(decoder.trailers.iter());
    Verdict::Accepted(Box::new(Message { start, fields, framing, body, trailers, rest }))
}

fn owned<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<(String, Vec<u8>)> {
    fields
        .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.to_vec()))
        .collect()
}
