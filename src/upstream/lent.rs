//! A connection in the hands of one exchange.

use super::{
    endpoint::{Endpoint, Seat},
    idle::{Connection, EndpointPool},
};
use crate::transport::{Recv, Stream};
use std::{cell::Cell, fmt, rc::Rc, sync::Arc};

/// A connection for one request and its response.
///
/// [`give_back`](Self::give_back) it when the response has ended well and the connection may
/// carry another; dropping it closes the connection. Either way the endpoint's in-flight count
/// goes down and the next waiter is served.
pub struct Lent {
    // The order of the fields is the order of their end: receive, stream, seat.
    recv: Cell<Option<Recv>>,
    stream: Rc<Stream>,
    uses: u64,
    is_for_one: bool,
    seat: LocalSeat,
    in_flight: InFlight,
}

impl Lent {
    pub(super) fn new(connection: Connection, recv: Option<Recv>, in_flight: InFlight) -> Self {
        let Connection { stream, uses, seat } = connection;
        let seat = LocalSeat::new(seat, &in_flight.0);
        Self { recv: Cell::new(recv), stream, uses, is_for_one: false, seat, in_flight }
    }

    /// The connection belongs to one client: it isn't kept for others.
    pub(super) fn for_one_client(mut self) -> Self {
        self.is_for_one = true;
        self
    }

    /// The connection's socket. Clone the `Rc` to read and write at once, but let go of all
    /// clones before [`give_back`](Self::give_back).
    pub fn stream(&self) -> &Rc<Stream> {
        &self.stream
    }

    /// Receives the next piece of the response.
    ///
    /// The first call on a reused connection returns the receive that has been armed since the
    /// connection was idle, so that watching it cost no operation of its own.
    pub fn recv(&self) -> Recv {
        self.recv.take().unwrap_or_else(|| self.stream.recv())
    }

    /// Whether it has carried a request before. If such a connection ends before the first byte
    /// of a response, the endpoint most likely closed it while the request was on its way.
    pub fn is_reused(&self) -> bool {
        self.uses > 0
    }

    /// Where it leads.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.seat.endpoint()
    }

    /// Puts the connection back: to the request that has waited longest for one, else to the
    /// idle ones, else (`pool.idle_per_endpoint` is 0, or `pool.max_reuse` reached) it is closed.
    ///
    /// Only after the whole response was received and the whole request sent, with no receive
    /// left unfinished and no byte left over. A clone of the stream that still exists means
    /// that somebody isn't done: the connection is closed.
    pub fn give_back(self) {
        let Self { recv, stream, uses, is_for_one, seat, in_flight } = self;
        let pool = Rc::clone(&in_flight.0);
        drop(in_flight);
        let recv = recv.into_inner();
        // A receive that was never asked for: nothing was sent, so it was no use.
        let uses = if recv.is_some() { uses } else { uses + 1 };
        let is_free = Rc::strong_count(&stream) == 1;
        debug_assert!(is_free, "somebody still reads or writes a connection that is given back");
        if !is_free || is_for_one || pool.rules().max_reuse.is_some_and(|most| uses >= most) {
            pool.count_discarded();
            return;
        }
        pool.give_back(Connection { stream, uses, seat: seat.into_seat() }, recv);
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.endpoint().address;
        f.debug_struct("Lent").field("endpoint", &address).field("uses", &self.uses).finish()
    }
}

/// One request counted in its endpoint's in-flight number, until dropped.
pub struct InFlight(Rc<EndpointPool>);

impl InFlight {
    pub(super) fn enter(pool: &Rc<EndpointPool>) -> Self {
        pool.endpoint().enter();
        Self(Rc::clone(pool))
    }
}

impl InFlight {
    /// The request went over a connection that was there already.
    pub fn count_reused(&self) {
        self.0.counters().reused.increment();
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight").finish_non_exhaustive()
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.endpoint().leave();
    }
}

/// An endpoint's place in the in-flight count, without a connection.
pub struct Held(InFlight);

impl Held {
    pub(super) fn new(pool: &Rc<EndpointPool>) -> Self {
        Self(InFlight::enter(pool))
    }

    /// The endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.0.0.endpoint()
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.endpoint().address).finish()
    }
}

/// A seat that serves this shard's next waiter when it is given up.
pub(super) struct LocalSeat {
    seat: Option<Seat>,
    pool: Rc<EndpointPool>,
}

impl LocalSeat {
    pub(super) fn new(seat: Seat, pool: &Rc<EndpointPool>) -> Self {
        Self { seat: Some(seat), pool: Rc::clone(pool) }
    }

    /// The plain seat, for a connection that stays open.
    pub(super) fn into_seat(mut self) -> Seat {
        self.seat.take().expect("a seat is taken out only here, which consumes it")
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        self.pool.endpoint()
    }
}

impl Drop for LocalSeat {
    fn drop(&mut self) {
        if let Some(seat) = self.seat.take() {
            self.pool.pass_on(seat);
        }
    }
}
