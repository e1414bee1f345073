//! A place where one task leaves a value for another of the same thread.
//!
//! Who waits owns the place through an `Rc` and must, when it gives up, look whether something
//! was left there after all: a connection must not vanish with its waiter.

use std::{
    cell::Cell,
    future::poll_fn,
    task::{Poll, Waker},
};

/// One value, left once.
pub(super) struct Handover<T> {
    value: Cell<Option<T>>,
    waker: Cell<Option<Waker>>,
}

impl<T> Handover<T> {
    pub(super) fn new() -> Self {
        Self { value: Cell::new(None), waker: Cell::new(None) }
    }

    /// Leaves the value and wakes who waits.
    pub(super) fn put(&self, value: T) {
        let before = self.value.replace(Some(value));
        debug_assert!(before.is_none(), "a value is left once");
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// What was left, without waiting.
    pub(super) fn take(&self) -> Option<T> {
        self.value.take()
    }

    /// Waits for the value. Cancel safe: it stays until taken.
    pub(super) async fn wait(&self) -> T {
        poll_fn(|cx| {
            if let Some(value) = self.value.take() {
                return Poll::Ready(value);
            }
            self.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }
}
