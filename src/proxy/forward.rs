//! Sends a request to an endpoint of an upstream and returns the response's head, its body still
//! on the wire.
//!
//! ```text
//!   prepare ─▶ pick ─▶ lend ─▶ send head (and a body that is here already) ─▶ read head ─▶ Response
//!                ▲                    └─ upload: the rest of the body, beside all that follows
//!                └──────── retry, if it is safe, wanted and within the budget
//! ```
//!
//! What is safe: a request of which nothing was sent, and an idempotent one (RFC 9110 §9.2.2) of
//! whose response no byte was seen. A request whose body has begun to stream is never repeated.

use std::{
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    body::{Body, Kind},
    deadline::{self, Late},
    error::Error,
    forward_h2, forwarded, grpc,
    handler::Handler,
    hash_key,
    head_reader::{self, HeadFailure, HeadReader},
    outgoing::Outgoing,
    request::Request,
    response::Response,
    shard::Shard,
    snapshot::Snapshot,
    stats::{PerShard, UpstreamCounters},
    tunnel::Tunnel,
    upload::{self, Progress, Upload},
    wire::{UpstreamSide, WireBody},
};
use crate::{
    balance::Tried,
    config::{Retry, RetryCause, Timeouts, UpstreamProtocol},
    protocol::{
        h1,
        http::{self, Framing, Method, Name, Status},
    },
    runtime::{self, PooledFuture},
    upstream::{
        ConnectError, Dial, Lent, Outcome, Pool, Upstream, announce_addresses, announce_probe,
    },
};

/// How requests are forwarded.
#[derive(Debug, Clone, Default)]
pub struct ForwardOptions {
    /// How long the upstream may take.
    pub timeouts: Timeouts,
    /// When a request is sent once more.
    pub retry: Retry,
    /// Whether `Upgrade` (WebSocket) is let through. Default: false, the field is removed.
    pub upgrade: bool,
}

/// A handler that forwards to an upstream. One per shard, upstream and set of options.
pub struct Forward {
    pub(super) pool: Rc<Pool>,
    pub(super) shard: Rc<Shard>,
    pub(super) options: ForwardOptions,
    index: Option<u32>,
    counters: Option<Arc<PerShard<UpstreamCounters>>>,
}

impl Forward {
    /// Forwards to `upstream`.
    #[must_use]
    pub fn new(shard: &Rc<Shard>, upstream: &Arc<Upstream>, options: ForwardOptions) -> Self {
        Self {
            pool: shard.pools.open(upstream),
            shard: Rc::clone(shard),
            options,
            index: None,
            counters: None,
        }
    }

    /// Its upstream is the `index`th of `snapshot`: for the log and the counters.
    #[must_use]
    pub(super) fn named(mut self, snapshot: &Snapshot, index: usize) -> Self {
        self.index = u32::try_from(index).ok();
        self.counters = snapshot.upstream_counters.get(index).map(Arc::clone);
        self
    }

    pub(super) fn counters(&self) -> Option<&UpstreamCounters> {
        self.counters.as_ref()?.shard(self.shard.id())
    }

    /// Makes the request fit for another hop.
    fn prepare(&self, req: &mut Request) -> Result<(), Error> {
        if self.options.upgrade
            && let Some(protocol) = req.arrival.upgrade.clone()
        {
            req.headers.set("upgrade", &protocol)?;
        }
        if req.headers.get_known(Name::Host).is_none() {
            // HTTP/1.0 may leave Host out; HTTP/1.1, which endpoints get, may not.
            req.headers.set("host", &self.pool.upstream().config.name)?;
        }
        forwarded::apply(req)?;
        Ok(())
    }

