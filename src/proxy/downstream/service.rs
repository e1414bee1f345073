//! A listener's connections on one shard, from accept to the protocol that they speak.
//!
//! ```text
//!   accept ─▶ gate ─▶ doors ─▶ register ─▶ TLS handshake ─▶ first bytes ─┬▶ HTTP/1.1
//!                └───────┴── refused: reset   (where secure)  (where both) └▶ HTTP/2
//! ```

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
};

use super::{h1, h2, handshake};
use crate::{
    proxy::{
        Arriving, Connection, Doors, Handler, ListenerRules, Observe, Versions,
        admit::Inside,
        shard::{Registered, Shard},
        stats::{ListenerCounters, PerShard},
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

    /// Begins to serve a connection that was just accepted, if there is room for it and its client
    /// may be here.
    pub fn start(self: &Rc<Self>, tcp: TcpStream, client: SocketAddr) {
        let (entrance, place) = {
            let current = self.current.borrow();
            (current.listener.entrance.clone(), Place::take(current.limit.as_ref()))
        };
        let Some(place) = place else { return self.refuse(&tcp) };
        let service = Rc::clone(self);
        if let Some(entrance) = entrance {
            runtime::spawn(async move { service.let_in(entrance, (tcp, client), place).await });
        } else if let Some((connection, visit)) = self.enter(tcp, client, place) {
            // A block: it keeps what it captures once, where a function would keep it twice.
            runtime::spawn(async move { service.serve(&connection, &visit).await });
        }
    }

    /// Serves one connection that has its place, and whose client the listener's gate has let in.
    pub async fn serve_admitted(self: Rc<Self>, tcp: TcpStream, client: SocketAddr, place: Place) {
        if let Some((connection, visit)) = self.enter(tcp, client, place) {
            self.serve(&connection, &visit).await;
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
        match PooledFuture::new(entrance.enter(&tcp, source)).await {
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

    /// Asks the doors and registers the connection; none when it is refused.
    fn enter(
        &self,
        tcp: TcpStream,
        client: SocketAddr,
        place: Place,
    ) -> Option<(Rc<Connection>, Visit)> {
        let current = self.current();
        let Current { listener, doors, .. } = &*current;
        let arriving = Arriving { client, listener: listener.name(), stream: &tcp };
        let Some(inside) = Inside::enter(Rc::clone(doors), &arriving) else {
            self.refuse(&tcp);
            return None;
        };
        let stream = handshake::prepare(tcp, listener)?;
        let connection = Rc::new(Connection::new(stream, client, Rc::clone(&self.shard)));
        let visit = Visit {
            _place: place,
            _inside: inside,
            _registered: self.shard.enter(&connection),
            counters: Arc::clone(&current.counters),
            shard: self.shard.id(),
            is_secure: Cell::new(false),
        };
        visit.begin();
        Some((connection, visit))
    }

    /// Serves one connection to its end.
    async fn serve(self: &Rc<Self>, connection: &Rc<Connection>, visit: &Visit) {
        // Pooled: what comes before the protocol is known, and a protocol's state, have room for
        // their time only.
        let spoken = match self.spoken_at_once(connection) {
            Some(spoken) => spoken,
            None => PooledFuture::new(self.agree(connection, visit)).await,
        };
        match spoken {
            Spoken::H1 => h1::serve(self, connection).await,
            Spoken::H2 => PooledFuture::new(h2::serve(self, connection)).await,
            Spoken::Nothing => {}
        }
    }

    /// The protocol, where the listener alone decides it.
    fn spoken_at_once(&self, connection: &Connection) -> Option<Spoken> {
        let listener = &self.current.borrow().listener;
        let is_fixed = !listener.is_secure && listener.versions != Versions::Both;
        is_fixed.then(|| match connection.versions(listener) {
            Versions::H2 => Spoken::H2,
            Versions::Http11 | Versions::Both => Spoken::H1,
        })
    }

    /// Shakes hands where the listener is secure, and finds out which protocol is spoken.
    async fn agree(&self, connection: &Connection, visit: &Visit) -> Spoken {
        let listener = Rc::clone(&self.current.borrow().listener);
        if listener.is_secure {
            let Some(counters) = visit.counters() else { return Spoken::Nothing };
            if !handshake::run(connection, &listener, &counters.tls).await {
                return Spoken::Nothing;
            }
            visit.note_secure();
        }
        match connection.versions(&listener) {
            Versions::Http11 => Spoken::H1,
            Versions::H2 => Spoken::H2,
            Versions::Both => h2::sniff(connection, &listener).await,
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

/// What a client speaks. What was received of it already, the connection keeps.
pub(super) enum Spoken {
    /// HTTP/1.1 or 1.0.
    H1,
    /// HTTP/2.
    H2,
    /// The connection is over before that was known.
    Nothing,
}

/// A connection's stay: what it is counted in, until it is dropped.
struct Visit {
    _place: Place,
    _inside: Inside,
    _registered: Registered,
    /// Kept: when the listener is renamed meanwhile, its counters are others.
    counters: Arc<PerShard<ListenerCounters>>,
    shard: u16,
    is_secure: Cell<bool>,
}

impl Visit {
    fn begin(&self) {
        if let Some(counters) = self.counters() {
            counters.accepted.increment();
            counters.open.add(1);
        }
    }

    fn counters(&self) -> Option<&ListenerCounters> {
        self.counters.shard(self.shard)
    }

    /// Its handshake went well.
    fn note_secure(&self) {
        self.is_secure.set(true);
        if let Some(counters) = self.counters() {
            counters.tls.open.add(1);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let Some(counters) = self.counters() else { return };
        counters.open.add(-1);
        if self.is_secure.get() {
            counters.tls.open.add(-1);
        }
    }
}
