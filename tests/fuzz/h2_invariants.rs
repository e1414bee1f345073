//! What must hold of any bytes given to HPACK and to an HTTP/2 connection; shared by the seeded
//! run and by libFuzzer. Two connections wired to one another are `h2_pair`.
//!
//! - Nothing panics, and neither events nor errors depend on how the wire cut the bytes.
//! - What comes out is well-formed frames, and never more than the limits say.
//! - What a head says can be written to HTTP/1.1 and reads the same there.
//! - Whatever HPACK's encoder writes, its decoder reads, whatever came before.

use ringway::protocol::{
    h1::{HeadLimits, Parsed, encode_request, parse_request},
    h2::{
        Connection, ConnectionError, Event, FRAME_BYTES_MAX, Limits, PREFACE, TABLE_BYTES_MAX,
        hpack::{Decoder, Encoder, Field, Fields},
    },
    http::{Framing, Headers, Name, RequestHead, ResponseHead, Scheme},
};
use std::time::Instant;

/// Collects fields.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct List(Vec<(Vec<u8>, Vec<u8>)>);

impl Fields for List {
    fn field(&mut self, field: Field<'_>) {
        self.0.push((field.name.to_vec(), field.value.to_vec()));
    }
}

/// Decodes `bytes` as header blocks that share a table (each begins with its length); true if all
/// were well-formed.
pub(crate) fn check_hpack_decoder(bytes: &[u8]) -> bool {
    let (mut one, mut two) = (Decoder::new(), Decoder::new());
    let mut rest = bytes;
    while let Some((len, tail)) = rest.split_first() {
        let (block, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        rest = tail;
        let (mut first, mut again) = (List::default(), List::default());
        let result = one.decode(block, &mut first);
        assert_eq!(two.decode(block, &mut again), result, "decoding is deterministic");
        assert_eq!(first, again);
        // A bomb can't be larger than what each octet can point at.
        assert!(first.0.len() <= block.len());
        let largest = first.0.iter().map(|(n, v)| n.len() + v.len()).max().unwrap_or(0);
        assert!(largest <= 2 * TABLE_BYTES_MAX + 2 * block.len());
        if result.is_err() {
            return false;
        }
    }
    true
}

/// Makes fields of `bytes`, encodes and decodes them; tables change their size in between.
pub(crate) fn check_hpack_round_trip(bytes: &[u8]) -> bool {
    const NAMES: [&str; 8] =
        ["cookie", "authorization", "content-type", "x-a", "accept", "etag", "x-key", "date"];
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first >= 0xf0 {
            encoder.set_size_max(usize::from(first & 0xf) * 300);
            continue;
        }
        let mut fields = Vec::new();
        for _ in 0..first % 8 {
            let Some((&[choice, len], tail)) = rest.split_first_chunk::<2>() else { break };
            let (value, tail) = tail.split_at(tail.len().min(usize::from(len)));
            rest = tail;
            let name = NAMES[usize::from(choice) % NAMES.len()];
            let repeated = value.repeat(1 + usize::from(choice >> 5));
            fields.push((name.as_bytes().to_vec(), repeated));
        }
        let mut block = Vec::new();
        encoder.begin(&mut block);
        for (name, value) in &fields {
            encoder.field(Name::of(name), name, value, &mut block);
        }
        let mut list = List::default();
        assert_eq!(decoder.decode(&block, &mut list), Ok(()));
        assert_eq!(list.0, fields);
    }
    true
}

/// Events without the cuts of the wire: pieces of one body joined.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Data(u32, Vec<u8>, bool),
    Head(Event, Vec<(Vec<u8>, Vec<u8>)>),
    Other(Event),
}

/// What became of some bytes.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    seen: Vec<Seen>,
    out: Vec<u8>,
    error: Option<ConnectionError>,
}

/// Gives `bytes` to a server (behind a preface) or to a client with some requests open, whole and
/// in pieces; true if the connection lived.
pub(crate) fn check_frames(bytes: &[u8], is_server: bool, now: Instant) -> bool {
    let whole = run(bytes, bytes.len().max(1), is_server, now);
    for size in [1, 7, 1000] {
        let cut = run(bytes, size, is_server, now);
        assert_eq!(whole, cut, "in pieces of {size}");
    }
    check_output(&whole.out);
    whole.error.is_none()
}

fn limits() -> Limits {
    Limits {
        streams: 8,
        header_list_bytes: 2000,
        fields: 20,
        stream_window: 70_000,
        connection_window: 100_000,
        connect_protocol: true,
        ..Limits::default()
    }
}

