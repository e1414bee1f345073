//! One attempt at an endpoint that speaks HTTP/2: a stream among others on a shared connection.
//!
//! ```text
//!   obtain a session ─▶ HEADERS (and a body that is here already) ─▶ read head ─▶ Response
//!                          └─ upload: the rest of the body, beside all that follows
//! ```
//!
//! What is safe to repeat is as in `forward`, and one thing more: a stream that the endpoint says it
//! did nothing for (REFUSED_STREAM, or a GOAWAY before it) was never a request (RFC 9113 §8.7).

use std::{
    pin::pin,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    body::{Body, Chunk, Kind},
    deadline::Late,
    error::Error,
    forward::{Failure, Forward, STALE_WITHIN, is_clients, parse_length},
    h2::{Answer, BodyFailure, Gone, H2Body, Handle, Session, Source, Stream, send_body},
    head_reader::{self, INTERIM_MAX},
    outgoing::CONTINUE_WAIT,
    pace::Pace,
    request::Request,
    response::Response,
    tunnel::Tunnel,
    upload::{self, Progress, Upload, UploadEnd},
    websocket,
};
use crate::{
    config::RetryCause,
    protocol::{
        h2::{EndStream, ResetCause, SendError},
        http::{self, Framing, Method, Name, Status},
    },
    runtime::{self, Expired, PooledFuture, Timer},
    upstream::{InFlight, Outcome},
};

/// A request's body, on its way to a stream.
#[derive(Debug)]
pub(super) struct Outgoing {
    framing: Framing,
    /// A small body that is here whole: goes out with the head, and may do so again.
    whole: Option<Chunk>,
    /// A body that is to be streamed behind the head.
    body: Option<Body>,
    is_streamed: bool,
}

impl Outgoing {
    /// Takes the body of `req`.
    pub(super) fn new(req: &mut Request) -> Self {
        let body = req.body.take();
        let framing = match &body.kind {
            Kind::Empty | Kind::Tunnel(_) => Framing::None,
            _ => body.remaining().map_or(Framing::Chunked, Framing::Length),
        };
        let (whole, body) = match body.kind {
            Kind::Empty | Kind::Tunnel(_) => (None, None),
            Kind::Whole(chunk) if chunk.len() <= WHOLE_MAX => (Some(chunk), None),
            _ => (None, Some(body)),
        };
        Self { framing, whole, body, is_streamed: false }
    }

    /// The request's body back, of which nothing was sent.
    pub(super) fn take_body(&mut self) -> Body {
        match (self.whole.take(), self.body.take()) {
            (Some(whole), _) => Kind::Whole(whole).into(),
            (None, Some(body)) => body,
            (None, None) => Body::empty(),
        }
    }

    /// Whether it can be sent once more.
    pub(super) fn is_repeatable(&self) -> bool {
        !self.is_streamed
    }

    /// Whether the head is all of the request.
    fn is_empty(&self) -> bool {
        self.body.is_none() && self.whole.as_ref().is_none_or(|whole| whole.is_empty())
    }
}

