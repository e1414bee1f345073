//! Writes header blocks, with a dynamic table that only repeated fields enter.
//!
//! ```text
//!   field ─ sensitive? ──────────────────────▶ never indexed (§7.1.3)
//!         ─ in the dynamic table? ───────────▶ one or two octets
//!         ─ seen before on this connection? ─▶ literal, enters the table, Huffman-coded
//!         ─ else ────────────────────────────▶ literal, plain octets
//! ```
//! A value that comes once (a path, an id, a length) never evicts one that comes always, and costs
//! a copy: plain octets are a few per cent larger than Huffman's and ten times cheaper on both
//! sides. An entry is coded once for many uses, so it gets the better coding.
//!
//! Upstream connections carry the requests of many clients: credentials and cookies stay out of
//! the shared table, or one client could guess another's by the size of what we send (§7.1).

use super::names::static_index;
use super::table::Table;
use super::{Class, ENTRY_OVERHEAD, Field, TABLE_BYTES_MAX, huffman, integer};
use crate::protocol::http::Name;

/// The encoding half of a connection's HPACK.
#[derive(Debug)]
pub struct Encoder {
    table: Table,
    /// The smallest size since the last block, to be signalled first (§4.2).
    smallest: Option<usize>,
    /// Serial of the entry with that hash, plus one; a wrong or dead one is a miss.
    by_hash: Box<[u32; SLOTS]>,
    /// Hashes of fields that were written as literals.
    seen: Box<[u32; SLOTS]>,
}

/// Twice as many as entries fit into a table.
const SLOTS: usize = 2 * (TABLE_BYTES_MAX / ENTRY_OVERHEAD);

/// How a field may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// May enter the table.
    Index,
    /// Differs each time.
    Plain,
    /// Must not enter any table on the way.
    Never,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder with a table of [`TABLE_BYTES_MAX`].
    pub fn new() -> Self {
        Self {
            table: Table::new(TABLE_BYTES_MAX),
            smallest: None,
            by_hash: Box::new([0; SLOTS]),
            seen: Box::new([0; SLOTS]),
        }
    }

    /// Their SETTINGS_HEADER_TABLE_SIZE; we use at most [`TABLE_BYTES_MAX`] of it.
    pub fn set_size_max(&mut self, size: usize) {
        let size = size.min(TABLE_BYTES_MAX);
        if size != self.table.size_max() || self.smallest.is_some() {
            self.smallest = Some(self.smallest.map_or(size, |smallest| smallest.min(size)));
            self.table.resize(size);
        }
    }

    /// Begins a block: size updates go first.
    #[inline]
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(smallest) = self.smallest.take() {
            let size = self.table.size_max();
            if smallest < size {
                integer::encode(smallest, 5, 0x20, out);
            }
            integer::encode(size, 5, 0x20, out);
        }
    }

    /// Appends the static entry `index` as a whole field.
    #[inline]
    pub(crate) fn indexed(&self, index: u8, out: &mut Vec<u8>) {
        debug_assert!((1..=61).contains(&index), "static entries only");
        out.push(0x80 | index);
    }

    /// Appends a field whose name is the static entry `name_index`, for one use.
    #[inline]
    pub(crate) fn plain(&self, name_index: u8, value: &[u8], out: &mut Vec<u8>) {
        integer::encode(name_index.into(), 4, 0, out);
        text(value, out);
    }

    /// Like [`Encoder::plain`] for `path` or `path?query`.
    pub(crate) fn plain_pieces(
        &self,
        name_index: u8,
        path: &[u8],
        query: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) {
        integer::encode(name_index.into(), 4, 0, out);
        integer::encode(path.len() + query.map_or(0, |query| query.len() + 1), 7, 0, out);
        out.extend_from_slice(path);
        if let Some(query) = query {
            out.push(b'?');
            out.extend_from_slice(query);
        }
    }

    /// Appends a pseudo-field whose value may repeat: authority, method.
    pub(crate) fn pseudo(&mut self, name_index: u8, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        self.write(name_index, name, value, Policy::Index, out);
    }

    /// Appends a field; `id` is `name`'s, which is in lower case. Credentials and cookies are marked
    /// as never to be indexed.
    #[inline]
    pub fn field(&mut self, id: Name, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        debug_assert!(!name.iter().any(u8::is_ascii_uppercase), "RFC 9113 §8.2.1");
        self.write(static_index(id, name), name, value, policy(id, name), out);
    }

    fn write(
        &mut self,
        name_index: u8,
        name: &[u8],
        value: &[u8],
        policy: Policy,
        out: &mut Vec<u8>,
    ) {
        match policy {
            Policy::Index => {}
            Policy::Plain => return literal(name_index, name, value, 0, out),
            Policy::Never => return literal(name_index, name, value, 0x10, out),
        }
        let hash = hash(name, value);
        let slot = hash as usize % SLOTS;
        let found =
            self.by_hash.get(slot).and_then(|serial| self.table.by_serial(serial.wrapping_sub(1)));
        if let Some(index) = found
            && self.table.field(index).is_some_and(|f| f.name == name && f.value == value)
        {
            return integer::encode(index + FIRST_DYNAMIC, 7, 0x80, out);
        }
        let is_small = name.len() + value.len() + ENTRY_OVERHEAD <= self.table.size_max() / 4;
        let Some(seen) = self.seen.get_mut(slot) else { return };
        if !is_small || *seen != hash || is_secret(name) {
            *seen = hash;
            return literal(name_index, name, value, 0, out);
        }
        let field = Field { name, value, class: Class::Invalid, is_value_valid: true };
        if let (Some(serial), Some(entry)) = (self.table.insert(field), self.by_hash.get_mut(slot))
        {
            *entry = serial.wrapping_add(1);
        }
        integer::encode(name_index.into(), 6, 0x40, out);
        if name_index == 0 {
            short_text(name, out);
        }
        short_text(value, out);
    }
}

