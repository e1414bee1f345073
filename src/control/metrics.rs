//! `/metrics`: a view as OpenMetrics or Prometheus text.
//!
//! `families` lists every metric; this file makes the text and chooses its dialect. Names follow
//! the conventions of Prometheus: prefix `ringway_`, base units, `_total` on counters. Nothing is
//! kept between scrapes but the numbers of the shards.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector, encoding::DescriptorEncoder, encoding::text, registry::Registry,
};

use crate::control::{
    node::Phase,
    view::{AccessLogView, View},
};

mod families;

pub use families::LATENCY_BOUNDS;

/// Which dialect the scraper reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextFormat {
    /// Prometheus text 0.0.4, which everything reads.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl TextFormat {
    /// What an Accept field asks for. OpenMetrics only for who names it: Prometheus does.
    pub fn from_accept(accept: Option<&str>) -> Self {
        let names_it = |accept: &str| accept.contains("application/openmetrics-text");
        if accept.is_some_and(names_it) { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The Content-Type to answer with.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What is exported.
#[derive(Debug)]
pub struct Exposition {
    /// The server's numbers.
    pub view: View,
    /// Where the process stands.
    pub phase: Phase,
    /// The access log's numbers.
    pub access: AccessLogView,
    /// Share of the recent past that each shard was busy, 0.0 to 1.0.
    pub loads: Vec<f64>,
}

impl Exposition {
    /// The text, in the dialect asked for.
    pub fn render(self, format: TextFormat) -> String {
        let mut registry = Registry::with_prefix("ringway");
        registry.register_collector(Box::new(Arc::new(self)));
        let mut out = String::with_capacity(32 * 1024);
        text::encode(&mut out, &registry).expect("writing to a String never fails");
        match format {
            TextFormat::OpenMetrics => out,
            TextFormat::Prometheus => to_prometheus(&out),
        }
    }
}

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        families::encode(self, encoder)
    }
}

/// The older dialect names a family as its samples are named (`x_total`, `x_info`), knows no
/// `info` type and no end mark.
fn to_prometheus(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                kind => ("", kind),
            };
            let text = help.filter(|(of, _)| *of == name).map_or("", |(_, text)| text);
            out.push_str(&format!("# HELP {name}{suffix} {text}\n# TYPE {name}{suffix} {kind}\n"));
        } else if line != "# EOF" {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}
