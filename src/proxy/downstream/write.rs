//! Writes a response to an HTTP/1.1 client: head, body, framing, the connection's fate.
//!
//! What is in memory already leaves with the head in one send. The rest of a body is relayed, piece
//! by piece. A body that breaks off is never ended properly: the client must see that it is not
//! whole.

use std::rc::Rc;

use crate::{
    protocol::{
        h1::{self, ConnectionHeader},
        http::{Framing, Method, Status, Version},
    },
    proxy::{
        Body, Connection, Error, ListenerRules, Request, Response,
        body::Kind,
        h2::next_buffered,
        outgoing::{encode_chunk, stream_body},
        pace::Pace,
        recycle,
        relay::{RelayError, Sink},
    },
    runtime::{PooledFuture, SendBuf},
};

/// How a response goes out, and what came of it.
#[derive(Debug)]
pub(super) struct Framed {
    /// Whether the connection may carry another request.
    pub(super) keeps_alive: bool,
    /// The status that was sent; 0 while none was.
    pub(super) status: u16,
    /// The connection became something else, or must not be used again.
    pub(super) is_aborted: bool,
    /// A close is how the body ends well; only a reset says that it didn't.
    pub(super) is_until_close: bool,
}

impl Framed {
    /// Nothing has been sent yet.
    pub(super) fn new(keeps_alive: bool) -> Self {
        Self { keeps_alive, status: 0, is_aborted: false, is_until_close: false }
    }
}

/// Writes `response` to `connection`; takes its body.
pub(super) async fn response(
    connection: &Rc<Connection>,
    req: &Request,
    response: &mut Response,
    framed: &mut Framed,
) -> Result<(), Error> {
    let mut out = recycle::take_bytes();
    let rest = begin(connection, req, response, framed, &mut out)?;
    give(connection.send(out, &req.arrival.listener).await?);
    match rest {
        Rest::Nothing => Ok(()),
        // Pooled: the usual response needs no room for the rare one's state.
        rest => PooledFuture::new(follow(connection, req, response, rest)).await,
    }
}

/// What follows the first send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Nothing,
    Body(Framing),
    Tunnel,
}

/// Puts into `out` what leaves first: the head, and what is here of the body.
fn begin(
    connection: &Connection,
    req: &Request,
    response: &mut Response,
    framed: &mut Framed,
    out: &mut Vec<u8>,
) -> Result<Rest, Error> {
    // A `100 Continue` behind a final response would be the next one's beginning.
    connection.wants_continue.set(false);
    let framing = framing(req, response);
    let is_tunnel = matches!(response.body.kind, Kind::Tunnel(_));
    // Behind a CONNECT come the tunnel's bytes, whether it was opened or not.
    let is_refused_tunnel = req.method == Method::Connect && !is_tunnel;
    framed.keeps_alive &=
        !is_tunnel && !is_refused_tunnel && !matches!(framing, Framing::UntilClose);
    if connection.is_request_open.get() && !response.has_upload {
        // The rest of the request's body will not be read.
        framed.keeps_alive = false;
    }
    // A drain may have begun since the request did: the client is told as long as it can be.
    framed.keeps_alive &= !connection.shard.is_draining();
    let fate = fate(req, response, framed);
    h1::encode_response(response.head(), framing, fate, Some(&connection.shard.date()), out);
    framed.status = response.status.code();
    if is_tunnel {
        framed.is_aborted = true;
        return Ok(Rest::Tunnel);
    }
    if req.method == Method::Head || matches!(framing, Framing::None | Framing::Described(_)) {
        drop(response.body.take());
        return Ok(Rest::Nothing);
    }
    framed.is_until_close = matches!(framing, Framing::UntilClose);
    if let Kind::Whole(chunk) = &response.body.kind
        && chunk.len() <= JOINED_MAX
    {
        out.extend_from_slice(chunk);
        drop(response.body.take());
        return Ok(Rest::Nothing);
    }
    // A body that is malformed from its beginning can still become an error page.
    let joined = join_buffered(&mut response.body, matches!(framing, Framing::Chunked), out);
    let is_ended = joined.inspect_err(|_| framed.status = 0)?;
    Ok(if is_ended { Rest::Nothing } else { Rest::Body(framing) })
}

