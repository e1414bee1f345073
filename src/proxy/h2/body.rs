//! A body that comes on a stream, a request's or a response's.
//!
//! Chunks are taken one by one as they are wanted; what is not taken keeps its credit, and so stops
//! the sender. A body that is dropped early tells the sender so: a response's resets its stream, a
//! request's is discarded and left to the end of the exchange.

use std::{rc::Rc, time::Duration};

use super::stream::{Gone, Handle, Stream};
use crate::{
    base::units::ByteRate,
    protocol::{
        h1::BodyError,
        h2::{ErrorCode, ResetCause, Violation},
        http::{Framing, Headers},
    },
    proxy::{
        Error,
        body::Chunk,
        downstream::go_on,
        pace::Pace,
        send::Waiting,
        upload::{Progress, Upload, beside},
    },
    runtime::{self, Expired},
    upstream::InFlight,
};

/// A body on a stream.
#[derive(Debug)]
pub(in crate::proxy) struct H2Body {
    source: Source,
    /// What its head announced.
    remaining: Option<u64>,
    /// Most bytes of it, and how many came.
    limit: u64,
    received: u64,
    /// Longest pause between two pieces.
    idle: Duration,
    /// The client's time, where it is the sender.
    pace: Pace,
    /// The rest of the request's body, still on its way while this response's comes.
    upload: Option<Upload>,
    trailers: Option<Headers>,
    is_ended: bool,
}

/// Whose body it is.
#[derive(Debug)]
pub(in crate::proxy) enum Source {
    /// A client's request.
    Request(Rc<Stream>),
    /// An endpoint's response; the stream is the body's.
    Response {
        /// The stream.
        handle: Handle,
        /// Counts the request until its body has come.
        _in_flight: InFlight,
    },
}

impl Source {
    fn stream(&self) -> &Rc<Stream> {
        match self {
            Self::Request(stream) => stream,
            Self::Response { handle, .. } => handle,
        }
    }
}

impl H2Body {
    pub(in crate::proxy) fn new(
        source: Source,
        framing: Framing,
        limit: u64,
        idle: Duration,
    ) -> Self {
        let remaining = match framing {
            Framing::Length(length) => Some(length),
            Framing::None | Framing::Described(_) => Some(0),
            Framing::Chunked | Framing::UntilClose => None,
        };
        Self {
            source,
            remaining,
            limit,
            received: 0,
            idle,
            pace: Pace::off(),
            upload: None,
            trailers: None,
            is_ended: false,
        }
    }

    /// The client must send it at `rate`.
    pub(in crate::proxy) fn paced(mut self, rate: Option<ByteRate>) -> Self {
        self.pace = Pace::new(rate, self.idle);
        self
    }

    /// Whoever reads it drives `upload` on, too.
    pub(in crate::proxy) fn beside(mut self, upload: Option<&Upload>) -> Self {
        self.upload = upload.cloned();
        self
    }

    /// The rest of the request's body, if it is still on its way.
    pub(in crate::proxy) fn upload(&self) -> Option<&Upload> {
        self.upload.as_ref().filter(|upload| upload.progress() == Progress::Running)
    }

    /// Bytes to come, when the head said so.
    pub(in crate::proxy) fn remaining(&self) -> Option<u64> {
        self.remaining
    }

    /// Whether all of it has been taken; trailers may be there.
    pub(in crate::proxy) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Whether nothing is to come, no trailers either.
    pub(in crate::proxy) fn is_over(&self) -> bool {
        self.is_ended && self.trailers.is_none()
    }

    pub(in crate::proxy) fn trailers(&self) -> Option<&Headers> {
        self.trailers.as_ref()
    }

