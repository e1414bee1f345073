//! The fields of one message: an arena of bytes and ranges into it, in wire order.
//!
//! ```text
//!   arena   Host: a.example\r\nAccept: */*\r\nX-Request-Id: 7\r\n ...
//!           ^name ^value       ^name   ^value ^ set() and append() write at the end
//!   fields  [Host, alive] [Accept, alive] ...          (removed fields stay, dead)
//! ```
//! The parser copies a whole field section at once and pushes ranges; edits append. A field whose
//! bytes in the arena are just what the encoder would write is marked as a line, and neighbouring
//! lines are written by one copy. Names keep the spelling that they came with and compare ignoring
//! case. Doesn't know framing: a Content-Length set here is never written to the wire (see
//! `h1::encode_request`).

use std::ops::Range;

use super::chars::{is_token, is_value, trim};
use super::list::elements;
use super::span::Span;
use super::{FieldError, Name};

/// Most fields in one message, whatever the configured limit.
pub const FIELDS_MAX: usize = 256;

/// Most bytes of one message's fields, edits included.
pub const HEADERS_BYTES_MAX: usize = 64 * 1024;

/// The fields of a message. [`Headers::clear`] keeps capacity: a reused one doesn't allocate.
#[derive(Debug, Clone)]
pub struct Headers {
    arena: Vec<u8>,
    fields: Vec<Field>,
    /// How many fields are not alive.
    dead: usize,
    /// The names that were ever pushed, as [`Name::bit`]s: most questions about known names are
    /// answered "none" without a look at the fields.
    seen: u64,
    /// Those of `seen` that were pushed more than once.
    repeated: u64,
    /// By name, the place of the first field that had it; means nothing for names not in `seen`,
    /// so it needs no clearing.
    first: [u8; NAMES],
}

/// Known names and [`Name::Other`].
const NAMES: usize = Name::ALL.len() + 1;

/// A place fits [`Headers::first`].
const _: () = assert!(FIELDS_MAX <= 256);

#[derive(Debug, Clone, Copy)]
struct Field {
    name: Span,
    value: Span,
    id: Name,
    alive: bool,
    /// The arena holds `name: value CRLF` in one piece: the value begins two bytes after the name.
    is_line: bool,
}

impl Field {
    /// Where its line ends in the arena, if it is one.
    #[inline]
    fn line_end(&self) -> usize {
        self.value.end() + CRLF.len()
    }
}

const COLON_SPACE: &[u8] = b": ";
const CRLF: &[u8] = b"\r\n";

impl Default for Headers {
    fn default() -> Self {
        Self::new()
    }
}

impl Headers {
    /// No fields, no allocation.
    pub const fn new() -> Self {
        Self {
            arena: Vec::new(),
            fields: Vec::new(),
            dead: 0,
            seen: 0,
            repeated: 0,
            first: [0; NAMES],
        }
    }

