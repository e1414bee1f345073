//! Writes a response to a stream of an HTTP/2 client: head, DATA, trailers, and the end.
//!
//! Everything goes through the session's output, where a turn's frames are gathered into one send.
//! The last DATA carries the end wherever that is known in time. A body that breaks off is never
//! ended: the stream is reset, so that the client sees that it is not whole.

use std::rc::Rc;

use super::write::framing;
use crate::{
    protocol::{
        h2::{EndStream, ErrorCode},
        http::{Framing, Method},
    },
    proxy::{
        Body, Error, Request, Response,
        body::Kind,
        h2::{BodyFailure, Handle, Stream, WriteError, is_over, next_buffered, send_body},
        pace::Pace,
        tunnel::Tunnel,
        websocket,
    },
    runtime::PooledFuture,
};

/// Writes `response`; `status` is set once its head is in the output.
pub(super) async fn response(
    stream: &Handle,
    req: &Request,
    mut response: Response,
    status: &mut u16,
) -> Result<(), Error> {
    if let Some(tunnel) = response.body.take_tunnel() {
        return PooledFuture::new(self::tunnel(stream, req, response, tunnel, status)).await;
    }
    if req.arrival.upgrade.is_some() && response.status.class() == 2 {
        return Err(Error::NotSwitched);
    }
    let framing = framing(req, &response);
    let has_no_body =
        req.method == Method::Head || matches!(framing, Framing::None | Framing::Described(_));
    if has_no_body {
        response.body = Body::empty();
        return head(stream, req, &response, framing, EndStream::Yes, status);
    }
    if matches!(response.body.kind, Kind::Empty) {
        // Only a length that was announced is told: gRPC's trailers-only responses have none. That
        // of a body which a filter has taken away is no longer one.
        let announced = response.announced_length.filter(|length| *length == 0);
        let length = announced.map_or(Framing::None, Framing::Length);
        return head(stream, req, &response, length, EndStream::Yes, status);
    }
    // What is malformed from its beginning can still become an error page.
    let first = next_buffered(&mut response.body)?;
    let end = EndStream::when(first.is_none() && is_over(&response.body));
    head(stream, req, &response, framing, end, status)?;
    if end == EndStream::Yes {
        return Ok(());
    }
    let listener = &req.arrival.listener;
    let limit = listener.write_timeout;
    let pace = Pace::new(listener.min_rate, limit);
    match send_body(stream, response.body, first, framing, (limit, &pace)).await {
        Ok(()) => Ok(()),
        Err(BodyFailure::From(error)) => Err(error),
        Err(BodyFailure::To(error)) => Err(failure(error)),
    }
}

/// Tells the client that its tunnel is open, and runs it (RFC 8441 §5).
async fn tunnel(
    stream: &Handle,
    req: &Request,
    mut response: Response,
    tunnel: Box<Tunnel>,
    status: &mut u16,
) -> Result<(), Error> {
    websocket::to_consent(req, &mut response)?;
    head(stream, req, &response, Framing::None, EndStream::No, status)?;
    // What a reset of a TCP connection is to HTTP/1.1.
    stream.blame(ErrorCode::Cancel);
    tunnel.run(&req.arrival.downstream, &req.arrival.listener).await;
    Ok(())
}

fn head(
    stream: &Rc<Stream>,
    req: &Request,
    response: &Response,
    framing: Framing,
    end: EndStream,
    status: &mut u16,
) -> Result<(), Error> {
    // A `100 Continue` has no place behind a final response.
    stream.wants_continue.set(false);
    let date = req.arrival.downstream.shard().date();
    let sent = stream.send_response(response.head(), framing, Some(&date), end);
    sent.map_err(failure)?;
    *status = response.status.code();
    Ok(())
}

fn failure(error: WriteError) -> Error {
    match error {
        WriteError::Gone(_) => Error::ClientClosed,
        WriteError::Stalled => Error::ClientTimeout { phase: "taking the response" },
        WriteError::Slow => Error::ClientTooSlow { phase: "taking the response" },
        WriteError::Refused(error) => Error::Internal(format!("response not sent: {error}")),
    }
}
