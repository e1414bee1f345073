//! What is told after an exchange's last byte: once, synchronously, on the shard.

use std::{rc::Rc, sync::Arc, time::Duration, time::Instant};

use super::{error::Error, request::Request, shard::Shard, snapshot::Snapshot};
use crate::{
    base::{
        access::{AccessFormat, AccessRecord, TlsFacts},
        address::Address,
    },
    protocol::http::Name,
    runtime,
    transport::tls::Handshaken,
};

/// Is told of every exchange when it is over.
pub trait Observe {
    /// Takes note. Must be quick: the shard waits.
    fn observe(&self, summary: &Summary<'_>);
}

impl<O: Observe + ?Sized> Observe for Rc<O> {
    fn observe(&self, summary: &Summary<'_>) {
        (**self).observe(summary);
    }
}

/// One after the other.
impl<A: Observe, B: Observe> Observe for (A, B) {
    fn observe(&self, summary: &Summary<'_>) {
        self.0.observe(summary);
        self.1.observe(summary);
    }
}

/// One after the other.
impl<O: Observe> Observe for Vec<O> {
    fn observe(&self, summary: &Summary<'_>) {
        self.iter().for_each(|observer| observer.observe(summary));
    }
}

/// Takes no note.
impl Observe for () {
    fn observe(&self, _summary: &Summary<'_>) {}
}

/// A finished exchange.
#[derive(Debug)]
pub struct Summary<'a> {
    /// The request, as the filters left it.
    pub request: &'a Request,
    /// The status that was sent; 0 when none was.
    pub status: u16,
    /// Bytes received from the client, heads included.
    pub received: u64,
    /// Bytes sent to the client, heads included.
    pub sent: u64,
    /// One word for what failed; none when nothing did.
    pub failure: Option<&'static str>,
    /// When it ended.
    pub now: Instant,
}

/// Where an exchange ran, and the bytes that it moved.
#[derive(Debug)]
pub(super) struct Traffic<'a> {
    pub(super) shard: &'a Shard,
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl<'a> Summary<'a> {
    pub(super) fn new(
        request: &'a Request,
        traffic: &Traffic<'_>,
        status: u16,
        error: Option<&Error>,
        now: Instant,
    ) -> Self {
        let Traffic { shard, received, sent } = *traffic;
        let stats = shard.stats();
        if let Some(error) = error {
            stats.count_client_failure(error);
        }
        stats.received_bytes.add(received);
        stats.sent_bytes.add(sent);
        let failure = request.trace.failure.or_else(|| error.map(Error::code));
        Self { request, status, received, sent, failure, now }
    }
}

impl Summary<'_> {
    /// From the request's whole head to the response's last byte.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.now.saturating_duration_since(self.request.started())
    }

    /// From the request's whole head to the upstream's whole response head; none without one.
    #[must_use]
    pub fn upstream_duration(&self) -> Option<Duration> {
        let answered = self.request.trace.answered?;
        Some(answered.saturating_duration_since(self.request.started()))
    }

    /// The endpoint that answered, or was tried last.
    #[must_use]
    pub fn endpoint(&self) -> Option<Address> {
        self.request.trace.endpoint
    }

    /// How often an endpoint was tried.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        let trace = &self.request.trace;
        if trace.endpoint.is_some() { trace.retries + 1 } else { 0 }
    }
}

/// The observer of a config: counts by route, and writes the access log.
#[derive(Debug)]
pub struct Record {
    snapshot: Arc<Snapshot>,
    shard: Rc<Shard>,
}

impl Record {
    /// Counts into `snapshot`'s routes.
    #[must_use]
    pub fn new(snapshot: &Arc<Snapshot>, shard: &Rc<Shard>) -> Self {
        Self { snapshot: Arc::clone(snapshot), shard: Rc::clone(shard) }
    }

    fn log(&self, summary: &Summary<'_>, format: &AccessFormat) {
        let access = self.shard.access.borrow();
        let Some(access) = &*access else { return };
        let request = summary.request;
        let config = &self.snapshot.config;
        let trace = &request.trace;
        let own = request.id().text();
        let id = request.kept_id().unwrap_or(&own);
        let name = |index: Option<u32>| index.map(|index| index as usize);
        let record = AccessRecord {
            time: runtime::wall_now(),
            client_ip: request.client_ip(),
            method: if trace.is_bare { b"" } else { request.method_str().as_bytes() },
            scheme: request.scheme().as_str(),
            host: request.host_bytes(),
            path: (!trace.is_bare).then(|| request.path_received().as_bytes()),
            query: request.query().map(str::as_bytes),
            version: if trace.is_bare { "" } else { request.version.as_str() },
            status: summary.status,
            bytes_in: summary.received,
            bytes_out: summary.sent,
            duration: summary.duration(),
            upstream_duration: summary.upstream_duration(),
            listener: request.listener().name(),
            route: name(trace.route)
                .and_then(|index| config.routes.get(index))
                .map(|route| &*route.name),
            upstream: name(trace.upstream)
                .and_then(|index| config.upstreams.get(index))
                .map(|upstream| &*upstream.name),
            endpoint: summary.endpoint(),
            attempts: summary.attempts(),
            request_id: Some(id.as_bytes()),
            referer: request.headers.get_known(Name::Referer),
            user_agent: request.headers.get_known(Name::UserAgent),
            tls: request.tls().map(facts),
            error: summary.failure,
        };
        access.log(&record, format);
    }
}

/// What of a handshake is logged.
fn facts(handshaken: &Handshaken) -> TlsFacts<'_> {
    TlsFacts {
        version: handshaken.version.as_str(),
        cipher: handshaken.cipher,
        sni: handshaken.server_name.as_deref(),
        alpn: handshaken.alpn.as_deref(),
        is_resumed: handshaken.is_resumed,
        client_subject: handshaken.client.as_ref().map(|client| &*client.subject),
    }
}

impl Observe for Record {
    fn observe(&self, summary: &Summary<'_>) {
        let latency = summary.duration();
        let routes = &self.snapshot.routes;
        let route = summary.request.trace.route.map_or(routes.len() - 1, |id| id as usize);
        if let Some(counters) = routes.get(route).and_then(|stats| stats.shard(self.shard.id())) {
            counters.count(summary.status, latency);
            counters.bytes_in.add(summary.received);
            counters.bytes_out.add(summary.sent);
        }
        if let Some(log) = &self.snapshot.config.log.access
            && self.shard.samples(log.sample)
        {
            self.log(summary, &log.format);
        }
    }
}
