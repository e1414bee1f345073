//! Where something stands in the files, and the problems found there.
//!
//! A [`Place`] is two numbers and cheap to keep; only when a problem is told is it turned into
//! line and column. Problems are collected, never thrown, so that one pass finds all of them.

use std::cell::RefCell;
use std::fmt;

/// A byte in one of the [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Index into [`Sources`].
    pub(super) file: usize,
    /// Byte offset in its text.
    pub(super) start: usize,
}

/// The texts of a configuration: the main file first, then what it includes.
#[derive(Debug, Default)]
pub(super) struct Sources {
    files: Vec<(String, String)>,
}

/// A place that people can find: `ringway.toml:3:16`. Line and column count from 1, columns in
/// characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Path of the file, as it was given.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {message}")]
pub struct Problem {
    /// Where.
    pub location: Location,
    /// What, and what would be right.
    pub message: String,
}

/// Why a configuration was refused: everything that one pass found, in the order of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// At least one, at most [`ConfigErrors::PROBLEMS_MAX`].
    pub problems: Vec<Problem>,
    /// How many more there were.
    pub omitted: usize,
}

/// Collects problems while tables are read.
#[derive(Debug, Default)]
pub(super) struct Problems {
    errors: RefCell<Vec<(Place, String)>>,
    warnings: RefCell<Vec<(Place, String)>>,
}

impl Sources {
    /// Takes a text in; its index is what [`Place::file`] holds.
    pub(super) fn add(&mut self, name: String, text: String) -> usize {
        self.files.push((name, text));
        self.files.len() - 1
    }

    pub(super) fn text(&self, file: usize) -> &str {
        self.files.get(file).map_or("", |(_, text)| text)
    }

    pub(super) fn locate(&self, place: Place) -> Location {
        let (file, text) = self.files.get(place.file).map_or(("", ""), |(name, text)| (name, text));
        let before = &text[..text.floor_char_boundary(place.start)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Location {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl Problems {
    /// Notes what makes the configuration unusable.
    pub(super) fn error(&self, place: Place, message: String) {
        self.errors.borrow_mut().push((place, message));
    }

    /// Notes what works but is likely not meant.
    pub(super) fn warn(&self, place: Place, message: String) {
        self.warnings.borrow_mut().push((place, message));
    }

    pub(super) fn has_errors(&self) -> bool {
        !self.errors.borrow().is_empty()
    }

    /// All errors, if there are any; else the warnings.
    pub(super) fn finish(self, sources: &Sources) -> Result<Vec<String>, ConfigErrors> {
        let mut errors = self.errors.into_inner();
        if errors.is_empty() {
            let mut warnings = self.warnings.into_inner();
            warnings.sort();
            let told = |(place, message)| format!("{}: {message}", sources.locate(place));
            return Ok(warnings.into_iter().map(told).collect());
        }
        errors.sort();
        errors.dedup();
        let omitted = errors.len().saturating_sub(ConfigErrors::PROBLEMS_MAX);
        errors.truncate(ConfigErrors::PROBLEMS_MAX);
        let located = |(place, message)| Problem { location: sources.locate(place), message };
        Err(ConfigErrors { problems: errors.into_iter().map(located).collect(), omitted })
    }
}

impl ConfigErrors {
    /// Most problems told at once; who has more has one cause, most likely.
    pub const PROBLEMS_MAX: usize = 20;

    /// A single problem with a file as a whole, such as one that can't be read.
    pub(super) fn of_file(file: &str, message: String) -> Self {
        let location = Location { file: file.to_owned(), line: 1, column: 1 };
        Self { problems: vec![Problem { location, message }], omitted: 0 }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        if self.omitted > 0 {
            write!(f, "\nand {} more", self.omitted)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
