//! A range into an arena, half the size of `Range<usize>` and `Copy`.
//!
//! Spans are only made by code that has just measured the arena, and every arena is bounded
//! (see `HEADERS_BYTES_MAX`), so 32 bits are plenty. A span that doesn't fit its arena reads as
//! empty instead of panicking: bytes from the network never take the process down.

/// Half-open range of bytes in some arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The empty span at 0.
    pub(crate) const ZERO: Self = Self { start: 0, end: 0 };

    /// The span `start..end` of an arena, which are all far below 4 GiB.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "every arena has a bound that fits 32 bits"
    )]
    pub(crate) fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end, "a span runs forward");
        debug_assert!(u32::try_from(end).is_ok(), "an arena is bounded");
        Self { start: start as u32, end: end as u32 }
    }

    /// Bytes covered.
    #[inline]
    pub(crate) fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Where it ends.
    #[inline]
    pub(crate) fn end(self) -> usize {
        self.end as usize
    }

    /// Where it starts.
    #[inline]
    pub(crate) fn start(self) -> usize {
        self.start as usize
    }

    /// The bytes in `arena`.
    #[inline]
    pub(crate) fn of(self, arena: &[u8]) -> &[u8] {
        arena.get(self.start as usize..self.end as usize).unwrap_or(&[])
    }

    /// The text in `arena`.
    #[inline]
    pub(crate) fn of_str(self, arena: &str) -> &str {
        arena.get(self.start as usize..self.end as usize).unwrap_or("")
    }
}