fn run(bytes: &[u8], size: usize, is_server: bool, now: Instant) -> Outcome {
    let mut outcome = Outcome { seen: Vec::new(), out: Vec::new(), error: None };
    let mut connection = if is_server {
        Connection::server(limits(), now)
    } else {
        Connection::client(limits(), Scheme::Https, now)
    };
    if is_server {
        feed(&mut connection, PREFACE, now, &mut outcome);
    } else {
        let mut head = RequestHead::new();
        head.headers.set("host", "a.example").unwrap();
        for method in ["GET", "HEAD", "POST"] {
            head.set_method(method).unwrap();
            let end = ringway::protocol::h2::EndStream::when(method != "POST");
            connection.send_request(&head, Framing::None, end).unwrap();
        }
    }
    for piece in bytes.chunks(size) {
        feed(&mut connection, piece, now, &mut outcome);
        if outcome.error.is_some() {
            break;
        }
    }
    // Output is fetched at the end only, so that it doesn't depend on the pieces.
    let limits = limits();
    assert!(connection.output_len() <= limits.output_bytes + limits.control_bytes + 4096);
    assert!(connection.streams_open() <= 8);
    connection.transmit(now, &mut outcome.out);
    outcome
}

fn feed(connection: &mut Connection, bytes: &[u8], now: Instant, outcome: &mut Outcome) {
    let mut at = 0;
    while at < bytes.len() {
        let used = match connection.receive(now, &bytes[at..]) {
            Ok(used) => used,
            Err(error) => {
                assert_eq!(connection.receive(now, b"x"), Err(error), "an end is final");
                outcome.error = Some(error);
                return;
            }
        };
        assert!(used > 0, "no progress");
        while let Some(event) = connection.poll_event() {
            note(connection, event, &bytes[at..], outcome);
        }
        at += used;
    }
}

fn note(connection: &mut Connection, event: Event, bytes: &[u8], outcome: &mut Outcome) {
    let fields = |headers: &Headers| -> Vec<(Vec<u8>, Vec<u8>)> {
        headers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
    };
    let seen = match event {
        Event::Data { stream, range, end } => {
            let piece = &bytes[range];
            connection.release(stream, piece.len());
            if let Some(Seen::Data(last, body, false)) = outcome.seen.last_mut()
                && *last == stream.number()
            {
                body.extend_from_slice(piece);
                let ended = std::mem::take(body);
                outcome.seen.pop();
                Seen::Data(stream.number(), ended, end)
            } else {
                Seen::Data(stream.number(), piece.to_vec(), end)
            }
        }
        Event::Request { framing, .. } => {
            let mut head = RequestHead::new();
            connection.take_request(&mut head);
            check_request(&head, framing);
            Seen::Head(event, fields(&head.headers))
        }
        Event::Response { .. } | Event::Interim { .. } => {
            let mut head = ResponseHead::new();
            connection.take_response(&mut head);
            check_fields(&head.headers);
            Seen::Head(event, fields(&head.headers))
        }
        Event::Trailers { .. } => {
            let mut trailers = Headers::new();
            connection.take_trailers(&mut trailers);
            check_fields(&trailers);
            Seen::Head(event, fields(&trailers))
        }
        other => Seen::Other(other),
    };
    outcome.seen.push(seen);
}

fn check_fields(headers: &Headers) {
    for (name, value) in headers.iter() {
        assert!(!name.is_empty() && !name.iter().any(u8::is_ascii_uppercase));
        assert!(!value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
    }
    for name in [Name::Connection, Name::TransferEncoding, Name::Upgrade, Name::KeepAlive] {
        assert_eq!(headers.get_known(name), None);
    }
}

/// What HTTP/2 accepted, HTTP/1.1 reads the same.
fn check_request(head: &RequestHead, framing: Framing) {
    check_fields(&head.headers);
    assert_eq!(head.headers.get_all_known(Name::Host).count(), 1);
    assert!(head.headers.get_all_known(Name::Cookie).count() <= 1);
    if head.protocol().is_some() {
        // Only HTTP/2 can say it.
        return;
    }
    let mut wire = Vec::new();
    encode_request(head, framing, &mut wire);
    let mut again = RequestHead::new();
    let limits = HeadLimits { bytes: 8192, fields: 64, target_bytes: 4096 };
    assert_eq!(
        parse_request(&wire, &limits, &mut again),
        Ok(Parsed::Complete { consumed: wire.len() }),
        "{}",
        wire.escape_ascii()
    );
    assert_eq!(again.method_str(), head.method_str());
    assert_eq!((again.path(), again.query()), (head.path(), head.query()));
    assert_eq!(again.host(), head.host());
}

/// Well-formed frames, of the size that everybody takes.
fn check_output(out: &[u8]) {
    let mut rest = out.strip_prefix(PREFACE).unwrap_or(out);
    while !rest.is_empty() {
        let (head, tail) = rest.split_first_chunk::<9>().unwrap();
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        assert!(len <= FRAME_BYTES_MAX && head[3] <= 9);
        rest = &tail[len..];
    }
}
