//! A request as it goes to an endpoint: its encoded head with a body that is here already, and the
//! rest of a body that isn't.

use std::{cell::Cell, rc::Rc, time::Duration};

use super::{
    body::{Body, Kind},
    error::Error,
    forward::Failure,
    head_reader::{HeadReader, Step},
    pace::Pace,
    recycle,
    relay::{RelayError, Sink, relay},
    request::{Arrival, Request},
    send::{SendError, send_within},
    upload::{Upload, UploadEnd},
};
use crate::{
    protocol::{h1, http::Framing},
    runtime::{PooledFuture, SendBuf, Timer},
    transport::Stream,
    upstream::Lent,
};

/// The bytes of a request.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// The head, and the body when it is here whole. Empty while it is being sent, and after it
    /// was lost in a failed send.
    bytes: Vec<u8>,
    head_bytes: usize,
    /// The body that is to be streamed behind it.
    body: Option<Body>,
    framing: Framing,
    is_streamed: bool,
    /// This attempt's endpoint takes no body.
    is_given_up: bool,
}

impl Outgoing {
    /// Encodes `req`; takes its body.
    pub(super) fn new(req: &mut Request) -> Self {
        let mut body = req.body.take();
        let framing = match &body.kind {
            Kind::Empty | Kind::Tunnel(_) => Framing::None,
            _ => body.remaining().map_or(Framing::Chunked, Framing::Length),
        };
        let mut bytes = recycle::take_bytes();
        h1::encode_request(req.head(), framing, &mut bytes);
        let head_bytes = bytes.len();
        let is_whole = match &body.kind {
            Kind::Whole(chunk) if chunk.len() <= JOINED_MAX => {
                bytes.extend_from_slice(chunk);
                true
            }
            Kind::Empty | Kind::Tunnel(_) => true,
            _ => false,
        };
        let body = (!is_whole).then(|| body.take());
        Self { bytes, head_bytes, body, framing, is_streamed: false, is_given_up: false }
    }

    /// The request's body back, of which nothing was sent.
    pub(super) fn take_body(&mut self) -> Body {
        match self.body.take() {
            Some(body) => body,
            None if self.framing == Framing::None => Body::empty(),
            None => {
                let mut whole = recycle::take_bytes();
                whole.extend_from_slice(self.bytes.get(self.head_bytes..).unwrap_or_default());
                Kind::Whole(whole.into()).into()
            }
        }
    }

    /// Whether it can be sent once more.
    pub(super) fn is_repeatable(&self) -> bool {
        !self.bytes.is_empty() && !self.is_streamed
    }

    /// Whether a body is to be streamed behind what [`Outgoing::send`] sends.
    pub(super) fn has_upload(&self) -> bool {
        self.body.is_some() && !self.is_streamed && !self.is_given_up
    }

    /// Whether a part of it was never sent: the endpoint still waits for it, so its connection is
    /// good for nothing else.
    pub(super) fn is_withheld(&self) -> bool {
        self.body.is_some()
    }

    /// The endpoint takes no more: don't begin to stream. The body stays whole for another attempt.
    pub(super) fn give_up_upload(&mut self) {
        self.is_given_up = true;
    }

    /// Sends the head, and with it a body that is here.
    pub(super) async fn send(
        &mut self,
        lent: &Lent,
        timer: &Timer,
        limit: Duration,
    ) -> Result<(), SendError> {
        self.is_given_up = false;
        let bytes = SendBuf::Vec(std::mem::take(&mut self.bytes));
        match send_within(lent.stream(), bytes, timer, limit, Pace::off()).await {
            Ok(SendBuf::Vec(bytes)) => {
                self.bytes = bytes;
                Ok(())
            }
            Ok(_) => Ok(()),
            Err((error, bytes)) => {
                if let Some(SendBuf::Vec(bytes)) = bytes {
                    self.bytes = bytes;
                }
                Err(error)
            }
        }
    }

