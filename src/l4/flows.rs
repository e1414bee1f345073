//! The table of UDP flows: which client's datagrams go to which endpoint, and until when.
//!
//! ```text
//!            open                    replied
//!   (none) ──────▶ asking ──────────────────────▶ talking ─┐
//!     ▲              │ idle                          │ idle │ touched: newest again
//!     └──────────────┴── expire, evict, close ◀──────┴──────┘
//!
//!   each state a list, longest silent first:   [ oldest … newest ]
//! ```
//! A flow is a client's address with the address that it sent to. The table is bounded: when it is
//! full, the flow that has been silent longest among those that never got a reply makes room, since
//! a flood of made-up addresses fills that list and no other; without such one a flow that has been
//! silent for a quarter of its time; else the newcomer is refused. Everything is O(1) but a walk
//! over all flows when a configuration changes.
//!
//! Sans-IO: time and hash seed come in, sockets are the driver's (`udp`), which keeps its own data
//! with each flow.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

#[cfg(test)]
mod tests;

/// What makes a flow one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    /// The client.
    pub client: SocketAddr,
    /// Which of the listener's addresses it sent to, where that has many.
    pub to: Option<IpAddr>,
}

/// Names a flow while it lives; never that of another flow later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId {
    slot: u32,
    generation: u32,
}

/// Bounds of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most flows at a time; at least 1.
    pub flows_max: usize,
    /// A flow ends after this much silence.
    pub idle: Duration,
    /// A flow ends after so many replies to each request; `None`: only by silence. `Some(1)` suits
    /// DNS.
    pub replies: Option<u32>,
}

/// The flows of one listener on one shard, with `T` of the driver's in each.
#[derive(Debug)]
pub struct Flows<T> {
    limits: Limits,
    by_key: HashMap<FlowKey, u32, Seed>,
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    asking: List,
    talking: List,
}

/// Why a flow ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Silence.
    Idle,
    /// It had all its replies.
    Answered,
    /// It made room for another one.
    Evicted,
    /// Its driver wanted so.
    Closed,
}

/// A flow that has ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended<T> {
    /// Which it was.
    pub key: FlowKey,
    /// What the driver kept with it.
    pub data: T,
    /// Why.
    pub why: Ending,
}

/// A flow that was opened.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened<T> {
    /// Its name.
    pub id: FlowId,
    /// The flow that had to end for it.
    pub ended: Option<Ended<T>>,
}

/// There is no room, and no flow that may be ended for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the table of flows is full")]
pub struct Full;

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    flow: Option<Flow<T>>,
}

#[derive(Debug)]
struct Flow<T> {
    key: FlowKey,
    data: T,
    heard: Instant,
    /// Replies that are still expected; counts only where a limit says so.
    owed: u64,
    is_talking: bool,
    before: u32,
    behind: u32,
}

/// A list through the slots, longest silent first.
#[derive(Debug, Clone, Copy)]
struct List {
    oldest: u32,
    newest: u32,
}

const NONE: u32 = u32::MAX;
const EMPTY: List = List { oldest: NONE, newest: NONE };

