//! A body on a connection, a request's or a response's: decoded as it arrives, one piece at a time.
//!
//! ```text
//!   connection ──▶ buffered ──▶ decoder ──▶ Chunk            (identity: the ring's own buffer;
//!                     │                                        chunked: the data of one buffer,
//!                     └─ behind the body's end: next request,  joined in a pooled vector)
//!                        or, from an upstream, a reason to close
//! ```
//!
//! At its end a body lets its connection go: a downstream's is free for the next request, an
//! upstream's returns to its pool, if the response allowed it, nothing followed the body, and the
//! request had been sent whole. A body dropped before its end closes an upstream's connection.

use std::{pin::pin, rc::Rc, task::Poll, time::Duration};

use super::{
    body::Chunk,
    connection::{Connection, ListenerRules},
    error::Error,
    pace::Pace,
    recycle,
    send::Waiting,
    upload::{Progress, Upload, beside},
};
use crate::{
    protocol::{
        h1::{BodyDecoder, BodyError},
        http::{Framing, Headers},
    },
    runtime::{self, Expired, Timer},
    transport::Stream,
    upstream::Lent,
};

/// A body that is still, at least in part, on a connection.
#[derive(Debug)]
pub(super) struct WireBody {
    side: Side,
    buffered: Option<Chunk>,
    decoder: BodyDecoder,
    is_identity: bool,
    /// Longest pause between two pieces.
    idle: Duration,
    /// The client's time, where it is the sender.
    pace: Pace,
    timer: Timer,
    /// Most body bytes taken from the connection, and how many were.
    limit: u64,
    received: u64,
    is_ended: bool,
}

#[derive(Debug)]
enum Side {
    Downstream(Rc<Connection>),
    Upstream(Option<UpstreamSide>),
}

/// An upstream connection while a response's body comes from it.
#[derive(Debug)]
pub(super) struct UpstreamSide {
    pub(super) lent: Lent,
    /// The response's head allows another request on this connection.
    pub(super) is_reusable: bool,
    /// The rest of the request's body; none when it went with the head.
    pub(super) upload: Option<Upload>,
}

impl UpstreamSide {
    /// Gives the connection back to its pool, or closes it.
    pub(super) fn release(self, is_clean: bool) {
        let is_sent = self.upload.is_none_or(|upload| upload.progress() == Progress::Done);
        if self.is_reusable && is_clean && is_sent {
            self.lent.give_back();
        }
    }
}

impl WireBody {
    /// The body of a request on `connection`.
    pub(super) fn of_request(
        connection: Rc<Connection>,
        framing: Framing,
        buffered: Option<Chunk>,
        listener: &ListenerRules,
    ) -> Self {
        connection.is_request_open.set(true);
        let buffered = buffered.map(Chunk::detach);
        let mut body =
            Self::new(Side::Downstream(connection), framing, buffered, listener.body_timeout);
        body.limit = listener.body_max;
        body.pace = Pace::new(listener.min_rate, listener.body_timeout);
        body
    }

    /// The body of a response from `side`.
    pub(super) fn of_response(
        side: UpstreamSide,
        framing: Framing,
        buffered: Option<Chunk>,
        idle: Duration,
    ) -> Self {
        Self::new(Side::Upstream(Some(side)), framing, buffered, idle)
    }

    fn new(side: Side, framing: Framing, buffered: Option<Chunk>, idle: Duration) -> Self {
        Self {
            side,
            buffered: buffered.filter(|chunk| !chunk.is_empty()),
            is_identity: !matches!(framing, Framing::Chunked),
            decoder: BodyDecoder::new(framing),
            idle,
            pace: Pace::off(),
            timer: Timer::new(),
            limit: u64::MAX,
            received: 0,
            is_ended: false,
        }
    }

    /// Bytes to come, when the message said so.
    pub(super) fn remaining(&self) -> Option<u64> {
        self.decoder.remaining()
    }

    /// Whether its connection's bytes are the body's bytes, without an encoding between.
    pub(super) fn is_identity(&self) -> bool {
        self.is_identity
    }

    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    pub(super) fn trailers(&self) -> Option<&Headers> {
        self.is_ended.then_some(&self.decoder.trailers).filter(|trailers| !trailers.is_empty())
    }

