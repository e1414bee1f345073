//! One side of a connection under test, and frames made and read by hand for the other side.

use ringway::protocol::h2::{
    Connection, ConnectionError, ErrorCode, Event, Limits, PREFACE, StreamId,
};
use ringway::protocol::http::{Headers, RequestHead, ResponseHead, Scheme};
use std::time::Instant;

/// Frame types by number.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const PRIORITY_FLAG: u8 = 0x20;

/// A frame as it lies on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// Makes a frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A SETTINGS frame.
pub(crate) fn settings(entries: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in entries {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

/// WINDOW_UPDATE.
pub(crate) fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

/// RST_STREAM.
pub(crate) fn rst_stream(stream: u32, code: ErrorCode) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.wire().to_be_bytes())
}

/// A header block of literals that enter no table.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            string(text.as_bytes(), &mut bytes);
        }
    }
    bytes
}

fn string(text: &[u8], bytes: &mut Vec<u8>) {
    let mut rest = text.len();
    if rest < 127 {
        bytes.push(u8::try_from(rest).unwrap());
    } else {
        bytes.push(127);
        rest -= 127;
        while rest >= 128 {
            bytes.push(u8::try_from(rest % 128 + 128).unwrap());
            rest /= 128;
        }
        bytes.push(u8::try_from(rest).unwrap());
    }
    bytes.extend(text);
}

/// The pseudo-fields of a plain request.
pub(crate) const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a.example")];
pub(crate) const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a.example")];

/// HEADERS with a whole block.
pub(crate) fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &block(fields))
}

/// A GET that ends its stream.
pub(crate) fn get(stream: u32) -> Vec<u8> {
    headers(stream, END_STREAM, &GET)
}

#[expect(clippy::disallowed_methods, reason = "a test has no shard whose clock it could ask")]
fn now() -> Instant {
    Instant::now()
}

/// One side under test.
pub(crate) struct Side {
    pub(crate) connection: Connection,
    pub(crate) now: Instant,
    /// What DATA brought, by stream.
    pub(crate) data: Vec<(StreamId, Vec<u8>, bool)>,
    /// The first stream that a client opened.
    pub(crate) first_stream: Option<StreamId>,
    /// Heads as they came, newest last.
    pub(crate) requests: Vec<RequestHead>,
    pub(crate) responses: Vec<ResponseHead>,
    pub(crate) trailers: Vec<Headers>,
}

impl Side {
    /// A server that has exchanged preface and SETTINGS with its client.
    pub(crate) fn server() -> Self {
        Self::server_with(Limits::default())
    }

    pub(crate) fn server_with(limits: Limits) -> Self {
        let mut side = Self::raw_server(limits);
        let mut hello = PREFACE.to_vec();
        hello.extend(settings(&[]));
        hello.extend(frame(SETTINGS, ACK, 0, &[]));
        assert_eq!(side.feed(&hello), Ok(vec![Event::Settings]));
        side.sent();
        side
    }

    /// A server that has heard nothing yet.
    pub(crate) fn raw_server(limits: Limits) -> Self {
        let now = now();
        Self::new(Connection::server(limits, now), now)
    }

    /// A client that has exchanged SETTINGS with its server.
    pub(crate) fn client() -> Self {
        Self::client_with(Limits::default(), &[])
    }

    pub(crate) fn client_with(limits: Limits, entries: &[(u16, u32)]) -> Self {
        let mut side = Self::raw_client(limits);
        let mut hello = settings(entries);
        hello.extend(frame(SETTINGS, ACK, 0, &[]));
        assert_eq!(side.feed(&hello), Ok(vec![Event::Settings]));
        side.sent();
        side
    }

    pub(crate) fn raw_client(limits: Limits) -> Self {
        let now = now();
        Self::new(Connection::client(limits, Scheme::Http, now), now)
    }

    fn new(connection: Connection, now: Instant) -> Self {
        Self {
            connection,
            now,
            data: Vec::new(),
            first_stream: None,
            requests: Vec::new(),
            responses: Vec::new(),
            trailers: Vec::new(),
        }
    }

    /// Gives bytes and collects events; DATA and heads are kept aside.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, ConnectionError> {
        let mut events = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let used = self.connection.receive(self.now, &bytes[at..])?;
            while let Some(event) = self.connection.poll_event() {
                self.keep(&event, &bytes[at..]);
                events.push(event);
            }
            assert!(used > 0, "no progress");
            at += used;
        }
        Ok(events)
    }

    fn keep(&mut self, event: &Event, bytes: &[u8]) {
        match event {
            Event::Request { stream, .. } => {
                self.first_stream.get_or_insert(*stream);
                let mut head = RequestHead::new();
                self.connection.take_request(&mut head);
                self.requests.push(head);
            }
            Event::Response { .. } | Event::Interim { .. } => {
                let mut head = ResponseHead::new();
                self.connection.take_response(&mut head);
                self.responses.push(head);
            }
            Event::Trailers { .. } => {
                let mut fields = Headers::new();
                self.connection.take_trailers(&mut fields);
                self.trailers.push(fields);
            }
            Event::Data { stream, range, end } => {
                self.data.push((*stream, bytes[range.clone()].to_vec(), *end));
            }
            _ => {}
        }
    }

    /// The frames that lie in the output.
    pub(crate) fn sent(&mut self) -> Vec<Frame> {
        let mut out = Vec::new();
        self.connection.transmit(self.now, &mut out);
        let mut rest = out.strip_prefix(PREFACE).unwrap_or(&out);
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(9);
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            frames.push(Frame {
                kind: head[3],
                flags: head[4],
                stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
                payload: tail[..len].to_vec(),
            });
            rest = &tail[len..];
        }
        frames
    }

    /// The bytes end the connection, and GOAWAY says why.
    #[track_caller]
    pub(crate) fn dies(&mut self, bytes: &[u8], code: ErrorCode) {
        let error = self.feed(bytes).expect_err("the connection must end");
        assert_eq!(error.code(), code, "{error}");
        let last = self.sent().pop().unwrap();
        assert_eq!(last.kind, GOAWAY);
        assert_eq!(last.payload[4..8], code.wire().to_be_bytes());
    }

    /// The bytes end the stream only, and RST_STREAM says why.
    #[track_caller]
    pub(crate) fn resets(&mut self, bytes: &[u8], stream: u32, code: ErrorCode) {
        self.feed(bytes).expect("only a stream error");
        let expected = Frame {
            kind: RST_STREAM,
            flags: 0,
            stream,
            payload: code.wire().to_be_bytes().to_vec(),
        };
        let sent = self.sent();
        assert!(sent.contains(&expected), "{sent:?}");
        assert_eq!(self.feed(&frame(PING, 0, 0, &[7; 8])), Ok(vec![]), "it goes on");
        assert_eq!(self.sent().pop().map(|frame| frame.kind), Some(PING));
    }
}
