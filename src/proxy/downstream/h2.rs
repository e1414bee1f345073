//! HTTP/2 clients: one session a connection, one task an exchange.
//!
//! ```text
//!   first bytes ─ preface? ─▶ session ── request ─▶ task: handler ─▶ response ─▶ stream
//!                                │                    ▲
//!                                └ RST_STREAM, end of the connection: the task is dropped
//! ```
//!
//! Idle connections hold the codec's state and no buffer. A drain or a removed listener ends a
//! connection in the two steps of RFC 9113 §6.8, so that no request on its way is lost.

use std::{pin::pin, rc::Rc, time::Duration};

use super::{
    Downstream,
    service::{Current, Service, Spoken},
    write_h2,
};
use crate::{
    protocol::{
        h1,
        h2::{self, ErrorCode, Limits},
        http::{self, Framing, Method, RequestHead},
        websocket::PROTOCOL,
    },
    proxy::{
        Body, Connection, Error, Handler, ListenerRules, Request, Response,
        body::{Chunk, Kind},
        deadline,
        h2::{Ended, H2Body, Handle, NewRequest, Role, Session, Source, drive},
        observe::{Summary, Traffic},
        recycle,
        request::Arrival,
        secure, upload, websocket,
    },
    runtime::{self, Either, PooledFuture, race},
};

/// Waits for as many bytes as tell HTTP/2 from HTTP/1, and leaves them with the connection.
pub(super) async fn sniff(connection: &Connection, listener: &ListenerRules) -> Spoken {
    let Some(mut bytes) = receive(connection, listener.idle).await else { return Spoken::Nothing };
    loop {
        let length = bytes.len().min(TELLING.len());
        let is_h2 = bytes.get(..length) == TELLING.get(..length);
        if !is_h2 || length == TELLING.len() {
            connection.keep(bytes);
            return if is_h2 { Spoken::H2 } else { Spoken::H1 };
        }
        let Some(more) = receive(connection, listener.header_timeout).await else {
            return Spoken::Nothing;
        };
        let mut joined = recycle::take_bytes();
        joined.extend_from_slice(&bytes);
        joined.extend_from_slice(&more);
        bytes = joined.into();
    }
}

async fn receive(connection: &Connection, limit: Duration) -> Option<Chunk> {
    let received = connection.receive_within(limit, "idle").await;
    received.ok().filter(|chunk| !chunk.is_empty())
}

/// Serves a connection that speaks HTTP/2 to its end.
pub(super) async fn serve<H: Handler + 'static>(
    service: &Rc<Service<H>>,
    connection: &Rc<Connection>,
) {
    let first = connection.take_kept();
    let listener = Rc::clone(&service.current().listener);
    let session = Session::server(connection, limits(&listener));
    // Always: a drain looks by the timer, and the session knows what to do then.
    connection.is_idle.set(true);
    connection.note_served();
    let (service, connection) = (Rc::clone(service), Rc::clone(connection));
    let server = Server { service, connection: Rc::clone(&connection), listener };
    let ended = drive(&session, first, &connection.timer, &server).await;
    match ended {
        Ended::Closed => {}
        // Nothing was taken: there is nobody to say good-bye to.
        Ended::Stalled => connection.stream.reset_on_close(),
        Ended::Finished | Ended::Broken(_) => {
            drop(session);
            super::h1::linger(&connection).await;
        }
    }
}

fn limits(listener: &ListenerRules) -> Limits {
    Limits {
        streams: listener.h2_streams,
        header_list_bytes: listener.head_limits.bytes,
        fields: listener.head_limits.fields,
        settings_timeout: listener.header_timeout,
        ping_interval: Some(PING_AFTER),
        connect_protocol: true,
        ..Limits::default()
    }
}

/// The server's end of a session.
struct Server<H> {
    service: Rc<Service<H>>,
    connection: Rc<Connection>,
    listener: Rc<ListenerRules>,
}

impl<H: Handler + 'static> Role for Server<H> {
    fn accept(&self, request: NewRequest) {
        runtime::spawn(exchange(Rc::clone(&self.service), Rc::clone(&self.connection), request));
    }

    fn is_ending(&self) -> bool {
        self.service.is_ending()
    }

    fn idle(&self) -> Duration {
        self.listener.idle
    }

    fn write_timeout(&self) -> Duration {
        self.listener.write_timeout
    }
}