    /// What can be had without waiting.
    pub(in crate::proxy) fn next_buffered(&mut self) -> Result<Option<Chunk>, Error> {
        let stream = self.source.stream();
        if let Some(gone) = stream.is_cut() {
            return Err(self.broken(gone));
        }
        let chunk = stream.take_chunk();
        if stream.is_drained() && !self.is_ended {
            self.is_ended = true;
            self.trailers = stream.take_trailers().filter(|trailers| !trailers.is_empty());
        }
        let Some(chunk) = chunk else { return Ok(None) };
        let length = chunk.len() as u64;
        self.received += length;
        // That the announced length is kept is the codec's business.
        self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(length));
        if self.received > self.limit {
            return Err(Error::BodyTooLarge { limit: self.limit });
        }
        Ok(Some(chunk))
    }

    /// All of it, if it is here in one piece and has no trailers.
    pub(in crate::proxy) fn take_whole(&mut self) -> Result<Option<Chunk>, Error> {
        if !self.source.stream().is_one_piece() {
            return Ok(None);
        }
        let chunk = self.next_buffered()?;
        Ok(Some(chunk.unwrap_or_else(|| Chunk::from(""))))
    }

    /// The next piece, `None` at the end. Cancel safe: nothing is lost.
    pub(in crate::proxy) async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        loop {
            if let Some(chunk) = self.next_buffered()? {
                return Ok(Some(chunk));
            }
            if self.is_ended {
                return Ok(None);
            }
            match &self.source {
                Source::Request(stream) => self.await_client(stream).await?,
                Source::Response { handle, .. } => self.await_upstream(handle).await?,
            }
        }
    }

    async fn await_client(&self, stream: &Stream) -> Result<(), Error> {
        // Whoever reads first is who wants the body.
        if stream.wants_continue.replace(false) {
            go_on(stream)?;
        }
        let _waiting = Waiting::begin(&stream.awaits_body);
        let (began, before) = (runtime::now(), stream.received.get());
        stream.timer.set_after(self.pace.limit(self.idle));
        let result = stream.timer.guard(stream.until_readable()).await;
        let moved = stream.received.get().saturating_sub(before);
        self.pace.note(runtime::now().saturating_duration_since(began), moved);
        result.map_err(|Expired| self.stalled())
    }

    async fn await_upstream(&self, stream: &Stream) -> Result<(), Error> {
        loop {
            stream.timer.set_after(self.idle);
            let readable = beside(self.upload.as_ref(), stream.until_readable());
            match stream.timer.guard(readable).await {
                Ok(result) => return result.map(drop),
                // It may have nothing to say before the request is whole; the upload has limits
                // of its own.
                Err(Expired) if self.upload().is_some() => {}
                Err(Expired) => return Err(self.stalled()),
            }
        }
    }

    fn broken(&self, gone: Gone) -> Error {
        match (&self.source, gone) {
            (_, Gone::Reset(_, ResetCause::Violation(Violation::ContentLength))) => {
                self.malformed(BodyError::Truncated)
            }
            (Source::Request(_), _) => Error::ClientClosed,
            (Source::Response { .. }, Gone::Reset(code, _)) => Error::UpstreamReset { code },
            (Source::Response { .. }, Gone::Lost) => Error::UpstreamClosed(None),
        }
    }

    fn malformed(&self, error: BodyError) -> Error {
        match self.source {
            Source::Request(_) => Error::BadRequestBody(error),
            Source::Response { .. } => Error::BadResponseBody(error),
        }
    }

    fn stalled(&self) -> Error {
        match &self.source {
            Source::Request(_) if self.pace.is_over() => {
                Error::ClientTooSlow { phase: "sending the request body" }
            }
            Source::Request(_) => Error::ClientTimeout { phase: "sending the request body" },
            Source::Response { handle, .. } => {
                handle.blame(ErrorCode::Cancel);
                Error::UpstreamTimeout { phase: "sending the response body" }
            }
        }
    }
}

impl Drop for H2Body {
    fn drop(&mut self) {
        if let Source::Request(stream) = &self.source
            && !self.is_ended
        {
            stream.discard();
        }
    }
}