    /// A connection that begins with a PROXY header, if the upstream wants one: it is this client's
    /// alone.
    fn announced(
        &self,
        req: &Request,
        index: usize,
    ) -> Option<PooledFuture<'_, Result<Lent, ConnectError>>> {
        let version = self.pool.upstream().config.proxy_protocol?;
        let client = req.client_addr();
        let preface = match req.arrival.downstream.local_addr() {
            Ok(destination) => announce_addresses(version, client, destination),
            Err(_) => announce_probe(version),
        };
        let timeout = self.connect_limit(req);
        let dial = Dial { timeout, from: None, preface: Some(preface) };
        Some(PooledFuture::new(self.pool.dial_for_one(index, dial)))
    }

    /// One attempt at one endpoint.
    async fn attempt(
        &self,
        req: &mut Request,
        outgoing: &mut Outgoing,
        index: usize,
    ) -> Result<Response, Failure> {
        let timeouts = &self.options.timeouts;
        let endpoint = self.pool.upstream().endpoints.get(index);
        req.trace.endpoint = endpoint.map(|endpoint| endpoint.address);
        let lent = match self.announced(req, index) {
            Some(lending) => {
                req.trace.phase = "getting a connection";
                lending.await.map_err(Failure::unsent)?
            }
            None => match self.pool.lend_idle(index) {
                Some(lent) => lent,
                // Pooled, here and below: the usual attempt needs no room for the rare one's state.
                None => {
                    req.trace.phase = "getting a connection";
                    PooledFuture::new(self.pool.lend(index, self.connect_limit(req)))
                        .await
                        .map_err(Failure::unsent)?
                }
            },
        };
        req.trace.phase = "waiting for the response head";
        // The connection's timer, which is in the wheel already, serves all its exchanges.
        let downstream = req.arrival.downstream.clone();
        let timer = downstream.upstream_timer();
        let mut reader = HeadReader::new(timer);
        let sent_at = runtime::now();
        let is_refused = outgoing.send(&lent, timer, timeouts.first_byte).await.is_err();
        if is_refused {
            // The endpoint may have answered before it closed: a response explains more.
            outgoing.give_up_upload();
        }
        reader.set_deadline(timeouts.first_byte, req.trace.deadline);
        let upload = if outgoing.has_upload() {
            PooledFuture::new(outgoing.upload(req, &lent, &mut reader, timeouts.idle)).await?
        } else {
            None
        };
        let result = if upload.is_none() {
            Ok(reader.read(&lent, req).await)
        } else {
            PooledFuture::new(async {
                // The time to the first byte begins at the request's end.
                let mut awaited = upload.clone();
                head_reader::suspend(timer, req.trace.deadline);
                let mut read = pin!(reader.read(&lent, req));
                let read = std::future::poll_fn(|cx| {
                    if awaited.take_if(|upload| upload.progress() != Progress::Running).is_some() {
                        head_reader::limit(timer, timeouts.first_byte, req.trace.deadline);
                    }
                    read.as_mut().poll(cx)
                });
                upload::beside(upload.as_ref(), read).await
            })
            .await
        };
        match result {
            Ok(Ok(())) => {
                let sent = Sent { upload, is_withheld: outgoing.is_withheld(), is_refused };
                self.respond(req, lent, reader, sent, index)
            }
            Ok(Err(HeadFailure::Timeout { .. })) if is_clients(upload.as_ref(), req) => {
                Err(Failure::final_(Late::Sending.error("")))
            }
            Ok(Err(failure)) => Err(self.blame(&lent, failure, index, sent_at)),
            Err(error) => Err(Failure::final_(error)),
        }
    }

    /// How long a connect may take. One that the exchange's deadline cuts short still counts against
    /// the endpoint if it had a fair time.
    pub(super) fn connect_limit(&self, req: &Request) -> Duration {
        let limit = self.options.timeouts.connect;
        let left = req.trace.deadline.map(|at| at.saturating_duration_since(runtime::now()));
        left.filter(|left| (CONNECT_FAIR..limit).contains(left)).unwrap_or(limit)
    }

    /// Reports a failed attempt to the endpoint's outlier detection.
    fn blame(&self, lent: &Lent, failure: HeadFailure, index: usize, sent_at: Instant) -> Failure {
        // An endpoint that closes a kept-alive connection does so about when the request leaves; one
        // that dies over the request takes its time.
        let is_quick = runtime::now().saturating_duration_since(sent_at) < STALE_WITHIN;
        let is_stale = is_quick
            && lent.is_reused()
            && matches!(failure, HeadFailure::Closed { any: false, .. });
        let (outcome, cause, error) = match failure {
            HeadFailure::Closed { any: false, source } => {
                (Outcome::Reset, Some(RetryCause::NoResponse), Error::UpstreamClosed(source))
            }
            HeadFailure::Closed { any: true, source } => {
                (Outcome::Malformed, None, Error::UpstreamClosed(source))
            }
            HeadFailure::Timeout { any } => (
                Outcome::Timeout,
                (!any).then_some(RetryCause::Timeout),
                Error::UpstreamTimeout { phase: "waiting for the response head" },
            ),
            HeadFailure::Malformed(error) => (Outcome::Malformed, None, Error::BadResponse(error)),
            HeadFailure::InterimFlood => (Outcome::Malformed, None, Error::InterimFlood),
            HeadFailure::Client(error) => return Failure::final_(error),
        };
        if !is_stale {
            self.pool.report(index, outcome);
        }
        Failure { error, cause, is_unsent: false, is_stale }
    }

    /// The response, from a head that was read.
    fn respond(
        &self,
        req: &mut Request,
        lent: Lent,
        reader: HeadReader<'_>,
        sent: Sent,
        index: usize,
    ) -> Result<Response, Failure> {
        let Sent { upload, is_withheld, is_refused } = sent;
        let (mut head, rest) = reader.into_parts();
        let now = runtime::now();
        req.trace.answered = Some(now);
        if let Some(counters) = self.counters() {
            counters.first_byte.record(now.saturating_duration_since(req.started()));
        }
        let status = head.status;
        let outcome =
            if status.is_server_error() { Outcome::ServerError } else { Outcome::Answered };
        let is_tunnel = status == Status::SWITCHING_PROTOCOLS
            || (req.method == Method::Connect && status.class() == 2);
        let upgrade = head.headers.get_known(Name::Upgrade).map(<[u8]>::to_vec);
        let is_asked = req.method == Method::Connect
            || (self.options.upgrade && req.headers.get_known(Name::Upgrade).is_some());
        let is_sending = is_withheld
            || upload.as_ref().is_some_and(|upload| upload.progress() != Progress::Done);
        if is_tunnel && (!is_asked || is_sending) {
            self.pool.report(index, Outcome::Malformed);
            return Err(Failure::final_(Error::UnaskedUpgrade));
        }
        let framing = http::response_framing(&head, req.method).map_err(|error| {
            self.pool.report(index, Outcome::Malformed);
            Failure::final_(Error::BadResponse(error))
        })?;
        self.pool.report(index, outcome);
        let announced = head.headers.get_known(Name::ContentLength).and_then(parse_length);
        let side = UpstreamSide {
            is_reusable: h1::response_keeps_alive(&head) && !is_tunnel && !is_withheld,
            upload: upload.clone().or_else(|| is_refused.then(Upload::refused)),
            lent,
        };
        http::strip_response_hops(&mut head.headers);
        let body = if is_tunnel {
            if let Some(protocol) = upgrade {
                head.headers
                    .set("upgrade", &protocol)
                    .map_err(|error| Failure::final_(error.into()))?;
            }
            let tunnel = Tunnel::over_connection(side, rest, self.options.timeouts.idle);
            Kind::Tunnel(Box::new(tunnel)).into()
        } else {
            response_body(side, framing, rest, self.options.timeouts.idle)
        };
        let mut response = Response::from_head(head, body);
        response.announced_length = announced;
        response.has_upload = upload.is_some();
        response.upload = upload;
        Ok(response)
    }

    /// Whether another attempt is safe, wanted and within the budget.
    fn may_retry(
        &self,
        req: &Request,
        is_repeatable: bool,
        cause: Option<RetryCause>,
        is_unsent: bool,
    ) -> bool {
        let retry = &self.options.retry;
        let is_safe = is_unsent || req.method.is_idempotent();
        let is_wanted = cause.is_some_and(|cause| retry.on.contains(cause))
            && req.trace.retries < retry.attempts;
        let now = runtime::now();
        if !is_safe || !is_wanted || !is_repeatable {
            return false;
        }
        if req.trace.deadline.is_some_and(|deadline| deadline <= now) {
            return false;
        }
        let is_allowed = self.pool.budget().withdraw(now, retry.budget);
        if !is_allowed && let Some(counters) = self.counters() {
            counters.retries_over_budget.increment();
        }
        is_allowed
    }
}

