//! Two futures of one task, whichever ends first. No waker juggling: any completion polls the
//! whole task, so both sides are simply polled in order.

use std::{future::Future, future::poll_fn, pin::pin, task::Poll};

/// Which of two raced futures ended first, with its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first argument ended, or both did.
    First(A),
    /// The second argument ended.
    Second(B),
}

/// Polls two futures and returns at the first that ends (the first argument wins ties).
///
/// The loser is dropped. *Cancel safety*: as cancel safe as both arguments are.
pub async fn race<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> Either<A, B> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|cx| {
        if let Poll::Ready(output) = a.as_mut().poll(cx) {
            return Poll::Ready(Either::First(output));
        }
        b.as_mut().poll(cx).map(Either::Second)
    })
    .await
}
