//! HTTP/1.1 clients: one task per connection, one exchange after the other.
//!
//! ```text
//!          ┌────────────── keep-alive ───────────────┐
//!          ▼                                         │
//!   idle ─ bytes ─▶ read head ─▶ handler ─▶ write response ─▶ close (linger)
//!    │                  │ malformed ────────▶ error page ──────▶ close (linger)
//!    └ idle timeout, end, drain ─▶ close
//! ```
//!
//! The outer future is small and lives as long as the connection; the exchange's future is large
//! and is leased from the pool for the exchange's time, so an idle connection holds neither heads
//! nor buffers.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use super::{
    Downstream,
    service::{Current, Service},
    write::{self, Framed},
};
use crate::{
    protocol::{
        h1::{self, Parsed},
        http::{self, Framing, Method, RequestHead, Version},
    },
    proxy::{
        Body, Connection, Error, Handler, ListenerRules, Observe, Pooled, Request, Response,
        body::{Chunk, Kind},
        connection::Watch,
        deadline,
        observe::Summary,
        recycle,
        request::Arrival,
        secure,
        upload::{self, Upload},
        wire::{WireBody, copy_rest},
    },
    runtime::{self, PooledFuture},
};

/// Serves one connection to its end.
pub(super) async fn serve<H: Handler + 'static>(
    service: &Rc<Service<H>>,
    connection: &Rc<Connection>,
) {
    loop {
        let exchange = match idle(service, connection).await {
            Some(first) => {
                connection.is_idle.set(false);
                PooledFuture::new(exchange(Rc::clone(service), Rc::clone(connection), first))
            }
            None => break,
        };
        match exchange.await {
            Next::Idle => connection.is_idle.set(true),
            Next::Close => break,
            Next::Broken => return,
            Next::Linger => return PooledFuture::new(linger(connection)).await,
        }
    }
    if connection.stream.is_tls() {
        PooledFuture::new(connection.end()).await;
    }
}

/// Waits for a request's first bytes; none when the connection is over.
async fn idle<H: Handler + 'static>(
    service: &Service<H>,
    connection: &Connection,
) -> Option<Chunk> {
    // Some clients send an empty line behind a body. It begins no request: the connection is
    // idle as before, but only once.
    let mut may_skip = connection.has_served();
    if let Some(kept) = connection.take_kept() {
        if !may_skip || *kept != *EMPTY_LINE {
            return Some(kept);
        }
        may_skip = false;
    }
    loop {
        let limit = {
            let listener = &service.current().listener;
            match (service.is_ending(), connection.has_served()) {
                (false, _) => listener.idle,
                (true, true) => return None,
                // Established before the listener closed: its first request is answered.
                (true, false) => listener.header_timeout,
            }
        };
        let received = connection.receive_within(limit, "idle").await;
        let chunk = received.ok().filter(|chunk| !chunk.is_empty())?;
        if !may_skip || *chunk != *EMPTY_LINE {
            return Some(chunk);
        }
        may_skip = false;
    }
}

/// What becomes of the connection after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Another request may come.
    Idle,
    /// It is over.
    Close,
    /// It is over, and something isn't whole: the client must not take the end for a good one.
    Broken,
    /// It is over, but the client may still be sending: it must get to read our answer.
    Linger,
}

/// One request and its response.
async fn exchange<H: Handler + 'static>(
    service: Rc<Service<H>>,
    connection: Rc<Connection>,
    first: Chunk,
) -> Next {
    let current = service.current();
    let Current { handler, listener, observer, .. } = &*current;
    connection.begin_exchange(first.len());
    let mut head = Pooled::<RequestHead>::take();
    let rest = match read_head(&connection, listener, first, &mut head).await {
        Ok(rest) => rest,
        Err(error) => {
            let failed = Failed { connection: &connection, listener, error: &error };
            return PooledFuture::new(failed.refuse(&head, &**observer)).await;
        }
    };
    connection.shard.stats().requests.increment();
    let started = runtime::now();
    let is_ending = service.is_ending();
    let keeps_alive = h1::request_keeps_alive(&head) && !is_ending;
    let downstream = Downstream::H1(Rc::clone(&connection));
    let arrival = Arrival::new(downstream, listener, &head, started);
    let body = match body_of(&connection, listener, &head, rest) {
        Ok(body) => body,
        Err(error) => {
            let failed = Failed { connection: &connection, listener, error: &error };
            return PooledFuture::new(failed.refuse(&head, &**observer)).await;
        }
    };
    // Before any filter: a client's `Connection: x-user` must not remove what a filter sets.
    let admitted = http::strip_request_hops(&mut head.headers)
        .map_err(Error::from)
        .and_then(|()| secure::admit(&mut head, connection.stream.handshaken(), listener));
    if let Err(error) = admitted {
        drop(body);
        let failed = Failed { connection: &connection, listener, error: &error };
        return PooledFuture::new(failed.refuse(&head, &**observer)).await;
    }
    let mut req = Request::new(head, body, arrival);
    let mut framed = Framed::new(keeps_alive);
    let result = respond(&**handler, &connection, &mut req, &mut framed).await;
    let error = result.as_ref().err();
    observer.observe(&Summary::new(
        &req,
        &connection.traffic(),
        framed.status,
        error,
        runtime::now(),
    ));
    match result {
        Err(_) => {
            // Wherever it failed: the writer may have been dropped by a deadline or an upload.
            if framed.is_until_close {
                connection.stream.reset_on_close();
            }
            Next::Broken
        }
        Ok(()) if framed.is_aborted => Next::Close,
        Ok(()) if connection.is_request_open.get() => Next::Linger,
        Ok(()) if framed.keeps_alive => Next::Idle,
        Ok(()) => Next::Close,
    }
}

