//! Counts heap allocations on the plain kept-alive path, HTTP/1.1 and HTTP/2 on either side: after
//! warm-up a request must cost none.
//!
//! The whole server runs in this process under a counting allocator, with clients and a backend
//! that allocate nothing themselves. The control thread may allocate now and then, so what an idle
//! server allocates in as much time is taken off. `scripts/bench micro allocs` prints the counts;
//! every `cargo test` holds them to the promise.
#![expect(clippy::unwrap_used, reason = "a test binary: failing is its job")]

#[path = "allocs/h2.rs"]
mod h2;

use std::{
    alloc::System,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use ringway::{config, server};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CONNECTIONS: usize = 8;
const WARMUP_ROUNDS: usize = 500;
const WINDOWS_MAX: usize = 8;
const ROUNDS: usize = 1250;
const REQUESTS: usize = ROUNDS * CONNECTIONS;
/// What is excused in a window: a timer of the control thread that fired in it and not beside it.
const EXCUSED: usize = REQUESTS / 1000;
const BODY_BYTES: usize = 1024;
const REQUEST: &[u8] = b"GET /1k HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench\r\n\r\n";

// One test, one server after the other: the counter is the whole process's.
#[test]
fn a_request_allocates_nothing() {
    let http1 = |stream| Box::new(Http1(stream)) as Box<dyn Client>;
    let http2 = |stream| Box::new(h2::H2Client::new(stream)) as Box<dyn Client>;
    let plain = include_str!("../load/ringway/plain.toml");
    let filters = include_str!("../load/ringway/filters.toml");
    let (h2, to_h2) = ("alpn = ['h2']", "protocol = 'h2'");
    let cases = [
        ("plain", measure(&proxy(plain, ("", ""), start_backend()), http1)),
        ("filters", measure(&proxy(filters, ("", ""), start_backend()), http1)),
        ("h2", measure(&proxy(plain, (h2, ""), start_backend()), http2)),
        ("h2 upstream", measure(&proxy(plain, ("", to_h2), h2::start_backend()), http1)),
        ("h2 both", measure(&proxy(plain, (h2, to_h2), h2::start_backend()), http2)),
    ];
    println!("allocations in {REQUESTS} requests: {cases:?}");
    for (name, windows) in &cases {
        let best = windows.iter().min_by_key(|window| window.extra()).unwrap();
        assert!(
            best.extra() <= EXCUSED,
            "{name}: {} allocations in {REQUESTS} requests; {EXCUSED} are excused; all windows: \
             {windows:?}",
            best.extra(),
        );
    }
}

/// Who asks, without an allocation.
trait Client {
    /// Sends a request.
    fn send(&mut self);
    /// Takes its response.
    fn receive(&mut self);
}

/// What is counted at the proxy at `address`.
fn measure(address: &SocketAddr, client: impl Fn(TcpStream) -> Box<dyn Client>) -> Vec<Window> {
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| client(connect(*address))).collect();
    (0..WARMUP_ROUNDS).for_each(|_| round(&mut clients));
    // Tables and recycled buffers may still grow in the first windows; what a request costs is in
    // all of them.
    let mut windows = Vec::new();
    let is_good = |window: &Window| window.extra() <= EXCUSED;
    while windows.len() < WINDOWS_MAX && !windows.last().is_some_and(is_good) {
        windows.push(Window::measure(&mut clients));
    }
    windows
}

/// What was allocated while requests ran, and while none did for as long.
#[derive(Debug)]
struct Window {
    busy: usize,
    idle: usize,
}

impl Window {
    fn measure(clients: &mut [Box<dyn Client>]) -> Self {
        let begin = now();
        let region = Region::new(ALLOCATOR);
        (0..ROUNDS).for_each(|_| round(clients));
        let busy = count(region.change());
        let time = begin.elapsed();
        let region = Region::new(ALLOCATOR);
        rest(time);
        Self { busy, idle: count(region.change()) }
    }

