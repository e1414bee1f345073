//! `print --effective`: what is printed means the same as what was read.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ringway::base::{address::Address, units::ByteRate};
use ringway::config::{
    AcceptBalance, AccessFormat, AccessLog, Action, AdmissionConfig, BalancePolicy, Buffers,
    CertificateConfig, ClientAuth, ClientAuthMode, Config, Crash, EndpointConfig, ErrorFormat,
    FileName, FilterConfig, FilterKind, Forwarded, HashKey, HeaderEdits, HealthConfig, HostPattern,
    IdTrust, IoDriver, Layer, ListenerConfig, ListenerTls, LogField, LogLevel, LogPath, LogPiece,
    PacketForward, PacketSteer, PathPattern, Piece, Probe, Protocol, ProxyHeader, ProxyVersions,
    RetryCause, RetryOn, RouteConfig, RouteMatch, Segment, Share, Template, Timeouts, TlsVersion,
    UpstreamConfig, UpstreamProtocol, UpstreamTls, Variable, XdpConfig, XdpMode, render,
};

use super::random::Random;
use super::{LEAST, read};

#[test]
fn the_least_file_comes_back() {
    let config = read(LEAST).unwrap();
    assert_eq!(read(&render(&config)), Ok(config));
}

#[test]
fn a_run_without_a_file_comes_back() {
    let endpoints = ["127.0.0.1:9001".parse().unwrap(), "[::1]:9002".parse().unwrap()];
    let mut config = ringway::config::zero("[::]:8080".parse().unwrap(), &endpoints).unwrap();
    config.runtime.shards = vec![0, 1, 2, 3];
    assert_eq!(read(&render(&config)), Ok(config));
}

#[test]
fn any_config_comes_back() {
    for seed in 0..500 {
        let mut random = Random::new(seed);
        let config = random_config(&mut random);
        let text = render(&config);
        let mut back = read(&text).unwrap_or_else(|errors| panic!("seed {seed}: {errors}\n{text}"));
        back.warnings.clear();
        assert_eq!(back, config, "seed {seed}:\n{text}");
        // What was printed is printed the same again.
        assert_eq!(render(&back), text, "seed {seed}");
    }
}

/// A valid configuration of any kind, without warnings in it.
pub(super) fn random_config(random: &mut Random) -> Config {
    let listeners: Vec<ListenerConfig> =
        (0..1 + random.below(3)).map(|index| listener(random, index)).collect();
    let upstreams: Vec<UpstreamConfig> =
        (0..1 + random.below(3)).map(|index| upstream(random, index)).collect();
    let filters: Vec<FilterConfig> =
        (0..random.below(4)).map(|index| filter(random, index)).collect();
    let counts =
        Counts { listeners: listeners.len(), upstreams: upstreams.len(), filters: filters.len() };
    let routes = (0..random.below(5)).map(|index| route(random, index, &counts)).collect();
    let mut config = read(LEAST).unwrap();
    runtime(random, &mut config);
    config.listeners = listeners;
    config.upstreams = upstreams;
    config.filters = filters;
    config.routes = routes;
    add_l4(random, &mut config);
    if random.one_in(2) {
        add_xdp(random, &mut config);
    }
    config
}

