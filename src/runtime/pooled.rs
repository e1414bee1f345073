//! Boxed futures from per-thread free lists: what `Box::pin` does, without the heap once warm.
//!
//! ```text
//!   new ──▶ free list of the size class ──▶ heap (first time only)
//!   drop ─▶ free list (at most CLASS_KEEP_BYTES a class) ──▶ heap
//! ```
//!
//! Sizes are rounded up to 64 bytes (to 512 above 2 KiB) and futures above 16 KiB go to the heap
//! every time. A freed block serves the next future of its class, the most recent first, so it is
//! still in the cache. The memory never leaves its thread, so a `PooledFuture` is not `Send`.

#![expect(unsafe_code, reason = "places futures in recycled memory")]

use std::{
    alloc::{self, Layout},
    cell::UnsafeCell,
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    ptr::NonNull,
    task::{Context, Poll},
};

/// A boxed future whose memory comes from a per-thread free list by size class: no heap
/// allocation after warm-up. Awaiting it costs one indirect call, like a `Box<dyn Future>`.
///
/// *Cancel safety*: that of the future inside; dropping this drops it.
pub struct PooledFuture<'a, T> {
    future: NonNull<dyn Future<Output = T> + 'a>,
    _not_send: PhantomData<*mut ()>,
}

impl<'a, T> PooledFuture<'a, T> {
    /// Moves `future` into a block of its size class.
    pub fn new<F: Future<Output = T> + 'a>(future: F) -> Self {
        let layout = Layout::new::<F>();
        let place: NonNull<F> = allocate(layout).cast();
        // SAFETY: the block is at least as large and aligned as `F` asks for, and is ours alone.
        unsafe { place.write(future) };
        let future: NonNull<dyn Future<Output = T> + 'a> = place;
        Self { future, _not_send: PhantomData }
    }
}

impl<T> Future for PooledFuture<'_, T> {
    type Output = T;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // SAFETY: the pointer is valid until `Drop`, and `&mut self` makes this the only access.
        let future = unsafe { self.future.as_mut() };
        // SAFETY: the block never moves and is dropped in place, so the future inside is pinned.
        unsafe { Pin::new_unchecked(future) }.poll(cx)
    }
}

impl<T> Drop for PooledFuture<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the future was written by `new` and is still there.
        let layout = Layout::for_value(unsafe { self.future.as_ref() });
        // SAFETY: dropped once, here, in place as pinning demands.
        unsafe { self.future.drop_in_place() };
        release(self.future.cast(), layout);
    }
}

impl<T> fmt::Debug for PooledFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PooledFuture")
    }
}

/// Every block is aligned to this; futures that want more go to the heap.
const BLOCK_ALIGN: usize = 64;
/// Step of the small classes, and the largest small block.
const SMALL_STEP: usize = 64;
const SMALL_MAX: usize = 2 << 10;
/// Step of the large classes, and the largest block that is kept.
const LARGE_STEP: usize = 512;
const LARGE_MAX: usize = 16 << 10;
const CLASSES: usize = SMALL_MAX / SMALL_STEP + (LARGE_MAX - SMALL_MAX) / LARGE_STEP;
/// What one class keeps for later; beyond that blocks return to the heap.
const CLASS_KEEP_BYTES: usize = 4 << 20;

const _: () = assert!(SMALL_MAX.is_multiple_of(LARGE_STEP) && SMALL_STEP >= BLOCK_ALIGN);

/// A free block holds the link to the next one.
struct FreeBlock {
    next: Option<NonNull<Self>>,
}

struct FreeLists {
    heads: [Option<NonNull<FreeBlock>>; CLASSES],
    counts: [u32; CLASSES],
}

impl Drop for FreeLists {
    fn drop(&mut self) {
        for (class, head) in self.heads.iter_mut().enumerate() {
            while let Some(block) = head.take() {
                // SAFETY: a listed block holds a `FreeBlock` that `release` wrote.
                *head = unsafe { block.as_ref() }.next;
                // SAFETY: listed blocks came from `alloc` with exactly this layout.
                unsafe { alloc::dealloc(block.as_ptr().cast(), block_layout(class)) };
            }
        }
    }
}

thread_local! {
    static FREE: UnsafeCell<FreeLists> = const {
        UnsafeCell::new(FreeLists { heads: [None; CLASSES], counts: [0; CLASSES] })
    };
}

/// The size class of a layout, or `None` when it is served by the heap.
fn class_of(layout: Layout) -> Option<usize> {
    if layout.align() > BLOCK_ALIGN || layout.size() > LARGE_MAX {
        None
    } else if layout.size() <= SMALL_MAX {
        Some(layout.size().max(1).div_ceil(SMALL_STEP) - 1)
    } else {
        Some(SMALL_MAX / SMALL_STEP - 1 + (layout.size() - SMALL_MAX).div_ceil(LARGE_STEP))
    }
}

