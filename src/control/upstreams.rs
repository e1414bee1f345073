//! Between `upstream`'s shared state and what the control thread wants of it: views and probes.

use std::{rc::Rc, sync::Arc};

use tokio::time::Instant;

use crate::{
    config::UpstreamProtocol,
    control::{
        node::{Probed, Verdict},
        view::{EndpointTotals, EndpointView, UpstreamView},
    },
    upstream::{Endpoint, Totals, Upstream, Verdict as ProbeVerdict, announce_probe},
};

/// An upstream and its endpoints in numbers. What the proxy counts (retries, latency) and what the
/// probes say is left empty for those who know.
pub fn view(upstream: &Upstream) -> UpstreamView {
    let now = Instant::now().into_std();
    let endpoint = |(endpoint, terms): (&Arc<Endpoint>, &crate::config::EndpointConfig)| {
        let totals = endpoint.totals();
        EndpointView {
            address: endpoint.address,
            spoken: endpoint.spoken().map(UpstreamProtocol::name),
            weight: terms.weight,
            backup: terms.backup,
            probe: None,
            is_ejected: endpoint.is_ejected(now),
            ejections: endpoint.ejections(),
            in_flight: endpoint.in_flight().into(),
            pending: endpoint.pending().into(),
            connections: endpoint.connections().into(),
            idle: totals.idle,
            totals: totals.into(),
        }
    };
    UpstreamView {
        name: upstream.config.name.clone(),
        policy: upstream.config.balance.name().to_owned(),
        endpoints: upstream
            .endpoints
            .iter()
            .zip(&upstream.config.endpoints)
            .map(endpoint)
            .collect(),
        ..UpstreamView::default()
    }
}

impl From<Totals> for EndpointTotals {
    fn from(totals: Totals) -> Self {
        Self {
            requests: totals.requests,
            opened: totals.connects,
            // `upstream` counts a stolen connection's request as reused, too.
            reused: totals.reused.saturating_sub(totals.stolen),
            stolen: totals.stolen,
            discarded: totals.discarded,
            connect_failures: totals.connect_failures,
            resets: totals.resets,
            timeouts: totals.timeouts,
            malformed: totals.malformed,
            server_errors: totals.server_errors,
            queue_full: totals.queue_full,
            queue_timeouts: totals.queue_timeouts,
        }
    }
}

/// The endpoints of an upstream that are to be probed; none without a `health` table.
pub fn probes(upstream: &Arc<Upstream>) -> Vec<Probed> {
    let Some(health) = &upstream.config.health else { return Vec::new() };
    let each = upstream.endpoints.iter().enumerate();
    each.map(|(index, endpoint)| Probed {
        upstream: upstream.config.name.clone(),
        address: endpoint.address,
        preface: upstream.config.proxy_protocol.map(announce_probe).unwrap_or_default(),
        health: health.clone(),
        tls: endpoint.tls().map(Arc::clone),
        endpoint: Rc::new(Place { upstream: Arc::clone(upstream), index }),
    })
    .collect()
}

/// One endpoint of an upstream, for verdicts; the upstream logs each change.
struct Place {
    upstream: Arc<Upstream>,
    index: usize,
}

impl Verdict for Place {
    fn set_health(&self, healthy: bool, reason: &str) {
        let verdict = if healthy { ProbeVerdict::Passes } else { ProbeVerdict::Fails };
        let _change: Option<_> =
            self.upstream.set_probe(self.index, verdict, reason, Instant::now().into_std());
    }
}
