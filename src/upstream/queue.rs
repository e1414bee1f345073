//! Requests that wait for a connection because the endpoint has all that it may have.
//!
//! First come, first served, on this shard; between shards they take turns (`idle`). How many
//! may wait is limited over all shards and endpoints of the upstream, so the queue itself needs
//! no bound of its own.

use super::{
    Upstream,
    connect::ConnectError,
    endpoint::Seat,
    handover::Handover,
    idle::{Connection, EndpointPool},
};
use crate::{
    runtime::{Either, race, sleep},
    transport::Recv,
};
use std::{cell::RefCell, collections::VecDeque, rc::Rc};

/// What a waiter gets.
pub(super) enum Grant {
    /// An open connection, with its armed receive.
    Connection(Connection, Recv),
    /// The right to open one.
    Seat(Seat),
}

/// Who waits, in order.
#[derive(Default)]
pub(super) struct Queue {
    waiters: RefCell<VecDeque<Rc<Handover<Grant>>>>,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.borrow().is_empty()
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.waiters.borrow().len()).unwrap_or(u32::MAX)
    }

    /// Serves the first waiter; gives the grant back when nobody waits.
    pub(super) fn serve(&self, grant: Grant) -> Option<Grant> {
        let first = self.waiters.borrow_mut().pop_front();
        match first {
            Some(waiter) => {
                waiter.put(grant);
                None
            }
            None => Some(grant),
        }
    }
}

/// Waits for a connection or a seat, up to `limits.queue_timeout`.
///
/// Cancel safe: what was granted to a dropped waiter goes to the next.
pub(super) async fn wait(
    pool: &Rc<EndpointPool>,
    upstream: &Upstream,
) -> Result<Grant, ConnectError> {
    let rules = pool.rules();
    let address = pool.endpoint().address;
    let Some(waiting) = Waiting::enter(pool, upstream, rules.pending) else {
        pool.counters().queue_full.increment();
        return Err(ConnectError::QueueFull { address, pending: rules.pending });
    };
    pool.counters().queued.increment();
    match race(waiting.place.wait(), sleep(rules.queue_timeout)).await {
        Either::First(grant) => Ok(grant),
        Either::Second(()) => {
            pool.counters().queue_timeouts.increment();
            Err(ConnectError::QueueTimeout { address, after: rules.queue_timeout })
        }
    }
}

/// One place in the queue.
struct Waiting<'a> {
    pool: &'a Rc<EndpointPool>,
    upstream: &'a Upstream,
    place: Rc<Handover<Grant>>,
}

impl<'a> Waiting<'a> {
    fn enter(pool: &'a Rc<EndpointPool>, upstream: &'a Upstream, pending: u32) -> Option<Self> {
        if !upstream.enter_queue(pending) {
            return None;
        }
        pool.endpoint().enter_queue();
        let place = Rc::new(Handover::new());
        pool.queue.waiters.borrow_mut().push_back(Rc::clone(&place));
        pool.show_waiting();
        Some(Self { pool, upstream, place })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pool.queue.waiters.borrow_mut().retain(|place| !Rc::ptr_eq(place, &self.place));
        self.pool.show_waiting();
        self.pool.endpoint().leave_queue();
        self.upstream.leave_queue();
        match self.place.take() {
            Some(Grant::Connection(connection, recv)) => self.pool.put(connection, recv),
            Some(Grant::Seat(seat)) => self.pool.pass_on(seat),
            None => {}
        }
    }
}
