//! How shards lend each other idle connections: the messages and the open questions.
//!
//! ```text
//!   asker (pool empty)                              owner (shows idle > 0)
//!     │ ── Ask { endpoint, from, serial } ────────────▶ │ take the oldest idle one,
//!     │                                                 │ cancel its receive, make it owned
//!     │ ◀──────────── Give { serial, connection } ───── │
//!     │ ◀──────────── Refuse { serial } ─────────────── │ none left, or its last and in use
//! ```
//! The asker waits [`ASK_WAIT`] and then connects; what arrives later goes to its pool. Nothing
//! is locked: the idle counts that decide whether to ask are relaxed atomics and may be stale,
//! the answer is the truth. A connection in a mailbox still holds its seat, so the cap over all
//! shards is exact, and closes itself if the mailbox is dropped.
//!
//! A `Give` without a question (`serial` 0) is the other direction: a shard that gets a
//! connection back while requests wait for one elsewhere sends it there. `Seat` is the same for
//! a connection that was closed: the right to open one in its place.

use super::{
    endpoint::{EndpointId, Seat},
    handover::Handover,
    idle::{Connection, EndpointPool},
};
use crate::{
    config::Share,
    runtime::{Either, mailbox, now, race, sleep, yield_now},
    transport::{OwnedStream, Recv},
};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

/// One shard's place among the others: their mailboxes and its own. Made by [`neighbours`],
/// moved to the shard's thread, consumed by `Pools::start`.
pub struct Neighbours {
    pub(super) shard: usize,
    /// To every shard, its own place included (never used).
    pub(super) senders: Vec<mailbox::Sender<Message>>,
    pub(super) receiver: mailbox::Receiver<Message>,
}

/// Makes the mailboxes between `shards` shards, one [`Neighbours`] for each, in their order.
#[must_use]
pub fn neighbours(shards: usize) -> Vec<Neighbours> {
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..shards).map(|_| mailbox::channel(MAILBOX_MESSAGES)).unzip();
    let places = receivers.into_iter().enumerate();
    places
        .map(|(shard, receiver)| Neighbours { shard, senders: senders.clone(), receiver })
        .collect()
}

/// What shards say to each other.
pub(super) enum Message {
    Ask { endpoint: EndpointId, from: usize, serial: u64 },
    Give { endpoint: EndpointId, serial: u64, connection: Moving },
    Refuse { serial: u64 },
    Seat { endpoint: EndpointId, seat: Seat },
}

/// A connection between two shards: belongs to neither, holds its seat.
pub(super) struct Moving {
    /// Before the seat: the socket is closed when the seat becomes free.
    pub(super) socket: OwnedStream,
    pub(super) seat: Seat,
    pub(super) uses: u64,
}

/// What came of a question.
pub(super) enum Answer {
    Given(Moving),
    Refused,
}

/// A shard's side of the mailboxes: whom it can write to, and its questions without an answer.
pub(super) struct Mesh {
    pub(super) shard: usize,
    senders: Vec<mailbox::Sender<Message>>,
    /// Until when a neighbour isn't asked, because it didn't answer in time.
    slow_until: Vec<Cell<Option<Instant>>>,
    /// [`ASK_WAIT`], but for tests that can't rely on the machine's scheduler.
    pub(super) ask_wait: Cell<Duration>,
    last_serial: Cell<u64>,
    open: RefCell<Vec<(u64, Rc<Handover<Answer>>)>>,
}

impl Mesh {
    pub(super) fn new(shard: usize, senders: Vec<mailbox::Sender<Message>>) -> Self {
        let slow_until = senders.iter().map(|_| Cell::new(None)).collect();
        Self {
            shard,
            senders,
            slow_until,
            ask_wait: Cell::new(ASK_WAIT),
            last_serial: Cell::new(UNASKED),
            open: RefCell::default(),
        }
    }

    /// Whether a neighbour has lately answered, or wasn't asked.
    fn may_be_asked(&self, shard: usize) -> bool {
        let until = self.slow_until.get(shard).and_then(Cell::get);
        until.is_none_or(|until| now() >= until)
    }

    /// Sends a connection to a neighbour; gives it back when the mailbox is full.
    pub(super) fn give(
        &self,
        to: usize,
        endpoint: EndpointId,
        serial: u64,
        connection: Moving,
    ) -> Result<(), Moving> {
        match self.send(to, Message::Give { endpoint, serial, connection }) {
            Err(Message::Give { connection, .. }) => Err(connection),
            _ => Ok(()),
        }
    }

    /// Sends the right to open a connection; gives it back when the mailbox is full.
    pub(super) fn give_seat(
        &self,
        to: usize,
        endpoint: EndpointId,
        seat: Seat,
    ) -> Result<(), Seat> {
        match self.send(to, Message::Seat { endpoint, seat }) {
            Err(Message::Seat { seat, .. }) => Err(seat),
            _ => Ok(()),
        }
    }