fn block_layout(class: usize) -> Layout {
    const SMALL: usize = SMALL_MAX / SMALL_STEP;
    let size = if class < SMALL {
        (class + 1) * SMALL_STEP
    } else {
        SMALL_MAX + (class + 1 - SMALL) * LARGE_STEP
    };
    Layout::from_size_align(size, BLOCK_ALIGN).unwrap_or(Layout::new::<u64>())
}

fn allocate(layout: Layout) -> NonNull<u8> {
    let Some(class) = class_of(layout) else { return from_heap(layout) };
    let recycled = FREE
        .try_with(|free| {
            // SAFETY: one thread, and nothing below calls back into this module.
            let free = unsafe { &mut *free.get() };
            let block = free.heads[class]?;
            // SAFETY: a listed block holds a `FreeBlock` that `release` wrote.
            free.heads[class] = unsafe { block.as_ref() }.next;
            free.counts[class] -= 1;
            Some(block.cast::<u8>())
        })
        .ok()
        .flatten();
    recycled.unwrap_or_else(|| from_heap(block_layout(class)))
}

fn release(block: NonNull<u8>, layout: Layout) {
    let Some(class) = class_of(layout) else {
        if layout.size() > 0 {
            // SAFETY: blocks without a class came from `from_heap` with this very layout.
            unsafe { alloc::dealloc(block.as_ptr(), layout) };
        }
        return;
    };
    let size = block_layout(class).size();
    let kept = FREE.try_with(|free| {
        // SAFETY: one thread, and nothing below calls back into this module.
        let free = unsafe { &mut *free.get() };
        if free.counts[class] as usize * size >= CLASS_KEEP_BYTES {
            return false;
        }
        let block = block.cast::<FreeBlock>();
        // SAFETY: the block is free, ours, and at least SMALL_STEP bytes large.
        unsafe { block.write(FreeBlock { next: free.heads[class] }) };
        free.heads[class] = Some(block);
        free.counts[class] += 1;
        true
    });
    if kept != Ok(true) {
        // SAFETY: classed blocks are allocated with their class's layout.
        unsafe { alloc::dealloc(block.as_ptr(), block_layout(class)) };
    }
}

#[cold]
fn from_heap(layout: Layout) -> NonNull<u8> {
    if layout.size() == 0 {
        return NonNull::dangling();
    }
    // SAFETY: the layout's size isn't zero.
    let block = unsafe { alloc::alloc(layout) };
    NonNull::new(block).unwrap_or_else(|| alloc::handle_alloc_error(layout))
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc, task::Waker};

    use super::*;

    #[test]
    fn every_size_has_a_class_that_fits() {
        for size in 0..=LARGE_MAX {
            let layout = Layout::from_size_align(size, 8).unwrap();
            let block = block_layout(class_of(layout).unwrap());
            assert!(block.size() >= size && block.size() < size + LARGE_STEP + 1, "{size}");
        }
        assert!(class_of(Layout::from_size_align(LARGE_MAX + 1, 8).unwrap()).is_none());
        assert!(class_of(Layout::from_size_align(8, 128).unwrap()).is_none());
    }

    #[test]
    fn memory_is_recycled_and_the_future_is_dropped_once() {
        struct Count(Rc<Cell<u32>>);
        impl Drop for Count {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let dropped = Rc::new(Cell::new(0));
        let make = |guard: Count| {
            PooledFuture::new(async move {
                let _guard = guard;
                std::future::pending::<()>().await;
            })
        };
        let first = make(Count(dropped.clone()));
        let place = first.future.cast::<u8>();
        drop(first);
        assert_eq!(dropped.get(), 1);
        let second = make(Count(dropped.clone()));
        assert_eq!(second.future.cast::<u8>(), place, "the freed block serves the next future");
        drop(second);
        assert_eq!(dropped.get(), 2);
    }

    #[test]
    fn large_and_empty_futures_work_too() {
        let mut cx = Context::from_waker(Waker::noop());
        let big = [7_u8; 40 << 10];
        let mut future = std::pin::pin!(PooledFuture::new(async move { big.len() }));
        assert_eq!(future.as_mut().poll(&mut cx), Poll::Ready(40 << 10));
        let mut ready = std::pin::pin!(PooledFuture::new(std::future::ready(())));
        assert_eq!(ready.as_mut().poll(&mut cx), Poll::Ready(()));
    }
}