    /// The sender's time.
    pub(super) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// The longest wait for the next piece.
    pub(super) fn wait_limit(&self) -> Duration {
        self.pace.limit(self.idle)
    }

    /// Marks, for its life, that the client is waited for, if it is the sender.
    pub(super) fn await_sender(&self) -> Option<Waiting<'_>> {
        match &self.side {
            Side::Downstream(connection) => Some(connection.await_body()),
            Side::Upstream(_) => None,
        }
    }

    /// The rest of the request's body, if it is still on its way while this response's comes.
    pub(super) fn upload(&self) -> Option<&Upload> {
        match &self.side {
            Side::Upstream(Some(side)) => {
                side.upload.as_ref().filter(|upload| upload.progress() == Progress::Running)
            }
            _ => None,
        }
    }

    /// The connection's socket, when no received byte is waiting in user space.
    pub(super) fn bare_stream(&self) -> Option<&Stream> {
        (self.buffered.is_none() && !self.is_ended).then(|| self.stream()).flatten()
    }

    pub(super) fn stream(&self) -> Option<&Stream> {
        match &self.side {
            Side::Downstream(connection) => Some(&connection.stream),
            Side::Upstream(side) => side.as_ref().map(|side| &**side.lent.stream()),
        }
    }

    /// The next piece, `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        loop {
            if let Some(chunk) = self.next_buffered()? {
                return Ok(Some(chunk));
            }
            if self.is_ended {
                return Ok(None);
            }
            match self.receive().await? {
                chunk if chunk.is_empty() => self.saw_eof().await?,
                chunk => self.buffered = Some(chunk),
            }
        }
    }

    /// What can be had without waiting.
    pub(super) fn next_buffered(&mut self) -> Result<Option<Chunk>, Error> {
        if self.is_ended {
            return Ok(None);
        }
        if self.decoder.is_done() {
            // Announced as empty.
            let rest = self.buffered.take();
            self.end(rest);
            return Ok(None);
        }
        let Some(buffered) = self.buffered.take() else { return Ok(None) };
        if self.is_identity { self.split_identity(buffered) } else { self.decode(buffered) }
    }

    /// The whole buffer, or its front when the body ends inside it.
    fn split_identity(&mut self, mut buffer: Chunk) -> Result<Option<Chunk>, Error> {
        let decoded = self.decoder.decode(&buffer).map_err(|error| self.broken(error))?;
        let length = decoded.data.len();
        self.count(length as u64)?;
        let rest = copy_rest(&buffer, decoded.consumed);
        buffer.truncate(length);
        if decoded.done || self.decoder.is_done() {
            self.end(rest);
        }
        Ok(Some(buffer))
    }

    /// The data of every chunk in the buffer, joined.
    fn decode(&mut self, mut buffer: Chunk) -> Result<Option<Chunk>, Error> {
        let mut data = recycle::take_bytes();
        loop {
            let decoded = self.decoder.decode(&buffer).map_err(|error| self.broken(error))?;
            data.extend_from_slice(buffer.get(decoded.data.clone()).unwrap_or_default());
            buffer.advance(decoded.consumed);
            if decoded.done {
                self.count(data.len() as u64)?;
                let rest = copy_rest(&buffer, 0);
                self.end(rest);
                break;
            }
            if decoded.consumed == 0 {
                debug_assert!(buffer.is_empty(), "the decoder takes every byte it is given");
                self.count(data.len() as u64)?;
                break;
            }
        }
        if data.is_empty() {
            recycle::give_bytes(data);
            return Ok(None);
        }
        Ok(Some(data.into()))
    }

    fn count(&mut self, length: u64) -> Result<(), Error> {
        self.received += length;
        if self.received > self.limit {
            return Err(Error::BodyTooLarge { limit: self.limit });
        }
        Ok(())
    }

    async fn receive(&self) -> Result<Chunk, Error> {
        match &self.side {
            Side::Downstream(connection) => self.receive_from_client(connection).await,
            Side::Upstream(Some(side)) => self.receive_from_upstream(side).await,
            Side::Upstream(None) => Err(Error::UpstreamClosed(None)),
        }
    }

    async fn receive_from_client(&self, connection: &Connection) -> Result<Chunk, Error> {
        // Whoever reads first is who wants the body.
        connection.invite(self.idle).await?;
        let _waiting = connection.await_body();
        let began = runtime::now();
        self.timer.set_after(self.wait_limit());
        let received = self.timer.guard(connection.receive()).await;
        let waited = runtime::now().saturating_duration_since(began);
        match received {
            Ok(Ok(chunk)) => {
                self.pace.note(waited, chunk.len() as u64);
                Ok(chunk)
            }
            Ok(Err(error)) => Err(self.lost(error)),
            Err(Expired) => {
                self.pace.note(waited, 0);
                Err(self.stalled())
            }
        }
    }

    async fn receive_from_upstream(&self, side: &UpstreamSide) -> Result<Chunk, Error> {
        let mut receive = pin!(side.lent.stream().recv());
        loop {
            self.timer.set_after(self.idle);
            let receive = &mut receive;
            let received = self.timer.guard(beside(side.upload.as_ref(), receive)).await;
            match received {
                Ok(Ok(Ok(chunk))) => return Ok(chunk.into()),
                Ok(Ok(Err(error))) => return Err(self.lost(error)),
                Ok(Err(error)) => return Err(error),
                // It may have nothing to say before the request is whole; the upload has limits
                // of its own.
                Err(Expired) if self.upload().is_some() => {}
                Err(Expired) => return Err(self.stalled()),
            }
        }
    }

    /// The relay moved `length` bytes of the body itself.
    pub(super) fn moved(&mut self, length: u64) {
        self.decoder.skip(length);
        self.received += length;
        if let Side::Downstream(connection) = &self.side {
            connection.received.set(connection.received.get() + length);
        }
        if self.decoder.is_done() {
            self.end(None);
        }
    }

    /// The connection has ended: well, if the body is delimited by that.
    ///
    /// A reset is told once. When the upload was told of it, a receive sees a plain end, so that a
    /// body that broke off looks whole: as long as something is being sent, its outcome decides.
    pub(super) async fn saw_eof(&mut self) -> Result<(), Error> {
        self.decoder.on_eof().map_err(|error| self.broken(error))?;
        if let Side::Upstream(Some(side)) = &mut self.side {
            side.is_reusable = false;
            if let Some(upload) = side.upload.take() {
                ended(&upload).await?;
                if upload.progress() == Progress::Failed {
                    return Err(self.broken(BodyError::Truncated));
                }
            }
        }
        self.end(None);
        Ok(())
    }

    /// The body is over; `rest` follows it.
    fn end(&mut self, rest: Option<Chunk>) {
        self.is_ended = true;
        match &mut self.side {
            Side::Downstream(connection) => connection.end_request(rest),
            Side::Upstream(side) => {
                if let Some(side) = side.take() {
                    side.release(rest.is_none());
                }
            }
        }
    }

    fn broken(&self, error: BodyError) -> Error {
        match self.side {
            Side::Downstream(_) => Error::BadRequestBody(error),
            Side::Upstream(_) => Error::BadResponseBody(error),
        }
    }

    pub(super) fn lost(&self, error: std::io::Error) -> Error {
        match self.side {
            Side::Downstream(_) => Error::ClientClosed,
            Side::Upstream(_) => Error::UpstreamClosed(Some(error)),
        }
    }

    pub(super) fn stalled(&self) -> Error {
        match self.side {
            Side::Downstream(_) if self.pace.is_over() => {
                Error::ClientTooSlow { phase: "sending the request body" }
            }
            Side::Downstream(_) => Error::ClientTimeout { phase: "sending the request body" },
            Side::Upstream(_) => Error::UpstreamTimeout { phase: "sending the response body" },
        }
    }
}

/// Waits for an upload's end. It has timeouts of its own.
async fn ended(upload: &Upload) -> Result<(), Error> {
    std::future::poll_fn(|cx| {
        if let Err(error) = upload.poll(cx) {
            return Poll::Ready(Err(error));
        }
        match upload.progress() {
            Progress::Running => Poll::Pending,
            Progress::Done | Progress::Failed => Poll::Ready(Ok(())),
        }
    })
    .await
}

/// What follows `from` in `buffer`, in memory of its own.
pub(super) fn copy_rest(buffer: &[u8], from: usize) -> Option<Chunk> {
    let rest = buffer.get(from..).filter(|rest| !rest.is_empty())?;
    let mut copy = recycle::take_bytes();
    copy.extend_from_slice(rest);
    Some(copy.into())
}
