//! Large hot buffers for bodies: 256 KiB each, last in, first out, so that the few that are active
//! stay in the cache.
//!
//! Body buffer size and cache-hotness decide the cost of a large body (up to five-fold), which is
//! why these are few, large, and shared by all connections of the shard instead of owned by each.
//! Their number is bounded by `Options::lease_bytes_max`; when all are out, `lease` says `None` and
//! the caller goes on with small receives.

#![expect(unsafe_code, reason = "hands out slices of raw allocations")]

use std::{
    alloc::{self, Layout},
    cell::{Cell, RefCell},
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    rc::Rc,
    slice,
};

use crate::runtime::shard;

/// Bytes in a [`Lease`].
pub const LEASE_SIZE: usize = 256 << 10;

const LAYOUT: Layout = match Layout::from_size_align(LEASE_SIZE, 4096) {
    Ok(layout) => layout,
    Err(_) => Layout::new::<u8>(),
};
const _: () = assert!(LAYOUT.size() == LEASE_SIZE);

/// A 256 KiB hot buffer of the shard's LIFO slab, given back when dropped. Always fully readable:
/// it begins zeroed and later holds whatever its previous user left.
pub struct Lease {
    start: NonNull<u8>,
    _not_send: PhantomData<Rc<()>>,
}

/// Borrows a large buffer of this shard. `None` when `lease_bytes_max` are out: fall back to
/// [`recv`](crate::runtime::TcpStream::recv).
///
/// # Panics
/// Outside of a runtime.
pub fn lease() -> Option<Lease> {
    shard::with(|shard| shard.leases.take())
}

impl Lease {
    /// A lease outside of every limit, for the one case in which an operation can't give back its
    /// own: its runtime is gone.
    pub(crate) fn stand_in() -> Self {
        // SAFETY: the layout's size isn't zero.
        let start = NonNull::new(unsafe { alloc::alloc_zeroed(LAYOUT) });
        let start = start.unwrap_or_else(|| alloc::handle_alloc_error(LAYOUT));
        Self { start, _not_send: PhantomData }
    }
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the allocation has LEASE_SIZE initialised bytes and belongs to this value alone.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), LEASE_SIZE) }
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and `&mut self` makes it the only access.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), LEASE_SIZE) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if shard::try_with(|shard| shard.leases.give(self.start)).is_none() {
            free(self.start);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lease")
    }
}

/// The shard's stack of free leases.
pub(crate) struct Leases {
    free: RefCell<Vec<NonNull<u8>>>,
    out: Cell<u32>,
    max: u32,
}

impl Leases {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let max = u32::try_from(bytes_max / LEASE_SIZE).unwrap_or(u32::MAX);
        Self { free: RefCell::default(), out: Cell::new(0), max }
    }

    pub(crate) fn out(&self) -> u32 {
        self.out.get()
    }

    fn take(&self) -> Option<Lease> {
        if self.out.get() >= self.max {
            return None;
        }
        let recycled = self.free.borrow_mut().pop();
        let start = match recycled {
            Some(start) => start,
            // SAFETY: the layout's size isn't zero.
            None => NonNull::new(unsafe { alloc::alloc_zeroed(LAYOUT) })?,
        };
        self.out.set(self.out.get() + 1);
        Some(Lease { start, _not_send: PhantomData })
    }

    fn give(&self, start: NonNull<u8>) {
        // A lease of an earlier runtime of this thread only adds to the stack.
        self.out.set(self.out.get().saturating_sub(1));
        self.free.borrow_mut().push(start);
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        for start in self.free.get_mut().drain(..) {
            free(start);
        }
    }
}

fn free(start: NonNull<u8>) {
    // SAFETY: leases are allocated with LAYOUT and freed once, by their last owner.
    unsafe { alloc::dealloc(start.as_ptr(), LAYOUT) };
}
