//! What a shard keeps for the proxy over all connections and configs: identity, pools, counters,
//! the register of open connections.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use super::{client::RequestId, connection::Connection, h2::Sessions, stats::ShardStats};
use crate::{
    base::access::AccessSink,
    protocol::http,
    runtime,
    upstream::{Pools, Upstream},
};

/// A shard, as everything that runs on it sees it. Lives as long as its thread.
pub struct Shard {
    id: u16,
    process: u32,
    serial: Cell<u64>,
    pub(super) pools: Rc<Pools>,
    /// HTTP/2 to endpoints.
    pub(super) sessions: Sessions,
    stats: Arc<ShardStats>,
    /// Where access-log lines go; none when the log is off. Replaced by a reload.
    pub(super) access: Rc<RefCell<Option<AccessSink>>>,
    date: RefCell<(u64, Rc<str>)>,
    /// Lent to whoever writes text for a moment, so that it is allocated once.
    text: Cell<String>,
    is_draining: Cell<bool>,
    connections: RefCell<Register>,
}

/// Open connections by slot, so that a drain finds the idle ones. 8 bytes a connection.
#[derive(Debug, Default)]
struct Register {
    slots: Vec<Option<Rc<Connection>>>,
    free: Vec<u32>,
}

impl Shard {
    /// A shard's state. `process` tells this process's request ids from an earlier one's.
    #[must_use]
    pub fn new(id: u16, process: u32, pools: Rc<Pools>, stats: Arc<ShardStats>) -> Rc<Self> {
        Rc::new(Self {
            id,
            process,
            serial: Cell::new(0),
            pools,
            sessions: Sessions::new(&stats),
            stats,
            access: Rc::default(),
            date: RefCell::new((0, Rc::from(""))),
            text: Cell::default(),
            is_draining: Cell::new(false),
            connections: RefCell::default(),
        })
    }

    /// The shard's number, from 0.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.id
    }

    pub(super) fn shared_stats(&self) -> &Arc<ShardStats> {
        &self.stats
    }

    /// The shard's counters.
    #[must_use]
    pub fn stats(&self) -> &ShardStats {
        &self.stats
    }

    /// The pools of these upstreams keep the rules of their snapshot from now on.
    pub fn apply_pool_rules(&self, upstreams: &[Arc<Upstream>]) {
        upstreams.iter().for_each(|upstream| self.pools.apply(upstream));
    }

    /// The same shard for L4: with these pools, counters, access log and limits.
    pub(crate) fn parts(&self) -> Parts {
        Parts {
            id: self.id,
            process: self.process,
            pools: Rc::clone(&self.pools),
            stats: Arc::clone(&self.stats),
            access: Rc::clone(&self.access),
        }
    }

    /// Sends access-log lines to `sink` from now on.
    pub fn set_access_log(&self, sink: Option<AccessSink>) {
        self.access.replace(sink);
    }

    pub(super) fn next_request_id(&self) -> RequestId {
        let serial = self.serial.get() + 1;
        self.serial.set(serial);
        RequestId::new(self.process, self.id, serial)
    }

    /// Whether responses must announce the end of their connection.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    /// Whether a share of the exchanges that are logged takes this one.
    pub(super) fn samples(&self, share: f64) -> bool {
        self.access.borrow().as_ref().is_some_and(|access| access.samples(share))
    }

    /// An empty string, with capacity when nobody else has it.
    pub(super) fn take_text(&self) -> String {
        self.text.take()
    }

    pub(super) fn give_text(&self, mut text: String) {
        text.clear();
        self.text.set(text);
    }

    /// The Date field's text, made once a second.
    pub(super) fn date(&self) -> Rc<str> {
        let now = runtime::wall_now();
        let seconds = now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut date = self.date.borrow_mut();
        if date.0 != seconds {
            *date = (seconds, http::date::DateText::from_unix(seconds).as_str().into());
        }
        Rc::clone(&date.1)
    }

    /// Open downstream connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        let register = self.connections.borrow();
        register.slots.len() - register.free.len()
    }

    /// Ends keep-alive: idle connections are closed now, busy ones after their exchange.
    pub fn drain(&self) {
        self.is_draining.set(true);
        for connection in self.connections.borrow().slots.iter().flatten() {
            if connection.is_idle.get() {
                // Wakes its task by its idle deadline. A request that has arrived meanwhile is
                // still answered, and one that a new connection is about to bring, too.
                let grace = if connection.has_served() { Duration::ZERO } else { FRESH_GRACE };
                connection.timer.set_after(grace);
            }
        }
    }

    /// Counts a connection that isn't admitted yet, until the result is dropped.
    pub(super) fn count_open(self: &Rc<Self>) -> Waiting {
        self.stats.open.set(self.stats.open.get() + 1);
        Waiting(Rc::clone(self))
    }

    /// Enters a connection.
    pub(super) fn enter(self: &Rc<Self>, connection: &Rc<Connection>) -> Registered {
        let mut register = self.connections.borrow_mut();
        let entry = Some(Rc::clone(connection));
        let slot = match register.free.pop() {
            Some(slot) => {
                register.slots[slot as usize] = entry;
                slot
            }
            None => {
                register.slots.push(entry);
                u32::try_from(register.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.stats.open.set(self.stats.open.get() + 1);
        Registered { shard: Rc::clone(self), slot }
    }
}

/// What the proxies of a shard have in common.
pub(crate) struct Parts {
    pub(crate) id: u16,
    pub(crate) process: u32,
    pub(crate) pools: Rc<Pools>,
    pub(crate) stats: Arc<ShardStats>,
    pub(crate) access: Rc<RefCell<Option<AccessSink>>>,
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How long a connection that has not yet brought a request may take for it once a drain begins.
const FRESH_GRACE: Duration = Duration::from_secs(1);

/// A connection that is open and not admitted yet.
pub(super) struct Waiting(Rc<Shard>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.stats.open.set(self.0.stats.open.get() - 1);
    }
}

/// A connection's place in the register, given back when dropped.
pub(super) struct Registered {
    shard: Rc<Shard>,
    slot: u32,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut register = self.shard.connections.borrow_mut();
        let connection = register.slots[self.slot as usize].take();
        register.free.push(self.slot);
        drop(register);
        drop(connection);
        let stats = &self.shard.stats;
        stats.open.set(stats.open.get() - 1);
    }
}