/// A fast path with a listener for each way of forwarding, and a rate of SYNs for one that listens.
fn add_xdp(random: &mut Random, config: &mut Config) {
    let mode = random.pick(&[XdpMode::Auto, XdpMode::Native, XdpMode::Generic]);
    let mut xdp = XdpConfig::new("eth\"0".to_owned(), mode);
    if random.one_in(2) {
        xdp.crash = Crash::Keep;
        xdp.pins = PathBuf::from("/sys/fs/bpf/ring way");
    }
    xdp.flows = random.between(1_024, 64_000_000);
    xdp.nat_ports = 1..=u16::try_from(random.between(1, 65_535)).unwrap();
    if random.one_in(2) {
        xdp.sources = vec!["2001:db8::1".parse().unwrap(), "10.0.0.1".parse().unwrap()];
    }
    if config.runtime.accept_balance == AcceptBalance::Cpu && random.one_in(2) {
        xdp.steer = PacketSteer::Cpu;
    }
    config.xdp = Some(xdp);
    config.upstreams.iter_mut().for_each(|upstream| upstream.transparent = false);
    config.listeners[0].addresses = vec!["192.0.2.7:7".parse().unwrap()];
    // No Unix socket is left whose mode could be read.
    config.listeners[0].socket_mode = 0o666;
    config.listeners[0].syn_rate = Some("20000/2s".parse().unwrap());
    let own = vec![EndpointConfig { weight: 256, ..endpoint("10.1.1.1:99") }];
    config.upstreams.push(UpstreamConfig::new("reals".to_owned(), own));
    let forwards = [PacketForward::Dsr, PacketForward::Nat, PacketForward::Ipip];
    for (index, forward) in forwards.into_iter().enumerate() {
        let address = Address::Ip(format!("192.0.2.{index}:99").parse().unwrap());
        let mut listener = ListenerConfig::new(forward.name().to_owned(), vec![address]);
        listener.protocol = random.pick(&[Protocol::Tcp, Protocol::Udp]);
        listener.forward = Some(forward);
        if listener.protocol == Protocol::Tcp {
            listener.syn_rate = random.one_in(2).then(|| "8/s".parse().unwrap());
        }
        let upstream = config.upstreams.len() - 1;
        let name = format!("{}-route", listener.name);
        let mut route = RouteConfig::new(name, RouteMatch::default(), Action::Upstream(upstream));
        route.layer = Layer::L4;
        route.listeners = Some(vec![config.listeners.len()]);
        route.timeouts = Timeouts::of_l4(listener.protocol);
        config.listeners.push(listener);
        config.routes.push(route);
    }
}

fn endpoint(address: &str) -> EndpointConfig {
    EndpointConfig::new(address.parse::<SocketAddr>().unwrap())
}

/// One listener of each L4 protocol, with a route of its own to an upstream of its own.
fn add_l4(random: &mut Random, config: &mut Config) {
    let mut own = upstream(random, config.upstreams.len());
    own.balance = BalancePolicy::Maglev(HashKey::SourceIp);
    own.transparent = random.one_in(2);
    speak(&mut own, UpstreamProtocol::Http11);
    for (host, endpoint) in (1..).zip(&mut own.endpoints) {
        endpoint.address = SocketAddr::from(([10, 0, 0, host], 53)).into();
    }
    config.upstreams.push(own);
    let upstream = config.upstreams.len() - 1;
    let protocols = [Protocol::Tcp, Protocol::Tls, Protocol::Udp];
    for (index, protocol) in protocols.into_iter().enumerate() {
        config.listeners.push(l4_listener(random, index, protocol));
        let listener = config.listeners.len() - 1;
        config.routes.push(l4_route(random, (index, listener, upstream), protocol));
    }
    // One that ends TLS itself may pass some of it through.
    let secure = config.listeners.iter().position(|own| own.protocol == Protocol::Https);
    if let Some(listener) = secure {
        let place = (protocols.len(), listener, upstream);
        config.routes.push(l4_route(random, place, Protocol::Https));
    }
}

struct Counts {
    listeners: usize,
    upstreams: usize,
    filters: usize,
}

fn runtime(random: &mut Random, config: &mut Config) {
    let runtime = &mut config.runtime;
    runtime.shards = (0..1 + random.below(12)).map(|_| random.below(8)).collect();
    runtime.pin = random.one_in(2);
    runtime.io_driver = random.pick(&[IoDriver::Auto, IoDriver::IoUring, IoDriver::Epoll]);
    runtime.ring_entries = 1 << random.between(6, 15);
    runtime.buffers =
        Buffers { count: 1 << random.between(4, 15), size: 4096 * random.between(1, 256) };
    runtime.max_connections = random.between(1, 10_000_000);
    runtime.user = random.one_in(2).then(|| "ringway".to_owned());
    runtime.drain_timeout = duration(random);
    if random.one_in(2) {
        config.admin.listen = Some(PathBuf::from("/run/ring way/\"admin\".sock"));
        config.admin.dashboard = Some("127.0.0.1:9100".parse().unwrap());
    }
    config.log.error.path = log_path(random);
    config.log.error.level = random.pick(&[LogLevel::Error, LogLevel::Warn, LogLevel::Trace]);
    if random.one_in(2) {
        let pieces = vec![
            LogPiece::Field(random.pick(&LogField::ALL)),
            LogPiece::Literal(" ${x} \"\\ é\t".to_owned()),
            LogPiece::Field(random.pick(&LogField::ALL)),
        ];
        let format = match random.below(3) {
            0 => AccessFormat::Json,
            1 => AccessFormat::Combined,
            _ => AccessFormat::Template(pieces),
        };
        config.log.access =
            Some(AccessLog { path: log_path(random), format, sample: share(random) });
    }
}

