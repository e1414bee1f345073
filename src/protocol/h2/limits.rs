//! Every bound of a connection, with its default and its reason, in one place.

use super::abuse::Allowance;
use super::frame::{FRAME_BYTES_MAX, WINDOW_DEFAULT, WINDOW_MAX};
use super::hpack::TABLE_BYTES_MAX;
use crate::protocol::http::{FIELDS_MAX, HEADERS_BYTES_MAX};
use std::time::Duration;

/// Bounds of one connection. What is said of "the other side" holds for both roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Streams that the other side may have open at once (SETTINGS_MAX_CONCURRENT_STREAMS), and
    /// for a client the streams that we open at most, whatever the server allows. More of theirs
    /// are refused (REFUSED_STREAM: safe to retry). Default 128: RFC 9113 §6.5.2 advises 100 at
    /// least. At most 32,768.
    pub streams: u32,
    /// Bytes of a header list as RFC 9113 §6.5.2 counts them: names, values and 32 a field.
    /// Default 32 KiB, at most 56 KiB. A request above it is answered with 431; a header block
    /// that needs more than this many octets ends the connection.
    pub header_list_bytes: usize,
    /// Field lines of a message. Default 100, at most 256. Answered with 431.
    pub fields: usize,
    /// Credit for DATA of one stream (SETTINGS_INITIAL_WINDOW_SIZE): what a stream may have in
    /// our memory. Default 256 KiB; at most 2^31-1.
    pub stream_window: u32,
    /// Credit for DATA of all streams together: what a connection may have in our memory.
    /// Default 1 MiB; at least 65,535 (RFC 9113 §6.9.2), at most 2^31-1.
    pub connection_window: u32,
    /// Octets of HPACK's dynamic table that the other side may use (SETTINGS_HEADER_TABLE_SIZE).
    /// Default and most 4 KiB. Ours is bounded by the same.
    pub header_table_bytes: usize,
    /// Output that may lie unsent before DATA waits. Default 64 KiB: one send's worth, so that a
    /// slow reader costs that much and no more.
    pub output_bytes: usize,
    /// Output beyond `output_bytes` before a connection whose control frames we answer but who
    /// doesn't read ends. Default 64 KiB: some thousand acknowledgements, or two heads.
    pub control_bytes: usize,
    /// Streams that a client may cancel unanswered: so many at once, so many more each second,
    /// and one more for each that is answered. Default 200 and 50: a browser that leaves a page
    /// twice cancels less, and an attack of thousands ends within the first.
    pub resets: Allowance,
    /// How long the other side may take to acknowledge our SETTINGS. Default 10 s.
    pub settings_timeout: Duration,
    /// A PING is sent after so much silence, unless there are no streams. Default: never.
    pub ping_interval: Option<Duration>,
    /// How long it may take to be answered. Default 10 s.
    pub ping_timeout: Duration,
    /// Longest wait between the two GOAWAYs of a drain (RFC 9113 §6.8), which is one round trip
    /// long. Default 1 s.
    pub drain_timeout: Duration,
    /// Accept extended CONNECT (RFC 8441), and say so. Servers only. Default false.
    pub connect_protocol: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 128,
            header_list_bytes: 32 * 1024,
            fields: 100,
            stream_window: 256 * 1024,
            connection_window: 1024 * 1024,
            header_table_bytes: TABLE_BYTES_MAX,
            output_bytes: 64 * 1024,
            control_bytes: 64 * 1024,
            resets: Allowance { burst: 200, per_second: 50 },
            settings_timeout: Duration::from_secs(10),
            ping_interval: None,
            ping_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(1),
            connect_protocol: false,
        }
    }
}

impl Limits {
    /// The limits that really hold: each within its hard bounds.
    pub(crate) fn bounded(mut self) -> Self {
        self.streams = self.streams.min(STREAMS_MAX);
        self.header_list_bytes = self.header_list_bytes.min(HEADER_LIST_BYTES_MAX);
        self.fields = self.fields.min(FIELDS_MAX);
        self.stream_window = self.stream_window.min(WINDOW_MAX);
        self.connection_window = self.connection_window.clamp(WINDOW_DEFAULT, WINDOW_MAX);
        self.header_table_bytes = self.header_table_bytes.min(TABLE_BYTES_MAX);
        self.output_bytes = self.output_bytes.max(FRAME_BYTES_MAX);
        self
    }

    /// Most octets of one header block, all its CONTINUATIONs together. An honest encoder needs
    /// fewer than the list has bytes, but for a few of framing.
    pub(crate) fn block_bytes(&self) -> usize {
        self.header_list_bytes + FRAME_BYTES_MAX
    }
}

/// Most streams at once: slots are numbered in 16 bits.
const STREAMS_MAX: u32 = 32_768;

/// Leaves room in a head's arena for what the proxy adds, and for cookies joined.
const HEADER_LIST_BYTES_MAX: usize = 56 * 1024;

const _: () = assert!(HEADER_LIST_BYTES_MAX < HEADERS_BYTES_MAX);
