//! The bound of a whole exchange, `timeouts.total`: from the end of the request's head through
//! filters, queue, connect, every attempt and both bodies.
//!
//! When it passes somebody was late: the client if its body was awaited or it didn't take the
//! response, else the upstream. Only the latter is held against an endpoint. The time to write a
//! response is bounded by the downstream, which has the client's connection.

use std::{future::Future, pin::pin, task::Poll, time::Duration, time::Instant};

use super::{
    downstream::Downstream, error::Error, handler::Handler, request::Request, response::Response,
};
use crate::runtime::{PooledFuture, Timer};

/// Who kept an exchange waiting when its time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// The client: it didn't send its body.
    Sending,
    /// The client: it didn't take the response.
    Taking,
    /// Somebody else.
    Upstream,
}

impl Late {
    /// The error that says so; `phase` is what was waited for if it wasn't the client.
    pub(super) fn error(self, phase: &'static str) -> Error {
        match self {
            Self::Sending => Error::ClientTimeout { phase: "sending the request body" },
            Self::Taking => Error::ClientTimeout { phase: "taking the response" },
            Self::Upstream => Error::UpstreamTimeout { phase },
        }
    }
}

/// Has `handler` answer `req`, at most until `total` after its head; remembers the deadline for
/// the writing of the response.
pub(super) async fn within(
    req: &mut Request,
    total: Duration,
    handler: &impl Handler,
) -> Result<Response, Error> {
    let deadline = req.started() + total;
    req.trace.deadline = Some(req.trace.deadline.map_or(deadline, |other| other.min(deadline)));
    let downstream = req.arrival.downstream.clone();
    let handled = PooledFuture::new(handler.handle(req));
    match until(deadline, &downstream, handled).await {
        Ok(result) => result,
        Err(late) => Err(late.error(req.trace.phase)),
    }
}

/// Runs `work`, at most until `deadline`.
///
/// # Errors
/// Who was late then: asked before `work` is dropped, which forgets what it waited for.
pub(super) async fn until<T>(
    deadline: Instant,
    downstream: &Downstream,
    work: impl Future<Output = T>,
) -> Result<T, Late> {
    let timer = Timer::new();
    timer.set(deadline);
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        timer.poll_expired(cx).map(|()| Err(downstream.late()))
    })
    .await
}
