//! The TLS handshake of a client's connection: before anything of HTTP, bounded in time and number.
//!
//! The connection is in the shard's register already, so that it counts towards
//! `runtime.max_connections`, and a drain shortens its wait like that of any connection that has
//! not yet brought a request.

use crate::{
    proxy::{Connection, ListenerRules, stats::TlsCounters},
    runtime::{Expired, TcpStream},
    transport::{
        Stream,
        tls::{Failure, Reason},
    },
};

/// A stream as the listener wants it; none when it is to be secure and can't be.
pub(super) fn prepare(tcp: TcpStream, rules: &ListenerRules) -> Option<Stream> {
    if !rules.is_secure {
        return Some(tcp.into());
    }
    let Some(tls) = &rules.tls else {
        tracing::error!(listener = rules.name(), "no certificate is there; closing a connection");
        return None;
    };
    match Stream::accept_tls(tcp, tls) {
        Ok(stream) => Some(stream),
        Err(error) => {
            tracing::error!(listener = rules.name(), %error, "no TLS session can be begun");
            None
        }
    }
}

/// Shakes hands on `connection`; false when it is to be closed.
pub(super) async fn run(
    connection: &Connection,
    rules: &ListenerRules,
    counters: &TlsCounters,
) -> bool {
    let Some(tls) = connection.stream.as_tls() else { return false };
    if counters.handshaking.get() >= i64::from(rules.handshakes_max) {
        counters.count_failure(Reason::TooMany);
        connection.stream.reset_on_close();
        return false;
    }
    counters.handshaking.add(1);
    connection.timer.set_after(rules.handshake_timeout);
    let result = connection.timer.guard(tls.handshake()).await;
    counters.handshaking.add(-1);
    let reason = match &result {
        Ok(Ok(handshaken)) => {
            counters.count(handshaken);
            return true;
        }
        Ok(Err(failure)) => failure.reason(),
        Err(Expired) => Reason::Timeout,
    };
    counters.count_failure(reason);
    let client = connection.client_addr();
    match result {
        // Ordinary on an open port: port scans, health checks, clients that change their mind.
        Ok(Err(failure @ Failure::Tls(_))) => {
            tracing::debug!(listener = rules.name(), %client, %failure, "TLS handshake failed");
        }
        _ => tracing::debug!(listener = rules.name(), %client, reason = reason.as_str(), "no TLS"),
    }
    false
}
