//! Every metric: name, help, labels, and the number of the view that it shows.

mod packets;

use std::{
    borrow::Cow,
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet},
    metrics::MetricType,
};

use crate::{
    base::metrics::HistogramSnapshot,
    control::{
        metrics::Exposition,
        node::Phase,
        view::{
            EndpointTotals, EndpointView, FlowView, H2View, RouteView, ShardView, UpstreamView,
        },
    },
};

/// Upper bounds of the exported latency buckets.
pub const LATENCY_BOUNDS: [Duration; 19] = [
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

pub(super) fn encode(it: &Exposition, encoder: DescriptorEncoder<'_>) -> fmt::Result {
    let mut to = Families(encoder);
    process(it, &mut to)?;
    listeners(it, &mut to)?;
    shards(it, &mut to)?;
    h2(&it.view.h2, &mut to)?;
    requests(&it.view.routes, &mut to)?;
    flows(&it.view.flows, &mut to)?;
    filters(it, &mut to)?;
    packets::packets(it.view.packets.as_ref(), &mut to)?;
    upstreams(&it.view.upstreams, &mut to)?;
    endpoints(&it.view.upstreams, &mut to)?;
    failures(&it.view.upstreams, &mut to)?;
    access_log(it, &mut to)
}

/// Label values, escaped when they are written.
type Labels<'a, const N: usize> = [(&'static str, Escaped<'a>); N];

/// The encoder writes label values as they are; both dialects want `\`, `"` and newline escaped.
struct Escaped<'a>(Cow<'a, str>);

impl<'a> Escaped<'a> {
    fn new(value: impl Into<Cow<'a, str>>) -> Self {
        let value = value.into();
        if !value.contains(['\\', '"', '\n']) {
            return Self(value);
        }
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        Self(Cow::Owned(escaped))
    }
}

impl prometheus_client::encoding::EncodeLabelValue for Escaped<'_> {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
    ) -> fmt::Result {
        self.0.as_ref().encode(encoder)
    }
}

fn label<'a>(key: &'static str, value: impl Into<Cow<'a, str>>) -> (&'static str, Escaped<'a>) {
    (key, Escaped::new(value))
}

/// Writes whole families. A family without samples isn't written.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn counter<'v, const N: usize, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'v, N>, V)>,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, V, u64>(&value, None)?;
        }
        Ok(())
    }

    fn gauge<'v, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'v, N>, V)>,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn info<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: Labels<'_, N>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Info)?;
        family.encode_info(&labels)
    }

    fn histogram<'v, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'v, N>, &'v HistogramSnapshot)>,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, snapshot) in samples {
            let count = snapshot.count();
            let buckets = buckets(snapshot, count);
            let sum = snapshot.sum().as_secs_f64();
            family
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

/// Bounds in seconds with what lies between each and the one before: the encoder adds them up and
/// takes `f64::MAX` for +Inf.
fn buckets(snapshot: &HistogramSnapshot, count: u64) -> Vec<(f64, u64)> {
    let bounds = LATENCY_BOUNDS.iter().map(Duration::as_secs_f64).chain([f64::MAX]);
    let cumulative = snapshot.cumulative(&LATENCY_BOUNDS).into_iter().chain([count]);
    let mut below = 0;
    bounds
        .zip(cumulative)
        .map(|(bound, upto)| {
            let own = upto - below;
            below = upto;
            (bound, own)
        })
        .collect()
}

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

fn process(it: &Exposition, to: &mut Families<'_>) -> fmt::Result {
    let view = &it.view;
    to.info("build", "What runs.", [label("version", env!("CARGO_PKG_VERSION"))])?;
    to.info(
        "io_driver",
        "What moves the bytes, and why that.",
        [label("driver", &*view.driver), label("reason", &*view.driver_reason)],
    )?;
    to.gauge(
        "start_time_seconds",
        "When the process began, Unix time.",
        [([], unix_seconds(view.started_at))],
    )?;
    to.gauge(
        "draining",
        "1 while no new connections are accepted.",
        [([], u64::from(it.phase >= Phase::Draining))],
    )?;
    let config = &view.config;
    to.gauge("config_generation", "Number of the snapshot that runs.", [([], config.generation)])?;
    to.counter(
        "config_reloads",
        "Attempts to apply a new config, by result.",
        [
            ([label("result", "ok")], config.reloads),
            ([label("result", "failed")], config.reloads_failed),
        ],
    )?;
    to.gauge(
        "config_last_reload_successful",
        "0 after a reload that failed.",
        [([], u64::from(config.last_error.is_none()))],
    )?;
    to.gauge(
        "config_last_reload_success_timestamp_seconds",
        "When the running snapshot was applied, Unix time.",
        [([], unix_seconds(config.applied_at))],
    )
}

