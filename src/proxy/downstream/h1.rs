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
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use super::{
    Downstream,
    h2::{self, Sniffed},
    handshake,
    write::{self, Framed},
};
use crate::{
    protocol::{
        h1::{self, Parsed},
        http::{self, Framing, Method, RequestHead, Version},
    },
    proxy::{
        Arriving, Body, Connection, Doors, Error, Handler, ListenerRules, Observe, Pooled, Request,
        Response, Versions,
        admit::Inside,
        body::{Chunk, Kind},
        connection::Watch,
        deadline,
        observe::Summary,
        recycle,
        request::Arrival,
        secure,
        shard::Shard,
        stats::{ListenerCounters, PerShard},
        upload::{self, Upload},
        wire::{WireBody, copy_rest},
    },
    runtime::{self, PooledFuture, TcpStream},
    transport::{ConnectionLimit, Place, entrance::Entrance},
};

/// Everything that a listener's connections share on one shard. A reload replaces what is inside;
/// an exchange finishes with what it began with.
pub struct Service<H> {
    shard: Rc<Shard>,
    current: RefCell<Rc<Current<H>>>,
    is_retired: Cell<bool>,
}

/// What a config says of a listener, on one shard.
pub struct Current<H> {
    /// Answers its requests.
    pub handler: Rc<H>,
    /// Its limits and rules.
    pub listener: Rc<ListenerRules>,
    /// Is told of each exchange's end.
    pub observer: Rc<dyn Observe>,
    /// Decide over its connections.
    pub doors: Doors,
    /// Counts its connections.
    pub counters: Arc<PerShard<ListenerCounters>>,
    /// Of the process.
    pub limit: Option<Arc<ConnectionLimit>>,
}

impl<H> Clone for Current<H> {
    fn clone(&self) -> Self {
        Self {
            handler: Rc::clone(&self.handler),
            listener: Rc::clone(&self.listener),
            observer: Rc::clone(&self.observer),
            doors: Rc::clone(&self.doors),
            counters: Arc::clone(&self.counters),
            limit: self.limit.clone(),
        }
    }
}

