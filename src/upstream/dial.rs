//! Connections that carry many requests at once: a seat and a stream, without a request of their
//! own.
//!
//! HTTP/2's sessions are made of these. The pool's idle connections play no part: whoever has such
//! a connection keeps it, shares it among requests as its protocol allows, and drops it in the end.
//! Every request that uses it is counted by an [`InFlight`] of its own.

use super::{
    ConnectError, Dial, Fault, Outcome, Pool,
    connect::{connect, spoken},
    endpoint::{Endpoint, Seat},
    idle::{Connection, EndpointPool},
    lent::{InFlight, LocalSeat},
    pool::watch_queue,
    queue::{self, Grant},
};
use crate::{config::UpstreamProtocol, transport::Stream};
use std::{fmt, rc::Rc, sync::Arc, time::Duration};

/// An open connection for many requests. Dropping it closes it and gives its seat to who waits.
pub struct Dialed {
    // The stream ends before the seat is given away.
    stream: Rc<Stream>,
    seat: LocalSeat,
}

impl Dialed {
    /// The connection's socket.
    pub fn stream(&self) -> &Rc<Stream> {
        &self.stream
    }

    /// Where it leads.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.seat.endpoint()
    }
}

impl fmt::Debug for Dialed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialed").field("endpoint", &self.endpoint().address).finish_non_exhaustive()
    }
}

impl Pool {
    /// Counts a request at endpoint `index`, from before it waits for a connection until the end of
    /// its response.
    ///
    /// # Panics
    /// When `index` isn't one of this upstream's endpoints.
    pub fn enter(&self, index: usize) -> InFlight {
        let pool = &self.endpoints[index];
        pool.counters().requests.increment();
        InFlight::enter(pool)
    }

    /// The endpoint of that index.
    ///
    /// # Panics
    /// When `index` isn't one of this upstream's endpoints.
    pub fn endpoint(&self, index: usize) -> &Arc<Endpoint> {
        self.endpoints[index].endpoint()
    }

    /// What endpoint `index` is to be asked in: where that is left to it, what it chose last, and
    /// HTTP/2 before it chose.
    ///
    /// # Panics
    /// When `index` isn't one of this upstream's endpoints.
    #[must_use]
    pub fn protocol(&self, index: usize) -> UpstreamProtocol {
        match self.upstream().config.protocol {
            UpstreamProtocol::Auto => self.endpoint(index).spoken().unwrap_or(UpstreamProtocol::H2),
            fixed => fixed,
        }
    }

    /// Whether a connection that was meant for HTTP/2 speaks it.
    fn is_h2(&self, pool: &EndpointPool, stream: &Stream) -> bool {
        if self.upstream().config.protocol != UpstreamProtocol::Auto {
            return true;
        }
        let spoken = spoken(stream);
        pool.endpoint().note_spoken(spoken);
        spoken == UpstreamProtocol::H2
    }

    /// Opens a connection to endpoint `index` that many requests will share: in a free seat, or
    /// after a wait in the queue for one. A failure is reported for the endpoint's ejection here.
    ///
    /// Cancel safe: a half-open connection is closed.
    ///
    /// # Errors
    /// Each says that nothing was sent.
    ///
    /// # Panics
    /// When `index` isn't one of this upstream's endpoints.
    pub async fn dial(&self, index: usize, timeout: Duration) -> Result<Dialed, ConnectError> {
        let pool = &self.endpoints[index];
        let free =
            pool.queue.is_empty().then(|| Seat::take(pool.endpoint(), pool.rules().connections));
        let seat = match free.flatten() {
            Some(seat) => seat,
            None => {
                watch_queue(pool);
                match queue::wait(pool, self.upstream()).await? {
                    Grant::Seat(seat) => seat,
                    // From before a reload changed the protocol: only its seat is of use.
                    Grant::Connection(connection, recv) => {
                        drop(recv);
                        let Connection { seat, .. } = connection;
                        pool.count_discarded();
                        seat
                    }
                }
            }
        };
        let seat = LocalSeat::new(seat, pool);
        let dial = Dial::within(timeout);
        match connect(pool.endpoint().address, pool.security(), dial).await {
            Ok(stream) if !self.is_h2(pool, &stream) => {
                pool.counters().connects.increment();
                // Good for requests of HTTP/1.1, and those who wanted it will ask for one.
                pool.give_back(Connection::new(stream, 0, seat.into_seat()), None);
                Err(ConnectError::OtherProtocol(pool.endpoint().address))
            }
            Ok(stream) => {
                pool.counters().connects.increment();
                Ok(Dialed { stream: Rc::new(stream), seat })
            }
            Err(error) => {
                if error.fault() == Fault::Endpoint {
                    self.report(index, Outcome::ConnectFailed);
                }
                Err(error)
            }
        }
    }
}