impl Forward {
    /// One attempt at endpoint `index`.
    pub(super) async fn attempt_h2(
        &self,
        req: &mut Request,
        outgoing: &mut Outgoing,
        index: usize,
    ) -> Result<Response, Failure> {
        if req.method == Method::Connect {
            return Err(Failure::final_(Error::ConnectRefused));
        }
        let timeouts = &self.options.timeouts;
        let in_flight = self.pool.enter(index);
        let sessions = &self.shard.sessions;
        req.trace.endpoint = Some(self.pool.endpoint(index).address);
        req.trace.phase = "getting a connection";
        let session = sessions.obtain(&self.pool, index, self.connect_limit(req)).await;
        let session = session.map_err(Failure::unsent)?;
        let is_tunnel = outgoing.is_empty() && websocket::is_asked(req);
        if is_tunnel {
            PooledFuture::new(self.await_consent(req, &session)).await?;
        }
        req.trace.phase = "waiting for the response head";
        if session.uses() > 0 {
            in_flight.count_reused();
        }
        let sent = if is_tunnel {
            let head = websocket::to_connect(req).map_err(Failure::final_)?;
            session.request(&head, Framing::None, EndStream::No)
        } else {
            session.request(req.head(), outgoing.framing, EndStream::when(outgoing.is_empty()))
        };
        let handle = sent.map_err(|error| Failure::final_(not_sent(error)))?;
        let asked = Asked {
            sent_at: runtime::now(),
            is_reused: session.uses() > 1,
            is_leaving: false,
            is_tunnel,
            index,
        };
        drop(session);
        let downstream = req.arrival.downstream.clone();
        let timer = downstream.upstream_timer();
        head_reader::limit(timer, timeouts.first_byte, req.trace.deadline);
        let mut upload = None;
        let mut early = None;
        if !outgoing.is_empty() {
            if req.arrival.downstream.wants_continue() && outgoing.body.is_some() {
                early = PooledFuture::new(self.await_continue(req, &handle)).await?;
            }
            if early.as_ref().is_none_or(wants_body) {
                upload = self.upload_h2(outgoing, &handle);
            }
        }
        let result = match early {
            Some(answer) => Ok(Ok(answer)),
            None if upload.is_none() => Ok(self.read_answer(req, &handle, timer).await),
            None => PooledFuture::new(self.read_beside(req, &handle, timer, upload.as_ref())).await,
        };
        match result {
            Ok(Ok(answer)) => self.respond_h2(req, (handle, in_flight), answer, upload, &asked),
            Ok(Err(Unanswered::Timeout)) if is_clients(upload.as_ref(), req) => {
                Err(Failure::final_(Late::Sending.error("")))
            }
            Ok(Err(failure)) => {
                let asked = Asked { is_leaving: handle.session().is_leaving(), ..asked };
                Err(self.blame_h2(failure, &asked))
            }
            Err(error) => Err(Failure::final_(error)),
        }
    }

    /// Waits until the endpoint has said whether it takes extended CONNECT (RFC 8441 §3).
    async fn await_consent(&self, req: &Request, session: &Session) -> Result<(), Failure> {
        let timer = Timer::new();
        timer.set_after(self.connect_limit(req));
        let is_settled = timer.guard(session.until_settled()).await.is_ok();
        let error = if !is_settled {
            Error::UpstreamTimeout { phase: "sending its settings" }
        } else if session.streams_free() == 0 {
            // It has ended meanwhile, or others were quicker.
            Error::UpstreamClosed(None)
        } else if !session.takes_connect() {
            Error::NoExtendedConnect
        } else {
            return Ok(());
        };
        // Another endpoint may do.
        let cause = Some(RetryCause::RefusedStream);
        Err(Failure { error, cause, is_unsent: true, is_stale: false })
    }

    /// Sends the body, or begins to.
    fn upload_h2(&self, outgoing: &mut Outgoing, handle: &Handle) -> Option<Upload> {
        let mut first = None;
        if let Some(whole) = &outgoing.whole {
            match handle.try_send_data(whole, EndStream::Yes) {
                Ok(taken) if taken == whole.len() => return None,
                // The stream has ended already; its answer says why.
                Err(_) => return None,
                // No window for all of it: the rest is streamed, and with it the chance to repeat
                // the request goes.
                Ok(taken) => {
                    let mut rest = outgoing.whole.take()?;
                    rest.advance(taken);
                    first = Some(rest);
                }
            }
        }
        outgoing.is_streamed = true;
        let (body, framing) = match first {
            Some(rest) => {
                let length = rest.len() as u64;
                (Kind::Whole(rest).into(), Framing::Length(length))
            }
            None => (outgoing.body.take()?, outgoing.framing),
        };
        let pump = pump(body, Rc::clone(handle), framing, self.options.timeouts.idle);
        Some(Upload::new(PooledFuture::new(pump)))
    }