fn listeners(it: &Exposition, to: &mut Families<'_>) -> fmt::Result {
    let each = || it.view.listeners.iter();
    let name = |listener: &'_ crate::control::view::ListenerView| listener.name.clone();
    to.gauge(
        "connections_open",
        "Client connections open.",
        each().map(|l| ([label("listener", name(l))], l.open)),
    )?;
    to.counter(
        "connections_accepted",
        "Client connections accepted.",
        each().map(|l| ([label("listener", name(l))], l.accepted)),
    )?;
    let refused = each().flat_map(|l| l.refused.iter().map(move |(reason, n)| (l, *reason, *n)));
    to.counter(
        "connections_refused",
        "Client connections closed at once, by reason.",
        refused.map(|(l, reason, n)| ([label("listener", name(l)), label("reason", reason)], n)),
    )?;
    tls(it, to)
}

fn tls(it: &Exposition, to: &mut Families<'_>) -> fmt::Result {
    let each = || {
        let listeners = it.view.listeners.iter();
        listeners.filter_map(|l| Some((l.name.as_str(), l.tls.as_ref()?)))
    };
    to.gauge(
        "tls_connections_open",
        "Encrypted client connections open.",
        each().map(|(name, tls)| ([label("listener", name)], tls.open)),
    )?;
    to.gauge(
        "tls_handshakes_in_progress",
        "TLS handshakes going on.",
        each().map(|(name, tls)| ([label("listener", name)], tls.handshaking)),
    )?;
    to.counter(
        "tls_handshakes",
        "TLS handshakes that succeeded, by version and whether a session was resumed.",
        each().flat_map(|(name, tls)| {
            tls.handshakes.iter().map(move |(version, is_resumed, n)| {
                let resumed = if *is_resumed { "true" } else { "false" };
                let labels = [
                    label("listener", name),
                    label("resumed", resumed),
                    label("version", *version),
                ];
                (labels, *n)
            })
        }),
    )?;
    to.counter(
        "tls_handshake_failures",
        "TLS handshakes that failed, by reason.",
        each().flat_map(|(name, tls)| {
            let failures = tls.failures.iter();
            failures
                .map(move |(reason, n)| ([label("listener", name), label("reason", *reason)], *n))
        }),
    )?;
    to.gauge(
        "tls_certificate_expiry_timestamp_seconds",
        "When a certificate ends.",
        it.view.certificates.iter().flat_map(|certificate| {
            let end = unix_seconds(certificate.not_after);
            certificate.names.iter().map(move |name| {
                let labels = [
                    label("file", &*certificate.file),
                    label("listener", &*certificate.listener),
                    label("name", &**name),
                ];
                (labels, end)
            })
        }),
    )
}

