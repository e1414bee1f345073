//! `[admin]`: where the process is steered and watched.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Addresses of the control thread.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AdminConfig {
    /// Unix socket of the admin API (`unix:/path` in the file). Default: none; then `ringway
    /// status`, `reload` and `stop` cannot reach the process, signals still do.
    pub listen: Option<PathBuf>,
    /// Address that serves `/metrics` and `/healthz`. Default: none.
    pub dashboard: Option<SocketAddr>,
}
