//! A downstream connection, as the exchange that runs on it sees it, and the listener it came by.
//!
//! A connection is small, because most are idle most of the time: the socket, one timer, and the
//! bytes or the receive that belong to the next request. What an exchange needs (heads, buffers,
//! its future) is leased for the exchange's time and is not kept here.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::{
    body::Chunk,
    client::Scheme,
    deadline::Late,
    error::Error,
    observe::Traffic,
    pace::Pace,
    send::{ClientSend, ClientSink, Waiting, send_within},
    shard::Shard,
};
use crate::{
    base::{cidr::Cidr, units::ByteRate},
    config::{
        Alpn, Config, ErrorFormat, FilterKind, Forwarded, HEADERS_MAX, ListenerConfig, Protocol,
        RouteConfig,
    },
    protocol::{h1::HeadLimits, http::HEADERS_BYTES_MAX},
    runtime::{PooledFuture, SendBuf, Timer},
    transport::{Recv, Stream, admission::Gate, entrance::Entrance, tls::ServerTls},
};

/// What an exchange needs to know of the listener its connection came by. Fixed for one config.
#[derive(Debug)]
pub struct ListenerRules {
    name: String,
    index: usize,
    pub(super) trusted_proxies: Vec<Cidr>,
    pub(super) forwarded: Forwarded,
    pub(super) error_format: ErrorFormat,
    /// The field in which error pages carry the request's id, when its filter hasn't named one.
    pub(super) id_field: Option<Box<str>>,
    pub(super) connect: bool,
    /// The port of HTTPS that requests in the clear are sent to.
    pub(super) redirect_https: Option<u16>,
    pub(super) head_limits: HeadLimits,
    pub(super) header_timeout: Duration,
    pub(super) body_timeout: Duration,
    pub(super) write_timeout: Duration,
    pub(super) idle: Duration,
    pub(super) versions: Versions,
    pub(super) h2_streams: u32,
    /// Least speed of a body in either direction; none: any will do.
    pub(super) min_rate: Option<ByteRate>,
    /// Most bytes of a request body; `u64::MAX` is unlimited.
    pub(super) body_max: u64,
    /// Whether its connections begin with a TLS handshake.
    pub(super) is_secure: bool,
    pub(super) handshake_timeout: Duration,
    pub(super) handshakes_max: u32,
    /// Its certificates; without them a listener that is to be secure serves nobody.
    pub(super) tls: Option<Arc<ServerTls>>,
    /// Who comes in; none where everybody does.
    pub(super) entrance: Option<Rc<Entrance>>,
}

impl ListenerRules {
    /// The context of `config`, which is the listener `index` of its configuration.
    #[must_use]
    pub fn new(config: &ListenerConfig, index: usize) -> Self {
        let limits = &config.limits;
        Self {
            name: config.name.clone(),
            index,
            trusted_proxies: config.trusted_proxies.clone(),
            forwarded: config.forwarded,
            error_format: config.error_format,
            id_field: None,
            connect: config.connect,
            redirect_https: config.redirect_https,
            head_limits: HeadLimits { bytes: limits.headers as usize, ..HeadLimits::default() },
            header_timeout: limits.header_timeout,
            body_timeout: limits.body_timeout,
            write_timeout: limits.write_timeout,
            idle: limits.idle,
            versions: Versions::of(&config.alpn),
            h2_streams: limits.h2_streams,
            min_rate: limits.min_rate,
            body_max: limits.body.unwrap_or(u64::MAX),
            is_secure: config.protocol == Protocol::Https,
            handshake_timeout: config
                .tls
                .as_ref()
                .map_or(limits.header_timeout, |tls| tls.handshake_timeout),
            handshakes_max: config.tls.as_ref().map_or(0, |tls| tls.handshakes),
            tls: None,
            entrance: None,
        }
    }

    /// With these certificates.
    #[must_use]
    pub fn with_tls(self, tls: Option<Arc<ServerTls>>) -> Self {
        Self { tls, ..self }
    }

    /// Pages that are made before a route is known carry the request's id, too, in the field that a
    /// `request_id` filter of the listener's routes names: the first one's, where they differ.
    #[must_use]
    pub fn with_ids_of(mut self, config: &Config) -> Self {
        let serves = |route: &&RouteConfig| {
            route.listeners.as_ref().is_none_or(|listeners| listeners.contains(&self.index))
        };
        let filters = config.routes.iter().filter(serves).flat_map(|route| &route.filters);
        let mut kinds = filters.filter_map(|index| Some(&config.filters.get(*index)?.kind));
        self.id_field = kinds.find_map(|kind| match kind {
            FilterKind::RequestId { header, .. } => Some(header.as_str().into()),
            _ => None,
        });
        self
    }

    /// Lets in whom `gate` lets in.
    #[must_use]
    pub fn with_gate(mut self, gate: &Arc<Gate>) -> Self {
        let entrance = Entrance { gate: Arc::clone(gate), first_bytes: self.header_timeout };
        self.entrance = (!entrance.is_open()).then(|| Rc::new(entrance));
        self
    }