fn log_path(random: &mut Random) -> LogPath {
    match random.below(3) {
        0 => LogPath::Stdout,
        1 => LogPath::Stderr,
        _ => LogPath::File(PathBuf::from("/var/log/ring\u{1}way/\u{fc}.log")),
    }
}

fn listener(random: &mut Random, index: usize) -> ListenerConfig {
    let port = u16::try_from(8000 + index).unwrap();
    let mut addresses = vec![Address::from(SocketAddr::from(([127, 0, 0, 1], port)))];
    if random.one_in(2) {
        addresses.push(SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port).into());
    }
    let has_unix = random.one_in(2);
    if has_unix {
        addresses.push(format!("unix:/run/\u{fc} {index}.sock").parse().unwrap());
    }
    let mut listener = ListenerConfig::new(format!("web.{index}"), addresses);
    if has_unix {
        listener.socket_mode = random.between(0, 0o777);
    }
    if random.one_in(2) {
        listener.trusted_proxies =
            ["10.0.0.0/8", "2001:db8::/32", "unix:"].map(|block| block.parse().unwrap()).to_vec();
    }
    listener.forwarded =
        random.pick(&[Forwarded::XForwarded, Forwarded::Rfc7239, Forwarded::Both, Forwarded::Off]);
    listener.error_format = random.pick(&[ErrorFormat::Auto, ErrorFormat::Text, ErrorFormat::Json]);
    listener.connect = random.one_in(2);
    if random.one_in(2) {
        listener.protocol = Protocol::Https;
        listener.tls = Some(tls(random));
    } else {
        listener.redirect_https = random.pick(&[None, Some(443), Some(8443)]);
    }
    let limits = &mut listener.limits;
    limits.header_timeout = duration(random);
    limits.body_timeout = duration(random);
    limits.write_timeout = duration(random);
    limits.min_rate = random.one_in(2).then(|| ByteRate(u64::from(random.between(1, 1 << 30))));
    limits.idle = duration(random);
    limits.headers = random.between(1 << 10, 1 << 16);
    limits.body = random.one_in(2).then(|| random.next() >> 14);
    listener.admission = admission(random);
    listener
}

fn tls(random: &mut Random) -> ListenerTls {
    let file = |name: &str| FileName::new(format!("/etc/ring way/{name}"));
    let mut certificate = CertificateConfig::new(file("\"a\".pem"), file("a.key"));
    certificate.ocsp = random.one_in(2).then(|| file("a.ocsp"));
    certificate.client_auth = random.one_in(2).then(|| client_auth(random));
    let more = CertificateConfig::new(file("b.pem"), file("b.key"));
    let mut tls = ListenerTls::new(vec![certificate, more]);
    tls.min_version = random.pick(&[TlsVersion::Tls12, TlsVersion::Tls13]);
    tls.client_auth = client_auth(random);
    tls.reject_unknown_sni = random.one_in(2);
    tls.handshake_timeout = duration(random);
    tls.handshakes = random.between(1, 1_000_000);
    tls.key_log = random.one_in(2).then(|| PathBuf::from("/var/log/keys"));
    tls
}

fn upstream_tls(random: &mut Random) -> UpstreamTls {
    let mut tls = UpstreamTls::new();
    tls.sni = random.one_in(2).then(|| "api.internal".to_owned());
    match random.below(3) {
        0 => tls.danger_skip_verification = true,
        1 => tls.ca = Some(FileName::new("/etc/ca.pem")),
        _ => {}
    }
    if random.one_in(2) {
        tls.cert = Some(FileName::new("/etc/own.pem"));
        tls.key = Some(FileName::new("/etc/own.key"));
    }
    tls
}

