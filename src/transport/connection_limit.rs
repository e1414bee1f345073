//! The most client connections of the process: one number over all shards, for HTTP and L4 alike.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use crossbeam_utils::CachePadded;

/// At most so many connections at a time, exact over all shards: `runtime.max_connections`.
#[derive(Debug)]
pub struct ConnectionLimit {
    open: CachePadded<AtomicU32>,
    most: u32,
}

impl ConnectionLimit {
    /// At most `most`.
    #[must_use]
    pub fn new(most: u32) -> Arc<Self> {
        Arc::new(Self { open: CachePadded::default(), most })
    }

    /// Connections now.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Takes a place; false when there is none.
    pub(crate) fn take(&self) -> bool {
        // One line that all shards write, but only as connections come and go.
        let more = |open: u32| (open < self.most).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Gives a place back.
    pub(crate) fn give_back(&self) {
        let before = self.open.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "each leave follows an admission");
    }
}
