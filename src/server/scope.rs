//! What a program's `make` function gets to build a shard's handler from.

use std::{rc::Rc, sync::Arc};

use crate::{
    proxy::{Error, Forward, ForwardOptions, Shard, Snapshot},
    upstream::Upstream,
};

/// One shard and the snapshot that a handler is built for.
#[derive(Debug)]
pub struct ShardScope {
    shard: Rc<Shard>,
    snapshot: Arc<Snapshot>,
}

impl ShardScope {
    pub(super) fn new(shard: &Rc<Shard>, snapshot: &Arc<Snapshot>) -> Self {
        Self { shard: Rc::clone(shard), snapshot: Arc::clone(snapshot) }
    }

    /// The shard's number, from 0.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.shard.id()
    }

    /// The shard.
    #[must_use]
    pub fn shard(&self) -> &Rc<Shard> {
        &self.shard
    }

    /// The configuration with everything that its parts share over all shards.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The upstream of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn upstream(&self, name: &str) -> Result<&Arc<Upstream>, Error> {
        self.snapshot
            .upstream(name)
            .ok_or_else(|| Error::Internal(format!("no upstream is named `{name}`")))
    }

    /// A handler that forwards to the upstream of that name, with the default timeouts and
    /// retries.
    ///
    /// # Errors
    /// There is no such upstream.
    pub fn forward(&self, upstream: &str) -> Result<Forward, Error> {
        Ok(Forward::new(&self.shard, self.upstream(upstream)?, ForwardOptions::default()))
    }
}
