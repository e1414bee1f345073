//! The access log's record, its formats and the per-shard end of its queue.
//!
//! A shard fills an [`AccessRecord`] with borrowed text when an exchange ends, and
//! [`AccessSink::log`] formats it into a line and puts the line into a ring of fixed size. The
//! writer thread (`control::access_log`) takes lines from all shards' rings and writes them.
//! Nothing here makes a system call or waits; a line that finds no room is counted and dropped.
//!
//! ```text
//!  shard: AccessRecord ─ format_line ─▶ scratch ─ copy ─▶ ring ─┐
//!  shard: …                                       └ copy ─▶ ring ─┴─▶ writer thread ─▶ file
//! ```

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use crate::base::address::Address;

mod format;
mod ring;
mod sink;

pub use format::{AccessFormat, LogField, LogPiece, VALUE_BYTES_MAX, format_line};
pub use ring::RING_BYTES;
pub use sink::{AccessCounts, AccessSink, AccessSource, WAKE_BYTES, WriterWaker, access_queue};

/// What TLS has agreed on with a client.
#[derive(Debug, Clone, Copy)]
pub struct TlsFacts<'a> {
    /// `1.2` or `1.3`
    pub version: &'a str,
    /// The cipher suite, as IANA writes it.
    pub cipher: &'a str,
    /// The name that the client asked for.
    pub sni: Option<&'a str>,
    /// The application protocol that was chosen.
    pub alpn: Option<&'a [u8]>,
    /// Whether an earlier session was continued.
    pub is_resumed: bool,
    /// The subject of the client's verified certificate.
    pub client_subject: Option<&'a str>,
}

/// One finished exchange. Text is as it came from the wire: the format escapes it.
#[derive(Debug, Clone, Copy)]
pub struct AccessRecord<'a> {
    /// When the exchange ended.
    pub time: SystemTime,
    /// Who asked: the connection's address, or the one a trusted proxy named.
    pub client_ip: IpAddr,
    /// The request's method; empty if none could be read.
    pub method: &'a [u8],
    /// `http`
    pub scheme: &'a str,
    /// The request's host without the port.
    pub host: Option<&'a [u8]>,
    /// The path as it came; `None` if none could be read, or for `OPTIONS *`.
    pub path: Option<&'a [u8]>,
    /// The query without its `?`.
    pub query: Option<&'a [u8]>,
    /// `HTTP/1.1` or the like; empty if none could be read.
    pub version: &'a str,
    /// What the client was told; 0 if nothing.
    pub status: u16,
    /// Bytes of body received from the client.
    pub bytes_in: u64,
    /// Bytes of body sent to the client.
    pub bytes_out: u64,
    /// From the request's first byte to the response's last.
    pub duration: Duration,
    /// From the request's first byte to the upstream's response head.
    pub upstream_duration: Option<Duration>,
    /// The listener's name.
    pub listener: &'a str,
    /// The matched route's name.
    pub route: Option<&'a str>,
    /// The upstream's name; `None` when ringway answered itself.
    pub upstream: Option<&'a str>,
    /// The endpoint that answered, or that was tried last.
    pub endpoint: Option<Address>,
    /// How many times the request was sent to an endpoint.
    pub attempts: u32,
    /// The id a `request_id` filter issued or took over.
    pub request_id: Option<&'a [u8]>,
    /// The Referer field.
    pub referer: Option<&'a [u8]>,
    /// The User-Agent field.
    pub user_agent: Option<&'a [u8]>,
    /// What TLS has agreed on with the client; none in the clear.
    pub tls: Option<TlsFacts<'a>>,
    /// Why the exchange failed, in the words of `proxy::error`.
    pub error: Option<&'a str>,
}
