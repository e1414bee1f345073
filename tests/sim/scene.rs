//! One shard, one endpoint and one client, each played by the test: for what takes minutes and must
//! be exact, since the clock is virtual.

use std::{future::Future, rc::Rc, sync::Arc, time::Duration};

use ringway::{
    config,
    proxy::{Error, Handler, Pipeline, Shard, Snapshot, stats::ShardStats},
    runtime::{
        ListenOptions, Runtime, SimOptions, TcpListener, TcpStream, Timer, now, sleep, spawn,
    },
    server::{Listening, ShardScope, Steward},
    upstream::{self, Endpoint, Pools},
};

use crate::{
    settings::{ENDPOINT_PORT, LISTENER_PORT},
    wire::Reader,
    world::address,
};

/// The stage of a scene.
pub(crate) struct Stage {
    pub(crate) stats: Arc<ShardStats>,
    pub(crate) endpoint: Arc<Endpoint>,
    listener: TcpListener,
}

/// An end of a connection, with what it reads.
pub(crate) struct Side {
    pub(crate) stream: Rc<TcpStream>,
    pub(crate) reader: Reader,
}

/// Plays a scene behind the config's own pipeline; `limits` are those of the listener, `route` are
/// lines of the route that takes everything.
pub(crate) fn play<F: Future<Output = ()>>(
    limits: &str,
    route: &str,
    scene: impl FnOnce(Rc<Stage>) -> F,
) {
    play_with(limits, route, |scope| Pipeline::new(scope.snapshot(), scope.shard()), scene);
}

/// Plays a scene behind a program's own handler.
pub(crate) fn play_with<H: Handler + 'static, F: Future<Output = ()>>(
    limits: &str,
    route: &str,
    make: impl Fn(&ShardScope) -> Result<H, Error>,
    scene: impl FnOnce(Rc<Stage>) -> F,
) {
    let mut options = SimOptions::calm();
    options.window = 4096;
    play_on(1, &options, ("", limits, route), make, scene);
}

/// Plays a scene on a network of the test's choice; `listener` are more lines of the listener.
pub(crate) fn play_on<H: Handler + 'static, F: Future<Output = ()>>(
    seed: u64,
    options: &SimOptions,
    (listener, limits, route): (&str, &str, &str),
    make: impl Fn(&ShardScope) -> Result<H, Error>,
    scene: impl FnOnce(Rc<Stage>) -> F,
) {
    let runtime = Runtime::sim(seed, options).unwrap();
    runtime.block_on(async {
        let endpoint = listen(ENDPOINT_PORT);
        let text = format!(
            "version = 1\n[listener.web]\naddress = '127.0.0.1:{LISTENER_PORT}'\n\
             limits = {{ {limits} }}\n{listener}\n[upstream.web]\nendpoints = ['127.0.0.1:{ENDPOINT_PORT}']\n\
             [[route]]\nname = 'all'\nupstream = 'web'\n{route}\n"
        );
        let config = config::parse("scene.toml", &text).unwrap_or_else(|errors| panic!("{errors}"));
        let snapshot = Snapshot::build(config, 1, now(), None);
        let neighbours = upstream::neighbours(1).into_iter().next().unwrap();
        let stats = Arc::new(ShardStats::default());
        let shard = Shard::new(0, 1, Pools::start(neighbours, 1), Arc::clone(&stats));
        let mut steward = Steward::new(&shard, &Arc::default(), make);
        steward.prepare(&snapshot).unwrap();
        steward.commit(vec![Listening {
            name: "web".into(),
            address: address(LISTENER_PORT).into(),
            socket: listen(LISTENER_PORT),
        }]);
        let of = Arc::clone(&snapshot.upstreams[0].endpoints[0]);
        scene(Rc::new(Stage { stats, endpoint: of, listener: endpoint })).await;
    });
    let report = runtime.finish().unwrap();
    assert!(report.violations.is_empty(), "{:?}", report.violations);
}

fn listen(port: u16) -> TcpListener {
    TcpListener::bind(address(port), &ListenOptions::default()).unwrap()
}

impl Stage {
    /// A new client.
    pub(crate) async fn client(&self) -> Side {
        Side::new(TcpStream::connect(address(LISTENER_PORT)).await.unwrap())
    }

    /// The endpoint's next connection.
    pub(crate) async fn accept(&self) -> Side {
        let timer = Timer::new();
        timer.set_after(HOUR);
        Side::new(timer.guard(self.listener.accept()).await.expect("a connection").unwrap().0)
    }
}

impl Side {
    fn new(stream: TcpStream) -> Self {
        let stream = Rc::new(stream);
        Self { reader: Reader::new(&stream), stream }
    }

    pub(crate) async fn send(&self, bytes: impl AsRef<[u8]>) {
        self.stream.send_all(bytes.as_ref().to_vec()).await.0.unwrap();
    }

    /// Sends a byte each `pause`, in a task of its own, until nobody takes them or `count` are sent.
    pub(crate) fn trickle(&self, pause: Duration, count: usize) {
        let stream = Rc::clone(&self.stream);
        let _detached = spawn(async move {
            for _ in 0..count {
                sleep(pause).await;
                if stream.send_all(vec![b'x']).await.0.is_err() {
                    return;
                }
            }
        });
    }

    /// The status of the next response.
    pub(crate) async fn status(&mut self) -> u16 {
        self.reader.head().await.unwrap().status().unwrap()
    }
}

/// How long `work` takes in virtual time.
pub(crate) async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let began = now();
    let output = work.await;
    (output, now() - began)
}

/// Nothing takes longer.
const HOUR: Duration = Duration::from_secs(3600);