/// One request and its response.
async fn exchange<H: Handler + 'static>(
    service: Rc<Service<H>>,
    connection: Rc<Connection>,
    request: NewRequest,
) {
    let NewRequest { handle, mut head, framing } = request;
    if handle.gone().is_some() {
        // Cancelled with the bytes that brought it: no handler sees it, no endpoint either.
        return;
    }
    let current = service.current();
    let Current { handler, listener, observer, .. } = &*current;
    service.shard().stats().requests.increment();
    let downstream = Downstream::H2(Rc::clone(&connection), Rc::clone(&handle));
    let mut arrival = Arrival::new(downstream, listener, &head, runtime::now());
    let handshaken = connection.stream.handshaken();
    let admitted = secure::admit(&mut head, handshaken, listener)
        .and_then(|()| admit(&handle, &mut arrival, &mut head, framing));
    let (body, refusal) = match admitted {
        Ok(body) => (body, None),
        Err(error) => (Body::empty(), Some(error)),
    };
    let mut req = Request::new(head, body, arrival);
    let mut status = 0;
    let result = {
        let answered = respond(&**handler, &handle, &mut req, refusal, &mut status);
        let (answered, gone) = (pin!(answered), pin!(handle.until_gone()));
        match race(answered, gone).await {
            Either::First(result) => result,
            Either::Second(_) => Err(Error::ClientClosed),
        }
    };
    if let Err(error) = &result {
        handle.blame(reset_code(error));
    }
    let error = result.as_ref().err();
    let traffic = Traffic {
        shard: &connection.shard,
        received: handle.received.get(),
        sent: handle.sent.get(),
    };
    observer.observe(&Summary::new(&req, &traffic, status, error, runtime::now()));
}

/// The request's body, unless the head already says no.
fn admit(
    handle: &Handle,
    arrival: &mut Arrival,
    head: &mut RequestHead,
    framing: Framing,
) -> Result<Body, Error> {
    http::strip_request_hops(&mut head.headers)?;
    if head.method == Method::Connect {
        websocket::from_connect(head, arrival.id)?;
        arrival.upgrade = Some(PROTOCOL.as_bytes().into());
        // What comes on the stream is the tunnel's.
        return Ok(Body::empty());
    }
    let listener = &arrival.listener;
    match framing {
        Framing::Length(length) if length > listener.body_max => {
            return Err(Error::BodyTooLarge { limit: listener.body_max });
        }
        Framing::Length(0) if handle.is_whole() => return Ok(Body::from("")),
        Framing::None if handle.is_whole() => return Ok(Body::empty()),
        _ => {}
    }
    let source = Source::Request(Rc::clone(handle));
    handle.wants_continue.set(h1::expects_continue(head));
    let body = H2Body::new(source, framing, listener.body_max, listener.body_timeout);
    let mut body = body.paced(listener.min_rate);
    Ok(match body.take_whole()? {
        Some(whole) => Kind::Whole(whole).into(),
        None => Kind::H2(Box::new(body)).into(),
    })
}

/// Asks the handler, unless the request is refused, and writes its answer or the error's page.
async fn respond<H: Handler>(
    handler: &H,
    handle: &Handle,
    req: &mut Request,
    refusal: Option<Error>,
    status: &mut u16,
) -> Result<(), Error> {
    let result = match refusal {
        None => handler.handle(req).await,
        Some(error) => Err(error),
    };
    let mut deadline = req.trace.deadline;
    let mut response = match result {
        Ok(response) => response,
        Err(error @ Error::ClientClosed) => return Err(error),
        Err(error) => {
            // It may be what failed; a page has the listener's limits.
            deadline = None;
            failure_page(req, &error)
        }
    };
    // A filter may have put the body into another response.
    let upload = response.upload.take().or_else(|| response.body.upload().cloned());
    let result = {
        let write = pin!(write_h2::response(handle, req, response, status));
        match deadline {
            None => upload::beside(upload.as_ref(), write).await.flatten(),
            Some(deadline) => {
                let whole = PooledFuture::new(upload::beside(upload.as_ref(), write));
                match deadline::until(deadline, &req.arrival.downstream, whole).await {
                    Ok(result) => result.flatten(),
                    Err(late) => Err(late.error("sending the response body")),
                }
            }
        }
    };
    match result {
        Err(error) if *status == 0 && !matches!(error, Error::ClientClosed) => {
            if let Some(upload) = upload {
                upload.abort();
            }
            let page = failure_page(req, &error);
            PooledFuture::new(write_h2::response(handle, req, page, status)).await
        }
        result => result,
    }
}

/// The page for `error`, of which nothing has been sent yet.
fn failure_page(req: &mut Request, error: &Error) -> Response {
    req.trace.failure = Some(error.code());
    req.arrival.downstream.shard().stats().count_client_failure(error);
    req.error_page(error)
}

/// What a client is told when its response breaks off.
fn reset_code(error: &Error) -> ErrorCode {
    match error {
        Error::ClientTimeout { .. } | Error::ClientTooSlow { .. } | Error::ClientClosed => {
            ErrorCode::Cancel
        }
        Error::BadRequestBody(_) => ErrorCode::Protocol,
        _ => ErrorCode::Internal,
    }
}

/// As much of the preface as no request of HTTP/1 begins with.
const TELLING: &[u8] = b"PRI ";
const _: () = assert!(TELLING.len() <= h2::PREFACE.len());
/// With streams open, after so much silence the client is asked whether it is still there.
const PING_AFTER: Duration = Duration::from_secs(30);
