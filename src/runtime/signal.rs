//! How tasks of one shard wait for each other, without wakers: one store to wait, one queue push
//! to wake.
//!
//! ```text
//!   turn:  completions ─▶ ready tasks … ready tasks ─▶ settled tasks ─▶ (more ready tasks) ─▶ kernel
//! ```
//!
//! A task that [settles](settled) runs again in the same turn, when no other task is ready: it sees
//! everything that the turn has produced, and what it starts then is still submitted with this
//! turn. That is how many small messages become one send.

use std::{cell::Cell, fmt, future::poll_fn, marker::PhantomData, rc::Rc, task::Poll};

use crate::runtime::{executor::NO_TASK, shard};

/// Wakes the task that listened last. Holds no value: whoever waits looks again at what it waits
/// for, since it may also be polled for other reasons.
pub struct Signal {
    task: Cell<u32>,
    _not_send: PhantomData<Rc<()>>,
}

impl Signal {
    /// Nobody listens.
    pub const fn new() -> Self {
        Self { task: Cell::new(NO_TASK), _not_send: PhantomData }
    }

    /// The current task is woken by the next [`notify`](Self::notify). One listener at a time: the
    /// last one.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[inline]
    pub fn listen(&self) {
        shard::with(|shard| self.task.set(shard.tasks.current()));
    }

    /// Wakes the task that listens, if any; it has to listen again.
    #[inline]
    pub fn notify(&self) {
        let task = self.task.replace(NO_TASK);
        if task != NO_TASK {
            shard::try_with(|shard| shard.tasks.wake(task));
        }
    }

    /// Whether a task listens.
    pub fn is_heard(&self) -> bool {
        self.task.get() != NO_TASK
    }
}

impl Default for Signal {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal").field("is_heard", &self.is_heard()).finish()
    }
}

/// Ends when every other ready task of this turn has run, before the kernel is visited. Cancel safe.
///
/// # Panics
/// Outside of a runtime.
pub async fn settled() {
    let mut since = None;
    poll_fn(|_| {
        shard::with(|shard| {
            let round = shard.tasks.settled_rounds();
            if since.is_some_and(|since| since != round) {
                return Poll::Ready(());
            }
            if since.replace(round).is_none() {
                shard.tasks.settle();
            }
            Poll::Pending
        })
    })
    .await;
}
