//! One end of an HTTP/2 connection in a test, client or server: the library's codec over a blocking
//! socket, every wait bounded. What the codec refuses to write is written by hand ([`Frames`]).

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use ringway::protocol::{
    h2::{Connection, EndStream, ErrorCode, Event, Limits, PREFACE, StreamId},
    http::{Framing, Headers, RequestHead, ResponseHead, Scheme, Status},
};

use super::wire::{End, PATIENCE, Wire};

/// What has come on a stream.
#[derive(Debug, Default, Clone)]
pub(crate) struct Heard {
    /// A request's method, path and authority; none for responses.
    pub(crate) asked: Option<(String, String, String)>,
    /// What an extended CONNECT asks for.
    pub(crate) protocol: Option<String>,
    /// A response's status, 0 before it came.
    pub(crate) status: u16,
    pub(crate) interim: Vec<u16>,
    /// Fields of the final head, as lines.
    pub(crate) fields: String,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: String,
    pub(crate) is_whole: bool,
    pub(crate) reset: Option<ErrorCode>,
}

impl Heard {
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    /// Whether nothing more can come.
    pub(crate) fn is_over(&self) -> bool {
        self.is_whole || self.reset.is_some()
    }

    /// The value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

pub(crate) struct H2 {
    codec: Connection,
    wire: Wire,
    pub(crate) heard: BTreeMap<StreamId, Heard>,
    /// Streams of requests, in order of arrival.
    arrived: Vec<StreamId>,
    taken: usize,
    /// Codes of the GOAWAYs that came.
    pub(crate) farewells: Vec<ErrorCode>,
    pub(crate) ended: Option<End>,
    /// Takes no credit back: the other side's windows run dry.
    pub(crate) is_stalled: bool,
    got_settings: bool,
}

impl H2 {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        Self::client(stream, Limits::default())
    }

    pub(crate) fn client(stream: TcpStream, limits: Limits) -> Self {
        Self::client_on(Wire::new(stream), limits)
    }

    /// A client on a connection that may be encrypted.
    pub(crate) fn client_on(wire: Wire, limits: Limits) -> Self {
        let scheme = if wire.tls.is_some() { Scheme::Https } else { Scheme::Http };
        Self::new(wire, Connection::client(limits, scheme, now()))
    }

    pub(crate) fn server(stream: TcpStream, limits: Limits) -> Self {
        Self::server_on(Wire::new(stream), limits)
    }

    /// A server on a connection that may be encrypted.
    pub(crate) fn server_on(wire: Wire, limits: Limits) -> Self {
        Self::new(wire, Connection::server(limits, now()))
    }

    fn new(wire: Wire, codec: Connection) -> Self {
        Self {
            codec,
            wire,
            heard: BTreeMap::new(),
            arrived: Vec::new(),
            taken: 0,
            farewells: Vec::new(),
            ended: None,
            is_stalled: false,
            got_settings: false,
        }
    }

    /// Sends what the codec has made; false when nobody takes it.
    pub(crate) fn flush(&mut self) -> bool {
        let mut out = Vec::new();
        self.codec.transmit(now(), &mut out);
        self.events(&[]);
        self.wire.try_send(&out)
    }

    /// Ends this side of the connection.
    pub(crate) fn close(self) {
        drop(self);
    }

    /// Reads once and notes what came.
    #[track_caller]
    pub(crate) fn step(&mut self) {
        self.flush();
        let piece = match self.wire.piece() {
            Ok(piece) => piece,
            Err(end) => return self.ended = Some(end),
        };
        let mut bytes = &*piece;
        while !bytes.is_empty() {
            let used = self.codec.receive(now(), bytes).unwrap();
            self.events(bytes);
            bytes = &bytes[used..];
        }
    }

    fn events(&mut self, bytes: &[u8]) {
        while let Some(event) = self.codec.poll_event() {
            self.note(event, bytes);
        }
    }

