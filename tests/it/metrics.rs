//! `/metrics`: both dialects are well-formed and say what the view says.

use std::{collections::BTreeMap, io::Write, process};

use ringway::control::{
    Phase,
    metrics::{Exposition, TextFormat},
    view::AccessLogView,
};

use crate::{
    exposition::{Dialect, Family, read},
    node,
};

fn render(format: TextFormat) -> String {
    let access = AccessLogView { shards: vec![(5, 1), (6, 0)], bytes_written: 99, lines_lost: 2 };
    let exposition =
        Exposition { view: node::view(), phase: Phase::Serving, access, loads: vec![0.25, 1.0] };
    exposition.render(format)
}

fn families(format: TextFormat) -> BTreeMap<String, Family> {
    let dialect = match format {
        TextFormat::Prometheus => Dialect::Prometheus,
        TextFormat::OpenMetrics => Dialect::OpenMetrics,
    };
    let text = render(format);
    let families = read(&text, dialect);
    assert!(families.is_ok(), "{families:?}\n{text}");
    families.unwrap()
}

fn value(families: &BTreeMap<String, Family>, name: &str, labels: &[(&str, &str)]) -> f64 {
    let wanted: BTreeMap<_, _> =
        labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let all = families.values().flat_map(|family| &family.samples);
    let found = all.into_iter().find(|s| s.name == name && s.labels == wanted);
    assert!(found.is_some(), "no {name} {labels:?}");
    found.unwrap().value
}

#[test]
fn both_dialects_are_well_formed_and_hold_the_same_samples() {
    let samples = |families: BTreeMap<String, Family>| -> Vec<String> {
        let mut all: Vec<String> = families
            .into_values()
            .flat_map(|family| family.samples)
            .map(|sample| format!("{sample:?}"))
            .collect();
        all.sort();
        all
    };
    let prometheus = samples(families(TextFormat::Prometheus));
    assert_eq!(prometheus, samples(families(TextFormat::OpenMetrics)));
    assert!(prometheus.len() > 150, "{}", prometheus.len());
}

#[test]
fn each_number_of_the_fast_path_has_its_place() {
    let f = families(TextFormat::Prometheus);
    let vip = [("listener", "db"), ("address", "192.0.2.1:80")];
    let endpoint = [("listener", "db"), ("endpoint", "10.0.0.1:8080")];
    let info =
        [("interface", "eth0"), ("mode", "generic"), ("reason", "cannot attach to `eth0`: \"no\"")];
    for (name, labels, expected) in [
        ("ringway_xdp_info", &info[..], 1.0_f64),
        ("ringway_xdp_packets_total", &[("exit", "nat")], 5_000.0),
        ("ringway_xdp_events_total", &[("event", "flow_hit")], 4_000.0),
        ("ringway_xdp_vip_packets_total", &vip, 5_000.0),
        ("ringway_xdp_vip_bytes_total", &vip, 3e6),
        ("ringway_xdp_vip_flows_total", &vip, 100.0),
        ("ringway_xdp_endpoint_up", &endpoint, 0.0),
        ("ringway_xdp_endpoint_reachable", &endpoint, 0.0),
        ("ringway_xdp_endpoint_packets_total", &endpoint, 4_999.0),
        ("ringway_xdp_endpoint_bytes_total", &endpoint, 2_999_999.0),
        ("ringway_xdp_endpoint_flows_total", &endpoint, 99.0),
    ] {
        let got = value(&f, name, labels);
        assert_eq!(got.to_bits(), expected.to_bits(), "{name} {labels:?}: {got}");
    }
}

