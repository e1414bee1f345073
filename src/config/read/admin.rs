//! `[admin]`.

use std::path::PathBuf;

use crate::config::admin::AdminConfig;
use crate::config::fields::{Schema, Value};

use super::text::listen_address;

pub(super) const SCHEMAS: [&Schema; 1] = [&ADMIN];

/// The table, or the defaults where there is none.
pub(super) fn read(value: Option<Value<'_>>) -> AdminConfig {
    let Some(fields) = value.and_then(|value| value.scoped("admin".to_owned()).table(&ADMIN))
    else {
        return AdminConfig::default();
    };
    AdminConfig {
        listen: fields.value("listen").and_then(|value| unix_socket(&value)),
        dashboard: fields.value("dashboard").and_then(|value| listen_address(&value)),
    }
}

fn unix_socket(value: &Value<'_>) -> Option<PathBuf> {
    let what = "a unix socket, such as `unix:/run/ringway/admin.sock`";
    let Some(path) = value.text(what)?.strip_prefix("unix:") else { return value.expected(what) };
    if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
        return value.expected(what);
    }
    if path.len() > SOCKET_PATH_MAX {
        value.problem(format!(
            "is too long: the path of a unix socket has at most {SOCKET_PATH_MAX} bytes"
        ));
        return None;
    }
    Some(PathBuf::from(path))
}

const ADMIN: Schema = Schema { path: "admin", keys: &["listen", "dashboard"], later: &[] };

/// `sun_path` of `sockaddr_un` less its final NUL.
const SOCKET_PATH_MAX: usize = 107;