    fn note(&mut self, event: Event, bytes: &[u8]) {
        match event {
            Event::Request { stream, end, .. } => {
                let mut head = RequestHead::new();
                self.codec.take_request(&mut head);
                let path = match head.query() {
                    Some(query) => format!("{}?{query}", head.path()),
                    None => head.path().to_owned(),
                };
                let host = head.authority().unwrap_or_default().to_owned();
                self.heard.insert(
                    stream,
                    Heard {
                        asked: Some((head.method_str().to_owned(), path, host)),
                        protocol: head.protocol().map(str::to_owned),
                        fields: lines(&head.headers),
                        is_whole: end,
                        ..Heard::default()
                    },
                );
                self.arrived.push(stream);
            }
            Event::Interim { stream } => {
                let mut head = ResponseHead::new();
                self.codec.take_response(&mut head);
                self.heard.entry(stream).or_default().interim.push(head.status.code());
            }
            Event::Response { stream, end, .. } => {
                let mut head = ResponseHead::new();
                self.codec.take_response(&mut head);
                let heard = self.heard.entry(stream).or_default();
                heard.status = head.status.code();
                heard.fields = lines(&head.headers);
                heard.is_whole = end;
            }
            Event::Data { stream, range, end } => {
                let heard = self.heard.entry(stream).or_default();
                heard.body.extend_from_slice(&bytes[range.clone()]);
                heard.is_whole = end;
                if !self.is_stalled {
                    self.codec.release(stream, range.len());
                }
            }
            Event::Trailers { stream } => {
                let mut trailers = Headers::new();
                self.codec.take_trailers(&mut trailers);
                let heard = self.heard.entry(stream).or_default();
                heard.trailers = lines(&trailers);
                heard.is_whole = true;
            }
            Event::Reset { stream, code, .. } => {
                self.heard.entry(stream).or_default().reset = Some(code);
            }
            Event::GoAway { code } => self.farewells.push(code),
            Event::Settings => self.got_settings = true,
            Event::Capacity { .. } | Event::Refused { .. } => {}
        }
    }

    /// Notes what has come already, on a connection in the clear.
    pub(crate) fn look(&mut self) {
        self.flush();
        self.wire.stream.set_nonblocking(true).unwrap();
        let is_there = self.wire.stream.peek(&mut [0]).is_ok();
        self.wire.stream.set_nonblocking(false).unwrap();
        if is_there {
            self.step();
        }
    }

    /// Gives the credit back that was kept while stalled.
    pub(crate) fn resume(&mut self) {
        self.is_stalled = false;
        for (stream, heard) in &self.heard {
            self.codec.release(*stream, heard.body.len());
        }
        self.flush();
    }

    /// Goes on until `is_so`.
    #[track_caller]
    pub(crate) fn until(&mut self, is_so: impl Fn(&Self) -> bool) {
        while !is_so(self) {
            assert!(self.ended.is_none(), "{:?} too early; heard {:?}", self.ended, self.heard);
            self.step();
        }
        self.flush();
    }

    /// Waits for the other side's SETTINGS: limits and windows hold from then on.
    #[track_caller]
    pub(crate) fn settle(&mut self) {
        self.until(|h2| h2.got_settings);
    }

    /// Goes on until the connection ends.
    #[track_caller]
    pub(crate) fn until_ended(&mut self) -> End {
        while self.ended.is_none() {
            self.step();
        }
        self.ended.unwrap()
    }

    // A client.

    /// Opens a stream.
    pub(crate) fn send(&mut self, head: &RequestHead, framing: Framing, end: bool) -> StreamId {
        let stream = self.codec.send_request(head, framing, EndStream::when(end)).unwrap();
        self.heard.insert(stream, Heard::default());
        self.flush();
        stream
    }

    /// Sends a request without a body.
    pub(crate) fn get(&mut self, path: &str) -> StreamId {
        self.send(&request("GET", path), Framing::None, true)
    }

    /// Sends a request with `body`.
    pub(crate) fn post(&mut self, path: &str, body: &[u8]) -> StreamId {
        let stream = self.send(&request("POST", path), Framing::Length(body.len() as u64), false);
        self.data(stream, body, true);
        stream
    }

    /// Sends all of `bytes`, whenever there is room.
    #[track_caller]
    pub(crate) fn data(&mut self, stream: StreamId, mut bytes: &[u8], end: bool) {
        loop {
            let taken = self.codec.send_data(stream, bytes, EndStream::when(end)).unwrap();
            bytes = &bytes[taken..];
            self.flush();
            if bytes.is_empty() {
                return;
            }
            if taken == 0 {
                self.step();
            }
        }
    }

    pub(crate) fn trailers(&mut self, stream: StreamId, name: &str, value: &str) {
        let mut trailers = Headers::new();
        trailers.append(name, value).unwrap();
        self.codec.send_trailers(stream, &trailers).unwrap();
        self.flush();
    }

