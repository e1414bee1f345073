//! Frames (RFC 9113 §4, §6): their heads, their types, and how each is written.
//!
//! ```text
//!   ┌──────────┬──────┬───────┬─────────────┬─────────────┐
//!   │ len (24) │ type │ flags │ stream (31) │ payload len │
//!   └──────────┴──────┴───────┴─────────────┴─────────────┘
//! ```
//! Shapes only: which frame may come when is the connection's.

use super::error::{ErrorCode, Violation};
use std::ops::Range;

/// Octets of a frame's head.
pub const FRAME_HEAD_BYTES: usize = 9;

/// The largest payload that we take (SETTINGS_MAX_FRAME_SIZE stays at its initial value) and
/// that we send, whatever the other side would take: larger frames only make streams wait for
/// each other.
pub const FRAME_BYTES_MAX: usize = 16_384;

/// A window before anything was agreed (§6.9.2).
pub const WINDOW_DEFAULT: u32 = 65_535;

/// The largest window (§6.9.1).
pub const WINDOW_MAX: u32 = 0x7fff_ffff;

/// What a client sends first (§3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream's number. Clients' are odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub(crate) u32);

impl StreamId {
    /// The number.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Frame types (§6; PRIORITY_UPDATE is RFC 9218 §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Headers,
    Priority,
    Reset,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    PriorityUpdate,
    Unknown,
}

impl Kind {
    fn from_wire(kind: u8) -> Self {
        match kind {
            0x0 => Self::Data,
            0x1 => Self::Headers,
            0x2 => Self::Priority,
            0x3 => Self::Reset,
            0x4 => Self::Settings,
            0x5 => Self::PushPromise,
            0x6 => Self::Ping,
            0x7 => Self::GoAway,
            0x8 => Self::WindowUpdate,
            0x9 => Self::Continuation,
            0x10 => Self::PriorityUpdate,
            _ => Self::Unknown,
        }
    }

    const fn wire(self) -> u8 {
        match self {
            Self::Data => 0x0,
            Self::Headers => 0x1,
            Self::Priority => 0x2,
            Self::Reset => 0x3,
            Self::Settings => 0x4,
            Self::PushPromise => 0x5,
            Self::Ping => 0x6,
            Self::GoAway => 0x7,
            Self::WindowUpdate => 0x8,
            Self::Continuation => 0x9,
            Self::PriorityUpdate => 0x10,
            Self::Unknown => 0xff,
        }
    }
}

/// END_STREAM of DATA and HEADERS.
pub(crate) const END_STREAM: u8 = 0x1;
/// ACK of SETTINGS and PING.
pub(crate) const ACK: u8 = 0x1;
/// END_HEADERS of HEADERS and CONTINUATION.
pub(crate) const END_HEADERS: u8 = 0x4;
/// PADDED of DATA and HEADERS.
pub(crate) const PADDED: u8 = 0x8;
/// PRIORITY of HEADERS.
pub(crate) const PRIORITY: u8 = 0x20;

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) len: usize,
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl FrameHead {
    /// Reads a head; the reserved bit is ignored (§4.1).
    #[inline]
    pub(crate) fn read(bytes: &[u8; FRAME_HEAD_BYTES]) -> Self {
        let [a, b, c, kind, flags, s1, s2, s3, s4] = *bytes;
        Self {
            len: u32::from_be_bytes([0, a, b, c]) as usize,
            kind: Kind::from_wire(kind),
            flags,
            stream: u32::from_be_bytes([s1, s2, s3, s4]) & WINDOW_MAX,
        }
    }

    #[inline]
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// What is wrong with the head alone: its size (§4.2 and each type's section) or its stream.
    pub(crate) fn check(&self) -> Result<(), Violation> {
        if self.len > FRAME_BYTES_MAX {
            return Err(Violation::FrameSize);
        }
        let on_stream = self.stream != 0;
        let (fits_size, fits_stream) = match self.kind {
            Kind::Data | Kind::Headers | Kind::Continuation | Kind::PushPromise => {
                (true, on_stream)
            }
            // A wrong size is the stream's error only (§6.3): judged with the payload.
            Kind::Priority => (true, on_stream),
            Kind::Reset => (self.len == 4, on_stream),
            Kind::Settings if self.has(ACK) => (self.len == 0, !on_stream),
            Kind::Settings => (self.len.is_multiple_of(6), !on_stream),
            Kind::Ping => (self.len == 8, !on_stream),
            Kind::GoAway => (self.len >= 8, !on_stream),
            Kind::WindowUpdate => (self.len == 4, true),
            Kind::PriorityUpdate => (self.len >= 4, !on_stream),
            Kind::Unknown => (true, true),
        };
        match (fits_stream, fits_size) {
            (false, _) => Err(Violation::StreamZero),
            (true, false) => Err(Violation::FrameSize),
            (true, true) => Ok(()),
        }
    }
}

