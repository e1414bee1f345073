//! Reading a table of the tree: known keys, typed values, and a problem for everything else.
//!
//! A [`Schema`] lists the keys of a table; opening a table against it reports what it doesn't know
//! with a suggestion, and what the language has but this build doesn't. A [`Value`] knows its name
//! in messages, so that readers only say what they expect. `None` always means that the value is
//! absent or its problem is noted; readers go on with the default.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::base::units::{ByteRate, ByteSize, format_duration, parse_duration};

use super::place::{Place, Problems};
use super::raw::{Entry, Kind, Node, Table, quoted};
use super::suggest::{all_of, nearest, one_of};

/// The keys of one kind of table.
#[derive(Debug)]
pub struct Schema {
    /// Its path in the file, with `NAME` for what the user chooses: `listener.NAME.limits`.
    pub path: &'static str,
    /// What this build understands.
    pub keys: &'static [&'static str],
    /// What the language has and this build refuses by name.
    pub later: &'static [&'static str],
}

/// An opened table.
#[derive(Debug, Clone)]
pub(super) struct Fields<'t> {
    schema: &'static Schema,
    table: &'t Table,
    /// Where the table begins; problems of what is missing point here.
    place: Place,
    /// How messages call it: "listener `web`".
    scope: String,
    /// Path below the scope with its final dot: `limits.`.
    path: String,
    problems: &'t Problems,
}

/// A value with its name.
#[derive(Debug, Clone)]
pub(super) struct Value<'t> {
    node: &'t Node,
    scope: String,
    path: String,
    problems: &'t Problems,
}

impl<'t> Fields<'t> {
    /// Opens a table that messages call `scope`.
    pub(super) fn open(
        schema: &'static Schema,
        table: &'t Table,
        place: Place,
        scope: String,
        problems: &'t Problems,
    ) -> Self {
        let fields = Self { schema, table, place, scope, path: String::new(), problems };
        fields.check_keys();
        fields
    }

    /// The value of a key, if it is there.
    pub(super) fn value(&self, key: &'static str) -> Option<Value<'t>> {
        debug_assert!(self.schema.keys.contains(&key), "{} lacks {key}", self.schema.path);
        self.table.find(key).map(|entry| self.named(entry))
    }

    /// Whether a key is there, also one that this build refuses.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.find(key).is_some()
    }

    /// The value of a key that must be there; `example` says how it could look.
    pub(super) fn required(&self, key: &'static str, example: &str) -> Option<Value<'t>> {
        let value = self.value(key);
        // A slip of the key is told once, as that.
        if value.is_none() && !self.unknown().any(|entry| self.meant(&entry.key) == Some(key)) {
            self.problem(format!("{}{key} is missing, such as `{example}`", self.path));
        }
        value
    }

    /// A duration within `range`, or the default.
    pub(super) fn duration(
        &self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        self.value(key).and_then(|value| value.duration(range)).unwrap_or(default)
    }

    /// A whole number within `range`, or the default.
    pub(super) fn integer(
        &self,
        key: &'static str,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> u32 {
        self.value(key).and_then(|value| value.integer(range)).unwrap_or(default)
    }

    /// A share from 0.0 to 1.0, or the default.
    pub(super) fn share(&self, key: &'static str, default: f64) -> f64 {
        self.value(key).and_then(|value| value.share()).unwrap_or(default)
    }

    /// True or false, or the default.
    pub(super) fn boolean(&self, key: &'static str, default: bool) -> bool {
        self.value(key).and_then(|value| value.boolean()).unwrap_or(default)
    }

    /// A table below this one.
    pub(super) fn table(&self, key: &'static str, schema: &'static Schema) -> Option<Self> {
        self.value(key)?.table(schema)
    }

    /// Notes a problem of the table as a whole.
    pub(super) fn problem(&self, message: impl fmt::Display) {
        self.problems.error(self.place, scoped(&self.scope, message));
    }

    fn named(&self, entry: &'t Entry) -> Value<'t> {
        Value {
            node: &entry.node,
            scope: self.scope.clone(),
            path: format!("{}{}", self.path, entry.key),
            problems: self.problems,
        }
    }

    fn check_keys(&self) {
        for entry in self.unknown() {
            let key = entry.key.as_str();
            let name = quoted(&format!("{}{key}", self.path));
            let message = if self.schema.later.contains(&key) {
                format!("{name} is not supported yet")
            } else if let Some(meant) = self.meant(key) {
                format!("{name} isn't a key; did you mean {}?", quoted(meant))
            } else {
                format!("{name} isn't a key; the keys are {}", all_of(self.schema.keys))
            };
            self.problems.error(entry.place, scoped(&self.scope, message));
        }
    }

    /// Entries that this build doesn't read.
    fn unknown(&self) -> impl Iterator<Item = &'t Entry> {
        let known = self.schema.keys;
        self.table.entries.iter().filter(move |entry| !known.contains(&entry.key.as_str()))
    }

    /// The key that one was likely meant to be.
    fn meant(&self, key: &str) -> Option<&'static str> {
        nearest(key, self.schema.keys.iter().chain(self.schema.later).copied())
    }
}

