//! The rest of a request's body on its way to the upstream, while the response is awaited or
//! already flows back.
//!
//! ```text
//!   forward: wait for the head ─┐
//!   a filter reads the body  ───┼──▶ Upload (one future, polled by whoever waits at the time)
//!   downstream: write, relay  ──┘
//! ```
//!
//! Whoever waits for the response polls the upload too, or both would wait for each other: an
//! endpoint may answer only as it gets the request's body. So the response and its body both hold
//! it, and it ends with the last of them; the upstream connection then cannot be reused.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::Future,
    pin::Pin,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
};

use super::error::Error;
use crate::runtime::PooledFuture;

/// How an upload ended.
#[derive(Debug)]
pub(super) enum UploadEnd {
    /// All of the body has been sent.
    Done,
    /// The upstream takes no more. It may have answered already, so this alone fails nothing.
    Refused,
    /// The client's side failed: the exchange is over.
    Failed(Error),
}

/// How far an upload is, for whoever reads the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It goes on.
    Running,
    /// All of the body has been sent: only then may the connection be reused.
    Done,
    /// The upstream took no more, or the client sent no more.
    Failed,
}

/// A running upload. Clones are the same upload.
#[derive(Clone)]
pub(super) struct Upload {
    state: Rc<State>,
}

struct State {
    future: RefCell<Option<PooledFuture<'static, UploadEnd>>>,
    progress: Cell<Progress>,
}

impl Upload {
    pub(super) fn new(future: PooledFuture<'static, UploadEnd>) -> Self {
        let future = RefCell::new(Some(future));
        Self { state: Rc::new(State { future, progress: Cell::new(Progress::Running) }) }
    }

    /// One of which the endpoint took nothing.
    pub(super) fn refused() -> Self {
        let progress = Cell::new(Progress::Failed);
        Self { state: Rc::new(State { future: RefCell::new(None), progress }) }
    }

    /// How far it is.
    pub(super) fn progress(&self) -> Progress {
        self.state.progress.get()
    }

    /// Drives it on.
    ///
    /// # Errors
    /// The client's failure, told once.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Result<(), Error> {
        if self.progress() != Progress::Running {
            return Ok(());
        }
        let mut future = self.state.future.borrow_mut();
        let Some(running) = &mut *future else { return Ok(()) };
        let Poll::Ready(end) = Pin::new(running).poll(cx) else { return Ok(()) };
        *future = None;
        let (progress, result) = match end {
            UploadEnd::Done => (Progress::Done, Ok(())),
            UploadEnd::Refused => (Progress::Failed, Ok(())),
            UploadEnd::Failed(error) => (Progress::Failed, Err(error)),
        };
        self.state.progress.set(progress);
        result
    }

    /// Ends it now, whoever else holds it.
    pub(super) fn abort(&self) {
        if self.progress() == Progress::Running {
            self.state.progress.set(Progress::Failed);
        }
        let future = self.state.future.take();
        drop(future);
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("progress", &self.progress()).finish_non_exhaustive()
    }
}

/// Runs `work`, and the upload beside it. Ends with `work`, or with the client's failure.
pub(super) async fn beside<T>(
    upload: Option<&Upload>,
    work: impl Future<Output = T>,
) -> Result<T, Error> {
    let Some(upload) = upload else { return Ok(work.await) };
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        if let Err(error) = upload.poll(cx) {
            return Poll::Ready(Err(error));
        }
        work.as_mut().poll(cx).map(Ok)
    })
    .await
}
