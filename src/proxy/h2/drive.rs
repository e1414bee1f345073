//! The task of a session: reads, feeds the codec, writes what a turn has made, keeps the deadlines.
//!
//! ```text
//!   read:   deadline or bytes ─▶ codec ─▶ exchanges      │ one task: either wakes both
//!   write:  output? ─▶ settle ─▶ one send ─▶ output? …   │
//! ```
//!
//! The write half waits until every other ready task of the turn has run, so the answers of a
//! whole turn leave together. While a client takes nothing of what it has asked for, nothing more is
//! read of it: heads, which wait for no window, would gather without end. The write half ends the
//! connection when its receiver takes nothing, and is the last to end: what the codec has to say of
//! a broken connection is sent before it is closed.

use std::{
    pin::pin,
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use super::{session::Session, stream::Handle};
use crate::{
    protocol::{
        h2::{ConnectionError, ErrorCode, Violation},
        http::{Framing, RequestHead},
    },
    proxy::{
        body::Chunk,
        pace::Pace,
        recycle::{self, Pooled},
        send::{SendError, send_within},
        stats::By,
    },
    runtime::{self, Either, Expired, SendBuf, Timer, race},
};

/// A request whose head has come.
pub(in crate::proxy) struct NewRequest {
    pub(in crate::proxy) handle: Handle,
    pub(in crate::proxy) head: Pooled<RequestHead>,
    pub(in crate::proxy) framing: Framing,
}

/// What differs between the two ends of a connection.
pub(in crate::proxy) trait Role {
    /// Takes a client's request on. Must not touch the session: start a task.
    fn accept(&self, request: NewRequest);
    /// Settings have come, or a GOAWAY.
    fn changed(&self) {}
    /// Whether no new stream is to begin any more.
    fn is_ending(&self) -> bool;
    /// How long the connection may be without a stream.
    fn idle(&self) -> Duration;
    /// How long the other side may take nothing of what is sent.
    fn write_timeout(&self) -> Duration;
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Ended {
    /// The other side closed the connection, or it broke.
    Closed,
    /// The other side took nothing.
    Stalled,
    /// We said all that there was to say: it was idle, or told to end.
    Finished,
    /// The other side broke the protocol.
    Broken(ConnectionError),
}

/// Runs `session` to its end; `first` has been received already. `timer` may be set by others to
/// make it look at [`Role::is_ending`].
pub(in crate::proxy) async fn drive(
    session: &Rc<Session>,
    first: Option<Chunk>,
    timer: &Timer,
    role: &impl Role,
) -> Ended {
    session.counters().connections.add(1);
    let mut write = pin!(write(session, role));
    let ended = match race(read(session, first, timer, role), write.as_mut()).await {
        Either::First(ended) => {
            session.fail();
            if matches!(ended, Ended::Broken(_) | Ended::Finished) {
                // The last words: a GOAWAY that says why.
                timer.set_after(LAST_WORDS);
                let _sent: Result<Ended, Expired> = timer.guard(write).await;
            }
            ended
        }
        Either::Second(ended) => ended,
    };
    session.fail();
    count(session, ended);
    ended
}

/// Counts a session's end.
fn count(session: &Session, ended: Ended) {
    let counters = session.counters();
    counters.connections.add(-1);
    match ended {
        Ended::Broken(error) => {
            counters.count_goaway(By::Us, error.code());
            if let ConnectionError(Violation::Abuse(kind)) = error {
                counters.count_abuse(kind);
            }
        }
        Ended::Finished => counters.count_goaway(By::Us, ErrorCode::NoError),
        Ended::Closed | Ended::Stalled => {}
    }
}

async fn read(
    session: &Rc<Session>,
    first: Option<Chunk>,
    timer: &Timer,
    role: &impl Role,
) -> Ended {
    if let Some(first) = first
        && let Err(error) = session.receive(&first, role)
    {
        return Ended::Broken(error);
    }
    let mut armed = None;
    loop {
        match deadline(session, role) {
            Ok(at) => timer.set(at),
            Err(ended) => return ended,
        }
        if timer.guard(session.until_read()).await.is_err() {
            continue;
        }
        let recv = armed.get_or_insert_with(|| session.link.stream().recv());
        if session.holds_any() {
            runtime::yield_now().await;
            if !recv.is_ready() {
                session.announce_all();
            }
        }
        match timer.guard(recv).await {
            Err(Expired) => {}
            Ok(Ok(bytes)) if !bytes.is_empty() => {
                armed = None;
                if let Err(error) = session.receive(&bytes, role) {
                    return Ended::Broken(error);
                }
            }
            Ok(_) => return Ended::Closed,
        }
    }
}

/// Does what is due, and says when to look again.
fn deadline(session: &Rc<Session>, role: &impl Role) -> Result<Instant, Ended> {
    let now = runtime::now();
    if role.is_ending() {
        session.with(|codec| codec.drain(now));
    }
    let due = session.with(|codec| codec.next_timeout());
    if due.is_some_and(|due| due <= now) {
        let result = session.with(|codec| codec.handle_timeout(now));
        session.drain_events(role);
        result.map_err(Ended::Broken)?;
    }
    let look_at = if session.streams() > 0 {
        now + role.idle().max(LOOK)
    } else if session.uses() == 0 {
        // Made for somebody who has yet to take it.
        session.idle_since() + role.idle().max(LOOK)
    } else {
        session.idle_since() + role.idle()
    };
    if look_at <= now {
        session.with(|codec| codec.close(ErrorCode::NoError));
        return Err(Ended::Finished);
    }
    let due = session.with(|codec| codec.next_timeout());
    Ok(due.map_or(look_at, |due| due.min(look_at)))
}

/// Sends what there is, whenever there is something.
async fn write(session: &Rc<Session>, role: &impl Role) -> Ended {
    let timer = Timer::new();
    loop {
        let is_finished = std::future::poll_fn(|_| {
            if session.has_output() {
                return Poll::Ready(false);
            }
            if session.is_finished() {
                return Poll::Ready(true);
            }
            session.driver.listen();
            Poll::Pending
        })
        .await;
        if is_finished {
            return Ended::Finished;
        }
        runtime::settled().await;
        let mut output = recycle::take_bytes();
        session.take_output(&mut output, role);
        let sending = SendBuf::Vec(output);
        let limit = role.write_timeout();
        match send_within(session.link.stream(), sending, &timer, limit, Pace::off()).await {
            Ok(SendBuf::Vec(output)) => recycle::give_bytes(output),
            Ok(_) => {}
            Err((SendError::Closed, _)) => return Ended::Closed,
            Err((SendError::Stalled | SendError::Slow, _)) => return Ended::Stalled,
        }
    }
}

/// How long a broken or finished connection is given to take the last words.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// With streams open, or before the first, how soon to ask again whether the connection is idle,
/// where it may not be for as long.
const LOOK: Duration = Duration::from_secs(1);