    /// The listener's place in its configuration.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// The listener's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Which versions of HTTP a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Versions {
    /// HTTP/1.1 and 1.0.
    Http11,
    /// HTTP/2 only: without TLS, with prior knowledge.
    H2,
    /// Both: without TLS, the first bytes decide.
    Both,
}

impl Versions {
    fn of(alpn: &[Alpn]) -> Self {
        match (alpn.contains(&Alpn::H2), alpn.contains(&Alpn::Http11)) {
            (true, true) => Self::Both,
            (true, false) => Self::H2,
            (false, _) => Self::Http11,
        }
    }
}

/// One client's connection.
pub struct Connection {
    pub(super) stream: Stream,
    pub(super) client: SocketAddr,
    pub(super) shard: Rc<Shard>,
    /// Deadlines of whatever the connection itself waits for: heads, idleness, writing.
    pub(super) timer: Timer,
    /// Deadlines of what the exchange waits for from an upstream. Kept over exchanges, so that none
    /// has to enter a timer of its own into the wheel.
    pub(super) upstream_timer: Timer,
    /// Bytes behind the current request: the next one, pipelined.
    leftover: Cell<Option<Chunk>>,
    /// A receive that was started for the next request while this one was being answered.
    armed: RefCell<Option<Recv>>,
    /// Whether the current request's body has not been read to its end.
    pub(super) is_request_open: Cell<bool>,
    /// The client waits for `100 Continue` before it sends its body.
    pub(super) wants_continue: Cell<bool>,
    /// A piece of the request's body is waited for.
    awaits_body: Cell<bool>,
    /// The client is waited for to take a piece of the response.
    pub(super) awaits_room: Cell<bool>,
    /// Bytes received and sent in this exchange.
    pub(super) received: Cell<u64>,
    pub(super) sent: Cell<u64>,
    /// Waits for a request: may be closed by a drain.
    pub(super) is_idle: Cell<bool>,
}

impl Connection {
    pub(super) fn new(stream: Stream, client: SocketAddr, shard: Rc<Shard>) -> Self {
        Self {
            stream,
            client,
            shard,
            timer: Timer::new(),
            upstream_timer: Timer::new(),
            leftover: Cell::new(None),
            armed: RefCell::new(None),
            is_request_open: Cell::new(false),
            wants_continue: Cell::new(false),
            awaits_body: Cell::new(false),
            awaits_room: Cell::new(false),
            received: Cell::new(0),
            sent: Cell::new(0),
            is_idle: Cell::new(true),
        }
    }

    /// What may be spoken on it: TLS has agreed on one version, or both sides left it open.
    pub(super) fn versions(&self, listener: &ListenerRules) -> Versions {
        let Some(handshaken) = self.stream.handshaken() else { return listener.versions };
        match (handshaken.alpn.as_deref(), listener.versions) {
            (Some(b"h2"), _) | (None, Versions::H2) => Versions::H2,
            _ => Versions::Http11,
        }
    }

    /// How the connection itself is made.
    pub(super) fn scheme(&self) -> Scheme {
        if self.stream.is_tls() { Scheme::Https } else { Scheme::Http }
    }

    /// Ends a connection on which everything was answered well: TLS says so, and the client can
    /// tell it from a cut.
    pub(super) async fn end(&self) {
        if self.stream.is_tls() {
            self.timer.set_after(END_WAIT);
            let _too_late = self.timer.guard(self.stream.end()).await;
        }
    }

    /// The client's socket address.
    #[must_use]
    pub fn client_addr(&self) -> SocketAddr {
        self.client
    }

    /// Whether an exchange has begun on it.
    pub(super) fn has_served(&self) -> bool {
        self.received.get() > 0
    }

    /// It has carried something: a drain need not wait for its first request.
    pub(super) fn note_served(&self) {
        self.received.set(self.received.get().max(1));
    }

    /// A new exchange begins with `received` bytes that are here.
    pub(super) fn begin_exchange(&self, received: usize) {
        self.received.set(received as u64);
        self.sent.set(0);
        self.is_request_open.set(false);
        self.wants_continue.set(false);
    }