fn shards(it: &Exposition, to: &mut Families<'_>) -> fmt::Result {
    let shards = &it.view.shards;
    let name = |index: usize| [label("shard", index.to_string())];
    let loads = it.loads.iter().enumerate();
    to.gauge(
        "shard_load",
        "Share of the last seconds that the shard was busy, 0 to 1.",
        loads.map(|(i, load)| (name(i), *load)),
    )?;
    to.counter(
        "shard_busy_seconds",
        "CPU time of the shard's thread.",
        shards.iter().enumerate().map(|(i, s)| (name(i), s.busy.as_secs_f64())),
    )?;
    type Read = fn(&ShardView) -> u64;
    let counters: [(&str, &str, Read); 8] = [
        ("shard_turns", "Turns of the event loop.", |s| s.turns),
        ("shard_requests", "Requests whose head was complete.", |s| s.requests),
        ("shard_requests_malformed", "Requests refused before any route.", |s| s.bad_requests),
        ("shard_client_timeouts", "Clients that stalled.", |s| s.client_timeouts),
        ("shard_slow_clients", "Clients below the least speed.", |s| s.slow_clients),
        ("shard_client_aborts", "Clients that left before the response's end.", |s| {
            s.client_aborts
        }),
        ("shard_buffer_waits", "Receives that waited for a free buffer.", |s| s.buffer_waits),
        ("shard_completion_overflows", "Overflows of the completion queue.", |s| s.cq_overflows),
    ];
    for (family, help, read) in counters {
        to.counter(family, help, shards.iter().enumerate().map(|(i, s)| (name(i), read(s))))?;
    }
    let gauges: [(&str, &str, Read); 6] = [
        ("shard_connections_open", "Client connections open.", |s| s.connections),
        ("shard_tunnels_open", "Upgraded connections open.", |s| s.tunnels),
        ("shard_tasks", "Tasks alive.", |s| s.tasks),
        ("shard_operations_in_flight", "Operations with the kernel.", |s| s.ops_in_flight),
        ("shard_buffers_in_use", "Receive buffers out of the ring.", |s| s.buffers_in_use),
        ("shard_leases_in_use", "Large buffers out of the slab.", |s| s.leases_in_use),
    ];
    for (family, help, read) in gauges {
        to.gauge(family, help, shards.iter().enumerate().map(|(i, s)| (name(i), read(s))))?;
    }
    Ok(())
}

fn h2(sides: &[H2View], to: &mut Families<'_>) -> fmt::Result {
    type Read = fn(&H2View) -> u64;
    type Ended = fn(&H2View) -> &[(&'static str, &'static str, u64)];
    let side = |view: &H2View| [label("side", view.side)];
    let gauges: [(&str, &str, Read); 2] = [
        ("h2_connections_open", "HTTP/2 connections open.", |h2| h2.connections),
        ("h2_streams_open", "HTTP/2 streams open.", |h2| h2.streams_open),
    ];
    for (family, help, read) in gauges {
        to.gauge(family, help, sides.iter().map(|h2| (side(h2), read(h2))))?;
    }
    let counters: [(&str, &str, Read); 2] = [
        ("h2_streams", "HTTP/2 streams opened.", |h2| h2.streams),
        ("h2_requests_malformed", "Requests refused by HTTP/2's own rules.", |h2| h2.refused),
    ];
    for (family, help, read) in counters {
        to.counter(family, help, sides.iter().map(|h2| (side(h2), read(h2))))?;
    }
    let ended: [(&str, &str, Ended); 2] = [
        ("h2_resets", "HTTP/2 streams reset, by whom and why.", |h2| &h2.resets),
        ("h2_goaways", "HTTP/2 connections ended by GOAWAY, by whom and why.", |h2| &h2.goaways),
    ];
    for (family, help, read) in ended {
        let each = sides.iter().flat_map(|h2| {
            let some = read(h2).iter().filter(|(_, _, count)| *count > 0);
            some.map(|(by, code, count)| {
                ([label("side", h2.side), label("by", *by), label("code", *code)], *count)
            })
        });
        to.counter(family, help, each)?;
    }
    let abuse = sides.iter().flat_map(|h2| {
        h2.abuse
            .iter()
            .map(|(kind, count)| ([label("side", h2.side), label("kind", *kind)], *count))
    });
    to.counter("h2_abuse", "HTTP/2 connections ended for abuse.", abuse)
}

/// Connections and UDP flows that are relayed unread.
fn flows(flows: &[FlowView], to: &mut Families<'_>) -> fmt::Result {
    fn names(flow: &FlowView) -> Labels<'_, 2> {
        [label("route", &*flow.name), label("upstream", &*flow.upstream)]
    }
    fn named<'f>(flow: &'f FlowView, key: &'static str, word: &'static str) -> Labels<'f, 3> {
        let [name, upstream] = names(flow);
        [name, upstream, label(key, word)]
    }
    let results = flows.iter().flat_map(|flow| {
        let each = [("ok", flow.ended), ("failed", flow.failed)];
        each.map(|(word, count)| (named(flow, "result", word), count))
    });
    let help = "Connections and flows that are over, by how they ended.";
    to.counter("l4_connections", help, results)?;
    to.gauge("l4_flows_open", "UDP flows open.", flows.iter().map(|f| (names(f), f.open)))?;
    to.counter(
        "l4_connect_retries",
        "Connects tried again at another endpoint.",
        flows.iter().map(|f| (names(f), f.retries)),
    )?;
    to.histogram(
        "l4_duration_seconds",
        "From accept to the last byte.",
        flows.iter().map(|f| (names(f), &f.duration)),
    )?;
    let bytes = flows.iter().flat_map(|flow| {
        let each = [("in", flow.bytes_in), ("out", flow.bytes_out)];
        each.map(|(word, count)| (named(flow, "direction", word), count))
    });
    to.counter("l4_bytes", "Bytes relayed: from clients (in) and to them (out).", bytes)?;
    let datagrams = flows.iter().flat_map(|flow| {
        let each =
            [("in", flow.datagrams_in), ("out", flow.datagrams_out), ("lost", flow.datagrams_lost)];
        each.map(|(word, count)| (named(flow, "direction", word), count))
    });
    to.counter("l4_datagrams", "Datagrams relayed, and those that could not be.", datagrams)
}

