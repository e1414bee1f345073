//! A request on its way through the filters.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
    ops::{Deref, DerefMut},
    rc::Rc,
    time::Instant,
};

use super::{
    body::Body,
    client::{RequestId, Scheme},
    connection::ListenerRules,
    downstream::{Downstream, error_page},
    error::Error,
    forwarded,
    recycle::Pooled,
    response::Response,
};
use crate::{
    base::address::Address,
    protocol::{h1, http::RequestHead},
    transport::tls::Handshaken,
};

/// A request: its head (`req.headers`, `req.path()`, through deref), its body, and who sent it.
#[derive(Debug)]
pub struct Request {
    head: Pooled<RequestHead>,
    /// The body as it arrives.
    pub body: Body,
    pub(super) arrival: Arrival,
    pub(super) trace: Trace,
    /// The path as it came, once a rewrite has changed it.
    path_received: Option<Box<str>>,
    /// An id that a trusted proxy gave, in place of ours.
    kept_id: Option<Box<str>>,
    /// The field in which an error page carries the id.
    id_field: Option<Box<str>>,
    /// What the final `/*` of the route's path took; set only where a template asks for it.
    pub(super) path_rest: String,
}

/// Where a request came from.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    pub(super) downstream: Downstream,
    pub(super) listener: Rc<ListenerRules>,
    pub(super) client: SocketAddr,
    /// The client behind trusted proxies.
    pub(super) client_ip: IpAddr,
    pub(super) scheme: Scheme,
    /// The connection comes from a trusted proxy.
    pub(super) is_trusted: bool,
    pub(super) id: RequestId,
    pub(super) started: Instant,
    /// The protocol that the client wants to switch to.
    pub(super) upgrade: Option<Box<[u8]>>,
}

/// What the exchange did, for the log and the counters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trace {
    /// Index of the matched route in the snapshot.
    pub(super) route: Option<u32>,
    /// Index of the upstream in the snapshot.
    pub(super) upstream: Option<u32>,
    /// The endpoint that answered, or failed last.
    pub(super) endpoint: Option<Address>,
    /// Attempts after the first.
    pub(super) retries: u32,
    /// When the upstream's response head was complete.
    pub(super) answered: Option<Instant>,
    /// The whole exchange must be over then.
    pub(super) deadline: Option<Instant>,
    /// What is waited for, when it isn't the client.
    pub(super) phase: &'static str,
    /// One word for what failed.
    pub(super) failure: Option<&'static str>,
    /// There was no head that could be understood.
    pub(super) is_bare: bool,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            route: None,
            upstream: None,
            endpoint: None,
            retries: 0,
            answered: None,
            deadline: None,
            phase: "the whole exchange",
            failure: None,
            is_bare: false,
        }
    }
}

impl Arrival {
    /// A request with `head` from `downstream`.
    pub(super) fn new(
        downstream: Downstream,
        listener: &Rc<ListenerRules>,
        head: &RequestHead,
        now: Instant,
    ) -> Self {
        let address = downstream.client();
        let client = forwarded::client(head, (address, downstream.scheme()), listener);
        Self {
            listener: Rc::clone(listener),
            client: address,
            client_ip: client.ip,
            scheme: client.scheme,
            is_trusted: client.is_trusted,
            id: downstream.shard().next_request_id(),
            started: now,
            upgrade: h1::upgrade_requested(head).map(Box::from),
            downstream,
        }
    }

    /// The shard's scratch text, to be given back.
    pub(super) fn shard_text(&self) -> String {
        self.downstream.shard().take_text()
    }

    pub(super) fn give_shard_text(&self, text: String) {
        self.downstream.shard().give_text(text);
    }
}

impl Request {
    pub(super) fn new(head: Pooled<RequestHead>, body: Body, arrival: Arrival) -> Self {
        Self {
            head,
            body,
            arrival,
            trace: Trace::default(),
            path_received: None,
            kept_id: None,
            id_field: None,
            path_rest: String::new(),
        }
    }

    /// The client's socket address, as the connection has it.
    #[must_use]
    pub fn client_addr(&self) -> SocketAddr {
        self.arrival.client
    }

    /// The client's address: the connection's, or what a trusted proxy says of it.
    #[must_use]
    pub fn client_ip(&self) -> IpAddr {
        self.arrival.client_ip
    }

    /// How the client reached us, or what a trusted proxy says of it.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.arrival.scheme
    }

    /// What TLS has agreed on with the client; none in the clear.
    #[must_use]
    pub fn tls(&self) -> Option<&Handshaken> {
        self.arrival.downstream.connection().stream.handshaken()
    }

    /// The request's id.
    #[must_use]
    pub fn id(&self) -> RequestId {
        self.arrival.id
    }

    /// The id as logs, pages and templates show it: ours, or the one that was kept.
    #[must_use]
    pub fn id_text(&self) -> Cow<'_, str> {
        self.kept_id().map_or_else(|| self.id().to_string().into(), Cow::Borrowed)
    }

    pub(super) fn kept_id(&self) -> Option<&str> {
        self.kept_id.as_deref()
    }

    /// Shows `id` in place of ours.
    pub(super) fn keep_id(&mut self, id: &str) {
        self.kept_id = Some(id.into());
    }

    /// Has an error page carry the id in the field `name`: for a filter whose `next` failed, which
    /// has no response to put it on.
    pub(super) fn name_id_field(&mut self, name: &str) {
        self.id_field = Some(name.into());
    }

    /// When its head was complete.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.arrival.started
    }

    /// The listener it came by.
    #[must_use]
    pub fn listener(&self) -> &ListenerRules {
        &self.arrival.listener
    }

    /// Whether the connection comes from one of the listener's `trusted_proxies`.
    #[must_use]
    pub fn is_from_trusted_proxy(&self) -> bool {
        self.arrival.is_trusted
    }

    /// The path as it came, before any rewrite.
    #[must_use]
    pub fn path_received(&self) -> &str {
        self.path_received.as_deref().unwrap_or_else(|| self.path())
    }

    /// What the final `/*` of the route's path took, without a leading `/`.
    pub(super) fn path_rest(&self) -> &str {
        &self.path_rest
    }

    /// Replaces the path that is forwarded; [`Request::path_received`] keeps the old one.
    ///
    /// # Errors
    /// `path` doesn't begin with `/`, or holds bytes that a request line cannot.
    pub fn rewrite_path(&mut self, path: &str) -> Result<(), Error> {
        let received: Box<str> = self.path().into();
        self.head.set_path(path).map_err(|error| Error::Internal(error.to_string()))?;
        self.path_received.get_or_insert(received);
        Ok(())
    }

    /// The page that the client gets for `error`: text or JSON, with the request's id, and that in
    /// a field, too, where a `request_id` filter names one.
    #[must_use]
    pub fn error_page(&self, error: &Error) -> Response {
        let listener = &self.arrival.listener;
        let id = self.id_text();
        let page = error_page(error, &id, listener.error_format, Some(&self.head.headers));
        match self.id_field.as_deref().or(listener.id_field.as_deref()) {
            Some(field) => page.with(field, id.as_bytes()),
            None => page,
        }
    }

    /// The head.
    #[must_use]
    pub fn head(&self) -> &RequestHead {
        &self.head
    }
}

impl Deref for Request {
    type Target = RequestHead;
    fn deref(&self) -> &RequestHead {
        &self.head
    }
}

impl DerefMut for Request {
    fn deref_mut(&mut self) -> &mut RequestHead {
        &mut self.head
    }
}
