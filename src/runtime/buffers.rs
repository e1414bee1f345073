//! The shard's receive buffers: one piece of memory, cut into equal buffers with an id each.
//!
//! ```text
//!   driver's free list ──(data arrives)──▶ op slot (done) ──▶ RecvBuf ──drop──▶ free list
//!        ▲                                                                        │
//!        └──────── waiters: receives that found no buffer, first in, first out ◀──┘
//! ```
//!
//! The driver keeps the free buffers (the ring in a kernel-visible ring, the others in a stack);
//! this file owns the memory, counts what is out, and keeps the receives that wait. An idle
//! receive holds no buffer. A waiter is tried again when *any* buffer is free, never only when its
//! own connection makes progress: with few buffers the latter hangs for good.

#![expect(unsafe_code, reason = "maps the buffers and hands out slices of them")]

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt, io,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    rc::Rc,
    slice,
};

use crate::runtime::shard;

/// A received piece: a leased ring buffer, given back when dropped.
///
/// Empty means end of stream. Keep it no longer than needed: while it lives, one of the shard's
/// `buffer_count` buffers is out, and when all are out receives wait.
pub struct RecvBuf {
    start: NonNull<u8>,
    len: u32,
    id: u16,
    pool: u16,
    _not_send: PhantomData<Rc<()>>,
}

/// The id of an empty `RecvBuf`, which has no buffer.
const NO_BUFFER: u16 = u16::MAX;

impl RecvBuf {
    /// What stands for the end of a stream.
    pub(crate) const fn empty() -> Self {
        Self { start: NonNull::dangling(), len: 0, id: NO_BUFFER, pool: 0, _not_send: PhantomData }
    }

    /// Drops `n` bytes at the front (all of them if there are fewer).
    pub fn advance(&mut self, n: usize) {
        let n = u32::try_from(n).unwrap_or(u32::MAX).min(self.len);
        // SAFETY: `n <= len`, so the pointer stays inside the buffer or one past its end.
        self.start = unsafe { self.start.add(n as usize) };
        self.len -= n;
    }

    /// Keeps only the first `n` bytes.
    pub fn truncate(&mut self, n: usize) {
        self.len = u32::try_from(n).unwrap_or(u32::MAX).min(self.len);
    }
}

impl Deref for RecvBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: `start..start+len` was filled by the driver, and until `Drop` it belongs to this
        // value alone. The pool's memory outlives it (see `Pool::drop`).
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len as usize) }
    }
}

impl DerefMut for RecvBuf {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and `&mut self` makes it the only access.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len as usize) }
    }
}

impl AsRef<[u8]> for RecvBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for RecvBuf {
    #[inline]
    fn drop(&mut self) {
        if self.id != NO_BUFFER {
            let (id, pool) = (self.id, self.pool);
            // Without a runtime there is nothing to give back to; the pool was leaked (`Pool`).
            shard::try_with(|shard| {
                if shard.pool.number == pool {
                    shard.recycle(id);
                }
            });
        }
    }
}

impl fmt::Debug for RecvBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvBuf").field("len", &self.len).finish_non_exhaustive()
    }
}

/// The memory of a shard's receive buffers.
pub(crate) struct Pool {
    memory: Mapping,
    count: u16,
    size: u32,
    in_use: Cell<u32>,
    /// Told apart from the pools of runtimes that this thread had before.
    number: u16,
}

impl Pool {
    /// Maps `count` buffers of `size` bytes. Pages are touched only when first used.
    pub(crate) fn new(count: u16, size: u32) -> io::Result<Self> {
        thread_local! {
            static NUMBER: Cell<u16> = const { Cell::new(0) };
        }
        let number = NUMBER.get().wrapping_add(1);
        NUMBER.set(number);
        let memory = Mapping::new(usize::from(count) * size as usize)?;
        Ok(Self { memory, count, size, in_use: Cell::new(0), number })
    }

    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    /// Buffers that are with the caller or in a finished operation.
    pub(crate) fn in_use(&self) -> u32 {
        self.in_use.get()
    }

    /// Buffers that are not known to be out.
    pub(crate) fn free(&self) -> u32 {
        u32::from(self.count).saturating_sub(self.in_use.get())
    }

    /// Where buffer `id` begins.
    #[inline]
    pub(crate) fn address(&self, id: u16) -> NonNull<u8> {
        debug_assert!(id < self.count, "the driver names existing buffers only");
        let offset = usize::from(id) * self.size as usize;
        // SAFETY: `id < count`, so the offset lies inside the mapping.
        unsafe { self.memory.start.add(offset) }
    }

    /// A completion brought buffer `id`: it is out from now on.
    #[inline]
    pub(crate) fn take(&self, _id: u16) {
        self.in_use.set(self.in_use.get() + 1);
    }

    /// Buffer `id` goes back to the driver.
    #[inline]
    pub(crate) fn give(&self, _id: u16) {
        debug_assert!(self.in_use.get() > 0, "a buffer is given back once");
        self.in_use.set(self.in_use.get().saturating_sub(1));
    }

    /// Wraps the `len` bytes that the driver wrote into buffer `id`, which is out.
    #[inline]
    pub(crate) fn wrap(&self, id: u16, len: u32) -> RecvBuf {
        debug_assert!(len <= self.size, "a receive fills at most one buffer");
        let len = len.min(self.size);
        RecvBuf { start: self.address(id), len, id, pool: self.number, _not_send: PhantomData }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.in_use.get() > 0 {
            // A `RecvBuf` outlives its runtime (or an operation could not be drained). Its memory
            // must stay readable, so the mapping is leaked.
            tracing::warn!(buffers = self.in_use.get(), "receive buffers outlive their runtime");
            self.memory.len = 0;
        }
    }
}

/// An anonymous private mapping: page aligned, zeroed, not resident before it is touched.
pub(crate) struct Mapping {
    pub(crate) start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let len = len.max(1);
        // SAFETY: a fresh anonymous mapping touches no existing memory.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: this is the mapping that `new` made; its owner says that nobody uses it.
            let _ = unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
        }
    }
}

/// Receives that found no buffer, oldest first: (slot, generation). Dropped ones stay as stale
/// entries until they are popped.
#[derive(Default)]
pub(crate) struct Waiters {
    queue: RefCell<VecDeque<(u32, u32)>>,
    waited: Cell<u64>,
}

impl Waiters {
    pub(crate) fn push(&self, slot: u32, generation: u32) {
        self.waited.set(self.waited.get() + 1);
        self.queue.borrow_mut().push_back((slot, generation));
    }

    pub(crate) fn pop(&self) -> Option<(u32, u32)> {
        self.queue.borrow_mut().pop_front()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// How often a receive had to wait, since the start.
    pub(crate) fn waited(&self) -> u64 {
        self.waited.get()
    }
}
