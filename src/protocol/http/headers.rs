//! The fields of one message: an arena of bytes and ranges into it, in wire order.
//!
//! ```text
//!   arena   Host: a.example\r\nAccept: */*\r\n\r\n  new-value ...
//!           ^name ^value       ^name   ^value       ^ set() and append() write at the end
//!   fields  [Host, alive] [Accept, alive] ...          (removed fields stay, dead)
//! ```
//! The parser copies a whole field section at once and pushes ranges; edits append. Names keep
//! the spelling that they came with and compare ignoring case. Doesn't know framing: a
//! Content-Length set here is never written to the wire (see `h1::encode_request`).

use super::chars::{is_token, is_value, trim};
use super::list::elements;
use super::span::Span;
use super::{FieldError, Name};

/// Most fields in one message, whatever the configured limit.
pub const FIELDS_MAX: usize = 256;

/// Most bytes of one message's fields, edits included.
pub const HEADERS_BYTES_MAX: usize = 64 * 1024;

/// The fields of a message. [`Headers::clear`] keeps capacity: a reused one doesn't allocate.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    arena: Vec<u8>,
    fields: Vec<Field>,
    /// How many fields are not alive.
    dead: usize,
    /// The names that were ever pushed, as [`Name::bit`]s: most questions about known names are
    /// answered "none" without a look at the fields.
    seen: u64,
}

#[derive(Debug, Clone, Copy)]
struct Field {
    name: Span,
    value: Span,
    id: Name,
    alive: bool,
}

impl Headers {
    /// No fields, no allocation.
    pub const fn new() -> Self {
        Self { arena: Vec::new(), fields: Vec::new(), dead: 0, seen: 0 }
    }

    /// Forgets all fields and keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.arena.clear();
        self.fields.clear();
        self.dead = 0;
        self.seen = 0;
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

    /// The first value of a known name: an integer compare a field.
    #[inline]
    pub fn get_known(&self, name: Name) -> Option<&[u8]> {
        self.get_all_known(name).next()
    }