fn requests(routes: &[RouteView], to: &mut Families<'_>) -> fmt::Result {
    fn names(route: &RouteView) -> Labels<'_, 2> {
        [label("route", &*route.name), label("upstream", &*route.upstream)]
    }
    let classes = routes.iter().flat_map(|route| {
        CLASSES.into_iter().zip(route.by_class).map(move |(class, count)| {
            let [name, upstream] = names(route);
            ([name, upstream, label("code", class)], count)
        })
    });
    to.counter("requests", "Finished requests by route, upstream and class of status.", classes)?;
    to.counter(
        "requests_aborted",
        "Requests that ended before a status was sent.",
        routes.iter().map(|r| (names(r), r.aborted)),
    )?;
    to.histogram(
        "request_duration_seconds",
        "From the end of a request's head to the last byte of its response.",
        routes.iter().map(|r| (names(r), &r.latency)),
    )?;
    to.counter(
        "request_bytes",
        "Bytes received from clients, heads included.",
        routes.iter().map(|r| (names(r), r.bytes_in)),
    )?;
    to.counter(
        "response_bytes",
        "Bytes sent to clients, heads included.",
        routes.iter().map(|r| (names(r), r.bytes_out)),
    )
}

fn filters(it: &Exposition, to: &mut Families<'_>) -> fmt::Result {
    let each = || it.view.filters.iter();
    to.counter(
        "filter_requests",
        "Requests that a filter let through or turned away.",
        each().flat_map(|f| {
            [("passed", f.passed), ("rejected", f.rejected)].map(|(outcome, n)| {
                let labels =
                    [label("filter", &*f.name), label("type", f.kind), label("outcome", outcome)];
                (labels, n)
            })
        }),
    )?;
    let limits = || each().filter(|f| f.kind == "rate_limit");
    to.counter(
        "rate_limited",
        "Requests answered 429 by a rate limit.",
        limits().map(|f| ([label("filter", &*f.name)], f.rejected)),
    )?;
    to.gauge(
        "filter_entries",
        "Keys that a filter holds in memory.",
        limits().map(|f| ([label("filter", &*f.name)], f.entries)),
    )
}

fn upstreams(upstreams: &[UpstreamView], to: &mut Families<'_>) -> fmt::Result {
    fn name(upstream: &UpstreamView) -> Labels<'_, 1> {
        [label("upstream", &*upstream.name)]
    }
    let ratios = upstreams.iter().filter_map(|u| Some((name(u), u.totals().reuse_ratio()?)));
    to.gauge(
        "upstream_reuse_ratio",
        "Share of requests that an existing connection carried, since the start.",
        ratios,
    )?;
    to.gauge(
        "upstream_endpoints_available",
        "Endpoints that may get requests.",
        upstreams.iter().map(|u| (name(u), u.available() as u64)),
    )?;
    to.counter(
        "upstream_retries",
        "Attempts after the first.",
        upstreams.iter().map(|u| (name(u), u.retries)),
    )?;
    to.counter(
        "upstream_retry_budget_exhausted",
        "Retries not made because the budget was spent.",
        upstreams.iter().map(|u| (name(u), u.retry_budget_exhausted)),
    )?;
    to.histogram(
        "upstream_first_byte_seconds",
        "From the end of a request's head to the head of the endpoint's response.",
        upstreams.iter().map(|u| (name(u), &u.first_byte)),
    )
}

