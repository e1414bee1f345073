//! `[log]`: the access log and the error log.
//!
//! Only what is written where, and how; writing is the control thread's work.

use std::path::PathBuf;

use crate::base::access::AccessFormat;

/// Both logs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogConfig {
    /// One line per exchange. Default: none.
    pub access: Option<AccessLog>,
    /// What the process has to say.
    pub error: ErrorLog,
}

/// The access log.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessLog {
    /// Where the lines go. Required.
    pub path: LogPath,
    /// What a line looks like. Default: [`AccessFormat::Json`].
    pub format: AccessFormat,
    /// Share of exchanges that are logged, 0.0 to 1.0. Default: 1.0.
    pub sample: f64,
}

/// The error log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorLog {
    /// Where the lines go. Default: [`LogPath::Stderr`].
    pub path: LogPath,
    /// The least severe line that is still written. Default: [`LogLevel::Info`].
    pub level: LogLevel,
}

/// Where a log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPath {
    /// `"stdout"`
    Stdout,
    /// `"stderr"`
    Stderr,
    /// A file, opened for appending.
    File(PathBuf),
}

/// Severity of a line in the error log, most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed that should not.
    Error,
    /// Something is about to.
    Warn,
    /// State changed.
    Info,
    /// For those who look for a fault.
    Debug,
    /// Every step.
    Trace,
}

impl LogLevel {
    /// The words in the file.
    pub(super) const WORDS: [(&str, Self); 5] = [
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

impl Default for ErrorLog {
    fn default() -> Self {
        Self { path: LogPath::Stderr, level: LogLevel::Info }
    }
}
