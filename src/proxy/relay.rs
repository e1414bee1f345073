//! Moves the rest of a body from one connection to another, in the cheapest way its size allows.
//!
//! ```text
//!   left             way
//!   < LEASE_MIN      ring buffers, one receive and one send a piece
//!   ≥ SPLICE_MIN     splice(2) through a pipe: no byte enters user space
//!   ≥ LEASE_MIN      where splice can't be (unknown length, the simulation): a 256 KiB lease, few
//!                    large receives and sends, hot in the cache
//! ```
//!
//! Only bodies without an encoding come here, and only when no filter wants to see them. There is
//! one receive or one send in flight, never both, so memory is one buffer a direction, and a slow
//! receiver stops the sender.

use std::{cell::Cell, ops::Range, time::Duration};

use super::{
    connection::{SendError, send_within},
    error::Error,
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

/// One ring buffer.
async fn piece(body: &mut WireBody, to: &Sink<'_>) -> Result<u64, RelayError> {
    let Some(chunk) = body.next().await.map_err(RelayError::From)? else { return Ok(0) };
    let length = chunk.len() as u64;
    send_within(to.stream, chunk.into_send(), to.timer, to.limit)
        .await
        .map_err(|(error, _)| RelayError::To(error))?;
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
        let back = send_within(to.stream, sending, to.timer, to.limit).await;
        moved += length;
        body.moved(length);
        lease = match back.map_err(|(error, _)| RelayError::To(error))? {
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
    to.timer.set_after(body.idle());
    match to.timer.guard(stream.recv_lease(lease, start)).await {
        Ok((Ok(received), lease)) => Ok((start..start + received, lease)),
        Ok((Err(error), _)) => Err(RelayError::From(body.lost(error))),
        Err(Expired) => Err(RelayError::From(body.stalled())),
    }
}

/// The whole rest, without entering user space.
async fn splice(body: &mut WireBody, to: &Sink<'_>, left: u64) -> Result<u64, RelayError> {
    let idle = body.idle();
    let from = body.bare_stream().and_then(Stream::as_plain);
    let (Some(from), Some(sink)) = (from, to.stream.as_plain()) else { return Ok(0) };
    // Whoever is waited for has its own limit, which begins anew when something has moved.
    let waits_for = Cell::new(None);
    let watch = |step| match step {
        SpliceStep::Moved(_) => waits_for.set(None),
        wait if waits_for.get() == Some(wait) => {}
        wait => {
            waits_for.set(Some(wait));
            to.timer.set_after(if wait == SpliceStep::AwaitsTo { to.limit } else { idle });
        }
    };
    to.timer.set_after(idle);
    let result = to.timer.guard(runtime::splice(from, sink, left, watch)).await;
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
        Err(Expired) if waits_for.get() == Some(SpliceStep::AwaitsTo) => {
            Err(RelayError::To(SendError::Stalled))
        }
        Err(Expired) => Err(RelayError::From(body.stalled())),
    }
}

/// Below this a lease costs more than it saves.
const LEASE_MIN: u64 = 32 * 1024;
/// From here on a pipe's two system calls a piece are cheaper than two copies.
const SPLICE_MIN: u64 = 32 * 1024;