fn each_endpoint(
    upstreams: &[UpstreamView],
) -> impl Iterator<Item = (&UpstreamView, &EndpointView)> {
    upstreams.iter().flat_map(|u| u.endpoints.iter().map(move |e| (u, e)))
}

fn place<'a>(upstream: &'a UpstreamView, endpoint: &EndpointView) -> Labels<'a, 2> {
    [label("upstream", &*upstream.name), label("endpoint", endpoint.address.to_string())]
}

fn endpoints(upstreams: &[UpstreamView], to: &mut Families<'_>) -> fmt::Result {
    type Read = fn(&EndpointView) -> u64;
    let gauges: [(&str, &str, Read); 7] = [
        ("endpoint_available", "1 if requests may go there.", |e| e.is_available().into()),
        ("endpoint_healthy", "1 if its health probe passes or there is none.", |e| {
            e.probe.as_ref().is_none_or(|probe| probe.is_healthy).into()
        }),
        ("endpoint_ejected", "1 while it is left out for failing requests.", |e| {
            e.is_ejected.into()
        }),
        ("endpoint_requests_in_flight", "Requests with it.", |e| e.in_flight),
        ("endpoint_requests_pending", "Requests waiting for a connection.", |e| e.pending),
        ("endpoint_connections_open", "Connections to it, idle ones included.", |e| e.connections),
        ("endpoint_connections_idle", "Connections waiting in pools.", |e| e.idle),
    ];
    for (family, help, read) in gauges {
        to.gauge(family, help, each_endpoint(upstreams).map(|(u, e)| (place(u, e), read(e))))?;
    }
    let counters: [(&str, &str, Read); 6] = [
        ("endpoint_requests", "Requests sent, or tried to be.", |e| e.totals.requests),
        ("endpoint_ejections", "Times it was left out for failing requests.", |e| e.ejections),
        ("endpoint_connections_opened", "Connections opened.", |e| e.totals.opened),
        ("endpoint_connections_reused", "Requests on a connection of the shard's pool.", |e| {
            e.totals.reused
        }),
        ("endpoint_connections_stolen", "Requests on a connection from a neighbour shard.", |e| {
            e.totals.stolen
        }),
        ("endpoint_connections_discarded", "Connections closed while idle.", |e| {
            e.totals.discarded
        }),
    ];
    for (family, help, read) in counters {
        to.counter(family, help, each_endpoint(upstreams).map(|(u, e)| (place(u, e), read(e))))?;
    }
    Ok(())
}

fn failures(upstreams: &[UpstreamView], to: &mut Families<'_>) -> fmt::Result {
    type Read = fn(&EndpointTotals) -> u64;
    const REASONS: [(&str, Read); 7] = [
        ("connect", |t| t.connect_failures),
        ("reset", |t| t.resets),
        ("timeout", |t| t.timeouts),
        ("malformed", |t| t.malformed),
        ("5xx", |t| t.server_errors),
        ("queue_full", |t| t.queue_full),
        ("queue_timeout", |t| t.queue_timeouts),
    ];
    let samples = each_endpoint(upstreams).flat_map(|(u, e)| {
        REASONS.map(|(reason, read)| {
            let [upstream, endpoint] = place(u, e);
            ([upstream, endpoint, label("reason", reason)], read(&e.totals))
        })
    });
    to.counter("endpoint_failures", "Requests that failed at an endpoint, by reason.", samples)
}

fn access_log(it: &Exposition, to: &mut Families<'_>) -> fmt::Result {
    let shards = || it.access.shards.iter().enumerate();
    to.counter(
        "access_log_lines",
        "Lines given to the access log.",
        shards().map(|(i, (lines, _))| ([label("shard", i.to_string())], *lines)),
    )?;
    to.counter(
        "access_log_dropped_lines",
        "Lines dropped because the shard's queue was full.",
        shards().map(|(i, (_, dropped))| ([label("shard", i.to_string())], *dropped)),
    )?;
    to.counter(
        "access_log_lost_lines",
        "Lines lost because a write failed.",
        [([], it.access.lines_lost)],
    )?;
    to.counter(
        "access_log_written_bytes",
        "Bytes written to the access log.",
        [([], it.access.bytes_written)],
    )
}
