//! Moves the rest of a body from one connection to another, in the cheapest way its size allows.
//!
//! ```text
//!   left             way
//!   < LEASE_MIN      a copy of a ring buffer, one receive and one send a piece
//!   ≥ SPLICE_MIN     splice(2) through a pipe: no byte enters user space
//!   ≥ LEASE_MIN      where splice can't be (unknown length, the simulation): a 256 KiB lease, few
//!                    large receives and sends, hot in the cache
//! ```
//!
//! Only bodies without an encoding come here, and only when no filter wants to see them. There is
//! one receive or one send in flight, never both, so memory is one buffer a direction, and a slow
//! receiver stops the sender.

use std::{cell::Cell, ops::Range, pin::pin, time::Duration, time::Instant};

use super::{
    error::Error,
    pace::Pace,
    recycle,
    send::{SendError, Waiting, send_within},
    wire::WireBody,
};
use crate::{
    runtime::{self, Expired, LEASE_SIZE, SendBuf, SpliceError, SpliceStep, Timer},
    transport::Stream,
};

/// Why a relay ended early.
#[derive(Debug)]
pub(super) enum RelayError {
    /// The sender failed.
    From(Error),
    /// The receiver failed.
    To(SendError),
}

/// The receiving side.
pub(super) struct Sink<'a> {
    pub(super) stream: &'a Stream,
    pub(super) timer: &'a Timer,
    /// Longest time in which the receiver takes nothing.
    pub(super) limit: Duration,
    /// Its time, where it is a client.
    pub(super) pace: Pace,
    /// Set while it is waited for.
    pub(super) awaits: &'a Cell<bool>,
    /// Bytes that it has taken.
    pub(super) sent: &'a Cell<u64>,
}

impl Sink<'_> {
    /// Sends all of `buf`, and gives it back.
    pub(super) async fn send(&self, buf: SendBuf) -> Result<SendBuf, RelayError> {
        let length = buf.as_slice().len() as u64;
        let taken = self.stream.sent_bytes();
        let began = runtime::now();
        let _waiting = Waiting::begin(self.awaits);
        match send_within(self.stream, buf, self.timer, self.limit, &self.pace).await {
            Ok(buf) => {
                self.pace.note(runtime::now().saturating_duration_since(began), length);
                self.count(length);
                Ok(buf)
            }
            Err((error, _)) => {
                self.count(self.stream.sent_bytes().saturating_sub(taken).min(length));
                Err(RelayError::To(error))
            }
        }
    }

    fn count(&self, length: u64) {
        self.sent.set(self.sent.get() + length);
    }
}

/// Moves the rest of `body` to `to`, as it is. Returns how many bytes.
pub(super) async fn relay(body: &mut WireBody, to: &Sink<'_>) -> Result<u64, RelayError> {
    let mut moved = 0;
    while !body.is_ended() {
        let left = body.remaining().unwrap_or(u64::MAX);
        let is_bare = body.bare_stream().is_some();
        moved += if is_bare && left >= SPLICE_MIN && can_splice(body, to) && left != u64::MAX {
            splice(body, to, left).await?
        } else if is_bare && left >= LEASE_MIN {
            match runtime::lease() {
                Some(lease) => leased(body, to, lease).await?,
                None => piece(body, to).await?,
            }
        } else {
            piece(body, to).await?
        };
    }
    Ok(moved)
}

fn can_splice(body: &WireBody, to: &Sink<'_>) -> bool {
    body.bare_stream().is_some_and(Stream::can_splice) && to.stream.can_splice()
}

/// One ring buffer's bytes: a copy of them, for a receiver that takes its time must not hold the
/// buffer, and few bodies bring more than one or two.
async fn piece(body: &mut WireBody, to: &Sink<'_>) -> Result<u64, RelayError> {
    let Some(chunk) = body.next().await.map_err(RelayError::From)? else { return Ok(0) };
    let length = chunk.len() as u64;
    if let SendBuf::Vec(bytes) = to.send(chunk.detach().into_send()).await? {
        recycle::give_bytes(bytes);
    }
    Ok(length)
}

/// Many large pieces through one leased buffer.
async fn leased(
    body: &mut WireBody,
    to: &Sink<'_>,
    mut lease: runtime::Lease,
) -> Result<u64, RelayError> {
    let mut moved = 0;
    loop {
        let (received, back) = receive_lease(body, to, lease).await?;
        lease = back;
        if received.is_empty() {
            body.saw_eof().await.map_err(RelayError::From)?;
            return Ok(moved);
        }
        let length = received.len() as u64;
        let sending = SendBuf::Lease(lease, received);
        let back = to.send(sending).await;
        moved += length;
        body.moved(length);
        lease = match back? {
            SendBuf::Lease(lease, _) => lease,
            _ => return Ok(moved),
        };
        if body.is_ended() || body.remaining().is_some_and(|left| left < LEASE_MIN) {
            return Ok(moved);
        }
    }
}