/// Index of the newest dynamic entry (§2.3.3).
const FIRST_DYNAMIC: usize = 62;

/// A literal that enters no table; `pattern` says whether others may let it.
fn literal(name_index: u8, name: &[u8], value: &[u8], pattern: u8, out: &mut Vec<u8>) {
    integer::encode(name_index.into(), 4, pattern, out);
    if name_index == 0 {
        text(name, out);
    }
    text(value, out);
}

/// A string in plain octets.
#[inline]
fn text(bytes: &[u8], out: &mut Vec<u8>) {
    integer::encode(bytes.len(), 7, 0, out);
    out.extend_from_slice(bytes);
}

/// A string in whichever coding is shorter.
fn short_text(bytes: &[u8], out: &mut Vec<u8>) {
    let len = huffman::encoded_len(bytes);
    if len >= bytes.len() {
        return text(bytes, out);
    }
    integer::encode(len, 7, 0x80, out);
    huffman::encode(bytes, out);
}

#[inline]
fn policy(id: Name, name: &[u8]) -> Policy {
    match id {
        Name::Authorization | Name::ProxyAuthorization | Name::Cookie | Name::SetCookie => {
            Policy::Never
        }
        Name::ContentLength
        | Name::ContentRange
        | Name::Location
        | Name::Range
        | Name::XForwardedFor
        | Name::XRequestId
        | Name::Forwarded => Policy::Plain,
        Name::Other
            if matches!(name, b"age" | b"etag" | b"if-none-match" | b"if-modified-since") =>
        {
            Policy::Plain
        }
        _ => Policy::Index,
    }
}

/// Names that sound like credentials never enter the table. Only asked when one is about to.
fn is_secret(name: &[u8]) -> bool {
    const WORDS: [&[u8]; 6] = [b"auth", b"token", b"secret", b"key", b"session", b"csrf"];
    WORDS.iter().any(|word| name.windows(word.len()).any(|part| part == *word))
}

/// Eight octets at a time. Collisions only cost compression, so it needs no seed.
#[inline]
fn hash(name: &[u8], value: &[u8]) -> u32 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| (state.rotate_left(5) ^ word).wrapping_mul(MULTIPLIER);
    let mut state = (name.len() as u64) << 32 | value.len() as u64;
    for bytes in [name, value] {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            state = mix(state, u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        if let Some(place) = last.get_mut(..rest.len()) {
            place.copy_from_slice(rest);
        }
        state = mix(state, u64::from_le_bytes(last));
    }
    // The high half is the well-mixed one.
    u32::try_from(state >> 32).unwrap_or(0)
}