impl Handler for Forward {
    async fn handle(&self, req: &mut Request) -> Result<Response, Error> {
        req.trace.upstream = self.index;
        let asked = grpc::timeout(&req.headers);
        let limits = [self.options.timeouts.total, asked];
        match limits.into_iter().flatten().min() {
            // A route bounds its filters, too.
            Some(total) if req.trace.deadline.is_none_or(|at| at > req.started() + total) => {
                deadline::within(req, total, &Attempts(self)).await
            }
            _ => Attempts(self).handle(req).await,
        }
    }
}

/// Attempt after attempt, until one succeeds or none may follow.
struct Attempts<'a>(&'a Forward);

impl Handler for Attempts<'_> {
    async fn handle(&self, req: &mut Request) -> Result<Response, Error> {
        let Self(forward) = *self;
        forward.prepare(req)?;
        let protocol = forward.pool.upstream().config.protocol;
        let mut outgoing = Sending::new(req, protocol);
        // The endpoint that has just said that it speaks the other version.
        let mut same = None;
        forward.pool.budget().deposit(runtime::now());
        let key = hash_key::of(req, &forward.pool);
        let mut tried = Tried::new();
        let mut is_freshened = false;
        loop {
            let is_second_look = same.is_some();
            let picked = same.take().map_or_else(|| forward.pool.pick(&mut tried, key), Ok);
            let Ok(index) = picked else {
                let upstream = forward.pool.upstream().config.name.clone();
                return Err(Error::NoEndpoint { upstream });
            };
            if protocol == UpstreamProtocol::Auto {
                outgoing.suit(req, forward.pool.protocol(index));
            }
            let attempted = match &mut outgoing {
                Sending::H1(outgoing) => forward.attempt(req, outgoing, index).await,
                Sending::H2(outgoing) => {
                    PooledFuture::new(forward.attempt_h2(req, outgoing, index)).await
                }
            };
            match attempted {
                Ok(response) => {
                    let cause = RetryCause::of_status(response.status.code());
                    let is_repeatable = outgoing.is_repeatable();
                    if cause.is_none() || !forward.may_retry(req, is_repeatable, cause, false) {
                        return Ok(response);
                    }
                }
                Err(failure) if failure.is_other_protocol() && !is_second_look => {
                    same = Some(index);
                    continue;
                }
                Err(failure) => {
                    // A kept-alive connection that the endpoint closed while the request was on
                    // its way says nothing of the endpoint: once, that costs no retry.
                    let is_safe = failure.is_unsent || req.method.is_idempotent();
                    let is_repeatable = outgoing.is_repeatable();
                    let is_free = failure.is_stale && !is_freshened && is_safe && is_repeatable;
                    if is_free {
                        is_freshened = true;
                        tried = Tried::new();
                        continue;
                    }
                    if !forward.may_retry(req, is_repeatable, failure.cause, failure.is_unsent) {
                        return Err(failure.error);
                    }
                }
            }
            req.trace.retries += 1;
            if let Some(counters) = forward.counters() {
                counters.retries.increment();
            }
        }
    }
}

