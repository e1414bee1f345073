//! Reads header blocks (RFC 7541 §3, §6) and hands out fields as slices, without collecting them.
//!
//! An error is final: the tables of the two sides no longer agree, and the connection must end.

use super::names::{STATIC_LEN, static_field};
use super::table::Table;
use super::{Class, Field, HpackError, TABLE_BYTES_MAX, huffman, integer};
use crate::protocol::http::chars::is_value;

/// Takes the fields of a block in order. Can't stop the decoder: the table's state depends on
/// every octet.
pub trait Fields {
    /// The next field.
    fn field(&mut self, field: Field<'_>);
}

/// The decoding half of a connection's HPACK.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// Size updates may go up to this (our SETTINGS_HEADER_TABLE_SIZE).
    size_max: usize,
    /// The next block has to begin with a size update.
    wants_update: bool,
    /// Huffman-coded strings come out here.
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder with a table of [`TABLE_BYTES_MAX`].
    pub const fn new() -> Self {
        Self {
            table: Table::new(TABLE_BYTES_MAX),
            size_max: TABLE_BYTES_MAX,
            wants_update: false,
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Our SETTINGS_HEADER_TABLE_SIZE, now that it has been acknowledged.
    pub fn set_size_max(&mut self, size: usize) {
        self.size_max = size.min(TABLE_BYTES_MAX);
        self.wants_update |= self.size_max < self.table.size_max();
    }

    #[cfg(test)]
    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// Decodes a whole block.
    ///
    /// # Errors
    /// [`HpackError`]; the connection must end then.
    pub fn decode(&mut self, block: &[u8], fields: &mut impl Fields) -> Result<(), HpackError> {
        let mut rest = self.size_updates(block)?;
        while let Some(&first) = rest.first() {
            let used = if first & 0x80 != 0 {
                self.indexed(rest, fields)?
            } else if first & 0xc0 == 0x40 {
                self.inserted(rest, fields)?
            } else if first & 0xe0 == 0x20 {
                return Err(HpackError::SizeUpdateMisplaced);
            } else {
                // Without indexing and never indexed differ only for those who encode again.
                self.plain(rest, fields)?
            };
            rest = rest.get(used..).unwrap_or(&[]);
        }
        Ok(())
    }

    /// Size updates at the start of a block (§4.2).
    fn size_updates<'a>(&mut self, block: &'a [u8]) -> Result<&'a [u8], HpackError> {
        let mut rest = block;
        while let Some(0x20..=0x3f) = rest.first() {
            let (size, used) = integer::decode(rest, 5)?;
            if size > self.size_max {
                return Err(HpackError::SizeUpdateTooLarge);
            }
            self.table.resize(size);
            self.wants_update = false;
            rest = rest.get(used..).unwrap_or(&[]);
        }
        if self.wants_update && !rest.is_empty() {
            return Err(HpackError::SizeUpdateMissing);
        }
        Ok(rest)
    }

    #[inline]
    fn indexed(&self, block: &[u8], fields: &mut impl Fields) -> Result<usize, HpackError> {
        let (index, used) = integer::decode(block, 7)?;
        fields.field(lookup(&self.table, index)?);
        Ok(used)
    }

    /// A literal that enters the table (§6.2.1).
    fn inserted(&mut self, block: &[u8], fields: &mut impl Fields) -> Result<usize, HpackError> {
        let (index, mut at) = integer::decode(block, 6)?;
        let Self { table, name: name_buffer, value: value_buffer, .. } = self;
        let (name, class) = if index == 0 {
            let (text, used) = string(block.get(at..).unwrap_or(&[]), name_buffer)?;
            at += used;
            (text, Class::of(text))
        } else if index <= STATIC_LEN {
            let field = static_field(index).ok_or(HpackError::IndexInvalid)?;
            (field.name, field.class)
        } else {
            // Copied, since inserting may evict the very entry that names the new one.
            let field = table.field(index - STATIC_LEN - 1).ok_or(HpackError::IndexInvalid)?;
            name_buffer.clear();
            name_buffer.extend_from_slice(field.name);
            (name_buffer.as_slice(), field.class)
        };
        let (value, used) = string(block.get(at..).unwrap_or(&[]), value_buffer)?;
        let field = Field { name, value, class, is_value_valid: is_field_value(value) };
        fields.field(field);
        table.insert(field);
        Ok(at + used)
    }

    /// A literal that leaves the table alone (§6.2.2, §6.2.3).
    fn plain(&mut self, block: &[u8], fields: &mut impl Fields) -> Result<usize, HpackError> {
        let (index, mut at) = integer::decode(block, 4)?;
        let Self { table, name: name_buffer, value: value_buffer, .. } = self;
        let (name, class) = if index == 0 {
            let (text, used) = string(block.get(at..).unwrap_or(&[]), name_buffer)?;
            at += used;
            (text, Class::of(text))
        } else {
            let field = lookup(table, index)?;
            (field.name, field.class)
        };
        let (value, used) = string(block.get(at..).unwrap_or(&[]), value_buffer)?;
        fields.field(Field { name, value, class, is_value_valid: is_field_value(value) });
        Ok(at + used)
    }
}

#[inline]
fn lookup(table: &Table, index: usize) -> Result<Field<'_>, HpackError> {
    if index <= STATIC_LEN {
        return static_field(index).ok_or(HpackError::IndexInvalid);
    }
    table.field(index - STATIC_LEN - 1).ok_or(HpackError::IndexInvalid)
}

/// A string literal (§5.2) and the octets that it took. Only a Huffman-coded one is copied.
#[inline]
fn string<'a>(block: &'a [u8], buffer: &'a mut Vec<u8>) -> Result<(&'a [u8], usize), HpackError> {
    let (len, at) = integer::decode(block, 7)?;
    let text = block.get(at..at + len).ok_or(HpackError::Truncated)?;
    if block.first().is_some_and(|first| first & 0x80 != 0) {
        buffer.clear();
        huffman::decode(text, buffer)?;
        return Ok((buffer, at + len));
    }
    Ok((text, at + len))
}

/// RFC 9113 §8.2.1, and the other controls that RFC 9110 §5.5 lets a recipient refuse.
#[inline]
fn is_field_value(value: &[u8]) -> bool {
    !matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t']) && is_value(value)
}