impl<H: Handler + 'static> Service<H> {
    /// Serves as `current` says.
    pub fn new(shard: &Rc<Shard>, current: Current<H>) -> Rc<Self> {
        Rc::new(Self {
            shard: Rc::clone(shard),
            current: RefCell::new(Rc::new(current)),
            is_retired: Cell::new(false),
        })
    }

    /// New exchanges use `current` from now on.
    pub fn replace(&self, current: Current<H>) {
        self.current.replace(Rc::new(current));
    }

    /// New connections and exchanges use these rules from now on.
    pub fn replace_listener(&self, rules: ListenerRules) {
        let listener = Rc::new(rules);
        let current = Rc::new(Current { listener, ..Current::clone(&self.current()) });
        self.current.replace(current);
    }

    /// Its listener is gone: connections end after the exchange that they are in.
    pub fn retire(&self) {
        self.is_retired.set(true);
    }

    /// Counts at the listener.
    pub fn count(&self, count: impl FnOnce(&ListenerCounters)) {
        if let Some(counters) = self.current.borrow().counters.shard(self.shard.id()) {
            count(counters);
        }
    }

    /// Serves one connection to its end.
    pub async fn serve(self: Rc<Self>, tcp: TcpStream, client: SocketAddr) {
        let (entrance, place) = {
            let current = self.current.borrow();
            (current.listener.entrance.clone(), Place::take(current.limit.as_ref()))
        };
        let Some(place) = place else { return self.refuse(&tcp) };
        match entrance {
            None => self.serve_admitted(tcp, client, place).await,
            Some(entrance) => PooledFuture::new(self.let_in(entrance, (tcp, client), place)).await,
        }
    }

    /// Serves one connection that has to pass the listener's gate first.
    async fn let_in(
        self: Rc<Self>,
        entrance: Rc<Entrance>,
        (tcp, source): (TcpStream, SocketAddr),
        place: Place,
    ) {
        let waiting = self.shard.count_open();
        match entrance.enter(&tcp, source).await {
            Ok(entry) => {
                drop(waiting);
                let _pass = entry.pass;
                self.serve_admitted(tcp, entry.client, place).await;
            }
            Err(error) => {
                self.count(|counters| error.count(counters));
                tracing::debug!(client = %source, %error, "not let in");
                tcp.reset_on_close();
            }
        }
    }

    fn refuse(&self, tcp: &TcpStream) {
        tcp.reset_on_close();
        self.count(|counters| counters.refused.increment());
    }

    /// Serves one connection that has its place, and whose client the listener's gate has let in.
    pub async fn serve_admitted(self: Rc<Self>, tcp: TcpStream, client: SocketAddr, place: Place) {
        let _place = place;
        let rules = Rc::clone(&self.current.borrow().listener);
        let Some(_inside) = self.admit(&tcp, client, &rules) else {
            return self.refuse(&tcp);
        };
        let Some(stream) = handshake::prepare(tcp, &rules) else { return };
        let connection = Rc::new(Connection::new(stream, client, Rc::clone(&self.shard)));
        let _registered = self.shard.enter(&connection);
        // Kept: when the listener is renamed meanwhile, its counters are others.
        let counters = Arc::clone(&self.current.borrow().counters);
        let counters = counters.shard(self.shard.id());
        if let Some(counters) = counters {
            counters.accepted.increment();
            counters.open.add(1);
        }
        if rules.is_secure {
            self.serve_secure(connection, rules).await;
        } else {
            drop(rules);
            self.run(connection).await;
        }
        if let Some(counters) = counters {
            counters.open.add(-1);
        }
    }

    fn admit(
        &self,
        stream: &TcpStream,
        client: SocketAddr,
        rules: &ListenerRules,
    ) -> Option<Inside> {
        let doors = Rc::clone(&self.current.borrow().doors);
        Inside::enter(doors, &Arriving { client, listener: rules.name(), stream })
    }

    async fn serve_secure(self: &Rc<Self>, connection: Rc<Connection>, rules: Rc<ListenerRules>) {
        let counters = Arc::clone(&self.current.borrow().counters);
        let Some(counters) = counters.shard(self.shard.id()).map(|counters| &counters.tls) else {
            return;
        };
        let is_agreed = PooledFuture::new(handshake::run(&connection, &rules, counters)).await;
        drop(rules);
        if is_agreed {
            counters.open.add(1);
            self.run(connection).await;
            counters.open.add(-1);
        }
    }

    async fn run(self: &Rc<Self>, connection: Rc<Connection>) {
        let listener = Rc::clone(&self.current.borrow().listener);
        // Pooled: HTTP/1.1 needs no room for the other protocol's state.
        match connection.versions(&listener) {
            Versions::Http11 => {}
            Versions::H2 => {
                drop(listener);
                return PooledFuture::new(h2::serve(Rc::clone(self), connection, None)).await;
            }
            Versions::Both => match PooledFuture::new(h2::sniff(&connection, &listener)).await {
                Some(Sniffed::H2(first)) => {
                    drop(listener);
                    let first = Some(first);
                    return PooledFuture::new(h2::serve(Rc::clone(self), connection, first)).await;
                }
                Some(Sniffed::H1(first)) => connection.keep(first),
                None => return,
            },
        }
        drop(listener);
        while let Some(first) = self.idle(&connection).await {
            connection.is_idle.set(false);
            let exchange = exchange(Rc::clone(self), Rc::clone(&connection), first);
            match PooledFuture::new(exchange).await {
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
    async fn idle(&self, connection: &Connection) -> Option<Chunk> {
        // Some clients send an empty line behind a body. It begins no request: the connection is
        // idle as before, but only once.
        let mut may_skip = connection.has_served();
        if let Some(kept) = connection.take_kept() {
            if !may_skip || *kept != *EMPTY_LINE {
                return Some(kept);
            }
            may_skip = false;
        }
        let (idle, header_timeout) = {
            let listener = &self.current.borrow().listener;
            (listener.idle, listener.header_timeout)
        };
        let is_ending = self.is_ending();
        let idle = match (is_ending, connection.has_served()) {
            (false, _) => idle,
            (true, true) => return None,
            // Established before the listener closed: its first request is answered.
            (true, false) => header_timeout,
        };
        loop {
            let received = connection.receive_within(idle, "idle").await;
            let chunk = received.ok().filter(|chunk| !chunk.is_empty())?;
            if !may_skip || *chunk != *EMPTY_LINE {
                return Some(chunk);
            }
            may_skip = false;
        }
    }

    /// Whether connections are to end with what they carry now.
    pub(super) fn is_ending(&self) -> bool {
        self.shard.is_draining() || self.is_retired.get()
    }

    pub(super) fn shard(&self) -> &Shard {
        &self.shard
    }

    /// What an exchange begins with, and keeps.
    pub(super) fn current(&self) -> Rc<Current<H>> {
        Rc::clone(&self.current.borrow())
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
    let is_ending = connection.shard.is_draining() || service.is_retired.get();
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
pub(super) async fn linger(connection: Rc<Connection>) {
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
