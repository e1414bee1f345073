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

    /// Whether a place could be taken.
    fn take(&self) -> bool {
        // One line that all shards write, but only as connections come and go.
        let more = |open: u32| (open < self.most).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

/// A connection's place among all of the process, given back when it is dropped.
#[derive(Debug)]
pub struct Place(Option<Arc<ConnectionLimit>>);

impl Place {
    /// A place within `limit`, if there is one; none when all are taken.
    #[must_use]
    pub fn take(limit: Option<&Arc<ConnectionLimit>>) -> Option<Self> {
        let has_room = limit.is_none_or(|limit| limit.take());
        has_room.then(|| Self(limit.map(Arc::clone)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(limit) = &self.0 {
            let before = limit.open.fetch_sub(1, Ordering::Relaxed);
            debug_assert!(before > 0, "each place was taken");
        }
    }
}