    /// What this exchange has moved.
    pub(super) fn traffic(&self) -> Traffic<'_> {
        Traffic { shard: &self.shard, received: self.received.get(), sent: self.sent.get() }
    }

    /// Keeps bytes that belong to the next request.
    pub(super) fn keep(&self, chunk: Chunk) {
        if !chunk.is_empty() {
            // The next exchange counts them.
            self.received.set(self.received.get().saturating_sub(chunk.len() as u64));
            self.leftover.set(Some(chunk.detach()));
        }
    }

    pub(super) fn take_kept(&self) -> Option<Chunk> {
        self.leftover.take()
    }

    /// The request's body has been read to its end; `rest` lies behind it.
    pub(super) fn end_request(&self, rest: Option<Chunk>) {
        self.is_request_open.set(false);
        if let Some(rest) = rest {
            self.keep(rest);
        }
    }

    /// The next bytes. An empty chunk is the end of the stream.
    ///
    /// *Cancel safety*: the receive stays armed and is taken up by the next call.
    pub(super) async fn receive(&self) -> std::io::Result<Chunk> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    #[inline]
    fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<std::io::Result<Chunk>> {
        let mut armed = self.armed.borrow_mut();
        let recv = armed.get_or_insert_with(|| self.stream.recv());
        let received = ready!(Pin::new(recv).poll(cx));
        *armed = None;
        Poll::Ready(received.map(|received| {
            self.received.set(self.received.get() + received.len() as u64);
            Chunk::from(received)
        }))
    }

    /// Receives within `limit`, which runs from the call.
    pub(super) fn receive_within(
        &self,
        limit: Duration,
        phase: &'static str,
    ) -> impl Future<Output = Result<Chunk, Error>> {
        self.timer.set_after(limit);
        // Not an `async fn`: an idle connection holds this, and a block keeps its arguments twice.
        poll_fn(move |cx| match self.poll_receive(cx) {
            Poll::Ready(received) => Poll::Ready(received.map_err(|_| Error::ClientClosed)),
            Poll::Pending => {
                self.timer.poll_expired(cx).map(|()| Err(Error::ClientTimeout { phase }))
            }
        })
    }

    /// Who an exchange waits for.
    pub(super) fn late(&self) -> Late {
        if self.awaits_room.get() {
            Late::Taking
        } else if self.awaits_body.get() {
            Late::Sending
        } else {
            Late::Upstream
        }
    }

    /// Marks that a piece of the request's body is waited for.
    pub(super) fn await_body(&self) -> Waiting<'_> {
        Waiting::begin(&self.awaits_body)
    }

    /// Tells a client that waits for it to send its body (RFC 9110 §10.1.1), once, and only before
    /// a final response.
    pub(super) async fn invite(&self, limit: Duration) -> Result<(), Error> {
        if !self.wants_continue.replace(false) {
            return Ok(());
        }
        let go_on = SendBuf::Static(b"HTTP/1.1 100 Continue\r\n\r\n");
        let result = self.send_for(go_on, limit, Pace::off()).await;
        self.watch();
        result.map(drop)
    }

    /// Lets [`gone`](Self::gone) look again soon, after a send has used its timer.
    pub(super) fn watch(&self) {
        self.timer.set_after(WATCH_AFTER);
    }

    /// Ends when the client has gone away.
    async fn gone(&self) {
        while self.is_request_open.get() {
            // Whoever reads the body notices a client that has gone; bytes are not ours to take.
            self.watch();
            poll_fn(|cx| self.timer.poll_expired(cx)).await;
        }
        loop {
            let kept = self.leftover.take();
            if kept.is_some() {
                // The next request is here already: the client is alive, and one buffer is enough.
                self.leftover.set(kept);
                return std::future::pending().await;
            }
            match self.receive().await {
                Ok(chunk) if !chunk.is_empty() => self.keep(chunk),
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Sends all of `buf`; the client must take some of it within the write timeout, again and
    /// again. Gives the buffer back.
    #[inline]
    pub(super) fn send(&self, buf: impl Into<SendBuf>, listener: &ListenerRules) -> ClientSend<'_> {
        let limit = listener.write_timeout;
        self.send_for(buf.into(), limit, Pace::new(listener.min_rate, limit))
    }

    #[inline]
    fn send_for(&self, buf: SendBuf, limit: Duration, pace: Pace) -> ClientSend<'_> {
        let sink = ClientSink { sent: &self.sent, awaits_room: &self.awaits_room };
        ClientSend::new(sink, send_within(&self.stream, buf, &self.timer, limit, pace))
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("client", &self.client).finish_non_exhaustive()
    }
}

/// Notices a client that goes away while its exchange runs. Looks only after a while, so that a
/// quick exchange costs no receive: the usual one is over before the first look.
pub(super) struct Watch<'c> {
    connection: &'c Connection,
    gone: Option<PooledFuture<'c, ()>>,
    is_waiting: bool,
}

impl<'c> Watch<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { connection, gone: None, is_waiting: false }
    }

    /// Ready when the client has gone.
    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.gone.is_none() {
            let timer = &self.connection.timer;
            if !self.is_waiting {
                self.is_waiting = true;
                self.connection.watch();
            }
            ready!(timer.poll_expired(cx));
        }
        self.look(cx)
    }

    #[cold]
    fn look(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let connection = self.connection;
        let gone = self.gone.get_or_insert_with(|| PooledFuture::new(connection.gone()));
        Pin::new(gone).poll(cx)
    }
}

/// What a config may ask for is what the codec can take.
const _: () = assert!(HEADERS_MAX as usize <= HEADERS_BYTES_MAX);
/// How long a client that takes nothing may keep us from saying goodbye.
const END_WAIT: Duration = Duration::from_secs(1);
/// How long an exchange runs before we look whether its client is still there.
const WATCH_AFTER: Duration = Duration::from_millis(100);
