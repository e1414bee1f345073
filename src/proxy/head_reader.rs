//! Reads a response's head from an upstream connection, interim responses included.

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{body::Chunk, error::Error, recycle, recycle::Pooled, request::Request};
use crate::{
    protocol::{
        h1::{self, HeadLimits, Parsed},
        http::{self, ResponseError, ResponseHead, Status},
    },
    runtime::{self, Timer},
    transport::Recv,
    upstream::Lent,
};

/// Why no head could be read.
#[derive(Debug)]
pub(super) enum HeadFailure {
    /// The connection ended; `any`: after some bytes of a response.
    Closed { any: bool, source: Option<io::Error> },
    /// The deadline passed.
    Timeout { any: bool },
    /// What came isn't a response.
    Malformed(ResponseError),
    /// Too many interim responses.
    InterimFlood,
    /// An interim response could not be passed on.
    Client(Error),
}

/// What ended a [`HeadReader::read_step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The final head.
    Final,
    /// `100 Continue`.
    Continue,
    /// Nothing came while there was patience.
    Silence,
}

/// A response head while it is being read.
#[derive(Debug)]
pub(super) struct HeadReader<'t> {
    head: Pooled<ResponseHead>,
    /// Received and not yet understood.
    buffered: Option<Chunk>,
    /// A receive that a dropped step left behind: it may have bytes already.
    armed: Option<Recv>,
    timer: &'t Timer,
    limits: HeadLimits,
    any: bool,
    is_final: bool,
    interim: u32,
}

impl<'t> HeadReader<'t> {
    pub(super) fn new(timer: &'t Timer) -> Self {
        Self {
            head: Pooled::take(),
            buffered: None,
            armed: None,
            timer,
            limits: HeadLimits { bytes: RESPONSE_HEAD_BYTES_MAX, ..HeadLimits::default() },
            any: false,
            is_final: false,
            interim: 0,
        }
    }

    pub(super) fn set_deadline(&self, first_byte: Duration, total: Option<Instant>) {
        limit(self.timer, first_byte, total);
    }

    /// Reads up to the final head; passes interim responses on to the client.
    pub(super) async fn read(&mut self, lent: &Lent, req: &Request) -> Result<(), HeadFailure> {
        while !self.is_final {
            self.read_step(lent, req, None).await?;
        }
        Ok(())
    }

    /// Reads up to the final head or the next `100 Continue`, or until `patience` is over. That ends
    /// a wait for bytes only: an interim response that is being passed on is passed on whole.
    ///
    /// *Cancel safety*: the receive stays armed and is taken up by the next step; an interim
    /// response may be cut.
    pub(super) async fn read_step(
        &mut self,
        lent: &Lent,
        req: &Request,
        patience: Option<&Timer>,
    ) -> Result<Step, HeadFailure> {
        loop {
            if self.parse()? {
                let status = self.head.status;
                if !status.is_informational() || status == Status::SWITCHING_PROTOCOLS {
                    self.is_final = true;
                    return Ok(Step::Final);
                }
                self.interim += 1;
                if self.interim > INTERIM_MAX {
                    return Err(HeadFailure::InterimFlood);
                }
                if status == Status::CONTINUE {
                    self.head.clear();
                    return Ok(Step::Continue);
                }
                self.pass_on(req).await?;
                self.head.clear();
                continue;
            }
            let patient = poll_fn(|cx| match self.poll_receive(lent, cx) {
                Poll::Ready(received) => Poll::Ready(Some(received)),
                Poll::Pending => patience
                    .map_or(Poll::Pending, |patience| patience.poll_expired(cx).map(|()| None)),
            });
            match patient.await {
                Some(received) => received?,
                None => return Ok(Step::Silence),
            }
        }
    }

    /// Whether a whole head is in `head`.
    fn parse(&mut self) -> Result<bool, HeadFailure> {
        let Some(buffered) = &mut self.buffered else { return Ok(false) };
        match h1::parse_response(buffered, &self.limits, &mut self.head) {
            Ok(Parsed::Complete { consumed }) => {
                buffered.advance(consumed);
                if buffered.is_empty() {
                    self.buffered = None;
                }
                Ok(true)
            }
            Ok(Parsed::Incomplete) => Ok(false),
            Err(error) => Err(HeadFailure::Malformed(error)),
        }
    }

    /// More bytes into `buffered`.
    fn poll_receive(&mut self, lent: &Lent, cx: &mut Context<'_>) -> Poll<Result<(), HeadFailure>> {
        let any = self.any;
        let Poll::Ready(received) =
            Pin::new(self.armed.get_or_insert_with(|| lent.recv())).poll(cx)
        else {
            return self.timer.poll_expired(cx).map(|()| Err(HeadFailure::Timeout { any }));
        };
        self.armed = None;
        let received = match received {
            Ok(received) if !received.is_empty() => received,
            Ok(_) => return Poll::Ready(Err(HeadFailure::Closed { any, source: None })),
            Err(source) => {
                return Poll::Ready(Err(HeadFailure::Closed { any, source: Some(source) }));
            }
        };
        self.any = true;
        self.buffered = Some(match self.buffered.take() {
            None => Chunk::from(received),
            Some(before) => join(&before, &received),
        });
        Poll::Ready(Ok(()))
    }

    /// Sends an interim response to a client that can understand it (RFC 9110 §15.2).
    async fn pass_on(&mut self, req: &Request) -> Result<(), HeadFailure> {
        http::strip_response_hops(&mut self.head.headers);
        let arrival = &req.arrival;
        let sent = arrival.downstream.interim(&self.head, req.version, &arrival.listener).await;
        sent.map_err(HeadFailure::Client)
    }

    /// The head, and what was received behind it.
    pub(super) fn into_parts(self) -> (Pooled<ResponseHead>, Option<Chunk>) {
        (self.head, self.buffered)
    }
}

/// Bounds the wait for a head by `first_byte` from now, and by the whole exchange's deadline.
pub(super) fn limit(timer: &Timer, first_byte: Duration, total: Option<Instant>) {
    match total {
        None => timer.set_after(first_byte),
        Some(total) => timer.set(total.min(runtime::now() + first_byte)),
    }
}

/// Bounds it by the whole exchange's deadline only.
pub(super) fn suspend(timer: &Timer, total: Option<Instant>) {
    match total {
        None => timer.clear(),
        Some(total) => timer.set(total),
    }
}

fn join(before: &[u8], after: &[u8]) -> Chunk {
    let mut joined = recycle::take_bytes();
    joined.extend_from_slice(before);
    joined.extend_from_slice(after);
    joined.into()
}

/// Largest response head; above it the upstream gets a 502.
const RESPONSE_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Interim responses before a final one; above it the upstream is taken for broken.
pub(super) const INTERIM_MAX: u32 = 32;