    /// Forgets all fields and keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.arena.clear();
        self.fields.clear();
        self.dead = 0;
        self.seen = 0;
        self.repeated = 0;
    }

    /// How many fields there are; lines of the same name count one each.
    #[inline]
    pub fn len(&self) -> usize {
        self.fields.len() - self.dead
    }

    /// No fields.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names and values in wire order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.iter_known().map(|(_, name, value)| (name, value))
    }

    /// Like [`Headers::iter`], with the id of each name.
    #[inline]
    pub fn iter_known(&self) -> impl Iterator<Item = (Name, &[u8], &[u8])> {
        self.fields
            .iter()
            .filter(|field| field.alive)
            .map(|field| (field.id, field.name.of(&self.arena), field.value.of(&self.arena)))
    }

    /// The first value of `name`.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        let name = name.as_ref();
        let id = Name::of(name);
        self.fields.iter().find(|f| self.is(f, id, name)).map(|f| f.value.of(&self.arena))
    }

    /// All values of `name`, in order.
    pub fn get_all<'a>(
        &'a self,
        name: &'a (impl AsRef<[u8]> + ?Sized),
    ) -> impl Iterator<Item = &'a [u8]> {
        let name = name.as_ref();
        let id = Name::of(name);
        self.fields.iter().filter(move |f| self.is(f, id, name)).map(|f| f.value.of(&self.arena))
    }

    /// The first value of a known name; no search unless that was removed.
    #[inline]
    pub fn get_known(&self, name: Name) -> Option<&[u8]> {
        if !self.may_hold(name.bit()) || name == Name::Other {
            return None;
        }
        match self.fields.get(self.first_place(name)) {
            Some(field) if field.alive => Some(field.value.of(&self.arena)),
            _ => self.get_all_known(name).next(),
        }
    }

    /// All values of a known name; no search unless the name came more than once.
    #[inline]
    pub fn get_all_known(&self, name: Name) -> impl DoubleEndedIterator<Item = &[u8]> {
        let range = if name == Name::Other { 0..0 } else { self.places(name) };
        let fields = self.fields.get(range).unwrap_or(&[]);
        fields.iter().filter(move |f| f.alive && f.id == name).map(|f| f.value.of(&self.arena))
    }

    /// Whether there is such a field.
    pub fn contains(&self, name: impl AsRef<[u8]>) -> bool {
        self.get(name).is_some()
    }

    /// Makes `name: value` the only field of that name, at the place of the first; the spelling
    /// of an existing name stays. Whitespace around the value is dropped.
    ///
    /// # Errors
    /// [`FieldError`]; nothing has changed then.
    pub fn set(
        &mut self,
        name: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<(), FieldError> {
        let (name, value) = (name.as_ref(), trim(value.as_ref()));
        let id = Name::of(name);
        let Some(place) = self.fields.iter().position(|f| self.is(f, id, name)) else {
            return self.append(name, value);
        };
        if !is_value(value) {
            return Err(FieldError::ValueInvalid);
        }
        let old = self.fields.get(place).map_or_else(Span::default, |f| f.value);
        let span = if value.len() <= old.len() {
            // In place: setting the same field again and again doesn't grow the arena.
            let span = Span::new(old.start(), old.start() + value.len());
            if let Some(bytes) = self.arena.get_mut(old.start()..old.start() + value.len()) {
                bytes.copy_from_slice(value);
            }
            span
        } else if self.arena.len() + value.len() > HEADERS_BYTES_MAX {
            return Err(FieldError::TooLarge);
        } else {
            self.push_bytes(value)
        };
        for at in place..self.fields.len() {
            let same = self.fields.get(at).is_some_and(|f| self.is(f, id, name));
            if let (true, Some(field)) = (same, self.fields.get_mut(at)) {
                if at == place {
                    field.value = span;
                    field.is_line &= span == old;
                } else {
                    field.alive = false;
                    self.dead += 1;
                }
            }
        }
        Ok(())
    }

    /// Like [`Headers::set`] for a known name, which is cheaper: only the value is looked at, and
    /// where there is no such field yet nothing is searched.
    ///
    /// # Errors
    /// [`FieldError`], and [`FieldError::NameInvalid`] for [`Name::Other`]; nothing has changed then.
    pub fn set_known(&mut self, name: Name, value: impl AsRef<[u8]>) -> Result<(), FieldError> {
        if self.may_hold(name.bit()) {
            return self.set(name, value);
        }
        self.append_known(name, value)
    }

    /// Adds a field `name` with the first value of the field `of`; false if there is none.
    ///
    /// # Errors
    /// [`FieldError`], and [`FieldError::NameInvalid`] for [`Name::Other`]; nothing has changed then.
    pub fn append_copy(&mut self, name: Name, of: Name) -> Result<bool, FieldError> {
        let found = self.fields.iter().find(|field| field.alive && field.id == of);
        let Some(source) = found.map(|field| field.value) else { return Ok(false) };
        if name == Name::Other {
            return Err(FieldError::NameInvalid);
        }
        let line_start = name.line_start().as_bytes();
        self.make_room(line_start.len() + source.len() + CRLF.len())?;
        let start = self.arena.len();
        self.arena.extend_from_slice(line_start);
        self.arena.extend_from_within(source.start()..source.end());
        self.arena.extend_from_slice(CRLF);
        self.push_line(name, start, line_start.len() - COLON_SPACE.len(), source.len());
        Ok(true)
    }

    /// Adds `name: value` after all others. Whitespace around the value is dropped.
    ///
    /// # Errors
    /// [`FieldError`]; nothing has changed then.
    pub fn append(
        &mut self,
        name: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<(), FieldError> {
        let name = name.as_ref();
        let id = Name::of(name);
        // A known name is a token.
        if id == Name::Other && !is_token(name) {
            return Err(FieldError::NameInvalid);
        }
        let value = trim(value.as_ref());
        if !is_value(value) {
            return Err(FieldError::ValueInvalid);
        }
        self.make_room(name.len() + COLON_SPACE.len() + value.len() + CRLF.len())?;
        let start = self.arena.len();
        for part in [name, COLON_SPACE, value, CRLF] {
            self.arena.extend_from_slice(part);
        }
        self.push_line(id, start, name.len(), value.len());
        Ok(())
    }

    /// Like [`Headers::append`] for a known name, which is cheaper: only the value is looked at.
    ///
    /// # Errors
    /// [`FieldError`], and [`FieldError::NameInvalid`] for [`Name::Other`]; nothing has changed then.
    pub fn append_known(&mut self, name: Name, value: impl AsRef<[u8]>) -> Result<(), FieldError> {
        let value = trim(value.as_ref());
        if !is_value(value) {
            return Err(FieldError::ValueInvalid);
        }
        self.append_valid(name, value)
    }

    /// Like [`Headers::append_known`] for a value that is valid by construction: an address, a
    /// scheme, a number.
    ///
    /// # Errors
    /// As [`Headers::append_known`], but for the value.
    pub(crate) fn append_valid(
        &mut self,
        name: Name,
        value: impl AsRef<[u8]>,
    ) -> Result<(), FieldError> {
        let value = value.as_ref();
        debug_assert!(is_value(value) && trim(value) == value, "checked by whoever made it");
        if name == Name::Other {
            return Err(FieldError::NameInvalid);
        }
        let line_start = name.line_start().as_bytes();
        self.make_room(line_start.len() + value.len() + CRLF.len())?;
        let start = self.arena.len();
        self.arena.extend_from_slice(line_start);
        self.arena.extend_from_slice(value);
        self.arena.extend_from_slice(CRLF);
        self.push_line(name, start, line_start.len() - COLON_SPACE.len(), value.len());
        Ok(())
    }

    /// Removes all fields of that name and says how many there were.
    pub fn remove(&mut self, name: impl AsRef<[u8]>) -> usize {
        let name = name.as_ref();
        let id = Name::of(name);
        self.kill(|field, arena| {
            field.id == id && (id != Name::Other || field.name.of(arena).eq_ignore_ascii_case(name))
        })
    }

    /// Removes all fields of a known name.
    #[inline]
    pub fn remove_known(&mut self, name: Name) -> usize {
        if name == Name::Other {
            return 0;
        }
        let before = self.dead;
        let range = self.places(name);
        for field in self.fields.get_mut(range).unwrap_or(&mut []) {
            if field.alive && field.id == name {
                field.alive = false;
                self.dead += 1;
            }
        }
        self.dead - before
    }

    /// Keeps the fields for which `keep(name, value)` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        self.kill(|field, arena| !keep(field.name.of(arena), field.value.of(arena)));
    }

    /// Whether any of `names` ([`Name::bit`]s) may be there; false is certain.
    #[inline]
    pub(crate) fn may_hold(&self, names: u64) -> bool {
        self.seen & names != 0
    }

    /// Removes the fields of all `names` ([`Name::bit`]s). Usually there is one at most.
    #[inline]
    pub(crate) fn remove_set(&mut self, names: u64) {
        let mut left = self.seen & names;
        while let Some(&name) = Name::ALL.get(left.trailing_zeros() as usize) {
            self.remove_known(name);
            left &= left - 1;
        }
    }

    /// Removes the fields whose names the values of `list` name, except `spare` ([`Name::bit`]s).
    pub(crate) fn remove_listed(&mut self, list: Name, spare: u64) {
        for at in 0..self.fields.len() {
            let Some(value) =
                self.fields.get(at).filter(|f| f.alive && f.id == list).map(|f| f.value)
            else {
                continue;
            };
            for option in elements(value.of(&self.arena)) {
                let id = Name::of(option);
                if id.bit() & spare != 0 {
                    continue;
                }
                for field in &mut self.fields {
                    let same = id != Name::Other
                        || field.name.of(&self.arena).eq_ignore_ascii_case(option);
                    if field.alive && field.id == id && same {
                        field.alive = false;
                        self.dead += 1;
                    }
                }
            }
        }
    }

    /// The parser's entry for any field line: bytes are the wire's, already checked.
    #[inline]
    pub(crate) fn push_wire(&mut self, id: Name, name: Span, value: Span) {
        self.push(Field { name, value, id, alive: true, is_line: false });
    }

    /// The parser's entry for a line of exactly `name: value CRLF` at `start` of the arena.
    #[inline]
    pub(crate) fn push_line(&mut self, id: Name, start: usize, name_len: usize, value_len: usize) {
        let name_end = start + name_len;
        let value_start = name_end + COLON_SPACE.len();
        let (name, value) =
            (Span::new(start, name_end), Span::new(value_start, value_start + value_len));
        self.push(Field { name, value, id, alive: true, is_line: true });
    }

    /// Appends the lines of all fields but those of the names `except` ([`Name::bit`]s) to `out`.
    pub(crate) fn write_lines(&self, except: u64, out: &mut Vec<u8>) {
        out.reserve(self.arena.len());
        // Bytes of the arena that are lines to write; grows while the next field follows directly.
        let (mut start, mut end) = (0, 0);
        for field in &self.fields {
            if !field.alive || field.id.bit() & except != 0 {
                continue;
            }
            if field.is_line && field.name.start() == end {
                end = field.line_end();
                continue;
            }
            out.extend_from_slice(self.arena.get(start..end).unwrap_or(&[]));
            if field.is_line {
                (start, end) = (field.name.start(), field.line_end());
                continue;
            }
            (start, end) = (0, 0);
            for part in [field.name.of(&self.arena), COLON_SPACE, field.value.of(&self.arena), CRLF]
            {
                out.extend_from_slice(part);
            }
        }
        out.extend_from_slice(self.arena.get(start..end).unwrap_or(&[]));
    }

    /// HTTP/2's entry: a field that came decoded and checked, kept as the line that HTTP/1.1 would
    /// write. The decoder's limits keep the arena in its bounds.
    #[inline]
    pub(crate) fn push_decoded(&mut self, id: Name, name: &[u8], value: &[u8]) {
        let start = self.arena.len();
        self.arena.reserve(name.len() + value.len() + COLON_SPACE.len() + CRLF.len());
        self.arena.extend_from_slice(name);
        self.arena.extend_from_slice(COLON_SPACE);
        self.arena.extend_from_slice(value);
        self.arena.extend_from_slice(CRLF);
        self.push_line(id, start, name.len(), value.len());
    }

    /// Joins the fields of a known name into the first one (RFC 9113 §8.2.3 for Cookie). Nothing
    /// happens to a single one, nor if they don't fit.
    pub(crate) fn join_known(&mut self, name: Name, separator: &[u8]) {
        let mut joined = Vec::new();
        for (at, value) in self.get_all_known(name).enumerate() {
            if at > 0 {
                joined.extend_from_slice(separator);
            }
            joined.extend_from_slice(value);
        }
        let _ = self.set(name, &joined);
    }

    /// The parser copies what it has read so far; ranges pushed before point into it.
    #[inline]
    pub(crate) fn extend_arena(&mut self, bytes: &[u8]) {
        self.arena.extend_from_slice(bytes);
    }

    /// What the parser has copied.
    #[inline]
    pub(crate) fn arena(&self) -> &[u8] {
        &self.arena
    }

    #[inline]
    fn push(&mut self, field: Field) {
        let place = self.fields.len();
        self.fields.push(field);
        self.note(field.id, place);
    }

    /// Notes in the index that a field `id` stands at `place`.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "there are FIELDS_MAX places at most")]
    fn note(&mut self, id: Name, place: usize) {
        let bit = id.bit();
        if self.seen & bit != 0 {
            self.repeated |= bit;
            return;
        }
        self.seen |= bit;
        if let Some(first) = self.first.get_mut(id as usize) {
            *first = place as u8;
        }
    }

    /// Where fields `name` can be.
    #[inline]
    fn places(&self, name: Name) -> Range<usize> {
        if !self.may_hold(name.bit()) {
            return 0..0;
        }
        let first = self.first_place(name);
        let end = if self.is_repeated(name) { self.fields.len() } else { first + 1 };
        first..end
    }

    /// Where the first field `name` was put, if there ever was one.
    #[inline]
    fn first_place(&self, name: Name) -> usize {
        self.first.get(name as usize).map_or(0, |&place| usize::from(place))
    }

    /// Whether the field `name`, which must be there, is the first of all and came only once.
    #[inline]
    pub(crate) fn begins_with(&self, name: Name) -> bool {
        self.may_hold(name.bit())
            && !self.is_repeated(name)
            && self.first_place(name) == 0
            && self.fields.first().is_some_and(|field| field.alive)
    }

    /// Whether `name` came more than once; false is certain.
    #[inline]
    pub(crate) fn is_repeated(&self, name: Name) -> bool {
        self.repeated & name.bit() != 0
    }

    fn is(&self, field: &Field, id: Name, name: &[u8]) -> bool {
        field.alive
            && field.id == id
            && (id != Name::Other || field.name.of(&self.arena).eq_ignore_ascii_case(name))
    }

    fn kill(&mut self, mut dies: impl FnMut(&Field, &[u8]) -> bool) -> usize {
        let before = self.dead;
        for field in &mut self.fields {
            if field.alive && dies(field, &self.arena) {
                field.alive = false;
                self.dead += 1;
            }
        }
        self.dead - before
    }

    /// Forgets removed fields for good, to make room for others.
    #[cold]
    fn drop_dead(&mut self) {
        self.fields.retain(|f| f.alive);
        (self.dead, self.seen, self.repeated) = (0, 0, 0);
        for place in 0..self.fields.len() {
            if let Some(id) = self.fields.get(place).map(|field| field.id) {
                self.note(id, place);
            }
        }
    }

    /// Makes sure that one more field with a line of `len` bytes stays within the limits.
    #[inline]
    fn make_room(&mut self, len: usize) -> Result<(), FieldError> {
        if self.fields.len() >= FIELDS_MAX {
            self.drop_dead();
            if self.fields.len() >= FIELDS_MAX {
                return Err(FieldError::TooMany);
            }
        }
        if self.arena.len() + len > HEADERS_BYTES_MAX {
            return Err(FieldError::TooLarge);
        }
        self.arena.reserve(len);
        Ok(())
    }

    fn push_bytes(&mut self, bytes: &[u8]) -> Span {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        Span::new(start, start + bytes.len())
    }
}

#[cfg(test)]
mod tests;