impl std::fmt::Debug for Forward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let upstream = &self.pool.upstream().config.name;
        f.debug_struct("Forward").field("upstream", upstream).finish_non_exhaustive()
    }
}

/// A request on its way, as the endpoint's protocol wants it.
enum Sending {
    H1(Outgoing),
    H2(forward_h2::Outgoing),
}

impl Sending {
    fn new(req: &mut Request, protocol: UpstreamProtocol) -> Self {
        match protocol {
            UpstreamProtocol::Http11 => Self::H1(Outgoing::new(req)),
            // Which costs least if it is to be the other.
            UpstreamProtocol::H2 | UpstreamProtocol::Auto => {
                Self::H2(forward_h2::Outgoing::new(req))
            }
        }
    }

    /// Makes it what `protocol` wants, if it is something else and still here whole.
    fn suit(&mut self, req: &mut Request, protocol: UpstreamProtocol) {
        let is_h2 = matches!(self, Self::H2(_));
        if is_h2 == (protocol == UpstreamProtocol::H2) || !self.is_repeatable() {
            return;
        }
        req.body = match self {
            Self::H1(outgoing) => outgoing.take_body(),
            Self::H2(outgoing) => outgoing.take_body(),
        };
        *self = Self::new(req, protocol);
    }

    fn is_repeatable(&self) -> bool {
        match self {
            Self::H1(outgoing) => outgoing.is_repeatable(),
            Self::H2(outgoing) => outgoing.is_repeatable(),
        }
    }
}