fn client_auth(random: &mut Random) -> ClientAuth {
    let modes = [ClientAuthMode::Off, ClientAuthMode::Optional, ClientAuthMode::Required];
    let mode = random.pick(&modes);
    let has_ca = mode != ClientAuthMode::Off || random.one_in(2);
    ClientAuth { mode, ca: has_ca.then(|| FileName::new("/etc/clients.pem")) }
}

fn admission(random: &mut Random) -> AdmissionConfig {
    let block = |text: &str| vec![text.parse().unwrap()];
    let rate = |random: &mut Random| {
        random.one_in(2).then(|| random.pick(&["1/s", "100/min", "20/1m30s"]).parse().unwrap())
    };
    AdmissionConfig {
        allow: if random.one_in(2) { block("10.0.0.0/8") } else { Vec::new() },
        deny: if random.one_in(2) { block("2001:db8::/32") } else { Vec::new() },
        connections: random.one_in(2).then(|| random.between(1, 10_000_000)),
        connections_per_ip: random.one_in(2).then(|| random.between(1, 10_000_000)),
        new_connections: rate(random),
        new_connections_per_ip: rate(random),
        proxy_protocol: random.one_in(2).then(|| ProxyHeader {
            accept: random.pick(&[ProxyVersions::V1, ProxyVersions::V2, ProxyVersions::Both]),
            from: block("192.0.2.0/24"),
            required: random.one_in(2),
        }),
    }
}

/// The last listeners are of L4, each with routes of its own.
fn l4_listener(random: &mut Random, index: usize, protocol: Protocol) -> ListenerConfig {
    let port = u16::try_from(9000 + index).unwrap();
    let addresses = vec![SocketAddr::from(([127, 0, 0, 1], port))];
    let mut listener = ListenerConfig::new(format!("l4.{index}"), addresses);
    listener.protocol = protocol;
    if protocol == Protocol::Udp {
        listener.admission.deny = vec!["192.0.2.1/32".parse().unwrap()];
        listener.flows.flows = random.between(1, 1_000_000);
        listener.flows.replies = random.one_in(2).then(|| random.between(1, 100));
    } else {
        listener.admission = admission(random);
        listener.limits.header_timeout = duration(random);
    }
    listener
}

fn l4_route(
    random: &mut Random,
    (index, listener, upstream): (usize, usize, usize),
    protocol: Protocol,
) -> RouteConfig {
    let mut matches = RouteMatch::default();
    if matches!(protocol, Protocol::Tls | Protocol::Https) {
        matches.hosts = vec![
            HostPattern::Exact(format!("r{index}.test")),
            HostPattern::Suffix(".r.test".to_owned()),
        ];
        matches.alpn = vec!["h2".to_owned(), "http/1.1".to_owned()];
    }
    let action = Action::Upstream(upstream);
    let mut route = RouteConfig::new(format!("l4-{index}"), matches, action);
    route.layer = Layer::L4;
    route.listeners = Some(vec![listener]);
    route.timeouts = Timeouts::of_l4(protocol);
    route.timeouts.idle = duration(random);
    if protocol != Protocol::Udp {
        route.timeouts.connect = duration(random);
    }
    route.retry.attempts = random.between(0, 10);
    route
}

