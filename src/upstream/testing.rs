//! What the tests of this module share: an endpoint on loopback that the test commands, and a
//! shard on each driver.

use super::{Lent, Neighbours, Pool, Pools, Totals, Upstream, neighbours};
use crate::{
    config::{EndpointConfig, UpstreamConfig},
    runtime::{
        DriverChoice, ListenOptions, Options, Runtime, SendBuf, TcpListener, TcpStream, mailbox,
        now, sleep, spawn, yield_now,
    },
};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

/// Long enough for anything on loopback.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// A moment to count from, on a thread without a runtime.
#[expect(clippy::disallowed_methods, reason = "these threads have no runtime, hence no clock")]
pub(super) fn start() -> Instant {
    Instant::now()
}

/// An upstream `api` of these endpoints, each of weight 1, and defaults.
pub(super) fn config(endpoints: impl IntoIterator<Item = SocketAddr>) -> UpstreamConfig {
    UpstreamConfig::new("api".to_owned(), endpoints.into_iter().map(EndpointConfig::new).collect())
}

/// The drivers that this machine has.
pub(super) fn drivers() -> Vec<DriverChoice> {
    [DriverChoice::IoUring, DriverChoice::Epoll]
        .into_iter()
        .filter(|&driver| driver == DriverChoice::Epoll || Runtime::new(&options(driver)).is_ok())
        .collect()
}

pub(super) fn options(driver: DriverChoice) -> Options {
    Options { driver, ring_entries: 256, buffer_count: 64, ..Options::default() }
}

/// Runs a test once on each driver.
pub(super) fn on_each_driver(test: impl AsyncFn()) {
    for driver in drivers() {
        Runtime::new(&options(driver)).unwrap().block_on(test());
    }
}

/// One shard without neighbours.
pub(super) fn alone() -> Neighbours {
    neighbours(1).remove(0)
}

/// An upstream opened on a shard of its own.
pub(super) fn opened(config: &UpstreamConfig) -> (Rc<Pools>, Rc<Pool>) {
    let pools = Pools::start(alone(), 1);
    let upstream = Arc::new(Upstream::build(config, 1, now(), None));
    let pool = pools.open(&upstream);
    (pools, pool)
}

/// Runs other tasks until `is_done`; a test that waits in vain fails after ten seconds.
pub(super) async fn until(what: &str, is_done: impl Fn() -> bool) {
    let start = now();
    while !is_done() {
        assert!(now().duration_since(start) < Duration::from_secs(10), "never: {what}");
        yield_now().await;
    }
}

/// One request and its response.
pub(super) async fn exchange(lent: &Lent) {
    ask(lent, b"ping").await.unwrap();
}

/// Sends a request; fails when the connection ends before the whole response.
pub(super) async fn ask(lent: &Lent, request: &'static [u8; 4]) -> Result<(), String> {
    let (sent, _) = lent.stream().send_all(SendBuf::Static(request)).await;
    sent.map_err(|error| error.to_string())?;
    let mut received = Vec::new();
    while received.len() < 4 {
        let piece = lent.recv().await.map_err(|error| error.to_string())?;
        if piece.is_empty() {
            return Err(format!("closed after {received:?}"));
        }
        received.extend_from_slice(&piece);
    }
    assert_eq!(received, b"pong", "bytes of another exchange");
    Ok(())
}

/// The local port of a lent connection: tells connections apart.
pub(super) fn port(lent: &Lent) -> u16 {
    lent.stream().local_addr().unwrap().port()
}

/// One of several real shards.
pub(super) struct Shard {
    pub(super) pool: Rc<Pool>,
    _pools: Rc<Pools>,
    tell: mailbox::Sender<()>,
    told: mailbox::Receiver<()>,
}

impl Shard {
    /// Waits until the other shard has come to the same place.
    pub(super) async fn meet(&mut self) {
        self.tell.send(()).unwrap();
        self.told.recv().await.unwrap();
    }

    /// Runs `clients` that send `requests` each, one after another.
    pub(super) async fn load(&self, clients: usize, requests: usize) {
        let tasks: Vec<_> = (0..clients)
            .map(|_| {
                let pool = Rc::clone(&self.pool);
                spawn(async move {
                    for _ in 0..requests {
                        let lent = pool.lend(0, CONNECT).await.unwrap();
                        exchange(&lent).await;
                        lent.give_back();
                    }
                })
            })
            .collect();
        for task in tasks {
            while !task.is_finished() {
                sleep(Duration::from_millis(1)).await;
            }
        }
    }

    pub(super) fn totals(&self) -> Totals {
        self.pool.upstream().endpoints[0].totals()
    }
}