async fn receive_lease(
    body: &WireBody,
    to: &Sink<'_>,
    lease: runtime::Lease,
) -> Result<(Range<usize>, runtime::Lease), RelayError> {
    let Some(stream) = body.stream() else { return Ok((0..0, lease)) };
    // Never past the body's end: what follows belongs to somebody else. A receive fills a lease
    // from an offset to its end, so the offset is what bounds it.
    let left = body.remaining().and_then(|left| usize::try_from(left).ok());
    let start = LEASE_SIZE - left.unwrap_or(LEASE_SIZE).min(LEASE_SIZE);
    let _waiting = body.await_sender();
    let began = runtime::now();
    let mut receive = pin!(stream.recv_lease(lease, start));
    loop {
        to.timer.set_after(body.wait_limit());
        let received = to.timer.guard(&mut receive).await;
        let waited = runtime::now().saturating_duration_since(began);
        match received {
            Ok((Ok(received), lease)) => {
                body.pace().note(waited, received as u64);
                return Ok((start..start + received, lease));
            }
            Ok((Err(error), _)) => return Err(RelayError::From(body.lost(error))),
            // An endpoint may have nothing to say before the request is whole.
            Err(Expired) if body.upload().is_some() => {}
            Err(Expired) => {
                body.pace().note(waited, 0);
                return Err(RelayError::From(body.stalled()));
            }
        }
    }
}

/// The whole rest, without entering user space.
async fn splice(body: &mut WireBody, to: &Sink<'_>, left: u64) -> Result<u64, RelayError> {
    let from = body.bare_stream().and_then(Stream::as_plain);
    let (Some(from), Some(sink)) = (from, to.stream.as_plain()) else { return Ok(0) };
    let watch = Watch { body, to, wait: Cell::new(None) };
    watch.begin(SpliceStep::AwaitsFrom);
    let result = {
        let mut splice = pin!(runtime::splice(from, sink, left, |step| watch.step(step)));
        loop {
            match to.timer.guard(&mut splice).await {
                // An endpoint may have nothing to say before the request is whole.
                Err(Expired) if body.upload().is_some() && !watch.awaits_to() => {
                    to.timer.set_after(body.wait_limit());
                }
                result => break result,
            }
        }
    };
    let awaits_to = watch.awaits_to();
    watch.end();
    drop(watch);
    match result {
        Ok(Ok(())) => {
            body.moved(left);
            Ok(left)
        }
        // Out of descriptors: the bytes go through user space.
        Ok(Err(SpliceError::NoPipe(_))) => piece(body, to).await,
        Ok(Err(SpliceError::Ended { .. })) => {
            body.saw_eof().await.map_err(RelayError::From)?;
            Ok(0)
        }
        Ok(Err(SpliceError::From { error, .. })) => Err(RelayError::From(body.lost(error))),
        Ok(Err(SpliceError::To { .. })) => Err(RelayError::To(SendError::Closed)),
        Err(Expired) if awaits_to && to.pace.is_over() => Err(RelayError::To(SendError::Slow)),
        Err(Expired) if awaits_to => Err(RelayError::To(SendError::Stalled)),
        Err(Expired) => Err(RelayError::From(body.stalled())),
    }
}

/// What a splice waits for. Whoever is waited for has its own limit, which begins anew when
/// something has moved.
struct Watch<'a> {
    body: &'a WireBody,
    to: &'a Sink<'a>,
    wait: Cell<Option<Wait<'a>>>,
}

/// For whom, since when.
struct Wait<'a> {
    step: SpliceStep,
    since: Instant,
    _mark: Option<Waiting<'a>>,
}

impl<'a> Watch<'a> {
    fn step(&self, step: SpliceStep) {
        if let SpliceStep::Moved(length) = step {
            self.end();
            self.to.count(length);
            self.body.pace().note(Duration::ZERO, length);
            self.to.pace.note(Duration::ZERO, length);
            return;
        }
        let wait = self.wait.take();
        let goes_on = wait.as_ref().is_some_and(|wait| wait.step == step);
        self.wait.set(wait);
        if !goes_on {
            self.end();
            self.begin(step);
        }
    }

    fn begin(&self, step: SpliceStep) {
        let (limit, mark) = match step {
            SpliceStep::AwaitsTo => {
                (self.to.pace.limit(self.to.limit), Some(Waiting::begin(self.to.awaits)))
            }
            _ => (self.body.wait_limit(), self.body.await_sender()),
        };
        self.to.timer.set_after(limit);
        self.wait.set(Some(Wait { step, since: runtime::now(), _mark: mark }));
    }

    /// The wait is over: its time is its side's.
    fn end(&self) {
        let Some(Wait { step, since, .. }) = self.wait.take() else { return };
        let waited = runtime::now().saturating_duration_since(since);
        let pace = if step == SpliceStep::AwaitsTo { &self.to.pace } else { self.body.pace() };
        pace.note(waited, 0);
    }

    fn awaits_to(&self) -> bool {
        let wait = self.wait.take();
        let awaits_to = wait.as_ref().is_some_and(|wait| wait.step == SpliceStep::AwaitsTo);
        self.wait.set(wait);
        awaits_to
    }
}

/// Below this a lease costs more than it saves.
const LEASE_MIN: u64 = 32 * 1024;
/// From here on a pipe's two system calls a piece are cheaper than two copies.
const SPLICE_MIN: u64 = 32 * 1024;
