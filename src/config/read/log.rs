//! `[log]`.

use std::path::PathBuf;

use crate::base::access::{AccessFormat, LogField, LogPiece};
use crate::config::fields::{Fields, Schema, Value};
use crate::config::log::{AccessLog, ErrorLog, LogConfig, LogLevel, LogPath};

use super::template;

pub(super) const SCHEMAS: [&Schema; 3] = [&LOG, &ACCESS, &ERROR];

/// The table, or the defaults where there is none.
pub(super) fn read(value: Option<Value<'_>>) -> LogConfig {
    let Some(fields) = value.and_then(|value| value.scoped("log".to_owned()).table(&LOG)) else {
        return LogConfig::default();
    };
    let access = fields
        .value("access")
        .filter(|value| !value.is_word("off"))
        .and_then(|value| value.table(&ACCESS))
        .map(|fields| access(&fields));
    LogConfig {
        access,
        error: fields
            .table("error", &ERROR)
            .map_or_else(ErrorLog::default, |fields| error(&fields)),
    }
}

fn access(fields: &Fields<'_>) -> AccessLog {
    let path = fields.required("path", "path = \"/var/log/ringway/access.log\"");
    AccessLog {
        path: path.and_then(|value| log_path(&value)).unwrap_or(LogPath::Stdout),
        format: fields
            .value("format")
            .and_then(|value| format(&value))
            .unwrap_or(AccessFormat::Json),
        sample: fields.share("sample", 1.0),
    }
}

fn error(fields: &Fields<'_>) -> ErrorLog {
    let default = ErrorLog::default();
    let path = fields.value("path").and_then(|value| log_path(&value));
    let level = fields.value("level").and_then(|value| value.word(&LogLevel::WORDS, &[]));
    ErrorLog { path: path.unwrap_or(default.path), level: level.unwrap_or(default.level) }
}

fn log_path(value: &Value<'_>) -> Option<LogPath> {
    // A bare word is more likely a slip of `stderr` than the name of a file.
    let what = "`stdout`, `stderr` or a path with a `/`, such as `/var/log/ringway/access.log`";
    match value.text(what)? {
        "stdout" => Some(LogPath::Stdout),
        "stderr" => Some(LogPath::Stderr),
        path if path.contains('/') && !path.ends_with('/') && !path.contains('\0') => {
            Some(LogPath::File(PathBuf::from(path)))
        }
        _ => value.expected(what),
    }
}

fn format(value: &Value<'_>) -> Option<AccessFormat> {
    let what =
        "`json`, `combined` or a template, such as `${client_ip} ${method} ${path} ${status}`";
    match value.text(what)? {
        "json" => Some(AccessFormat::Json),
        "combined" => Some(AccessFormat::Combined),
        text if text.contains("${") => {
            if text.contains(|c: char| c.is_control() && c != '\t') {
                value.problem("has control characters; every line of the log is one exchange");
                return None;
            }
            let words = LogField::ALL.map(|field| (field.name(), field));
            let pieces = template::pieces(value, text, &words)?;
            let piece = |piece| match piece {
                template::Found::Literal(text) => LogPiece::Literal(text),
                template::Found::Variable(field) => LogPiece::Field(field),
            };
            Some(AccessFormat::Template(pieces.into_iter().map(piece).collect()))
        }
        _ => value.expected(what),
    }
}

const LOG: Schema = Schema { path: "log", keys: &["access", "error"], later: &[] };

const ACCESS: Schema =
    Schema { path: "log.access", keys: &["path", "format", "sample"], later: &[] };

const ERROR: Schema = Schema { path: "log.error", keys: &["path", "level"], later: &[] };
