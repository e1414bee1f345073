//! Per-thread free lists for what an exchange needs and gives back: heads and byte vectors.
//!
//! After warm-up an exchange allocates nothing: it takes a head whose arena has grown to the size
//! of this site's heads, and gives it back emptied, capacity kept. The lists are bounded, and an
//! item that grew beyond its bound goes back to the allocator, so that one large head does not
//! stay for ever. Only byte vectors have such a bound: a head's arena is bounded by the codec's limits
//! (64 KiB), and its capacity is kept.

use std::{
    cell::RefCell,
    mem::ManuallyDrop,
    ops::{Deref, DerefMut},
};

use crate::protocol::http::{RequestHead, ResponseHead};
pub(crate) use crate::transport::bytes::{give as give_bytes, take as take_bytes};

/// Items kept per list and thread.
const KEPT_MAX: usize = 512;

/// What can live in a free list.
pub trait Recycle: Sized + 'static {
    /// An item for an empty list.
    fn fresh() -> Self;
    /// Empties it, capacity kept. False: not worth keeping.
    fn reset(&mut self) -> bool;
    /// This thread's list.
    fn with_list<R>(use_list: impl FnOnce(&mut Vec<Box<Self>>) -> R) -> R;
}

/// A boxed item that returns to its thread's free list when dropped.
#[derive(Debug)]
pub struct Pooled<T: Recycle>(Option<Box<T>>);

impl<T: Recycle> Pooled<T> {
    /// An empty item, from the list when there is one.
    #[must_use]
    pub fn take() -> Self {
        Self(Some(T::with_list(Vec::pop).unwrap_or_else(|| Box::new(T::fresh()))))
    }
}

impl<T: Recycle> Default for Pooled<T> {
    fn default() -> Self {
        Self::take()
    }
}

impl<T: Recycle> Deref for Pooled<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_ref().expect("emptied only by drop")
    }
}

impl<T: Recycle> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("emptied only by drop")
    }
}

impl<T: Recycle> Drop for Pooled<T> {
    fn drop(&mut self) {
        let Some(mut item) = self.0.take() else { return };
        if item.reset() {
            T::with_list(|list| {
                if list.len() < KEPT_MAX {
                    list.push(item);
                }
            });
        }
    }
}

/// Declares a type's free list.
macro_rules! recycle {
    ($type:ty, $fresh:expr, |$item:ident| $reset:expr) => {
        impl Recycle for $type {
            fn fresh() -> Self {
                $fresh
            }
            fn reset(&mut self) -> bool {
                let $item = self;
                $reset
            }
            fn with_list<R>(use_list: impl FnOnce(&mut Vec<Box<Self>>) -> R) -> R {
                thread_local! {
                    // Never dropped: a `Pooled` in another thread-local may outlive any order of
                    // destruction, and the process ends with its shards.
                    static LIST: ManuallyDrop<RefCell<Vec<Box<$type>>>> =
                        const { ManuallyDrop::new(RefCell::new(Vec::new())) };
                }
                LIST.with(|list| use_list(&mut list.borrow_mut()))
            }
        }
    };
}
recycle!(RequestHead, Self::default(), |head| {
    head.clear();
    true
});
recycle!(ResponseHead, Self::default(), |head| {
    head.clear();
    true
});
