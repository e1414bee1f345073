//! Bytes both ways between two connections, as cheaply as their amount allows.
//!
//! ```text
//!   client ──▶ pump ──▶ endpoint       each direction: one receive or one send in flight
//!   client ◀── pump ◀── endpoint
//!
//!   pump:   small pieces      receive into a ring buffer, send it on
//!           a full buffer     there is more where it came from: splice(2) through a pipe until the
//!                             sender has no more for now, then wait for readiness and go on so
//!           a small burst     back to ring buffers
//! ```
//! An end of stream is passed on as one (half-close), in either direction, and the other direction
//! goes on. A reset is passed on as a reset: neither side takes a broken stream for a finished one.
//! Memory is one ring buffer's worth or one pipe a direction, and only while bytes are on their way:
//! a reader that stalls stops the writer on the other side, and holds nothing that others need.
//! Silence in both directions for the idle time ends the connection. Knows nothing of protocols.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use super::bytes;
use crate::runtime::{self, Burst, RecvBuf, SendBuf, TcpStream, Timer};

/// What was moved, readable while it goes on.
#[derive(Debug, Default)]
pub struct Moved {
    /// Bytes from the client to the endpoint.
    pub up: Cell<u64>,
    /// Bytes from the endpoint to the client.
    pub down: Cell<u64>,
}

/// How a relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both sides ended their streams.
    Closed,
    /// The client's connection was reset or failed.
    ClientReset,
    /// The endpoint's was.
    EndpointReset,
    /// Nothing moved for the idle time.
    Idle,
}

impl End {
    /// One word for logs and metrics; none for a good end.
    #[must_use]
    pub fn failure(self) -> Option<&'static str> {
        match self {
            Self::Closed => None,
            Self::ClientReset => Some("client_reset"),
            Self::EndpointReset => Some("endpoint_reset"),
            Self::Idle => Some("idle_timeout"),
        }
    }
}

/// Moves bytes both ways until both sides have ended, one has failed, or nothing has moved for
/// `idle`. `early` is what of the endpoint's bytes is here already. When it isn't a good end, both
/// connections are made to be reset when they are dropped.
pub async fn relay(
    client: &TcpStream,
    endpoint: &TcpStream,
    early: Option<RecvBuf>,
    idle: Duration,
    moved: &Moved,
) -> End {
    let activity = Activity { timer: Timer::new(), idle, seen: Cell::new((0, 0)) };
    activity.note();
    let up = Pump { from: client, to: endpoint, moved: &moved.up, activity: &activity };
    let down = Pump { from: endpoint, to: client, moved: &moved.down, activity: &activity };
    let mut up = pin!(up.run(None));
    let mut down = pin!(down.run(early));
    let (mut is_up, mut is_down) = (true, true);
    let end = poll_fn(|cx| {
        let ended = (step(is_up, up.as_mut(), cx), step(is_down, down.as_mut(), cx));
        let (up_ended, down_ended) = match ended {
            (Ok(up), Ok(down)) => (up, down),
            (Err(Side::From), _) | (_, Err(Side::To)) => return Poll::Ready(End::ClientReset),
            (Err(Side::To), _) | (_, Err(Side::From)) => return Poll::Ready(End::EndpointReset),
        };
        if up_ended {
            if is_down && is_gone(client) {
                return Poll::Ready(End::ClientReset);
            }
            is_up = false;
            if activity.pass_end(endpoint).is_err() {
                return Poll::Ready(End::EndpointReset);
            }
        }
        if down_ended {
            if is_up && is_gone(endpoint) {
                return Poll::Ready(End::EndpointReset);
            }
            is_down = false;
            if activity.pass_end(client).is_err() {
                return Poll::Ready(End::ClientReset);
            }
        }
        if !is_up && !is_down {
            return Poll::Ready(End::Closed);
        }
        activity.poll_idle(cx, client, endpoint)
    })
    .await;
    if end != End::Closed {
        client.reset_on_close();
        endpoint.reset_on_close();
    }
    end
}

/// Takes a direction on; whether its stream has come to its end now.
fn step(
    is_open: bool,
    pump: Pin<&mut impl Future<Output = Result<(), Side>>>,
    cx: &mut Context<'_>,
) -> Result<bool, Side> {
    if !is_open {
        return Ok(false);
    }
    match pump.poll(cx) {
        Poll::Ready(result) => result.map(|()| true),
        Poll::Pending => Ok(false),
    }
}