    /// Waits for the word to send the body, for a while (RFC 9110 §10.1.1); an answer that came
    /// instead is returned.
    async fn await_continue(
        &self,
        req: &Request,
        handle: &Handle,
    ) -> Result<Option<Answer>, Failure> {
        let wait = Timer::new();
        wait.set_after(CONTINUE_WAIT);
        let arrival = &req.arrival;
        let mut early = None;
        loop {
            match wait.guard(handle.answer()).await {
                Ok(Ok(answer)) if answer.framing.is_some() => {
                    early = Some(answer);
                    break;
                }
                Ok(Ok(answer)) if answer.head.status != Status::CONTINUE => {
                    self.pass_on(req, answer).await.map_err(Failure::final_)?;
                }
                // An early end is told by the next look.
                Ok(_) | Err(Expired) => break,
            }
        }
        if early.as_ref().is_none_or(wants_body) {
            arrival.downstream.go_on(&arrival.listener).await.map_err(Failure::final_)?;
        }
        Ok(early)
    }

    /// Passes an interim response on.
    async fn pass_on(&self, req: &Request, mut answer: Answer) -> Result<(), Error> {
        http::strip_response_hops(&mut answer.head.headers);
        let arrival = &req.arrival;
        arrival.downstream.interim(&answer.head, req.version, &arrival.listener).await
    }

    /// Reads up to the final head; passes interim responses on to the client.
    async fn read_answer(
        &self,
        req: &Request,
        handle: &Handle,
        timer: &Timer,
    ) -> Result<Answer, Unanswered> {
        let mut interim = 0;
        loop {
            let answer = match timer.guard(handle.answer()).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(gone)) => return Err(Unanswered::Gone(gone)),
                Err(Expired) => return Err(Unanswered::Timeout),
            };
            if answer.framing.is_some() {
                return Ok(answer);
            }
            interim += 1;
            if interim > INTERIM_MAX {
                return Err(Unanswered::Flood);
            }
            if answer.head.status != Status::CONTINUE {
                PooledFuture::new(self.pass_on(req, answer)).await.map_err(Unanswered::Client)?;
            }
        }
    }

    /// The same, beside the upload.
    async fn read_beside(
        &self,
        req: &Request,
        handle: &Handle,
        timer: &Timer,
        upload: Option<&Upload>,
    ) -> Result<Result<Answer, Unanswered>, Error> {
        // The time to the first byte begins at the request's end.
        let mut awaited = upload;
        head_reader::suspend(timer, req.trace.deadline);
        let mut read = pin!(self.read_answer(req, handle, timer));
        let read = std::future::poll_fn(|cx| {
            if awaited.take_if(|upload| upload.progress() != Progress::Running).is_some() {
                head_reader::limit(timer, self.options.timeouts.first_byte, req.trace.deadline);
            }
            read.as_mut().poll(cx)
        });
        upload::beside(upload, read).await
    }

    /// Reports a failed attempt to the endpoint's outlier detection.
    fn blame_h2(&self, failure: Unanswered, asked: &Asked) -> Failure {
        let no_response = Some(RetryCause::NoResponse);
        let (outcome, cause, error) = match failure {
            Unanswered::Gone(Gone::Reset(code, ResetCause::Unprocessed)) => {
                // Says nothing of the endpoint's health: it drains, or is busy.
                let cause = Some(RetryCause::RefusedStream);
                let error = Error::UpstreamReset { code };
                return Failure { error, cause, is_unsent: true, is_stale: asked.is_leaving };
            }
            Unanswered::Gone(Gone::Lost) => {
                let error = Error::UpstreamClosed(None);
                if asked.is_stale() {
                    return Failure { error, cause: no_response, is_unsent: false, is_stale: true };
                }
                (Outcome::Reset, no_response, error)
            }
            Unanswered::Gone(Gone::Reset(code, ResetCause::Theirs)) => {
                (Outcome::Reset, no_response, Error::UpstreamReset { code })
            }
            Unanswered::Gone(Gone::Reset(_, ResetCause::Violation(violation))) => {
                (Outcome::Malformed, None, Error::UpstreamViolation { violation })
            }
            Unanswered::Timeout => (
                Outcome::Timeout,
                Some(RetryCause::Timeout),
                Error::UpstreamTimeout { phase: "waiting for the response head" },
            ),
            Unanswered::Flood => (Outcome::Malformed, None, Error::InterimFlood),
            Unanswered::Client(error) => return Failure::final_(error),
        };
        self.pool.report(asked.index, outcome);
        Failure { error, cause, is_unsent: false, is_stale: false }
    }

    /// The response, from a head that was read.
    fn respond_h2(
        &self,
        req: &mut Request,
        (handle, in_flight): (Handle, InFlight),
        answer: Answer,
        upload: Option<Upload>,
        asked: &Asked,
    ) -> Result<Response, Failure> {
        let Answer { mut head, framing, is_end } = answer;
        let now = runtime::now();
        req.trace.answered = Some(now);
        if let Some(counters) = self.counters() {
            counters.first_byte.record(now.saturating_duration_since(req.started()));
        }
        let is_failure = head.status.is_server_error();
        let outcome = if is_failure { Outcome::ServerError } else { Outcome::Answered };
        self.pool.report(asked.index, outcome);
        let announced = head.headers.get_known(Name::ContentLength).and_then(parse_length);
        http::strip_response_hops(&mut head.headers);
        let framing = framing.unwrap_or_default();
        let body = if asked.is_tunnel && head.status.class() == 2 {
            websocket::to_switch(req, &mut head).map_err(Failure::final_)?;
            let tunnel = Tunnel::over_stream(handle, in_flight, self.options.timeouts.idle);
            Kind::Tunnel(Box::new(tunnel)).into()
        } else if is_end || req.method == Method::Head {
            Body::empty()
        } else {
            let source = Source::Response { handle, _in_flight: in_flight };
            let body = H2Body::new(source, framing, u64::MAX, self.options.timeouts.idle);
            let mut body = body.beside(upload.as_ref());
            match body.take_whole().map_err(Failure::final_)? {
                Some(whole) => Kind::Whole(whole).into(),
                None => Kind::H2(Box::new(body)).into(),
            }
        };
        let mut response = Response::from_head(head, body);
        response.announced_length = announced;
        response.has_upload = upload.is_some();
        response.upload = upload;
        Ok(response)
    }
}

