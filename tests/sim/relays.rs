//! Connections relayed by a `tcp` listener: every byte, each end by itself, and no broken stream
//! that looks like a finished one.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use ringway::{
    config,
    l4::{self, Socket},
    proxy::{Pipeline, Shard, Snapshot, stats::ShardStats},
    runtime::{ListenOptions, Runtime, SimOptions, TcpListener, TcpStream, now, sleep, spawn},
    server::Steward,
    upstream::{self, Pools},
};

use crate::{
    both::both,
    random::{Random, body, byte},
    settings::{ENDPOINT_PORT, LISTENER_PORT},
    world::address,
};

/// What one client and its endpoint do. Each sends its stream and then its end, whether the other has
/// ended or not, so that half-closed connections are the rule.
#[derive(Debug, Clone, Copy)]
struct Talk {
    number: u8,
    begins: Duration,
    /// Bytes from the client, and to it.
    up: usize,
    down: usize,
    /// The endpoint says nothing before it has heard the client's end.
    waits: bool,
    /// Either side rests before each of its receives.
    pauses: [Duration; 2],
}

/// How the streams of a run ended, each seen by its receiver.
#[derive(Debug, Default)]
struct Seen {
    whole: Cell<usize>,
    broken: Cell<usize>,
}

/// How a stream ended for its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Fin,
    Reset,
}

#[test]
fn a_relay_carries_every_byte_both_ways_and_each_end_on_its_own() {
    for seed in 0..80 {
        let seen = run(seed, SimOptions::calm());
        assert_eq!(seen.broken.get(), 0, "seed {seed}: {seen:?}");
        assert!(seen.whole.get() > 0, "seed {seed}");
    }
}

#[test]
fn a_relay_that_breaks_looks_broken_to_both_sides() {
    let (mut whole, mut broken) = (0, 0);
    for seed in 0..80 {
        let options = SimOptions { reset: 0.004, refuse: 0.2, ..SimOptions::default() };
        let seen = run(seed, options);
        whole += seen.whole.get();
        broken += seen.broken.get();
    }
    assert!(whole > 0 && broken > 0, "{whole} whole, {broken} broken");
}

fn run(seed: u64, mut options: SimOptions) -> Rc<Seen> {
    let mut random = Random::new(seed);
    options.short_read = random.pick(&[0.0, 0.3, 0.9]);
    options.short_write = random.pick(&[0.0, 0.2, 0.8]);
    options.no_buffer = random.pick(&[0.0, 0.02, 0.2]);
    options.delay_max = random.millis(5);
    options.window = random.pick(&[1000, 8 << 10, 64 << 10]);
    options.runtime.buffer_size = random.pick(&[512, 4096, 16 << 10]);
    let talks: Rc<[Talk]> = (0..u8::try_from(random.within(1, 6)).unwrap())
        .map(|number| Talk {
            number,
            begins: random.millis(50),
            up: random.length(),
            down: random.length(),
            waits: random.percent(50),
            pauses: [random.millis(2), random.millis(2)],
        })
        .collect();
    let seen = Rc::new(Seen::default());
    let runtime = Runtime::sim(seed, &options).unwrap();
    runtime.block_on(play(seed, talks, Rc::clone(&seen)));
    let report = runtime.finish().unwrap();
    assert!(report.is_clean(), "seed {seed}: {:?} {:?}", report.leaked, report.violations);
    seen
}