/// Whether a connection whose stream has ended is no longer there: it was reset. The kernel tells of
/// that once, and when a send was told, the receive sees an end like any other. Asked while we may
/// still send, or else it may be closed as it should be.
fn is_gone(stream: &TcpStream) -> bool {
    stream.peer_addr().is_err_and(|error| error.kind() == io::ErrorKind::NotConnected)
}

/// Which side of a direction failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    From,
    To,
}

/// One direction.
struct Pump<'a> {
    from: &'a TcpStream,
    to: &'a TcpStream,
    moved: &'a Cell<u64>,
    activity: &'a Activity,
}

impl Pump<'_> {
    async fn run(&self, early: Option<RecvBuf>) -> Result<(), Side> {
        let can_splice = self.from.can_splice() && self.to.can_splice();
        if let Some(piece) = early {
            self.send(piece).await?;
        }
        loop {
            let piece = self.from.recv().await.map_err(|_| Side::From)?;
            if piece.is_empty() {
                return Ok(());
            }
            let is_full = piece.len() >= runtime::recv_buffer_size();
            self.send(piece).await?;
            if is_full && can_splice && self.bursts().await? {
                return Ok(());
            }
        }
    }

    async fn send(&self, piece: RecvBuf) -> Result<(), Side> {
        let length = piece.len() as u64;
        self.activity.note();
        // A copy, so that whoever doesn't read holds no buffer of the ring: those are everybody's.
        let mut copy = bytes::take();
        copy.extend_from_slice(&piece);
        drop(piece);
        let (sent, back) = self.to.send_all(SendBuf::Vec(copy)).await;
        if let SendBuf::Vec(copy) = back {
            bytes::give(copy);
        }
        sent.map_err(|_| Side::To)?;
        self.count(length);
        Ok(())
    }

    fn count(&self, bytes: u64) {
        self.moved.set(self.moved.get() + bytes);
        self.activity.note();
    }

    /// Moves bursts as long as they are large; true at the end of the stream.
    async fn bursts(&self) -> Result<bool, Side> {
        loop {
            let burst = runtime::splice_burst(self.from, self.to, |bytes| self.count(bytes)).await;
            match burst {
                Ok(Burst { is_end: true, .. }) => return Ok(true),
                // No pipe can be had: user space has buffers.
                Ok(Burst { bytes, .. }) if bytes < BURST_MIN => return Ok(false),
                Ok(_) => {}
                Err(runtime::BurstError::NoPipe(_)) => return Ok(false),
                Err(runtime::BurstError::From(_)) => return Err(Side::From),
                Err(runtime::BurstError::To(_)) => return Err(Side::To),
            }
            self.from.readable().await.map_err(|_| Side::From)?;
        }
    }
}

/// When something last moved.
struct Activity {
    timer: Timer,
    idle: Duration,
    /// What the kernel had taken of sends in flight when the time was over before.
    seen: Cell<(u64, u64)>,
}

impl Activity {
    #[inline]
    fn note(&self) {
        self.timer.set_after(self.idle);
    }

    /// Passes the end of a stream on to `to`.
    fn pass_end(&self, to: &TcpStream) -> io::Result<()> {
        self.note();
        match to.shutdown_write() {
            // Its own end came first and took the socket with it.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        }
    }

    /// Ready when the idle time is over. A slow reader that takes a part of a send in that time is
    /// not idle.
    fn poll_idle(
        &self,
        cx: &mut Context<'_>,
        client: &TcpStream,
        endpoint: &TcpStream,
    ) -> Poll<End> {
        if self.timer.poll_expired(cx).is_pending() {
            return Poll::Pending;
        }
        let seen = (client.sent_bytes(), endpoint.sent_bytes());
        if self.seen.replace(seen) == seen {
            return Poll::Ready(End::Idle);
        }
        self.note();
        self.timer.poll_expired(cx).map(|()| End::Idle)
    }
}

/// A burst below this is cheaper through a ring buffer: one receive and one send.
const BURST_MIN: u64 = 16 * 1024;