    /// Tells a neighbour that there is nothing for it. A full mailbox loses this: the asker
    /// stops waiting by itself.
    pub(super) fn refuse(&self, to: usize, serial: u64) {
        let _lost = self.send(to, Message::Refuse { serial });
    }

    /// Takes an answer; gives a connection back that nobody waits for any more.
    pub(super) fn answer(&self, serial: u64, answer: Answer) -> Option<Moving> {
        let mut open = self.open.borrow_mut();
        if let Some(position) = open.iter().position(|(asked, _)| *asked == serial) {
            let (_, handover) = open.swap_remove(position);
            handover.put(answer);
            return None;
        }
        match answer {
            Answer::Given(moving) => Some(moving),
            Answer::Refused => None,
        }
    }

    fn send(&self, to: usize, message: Message) -> Result<(), Message> {
        match self.senders.get(to) {
            Some(sender) => sender.send(message),
            None => Err(message),
        }
    }
}

/// Takes an idle connection from the neighbour that shows the most, if any does.
///
/// Cancel safe: what arrives for a dropped asker goes to its shard's pool.
pub(super) async fn steal(pool: &Rc<EndpointPool>) -> Option<(Connection, Recv)> {
    if pool.rules().share == Share::Off {
        return None;
    }
    let mesh = &pool.mesh;
    let owner = pool.endpoint().richest_but(mesh.shard, |shard| mesh.may_be_asked(shard))?;
    let ask = Ask::open(pool);
    let message =
        Message::Ask { endpoint: pool.endpoint().id(), from: pool.mesh.shard, serial: ask.serial };
    pool.mesh.send(owner, message).ok()?;
    match race(ask.answer.wait(), sleep(pool.mesh.ask_wait.get())).await {
        Either::First(Answer::Given(moving)) => {
            pool.counters().stolen.increment();
            let arrived = Arrived::new(pool, moving);
            // Bytes may have come while no receive was armed: one turn shows them.
            yield_now().await;
            arrived.into_good()
        }
        Either::First(Answer::Refused) => {
            pool.counters().refused.increment();
            None
        }
        Either::Second(()) => {
            pool.counters().unanswered.increment();
            pool.mesh.slow_until[owner].set(Some(now() + SLOW_FOR));
            None
        }
    }
}

/// One open question.
struct Ask<'a> {
    pool: &'a Rc<EndpointPool>,
    serial: u64,
    answer: Rc<Handover<Answer>>,
}

impl<'a> Ask<'a> {
    fn open(pool: &'a Rc<EndpointPool>) -> Self {
        let serial = pool.mesh.last_serial.get() + 1;
        pool.mesh.last_serial.set(serial);
        let answer = Rc::new(Handover::new());
        pool.mesh.open.borrow_mut().push((serial, Rc::clone(&answer)));
        Self { pool, serial, answer }
    }
}

impl Drop for Ask<'_> {
    fn drop(&mut self) {
        self.pool.mesh.open.borrow_mut().retain(|(serial, _)| *serial != self.serial);
        if let Some(Answer::Given(moving)) = self.answer.take() {
            self.pool.take_in(moving);
        }
    }
}

/// A connection that came from a neighbour and isn't lent yet; the pool's, if the asker is gone.
struct Arrived<'a> {
    pool: &'a Rc<EndpointPool>,
    inner: Option<(Connection, Recv)>,
}

impl<'a> Arrived<'a> {
    fn new(pool: &'a Rc<EndpointPool>, moving: Moving) -> Self {
        let connection = Connection::from_moving(moving);
        let recv = connection.stream.recv();
        Self { pool, inner: Some((connection, recv)) }
    }

    /// The connection, unless it was closed or bytes came that nobody asked for.
    fn into_good(mut self) -> Option<(Connection, Recv)> {
        let (connection, mut recv) = self.inner.take()?;
        if recv.is_ready() {
            self.pool.discard(connection, recv);
            return None;
        }
        Some((connection, recv))
    }
}

impl Drop for Arrived<'_> {
    fn drop(&mut self) {
        if let Some((connection, recv)) = self.inner.take() {
            self.pool.put(connection, recv);
        }
    }
}

/// How long an asker waits for an answer before it connects: many times what a mailbox takes
/// both ways. The timers' tick rounds it up to 12 ms at worst, which a request pays once in
/// [`SLOW_FOR`] and only when a neighbour is stuck.
const ASK_WAIT: Duration = Duration::from_millis(2);
/// A neighbour that didn't answer in time isn't asked again for this long.
const SLOW_FOR: Duration = Duration::from_secs(1);
/// An owner keeps its last idle connection if it carried a request so recently: two busy shards
/// that passed one connection to and fro would pay two wakeups a request to save one connect.
pub(super) const HOT: Duration = Duration::from_millis(20);
/// The serial of a connection that's given without a question.
pub(super) const UNASKED: u64 = 0;
/// Messages that wait for one shard at most. A full mailbox means a shard that's stuck: the
/// asker connects instead, a giver keeps its connection.
const MAILBOX_MESSAGES: usize = 1024;

#[cfg(test)]
mod tests;
