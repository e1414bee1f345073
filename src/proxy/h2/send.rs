//! A body on its way out on a stream: chunks as DATA, trailers, the end.

use super::stream::{Stream, WriteError};
use crate::{
    protocol::{h2::EndStream, http::Framing},
    proxy::{
        Body, Error,
        body::{Chunk, Kind},
        outgoing::wrong_length,
        pace::Pace,
    },
};
use std::time::Duration;

/// Why a body was not sent whole.
#[derive(Debug)]
pub(in crate::proxy) enum BodyFailure {
    /// Its sender failed.
    From(Error),
    /// Its receiver failed.
    To(WriteError),
}

/// Sends the whole of `body` on `stream`, `chunk` before it. The receiver must make room within
/// `limit`, again and again, and as fast as `pace` asks. The last DATA carries the end wherever that is known in time.
pub(in crate::proxy) async fn send_body(
    stream: &Stream,
    mut body: Body,
    mut chunk: Option<Chunk>,
    framing: Framing,
    (limit, pace): (Duration, &Pace),
) -> Result<(), BodyFailure> {
    let mut left = match framing {
        Framing::Length(length) => Some(length),
        _ => None,
    };
    loop {
        let next = match chunk.take() {
            Some(chunk) => Some(chunk),
            None => body.next().await.map_err(BodyFailure::From)?,
        };
        let Some(next) = next else { break };
        if let Some(left) = &mut left {
            let rest = left.checked_sub(next.len() as u64);
            *left = rest.ok_or_else(|| BodyFailure::From(wrong_length()))?;
        }
        let is_last = is_over(&body) && left.unwrap_or(0) == 0;
        let end = EndStream::when(is_last);
        stream.send_data(&next, end, limit, pace).await.map_err(BodyFailure::To)?;
        if is_last {
            return Ok(());
        }
    }
    if left.unwrap_or(0) > 0 {
        return Err(BodyFailure::From(wrong_length()));
    }
    match body.trailers() {
        Some(trailers) => stream.send_trailers(trailers),
        None => stream.send_data(&[], EndStream::Yes, limit, pace).await,
    }
    .map_err(BodyFailure::To)
}

/// A first chunk that is here already.
pub(in crate::proxy) fn next_buffered(body: &mut Body) -> Result<Option<Chunk>, Error> {
    match &mut body.kind {
        Kind::Wire(wire) => wire.next_buffered(),
        Kind::H2(body) => body.next_buffered(),
        _ => Ok(None),
    }
}

/// Whether neither a chunk nor trailers are to come; false may mean that it isn't known.
pub(in crate::proxy) fn is_over(body: &Body) -> bool {
    match &body.kind {
        Kind::Empty => true,
        Kind::Wire(wire) => wire.is_ended() && wire.trailers().is_none(),
        Kind::H2(body) => body.is_over(),
        Kind::Whole(_) | Kind::Stream(_) | Kind::Tunnel(_) => false,
    }
}
