//! The rest of a request's body on its way to the upstream, while the response is awaited or
//! already flows back.
//!
//! An upload is a future that nobody owns for long: `forward` polls it beside the wait for the
//! response's head, then hands it on with the response, and the downstream polls it beside the
//! response's body. Dropping it ends it; the upstream connection then cannot be reused.

use std::{cell::Cell, fmt, future::Future, pin::Pin, pin::pin, rc::Rc, task::Poll};

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
    /// The upstream took no more, or nobody sends any more.
    Failed,
}

/// A running upload.
pub(super) struct Upload {
    future: Option<PooledFuture<'static, UploadEnd>>,
    progress: Rc<Cell<Progress>>,
}

impl Upload {
    pub(super) fn new(future: PooledFuture<'static, UploadEnd>) -> Self {
        Self { future: Some(future), progress: Rc::new(Cell::new(Progress::Running)) }
    }

    /// How far it is, now and later.
    pub(super) fn progress(&self) -> Rc<Cell<Progress>> {
        Rc::clone(&self.progress)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.progress.get() == Progress::Running {
            self.progress.set(Progress::Failed);
        }
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("progress", &self.progress.get()).finish_non_exhaustive()
    }
}

/// Runs `work`, and the upload beside it. Ends with `work`, or with the client's failure.
pub(super) async fn beside<T>(
    upload: &mut Option<Upload>,
    work: impl Future<Output = T>,
) -> Result<T, Error> {
    let Some(upload) = upload else { return Ok(work.await) };
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        if let Some(future) = &mut upload.future
            && let Poll::Ready(end) = Pin::new(future).poll(cx)
        {
            upload.future = None;
            match end {
                UploadEnd::Done => upload.progress.set(Progress::Done),
                UploadEnd::Refused => upload.progress.set(Progress::Failed),
                UploadEnd::Failed(error) => return Poll::Ready(Err(error)),
            }
        }
        work.as_mut().poll(cx).map(Ok)
    })
    .await
}