/// Why a request was not sent.
fn not_sent(error: SendError) -> Error {
    match error {
        SendError::HeadTooLarge => {
            let reason = "the request's head is larger than the endpoint takes";
            Error::rejected(Status::HEAD_TOO_LARGE, reason)
        }
        error => Error::Internal(format!("request not sent: {error}")),
    }
}

/// Whether an answer that came before the body is no refusal of it: both sides may send at once.
fn wants_body(answer: &Answer) -> bool {
    answer.head.status.class() == 2 && !answer.is_end
}

/// Streams `body` to `stream`.
async fn pump(body: Body, stream: Rc<Stream>, framing: Framing, idle: Duration) -> UploadEnd {
    match send_body(&stream, body, None, framing, (idle, &Pace::off())).await {
        Ok(()) => UploadEnd::Done,
        Err(BodyFailure::From(error)) => UploadEnd::Failed(error),
        Err(BodyFailure::To(_)) => UploadEnd::Refused,
    }
}

/// A request that was sent.
#[derive(Debug, Clone, Copy)]
struct Asked {
    sent_at: Instant,
    /// Its connection had carried others before.
    is_reused: bool,
    /// Its connection takes no more requests.
    is_leaving: bool,
    /// It asked for a tunnel.
    is_tunnel: bool,
    index: usize,
}

impl Asked {
    /// Whether the connection most likely was closed before the request reached it.
    fn is_stale(&self) -> bool {
        let since = runtime::now().saturating_duration_since(self.sent_at);
        self.is_reused && since < STALE_WITHIN
    }
}

/// Why there is no head.
#[derive(Debug)]
enum Unanswered {
    /// The stream or its connection ended.
    Gone(Gone),
    /// The deadline passed.
    Timeout,
    /// Too many interim responses.
    Flood,
    /// An interim response could not be passed on.
    Client(Error),
}

/// A body up to this size goes out with its head, and may be repeated.
const WHOLE_MAX: usize = 16 * 1024;
