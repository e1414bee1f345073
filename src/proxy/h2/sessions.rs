//! A shard's sessions to endpoints: which one takes the next request, and when another is opened.
//!
//! ```text
//!   request ─▶ first session with room ─────────────────────────▶ stream
//!           └▶ none: dial, unless enough are being dialed ─ wait ─▶ (again)
//! ```
//!
//! The first session with room gets the request, so that as few as possible are busy and their
//! sends are shared by as many; the later ones run dry and are closed after `pool.idle_timeout`.
//! Connections come from the upstream's pool, whose seats bound their number over all shards.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use super::{
    drive::{NewRequest, Role, drive},
    session::Session,
};
use crate::{
    protocol::{h2::Limits, http::Scheme},
    proxy::stats::ShardStats,
    runtime::{self, PooledFuture, Signal, Timer},
    upstream::{ConnectError, EndpointId, Pool},
};

/// The sessions of one shard, by endpoint.
#[derive(Debug)]
pub(in crate::proxy) struct Sessions {
    stats: Arc<ShardStats>,
    endpoints: RefCell<BTreeMap<EndpointId, Weak<Mux>>>,
}

/// The sessions to one endpoint. Alive as long as one of its sessions or requests is.
pub(super) struct Mux {
    stats: Arc<ShardStats>,
    open: RefCell<Vec<Rc<Session>>>,
    /// Connections on their way.
    dialing: Cell<usize>,
    waiting: RefCell<VecDeque<Rc<Place>>>,
    /// Places ever taken: a place's number says what it came after.
    entered: Cell<u64>,
}

/// A request that waits for a session.
#[derive(Default)]
struct Place {
    number: u64,
    signal: Signal,
    /// Why there is none, or that it is worth another look.
    outcome: Cell<Option<Result<(), ConnectError>>>,
}

impl Sessions {
    /// None yet.
    pub(in crate::proxy) fn new(stats: &Arc<ShardStats>) -> Self {
        Self { stats: Arc::clone(stats), endpoints: RefCell::default() }
    }

    /// A session to endpoint `index` of `pool` that takes a request now.
    ///
    /// Cancel safe: a connection that is on its way is there for the next.
    ///
    /// # Errors
    /// Each says that nothing was sent.
    pub(in crate::proxy) async fn obtain(
        &self,
        pool: &Rc<Pool>,
        index: usize,
        connect_timeout: Duration,
    ) -> Result<Rc<Session>, ConnectError> {
        let mux = self.mux(pool.endpoint(index).id());
        match mux.with_room(pool) {
            Some(session) => Ok(session),
            // Pooled: the usual request needs no room for the rare one's state.
            None => PooledFuture::new(mux.wait(pool, index, connect_timeout)).await,
        }
    }

    fn mux(&self, endpoint: EndpointId) -> Rc<Mux> {
        let mut endpoints = self.endpoints.borrow_mut();
        if let Some(mux) = endpoints.get(&endpoint).and_then(Weak::upgrade) {
            return mux;
        }
        endpoints.retain(|_, mux| mux.strong_count() > 0);
        let mux = Rc::new(Mux {
            stats: Arc::clone(&self.stats),
            open: RefCell::default(),
            dialing: Cell::new(0),
            waiting: RefCell::default(),
            entered: Cell::new(0),
        });
        endpoints.insert(endpoint, Rc::downgrade(&mux));
        mux
    }
}

impl Mux {
    /// The first session that takes a request.
    fn with_room(&self, pool: &Pool) -> Option<Rc<Session>> {
        let most = pool.upstream().config.pool.max_reuse;
        let open = self.open.borrow();
        let is_fresh = |session: &Session| most.is_none_or(|most| session.uses() < most);
        let found = open.iter().find(|session| session.streams_free() > 0 && is_fresh(session));
        found.map(Rc::clone)
    }

    async fn wait(
        self: &Rc<Self>,
        pool: &Rc<Pool>,
        index: usize,
        connect_timeout: Duration,
    ) -> Result<Rc<Session>, ConnectError> {
        loop {
            let pending = pool.upstream().config.limits.pending;
            if self.waiting.borrow().len() >= pending as usize && self.dialing.get() > 0 {
                let address = pool.endpoint(index).address;
                return Err(ConnectError::QueueFull { address, pending });
            }
            let waiting = Waiting::enter(self);
            let wanted = self.waiting.borrow().len();
            if self.dialing.get() * STREAMS_EXPECTED < wanted {
                self.dial(pool, index, connect_timeout);
            }
            waiting.outcome().await?;
            if let Some(session) = self.with_room(pool) {
                return Ok(session);
            }
        }
    }