    fn extra(&self) -> usize {
        self.busy.saturating_sub(self.idle)
    }
}

fn count(stats: Stats) -> usize {
    stats.allocations + stats.reallocations
}

#[expect(clippy::disallowed_methods, reason = "a test measures real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's own thread may sleep: it measures idle time"
)]
fn rest(time: Duration) {
    thread::sleep(time);
}

fn start(name: &str, body: impl FnOnce() + Send + 'static) {
    let _detached = thread::Builder::new().name(name.to_owned()).spawn(body).unwrap();
}

/// The server in a thread of its own, over `backend`, on a port that was free a moment ago;
/// `listen` and `upstream` are lines of theirs.
fn proxy(template: &str, (listen, upstream): (&str, &str), backend: SocketAddr) -> SocketAddr {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (address, metrics) = (free(), free());
    let folder = std::env::temp_dir().join(format!(
        "ringway-allocs-{}-{}",
        std::process::id(),
        address.port()
    ));
    std::fs::create_dir_all(&folder).unwrap();
    let values = [
        ("@PROXY@", address.port().to_string()),
        ("@BACKEND@", backend.port().to_string()),
        ("@METRICS@", metrics.port().to_string()),
        ("@RUN@", folder.display().to_string()),
        ("@DRIVER@", "auto".to_owned()),
        ("@LISTEN@", listen.to_owned()),
        ("@UPSTREAM@", upstream.to_owned()),
    ];
    let fill = |text: String, (name, value): &(&str, String)| text.replace(name, value);
    let text = values.iter().fold(template.to_owned(), fill);
    let config = config::parse("bench.toml", &text).unwrap();
    start("server", || server::run(config, server::Source::Fixed, None).unwrap());
    address
}

/// Connects, waiting for the listener to be there.
fn connect(address: SocketAddr) -> TcpStream {
    let deadline = now() + Duration::from_secs(10);
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                return stream;
            }
            Err(error) => assert!(now() < deadline, "no server at {address} after 10 s: {error}"),
        }
        rest(Duration::from_millis(10));
    }
}

/// One request on each connection, all at once, answered in turn. Allocates nothing.
fn round(clients: &mut [Box<dyn Client>]) {
    clients.iter_mut().for_each(|client| client.send());
    clients.iter_mut().for_each(|client| client.receive());
}

/// HTTP/1.1 on a kept-alive connection.
struct Http1(TcpStream);

impl Client for Http1 {
    fn send(&mut self) {
        self.0.write_all(REQUEST).unwrap();
    }

    fn receive(&mut self) {
        let mut buffer = [0; 4096];
        let mut filled = 0;
        loop {
            let n = self.0.read(&mut buffer[filled..]).unwrap();
            assert!(n > 0, "the proxy closed a kept-alive connection");
            filled += n;
            if let Some(end) = head_end(&buffer[..filled]) {
                assert!(buffer.starts_with(b"HTTP/1.1 200 "), "not a 200");
                if filled >= end + BODY_BYTES {
                    assert_eq!(filled, end + BODY_BYTES);
                    break;
                }
            }
        }
    }
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// A backend of HTTP/1.1; after its start a request allocates nothing.
fn start_backend() -> SocketAddr {
    answer_in_threads(|mut stream| answer(&mut stream))
}

/// A backend with a thread a connection.
fn answer_in_threads(answer: impl Fn(TcpStream) + Copy + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    start("backend", move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            start("backend", move || answer(stream));
        }
    });
    address
}

fn answer(stream: &mut TcpStream) {
    let mut response =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES}\r\n\r\n").into_bytes();
    response.resize(response.len() + BODY_BYTES, b'x');
    let mut buffer = [0; 4096];
    let mut filled = 0;
    while let Ok(n @ 1..) = stream.read(&mut buffer[filled..]) {
        filled += n;
        if head_end(&buffer[..filled]) == Some(filled) {
            filled = 0;
            if stream.write_all(&response).is_err() {
                return;
            }
        }
    }
}