impl<'t> Value<'t> {
    /// The same value as a thing with a name of its own: "listener `web`".
    pub(super) fn scoped(&self, scope: String) -> Self {
        Self { scope, path: String::new(), ..self.clone() }
    }

    pub(super) fn place(&self) -> Place {
        self.node.place
    }

    pub(super) fn kind(&self) -> &'t Kind {
        &self.node.kind
    }

    /// Notes "path `value` why".
    pub(super) fn problem(&self, why: impl fmt::Display) {
        self.complain(self.told(why));
    }

    /// Notes "path `value` why" as a warning.
    pub(super) fn warn(&self, why: impl fmt::Display) {
        self.problems.warn(self.place(), scoped(&self.scope, self.told(why)));
    }

    /// Like [`Value::problem`], for readers that end with it.
    pub(super) fn problem_none<T>(&self, why: impl fmt::Display) -> Option<T> {
        self.problem(why);
        None
    }

    /// An entry of this value, which is a table, before it is known which keys it has.
    pub(super) fn entry(&self, entry: &'t Entry) -> Self {
        Self { node: &entry.node, path: entry.key.clone(), ..self.clone() }
    }

    /// Notes that the value isn't what it should be.
    pub(super) fn expected<T>(&self, what: &str) -> Option<T> {
        self.problem(format!("isn't {what}"));
        None
    }

    /// Notes a problem in words of the caller's own.
    pub(super) fn complain(&self, message: impl fmt::Display) {
        self.complain_at(self.place(), message);
    }

    /// The same at another place than the value's: at its key.
    pub(super) fn complain_at(&self, place: Place, message: impl fmt::Display) {
        self.problems.error(place, scoped(&self.scope, message));
    }

    pub(super) fn text(&self, what: &str) -> Option<&'t str> {
        match &self.node.kind {
            Kind::Text(text) => Some(text),
            _ => self.expected(what),
        }
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match self.node.kind {
            Kind::Boolean(truth) => Some(truth),
            _ => self.expected("`true` or `false`"),
        }
    }

    pub(super) fn integer(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let Kind::Integer(number) = self.node.kind else { return self.expected("a whole number") };
        match u32::try_from(number) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => self.out_of_range(range.start(), range.end()),
        }
    }

    /// The mode of a file, such as `0o660`.
    pub(super) fn mode(&self) -> Option<u32> {
        let what = "the mode of a file, such as `0o660`";
        let Kind::Integer(number) = self.node.kind else { return self.expected(what) };
        let mode = u32::try_from(number).ok().filter(|mode| *mode <= 0o777);
        if mode.is_none() {
            self.problem("isn't the mode of a file: write it in octal, such as `0o660`");
        }
        mode
    }

    pub(super) fn share(&self) -> Option<f64> {
        let number = match self.node.kind {
            Kind::Float(number) => number,
            Kind::Integer(0) => 0.0,
            Kind::Integer(1) => 1.0,
            Kind::Integer(_) => 2.0,
            _ => return self.expected("a share, such as `0.2`"),
        };
        if (0.0..=1.0).contains(&number) { Some(number) } else { self.out_of_range(&"0.0", &"1.0") }
    }

    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        if let Kind::Integer(number) = self.node.kind {
            self.problem(format!("isn't a duration; did you mean `{number}s`?"));
            return None;
        }
        let text = self.text("a duration, such as `30s`, `250ms` or `1h30m`")?;
        match parse_duration(text) {
            Ok(duration) if range.contains(&duration) => Some(duration),
            Ok(_) => {
                self.out_of_range(&format_duration(*range.start()), &format_duration(*range.end()))
            }
            Err(error) => {
                self.problem(error);
                None
            }
        }
    }

    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let size = match &self.node.kind {
            Kind::Integer(number) => u64::try_from(*number).ok(),
            Kind::Text(text) => match text.parse::<ByteSize>() {
                Ok(ByteSize(bytes)) => Some(bytes),
                Err(error) => {
                    self.problem(error);
                    return None;
                }
            },
            _ => return self.expected("a size, such as `16KiB`, `10MiB` or `1GiB`"),
        };
        match size {
            Some(size) if range.contains(&size) => Some(size),
            _ => self.out_of_range(&ByteSize(*range.start()), &ByteSize(*range.end())),
        }
    }

    pub(super) fn byte_rate(&self, range: RangeInclusive<u64>) -> Option<ByteRate> {
        let text = self.text("a speed, such as `240B/s` or `1KiB/s`")?;
        match text.parse::<ByteRate>() {
            Ok(rate) if range.contains(&rate.0) => Some(rate),
            Ok(_) => self.out_of_range(&ByteRate(*range.start()), &ByteRate(*range.end())),
            Err(error) => self.problem_none(error),
        }
    }

    /// One of these words; `later` are words of the language that this build refuses by name.
    pub(super) fn word<T: Copy>(&self, words: &[(&'static str, T)], later: &[&str]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let Kind::Text(text) = &self.node.kind else { return self.expected(&one_of(&names)) };
        if let Some((_, meaning)) = words.iter().find(|(name, _)| name == text) {
            return Some(*meaning);
        }
        if later.contains(&text.as_str()) {
            self.problem("is not supported yet");
            return None;
        }
        match nearest(text, names.iter().chain(later).copied()) {
            Some(near) => self.problem(format!("isn't known; did you mean {}?", quoted(near))),
            None => self.problem(format!("isn't {}", one_of(&names))),
        }
        None
    }

    /// Whether the value is this word: `"off"`, `"unlimited"`.
    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(&self.node.kind, Kind::Text(text) if text == word)
    }

    /// What `read` makes of the value, or `Some(None)` if it is the word that switches it off.
    pub(super) fn unless<T>(
        &self,
        word: &'static str,
        read: impl FnOnce(&Self) -> Option<T>,
    ) -> Option<Option<T>> {
        match &self.node.kind {
            Kind::Text(text) if text == word => Some(None),
            Kind::Text(text) if nearest(text, [word]).is_some() => {
                self.problem(format!("isn't known; did you mean {}?", quoted(word)));
                None
            }
            _ => read(self).map(Some),
        }
    }

    /// The values of a list; anything else is a list of one.
    pub(super) fn list(&self) -> Vec<Self> {
        match &self.node.kind {
            Kind::Array(nodes) => nodes.iter().map(|node| Self { node, ..self.clone() }).collect(),
            _ => vec![self.clone()],
        }
    }

    /// Opens the value as a table.
    pub(super) fn table(&self, schema: &'static Schema) -> Option<Fields<'t>> {
        let Kind::Table(table) = &self.node.kind else {
            return self.expected(&format!("a table of {}", all_of(schema.keys)));
        };
        let fields = Fields {
            schema,
            table,
            place: self.place(),
            scope: self.scope.clone(),
            path: if self.path.is_empty() { String::new() } else { format!("{}.", self.path) },
            problems: self.problems,
        };
        fields.check_keys();
        Some(fields)
    }

    /// The entries of a table whose keys the user chooses: the key, where it stands, the value.
    pub(super) fn entries(&self, what: &str) -> Vec<(&'t str, Place, Self)> {
        let Kind::Table(table) = &self.node.kind else {
            return self.expected(what).unwrap_or_default();
        };
        let named = |entry: &'t Entry| {
            let path = format!("{}.{}", self.path, entry.key);
            let value = Self { node: &entry.node, path, ..self.clone() };
            (entry.key.as_str(), entry.place, value)
        };
        table.entries.iter().map(named).collect()
    }

    /// The value and its place in the language, for messages about what it names.
    pub(super) fn subject(&self) -> String {
        let value = self.node.describe();
        scoped(&self.scope, format!("{} {value}", self.path))
    }

    fn told(&self, why: impl fmt::Display) -> String {
        let value = self.node.describe();
        if self.path.is_empty() {
            format!("{value} {why}")
        } else {
            format!("{} {value} {why}", self.path)
        }
    }

    fn out_of_range<T>(&self, low: &impl fmt::Display, high: &impl fmt::Display) -> Option<T> {
        self.problem(format!("is out of range: {low} to {high}"));
        None
    }
}

/// A message that begins with what it is about; the file as a whole has no name.
fn scoped(scope: &str, message: impl fmt::Display) -> String {
    if scope.is_empty() { message.to_string() } else { format!("{scope}: {message}") }
}
