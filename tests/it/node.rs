//! A node without shards: what the control thread is tested against.

use std::{
    rc::Rc,
    sync::{Arc, mpsc},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ringway::{
    base::metrics::{Histogram, HistogramSnapshot},
    config::{AdminConfig, HealthConfig, LogConfig},
    control::{
        Node, Phase, Probed, ReloadError, Reloaded, Stop, Verdict,
        view::{
            CertificateView, ConfigView, EndpointTotals, EndpointView, FilterView, FlowView,
            H2View, ListenerView, RouteView, ShardView, TlsView, UpstreamView, View,
            packets::{ForwardedView, PacketsView, Traffic, VipView},
        },
    },
};
use tokio::sync::watch;

/// Answers with fixed numbers and tells its test what it was asked to do.
pub(crate) struct FakeNode {
    pub(crate) phase: Arc<watch::Sender<Phase>>,
    pub(crate) stops: mpsc::Sender<Stop>,
    /// The outcomes of the next reloads, last first.
    pub(crate) reloads: Vec<Result<Reloaded, ReloadError>>,
    /// An endpoint to probe.
    pub(crate) probed: Option<(std::net::SocketAddr, HealthConfig)>,
}

struct Deaf;
impl Verdict for Deaf {
    fn set_health(&self, _healthy: bool, _reason: &str) {}
}

impl Node for FakeNode {
    fn view(&self) -> View {
        let mut view = view();
        if let Some((address, _)) = self.probed {
            view.upstreams[0].endpoints[0].address = address.into();
        }
        view
    }

    fn probes(&self) -> Vec<Probed> {
        let probed = self.probed.iter().map(|(address, health)| Probed {
            upstream: "app".to_owned(),
            address: (*address).into(),
            preface: Vec::new(),
            health: health.clone(),
            tls: None,
            endpoint: Rc::new(Deaf),
        });
        probed.collect()
    }

    fn reload(&mut self) -> Result<Reloaded, ReloadError> {
        self.reloads.pop().unwrap()
    }

    fn look_at_files(&mut self) {}

    fn stop(&mut self, how: Stop) {
        self.stops.send(how).unwrap();
        let phase = if how == Stop::Now { Phase::Stopped } else { Phase::Draining };
        self.phase.send_replace(phase);
    }

    fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }
}

pub(crate) fn reloaded(generation: u64, admin: AdminConfig) -> Reloaded {
    Reloaded {
        generation,
        changes: vec!["listener `web` added".to_owned()],
        warnings: vec!["route `a` hides route `b`".to_owned()],
        admin,
        log: LogConfig::default(),
    }
}

fn h2_view() -> H2View {
    H2View {
        side: "downstream",
        connections: 3,
        streams_open: 8,
        streams: 800,
        refused: 4,
        resets: vec![("them", "cancel", 9), ("us", "internal_error", 0)],
        goaways: vec![("us", "enhance_your_calm", 1)],
        abuse: vec![("rapid_reset", 1), ("ping", 0)],
    }
}

fn packets_view() -> PacketsView {
    PacketsView {
        interface: "eth0".to_owned(),
        mode: "generic",
        reason: "cannot attach to `eth0`: \"no\"".to_owned(),
        exits: vec![("nat", 5_000), ("no_real", 0)],
        events: vec![("flow_hit", 4_000)],
        vips: vec![VipView {
            listener: "db".to_owned(),
            address: "192.0.2.1:80".parse().unwrap(),
            traffic: Traffic { packets: 5_000, bytes: 3_000_000, flows: 100 },
        }],
        endpoints: vec![ForwardedView {
            listener: "db".to_owned(),
            address: "10.0.0.1:8080".parse().unwrap(),
            state: "draining",
            fault: "no link address yet".to_owned(),
            traffic: Traffic { packets: 4_999, bytes: 2_999_999, flows: 99 },
        }],
    }
}

