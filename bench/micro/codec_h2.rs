//! What HTTP/2 costs an exchange, each side alone: a request of a browser or of gRPC, a response
//! with 1 KiB.
//!
//! The other side's bytes are recorded once its HPACK table has settled and replayed with a new
//! stream number each time, so that only one machine is measured.

use criterion::Criterion;
use ringway::protocol::{
    h2::{Connection, EndStream, Event, Limits, StreamId},
    http::{Framing, RequestHead, ResponseHead, Scheme},
};
use std::{hint::black_box, time::Instant};

const BODY: [u8; 1024] = [b'x'; 1024];

/// A frame's stream number stands here.
const STREAM_AT: usize = 5;

/// One exchange as each side sends it, once everything that repeats is indexed.
pub(crate) struct Exchange {
    pub(crate) request: RequestHead,
    pub(crate) response: ResponseHead,
    now: Instant,
    from_client: Vec<u8>,
    from_server: Vec<u8>,
    pub(crate) client: Connection,
    pub(crate) server: Connection,
    buffer: Vec<u8>,
    spare_request: RequestHead,
    spare_response: ResponseHead,
}

impl Exchange {
    pub(crate) fn new(fields: &[(&str, &str)], now: Instant) -> Self {
        let mut request = RequestHead::new();
        let _ = request.set_target("/products/42?ref=home");
        for (name, value) in fields {
            let _ = request.headers.append(name, value);
        }
        let mut response = ResponseHead::new();
        for (name, value) in [
            ("server", "nginx/1.26.0"),
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("content-type", "text/plain"),
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("etag", "\"2ebcd1-400\""),
            ("accept-ranges", "bytes"),
        ] {
            let _ = response.headers.append(name, value);
        }
        let mut exchange = Self {
            request,
            response,
            now,
            from_client: Vec::new(),
            from_server: Vec::new(),
            client: Connection::client(Limits::default(), Scheme::Https, now),
            server: Connection::server(Limits::default(), now),
            buffer: Vec::new(),
            spare_request: RequestHead::new(),
            spare_response: ResponseHead::new(),
        };
        exchange.settle();
        exchange
    }

    /// A few exchanges of both sides with one another; the last one is kept.
    fn settle(&mut self) {
        for _ in 0..5 {
            let end = EndStream::Yes;
            let _ = self.client.send_request(&self.request, Framing::None, end);
            self.from_client.clear();
            self.client.transmit(self.now, &mut self.from_client);
            let bytes = std::mem::take(&mut self.from_client);
            self.serve(&bytes);
            self.from_client = bytes;
            std::mem::swap(&mut self.from_server, &mut self.buffer);
            let bytes = std::mem::take(&mut self.from_server);
            self.take(&bytes);
            self.from_server = bytes;
        }
    }

    /// The server's part: reads bytes, answers every request, leaves its output in `buffer`.
    pub(crate) fn serve(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            at += self.server.receive(self.now, &bytes[at..]).expect("well-formed");
            while let Some(event) = self.server.poll_event() {
                if let Event::Request { stream, .. } = event {
                    self.server.take_request(&mut self.spare_request);
                    let framing = Framing::Length(1024);
                    let end = EndStream::No;
                    let _ = self.server.send_response(stream, &self.response, framing, None, end);
                    let _ = self.server.send_data(stream, &BODY, EndStream::Yes);
                }
            }
        }
        self.buffer.clear();
        self.server.transmit(self.now, &mut self.buffer);
    }

    /// The client's part: reads a response.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let used = self.client.receive(self.now, &bytes[at..]).expect("well-formed");
            while let Some(event) = self.client.poll_event() {
                match event {
                    Event::Response { .. } => self.client.take_response(&mut self.spare_response),
                    Event::Data { stream, range, .. } => self.client.release(stream, range.len()),
                    _ => {}
                }
            }
            at += used;
        }
    }

    /// One exchange of the server alone; `stream` is odd and rises.
    pub(crate) fn serve_next(&mut self, stream: u32) -> usize {
        let mut bytes = std::mem::take(&mut self.from_client);
        renumber(&mut bytes, stream);
        self.serve(&bytes);
        self.from_client = bytes;
        // The client's window for DATA never comes back by itself here.
        let update = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 4, 0];
        let _ = self.server.receive(self.now, &update);
        self.buffer.len()
    }

    /// One exchange of the client alone.
    pub(crate) fn ask_next(&mut self) -> usize {
        let sent = self.client.send_request(&self.request, Framing::None, EndStream::Yes);
        self.buffer.clear();
        let mut buffer = std::mem::take(&mut self.buffer);
        self.client.transmit(self.now, &mut buffer);
        self.buffer = buffer;
        let mut bytes = std::mem::take(&mut self.from_server);
        renumber(&mut bytes, sent.map_or(0, StreamId::number));
        self.take(&bytes);
        self.from_server = bytes;
        self.spare_response.headers.len()
    }
}

/// Gives all frames that stand on a stream another number.
fn renumber(bytes: &mut [u8], stream: u32) {
    let mut at = 0;
    while at + 9 <= bytes.len() {
        let len = u32::from_be_bytes([0, bytes[at], bytes[at + 1], bytes[at + 2]]) as usize;
        let place = at + STREAM_AT;
        if bytes[place..place + 4] != [0; 4] {
            bytes[place..place + 4].copy_from_slice(&stream.to_be_bytes());
        }
        at += 9 + len;
    }
}

pub(crate) const BROWSER: &[(&str, &str)] = &[
    ("host", "www.example.com"),
    ("sec-ch-ua", "\"Chromium\";v=\"128\", \"Not;A=Brand\";v=\"24\""),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", "\"Linux\""),
    ("upgrade-insecure-requests", "1"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0 Safari/537.36",
    ),
    (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    ),
    ("referer", "https://www.example.com/"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
    ("cookie", "session=0123456789abcdef0123456789abcdef; theme=dark; consent=1"),
];

/// h2load's.
pub(crate) const PLAIN: &[(&str, &str)] =
    &[("host", "127.0.0.1:8443"), ("user-agent", "h2load nghttp2/1.59.0")];

#[expect(clippy::disallowed_methods, reason = "a bench has no shard whose clock it could ask")]
fn now() -> Instant {
    Instant::now()
}

pub(crate) fn exchanges(c: &mut Criterion) {
    for (name, fields) in [("h2load", PLAIN), ("browser", BROWSER)] {
        let mut group = c.benchmark_group(format!("h2-{name}"));
        let mut exchange = Exchange::new(fields, now());
        let mut stream = 1001;
        group.bench_function("server", |b| {
            b.iter(|| {
                stream += 2;
                black_box(exchange.serve_next(stream))
            });
        });
        group.bench_function("client", |b| {
            b.iter(|| black_box(exchange.ask_next()));
        });
        group.finish();
    }
}
