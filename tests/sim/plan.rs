//! Everything that a seed decides before the run: the network, the configuration, who asks what
//! and in which way each answer goes wrong. The run itself draws nothing but what the network
//! draws, so one seed is one run.

use std::{rc::Rc, time::Duration};

use ringway::runtime::SimOptions;

use crate::{
    exchange::{Answer, Delimited, End, Fault, RequestPlan, When},
    random::Random,
    settings::{self, Settings},
};

/// What a batch of seeds is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Delays and odd sizes, but nothing fails: so every request must be answered, and well.
    Calm,
    /// As calm, with configurations committed in the middle.
    Reload,
    /// Everything that can go wrong.
    Hostile,
    /// As hostile, and the shards are stopped in the middle of it all.
    Stopped,
}

impl Profile {
    /// Whether nothing fails by plan or by chance.
    pub(crate) fn is_calm(self) -> bool {
        matches!(self, Self::Calm | Self::Reload)
    }
}

/// One run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) profile: Profile,
    pub(crate) network: SimOptions,
    pub(crate) shards: usize,
    /// Most client connections at a time, over all shards.
    pub(crate) connections_max: u32,
    pub(crate) settings: Settings,
    pub(crate) clients: Vec<ClientPlan>,
    /// Committed at these times after the start.
    pub(crate) reloads: Vec<(Duration, Settings)>,
    /// The shards drain from then on.
    pub(crate) drain_at: Option<Duration>,
    /// Everything is dropped then.
    pub(crate) stop_at: Option<Duration>,
}

/// One client.
#[derive(Debug)]
pub(crate) struct ClientPlan {
    pub(crate) starts_at: Duration,
    /// One connection after the other: bundles of requests that are pipelined.
    pub(crate) connections: Vec<Vec<Bundle>>,
    /// Drops everything at this time after its start.
    pub(crate) vanishes_at: Option<Duration>,
    /// Rests before each of its receives.
    pub(crate) pause: Duration,
}

/// Requests that are sent in one go.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) think: Duration,
    pub(crate) requests: Vec<Rc<RequestPlan>>,
}

impl Plan {
    pub(crate) fn new(seed: u64, profile: Profile) -> Self {
        let mut random = Random::new(seed ^ 0x005e_ed0f_7e57_u64.rotate_left(profile as u32 * 8));
        let random = &mut random;
        let settings = settings::draw(random, profile);
        let reloads = if profile == Profile::Reload || random.percent(20) {
            let count = random.within(1, 4);
            let mut times: Vec<_> = (0..count).map(|_| random.millis(400)).collect();
            times.sort();
            let next = |at| (at, settings::change(random, profile, &settings));
            times.into_iter().map(next).collect()
        } else {
            Vec::new()
        };
        let count = random.within(1, 12);
        let mut tokens = 1000;
        let clients = (0..count).map(|_| client(random, profile, &mut tokens)).collect();
        Self {
            seed,
            profile,
            network: network(random, profile),
            shards: random.pick(&[1, 1, 2, 3]),
            connections_max: if profile.is_calm() {
                1000
            } else {
                random.pick(&[1000, 1000, 2, 5])
            },
            settings,
            clients,
            reloads,
            drain_at: (!profile.is_calm() && random.percent(15)).then(|| random.millis(500)),
            stop_at: (profile == Profile::Stopped).then(|| random.millis(300)),
        }
    }
}

fn network(random: &mut Random, profile: Profile) -> SimOptions {
    let mut options = if profile.is_calm() { SimOptions::calm() } else { SimOptions::default() };
    // Short pieces fail nothing.
    options.short_read = random.pick(&[0.0, 0.3, 0.9]);
    options.short_write = random.pick(&[0.0, 0.2, 0.8]);
    options.no_buffer = random.pick(&[0.0, 0.02, 0.2]);
    options.no_descriptor = random.pick(&[0.0, 0.01, 0.1]);
    options.delay_max = random.millis(5);
    options.jitter_max = Duration::from_micros(random.below(500) as u64);
    options.window = random.pick(&[1000, 8 << 10, 64 << 10, 256 << 10]);
    if !profile.is_calm() {
        options.reset = random.pick(&[0.0, 0.0, 0.002, 0.02]);
        options.refuse = random.pick(&[0.0, 0.01, 0.3]);
    }
    // Clients, endpoints and shards share the buffers here, so that few of them could make a
    // circle that no proxy can break; what scarcity does is drawn by `no_buffer`.
    options.runtime.buffer_count = 512;
    options.runtime.buffer_size = random.pick(&[512, 4096, 16 << 10]);
    options.runtime.lease_bytes_max = random.pick(&[0, 1 << 20, 64 << 20]);
    options
}