/// Where a HEADERS payload's fragment is, without padding and priority (§6.2).
pub(crate) fn headers_fragment(
    head: &FrameHead,
    payload: &[u8],
) -> Result<(Range<usize>, Option<u32>), Violation> {
    let (mut start, mut padding, mut depends_on) = (0, 0, None);
    if head.has(PADDED) {
        padding = usize::from(*payload.first().ok_or(Violation::FrameSize)?);
        start = 1;
    }
    if head.has(PRIORITY) {
        let priority = payload.get(start..).and_then(|rest| rest.first_chunk::<5>());
        depends_on = Some(dependency(priority.ok_or(Violation::FrameSize)?));
        start += 5;
    }
    let end = payload.len().checked_sub(padding).filter(|end| *end >= start);
    Ok((start..end.ok_or(Violation::Padding)?, depends_on))
}

/// The stream that a priority depends on; the rest of it is ignored (§5.3.2).
pub(crate) fn dependency(priority: &[u8; 5]) -> u32 {
    let [a, b, c, d, _] = *priority;
    u32::from_be_bytes([a, b, c, d]) & WINDOW_MAX
}

/// A number of four octets at the start of a payload.
pub(crate) fn read_u32(payload: &[u8]) -> u32 {
    payload.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Appends a frame's head.
#[inline]
pub(crate) fn put_head(len: usize, kind: Kind, flags: u8, stream: u32, out: &mut Vec<u8>) {
    debug_assert!(len <= FRAME_BYTES_MAX, "larger frames may be refused");
    let [_, a, b, c] = u32::try_from(len).unwrap_or(0).to_be_bytes();
    let [s1, s2, s3, s4] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind.wire(), flags, s1, s2, s3, s4]);
}

/// Appends RST_STREAM (§6.4).
pub(crate) fn put_reset(stream: u32, code: ErrorCode, out: &mut Vec<u8>) {
    put_head(4, Kind::Reset, 0, stream, out);
    out.extend_from_slice(&code.wire().to_be_bytes());
}

/// Appends PING (§6.7).
pub(crate) fn put_ping(payload: [u8; 8], flags: u8, out: &mut Vec<u8>) {
    put_head(8, Kind::Ping, flags, 0, out);
    out.extend_from_slice(&payload);
}

/// Appends GOAWAY (§6.8), with the reason as debug data.
pub(crate) fn put_go_away(last: u32, code: ErrorCode, reason: &str, out: &mut Vec<u8>) {
    put_head(8 + reason.len(), Kind::GoAway, 0, 0, out);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&code.wire().to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Appends WINDOW_UPDATE (§6.9); stream 0 is the connection.
pub(crate) fn put_window_update(stream: u32, increment: u32, out: &mut Vec<u8>) {
    debug_assert!((1..=WINDOW_MAX).contains(&increment), "RFC 9113 §6.9");
    put_head(4, Kind::WindowUpdate, 0, stream, out);
    out.extend_from_slice(&increment.to_be_bytes());
}

/// Appends a header block that lies in `out` from `start`, where room for a HEADERS head was
/// left, by filling in that head; what is above a frame's size moves into CONTINUATIONs (§6.10).
pub(crate) fn finish_headers(start: usize, end_stream: bool, stream: u32, out: &mut Vec<u8>) {
    let len = out.len() - start - FRAME_HEAD_BYTES;
    let end = if end_stream { END_STREAM } else { 0 };
    let first = len.min(FRAME_BYTES_MAX);
    let last_flag = if first == len { END_HEADERS } else { 0 };
    fill_head(start, first, Kind::Headers, end | last_flag, stream, out);
    if first == len {
        return;
    }
    let rest = out.split_off(start + FRAME_HEAD_BYTES + first);
    let mut pieces = rest.chunks(FRAME_BYTES_MAX).peekable();
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        put_head(piece.len(), Kind::Continuation, flags, stream, out);
        out.extend_from_slice(piece);
    }
}

