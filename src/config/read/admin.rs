//! `[admin]`.

use std::path::PathBuf;

use crate::base::address::{UnixPath, UnixPathError};
use crate::config::admin::AdminConfig;
use crate::config::fields::{Schema, Value};

use super::text::listen_ip;

pub(super) const SCHEMAS: [&Schema; 1] = [&ADMIN];

/// The table, or the defaults where there is none.
pub(super) fn read(value: Option<Value<'_>>) -> AdminConfig {
    let Some(fields) = value.and_then(|value| value.scoped("admin".to_owned()).table(&ADMIN))
    else {
        return AdminConfig::default();
    };
    AdminConfig {
        listen: fields.value("listen").and_then(|value| unix_socket(&value)),
        dashboard: fields.value("dashboard").and_then(|value| listen_ip(&value)),
    }
}

fn unix_socket(value: &Value<'_>) -> Option<PathBuf> {
    let what = "a unix socket, such as `unix:/run/ringway/admin.sock`";
    let Some(path) = value.text(what)?.strip_prefix("unix:") else { return value.expected(what) };
    match UnixPath::new(path) {
        Ok(path) => Some(PathBuf::from(path.as_str())),
        Err(UnixPathError::Syntax) => value.expected(what),
        Err(error @ UnixPathError::TooLong) => value.problem_none(error),
    }
}

const ADMIN: Schema = Schema { path: "admin", keys: &["listen", "dashboard"], later: &[] };
