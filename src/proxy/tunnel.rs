//! An upgraded connection or stream: bytes both ways until both sides have ended.
//!
//! ```text
//!   client ──▶ pump ──▶ endpoint        one receive or one send in flight per direction;
//!   client ◀── pump ◀── endpoint        an end of stream is passed on as one (half-close)
//! ```
//!
//! Either side may be a connection (HTTP/1.1) or a stream (HTTP/2, RFC 8441). A side that fails
//! takes the tunnel down: a connection is closed, a stream reset. Silence in both directions for
//! the route's `timeouts.idle` does the same; traffic in either keeps it open.

use std::{cell::Cell, pin::pin, task::Poll, time::Duration};

use super::{
    body::Chunk,
    connection::{Connection, ListenerRules},
    downstream::Downstream,
    h2::{Handle, Stream, WriteError},
    pace::Pace,
    recycle,
    send::{SendError, send_within},
    shard::Shard,
    wire::UpstreamSide,
};
use crate::{
    protocol::h2::EndStream,
    runtime::{SendBuf, Timer},
    transport,
    upstream::InFlight,
};

/// A tunnel whose endpoint has agreed, and whose client is about to hear of it.
#[derive(Debug)]
pub(super) struct Tunnel {
    endpoint: Endpoint,
    idle: Duration,
}

/// The endpoint's end.
#[derive(Debug)]
enum Endpoint {
    H1 {
        side: UpstreamSide,
        /// What came behind its head.
        early: Option<Chunk>,
    },
    H2 {
        handle: Handle,
        /// Counts the request until the tunnel's end.
        _in_flight: InFlight,
    },
}

impl Tunnel {
    /// To the connection of `side`, on which `early` has come already. Silent for `idle`, it ends.
    pub(super) fn over_connection(
        side: UpstreamSide,
        early: Option<Chunk>,
        idle: Duration,
    ) -> Self {
        Self { endpoint: Endpoint::H1 { side, early }, idle }
    }

    /// To the stream of `handle`. Silent for `idle`, it ends.
    pub(super) fn over_stream(handle: Handle, in_flight: InFlight, idle: Duration) -> Self {
        Self { endpoint: Endpoint::H2 { handle, _in_flight: in_flight }, idle }
    }

    /// Runs between the endpoint and `client` until it ends.
    pub(super) async fn run(mut self, client: &Downstream, listener: &ListenerRules) {
        let _open = Open::count(client.shard());
        let activity = Activity { timer: Timer::new(), idle: self.idle };
        activity.note();
        let limit = listener.write_timeout.min(self.idle);
        // What came behind a handshake comes first.
        let (near, first_up) = match client {
            Downstream::H1(connection) => (Side::Client(connection), connection.take_kept()),
            Downstream::H2(_, stream) => (Side::Stream(stream), None),
        };
        let first_down = match &mut self.endpoint {
            Endpoint::H1 { early, .. } => early.take(),
            Endpoint::H2 { .. } => None,
        };
        let far = match &self.endpoint {
            Endpoint::H1 { side, .. } => Side::Endpoint(side.lent.stream()),
            Endpoint::H2 { handle, .. } => Side::Stream(handle),
        };
        let up = pump(&near, first_up, &far, limit, &activity);
        let down = pump(&far, first_down, &near, limit, &activity);
        both(up, down, &activity).await;
    }
}

/// Counts a tunnel for as long as it is open.
struct Open<'a>(&'a Shard);

impl<'a> Open<'a> {
    fn count(shard: &'a Shard) -> Self {
        shard.stats().tunnels.add(1);
        Self(shard)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.stats().tunnels.add(-1);
    }
}

/// Moves `first`, and then what comes from `from`, to `to`, and passes the end on.
async fn pump(
    from: &Side<'_>,
    mut first: Option<Chunk>,
    to: &Side<'_>,
    limit: Duration,
    activity: &Activity,
) -> Result<(), Broken> {
    let timer = Timer::new();
    loop {
        let chunk = match first.take() {
            Some(chunk) => chunk,
            None => from.receive().await?,
        };
        activity.note();
        if chunk.is_empty() {
            return to.finish().await;
        }
        to.send(chunk, &timer, limit).await?;
        activity.note();
    }
}

/// One side of a tunnel.
enum Side<'a> {
    /// A client's connection, which counts what it moves.
    Client(&'a Connection),
    /// A connection to an endpoint.
    Endpoint(&'a transport::Stream),
    /// A stream, of either.
    Stream(&'a Stream),
}

impl Side<'_> {
    /// The next bytes; none at the end.
    async fn receive(&self) -> Result<Chunk, Broken> {
        match self {
            Self::Client(connection) => connection.receive().await.map_err(|_| Broken),
            Self::Endpoint(stream) => stream.recv().await.map(Chunk::from).map_err(|_| Broken),
            Self::Stream(stream) => stream.receive().await.map_err(|_| Broken),
        }
    }

    /// Sends all of `chunk` to somebody who takes some of it within `limit`, again and again.
    async fn send(&self, chunk: Chunk, timer: &Timer, limit: Duration) -> Result<(), Broken> {
        let connection = match self {
            Self::Client(connection) => &connection.stream,
            Self::Endpoint(stream) => *stream,
            Self::Stream(stream) => {
                let sent = stream.send_data(&chunk, EndStream::No, limit, &Pace::off()).await;
                return Ok(sent?);
            }
        };
        let length = chunk.len() as u64;
        // A copy, so that whoever doesn't read holds no buffer of the ring.
        let piece = chunk.detach().into_send();
        let sent = send_within(connection, piece, timer, limit, Pace::off()).await;
        if let SendBuf::Vec(bytes) = sent.map_err(|(error, _)| error)? {
            recycle::give_bytes(bytes);
        }
        if let Self::Client(connection) = self {
            connection.sent.set(connection.sent.get() + length);
        }
        Ok(())
    }

    /// Says that no more follows.
    async fn finish(&self) -> Result<(), Broken> {
        match self {
            Self::Client(connection) => connection.stream.shutdown_write().await,
            Self::Endpoint(stream) => stream.shutdown_write().await,
            Self::Stream(stream) => {
                stream.try_send_data(&[], EndStream::Yes)?;
                return Ok(());
            }
        }
        .map_err(|_| Broken)
    }
}

/// One side has gone, or takes nothing.
struct Broken;

impl From<SendError> for Broken {
    fn from(_: SendError) -> Self {
        Self
    }
}

impl From<WriteError> for Broken {
    fn from(_: WriteError) -> Self {
        Self
    }
}

/// Runs both directions to their ends; the first failure, or silence, ends both.
async fn both(
    up: impl Future<Output = Result<(), Broken>>,
    down: impl Future<Output = Result<(), Broken>>,
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
    fn poll_direction(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Result<(), Broken>>;
}

impl<F: Future<Output = Result<(), Broken>>> Direction for std::pin::Pin<&mut F> {
    fn poll_direction(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Result<(), Broken>> {
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
