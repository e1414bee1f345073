//! Every default, in one place: who changes one changes this file and docs/CONFIG.md.

use std::path::PathBuf;
use std::time::Duration;

use ringway::base::units::ByteRate;
use ringway::config::{
    AccessFormat, Action, Alpn, BalancePolicy, Buffers, Crash, ErrorFormat, FilterKind, Forwarded,
    IdTrust, IoDriver, LogLevel, LogPath, PacketSteer, PathPattern, Probe, RetryCause, Share,
    UpstreamProtocol, XdpMode,
};

use super::{LEAST, read};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn of_the_process() {
    let config = read(LEAST).unwrap();
    let runtime = config.runtime;
    assert_eq!(runtime.shards, [0, 1, 2, 3]);
    assert!(runtime.pin);
    assert_eq!(runtime.io_driver, IoDriver::Auto);
    assert_eq!(runtime.ring_entries, 4096);
    assert_eq!(runtime.buffers, Buffers { count: 1024, size: 16 * 1024 });
    assert_eq!(runtime.max_connections, 200_000);
    assert_eq!(runtime.user, None);
    assert_eq!(runtime.drain_timeout, seconds(60));
    assert_eq!(config.xdp, None);
    assert_eq!(config.admin.listen, None);
    assert_eq!(config.admin.dashboard, None);
    assert_eq!(config.log.access, None);
    assert_eq!(config.log.error.path, LogPath::Stderr);
    assert_eq!(config.log.error.level, LogLevel::Info);
    assert!(config.filters.is_empty());
    assert!(config.warnings.is_empty());
}

#[test]
fn of_the_fast_path() {
    let text = format!("{LEAST}[xdp]\nmode = 'auto'\ninterface = 'eth0'");
    let xdp = read(&text).unwrap().xdp.unwrap();
    assert_eq!(xdp.mode, XdpMode::Auto);
    assert_eq!(xdp.crash, Crash::Detach);
    assert_eq!(xdp.pins, PathBuf::from("/sys/fs/bpf/ringway-eth0"));
    assert_eq!(xdp.flows, 1_000_000);
    assert_eq!(xdp.nat_ports, 1024..=32_767);
    assert!(xdp.sources.is_empty());
    assert_eq!(xdp.steer, PacketSteer::Off);
    for off in ["[xdp]", "[xdp]\nmode = 'off'\ninterface = 'eth0'"] {
        assert_eq!(read(&format!("{LEAST}{off}")).unwrap().xdp, None);
    }
}

#[test]
fn of_an_access_log() {
    let config = read(&format!("{LEAST}[log]\naccess = {{ path = 'stdout' }}")).unwrap();
    let access = config.log.access.unwrap();
    assert_eq!(access.path, LogPath::Stdout);
    assert_eq!(access.format, AccessFormat::Json);
    assert_eq!(access.sample.to_bits(), 1.0_f64.to_bits());
}

#[test]
fn of_a_listener() {
    let listener = read(LEAST).unwrap().listeners.remove(0);
    assert_eq!(listener.name, "web");
    assert_eq!(listener.forward, None);
    assert_eq!(listener.syn_rate, None);
    assert_eq!(listener.alpn, [Alpn::Http11]);
    assert!(listener.trusted_proxies.is_empty());
    assert_eq!(listener.forwarded, Forwarded::XForwarded);
    assert_eq!(listener.error_format, ErrorFormat::Auto);
    assert!(!listener.connect);
    let limits = listener.limits;
    assert_eq!(limits.header_timeout, seconds(10));
    assert_eq!(limits.body_timeout, seconds(30));
    assert_eq!(limits.write_timeout, seconds(30));
    assert_eq!(limits.min_rate, Some(ByteRate(240)));
    assert_eq!(limits.idle, seconds(75));
    assert_eq!(limits.headers, 32 * 1024);
    assert_eq!(limits.body, Some(10 * 1024 * 1024));
    assert_eq!(limits.h2_streams, 128);
}

#[test]
fn of_a_route() {
    let route = read(LEAST).unwrap().routes.remove(0);
    assert_eq!(route.listeners, None);
    assert!(route.matches.hosts.is_empty());
    assert!(route.matches.paths.is_empty());
    assert!(route.matches.methods.is_empty());
    assert!(route.matches.headers.is_empty());
    assert_eq!(route.priority, 0);
    assert!(route.filters.is_empty());
    assert_eq!(route.rewrite.strip_prefix, None);
    assert!(route.request_headers.is_empty());
    assert!(route.response_headers.is_empty());
    assert_eq!(route.timeouts.connect, seconds(5));
    assert_eq!(route.timeouts.first_byte, seconds(60));
    assert_eq!(route.timeouts.idle, seconds(60));
    assert_eq!(route.timeouts.total, None);
    assert_eq!(route.retry.attempts, 1);
    let causes: Vec<RetryCause> = route.retry.on.iter().collect();
    let safe = [RetryCause::ConnectFailure, RetryCause::NoResponse, RetryCause::RefusedStream];
    assert_eq!(causes, safe);
    assert_eq!(route.retry.budget.to_bits(), 0.2_f64.to_bits());
    assert!(!route.upgrade);
}

