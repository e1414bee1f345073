//! A bounded single-producer, single-consumer queue of lines in one block of memory.
//!
//! ```text
//!   words:  │ free │ 23 │ l i n e  b y │ t e s │ 7 │ … │ free │
//!                   ▲ head (the writer thread's)         ▲ tail (the shard's)
//! ```
//! A line is its length in bytes, then the bytes packed into 64-bit words. Positions count words
//! and only grow; a word's place is its position modulo the size. Words are atomics written with
//! relaxed stores (plain moves), published by the release store of `tail` and given back by the
//! release store of `head`, so no unsafe code is needed. The block is made at the first line: a
//! shard without an access log pays nothing.
//!
//! Against a queue of pooled buffers this has no pool to warm up and no pointer to chase, and its
//! limit is in bytes, which is what runs out.

use std::sync::{
    OnceLock,
    atomic::{
        AtomicU64, AtomicUsize,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use crossbeam_utils::CachePadded;

/// Memory of one shard's ring: about 6,000 JSON lines.
pub const RING_BYTES: usize = 2 * 1024 * 1024;

const WORD_BYTES: usize = size_of::<u64>();

/// The queue. Which thread may call what is the business of `sink`, whose two handles are not
/// cloneable.
#[derive(Debug)]
pub(super) struct Ring {
    words: OnceLock<Box<[AtomicU64]>>,
    /// A power of two.
    size_words: usize,
    head: CachePadded<AtomicUsize>,
    tail: CachePadded<AtomicUsize>,
}

impl Ring {
    /// A ring of `bytes`, a power of two of at least one word.
    pub(super) fn new(bytes: usize) -> Self {
        let size_words = bytes / WORD_BYTES;
        debug_assert!(size_words.is_power_of_two());
        Self {
            words: OnceLock::new(),
            size_words,
            head: CachePadded::new(AtomicUsize::new(0)),
            tail: CachePadded::new(AtomicUsize::new(0)),
        }
    }

    /// Producer: appends one line. `seen_head` is the producer's memory of `head`, refreshed only
    /// when the ring looks fuller than `look_again_bytes`, so that a push rarely touches the other
    /// thread's cache line. Returns the bytes in use, or `None` when the line doesn't fit.
    pub(super) fn push(
        &self,
        line: &[u8],
        seen_head: &mut usize,
        look_again_bytes: usize,
    ) -> Option<usize> {
        let needed = 1 + line.len().div_ceil(WORD_BYTES);
        let tail = self.tail.load(Relaxed);
        if tail.wrapping_sub(*seen_head) + needed
            > self.size_words.min(look_again_bytes / WORD_BYTES)
        {
            *seen_head = self.head.load(Acquire);
        }
        let used = tail.wrapping_sub(*seen_head) + needed;
        if used > self.size_words {
            return None;
        }
        let words =
            self.words.get_or_init(|| (0..self.size_words).map(|_| AtomicU64::new(0)).collect());
        let mask = words.len() - 1;
        words[tail & mask].store(line.len() as u64, Relaxed);
        let mut at = tail.wrapping_add(1);
        let (whole, rest) = line.as_chunks::<WORD_BYTES>();
        for chunk in whole {
            words[at & mask].store(u64::from_ne_bytes(*chunk), Relaxed);
            at = at.wrapping_add(1);
        }
        if !rest.is_empty() {
            let mut last = [0; WORD_BYTES];
            last[..rest.len()].copy_from_slice(rest);
            words[at & mask].store(u64::from_ne_bytes(last), Relaxed);
            at = at.wrapping_add(1);
        }
        debug_assert_eq!(at, tail.wrapping_add(needed));
        self.tail.store(at, Release);
        Some(used * WORD_BYTES)
    }

    /// Consumer: moves lines to the end of `out` until it holds `bytes_max` or the ring is empty.
    /// Returns how many.
    pub(super) fn pop_into(&self, out: &mut Vec<u8>, bytes_max: usize) -> usize {
        let Some(words) = self.words.get() else { return 0 };
        let mask = words.len() - 1;
        let tail = self.tail.load(Acquire);
        let mut head = self.head.load(Relaxed);
        let mut lines = 0;
        while head != tail && out.len() < bytes_max {
            let length = usize::try_from(words[head & mask].load(Relaxed)).unwrap_or(0);
            head = head.wrapping_add(1);
            let end = out.len() + length;
            for _ in 0..length.div_ceil(WORD_BYTES) {
                out.extend_from_slice(&words[head & mask].load(Relaxed).to_ne_bytes());
                head = head.wrapping_add(1);
            }
            out.truncate(end);
            lines += 1;
        }
        debug_assert!(tail.wrapping_sub(head) <= self.size_words, "lines are whole");
        self.head.store(head, Release);
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn lines_come_out_as_they_went_in_across_the_wrap() {
        let ring = Ring::new(256);
        let mut seen = 0;
        let mut out = Vec::new();
        for round in 0..500_usize {
            let line = vec![u8::try_from(round % 251).unwrap(); round % 100];
            assert!(ring.push(&line, &mut seen, 256).is_some(), "round {round}");
            out.clear();
            assert_eq!(ring.pop_into(&mut out, usize::MAX), 1);
            assert_eq!(out, line);
        }
    }

    #[test]
    fn a_full_ring_refuses_and_takes_again_after_a_pop() {
        let ring = Ring::new(64);
        let mut seen = 0;
        assert_eq!(ring.push(&[1; 24], &mut seen, 64), Some(32));
        assert_eq!(ring.push(&[2; 24], &mut seen, 64), Some(64));
        assert_eq!(ring.push(&[], &mut seen, 64), None);
        let mut out = Vec::new();
        assert_eq!(ring.pop_into(&mut out, 1), 1, "stops at the bound");
        assert_eq!(ring.push(&[3; 16], &mut seen, 64), Some(56));
        assert_eq!(ring.pop_into(&mut out, usize::MAX), 2);
        assert_eq!(out, [[1; 24].as_slice(), &[2; 24], &[3; 16]].concat());
        assert_eq!(ring.push(&[0; 64], &mut seen, 64), None, "never fits");
    }

    #[test]
    fn an_unused_ring_holds_no_memory() {
        let ring = Ring::new(RING_BYTES);
        assert_eq!(ring.pop_into(&mut Vec::new(), usize::MAX), 0);
        assert!(ring.words.get().is_none());
    }

    #[test]
    fn two_threads_agree_on_every_line() {
        const LINES: u64 = 50_000;
        let ring = Ring::new(1024);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut seen = 0;
                for i in 0..LINES {
                    let line = format!("{i}\n");
                    while ring.push(line.as_bytes(), &mut seen, 512).is_none() {
                        thread::yield_now();
                    }
                }
            });
            let mut out = Vec::new();
            let mut lines = 0;
            while lines < LINES {
                lines += ring.pop_into(&mut out, usize::MAX) as u64;
                thread::yield_now();
            }
            let expected: String = (0..LINES).map(|i| format!("{i}\n")).collect();
            assert!(out == expected.as_bytes());
        });
    }
}