    pub(crate) fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        self.codec.reset(stream, code);
        self.flush();
    }

    /// The stream, when nothing more comes on it.
    #[track_caller]
    pub(crate) fn whole(&mut self, stream: StreamId) -> Heard {
        self.until(|h2| h2.heard[&stream].is_over());
        self.heard[&stream].clone()
    }

    // A server.

    /// The next request, when its head has come.
    #[track_caller]
    pub(crate) fn accept(&mut self) -> StreamId {
        let taken = self.taken;
        self.until(|h2| h2.arrived.len() > taken);
        self.taken += 1;
        self.arrived[taken]
    }

    /// Requests that have come so far.
    pub(crate) fn arrived(&self) -> usize {
        self.arrived.len()
    }

    /// Answers with a head, and nothing behind it yet unless `end`.
    pub(crate) fn answer(&mut self, stream: StreamId, status: u16, framing: Framing, end: bool) {
        let mut head = ResponseHead::new();
        head.status = Status::new(status).unwrap();
        self.codec.send_response(stream, &head, framing, None, EndStream::when(end)).unwrap();
        self.flush();
    }

    /// Answers with `200` and `body`.
    #[track_caller]
    pub(crate) fn ok(&mut self, stream: StreamId, body: &str) {
        self.answer(stream, 200, Framing::Length(body.len() as u64), false);
        self.data(stream, body.as_bytes(), true);
    }

    /// Sends what `write` makes of the codec as one piece.
    pub(crate) fn at_once(&mut self, write: impl FnOnce(&mut Connection)) {
        write(&mut self.codec);
        self.flush();
    }

    /// Answers all of `streams` with an empty `200`, in one send.
    pub(crate) fn ok_all(&mut self, streams: &[StreamId]) {
        let head = ResponseHead::new();
        self.at_once(|codec| {
            for stream in streams {
                let end = EndStream::Yes;
                codec.send_response(*stream, &head, Framing::Length(0), None, end).unwrap();
            }
        });
    }

    /// Begins to say good-bye, and nothing more.
    pub(crate) fn go_away(&mut self) {
        self.at_once(|codec| codec.drain(now()));
    }

    /// Says good-bye: no new streams. The other side has heard of it then.
    pub(crate) fn drain(&mut self) {
        self.codec.drain(now());
        self.codec.send_ping(now());
        self.until(|h2| !h2.codec.is_pinging());
    }
}

/// A request's head.
pub(crate) fn request(method: &str, path: &str) -> RequestHead {
    let mut head = RequestHead::new();
    head.set_method(method).unwrap();
    head.set_target(path).unwrap();
    head.headers.append("host", "example.com").unwrap();
    head
}

fn lines(headers: &Headers) -> String {
    let line = |(name, value): (&[u8], &[u8])| {
        format!("{}: {}\n", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
    };
    headers.iter().map(line).collect()
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Frames by hand: what no codec would send.
pub(crate) struct Frames {
    wire: Wire,
}

/// A frame as it was on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frames {
    /// A client that has sent its preface and SETTINGS without a setting.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut wire = Wire::connect(address);
        wire.send(PREFACE);
        let mut frames = Self { wire };
        frames.send(SETTINGS, 0, 0, &[]);
        frames
    }

    /// Sends one frame; false when nobody takes it.
    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let mut bytes = Vec::new();
        put(&mut bytes, kind, flags, stream, payload);
        self.wire.try_send(bytes)
    }

    /// Sends bytes as they are; false when nobody takes them.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> bool {
        self.wire.try_send(bytes)
    }

    /// From now on bytes must be taken within `limit`, and the kernel keeps few of them.
    pub(crate) fn hurry(&self, limit: Duration) {
        self.wire.stream.set_write_timeout(Some(limit)).unwrap();
        socket2::SockRef::from(&self.wire.stream).set_send_buffer_size(16 * 1024).unwrap();
    }

    /// `GET /` on a new stream.
    pub(crate) fn get(&mut self, stream: u32) {
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, GET);
    }

    /// The next frame; none when the connection has ended.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let head = self.wire.try_exact(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        let payload = self.wire.try_exact(usize::try_from(length).unwrap())?;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame of `kind`; what comes before it is passed over.
    #[track_caller]
    pub(crate) fn find(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().expect("a frame before the end");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// The code of the last GOAWAY before the end; none when there was none.
    #[track_caller]
    pub(crate) fn farewell(&mut self) -> Option<u8> {
        let mut code = None;
        while let Some(frame) = self.next() {
            if frame.kind == GOAWAY {
                code = Some(frame.payload[7]);
            }
        }
        code
    }
}

/// Appends a frame.
pub(crate) fn put(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    bytes.extend_from_slice(&length[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
/// `:method GET`, `:scheme http`, `:path /`, `:authority a`.
pub(crate) const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'a'];
