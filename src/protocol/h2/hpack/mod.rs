//! HPACK (RFC 7541): field sections as octets, with a memory that both sides share.
//!
//! ```text
//!   block ─▶ Decoder ─▶ Fields::field(name, value, class)      static 1–61 │ dynamic 62–…
//!   block ◀─ Encoder ◀─ field(name, value)                     newest first, oldest evicted
//! ```
//! Only a coding: which fields make a message is `h2::head`'s. Bounds: tables of at most
//! [`TABLE_BYTES_MAX`], integers of 32 bits, and a decoder that gives one field per octet at most
//! and never copies what it points at, so that a "bomb" costs what its octets cost.

mod decoder;
mod encoder;
mod huffman;
mod integer;
mod names;
mod table;
#[cfg(test)]
mod tests;

pub use decoder::{Decoder, Fields};
pub use encoder::Encoder;
pub(crate) use names::lower_name;
pub use names::{Class, Pseudo};
pub use table::Field;

use std::fmt;

/// Largest dynamic table that either side of us keeps: HTTP/2's initial value (RFC 9113 §6.5.2).
pub const TABLE_BYTES_MAX: usize = 4096;

/// What an entry costs beyond its name and value (RFC 7541 §4.1).
pub(crate) const ENTRY_OVERHEAD: usize = 32;

/// A header block that can't be decoded. Always fatal to the connection: the tables disagree
/// from here on (RFC 9113 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HpackError {
    /// The block ends within a field.
    Truncated,
    /// An integer beyond 32 bits.
    IntegerTooLarge,
    /// An index of no entry, or 0 (§6.1).
    IndexInvalid,
    /// EOS in a string, or wrong padding (§5.2).
    Huffman,
    /// A size update above the limit that we set (§6.3).
    SizeUpdateTooLarge,
    /// A size update after a field (§4.2).
    SizeUpdateMisplaced,
    /// We lowered the limit, they acknowledged it, and the block doesn't begin with a size update
    /// (§4.2).
    SizeUpdateMissing,
}

impl HpackError {
    /// What is wrong, in a few words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Truncated => "header block ends within a field",
            Self::IntegerTooLarge => "integer too large in a header block",
            Self::IndexInvalid => "index of no field in a header block",
            Self::Huffman => "invalid Huffman code in a header block",
            Self::SizeUpdateTooLarge => "dynamic table size above the limit",
            Self::SizeUpdateMisplaced => "dynamic table size update after a field",
            Self::SizeUpdateMissing => "dynamic table size update missing",
        }
    }
}

impl fmt::Display for HpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for HpackError {}
