//! What a shard keeps for L4 over all connections and configs.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    sync::Arc,
};

use crate::{
    base::access::{AccessFormat, AccessRecord, AccessSink},
    transport::{ConnectionLimit, Place, counters::ShardStats},
    upstream::Pools,
};

/// A shard, as L4 sees it. Pools, counters, access log and the connection limit are shared with the
/// HTTP proxy of the same shard.
pub struct Shard {
    id: u16,
    process: u32,
    serial: Cell<u64>,
    pools: Rc<Pools>,
    stats: Arc<ShardStats>,
    access: Rc<RefCell<Option<AccessSink>>>,
    limit: RefCell<Option<Arc<ConnectionLimit>>>,
}

impl Shard {
    /// Shard `id` of process number `process`.
    #[must_use]
    pub fn new(
        (id, process): (u16, u32),
        pools: &Rc<Pools>,
        stats: &Arc<ShardStats>,
        access: Rc<RefCell<Option<AccessSink>>>,
    ) -> Rc<Self> {
        Rc::new(Self {
            id,
            process,
            serial: Cell::new(0),
            pools: Rc::clone(pools),
            stats: Arc::clone(stats),
            access,
            limit: RefCell::default(),
        })
    }

    /// The shard's number, from 0.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Its pools.
    #[must_use]
    pub fn pools(&self) -> &Rc<Pools> {
        &self.pools
    }

    pub(super) fn stats(&self) -> &ShardStats {
        &self.stats
    }

    /// Counts its connections with those of all who have the same `limit`.
    pub fn limit(&self, limit: &Arc<ConnectionLimit>) {
        self.limit.replace(Some(Arc::clone(limit)));
    }

    /// Takes a place of `runtime.max_connections`; none when all are taken.
    pub(super) fn take_place(&self) -> Option<Place> {
        Place::take(self.limit.borrow().as_ref())
    }

    /// A connection's id: unique over shards and, by the process's number, over restarts.
    pub(super) fn next_id(&self) -> u128 {
        let serial = self.serial.get() + 1;
        self.serial.set(serial);
        u128::from(self.process) << 64
            | u128::from(self.id) << 48
            | u128::from(serial & 0xffff_ffff_ffff)
            // Told apart from the ids of requests.
            | 1 << 47
    }

    /// A seed of this shard's own.
    pub(super) fn seed(&self) -> u64 {
        u64::from(self.process) << 16 | u64::from(self.id)
    }

    pub(super) fn log(&self, record: &AccessRecord<'_>, format: &AccessFormat, sample: f64) {
        if let Some(access) = &*self.access.borrow()
            && access.samples(sample)
        {
            access.log(record, format);
        }
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("id", &self.id).finish_non_exhaustive()
    }
}
