//! What a handler is made from: one shard and one snapshot. A program's closure gets it once per
//! shard and configuration; the config-driven pipeline is made from the same.

use std::{cell::Cell, rc::Rc, sync::Arc};

use super::{
    error::Error,
    forward::{Forward, ForwardOptions},
    shard::Shard,
    shared::Shared,
    snapshot::Snapshot,
};
use crate::upstream::Upstream;

/// One shard and the snapshot that a handler is built for.
#[derive(Debug)]
pub struct ShardScope {
    shard: Rc<Shard>,
    snapshot: Arc<Snapshot>,
    shared: Arc<Shared>,
    /// Limits made for this handler so far: what tells one from another without a name.
    limits: Cell<u32>,
}

impl ShardScope {
    /// The scope of `shard` and `snapshot`, with what the shards of one server have in common.
    #[must_use]
    pub(crate) fn new(shard: &Rc<Shard>, snapshot: &Arc<Snapshot>, shared: &Arc<Shared>) -> Self {
        Self {
            shard: Rc::clone(shard),
            snapshot: Arc::clone(snapshot),
            shared: Arc::clone(shared),
            limits: Cell::new(0),
        }
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
        self.snapshot.upstream(name).ok_or_else(|| no_upstream(name))
    }

    /// A handler that forwards to the upstream of that name, with the default timeouts and
    /// retries.
    ///
    /// # Errors
    /// There is no such upstream.
    pub fn forward(&self, upstream: &str) -> Result<Forward, Error> {
        self.forward_with(upstream, ForwardOptions::default())
    }

    /// A handler that forwards to the upstream of that name, as `options` says.
    ///
    /// # Errors
    /// There is no such upstream.
    pub fn forward_with(&self, upstream: &str, options: ForwardOptions) -> Result<Forward, Error> {
        let each = &self.snapshot.upstreams;
        let index = each.iter().position(|own| own.config.name == upstream);
        let index = index.ok_or_else(|| no_upstream(upstream))?;
        Ok(Forward::new(&self.shard, &each[index], options).named(&self.snapshot, index))
    }

    /// One value for all shards: `make` is called by the first that asks for this name and type,
    /// the others get the same. It stays for the server's life, over reloads, too.
    ///
    /// What shards write there they write at the same time: use atomics that are made for it.
    ///
    /// ```
    /// # use ringway::ShardScope;
    /// use std::sync::atomic::AtomicU64;
    ///
    /// fn seen(shard: &ShardScope) -> std::sync::Arc<AtomicU64> {
    ///     shard.shared("requests-seen", AtomicU64::default)
    /// }
    /// ```
    pub fn shared<T: Send + Sync + 'static>(&self, name: &str, make: impl FnOnce() -> T) -> Arc<T> {
        self.shared.get(name, make)
    }

    /// Counts the limits of a handler. Every shard makes the same ones in the same order, so the
    /// number says which is which.
    pub(super) fn next_limit(&self) -> u32 {
        self.limits.replace(self.limits.get() + 1)
    }
}

fn no_upstream(name: &str) -> Error {
    Error::Internal(format!("no upstream is named `{name}`"))
}