#[test]
fn of_answers() {
    let text = LEAST.replace("upstream = 'api'", "respond = {}");
    let action = read(&text).unwrap().routes.remove(0).action;
    let expected = Action::Respond { status: 200, body: String::new(), headers: Vec::new() };
    assert_eq!(action, expected);
    let text = LEAST.replace("upstream = 'api'", "redirect = { to = '/new' }");
    let action = read(&text).unwrap().routes.remove(0).action;
    assert!(matches!(action, Action::Redirect { status: 302, .. }), "{action:?}");
}

#[test]
fn of_an_upstream() {
    let upstream = read(LEAST).unwrap().upstreams.remove(0);
    assert_eq!(upstream.name, "api");
    assert_eq!(upstream.protocol, UpstreamProtocol::Http11);
    assert_eq!(upstream.balance, BalancePolicy::RoundRobin);
    assert_eq!(upstream.endpoints[0].weight, 1);
    assert!(!upstream.endpoints[0].backup);
    assert_eq!(upstream.pool.idle_per_endpoint, 64);
    assert_eq!(upstream.pool.idle_timeout, seconds(60));
    assert_eq!(upstream.pool.share, Share::Steal);
    assert_eq!(upstream.pool.max_reuse, None);
    assert_eq!(upstream.limits.connections, None);
    assert_eq!(upstream.limits.pending, 1024);
    assert_eq!(upstream.limits.queue_timeout, seconds(2));
    assert_eq!(upstream.health, None);
    assert_eq!(upstream.outlier.consecutive_failures, Some(5));
    assert_eq!(upstream.outlier.consecutive_5xx, None);
    assert_eq!(upstream.outlier.eject, seconds(10));
    assert_eq!(upstream.outlier.max_ejected.to_bits(), 0.5_f64.to_bits());
}

#[test]
fn of_a_balancer() {
    let text = format!(
        "{LEAST}[upstream.b]\nendpoints = ['10.0.0.1:80']\nbalance.policy = 'least_request'"
    );
    let upstream = read(&text).unwrap().upstreams.remove(1);
    assert_eq!(upstream.balance, BalancePolicy::LeastRequest { choices: 2 });
}

#[test]
fn of_health_checks() {
    let health = |health: &str| {
        let text = format!("{LEAST}[upstream.b]\nendpoints = ['10.0.0.1:80']\nhealth = {health}");
        read(&text).unwrap().upstreams.remove(1).health.unwrap()
    };
    let check = health("{ http = '/up' }");
    assert_eq!(check.probe, Probe::Http { path: "/up".to_owned(), host: None });
    assert_eq!(check.interval, seconds(2));
    assert_eq!(check.timeout, seconds(1));
    assert_eq!(check.rise, 2);
    assert_eq!(check.fall, 3);
    assert_eq!(check.expect, [200..=399]);
    // A check must end before the next begins, also by default.
    assert_eq!(health("{ tcp = true, interval = '100ms' }").timeout, Duration::from_millis(100));
}

#[test]
fn of_filters() {
    let filter = |text: &str| {
        let text = format!("{LEAST}filters = ['f']\n[filter.f]\n{text}");
        read(&text).unwrap().filters.remove(0).kind
    };
    let id = FilterKind::RequestId { header: "x-request-id".to_owned(), trust: IdTrust::Nobody };
    assert_eq!(filter("type = 'request_id'"), id);
    let limit = FilterKind::RateLimit { rate: "100/min".parse().unwrap(), burst: 100 };
    assert_eq!(filter("type = 'rate_limit'\nrate = '100/min'"), limit);
}

#[test]
fn of_a_run_without_a_file() {
    let listen = "127.0.0.1:8080".parse().unwrap();
    let endpoints = ["127.0.0.1:9001".parse().unwrap(), "127.0.0.1:9002".parse().unwrap()];
    let config = ringway::config::zero(listen, &endpoints).unwrap();
    assert_eq!(config.listeners[0].addresses, [listen]);
    assert_eq!(config.routes[0].matches.paths, [PathPattern::Prefix(String::new())]);
    assert_eq!(config.upstreams[0].endpoints.len(), 2);
    for (listen, endpoints, expected) in [
        ("127.0.0.1:80", vec![], "there is no endpoint to send requests to"),
        (
            "127.0.0.1:80",
            vec!["10.0.0.1:80", "10.0.0.1:80"],
            "endpoint `10.0.0.1:80` is there twice",
        ),
        (
            "127.0.0.1:80",
            vec!["10.0.0.1:0"],
            "address `10.0.0.1:0` has port 0; give a port from 1 to 65535",
        ),
        (
            "[::1]:0",
            vec!["10.0.0.1:80"],
            "address `[::1]:0` has port 0; give a port from 1 to 65535",
        ),
    ] {
        let endpoints: Vec<_> = endpoints.iter().map(|text| text.parse().unwrap()).collect();
        let error = ringway::config::zero(listen.parse().unwrap(), &endpoints).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