fn route(random: &mut Random, index: usize, counts: &Counts) -> RouteConfig {
    let matches = matches(random, index);
    let action = match random.below(4) {
        0 => Action::Respond {
            status: random.pick(&[200, 404, 503]),
            body: "pong\n\"\\\u{7}\u{7f}é$".to_owned(),
            headers: vec![("content-type".to_owned(), "text/html; a=\"b\"".to_owned())],
        },
        1 => Action::Redirect {
            to: Template {
                pieces: vec![
                    Piece::Variable(Variable::Scheme),
                    Piece::Literal("://x/$".to_owned()),
                ],
            },
            status: random.pick(&[301, 302, 303, 307, 308]),
        },
        _ => Action::Upstream(random.below(counts.upstreams)),
    };
    let mut route = RouteConfig::new(format!("route-{index}"), matches, action);
    if random.one_in(3) {
        route.listeners = Some((0..counts.listeners).rev().take(1 + random.below(2)).collect());
    }
    route.priority = i32::try_from(random.below(2001)).unwrap() - 1000;
    route.filters = (0..counts.filters).rev().take(random.below(3)).collect();
    route.response_headers = edits(random);
    if matches!(route.action, Action::Upstream(_)) {
        route.request_headers = edits(random);
        if random.one_in(2) && !route.matches.paths.is_empty() {
            route.rewrite.strip_prefix = Some(format!("/r{index}"));
        }
        route.timeouts.connect = duration(random);
        route.timeouts.first_byte = duration(random);
        route.timeouts.idle = duration(random);
        route.timeouts.total = random.one_in(2).then(|| duration(random));
        route.retry.attempts = random.between(0, 10);
        route.retry.on = RetryCause::ALL
            .into_iter()
            .filter(|_| random.one_in(2))
            .fold(RetryOn::NONE, RetryOn::with);
        route.retry.budget = share(random);
        route.upgrade = random.one_in(2);
    }
    route
}

/// No two routes take the same path, so that none fight.
fn matches(random: &mut Random, index: usize) -> RouteMatch {
    let mut matches = RouteMatch::default();
    if random.one_in(2) {
        matches.hosts = vec![
            HostPattern::Exact(format!("r{index}.example.com")),
            HostPattern::Suffix(format!(".r{index}.example.com")),
        ];
    }
    let literal = |text: &str| Segment::Literal(text.to_owned());
    let own = format!("r{index}");
    let segments = vec![literal(&own), Segment::Any, literal("posts")];
    matches.paths = vec![
        PathPattern::Exact(format!("/{own}/a'b")),
        PathPattern::Prefix(format!("/{own}/v1")),
        PathPattern::Pattern { segments, rest: random.one_in(2) },
    ];
    if random.one_in(2) {
        matches.methods = vec!["GET".to_owned(), "PURGE".to_owned()];
    }
    if random.one_in(2) {
        matches.headers = vec![("x-env".to_owned(), "prod \"1\" é".to_owned())];
    }
    matches
}

fn edits(random: &mut Random) -> HeaderEdits {
    let template = |random: &mut Random| {
        let variable = Piece::Variable(random.pick(&[
            Variable::Scheme,
            Variable::Host,
            Variable::Path,
            Variable::PathRest,
            Variable::Query,
            Variable::ClientIp,
            Variable::RequestId,
        ]));
        match random.below(3) {
            0 => Template { pieces: vec![variable] },
            1 => Template { pieces: vec![Piece::Literal("$ ${".to_owned()), variable] },
            _ => Template { pieces: vec![Piece::Literal("$$${a}$".to_owned())] },
        }
    };
    let mut edits = HeaderEdits::default();
    if random.one_in(2) {
        edits.set =
            vec![("x-a".to_owned(), template(random)), ("host.b".to_owned(), template(random))];
    }
    if random.one_in(2) {
        edits.add = vec![
            ("x-c".to_owned(), template(random)),
            ("x-c".to_owned(), template(random)),
            ("a".to_owned(), template(random)),
        ];
    }
    if random.one_in(2) {
        edits.remove = vec!["server".to_owned(), "x-z".to_owned()];
    }
    edits
}

fn upstream(random: &mut Random, index: usize) -> UpstreamConfig {
    let endpoints = (1..=1 + random.below(3))
        .map(|host| EndpointConfig {
            address: match random.one_in(2) {
                true => {
                    Address::from(SocketAddr::from(([10, 0, 0, u8::try_from(host).unwrap()], 80)))
                }
                false => format!("unix:/run/{host}.sock").parse().unwrap(),
            },
            weight: random.between(1, 256),
            backup: host > 1 && random.one_in(2),
        })
        .collect();
    let mut upstream = UpstreamConfig::new(format!("up_{index}"), endpoints);
    upstream.balance = balance(random);
    upstream.tls = random.one_in(2).then(|| upstream_tls(random));
    let protocols = [UpstreamProtocol::Http11, UpstreamProtocol::H2, UpstreamProtocol::Auto];
    let most = if upstream.tls.is_some() { 3 } else { 2 };
    let protocol = random.pick(&protocols[..most]);
    upstream.pool.idle_per_endpoint = random.between(0, 65_536);
    upstream.pool.idle_timeout = duration(random);
    upstream.pool.share = random.pick(&[Share::Steal, Share::Off]);
    upstream.pool.max_reuse = random.one_in(2).then(|| u64::from(random.between(1, u32::MAX - 1)));
    upstream.limits.connections = random.one_in(2).then(|| random.between(1, 10_000_000));
    upstream.limits.pending = random.between(0, 1_000_000);
    upstream.limits.queue_timeout = duration(random);
    upstream.health = random.one_in(2).then(|| health(random));
    speak(&mut upstream, protocol);
    upstream.outlier.consecutive_failures = random.one_in(2).then(|| random.between(1, 1000));
    upstream.outlier.consecutive_5xx = random.one_in(2).then(|| random.between(1, 1000));
    upstream.outlier.eject = duration(random);
    upstream.outlier.max_ejected = share(random);
    upstream
}

