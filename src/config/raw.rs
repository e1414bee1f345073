//! The tree of a TOML text, every node with its place.
//!
//! Knows TOML and nothing of what the keys mean. A tree of our own rather than serde's structs:
//! serde stops at the first fault, and one pass has to find all of them; it also lets the trees of
//! several files be joined while each node still points into its own.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::place::{Place, Problems, Sources};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// A date, a time or both; no key takes one.
    Datetime(String),
    Array(Vec<Node>),
    Table(Table),
}

/// Entries in the order of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
}

/// One `key = value`.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

/// Parses the file with this index. Every fault of syntax becomes a problem; the table then holds
/// what could be understood.
pub(super) fn parse(sources: &Sources, file: usize, problems: &Problems) -> Table {
    let text = sources.text(file);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let what = syntax_message(error.message(), text.get(span.clone()).unwrap_or(""));
        problems.error(Place { file, start: span.start }, what);
    }
    table(document.into_inner(), file, problems)
}

impl Node {
    /// The value in a message: `10x`, `7`, `a list`.
    pub(super) fn describe(&self) -> String {
        match &self.kind {
            Kind::Text(text) => quoted(text),
            Kind::Integer(number) => format!("`{number}`"),
            Kind::Float(number) => format!("`{number:?}`"),
            Kind::Boolean(truth) => format!("`{truth}`"),
            Kind::Datetime(text) => format!("`{text}`"),
            Kind::Array(_) => "(a list)".to_owned(),
            Kind::Table(_) => "(a table)".to_owned(),
        }
    }
}

impl Table {
    /// The entry with this key.
    pub(super) fn find(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

/// Text for a message: in backticks, on one line, not too long.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN_MAX)
        .map(|c| if c.is_control() || c == '`' { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

fn table(document: DeTable<'_>, file: usize, problems: &Problems) -> Table {
    let mut entries: Vec<Entry> = document
        .into_iter()
        .map(|(key, value)| Entry {
            place: Place { file, start: key.span().start },
            key: key.into_inner().into_owned(),
            node: node(value, file, problems),
        })
        .collect();
    entries.sort_by_key(|entry| entry.place);
    Table { entries }
}

fn node(value: Spanned<DeValue<'_>>, file: usize, problems: &Problems) -> Node {
    let place = Place { file, start: value.span().start };
    let kind = match value.into_inner() {
        DeValue::String(text) => Kind::Text(text.into_owned()),
        DeValue::Integer(number) => Kind::Integer(
            i64::from_str_radix(number.as_str(), number.radix()).unwrap_or_else(|_| {
                problems.error(place, format!("number {} is too large", quoted(number.as_str())));
                0
            }),
        ),
        DeValue::Float(number) => Kind::Float(number.as_str().parse().unwrap_or_else(|_| {
            problems.error(place, format!("{} isn't a number", quoted(number.as_str())));
            0.0
        })),
        DeValue::Boolean(truth) => Kind::Boolean(truth),
        DeValue::Datetime(datetime) => Kind::Datetime(datetime.to_string()),
        DeValue::Array(array) => {
            Kind::Array(array.into_iter().map(|value| node(value, file, problems)).collect())
        }
        DeValue::Table(document) => Kind::Table(table(document, file, problems)),
    };
    Node { place, kind }
}

/// The parser's words in our style: lower case, the text in question in backticks.
fn syntax_message(message: &str, text: &str) -> String {
    let message = message.replace('\n', " ");
    let text = text.trim();
    if text.is_empty() || text.contains('\n') {
        format!("not TOML: {message}")
    } else {
        format!("not TOML at {}: {message}", quoted(text))
    }
}

/// Most characters of a value that a message repeats.
const SHOWN_MAX: usize = 60;