impl<T> Flows<T> {
    /// An empty table. `seed` makes its places unpredictable for those who choose addresses.
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self {
            limits,
            by_key: HashMap::with_hasher(Seed(seed)),
            slots: Vec::new(),
            free: Vec::new(),
            asking: EMPTY,
            talking: EMPTY,
        }
    }

    /// New bounds from now on. Flows above a lower maximum stay until they end.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// How many flows there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The flow of `key`, which a datagram of `count` requests has just come for.
    pub fn request(&mut self, now: Instant, key: &FlowKey, count: u64) -> Option<FlowId> {
        let slot = *self.by_key.get(key)?;
        let replies = self.limits.replies.map_or(0, u64::from);
        let flow = self.flow_mut(slot)?;
        flow.owed = flow.owed.saturating_add(count.saturating_mul(replies));
        self.touch(now, slot);
        Some(self.id(slot))
    }

    /// Opens a flow for `key`, which has none, with its first `count` requests.
    ///
    /// # Errors
    /// [`Full`], with the data.
    pub fn open(
        &mut self,
        now: Instant,
        key: FlowKey,
        count: u64,
        data: T,
    ) -> Result<Opened<T>, (Full, T)> {
        debug_assert!(!self.by_key.contains_key(&key), "a key has one flow");
        let mut ended = None;
        if self.len() >= self.limits.flows_max.max(1) {
            let Some(slot) = self.dispensable(now) else { return Err((Full, data)) };
            ended = self.end(slot, Ending::Evicted);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, flow: None });
            u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
        });
        let owed = count.saturating_mul(self.limits.replies.map_or(0, u64::from));
        let flow =
            Flow { key, data, heard: now, owed, is_talking: false, before: NONE, behind: NONE };
        if let Some(place) = self.slots.get_mut(slot as usize) {
            place.flow = Some(flow);
        }
        self.by_key.insert(key, slot);
        self.link(slot);
        self.check_invariants();
        Ok(Opened { id: self.id(slot), ended })
    }

    /// A datagram of `count` replies has come from the flow's endpoint. The flow comes back if that
    /// was its end; the replies are still to be sent.
    pub fn reply(&mut self, now: Instant, id: FlowId, count: u64) -> Option<Ended<T>> {
        let slot = self.find(id)?;
        let is_counted = self.limits.replies.is_some();
        let flow = self.flow_mut(slot)?;
        flow.owed = flow.owed.saturating_sub(count);
        if is_counted && flow.owed == 0 {
            return self.end(slot, Ending::Answered);
        }
        if !flow.is_talking {
            self.unlink(slot);
            if let Some(flow) = self.flow_mut(slot) {
                flow.is_talking = true;
            }
            self.link(slot);
        }
        self.touch(now, slot);
        None
    }

    /// What the driver keeps with a flow.
    pub fn data(&self, id: FlowId) -> Option<&T> {
        let slot = self.find(id)?;
        self.slots.get(slot as usize)?.flow.as_ref().map(|flow| &flow.data)
    }

    /// Changes what the driver keeps with a flow.
    pub fn with_data(&mut self, id: FlowId, change: impl FnOnce(&mut T)) {
        let slot = self.find(id);
        if let Some(flow) = slot.and_then(|slot| self.flow_mut(slot)) {
            change(&mut flow.data);
        }
    }

    /// Ends a flow.
    pub fn close(&mut self, id: FlowId) -> Option<Ended<T>> {
        let slot = self.find(id)?;
        self.end(slot, Ending::Closed)
    }

    /// When the next flow is silent for too long; none without flows.
    pub fn next_timeout(&self) -> Option<Instant> {
        let of = |list: List| self.flow(list.oldest).map(|flow| flow.heard + self.limits.idle);
        match (of(self.asking), of(self.talking)) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Ends one flow that has been silent for too long; call it until there is none.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Ended<T>> {
        for list in [self.asking, self.talking] {
            if self.flow(list.oldest).is_some_and(|flow| flow.heard + self.limits.idle <= now) {
                return self.end(list.oldest, Ending::Idle);
            }
        }
        None
    }

    /// Ends every flow whose data `keep` doesn't want: those of endpoints that a new configuration
    /// no longer has.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) -> Vec<Ended<T>> {
        let unwanted = |(slot, place): (usize, &Slot<T>)| {
            let flow = place.flow.as_ref()?;
            (!keep(&flow.data)).then(|| u32::try_from(slot).unwrap_or(NONE))
        };
        let slots: Vec<u32> = self.slots.iter().enumerate().filter_map(unwanted).collect();
        slots.into_iter().filter_map(|slot| self.end(slot, Ending::Closed)).collect()
    }

    /// The flow that may make room.
    fn dispensable(&self, now: Instant) -> Option<u32> {
        if self.asking.oldest != NONE {
            return Some(self.asking.oldest);
        }
        let oldest = self.flow(self.talking.oldest)?;
        let is_resting = oldest.heard + self.limits.idle / EVICT_AFTER <= now;
        is_resting.then_some(self.talking.oldest)
    }

    fn end(&mut self, slot: u32, why: Ending) -> Option<Ended<T>> {
        self.unlink(slot);
        let place = self.slots.get_mut(slot as usize)?;
        let flow = place.flow.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(slot);
        self.by_key.remove(&flow.key);
        self.check_invariants();
        Some(Ended { key: flow.key, data: flow.data, why })
    }

    fn id(&self, slot: u32) -> FlowId {
        let generation = self.slots.get(slot as usize).map_or(0, |place| place.generation);
        FlowId { slot, generation }
    }

    fn find(&self, id: FlowId) -> Option<u32> {
        let place = self.slots.get(id.slot as usize)?;
        (place.generation == id.generation && place.flow.is_some()).then_some(id.slot)
    }

    fn flow(&self, slot: u32) -> Option<&Flow<T>> {
        self.slots.get(slot as usize)?.flow.as_ref()
    }

    fn flow_mut(&mut self, slot: u32) -> Option<&mut Flow<T>> {
        self.slots.get_mut(slot as usize)?.flow.as_mut()
    }

    /// Something was heard of the flow: it is the newest of its list.
    fn touch(&mut self, now: Instant, slot: u32) {
        let Some(flow) = self.flow_mut(slot) else { return };
        flow.heard = now;
        if flow.behind != NONE {
            self.unlink(slot);
            self.link(slot);
        }
    }

    fn list(&mut self, is_talking: bool) -> &mut List {
        if is_talking { &mut self.talking } else { &mut self.asking }
    }

    /// Puts a flow at the end of its list.
    fn link(&mut self, slot: u32) {
        let Some(is_talking) = self.flow(slot).map(|flow| flow.is_talking) else { return };
        let last = std::mem::replace(&mut self.list(is_talking).newest, slot);
        if let Some(flow) = self.flow_mut(slot) {
            (flow.before, flow.behind) = (last, NONE);
        }
        match self.flow_mut(last) {
            Some(last) => last.behind = slot,
            None => self.list(is_talking).oldest = slot,
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Some((before, behind, is_talking)) =
            self.flow(slot).map(|flow| (flow.before, flow.behind, flow.is_talking))
        else {
            return;
        };
        match self.flow_mut(before) {
            Some(flow) => flow.behind = behind,
            None => self.list(is_talking).oldest = behind,
        }
        match self.flow_mut(behind) {
            Some(flow) => flow.before = before,
            None => self.list(is_talking).newest = before,
        }
    }

    #[inline]
    fn check_invariants(&self) {
        debug_assert_eq!(self.by_key.len() + self.free.len(), self.slots.len(), "each slot is one");
        debug_assert_eq!(self.asking.oldest == NONE, self.asking.newest == NONE);
        debug_assert_eq!(self.talking.oldest == NONE, self.talking.newest == NONE);
    }
}

/// A flow that talks may be ended for another one after this part of its idle time.
const EVICT_AFTER: u32 = 4;

/// Hashes keys with a seed: one multiplication for eight bytes. Addresses are short and an attacker
/// doesn't know the seed.
#[derive(Debug, Clone, Copy)]
struct Seed(u64);

impl BuildHasher for Seed {
    type Hasher = Mixer;

    fn build_hasher(&self) -> Mixer {
        Mixer(self.0)
    }
}

struct Mixer(u64);

impl Mixer {
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(0x9E37_79B9_7F4A_7C15_u64);
        let [low, high] = [product, product >> 64]
            .map(|half| u64::try_from(half & u128::from(u64::MAX)).unwrap_or(0));
        self.0 = low ^ high ^ word.rotate_left(32);
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(value.into());
    }

    fn write_u16(&mut self, value: u16) {
        self.mix(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_isize(&mut self, value: isize) {
        self.mix(value.cast_unsigned() as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 29
    }
}