/// Probes ask in what requests are sent in.
fn speak(upstream: &mut UpstreamConfig, protocol: UpstreamProtocol) {
    upstream.protocol = protocol;
    if let Some(health) = &mut upstream.health {
        health.protocol = protocol;
    }
}

fn balance(random: &mut Random) -> BalancePolicy {
    let key = match random.below(5) {
        0 => HashKey::SourceIp,
        1 => HashKey::Path,
        2 => HashKey::Header("x-user".to_owned()),
        3 => HashKey::Cookie("SID".to_owned()),
        _ => HashKey::Query("user[]".to_owned()),
    };
    match random.below(9) {
        0 => BalancePolicy::LeastRequest { choices: random.between(2, 16) },
        1 => BalancePolicy::LeastConn,
        2 => BalancePolicy::Random,
        3 => BalancePolicy::First,
        4 => BalancePolicy::Hash(key),
        5 => BalancePolicy::Ketama(key),
        6 => BalancePolicy::Maglev(key),
        7 => BalancePolicy::Rendezvous(key),
        _ => BalancePolicy::RoundRobin,
    }
}

fn health(random: &mut Random) -> HealthConfig {
    let http = Probe::Http {
        path: "/up?a=\"b\"".to_owned(),
        host: random.one_in(2).then(|| "api.internal:80".to_owned()),
    };
    let grpc = Probe::Grpc {
        service: if random.one_in(2) { String::new() } else { "pkg.Service".to_owned() },
        host: random.one_in(2).then(|| "api.internal".to_owned()),
    };
    let mut health = HealthConfig::new(match random.one_in(2) {
        true => http,
        false if random.one_in(2) => grpc,
        false => Probe::Tcp,
    });
    health.interval = Duration::from_millis(u64::from(random.between(100, 3_600_000)));
    health.timeout = health.interval / 2;
    // The text has whole microseconds.
    health.timeout = Duration::from_millis(u64::try_from(health.timeout.as_millis()).unwrap());
    health.rise = random.between(1, 100);
    health.fall = random.between(1, 100);
    if matches!(health.probe, Probe::Http { .. }) && random.one_in(2) {
        health.expect = vec![200..=200, 300..=599];
    }
    health
}

fn filter(random: &mut Random, index: usize) -> FilterConfig {
    let kind = match random.below(3) {
        0 => FilterKind::RequestId {
            header: "x-id".to_owned(),
            trust: random.pick(&[IdTrust::Nobody, IdTrust::TrustedProxies]),
        },
        1 => FilterKind::RateLimit {
            rate: random.pick(&["1/s", "100/min", "7/day", "20/1m30s"]).parse().unwrap(),
            burst: random.between(1, 1_000_000),
        },
        _ => FilterKind::Headers { request: edits(random), response: edits(random) },
    };
    FilterConfig { name: format!("f{index}"), kind }
}

fn duration(random: &mut Random) -> Duration {
    let micros = match random.below(3) {
        0 => 1_000 * random.between(1, 999),
        1 => 1_000_000 * random.between(1, 4_000),
        _ => random.between(1_000, u32::MAX - 1),
    };
    Duration::from_micros(u64::from(micros))
}

fn share(random: &mut Random) -> f64 {
    f64::from(random.between(0, 1_000_000)) / 1_000_000.0
}
