//! Bounds of a head, and what a parser says when it hasn't failed.

use crate::protocol::http::{FIELDS_MAX, HEADERS_BYTES_MAX};

/// Bounds of a head. Reaching one refuses the message: 414 for the request line, 431 for the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head. Default 32 KiB, at most 64 KiB whatever is set.
    pub bytes: usize,
    /// Field lines. Default 100, at most 256 whatever is set.
    pub fields: usize,
    /// Bytes of a request's target. Default 8 KiB (RFC 9112 §3 asks for 8000 at least).
    pub target_bytes: usize,
}

impl HeadLimits {
    /// The bound on bytes that really holds.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.min(HEADERS_BYTES_MAX)
    }

    /// The bound on fields that really holds.
    #[inline]
    pub(crate) fn fields(&self) -> usize {
        self.fields.min(FIELDS_MAX)
    }
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { bytes: 32 * 1024, fields: 100, target_bytes: 8 * 1024 }
    }
}

/// What a parser says of a prefix that holds no error so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// Call again with the same head and the same bytes plus more. The head isn't to be read yet.
    Incomplete,
    /// The head is whole; the body (or the next message) begins at `consumed`.
    Complete {
        /// Bytes of the head, empty lines before it included.
        consumed: usize,
    },
}
