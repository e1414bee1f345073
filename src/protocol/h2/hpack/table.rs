//! The dynamic table (RFC 7541 §2.3.2): entries newest first, their bytes in one arena.
//!
//! ```text
//!   arena   ......|name value|name value|name value|      evicted bytes go when the arena
//!            gone  ^ oldest                ^ newest       would grow beyond twice the table
//! ```
//! Both the decoder's and the encoder's; sizes count 32 octets an entry as §4.1 says, so a table
//! of 4 KiB holds 128 entries at most.

use super::{Class, ENTRY_OVERHEAD, TABLE_BYTES_MAX};
use std::collections::VecDeque;

/// A field as a table holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name, as it came.
    pub name: &'a [u8],
    /// Its value, as it came.
    pub value: &'a [u8],
    /// What the name means; found once, when it entered the table.
    pub class: Class,
    /// The value may stand in a message (RFC 9113 §8.2.1); also found once.
    pub is_value_valid: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Counted from the first byte ever stored.
    start: u64,
    name_len: u16,
    value_len: u16,
    class: Class,
    is_value_valid: bool,
}

impl Entry {
    fn size(&self) -> usize {
        usize::from(self.name_len) + usize::from(self.value_len) + ENTRY_OVERHEAD
    }
}

/// A dynamic table.
#[derive(Debug)]
pub(crate) struct Table {
    entries: VecDeque<Entry>,
    arena: Vec<u8>,
    /// Bytes that have left the arena's front.
    gone: u64,
    size: usize,
    size_max: usize,
    /// Entries ever inserted: names one of them for good (see [`Table::by_serial`]).
    inserted: u32,
}

impl Table {
    pub(crate) const fn new(size_max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            arena: Vec::new(),
            gone: 0,
            size: 0,
            size_max,
            inserted: 0,
        }
    }

    /// The entry at `index`, 0 being the newest.
    #[inline]
    pub(crate) fn field(&self, index: usize) -> Option<Field<'_>> {
        let entry = self.entries.get(index)?;
        let start = usize::try_from(entry.start - self.gone).ok()?;
        let (name, rest) = self.arena.get(start..)?.split_at_checked(entry.name_len.into())?;
        Some(Field {
            name,
            value: rest.get(..entry.value_len.into())?,
            class: entry.class,
            is_value_valid: entry.is_value_valid,
        })
    }

    /// Index of the entry that was inserted as number `serial`, if it is still there.
    #[inline]
    pub(crate) fn by_serial(&self, serial: u32) -> Option<usize> {
        let age = self.inserted.wrapping_sub(serial) as usize;
        (1..=self.entries.len()).contains(&age).then(|| age - 1)
    }

    /// Adds an entry, evicting what has to go; gives its serial. One that doesn't fit at all
    /// empties the table (§4.4), which is no error.
    pub(crate) fn insert(&mut self, field: Field<'_>) -> Option<u32> {
        let size = field.name.len() + field.value.len() + ENTRY_OVERHEAD;
        self.evict_to(self.size_max.saturating_sub(size));
        if size > self.size_max {
            return None;
        }
        let (Ok(name_len), Ok(value_len)) =
            (u16::try_from(field.name.len()), u16::try_from(field.value.len()))
        else {
            return None;
        };
        if self.arena.len() + size > 2 * TABLE_BYTES_MAX {
            let oldest =
                self.entries.back().map_or(self.gone + self.arena.len() as u64, |e| e.start);
            let dead = usize::try_from(oldest - self.gone).unwrap_or(0);
            self.arena.drain(..dead);
            self.gone = oldest;
        }
        let start = self.gone + self.arena.len() as u64;
        self.arena.extend_from_slice(field.name);
        self.arena.extend_from_slice(field.value);
        let (class, is_value_valid) = (field.class, field.is_value_valid);
        self.entries.push_front(Entry { start, name_len, value_len, class, is_value_valid });
        self.size += size;
        let serial = self.inserted;
        self.inserted = self.inserted.wrapping_add(1);
        Some(serial)
    }

    /// The bound on [`Table::size`].
    pub(crate) fn size_max(&self) -> usize {
        self.size_max
    }

    /// Changes the bound and evicts what no longer fits (§4.3).
    pub(crate) fn resize(&mut self, size_max: usize) {
        self.size_max = size_max;
        self.evict_to(size_max);
    }

    /// Octets as §4.1 counts them.
    #[cfg(test)]
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn evict_to(&mut self, size: usize) {
        while self.size > size {
            let Some(entry) = self.entries.pop_back() else { break };
            self.size -= entry.size();
        }
        if self.entries.is_empty() {
            self.gone += self.arena.len() as u64;
            self.arena.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field<'a>(name: &'a str, value: &'a str) -> Field<'a> {
        Field {
            name: name.as_bytes(),
            value: value.as_bytes(),
            class: Class::of(name.as_bytes()),
            is_value_valid: true,
        }
    }

    /// RFC 7541 §4.4.
    #[test]
    fn an_entry_larger_than_the_table_empties_it() {
        let mut table = Table::new(64);
        table.insert(field("a", "1"));
        assert_eq!((table.len(), table.size()), (1, 34));
        assert_eq!(table.insert(field("a", &"x".repeat(64))), None);
        assert_eq!((table.len(), table.size()), (0, 0));
    }

    #[test]
    fn the_arena_stays_bounded_and_entries_stay_readable() {
        let mut table = Table::new(TABLE_BYTES_MAX);
        for n in 0..10_000 {
            let value = format!("{n:0width$}", width = 1 + n % 300);
            let serial = table.insert(field("x-name", &value)).unwrap();
            assert_eq!(table.by_serial(serial), Some(0));
            assert_eq!(table.field(0).map(|f| f.value), Some(value.as_bytes()));
            assert!(table.size() <= TABLE_BYTES_MAX && table.arena.len() <= 2 * TABLE_BYTES_MAX);
            for index in 0..table.len() {
                assert_eq!(table.field(index).map(|f| f.name), Some(&b"x-name"[..]));
            }
        }
        assert_eq!(table.by_serial(0), None);
        assert_eq!(table.field(table.len()), None);
    }

    /// RFC 7541 §4.3.
    #[test]
    fn resizing_evicts_the_oldest_first() {
        let mut table = Table::new(TABLE_BYTES_MAX);
        for value in ["1", "2", "3"] {
            table.insert(field("a", value));
        }
        table.resize(70);
        assert_eq!(table.len(), 2);
        assert_eq!(table.field(1).map(|f| f.value), Some(&b"2"[..]));
        table.resize(0);
        assert_eq!((table.len(), table.size(), table.arena.len()), (0, 0, 0));
    }
}