/// Asks the handler and writes its answer, or the error's page.
async fn respond<H: Handler>(
    handler: &H,
    connection: &Rc<Connection>,
    req: &mut Request,
    framed: &mut Framed,
) -> Result<(), Error> {
    let result = {
        let mut handling = pin!(handler.handle(req));
        let mut watch = Watch::new(connection);
        poll_fn(|cx| match handling.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => watch.poll(cx).map(|()| Err(Error::ClientClosed)),
        })
        .await
    };
    let mut deadline = req.trace.deadline;
    let mut response = match result {
        Ok(response) => response,
        Err(error @ Error::ClientClosed) => return Err(error),
        Err(error) => {
            if matches!(error, Error::BadRequest(_)) {
                // What is ambiguous may have been meant to hide what comes behind it.
                framed.keeps_alive = false;
            }
            // It may be what failed; a page has the listener's limits.
            deadline = None;
            failure_page(connection, req, &error)
        }
    };
    // A filter may have put the body into another response.
    let upload = response.upload.take().or_else(|| response.body.upload().cloned());
    response.has_upload = upload.is_some();
    let result = if upload.is_none() && deadline.is_none() {
        write::response(connection, req, &mut response, framed).await
    } else {
        // Pooled: the usual response needs no room for the rare one's state.
        let within = Within { upload: upload.as_ref(), deadline };
        PooledFuture::new(within.write(connection, req, &mut response, framed)).await
    };
    match result {
        Err(error) if framed.status == 0 && !matches!(error, Error::ClientClosed) => {
            if let Some(upload) = upload {
                upload.abort();
            }
            let mut page = failure_page(connection, req, &error);
            PooledFuture::new(write::response(connection, req, &mut page, framed)).await
        }
        result => result,
    }
}

/// What the writing of a response is bounded by, and goes on beside.
struct Within<'a> {
    /// The rest of the request's body.
    upload: Option<&'a Upload>,
    /// The whole exchange's.
    deadline: Option<Instant>,
}

impl Within<'_> {
    async fn write(
        &self,
        connection: &Rc<Connection>,
        req: &Request,
        response: &mut Response,
        framed: &mut Framed,
    ) -> Result<(), Error> {
        let write = write::response(connection, req, response, framed);
        let write = upload::beside(self.upload, write);
        let Some(deadline) = self.deadline else { return write.await.flatten() };
        match deadline::until(deadline, &req.arrival.downstream, write).await {
            Ok(result) => result.flatten(),
            Err(late) => Err(late.error("sending the response body")),
        }
    }
}

/// The page for `error`, of which nothing has been sent yet. The page's status is the answer; why
/// is the log's.
fn failure_page(connection: &Connection, req: &mut Request, error: &Error) -> Response {
    req.trace.failure = Some(error.code());
    connection.shard.stats().count_client_failure(error);
    req.error_page(error)
}

/// Reads a request's head. What follows it is returned.
async fn read_head(
    connection: &Connection,
    listener: &ListenerRules,
    first: Chunk,
    head: &mut RequestHead,
) -> Result<Option<Chunk>, Error> {
    let mut buffered = first;
    let mut is_waiting = false;
    loop {
        match h1::parse_request(&buffered, &listener.head_limits, head)? {
            Parsed::Complete { consumed } => {
                buffered.advance(consumed);
                return Ok((!buffered.is_empty()).then_some(buffered));
            }
            Parsed::Incomplete => buffered = buffered.detach(),
        }
        if !is_waiting {
            // One deadline from the first byte to the head's end: a client that sends a byte
            // now and then doesn't move it.
            connection.timer.set_after(listener.header_timeout);
            is_waiting = true;
        }
        let more = match connection.timer.guard(connection.receive()).await {
            Ok(Ok(more)) if !more.is_empty() => more,
            Ok(_) => return Err(Error::ClientClosed),
            Err(runtime::Expired) => {
                return Err(Error::ClientTimeout { phase: "sending the request head" });
            }
        };
        let mut joined = recycle::take_bytes();
        joined.extend_from_slice(&buffered);
        joined.extend_from_slice(&more);
        buffered = joined.into();
    }
}