/// Sends what is behind the head.
async fn follow(
    connection: &Rc<Connection>,
    req: &Request,
    response: &mut Response,
    rest: Rest,
) -> Result<(), Error> {
    let listener = &req.arrival.listener;
    match rest {
        Rest::Nothing => Ok(()),
        Rest::Body(framing) => stream(connection, listener, response.body.take(), framing).await,
        Rest::Tunnel => {
            if let Some(tunnel) = response.body.take_tunnel() {
                let run = tunnel.run(&req.arrival.downstream, listener);
                PooledFuture::new(run).await;
            }
            Ok(())
        }
    }
}

/// Streams the rest of a body.
async fn stream(
    connection: &Connection,
    listener: &ListenerRules,
    body: Body,
    framing: Framing,
) -> Result<(), Error> {
    let sink = Sink {
        stream: &connection.stream,
        timer: &connection.timer,
        limit: listener.write_timeout,
        pace: Pace::new(listener.min_rate, listener.write_timeout),
        awaits: &connection.awaits_room,
        sent: &connection.sent,
    };
    let sent = PooledFuture::new(stream_body(body, &sink, framing)).await;
    match sent {
        Ok(_) => Ok(()),
        Err(RelayError::From(error)) => Err(error),
        Err(RelayError::To(error)) => Err(error.of_client()),
    }
}

/// How the body is delimited for this client.
pub(super) fn framing(req: &Request, response: &Response) -> Framing {
    let status = response.status;
    let has_no_body = req.method == Method::Head
        || status == Status::NOT_MODIFIED
        || status == Status::NO_CONTENT
        || status.is_informational();
    if has_no_body || matches!(response.body.kind, Kind::Tunnel(_)) {
        let described = response.announced_length.or_else(|| match &response.body.kind {
            Kind::Whole(chunk) => Some(chunk.len() as u64),
            _ => None,
        });
        let may_describe = req.method == Method::Head || status == Status::NOT_MODIFIED;
        return described.filter(|_| may_describe).map_or(Framing::None, Framing::Described);
    }
    match response.body.remaining() {
        Some(length) => Framing::Length(length),
        None if req.version == Version::Http10 => Framing::UntilClose,
        None => Framing::Chunked,
    }
}

fn fate(req: &Request, response: &Response, framed: &Framed) -> ConnectionHeader {
    if response.status == Status::SWITCHING_PROTOCOLS {
        ConnectionHeader::Upgrade
    } else if matches!(response.body.kind, Kind::Tunnel(_)) {
        ConnectionHeader::Implied
    } else if !framed.keeps_alive {
        ConnectionHeader::Close
    } else if req.version == Version::Http10 {
        ConnectionHeader::KeepAlive
    } else {
        ConnectionHeader::Implied
    }
}

/// Puts what was received with the response's head behind our head; true when that was all of it.
fn join_buffered(body: &mut Body, is_chunked: bool, out: &mut Vec<u8>) -> Result<bool, Error> {
    while out.len() < JOINED_MAX * 2
        && let Some(chunk) = next_buffered(body)?
    {
        if is_chunked {
            encode_chunk(&chunk, out);
        } else {
            out.extend_from_slice(&chunk);
        }
    }
    let is_ended = has_ended(body);
    if is_ended && is_chunked {
        h1::encode_last_chunk(body.trailers(), out);
    }
    Ok(is_ended)
}

/// Whether all of a body that comes from somewhere else has been taken.
fn has_ended(body: &Body) -> bool {
    match &body.kind {
        Kind::Wire(wire) => wire.is_ended(),
        Kind::H2(body) => body.is_ended(),
        _ => false,
    }
}

fn give(buf: SendBuf) {
    if let SendBuf::Vec(bytes) = buf {
        recycle::give_bytes(bytes);
    }
}

/// A body up to this size is copied behind its head: one send instead of two.
const JOINED_MAX: usize = 16 * 1024;