/// Leaves room for a head that [`finish_headers`] fills in.
#[inline]
pub(crate) fn reserve_head(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
    start
}

#[inline]
fn fill_head(start: usize, len: usize, kind: Kind, flags: u8, stream: u32, out: &mut [u8]) {
    let [_, a, b, c] = u32::try_from(len).unwrap_or(0).to_be_bytes();
    let [s1, s2, s3, s4] = stream.to_be_bytes();
    if let Some(head) = out.get_mut(start..).and_then(|rest| rest.first_chunk_mut()) {
        *head = [a, b, c, kind.wire(), flags, s1, s2, s3, s4];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(len: usize, kind: Kind, flags: u8, stream: u32) -> FrameHead {
        FrameHead { len, kind, flags, stream }
    }

    #[test]
    fn heads_round_trip_and_the_reserved_bit_is_ignored() {
        let mut out = Vec::new();
        put_head(16_384, Kind::Headers, 0x25, 0x7fff_ffff, &mut out);
        let mut bytes = *out.first_chunk().unwrap();
        bytes[5] |= 0x80;
        assert_eq!(FrameHead::read(&bytes), head(16_384, Kind::Headers, 0x25, 0x7fff_ffff));
    }

    #[test]
    fn sizes_and_streams_are_those_of_their_type() {
        for good in [
            head(0, Kind::Data, 0, 1),
            head(4, Kind::Reset, 0, 1),
            head(12, Kind::Settings, 0, 0),
            head(0, Kind::Settings, ACK, 0),
            head(8, Kind::Ping, 0, 0),
            head(4, Kind::WindowUpdate, 0, 0),
            head(99, Kind::Unknown, 0, 7),
        ] {
            assert_eq!(good.check(), Ok(()), "{good:?}");
        }
        for (bad, violation) in [
            (head(16_385, Kind::Data, 0, 1), Violation::FrameSize),
            (head(5, Kind::Reset, 0, 1), Violation::FrameSize),
            (head(7, Kind::Settings, 0, 0), Violation::FrameSize),
            (head(6, Kind::Settings, ACK, 0), Violation::FrameSize),
            (head(7, Kind::Ping, 0, 0), Violation::FrameSize),
            (head(7, Kind::GoAway, 0, 0), Violation::FrameSize),
            (head(3, Kind::WindowUpdate, 0, 1), Violation::FrameSize),
            (head(1, Kind::Data, 0, 0), Violation::StreamZero),
            (head(1, Kind::Headers, 0, 0), Violation::StreamZero),
            (head(5, Kind::Priority, 0, 0), Violation::StreamZero),
            (head(4, Kind::Reset, 0, 0), Violation::StreamZero),
            (head(0, Kind::Settings, 0, 1), Violation::StreamZero),
            (head(8, Kind::Ping, 0, 1), Violation::StreamZero),
            (head(8, Kind::GoAway, 0, 1), Violation::StreamZero),
            (head(1, Kind::Continuation, 0, 0), Violation::StreamZero),
        ] {
            assert_eq!(bad.check(), Err(violation), "{bad:?}");
        }
    }

    #[test]
    fn a_long_block_is_cut_into_continuations() {
        let mut out = vec![7; 3];
        let start = reserve_head(&mut out);
        out.resize(out.len() + 40_000, 0xaa);
        finish_headers(start, true, 5, &mut out);
        let mut rest = &out[3..];
        let mut seen = Vec::new();
        while let Some((bytes, tail)) = rest.split_first_chunk() {
            let head = FrameHead::read(bytes);
            seen.push((head.kind, head.flags, head.len));
            assert!(tail[..head.len].iter().all(|b| *b == 0xaa));
            rest = &tail[head.len..];
        }
        let expected = [
            (Kind::Headers, END_STREAM, 16_384),
            (Kind::Continuation, 0, 16_384),
            (Kind::Continuation, END_HEADERS, 7_232),
        ];
        assert_eq!(seen, expected);
    }
}
