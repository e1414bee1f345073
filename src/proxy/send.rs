//! Sends within limits: somebody who takes nothing for a while, or too little over a longer one, is
//! given up.
//!
//! Futures by hand, not `async`: each request sends twice, and in nearly each of these sends the
//! first answer is the last.

use std::{
    borrow::Borrow,
    cell::Cell,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::{error::Error, pace::Pace};
use crate::{
    runtime::{SendBuf, Timer},
    transport::{Sending, Stream},
};

/// Why sending failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendError {
    /// The connection is gone.
    Closed,
    /// Nothing was taken for a whole timeout.
    Stalled,
    /// Something was taken, but less than the least rate asks for.
    Slow,
}

impl SendError {
    /// The same as an exchange's failure, where the receiver is the client.
    pub(super) fn of_client(self) -> Error {
        let phase = "taking the response";
        match self {
            Self::Closed => Error::ClientClosed,
            Self::Stalled => Error::ClientTimeout { phase },
            Self::Slow => Error::ClientTooSlow { phase },
        }
    }
}

/// What a send within limits comes to. A buffer that the kernel still holds is not given back.
pub(super) type Sent = Result<SendBuf, (SendError, Option<SendBuf>)>;

/// Starts to send all of `buf` on `stream`; fails when nothing is taken for `limit`, or too little
/// for `pace`, which is not changed.
#[inline]
pub(super) fn send_within<'s, P: Borrow<Pace>>(
    stream: &'s Stream,
    buf: SendBuf,
    timer: &'s Timer,
    limit: Duration,
    pace: P,
) -> SendWithin<'s, P> {
    let period = pace.borrow().limit(limit);
    timer.set_after(period);
    SendWithin { send: stream.send_all(buf), stream, timer, limit, pace, period, seen: None }
}

/// A send within limits; made by [`send_within`].
#[derive(Debug)]
#[must_use = "dropping a send cancels it"]
pub(super) struct SendWithin<'s, P> {
    send: Sending<'s>,
    stream: &'s Stream,
    timer: &'s Timer,
    limit: Duration,
    pace: P,
    /// What the timer is set to.
    period: Duration,
    /// None before the first period has passed.
    seen: Option<Seen>,
}

/// How far a send had come when a period was over.
#[derive(Debug, Clone, Copy)]
struct Seen {
    waited: Duration,
    first: u64,
    last: u64,
}

impl<P: Borrow<Pace>> SendWithin<'_, P> {
    #[inline]
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Sent> {
        Pin::new(&mut self.send).poll(cx).map(|(result, buf)| match result {
            Ok(()) => Ok(buf),
            Err(_) => Err((SendError::Closed, Some(buf))),
        })
    }

    /// A period is over. A slow reader may need longer than one for one buffer: only one that takes
    /// nothing at all is given up, and one that is below its rate.
    #[cold]
    fn look(&mut self, cx: &mut Context<'_>) -> Poll<Sent> {
        loop {
            let taken = self.stream.sent_bytes();
            // What was taken before the first look isn't known, and counts as nothing.
            let before =
                self.seen.unwrap_or(Seen { waited: Duration::ZERO, first: taken, last: 0 });
            let is_whole_period = self.period == self.limit;
            if self.seen.is_some() && before.last == taken && is_whole_period {
                return Poll::Ready(Err((SendError::Stalled, None)));
            }
            let waited = before.waited + self.period;
            let moved = taken.saturating_sub(before.first);
            let left = self.pace.borrow().left_after(waited, moved);
            if left.is_zero() {
                return Poll::Ready(Err((SendError::Slow, None)));
            }
            self.seen = Some(Seen { waited, first: before.first, last: taken });
            self.period = self.limit.min(left);
            self.timer.set_after(self.period);
            if let Poll::Ready(sent) = self.poll_sent(cx) {
                return Poll::Ready(sent);
            }
            ready!(self.timer.poll_expired(cx));
        }
    }
}

impl<P: Borrow<Pace> + Unpin> Future for SendWithin<'_, P> {
    type Output = Sent;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Sent> {
        if let Poll::Ready(sent) = self.poll_sent(cx) {
            return Poll::Ready(sent);
        }
        ready!(self.timer.poll_expired(cx));
        self.look(cx)
    }
}

/// Where a client's connection keeps count.
#[derive(Debug)]
pub(super) struct ClientSink<'c> {
    /// Bytes sent in this exchange.
    pub(super) sent: &'c Cell<u64>,
    /// The client is waited for to take a piece of the response.
    pub(super) awaits_room: &'c Cell<bool>,
}

/// A send to a client; made by [`Connection::send`](super::Connection::send).
#[derive(Debug)]
#[must_use = "dropping a send cancels it"]
pub(super) struct ClientSend<'c> {
    send: SendWithin<'c, Pace>,
    sent: &'c Cell<u64>,
    _waiting: Waiting<'c>,
}

impl<'c> ClientSend<'c> {
    #[inline]
    pub(super) fn new(sink: ClientSink<'c>, send: SendWithin<'c, Pace>) -> Self {
        Self { send, sent: sink.sent, _waiting: Waiting::begin(sink.awaits_room) }
    }
}

impl Future for ClientSend<'_> {
    type Output = Result<SendBuf, Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match ready!(Pin::new(&mut self.send).poll(cx)) {
            Ok(buf) => {
                self.sent.set(self.sent.get() + buf.as_slice().len() as u64);
                Poll::Ready(Ok(buf))
            }
            Err((error, _)) => Poll::Ready(Err(error.of_client())),
        }
    }
}

/// Says for its life that somebody is waited for.
#[derive(Debug)]
pub(super) struct Waiting<'a>(&'a Cell<bool>);

impl<'a> Waiting<'a> {
    pub(super) fn begin(mark: &'a Cell<bool>) -> Self {
        mark.set(true);
        Self(mark)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