async fn play(seed: u64, talks: Rc<[Talk]>, seen: Rc<Seen>) {
    let text = format!(
        "version = 1\n[listener.own]\naddress = '127.0.0.1:{LISTENER_PORT}'\nprotocol = 'tcp'\n\
         [upstream.own]\nendpoints = ['127.0.0.1:{ENDPOINT_PORT}']\n\
         outlier = {{ consecutive_failures = 'off' }}\n\
         [[route]]\nname = 'own'\nlistener = 'own'\nupstream = 'own'\nretry = {{ attempts = 3 }}\n"
    );
    let config = config::parse("relay.toml", &text).unwrap_or_else(|errors| panic!("{errors}"));
    let snapshot = Snapshot::build(config, 1, now(), None);
    let neighbours = upstream::neighbours(1).into_iter().next().unwrap();
    let stats = Arc::new(ShardStats::default());
    let shard = Shard::new(0, 1, Pools::start(neighbours, 1), Arc::clone(&stats));
    let mut steward = Steward::new(&shard, &Arc::default(), |scope| {
        Pipeline::new(scope.snapshot(), scope.shard())
    });
    steward.prepare(&snapshot).unwrap();
    let socket = Socket::Tcp(listen(LISTENER_PORT));
    let listening =
        l4::Listening { name: "own".into(), address: address(LISTENER_PORT).into(), socket };
    steward.commit_with(Vec::new(), vec![listening]);

    let endpoint = listen(ENDPOINT_PORT);
    let (of_endpoint, by_endpoint) = (Rc::clone(&talks), Rc::clone(&seen));
    let serving = spawn(async move {
        while let Ok((stream, _)) = endpoint.accept().await {
            spawn(serve(seed, Rc::clone(&of_endpoint), stream, Rc::clone(&by_endpoint)));
        }
    });
    let clients: Vec<_> =
        talks.iter().map(|talk| spawn(client(seed, *talk, Rc::clone(&seen)))).collect();
    let began = now();
    while clients.iter().any(|client| !client.is_finished()) || stats.open.get() > 0 {
        assert!(now() - began < RUN_MAX, "seed {seed}: it doesn't end");
        sleep(Duration::from_millis(10)).await;
    }
    // The endpoints' last words are heard by then.
    sleep(Duration::from_secs(1)).await;
    serving.abort();
    let endpoint = &snapshot.upstreams[0].endpoints[0];
    assert_eq!((endpoint.connections(), endpoint.in_flight()), (0, 0), "seed {seed}");
}

fn listen(port: u16) -> TcpListener {
    TcpListener::bind(address(port), &ListenOptions::default()).unwrap()
}

/// What tells one direction's bytes from any other's.
fn salt(seed: u64, talk: &Talk, direction: u64) -> u64 {
    seed << 16 | u64::from(talk.number) << 1 | direction
}

async fn client(seed: u64, talk: Talk, seen: Rc<Seen>) {
    sleep(talk.begins).await;
    let Ok(stream) = TcpStream::connect(address(LISTENER_PORT)).await else { return };
    let up = [&[talk.number][..], &body(salt(seed, &talk, 0), talk.up)].concat();
    let down = swallow(&stream, salt(seed, &talk, 1), Vec::new(), talk.pauses[0]);
    let (said, heard) = both(say(&stream, up), down).await;
    seen.note(heard, talk.down, said);
}

async fn serve(seed: u64, talks: Rc<[Talk]>, stream: TcpStream, seen: Rc<Seen>) {
    // The first byte says whose connection it is.
    let Ok(first) = stream.recv().await else { return };
    let Some((number, first)) = first.split_first() else { return };
    let talk = talks[usize::from(*number)];
    let answer = body(salt(seed, &talk, 1), talk.down);
    let up = swallow(&stream, salt(seed, &talk, 0), first.to_vec(), talk.pauses[1]);
    let (said, heard) = if talk.waits {
        let heard = up.await;
        (say(&stream, answer).await, heard)
    } else {
        both(say(&stream, answer), up).await
    };
    seen.note(heard, talk.up, said);
}

/// Sends all of it and the end.
async fn say(stream: &TcpStream, bytes: Vec<u8>) -> End {
    match stream.send_all(bytes).await.0.and_then(|()| stream.shutdown_write()) {
        Ok(()) => End::Fin,
        Err(_) => End::Reset,
    }
}

/// Receives up to the end; `first` has been received already. How many bytes came, all as they were
/// sent.
async fn swallow(stream: &TcpStream, salt: u64, first: Vec<u8>, pause: Duration) -> (usize, End) {
    let mut length = 0;
    let mut take = |bytes: &[u8]| {
        for byte_here in bytes {
            assert_eq!(*byte_here, byte(salt, length), "byte {length}");
            length += 1;
        }
    };
    take(&first);
    let end = loop {
        sleep(pause).await;
        match stream.recv().await {
            Ok(bytes) if bytes.is_empty() => break End::Fin,
            Ok(bytes) => take(&bytes),
            Err(_) => break End::Reset,
        }
    };
    (length, end)
}

impl Seen {
    /// What one side heard of `sent` bytes, and how its own stream ended. Who was told of a reset
    /// when sending hears an end afterwards that is none.
    fn note(&self, (length, end): (usize, End), sent: usize, said: End) {
        assert!(length <= sent);
        if (end, said) == (End::Fin, End::Fin) {
            assert_eq!(length, sent, "a broken stream looks finished");
        }
        let count = if end == End::Fin && length == sent { &self.whole } else { &self.broken };
        count.set(count.get() + 1);
    }
}

/// The longest run: the relay's idle time is ten minutes.
const RUN_MAX: Duration = Duration::from_secs(900);