/// The request's body, judged by its head.
fn body_of(
    connection: &Rc<Connection>,
    listener: &ListenerRules,
    head: &RequestHead,
    rest: Option<Chunk>,
) -> Result<Body, Error> {
    let framing = http::request_framing(head)?;
    if head.method == Method::Connect && !listener.connect {
        return Err(Error::ConnectRefused);
    }
    match framing {
        Framing::Length(length) if length > listener.body_max => {
            connection.is_request_open.set(true);
            Err(Error::BodyTooLarge { limit: listener.body_max })
        }
        Framing::Length(length) => match rest {
            Some(mut rest) if rest.len() as u64 >= length => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let behind = copy_rest(&rest, length);
                rest.truncate(length);
                connection.end_request(behind);
                Ok(Kind::Whole(rest).into())
            }
            None if length == 0 => Ok(Body::from("")),
            rest => Ok(wire(connection, listener, head, framing, rest)),
        },
        Framing::Chunked => Ok(wire(connection, listener, head, framing, rest)),
        _ => {
            connection.end_request(rest);
            Ok(Body::empty())
        }
    }
}

fn wire(
    connection: &Rc<Connection>,
    listener: &ListenerRules,
    head: &RequestHead,
    framing: Framing,
    rest: Option<Chunk>,
) -> Body {
    // A client whose body has begun doesn't wait (RFC 9110 §10.1.1).
    connection.wants_continue.set(rest.is_none() && h1::expects_continue(head));
    let connection = Rc::clone(connection);
    let body = WireBody::of_request(connection, framing, rest, listener);
    Kind::Wire(Box::new(body)).into()
}

/// A request that is refused before a handler sees it.
struct Failed<'a> {
    connection: &'a Rc<Connection>,
    listener: &'a Rc<ListenerRules>,
    error: &'a Error,
}

impl Failed<'_> {
    /// Answers with the error's page, and closes.
    async fn refuse(&self, head: &RequestHead, observer: &dyn Observe) -> Next {
        let stats = self.connection.shard.stats();
        if matches!(self.error, Error::ClientClosed) {
            return Next::Close;
        }
        stats.count_client_failure(self.error);
        if !matches!(self.error, Error::ClientTimeout { .. }) {
            stats.bad_requests.increment();
        }
        // A malformed head is not to be trusted with anything: the page answers a bare request.
        let bare = Pooled::<RequestHead>::take();
        let downstream = Downstream::H1(Rc::clone(self.connection));
        let arrival = Arrival::new(downstream, self.listener, &bare, runtime::now());
        let mut req = Request::new(bare, Body::empty(), arrival);
        if head.version == Version::Http10 {
            req.version = Version::Http10;
        }
        req.trace.failure = Some(self.error.code());
        let mut page = req.error_page(self.error);
        let mut framed = Framed::new(false);
        let written = write::response(self.connection, &req, &mut page, &mut framed).await;
        let summary = Summary::new(
            &req,
            &self.connection.traffic(),
            framed.status,
            written.as_ref().err(),
            runtime::now(),
        );
        observer.observe(&summary);
        if written.is_ok() { Next::Linger } else { Next::Broken }
    }
}

/// Closes so that the client can read our last answer: ends our side, then takes what is still on
/// its way for a moment. A close with unread bytes would be a reset, which destroys the answer in
/// the client's kernel (RFC 9112 §9.6).
pub(super) async fn linger(connection: &Connection) {
    if connection.stream.shutdown_write().await.is_err() {
        return;
    }
    let deadline = runtime::now() + LINGER_TIME;
    let mut left = LINGER_BYTES;
    while left > 0 {
        let Some(wait) = deadline.checked_duration_since(runtime::now()) else { return };
        match connection.receive_within(wait, "closing").await {
            Ok(chunk) if !chunk.is_empty() => left = left.saturating_sub(chunk.len()),
            _ => return,
        }
    }
}

/// What may lie between a body and the next request (RFC 9112 §2.2).
const EMPTY_LINE: &[u8] = b"\r\n";
/// How long, and for how many bytes, a closed connection is still read.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;