#[test]
fn each_number_of_the_view_has_its_place() {
    let f = families(TextFormat::Prometheus);
    let route = [("route", "all"), ("upstream", "app")];
    let with = |more: (&'static str, &'static str)| [route[0], route[1], more];
    let place = [("upstream", "app"), ("endpoint", "[::1]:9002")];
    for (name, labels, expected) in [
        ("ringway_requests_total", &with(("code", "2xx"))[..], 90.0),
        ("ringway_requests_total", &with(("code", "5xx")), 2.0),
        ("ringway_requests_aborted_total", &route, 1.0),
        ("ringway_response_bytes_total", &route, 2_000.0),
        ("ringway_request_duration_seconds_count", &route, 5.0),
        ("ringway_request_duration_seconds_bucket", &with(("le", "0.001")), 1.0),
        ("ringway_request_duration_seconds_bucket", &with(("le", "0.005")), 3.0),
        ("ringway_request_duration_seconds_bucket", &with(("le", "60.0")), 4.0),
        ("ringway_request_duration_seconds_bucket", &with(("le", "+Inf")), 5.0),
        ("ringway_connections_open", &[("listener", "web")], 4.0),
        ("ringway_h2_connections_open", &[("side", "downstream")], 3.0),
        ("ringway_h2_streams_open", &[("side", "downstream")], 8.0),
        ("ringway_h2_streams_total", &[("side", "downstream")], 800.0),
        ("ringway_h2_requests_malformed_total", &[("side", "downstream")], 4.0),
        (
            "ringway_h2_resets_total",
            &[("side", "downstream"), ("by", "them"), ("code", "cancel")],
            9.0,
        ),
        (
            "ringway_h2_goaways_total",
            &[("side", "downstream"), ("by", "us"), ("code", "enhance_your_calm")],
            1.0,
        ),
        ("ringway_h2_abuse_total", &[("side", "downstream"), ("kind", "rapid_reset")], 1.0),
        (
            "ringway_connections_refused_total",
            &[("listener", "web"), ("reason", "max_connections")],
            7.0,
        ),
        (
            "ringway_tls_certificate_expiry_timestamp_seconds",
            &[("listener", "web"), ("name", "*.a.test"), ("file", "/etc/ringway/web.pem")],
            1_000.0,
        ),
        ("ringway_tls_connections_open", &[("listener", "web")], 6.0),
        ("ringway_tls_handshakes_in_progress", &[("listener", "web")], 1.0),
        (
            "ringway_tls_handshakes_total",
            &[("listener", "web"), ("version", "1.3"), ("resumed", "true")],
            5.0,
        ),
        (
            "ringway_tls_handshake_failures_total",
            &[("listener", "web"), ("reason", "timeout")],
            2.0,
        ),
        ("ringway_shard_load", &[("shard", "0")], 0.25),
        ("ringway_shard_busy_seconds_total", &[("shard", "1")], 1.5),
        ("ringway_shard_turns_total", &[("shard", "1")], 1_001.0),
        ("ringway_upstream_reuse_ratio", &[("upstream", "app")], 0.98),
        ("ringway_upstream_endpoints_available", &[("upstream", "app")], 1.0),
        ("ringway_upstream_retries_total", &[("upstream", "app")], 6.0),
        ("ringway_upstream_retry_budget_exhausted_total", &[("upstream", "app")], 1.0),
        ("ringway_endpoint_ejected", &place, 1.0),
        ("ringway_endpoint_available", &place, 0.0),
        ("ringway_endpoint_healthy", &place, 1.0),
        ("ringway_endpoint_connections_stolen_total", &place, 1.0),
        ("ringway_endpoint_failures_total", &[place[0], place[1], ("reason", "timeout")], 2.0),
        ("ringway_rate_limited_total", &[("filter", "per-ip")], 10.0),
        ("ringway_access_log_dropped_lines_total", &[("shard", "0")], 1.0),
        ("ringway_access_log_lost_lines_total", &[], 2.0),
        ("ringway_config_reloads_total", &[("result", "failed")], 1.0),
        ("ringway_config_last_reload_successful", &[], 0.0),
        ("ringway_config_last_reload_success_timestamp_seconds", &[], 1_795_532_200.5),
        ("ringway_draining", &[], 0.0),
        ("ringway_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0),
    ] {
        let found = value(&f, name, labels);
        assert!((found - expected).abs() < 1e-9, "{name} {labels:?}: {found}, not {expected}");
    }
    let sum = value(&f, "ringway_request_duration_seconds_sum", &route);
    assert!((sum - 90.406).abs() < 1e-6, "{sum}");
}

#[test]
fn the_driver_and_its_reason_are_a_metric_and_escaped() {
    let f = families(TextFormat::Prometheus);
    let labels = &f["ringway_io_driver_info"].samples[0].labels;
    assert_eq!(labels["driver"], "epoll");
    assert_eq!(labels["reason"], node::view().driver_reason);
}

#[test]
fn who_names_openmetrics_gets_it() {
    // What Prometheus 2.5x sends.
    let prometheus = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    assert_eq!(TextFormat::from_accept(Some(prometheus)), TextFormat::OpenMetrics);
    for accept in [None, Some("*/*"), Some("text/plain")] {
        assert_eq!(TextFormat::from_accept(accept), TextFormat::Prometheus);
    }
}

/// The judge that scrapers use, where it is installed.
#[test]
fn the_python_client_reads_both_dialects() {
    const READ: &str = "
import sys
from prometheus_client.parser import text_string_to_metric_families as plain
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
text = sys.stdin.read()
families = list((open_metrics if text.endswith('# EOF\\n') else plain)(text))
assert len(families) > 40, len(families)
";
    let python = |code: &str| {
        let mut command = process::Command::new("python3");
        command.args(["-c", code]).stdin(process::Stdio::piped()).stderr(process::Stdio::piped());
        command
    };
    let has_it = python("import prometheus_client").output();
    if !has_it.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: python3 with prometheus_client isn't installed");
        return;
    }
    for format in [TextFormat::Prometheus, TextFormat::OpenMetrics] {
        let mut child = python(READ).spawn().unwrap();
        child.stdin.take().unwrap().write_all(render(format).as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{format:?}: {words}");
    }
}

/// docs/OPERATIONS.md has a row for each family, with its labels, and no other.
#[test]
fn the_page_lists_every_metric_with_its_labels() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/OPERATIONS.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, table) = page.split_once("<!-- metrics: -->\n").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let listed: Vec<(String, String)> = rows
        .map(|row| {
            let mut cells = row.split('|').skip(1).map(|cell| cell.trim().replace('`', ""));
            (cells.next().unwrap(), cells.next().unwrap())
        })
        .collect();
    for (name, family) in families(TextFormat::Prometheus) {
        let labels: std::collections::BTreeSet<&str> = family
            .samples
            .iter()
            .flat_map(|sample| sample.labels.keys().map(String::as_str))
            .filter(|label| *label != "le")
            .collect();
        let labels: Vec<&str> = labels.into_iter().collect();
        let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
        let row = listed.iter().find(|(listed, _)| *listed == name);
        assert_eq!(row.map(|(_, labels)| labels), Some(&labels), "{name}");
    }
    assert_eq!(listed.len(), families(TextFormat::Prometheus).len(), "metrics that aren't there");
}
