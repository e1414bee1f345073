//! What a handler is made from: one shard and one snapshot. A program's closure gets it once per
//! shard and configuration; the config-driven pipeline is made from the same.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    sync::Arc,
};

use super::{
    admit::Admit,
    error::Error,
    forward::{Forward, ForwardOptions},
    observe::Observe,
    shard::Shard,
    shared::Shared,
    snapshot::Snapshot,
};
use crate::{
    balance::{Balance, Balancer, Own},
    upstream::{Pool, Upstream},
};

/// One shard and the snapshot that a handler is built for.
pub struct ShardScope {
    shard: Rc<Shard>,
    snapshot: Arc<Snapshot>,
    shared: Arc<Shared>,
    /// Limits made for this handler so far: what tells one from another without a name.
    limits: Cell<u32>,
    doors: RefCell<Vec<Rc<dyn Admit>>>,
    observers: RefCell<Vec<Rc<dyn Observe>>>,
    /// Pools with balancers of the program's own, until its handler holds them.
    balanced: RefCell<Vec<Rc<Pool>>>,
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
            doors: RefCell::default(),
            observers: RefCell::default(),
            balanced: RefCell::default(),
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

    /// Asks `admit`, too, about every connection to this shard, behind those before it.
    pub fn admit(&self, admit: impl Admit + 'static) {
        self.doors.borrow_mut().push(Rc::new(admit));
    }

    /// Tells `observe`, too, of every exchange on this shard when its last byte was sent, behind
    /// counters and access log.
    ///
    /// ```
    /// use ringway::{Observe, ShardScope, Summary};
    ///
    /// struct Failures;
    ///
    /// impl Observe for Failures {
    ///     fn observe(&self, summary: &Summary<'_>) {
    ///         if summary.status >= 500 || summary.failure.is_some() {
    ///             let (path, endpoint) = (summary.request.path(), summary.endpoint());
    ///             tracing::info!(path, ?endpoint, status = summary.status, "failed");
    ///         }
    ///     }
    /// }
    ///
    /// fn watch(shard: &ShardScope) {
    ///     shard.observe(Failures);
    /// }
    /// ```
    pub fn observe(&self, observe: impl Observe + 'static) {
        self.observers.borrow_mut().push(Rc::new(observe));
    }

    /// Has `balance` choose among the endpoints of the upstream of that name on this shard, in place
    /// of its configured `balance`. Before the first handler that forwards to it is made.
    ///
    /// ```
    /// use ringway::{Balance, Error, ShardScope, balance::{Candidates, Key, Tried}};
    ///
    /// /// The last one that can be had.
    /// struct Last;
    ///
    /// impl Balance for Last {
    ///     fn pick(
    ///         &self,
    ///         candidates: &(impl Candidates + ?Sized),
    ///         tried: &Tried,
    ///         _key: Option<Key>,
    ///     ) -> Option<usize> {
    ///         let is_good = |index: &usize| candidates.candidate(*index).available;
    ///         let all = || (0..candidates.len()).rev().filter(is_good);
    ///         all().find(|index| !tried.contains(*index)).or_else(|| all().next())
    ///     }
    /// }
    ///
    /// fn last(shard: &ShardScope) -> Result<ringway::Forward, Error> {
    ///     shard.balance("web", Last)?;
    ///     shard.forward("web")
    /// }
    /// ```
    ///
    /// # Errors
    /// There is no such upstream, or a handler forwards to it already.
    pub fn balance(&self, upstream: &str, balance: impl Balance + 'static) -> Result<(), Error> {
        let own = Balancer::Own(Own::new(balance));
        let pool = self.shard.pools.open_with(self.upstream(upstream)?, own);
        let pool = pool.ok_or_else(|| {
            Error::Internal(format!("upstream `{upstream}` is forwarded to before its balancer"))
        })?;
        self.balanced.borrow_mut().push(pool);
        Ok(())
    }

    /// What the program asked to be called by.
    pub(crate) fn into_hooks(self) -> Hooks {
        Hooks { doors: self.doors.into_inner(), observers: self.observers.into_inner() }
    }

    /// Counts the limits of a handler. Every shard makes the same ones in the same order, so the
    /// number says which is which.
    pub(super) fn next_limit(&self) -> u32 {
        self.limits.replace(self.limits.get() + 1)
    }
}

/// What a program's closure asked to be called by.
pub(crate) struct Hooks {
    pub(crate) doors: Vec<Rc<dyn Admit>>,
    pub(crate) observers: Vec<Rc<dyn Observe>>,
}

impl fmt::Debug for ShardScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardScope").field("shard", &self.shard.id()).finish_non_exhaustive()
    }
}

fn no_upstream(name: &str) -> Error {
    Error::Internal(format!("no upstream is named `{name}`"))
}