    /// Starts to stream the body, if there is one. A client that waits for `100 Continue` gets it
    /// when the upstream says so, or when it says nothing for a while (RFC 9110 §10.1.1).
    pub(super) async fn upload(
        &mut self,
        req: &Request,
        lent: &Lent,
        reader: &mut HeadReader<'_>,
        idle: Duration,
    ) -> Result<Option<Upload>, Failure> {
        let Arrival { downstream, listener, .. } = &req.arrival;
        if downstream.wants_continue() {
            let patience = Timer::new();
            patience.set_after(CONTINUE_WAIT);
            match reader.read_step(lent, req, Some(&patience)).await {
                Ok(Step::Final) | Err(_) => return Ok(None),
                Ok(Step::Continue | Step::Silence) => {}
            }
            downstream.go_on(listener).await.map_err(Failure::final_)?;
        }
        let Some(body) = self.body.take() else { return Ok(None) };
        self.is_streamed = true;
        let stream = Rc::clone(lent.stream());
        let pump = pump(body, stream, self.framing, idle);
        Ok(Some(Upload::new(PooledFuture::new(pump))))
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        recycle::give_bytes(std::mem::take(&mut self.bytes));
    }
}

/// Streams `body` to `to`.
async fn pump(body: Body, to: Rc<Stream>, framing: Framing, idle: Duration) -> UploadEnd {
    let (timer, awaits, sent) = (Timer::new(), Cell::new(false), Cell::new(0));
    let sink = Sink {
        stream: &to,
        timer: &timer,
        limit: idle,
        pace: Pace::off(),
        awaits: &awaits,
        sent: &sent,
    };
    match stream_body(body, &sink, framing).await {
        Ok(_) => UploadEnd::Done,
        Err(RelayError::From(error)) => UploadEnd::Failed(error),
        Err(RelayError::To(_)) => UploadEnd::Refused,
    }
}

/// Sends the whole of `body` to `sink` in `framing`.
pub(super) async fn stream_body(
    mut body: Body,
    sink: &Sink<'_>,
    framing: Framing,
) -> Result<u64, RelayError> {
    let is_chunked = matches!(framing, Framing::Chunked);
    if !is_chunked
        && let Kind::Wire(wire) = &mut body.kind
        && wire.is_identity()
    {
        return relay(wire, sink).await;
    }
    let mut moved = 0;
    let mut left = body.remaining();
    while let Some(chunk) = body.next().await.map_err(RelayError::From)? {
        if chunk.is_empty() {
            continue;
        }
        moved += chunk.len() as u64;
        let buf = if is_chunked {
            let mut bytes = recycle::take_bytes();
            encode_chunk(&chunk, &mut bytes);
            SendBuf::Vec(bytes)
        } else {
            let length = chunk.len() as u64;
            left = match left.map(|left| left.checked_sub(length)) {
                Some(None) => return Err(RelayError::From(wrong_length())),
                Some(left) => left,
                None => None,
            };
            chunk.into_send()
        };
        if let SendBuf::Vec(bytes) = sink.send(buf).await? {
            recycle::give_bytes(bytes);
        }
    }
    if !is_chunked {
        return if left.unwrap_or(0) == 0 {
            Ok(moved)
        } else {
            Err(RelayError::From(wrong_length()))
        };
    }
    let mut bytes = recycle::take_bytes();
    h1::encode_last_chunk(body.trailers(), &mut bytes);
    sink.send(SendBuf::Vec(bytes)).await.map(|_| moved)
}

/// Writes `data` as one chunk.
pub(super) fn encode_chunk(data: &[u8], out: &mut Vec<u8>) {
    h1::encode_chunk_head(data.len() as u64, out);
    out.extend_from_slice(data);
    h1::encode_chunk_end(out);
}

pub(super) fn wrong_length() -> Error {
    Error::Internal("a body stream broke its announced length".to_owned())
}

/// A body up to this size goes out with its head in one send, and may be repeated.
const JOINED_MAX: usize = 16 * 1024;
/// How long an upstream may stay silent before the client is told to go on.
pub(super) const CONTINUE_WAIT: Duration = Duration::from_secs(1);
