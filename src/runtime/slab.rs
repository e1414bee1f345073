//! A slab of small records that never move: operations, sockets, tasks and timers live in one each.
//!
//! ```text
//!   chunks ─▶ [ ptr | ptr | … ]          index = chunk << 8 | place
//!               │     └─▶ [ T; 256 ]     records are only ever shared (`&T`), their fields are cells
//!               └─▶ [ T; 256 ]           free records are chained through `Record::link`
//! ```
//!
//! Records keep their address for the life of the slab, so the kernel may be given pointers into
//! them. Growing allocates one chunk; giving a record back never frees memory. It does not track
//! who owns an index: its users carry a generation where a stale index could come back.

#![expect(unsafe_code, reason = "chunks are raw so that growing never moves or retags a record")]

use std::{
    cell::{Cell, UnsafeCell},
    fmt,
    ptr::NonNull,
};

/// The index that names no record.
pub(crate) const NONE: u32 = u32::MAX;

const CHUNK_SHIFT: u32 = 8;
const CHUNK_LEN: usize = 1 << CHUNK_SHIFT;

/// What a slab holds: a record that is blank by default and lends a cell to the free chain.
pub(crate) trait Record: Default {
    /// The next free record while this one is free; the record's own business while it is taken.
    fn link(&self) -> &Cell<u32>;
}

/// A growing array of records with stable addresses.
pub(crate) struct Slab<T: Record> {
    chunks: UnsafeCell<Vec<NonNull<T>>>,
    free: Cell<u32>,
    live: Cell<u32>,
}

impl<T: Record> Slab<T> {
    /// An empty slab; nothing is allocated before the first `take`.
    pub(crate) const fn new() -> Self {
        Self { chunks: UnsafeCell::new(Vec::new()), free: Cell::new(NONE), live: Cell::new(0) }
    }

    /// Records taken and not given back.
    pub(crate) fn live(&self) -> u32 {
        self.live.get()
    }

    /// Records that exist, taken or not.
    pub(crate) fn capacity(&self) -> u32 {
        // SAFETY: one thread (the slab is not `Sync`), and no `&mut` to the vector outlives `grow`.
        let chunks = unsafe { &*self.chunks.get() };
        u32::try_from(chunks.len() << CHUNK_SHIFT).unwrap_or(u32::MAX)
    }

    /// The record at `index`, or `None` if the slab never had one there.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        // SAFETY: one thread, and no `&mut` to the vector outlives `grow`.
        let chunks = unsafe { &*self.chunks.get() };
        let chunk = chunks.get((index >> CHUNK_SHIFT) as usize)?;
        let place = (index as usize) & (CHUNK_LEN - 1);
        // SAFETY: every chunk is an array of CHUNK_LEN records and `place` is below that.
        let record = unsafe { chunk.add(place) };
        // SAFETY: chunks are freed only by `Drop`, and records are never borrowed mutably.
        Some(unsafe { record.as_ref() })
    }

    /// Takes a blank or once used record: its index.
    #[inline]
    pub(crate) fn take(&self) -> u32 {
        if self.free.get() == NONE {
            self.grow();
        }
        let index = self.free.get();
        if let Some(record) = self.get(index) {
            self.free.set(record.link().get());
            record.link().set(NONE);
        }
        self.live.set(self.live.get() + 1);
        index
    }

    /// Puts a taken record back. The caller has reset it and lets nobody use its index again.
    #[inline]
    pub(crate) fn give(&self, index: u32) {
        if let Some(record) = self.get(index) {
            record.link().set(self.free.get());
            self.free.set(index);
            debug_assert!(self.live.get() > 0, "a record is given back once");
            self.live.set(self.live.get() - 1);
        }
    }

    #[cold]
    fn grow(&self) {
        let first = self.capacity();
        let chunk: Box<[T]> = (0..CHUNK_LEN).map(|_| T::default()).collect();
        for (place, record) in (0_u32..).zip(&chunk) {
            let next = first + place + 1;
            let is_last = place as usize == CHUNK_LEN - 1;
            record.link().set(if is_last { self.free.get() } else { next });
        }
        let Some(chunk) = NonNull::new(Box::into_raw(chunk).cast::<T>()) else { return };
        // SAFETY: one thread, and no reference into the vector itself is held by any caller
        // (`get` hands out references into chunks only).
        let chunks = unsafe { &mut *self.chunks.get() };
        chunks.push(chunk);
        self.free.set(first);
    }
}

impl<T: Record> Drop for Slab<T> {
    fn drop(&mut self) {
        for chunk in self.chunks.get_mut().drain(..) {
            let slice = NonNull::slice_from_raw_parts(chunk, CHUNK_LEN);
            // SAFETY: `grow` made this pointer from a boxed slice of CHUNK_LEN records, and it is
            // turned back once, here; `&mut self` proves that no record is borrowed.
            drop(unsafe { Box::from_raw(slice.as_ptr()) });
        }
    }
}

impl<T: Record> fmt::Debug for Slab<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slab").field("live", &self.live.get()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Plain {
        link: Cell<u32>,
        value: Cell<u32>,
    }

    impl Default for Plain {
        fn default() -> Self {
            Self { link: Cell::new(NONE), value: Cell::new(0) }
        }
    }

    impl Record for Plain {
        fn link(&self) -> &Cell<u32> {
            &self.link
        }
    }

    #[test]
    fn records_keep_their_address_while_the_slab_grows() {
        let slab = Slab::<Plain>::new();
        let first = slab.take();
        let before = std::ptr::from_ref(slab.get(first).unwrap());
        let mut taken: Vec<u32> = (0..1000).map(|_| slab.take()).collect();
        assert_eq!(std::ptr::from_ref(slab.get(first).unwrap()), before);
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), 1000, "no index is handed out twice");
        assert_eq!(slab.live(), 1001);
    }

    #[test]
    fn a_record_given_back_is_the_next_one_taken() {
        let slab = Slab::<Plain>::new();
        let (a, b) = (slab.take(), slab.take());
        slab.get(a).unwrap().value.set(7);
        slab.give(a);
        assert_eq!(slab.take(), a);
        assert_ne!(a, b);
        assert!(slab.get(NONE).is_none());
    }
}