/// What a shard does in a test.
pub(super) type Running = Pin<Box<dyn Future<Output = ()>>>;
type Body<'a> = &'a (dyn Fn(Shard) -> Running + Sync);

/// Runs two shards, and the endpoint, each on a thread of its own, once per driver.
pub(super) fn on_two_shards(
    configure: fn(UpstreamConfig) -> UpstreamConfig,
    first: Body<'_>,
    second: Body<'_>,
) {
    for driver in drivers() {
        thread::scope(|scope| {
            let (address, addressed) = mpsc::channel();
            let (stop, mut stopped) = mailbox::channel::<()>(1);
            scope.spawn(move || {
                Runtime::new(&options(driver)).unwrap().block_on(async move {
                    let server = Server::start();
                    address.send(server.address).unwrap();
                    stopped.recv().await;
                });
            });
            let config = configure(config([addressed.recv().unwrap()]));
            let upstream = Arc::new(Upstream::build(&config, 2, start(), None));
            let (tell_first, first_told) = mailbox::channel(8);
            let (tell_second, second_told) = mailbox::channel(8);
            let ends = [(tell_second, first_told), (tell_first, second_told)];
            let shards = neighbours(2).into_iter().zip(ends).zip([first, second]);
            let threads: Vec<_> = shards
                .map(|((neighbours, (tell, told)), body)| {
                    let upstream = Arc::clone(&upstream);
                    scope.spawn(move || {
                        Runtime::new(&options(driver)).unwrap().block_on(async move {
                            let pools = Pools::start(neighbours, 1);
                            // Threads of a busy machine may stand still for longer.
                            pools.mesh.ask_wait.set(CONNECT);
                            let pool = pools.open(&upstream);
                            body(Shard { pool, _pools: pools, tell, told }).await;
                        });
                    })
                })
                .collect();
            let ends: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            drop(stop);
            for end in ends {
                end.unwrap();
            }
            let endpoint = &upstream.endpoints[0];
            assert_eq!((endpoint.in_flight(), endpoint.pending()), (0, 0));
            assert_eq!(endpoint.connections(), 0, "both shards are gone, and so are all seats");
        });
    }
}

/// An endpoint on a loopback port: answers each `ping` with `pong`.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// Open connections by the other side's port.
    connections: Rc<RefCell<BTreeMap<u16, Rc<TcpStream>>>>,
    accepted: Rc<Cell<usize>>,
    most: Rc<Cell<usize>>,
}

impl Server {
    /// Starts it on the calling runtime.
    pub(super) fn start() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener =
            TcpListener::bind(any, &ListenOptions { backlog: 128, reuse_port: false }).unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            connections: Rc::default(),
            accepted: Rc::default(),
            most: Rc::default(),
        };
        let (connections, accepted, most) =
            (Rc::clone(&server.connections), Rc::clone(&server.accepted), Rc::clone(&server.most));
        let _detached = spawn(async move {
            while let Ok((stream, from)) = listener.accept().await {
                let stream = Rc::new(stream);
                accepted.set(accepted.get() + 1);
                connections.borrow_mut().insert(from.port(), Rc::clone(&stream));
                most.set(most.get().max(connections.borrow().len()));
                let connections = Rc::clone(&connections);
                let _detached = spawn(async move {
                    answer(&stream).await;
                    connections.borrow_mut().remove(&from.port());
                });
            }
        });
        server
    }

    /// Connections accepted ever.
    pub(super) fn accepted(&self) -> usize {
        self.accepted.get()
    }

    /// Connections that are open.
    pub(super) fn open(&self) -> usize {
        self.connections.borrow().len()
    }

    /// The most that were ever open at once.
    pub(super) fn most(&self) -> usize {
        self.most.get()
    }

    /// Ends the connection whose other side has this port.
    pub(super) fn close(&self, port: u16) {
        self.connections.borrow()[&port].shutdown_write().unwrap();
    }

    /// Sends bytes that nobody asked for.
    pub(super) async fn blurt(&self, port: u16) {
        let stream = Rc::clone(&self.connections.borrow()[&port]);
        let bytes = SendBuf::Static(b"HTTP/1.1 408 Request Timeout\r\n\r\n");
        stream.send_all(bytes).await.0.unwrap();
    }
}

/// Answers each request of four bytes; one that begins with `q` is the connection's last.
async fn answer(stream: &TcpStream) {
    let mut asked = Vec::new();
    while let Ok(piece) = stream.recv().await
        && !piece.is_empty()
    {
        asked.extend_from_slice(&piece);
        while asked.len() >= 4 {
            let is_last = asked[0] == b'q';
            asked.drain(..4);
            if stream.send_all(SendBuf::Static(b"pong")).await.0.is_err() || is_last {
                return;
            }
        }
    }
}
