//! An upgraded connection: bytes both ways until both sides have ended.
//!
//! ```text
//!   client ──▶ pump ──▶ upstream        one receive or one send in flight per direction;
//!   client ◀── pump ◀── upstream        an end of stream is passed on as one (half-close)
//! ```
//!
//! A side that fails takes the tunnel down. Silence in both directions for the route's
//! `timeouts.idle` does too; traffic in either keeps it open.

use std::{cell::Cell, pin::pin, rc::Rc, task::Poll, time::Duration};

use super::{
    body::Chunk,
    connection::{Connection, ListenerRules, SendError, send_within},
    pace::Pace,
    recycle,
    wire::UpstreamSide,
};
use crate::{
    runtime::{SendBuf, Timer},
    transport::Stream,
};

/// Runs the tunnel between `connection` and `upstream` until it ends.
pub(super) async fn run(
    connection: &Rc<Connection>,
    listener: &ListenerRules,
    upstream: UpstreamSide,
    early: Option<Chunk>,
    idle: Duration,
) {
    let stats = connection.shard.stats();
    stats.tunnels.set(stats.tunnels.get() + 1);
    let activity = Activity { timer: Timer::new(), idle };
    activity.note();
    let limit = listener.write_timeout.min(idle);
    let up = async {
        // What the client sent behind its handshake comes first.
        let mut first = connection.take_kept();
        let to = &**upstream.lent.stream();
        let timer = Timer::new();
        loop {
            let chunk = match first.take() {
                Some(chunk) => chunk,
                None => connection.receive().await.map_err(|_| SendError::Closed)?,
            };
            if !forward(chunk, to, &timer, limit, &activity).await? {
                return Ok::<(), SendError>(());
            }
        }
    };
    let down = async {
        let mut first = early;
        let from = upstream.lent.stream();
        loop {
            let chunk = match first.take() {
                Some(chunk) => chunk,
                None => from.recv().await.map(Chunk::from).map_err(|_| SendError::Closed)?,
            };
            let length = chunk.len() as u64;
            if !forward(chunk, &connection.stream, &connection.timer, limit, &activity).await? {
                return Ok(());
            }
            connection.sent.set(connection.sent.get() + length);
        }
    };
    both(up, down, &activity).await;
    stats.tunnels.set(stats.tunnels.get() - 1);
}

/// Sends one piece on; false at the end of the stream, which is passed on too.
async fn forward(
    chunk: Chunk,
    to: &Stream,
    timer: &Timer,
    limit: Duration,
    activity: &Activity,
) -> Result<bool, SendError> {
    activity.note();
    if chunk.is_empty() {
        to.shutdown_write().await.map_err(|_| SendError::Closed)?;
        return Ok(false);
    }
    // A copy, so that whoever doesn't read holds no buffer of the ring.
    let piece = chunk.detach().into_send();
    let sent = send_within(to, piece, timer, limit, &Pace::off()).await;
    if let SendBuf::Vec(bytes) = sent.map_err(|(error, _)| error)? {
        recycle::give_bytes(bytes);
    }
    activity.note();
    Ok(true)
}

/// Runs both directions to their ends; the first failure, or silence, ends both.
async fn both(
    up: impl Future<Output = Result<(), SendError>>,
    down: impl Future<Output = Result<(), SendError>>,
    activity: &Activity,
) {
    let (mut up, mut down) = (pin!(up), pin!(down));
    let (is_up, is_down) = (Cell::new(true), Cell::new(true));
    std::future::poll_fn(|cx| {
        for (direction, is_open) in [(&mut up as &mut dyn Direction, &is_up), (&mut down, &is_down)]
        {
            if is_open.get()
                && let Poll::Ready(end) = direction.poll_direction(cx)
            {
                is_open.set(false);
                if end.is_err() {
                    return Poll::Ready(());
                }
            }
        }
        if !is_up.get() && !is_down.get() {
            return Poll::Ready(());
        }
        activity.timer.poll_expired(cx)
    })
    .await;
}

/// One direction of a tunnel, so that both are polled by one loop.
trait Direction {
    fn poll_direction(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Result<(), SendError>>;
}

impl<F: Future<Output = Result<(), SendError>>> Direction for std::pin::Pin<&mut F> {
    fn poll_direction(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Result<(), SendError>> {
        self.as_mut().poll(cx)
    }
}

/// When something last moved.
struct Activity {
    timer: Timer,
    idle: Duration,
}

impl Activity {
    fn note(&self) {
        self.timer.set_after(self.idle);
    }
}