    /// Opens another connection, in a task of its own: whoever needs it first may have it.
    fn dial(self: &Rc<Self>, pool: &Rc<Pool>, index: usize, connect_timeout: Duration) {
        self.dialing.set(self.dialing.get() + 1);
        let (mux, pool, last) = (Rc::clone(self), Rc::clone(pool), self.entered.get());
        runtime::spawn(async move {
            let dialed = pool.dial(index, connect_timeout).await;
            mux.dialing.set(mux.dialing.get() - 1);
            match dialed {
                Ok(dialed) => {
                    let is_secure = dialed.endpoint().tls().is_some();
                    let scheme = if is_secure { Scheme::Https } else { Scheme::Http };
                    let stats = Arc::clone(&mux.stats);
                    let session = Session::client(dialed, stats, limits(), scheme);
                    session.serve(&mux);
                    mux.open.borrow_mut().push(Rc::clone(&session));
                    mux.wake(session.streams_free());
                    let client = Client { mux: Rc::clone(&mux), idle: idle(&pool) };
                    // The pool may go with the next reload; this connection stays while it is used.
                    drop(pool);
                    drive(&session, None, &Timer::new(), &client).await;
                    mux.open.borrow_mut().retain(|other| !Rc::ptr_eq(other, &session));
                    // Who waits for a place on it must look for another.
                    mux.wake(usize::MAX);
                }
                Err(error) => mux.fail(last, &error),
            }
        });
    }

    /// Lets the first `most` who wait look again, beside those who were told already and have yet
    /// to look.
    pub(super) fn wake(&self, most: usize) {
        let waiting = self.waiting.borrow();
        for place in waiting.iter().filter(|place| !place.is_told()).take(most) {
            place.put(Ok(()));
        }
    }

    /// A connection could not be had. The error counts for all who waited when it was asked for, up
    /// to the place `last`; those who came later ask for another.
    fn fail(&self, last: u64, error: &ConnectError) {
        let waiting = self.waiting.borrow();
        for place in waiting.iter().filter(|place| !place.is_told()) {
            place.put(if place.number <= last { Err(error.again()) } else { Ok(()) });
        }
    }
}

impl std::fmt::Debug for Mux {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mux").field("open", &self.open.borrow().len()).finish_non_exhaustive()
    }
}

impl Place {
    fn is_told(&self) -> bool {
        let outcome = self.outcome.take();
        let is_told = outcome.is_some();
        self.outcome.set(outcome);
        is_told
    }

    fn put(&self, outcome: Result<(), ConnectError>) {
        self.outcome.set(Some(outcome));
        self.signal.notify();
    }
}

/// A place among those who wait.
struct Waiting<'a> {
    mux: &'a Mux,
    place: Rc<Place>,
}

impl<'a> Waiting<'a> {
    fn enter(mux: &'a Mux) -> Self {
        mux.entered.set(mux.entered.get() + 1);
        let place = Rc::new(Place { number: mux.entered.get(), ..Place::default() });
        mux.waiting.borrow_mut().push_back(Rc::clone(&place));
        Self { mux, place }
    }

    async fn outcome(&self) -> Result<(), ConnectError> {
        std::future::poll_fn(|_| match self.place.outcome.take() {
            Some(outcome) => std::task::Poll::Ready(outcome),
            None => {
                self.place.signal.listen();
                std::task::Poll::Pending
            }
        })
        .await
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.mux.waiting.borrow_mut().retain(|place| !Rc::ptr_eq(place, &self.place));
        if matches!(self.place.outcome.take(), Some(Ok(()))) {
            // Given up with a chance in hand: it is the next one's.
            self.mux.wake(1);
        }
    }
}

/// The client's end of a session.
struct Client {
    mux: Rc<Mux>,
    idle: Duration,
}

impl Role for Client {
    fn accept(&self, _request: NewRequest) {
        debug_assert!(false, "the codec lets no server send requests");
    }

    fn changed(&self) {
        self.mux.wake(usize::MAX);
    }

    fn is_ending(&self) -> bool {
        false
    }

    fn idle(&self) -> Duration {
        self.idle
    }

    fn write_timeout(&self) -> Duration {
        WRITE_TIMEOUT
    }
}

fn idle(pool: &Pool) -> Duration {
    let rules = &pool.upstream().config.pool;
    if rules.idle_per_endpoint == 0 { Duration::ZERO } else { rules.idle_timeout }
}

fn limits() -> Limits {
    Limits {
        streams: STREAMS_MAX,
        header_list_bytes: RESPONSE_HEAD_BYTES_MAX,
        stream_window: STREAM_WINDOW,
        // Clients share it: however many of them don't read, the others' responses must come.
        connection_window: STREAMS_MAX * STREAM_WINDOW,
        ping_interval: Some(PING_AFTER),
        ..Limits::default()
    }
}

/// Requests on one connection to an endpoint, whatever the endpoint allows.
const STREAMS_MAX: u32 = 128;
/// What of a response may lie here until its client takes it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Requests for which one connection on its way is expected to be enough.
const STREAMS_EXPECTED: usize = 100;
/// Largest head of a response.
const RESPONSE_HEAD_BYTES_MAX: usize = 56 * 1024;
/// With requests under way, after so much silence the endpoint is asked whether it is still there.
const PING_AFTER: Duration = Duration::from_secs(15);
/// How long an endpoint may take nothing of what is sent on a connection.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