/// One of everything, with names that want escaping.
pub(crate) fn view() -> View {
    let latency = Histogram::new();
    for millis in [1, 2, 3, 400, 90_000] {
        latency.record(Duration::from_millis(millis));
    }
    let latency = latency.snapshot();
    View {
        driver: "epoll".to_owned(),
        driver_reason: "io_uring forbidden: \"kernel.io_uring_disabled\" = 2\nsee C:\\docs"
            .to_owned(),
        started_at: UNIX_EPOCH + Duration::from_secs(1_795_532_162),
        config: ConfigView {
            source: "/etc/ringway/ringway.toml".to_owned(),
            generation: 3,
            applied_at: UNIX_EPOCH + Duration::from_millis(1_795_532_200_500),
            reloads: 2,
            reloads_failed: 1,
            last_error: Some("ringway.toml:3:1: no".to_owned()),
        },
        packets: Some(packets_view()),
        listeners: vec![ListenerView {
            protocol: "http",
            alpn: vec!["http/1.1"],
            name: "web".to_owned(),
            addresses: vec!["127.0.0.1:8080".parse().unwrap()],
            accepted: 12,
            open: 4,
            refused: vec![("max_connections", 7), ("draining", 0)],
            tls: Some(TlsView {
                handshakes: vec![("1.2", false, 3), ("1.3", true, 5)],
                failures: vec![("timeout", 2)],
                handshaking: 1,
                open: 6,
            }),
        }],
        certificates: vec![CertificateView {
            listener: "web".to_owned(),
            file: "/etc/ringway/web.pem".to_owned(),
            names: vec!["a.test".to_owned(), "*.a.test".to_owned()],
            subject: "CN=a.test".to_owned(),
            issuer: "CN=authority".to_owned(),
            serial: "2a".to_owned(),
            not_before: UNIX_EPOCH,
            not_after: UNIX_EPOCH + Duration::from_secs(1_000),
            is_default: true,
            has_ocsp: false,
            client_auth: "off",
        }],
        shards: (0..2).map(shard_view).collect(),
        h2: vec![h2_view()],
        routes: vec![
            RouteView {
                name: "all".to_owned(),
                upstream: "app".to_owned(),
                by_class: [0, 90, 3, 5, 2],
                aborted: 1,
                latency: latency.clone(),
                bytes_in: 10,
                bytes_out: 2_000,
            },
            RouteView { name: "-".to_owned(), ..RouteView::default() },
        ],
        upstreams: vec![UpstreamView {
            protocol: Some("http/1.1"),
            name: "app".to_owned(),
            policy: "round_robin".to_owned(),
            retries: 6,
            retry_budget_exhausted: 1,
            first_byte: latency.clone(),
            endpoints: vec![endpoint_view("127.0.0.1:9001"), endpoint_view("[::1]:9002")],
        }],
        flows: vec![flow(&latency)],
        filters: vec![FilterView {
            name: "per-ip".to_owned(),
            kind: "rate_limit",
            passed: 90,
            rejected: 10,
            entries: 3,
        }],
    }
}

fn flow(latency: &HistogramSnapshot) -> FlowView {
    FlowView {
        name: "pg".to_owned(),
        upstream: "db".to_owned(),
        open: 2,
        ended: 5,
        failed: 1,
        retries: 1,
        duration: latency.clone(),
        bytes_in: 700,
        bytes_out: 900,
        datagrams_in: 7,
        datagrams_out: 9,
        datagrams_lost: 1,
    }
}

fn shard_view(shard: u64) -> ShardView {
    ShardView {
        cpu: Some(usize::try_from(shard).unwrap()),
        busy: Duration::from_millis(1_500),
        turns: 1_000 + shard,
        requests: 50,
        connections: 2,
        tasks: 5,
        ops_in_flight: 4,
        buffers_in_use: 1,
        ..ShardView::default()
    }
}

fn endpoint_view(address: &str) -> EndpointView {
    EndpointView {
        spoken: None,
        address: address.parse().unwrap(),
        weight: 2,
        backup: false,
        probe: None,
        is_ejected: address.starts_with('['),
        ejections: 1,
        in_flight: 1,
        pending: 0,
        connections: 3,
        idle: 2,
        totals: EndpointTotals {
            requests: 50,
            opened: 1,
            reused: 48,
            stolen: 1,
            timeouts: 2,
            ..EndpointTotals::default()
        },
    }
}

/// The moment of a fake process's start, for those who compare.
pub(crate) fn started_at() -> SystemTime {
    view().started_at
}
