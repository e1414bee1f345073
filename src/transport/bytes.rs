//! This thread's free list of byte vectors, for what is put together before it is sent or after it
//! was received: heads, small bodies, TLS records. Emptied vectors keep their capacity; the list is
//! bounded, and a vector that grew beyond its bound goes back to the allocator.

use std::{cell::RefCell, mem::ManuallyDrop};

/// Vectors kept per thread.
const KEPT_MAX: usize = 512;
/// A vector with more capacity is not kept.
const KEPT_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    // Never dropped: a vector in another thread-local may outlive any order of destruction, and
    // the process ends with its shards.
    static BYTES: ManuallyDrop<RefCell<Vec<Vec<u8>>>> =
        const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

/// An empty byte vector, with capacity when this thread has one to spare.
pub(crate) fn take() -> Vec<u8> {
    BYTES.with(|list| list.borrow_mut().pop()).unwrap_or_else(|| Vec::with_capacity(4096))
}

/// Gives a byte vector back.
pub(crate) fn give(mut bytes: Vec<u8>) {
    if bytes.capacity() == 0 || bytes.capacity() > KEPT_BYTES_MAX {
        return;
    }
    bytes.clear();
    BYTES.with(|list| {
        let mut list = list.borrow_mut();
        if list.len() < KEPT_MAX {
            list.push(bytes);
        }
    });
}