/// What has become of a request by the time its response's head is here.
struct Sent {
    upload: Option<Upload>,
    /// The endpoint answered instead of asking for the body, which was not sent then.
    is_withheld: bool,
    /// Sending failed.
    is_refused: bool,
}

/// How soon after the request a kept-alive connection must end to count as closed before it.
pub(super) const STALE_WITHIN: Duration = Duration::from_secs(1);

/// An endpoint that doesn't answer a connect for so long is to blame: the kernel has repeated a lost
/// SYN by then.
const CONNECT_FAIR: Duration = Duration::from_millis(1500);

/// Whether the client keeps everybody waiting: its upload goes on and waits for it.
pub(super) fn is_clients(upload: Option<&Upload>, req: &Request) -> bool {
    upload.is_some_and(|upload| upload.progress() == Progress::Running)
        && req.arrival.downstream.late() == Late::Sending
}

/// A failed attempt.
pub(super) struct Failure {
    pub(super) error: Error,
    /// What a retry would be for; none: not to be retried.
    pub(super) cause: Option<RetryCause>,
    /// Nothing of it was sent, or the endpoint says that it did nothing for it.
    pub(super) is_unsent: bool,
    /// A reused connection ended before the first byte of a response.
    pub(super) is_stale: bool,
}

impl Failure {
    pub(super) fn unsent(error: ConnectError) -> Self {
        // A full queue is the upstream's, not the endpoint's: another attempt would only add to it.
        let cause = (!error.is_overload()).then_some(RetryCause::ConnectFailure);
        Self { error: Error::Connect(error), cause, is_unsent: true, is_stale: false }
    }

    /// Whether the endpoint is to be asked in the other version of HTTP.
    fn is_other_protocol(&self) -> bool {
        matches!(self.error, Error::Connect(ConnectError::OtherProtocol(_)))
    }

    pub(super) fn final_(error: Error) -> Self {
        Self { error, cause: None, is_unsent: false, is_stale: false }
    }
}

/// The body of a response whose head has been read and `rest` behind it.
fn response_body(
    side: UpstreamSide,
    framing: Framing,
    rest: Option<super::body::Chunk>,
    idle: Duration,
) -> Body {
    match (framing, rest) {
        (Framing::None | Framing::Described(_), rest) => {
            // Bytes behind a response without a body belong to nothing we asked for.
            side.release(rest.is_none());
            Body::empty()
        }
        (Framing::Length(length), Some(mut rest)) if rest.len() as u64 >= length => {
            let is_clean = rest.len() as u64 == length;
            rest.truncate(usize::try_from(length).unwrap_or(usize::MAX));
            side.release(is_clean);
            Kind::Whole(rest).into()
        }
        (Framing::Length(0), None) => {
            side.release(true);
            Body::from("")
        }
        (framing, rest) => {
            Kind::Wire(Box::new(WireBody::of_response(side, framing, rest, idle))).into()
        }
    }
}

/// A Content-Length that `response_framing` has found valid.
pub(super) fn parse_length(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
