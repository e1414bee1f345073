//! The streams of a connection by number, and the memory of those that are over.
//!
//! ```text
//!   index  [ ][3][ ][1][ ]...   by (id / 2) mod size, next free place on a clash
//!   slots  [7][1][9]...         streams, in no order; free ones are reused
//! ```
//! Numbers rise by two, so places hardly ever clash; a client that picks clashing ones makes us
//! look at as many places as it may have streams.

use super::stream::Stream;

/// Streams that are open or half-closed.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    slots: Vec<Stream>,
    /// Slot plus one; 0 is free. A power of two, at least twice as long as there are streams.
    index: Vec<u16>,
}

impl Streams {
    /// How many there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    #[inline]
    pub(crate) fn find(&self, id: u32) -> Option<&Stream> {
        self.slots.get(self.slot_of(id)?)
    }

    #[inline]
    pub(crate) fn find_mut(&mut self, id: u32) -> Option<&mut Stream> {
        let slot = self.slot_of(id)?;
        self.slots.get_mut(slot)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.slots.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.slots.iter_mut()
    }

    /// Adds a stream whose number isn't there.
    pub(crate) fn insert(&mut self, stream: Stream) {
        debug_assert!(self.find(stream.id).is_none(), "numbers are used once");
        if (self.slots.len() + 1) * 2 > self.index.len() {
            self.grow();
        }
        let id = stream.id;
        self.slots.push(stream);
        let slot = u16::try_from(self.slots.len()).unwrap_or(u16::MAX);
        self.place(id, slot);
    }

    /// Takes a stream out.
    pub(crate) fn remove(&mut self, id: u32) -> Option<Stream> {
        let place = self.place_of(id)?;
        let slot = usize::from(self.index.get(place)?.checked_sub(1)?);
        self.vacate(place);
        let last = self.slots.len() - 1;
        if slot != last {
            // The last one moves into the hole: its place must point there.
            let moved = self.slots.get(last).map(|stream| stream.id)?;
            let number = u16::try_from(slot + 1).unwrap_or(u16::MAX);
            if let Some(entry) = self.place_of(moved).and_then(|at| self.index.get_mut(at)) {
                *entry = number;
            }
        }
        Some(self.slots.swap_remove(slot))
    }

    #[inline]
    fn slot_of(&self, id: u32) -> Option<usize> {
        let place = self.place_of(id)?;
        self.index.get(place).and_then(|slot| usize::from(*slot).checked_sub(1))
    }

    /// Where `id` stands in the index.
    #[inline]
    fn place_of(&self, id: u32) -> Option<usize> {
        let mask = self.index.len().checked_sub(1)?;
        let mut at = home(id, mask);
        loop {
            let slot = usize::from(*self.index.get(at)?).checked_sub(1)?;
            if self.slots.get(slot)?.id == id {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
    }

    fn place(&mut self, id: u32, slot: u16) {
        let Some(mask) = self.index.len().checked_sub(1) else { return };
        let mut at = home(id, mask);
        while let Some(entry) = self.index.get_mut(at) {
            if *entry == 0 {
                *entry = slot;
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// Frees a place and closes the gap, so that searches find what stood behind it.
    fn vacate(&mut self, place: usize) {
        let Some(mask) = self.index.len().checked_sub(1) else { return };
        let (mut hole, mut at) = (place, (place + 1) & mask);
        loop {
            let slot = self.index.get(at).copied().unwrap_or(0);
            let Some(id) = usize::from(slot)
                .checked_sub(1)
                .and_then(|slot| self.slots.get(slot))
                .map(|stream| stream.id)
            else {
                break;
            };
            // It may move back if its home isn't behind the hole.
            let distance = at.wrapping_sub(home(id, mask)) & mask;
            if distance >= at.wrapping_sub(hole) & mask {
                if let Some(entry) = self.index.get_mut(hole) {
                    *entry = slot;
                }
                hole = at;
            }
            at = (at + 1) & mask;
        }
        if let Some(entry) = self.index.get_mut(hole) {
            *entry = 0;
        }
    }

    fn grow(&mut self) {
        let size = (self.index.len() * 2).max(INDEX_LEN_MIN);
        self.index.clear();
        self.index.resize(size, 0);
        for at in 0..self.slots.len() {
            let Some(id) = self.slots.get(at).map(|stream| stream.id) else { break };
            self.place(id, u16::try_from(at + 1).unwrap_or(u16::MAX));
        }
    }
}

const INDEX_LEN_MIN: usize = 16;

#[inline]
fn home(id: u32, mask: usize) -> usize {
    (id >> 1) as usize & mask
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Both sides ended, or they reset it: nothing more may come.
    Theirs,
    /// We reset it: what they sent before they heard of it still comes, and is ignored.
    Ours,
    /// Too long ago to say: ignored, too.
    Forgotten,
    /// It never was opened, although higher ones were.
    Never,
}

/// The streams that closed last, for frames that come too late (RFC 9113 §5.1).
#[derive(Debug, Default)]
pub(crate) struct Closed {
    /// Number and ending; a ring once it is full.
    latest: Vec<(u32, Ending)>,
    next: usize,
    /// The highest number that fell out of the ring.
    forgotten: u32,
}

impl Closed {
    /// Remembers how `id` ended.
    pub(crate) fn push(&mut self, id: u32, ending: Ending) {
        if self.latest.len() < CLOSED_MAX {
            self.latest.push((id, ending));
            return;
        }
        if let Some(entry) = self.latest.get_mut(self.next) {
            self.forgotten = self.forgotten.max(entry.0);
            *entry = (id, ending);
        }
        self.next = (self.next + 1) % CLOSED_MAX;
    }

    /// How `id` ended; it isn't open and isn't above the highest one opened.
    pub(crate) fn ending(&self, id: u32) -> Ending {
        match self.latest.iter().rev().find(|(number, _)| *number == id) {
            Some((_, ending)) => *ending,
            None if id <= self.forgotten => Ending::Forgotten,
            None => Ending::Never,
        }
    }
}

/// Enough for all streams of a connection to be reset within a round trip.
const CLOSED_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_found_whatever_came_and_went() {
        let mut streams = Streams::default();
        let mut model = std::collections::BTreeSet::new();
        let mut state = 7u64;
        for _ in 0..50_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Few homes, so that many clash.
            let id = u32::try_from((state >> 40) % 64).unwrap() * 32 + 1;
            if model.contains(&id) {
                assert_eq!(streams.remove(id).map(|stream| stream.id), Some(id));
                model.remove(&id);
            } else {
                streams.insert(Stream::new(id, 0, 0));
                model.insert(id);
            }
            assert_eq!(streams.len(), model.len());
            for id in (1..64 * 32).step_by(32) {
                assert_eq!(streams.find(id).map(|s| s.id), model.get(&id).copied());
            }
        }
        assert!(streams.remove(3).is_none());
    }

    #[test]
    fn old_endings_are_forgotten_and_never_mistaken() {
        let mut closed = Closed::default();
        for id in (1..=2 * 200).step_by(2) {
            closed.push(id, if id % 4 == 1 { Ending::Ours } else { Ending::Theirs });
        }
        assert_eq!(closed.ending(399), Ending::Theirs);
        assert_eq!(closed.ending(397), Ending::Ours);
        assert_eq!(closed.ending(1), Ending::Forgotten);
        assert_eq!(closed.ending(398), Ending::Never);
        assert!(closed.latest.len() <= CLOSED_MAX);
    }
}