    /// All values of a known name.
    #[inline]
    pub fn get_all_known(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        let fields = if self.may_hold(name.bit()) && name != Name::Other {
            self.fields.as_slice()
        } else {
            &[]
        };
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
        } else {
            self.push_bytes(value)?
        };
        for at in place..self.fields.len() {
            let same = self.fields.get(at).is_some_and(|f| self.is(f, id, name));
            if let (true, Some(field)) = (same, self.fields.get_mut(at)) {
                if at == place {
                    field.value = span;
                } else {
                    field.alive = false;
                    self.dead += 1;
                }
            }
        }
        Ok(())
    }

    /// Adds a field `name` with the first value of the field `of`; false if there is none.
    ///
    /// # Errors
    /// [`FieldError`]; nothing has changed then.
    pub fn append_copy(&mut self, name: impl AsRef<[u8]>, of: Name) -> Result<bool, FieldError> {
        let found = self.fields.iter().find(|field| field.alive && field.id == of);
        let Some(value) = found.map(|field| field.value) else { return Ok(false) };
        self.append(name, "")?;
        let start = self.arena.len();
        let range = value.start()..value.start() + value.len();
        if start + value.len() > HEADERS_BYTES_MAX || range.end > start {
            self.fields.pop();
            return Err(FieldError::TooLarge);
        }
        self.arena.extend_from_within(range);
        if let Some(field) = self.fields.last_mut() {
            field.value = Span::new(start, start + value.len());
        }
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
        let (name, value) = (name.as_ref(), trim(value.as_ref()));
        if !is_token(name) {
            return Err(FieldError::NameInvalid);
        }
        if !is_value(value) {
            return Err(FieldError::ValueInvalid);
        }
        if self.arena.len() + name.len() + value.len() > HEADERS_BYTES_MAX {
            return Err(FieldError::TooLarge);
        }
        if self.fields.len() >= FIELDS_MAX {
            self.fields.retain(|f| f.alive);
            self.dead = 0;
            if self.fields.len() >= FIELDS_MAX {
                return Err(FieldError::TooMany);
            }
        }
        let id = Name::of(name);
        let (name, value) = (self.push_bytes(name)?, self.push_bytes(value)?);
        self.seen |= id.bit();
        self.fields.push(Field { name, value, id, alive: true });
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
        if name == Name::Other || !self.may_hold(name.bit()) {
            return 0;
        }
        self.kill(|field, _| field.id == name)
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

    /// Removes the fields of all `names` ([`Name::bit`]s) in one pass.
    #[inline]
    pub(crate) fn remove_set(&mut self, names: u64) {
        if self.may_hold(names) {
            self.kill(|field, _| field.id.bit() & names != 0);
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

    /// The parser's entry: bytes are the wire's, already checked.
    #[inline]
    pub(crate) fn push_wire(&mut self, id: Name, name: Span, value: Span) {
        self.seen |= id.bit();
        self.fields.push(Field { name, value, id, alive: true });
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

    fn push_bytes(&mut self, bytes: &[u8]) -> Result<Span, FieldError> {
        let start = self.arena.len();
        if start + bytes.len() > HEADERS_BYTES_MAX {
            return Err(FieldError::TooLarge);
        }
        self.arena.extend_from_slice(bytes);
        Ok(Span::new(start, start + bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(headers: &Headers) -> Vec<String> {
        headers
            .iter()
            .map(|(n, v)| format!("{}: {}", String::from_utf8_lossy(n), String::from_utf8_lossy(v)))
            .collect()
    }

    #[test]
    fn names_compare_ignoring_case_and_keep_their_spelling() {
        let mut h = Headers::new();
        h.append("hOST", "a").unwrap();
        h.append("X-My", " 1 ").unwrap();
        assert_eq!(h.get("Host"), Some(&b"a"[..]));
        assert_eq!(h.get_known(Name::Host), Some(&b"a"[..]));
        assert_eq!(h.get("x-mY"), Some(&b"1"[..]));
        assert_eq!(lines(&h), ["hOST: a", "X-My: 1"]);
    }

    #[test]
    fn set_keeps_the_place_of_the_first_and_drops_the_rest() {
        let mut h = Headers::new();
        for (n, v) in [("A", "1"), ("B", "2"), ("a", "3"), ("C", "4")] {
            h.append(n, v).unwrap();
        }
        h.set("a", "longer").unwrap();
        assert_eq!(lines(&h), ["A: longer", "B: 2", "C: 4"]);
        h.set("a", "x").unwrap();
        h.set("D", "5").unwrap();
        assert_eq!(lines(&h), ["A: x", "B: 2", "C: 4", "D: 5"]);
        assert_eq!(h.len(), 4);
    }

    #[test]
    fn setting_again_and_again_stays_within_the_arena() {
        let mut h = Headers::new();
        for n in 0..100_000u32 {
            h.set("x-request-id", format!("{n:08}")).unwrap();
        }
        assert_eq!(h.get("x-request-id"), Some(&b"00099999"[..]));
        assert!(h.arena.len() < 64);
    }

    #[test]
    fn what_could_split_a_message_is_refused() {
        let mut h = Headers::new();
        for value in ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "\x7f"] {
            assert_eq!(h.append("X", value), Err(FieldError::ValueInvalid), "{value:?}");
        }
        for name in ["", " X", "X ", "X:", "X\r\n", "X\0", "ä"] {
            assert_eq!(h.append(name, "v"), Err(FieldError::NameInvalid), "{name:?}");
        }
        h.append("X", "1").unwrap();
        assert_eq!(h.set("X", "a\r\nb"), Err(FieldError::ValueInvalid));
        assert_eq!(lines(&h), ["X: 1"]);
    }

    #[test]
    fn limits_hold_and_dead_fields_make_room() {
        let mut h = Headers::new();
        for _ in 0..FIELDS_MAX {
            h.append("X", "1").unwrap();
        }
        assert_eq!(h.append("Y", "1"), Err(FieldError::TooMany));
        assert_eq!(h.remove("x"), FIELDS_MAX);
        h.append("Y", "1").unwrap();
        assert_eq!(lines(&h), ["Y: 1"]);
        assert_eq!(h.append("Y", vec![b'a'; HEADERS_BYTES_MAX]), Err(FieldError::TooLarge));
    }

    #[test]
    fn retain_and_remove_count_what_they_took() {
        let mut h = Headers::new();
        for (n, v) in [("A", "1"), ("Cookie", "2"), ("a", "3")] {
            h.append(n, v).unwrap();
        }
        h.retain(|_, v| v != b"3");
        assert_eq!(lines(&h), ["A: 1", "Cookie: 2"]);
        assert_eq!(h.remove_known(Name::Cookie), 1);
        assert_eq!(h.remove("Cookie"), 0);
        assert_eq!(h.len(), 1);
        h.clear();
        assert!(h.is_empty());
    }
}