fn client(random: &mut Random, profile: Profile, tokens: &mut u64) -> ClientPlan {
    let is_http10 = random.percent(10);
    let connections = random.within(1, 3);
    let connections = (0..connections).map(|_| {
        let bundles = if is_http10 { 1 } else { random.within(1, 5) };
        let bundles = (0..bundles).map(|_| {
            let depth = if is_http10 || random.percent(70) { 1 } else { random.within(2, 4) };
            let requests = (0..depth).map(|index| {
                *tokens += 1;
                Rc::new(request(random, profile, *tokens, is_http10, index + 1 == depth))
            });
            let requests = requests.collect();
            let rest = if random.percent(80) { 5 } else { 900 };
            Bundle { think: random.millis(rest), requests }
        });
        bundles.collect()
    });
    let connections = connections.collect();
    let is_calm = profile.is_calm();
    ClientPlan {
        starts_at: random.millis(100),
        connections,
        vanishes_at: (!is_calm && random.percent(15)).then(|| random.millis(400)),
        pause: if !is_calm && random.percent(10) { random.millis(300) } else { Duration::ZERO },
    }
}

fn request(
    random: &mut Random,
    profile: Profile,
    token: u64,
    is_http10: bool,
    is_last: bool,
) -> RequestPlan {
    let method = random.pick(&["GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE"]);
    let has_body = matches!(method, "POST" | "PUT") || random.percent(5);
    let body = match (has_body, is_http10 || random.percent(50)) {
        (false, _) => Delimited::No,
        (true, true) => Delimited::Length,
        (true, false) => Delimited::Chunked,
    };
    let length = if body == Delimited::No { 0 } else { random.length() };
    let mut plan = RequestPlan {
        token,
        method,
        is_http10,
        body,
        length,
        has_trailers: random.percent(30),
        expects_continue: !is_http10 && is_last && body != Delimited::No && random.percent(10),
        cut: None,
        answers: Vec::new(),
    };
    if !profile.is_calm() && is_last && random.percent(12) {
        plan.expects_continue = false;
        let whole = plan.encode().0.len();
        let end = random.pick(&[End::Close, End::Reset, End::Stall, End::HalfClose]);
        plan.cut = Some((random.below(whole), end));
    }
    // The last one answers every further attempt.
    let attempts = random.within(1, 3);
    plan.answers = (0..attempts).map(|_| answer(random, profile, &plan)).collect();
    plan
}

fn answer(random: &mut Random, profile: Profile, request: &RequestPlan) -> Answer {
    let is_calm = profile.is_calm();
    let fault = if is_calm || random.percent(65) { Fault::None } else { fault(random) };
    let status = match random.below(20) {
        0 => 204,
        1 => 404,
        2 if !is_calm => 503,
        3 if !is_calm => 500,
        4 if request.method == "GET" => 304,
        _ => 200,
    };
    let think = if random.percent(90) { 5 } else { 300 };
    Answer {
        status,
        when: match random.below(10) {
            0..7 => When::AfterBody,
            7..9 => When::Beside,
            _ if is_calm => When::Beside,
            _ => When::AtOnce,
        },
        interim: match random.below(10) {
            0 => Some(100),
            1 => Some(103),
            _ => None,
        },
        think: random.millis(think),
        delimited: match random.pick(&[Delimited::Length, Delimited::Chunked, Delimited::No]) {
            // An endpoint that gets no body because it answers before it asked for one would wait
            // for it, and its client for the connection's end.
            Delimited::No if request.expects_continue => Delimited::Length,
            delimited => delimited,
        },
        length: random.length(),
        has_trailers: random.percent(20),
        pieces: random.pick(&[1, 1, 2, 5]),
        fault,
        announces_close: random.percent(10),
        // A close without a word fails requests that can't be repeated.
        closes_after: (!is_calm && random.percent(15)).then(|| random.millis(20)),
    }
}

fn fault(random: &mut Random) -> Fault {
    let permille = random.below(1000);
    match random.below(10) {
        0 | 1 => Fault::Cut { permille },
        2 => Fault::Reset { permille },
        3 => Fault::Stall { permille },
        4 | 5 => Fault::MalformedHead { kind: random.below(8) },
        6 => Fault::BadChunk,
        7 | 8 => Fault::Extra,
        _ => Fault::Silent,
    }
}
