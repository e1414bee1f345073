//! From bytes to frames: cuts them, checks who may come when, and sends each to its handler.
//!
//! ```text
//!   Preface ─▶ Frame ⟲ ── DATA head ─▶ [PadLength] ─▶ Data ⟲ pieces ─▶ [Padding] ─▶ Frame
//! ```
//! DATA is never collected: its pieces go out as they come. Other frames are handled in place if
//! they are whole, else collected, so that the caller's bytes are always used up.

use super::Connection;
use super::data::Incoming;
use crate::protocol::h2::error::{ConnectionError, Violation};
use crate::protocol::h2::frame::{ACK, FRAME_HEAD_BYTES, FrameHead, Kind, PREFACE};
use std::time::Instant;

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// The client's preface, of which so many bytes were right.
    Preface(usize),
    /// A frame's head, or the rest of a frame that is being collected.
    Frame,
    /// The octet before padded DATA that says how much padding there is.
    PadLength(Incoming),
    /// DATA.
    Data(Incoming),
    /// So much padding after it.
    Padding(usize),
}

impl Connection {
    /// Reads `bytes` up to the next event or to their end, and says how many were used.
    ///
    /// ```text
    ///   let mut at = 0;
    ///   while at < bytes.len() {
    ///       let used = connection.receive(now, &bytes[at..])?;
    ///       while let Some(event) = connection.poll_event() { … ranges are into &bytes[at..] … }
    ///       at += used;
    ///   }
    /// ```
    /// All bytes are used up in the end, so the buffer may be recycled. With events that nobody
    /// has polled yet, nothing is read and the answer is 0.
    ///
    /// # Errors
    /// The connection is over: send what `transmit` gives (GOAWAY is in it), then close. Further
    /// calls give the same error.
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) -> Result<usize, ConnectionError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.now = now;
        self.heard_at = now;
        let mut at = 0;
        while at < bytes.len() && self.events.is_empty() {
            match self.step(bytes, at) {
                Ok(used) => at += used,
                Err(error) => return Err(self.fail(error)),
            }
        }
        Ok(at)
    }

    /// Reads something at `at`, which is within `bytes`.
    fn step(&mut self, bytes: &[u8], at: usize) -> Result<usize, ConnectionError> {
        match self.reading {
            Reading::Frame => self.frame(bytes, at),
            Reading::Data(incoming) => Ok(self.data(incoming, bytes.len(), at)),
            Reading::PadLength(incoming) => {
                let padding = bytes.get(at).copied().unwrap_or(0);
                self.pad_length(incoming, padding, at)
            }
            Reading::Padding(left) => {
                let used = left.min(bytes.len() - at);
                self.reading =
                    if used == left { Reading::Frame } else { Reading::Padding(left - used) };
                Ok(used)
            }
            Reading::Preface(matched) => self.preface(matched, bytes.get(at..).unwrap_or(&[])),
        }
    }

    /// RFC 9113 §3.4.
    fn preface(&mut self, matched: usize, bytes: &[u8]) -> Result<usize, ConnectionError> {
        let wanted = PREFACE.get(matched..).unwrap_or(&[]);
        let used = wanted.len().min(bytes.len());
        if wanted.get(..used) != bytes.get(..used) {
            return Err(Violation::Preface.into());
        }
        self.reading =
            if used == wanted.len() { Reading::Frame } else { Reading::Preface(matched + used) };
        Ok(used)
    }

    /// A frame from its head, or more of one that was cut.
    fn frame(&mut self, bytes: &[u8], at: usize) -> Result<usize, ConnectionError> {
        let rest = bytes.get(at..).unwrap_or(&[]);
        if !self.partial.is_empty() {
            return self.more_of_frame(rest, at);
        }
        if let Some((head, payload)) = rest.split_first_chunk::<FRAME_HEAD_BYTES>() {
            let head = FrameHead::read(head);
            self.admit(&head)?;
            if head.kind == Kind::Data {
                self.begin_data(&head, at)?;
                return Ok(FRAME_HEAD_BYTES);
            }
            if let Some(payload) = payload.get(..head.len) {
                self.dispatch(&head, payload)?;
                return Ok(FRAME_HEAD_BYTES + head.len);
            }
        }
        self.partial.extend_from_slice(rest);
        Ok(rest.len())
    }

    /// Collects what is missing of the frame in `partial`.
    fn more_of_frame(&mut self, rest: &[u8], at: usize) -> Result<usize, ConnectionError> {
        let had_head = self.partial.len() >= FRAME_HEAD_BYTES;
        let mut used = 0;
        if !had_head {
            used = (FRAME_HEAD_BYTES - self.partial.len()).min(rest.len());
            self.partial.extend_from_slice(rest.get(..used).unwrap_or(&[]));
        }
        let Some(head) = self.partial.first_chunk().map(FrameHead::read) else { return Ok(used) };
        if !had_head {
            self.admit(&head)?;
            if head.kind == Kind::Data {
                self.partial.clear();
                // An empty frame's event points at the end of what was used, which is there.
                self.begin_data(&head, at)?;
                return Ok(used);
            }
        }
        let missing = (FRAME_HEAD_BYTES + head.len).saturating_sub(self.partial.len());
        let more = missing.min(rest.len() - used);
        self.partial.extend_from_slice(rest.get(used..used + more).unwrap_or(&[]));
        if more == missing {
            let mut partial = std::mem::take(&mut self.partial);
            let result = self.dispatch(&head, partial.get(FRAME_HEAD_BYTES..).unwrap_or(&[]));
            partial.clear();
            // Large frames that come cut are rare: an idle connection doesn't keep their memory.
            partial.shrink_to(PARTIAL_BYTES_KEPT);
            self.partial = partial;
            result?;
        }
        Ok(used + more)
    }

    /// Which frame may come now (§3.4, §4.3), and the shape of its head.
    #[inline]
    fn admit(&self, head: &FrameHead) -> Result<(), ConnectionError> {
        if !self.is_settings_received && (head.kind != Kind::Settings || head.has(ACK)) {
            return Err(Violation::SettingsMissing.into());
        }
        if self.block.stream() != (head.kind == Kind::Continuation).then_some(head.stream) {
            return Err(Violation::Continuation.into());
        }
        Ok(head.check()?)
    }

    /// Sends a whole frame to its handler.
    fn dispatch(&mut self, head: &FrameHead, payload: &[u8]) -> Result<(), ConnectionError> {
        match head.kind {
            Kind::Headers => self.headers(head, payload),
            Kind::Continuation => self.continuation(head, payload),
            Kind::WindowUpdate => self.window_update(head.stream, payload),
            Kind::Settings => self.settings(head, payload),
            Kind::Ping => self.ping(head, payload),
            Kind::Reset => self.reset_frame(head.stream, payload),
            Kind::GoAway => self.go_away_frame(payload),
            Kind::Priority => self.priority(head.stream, payload),
            Kind::PriorityUpdate => self.priority_update(payload),
            Kind::PushPromise => Err(Violation::Push.into()),
            // DATA never comes here: it isn't collected.
            Kind::Unknown | Kind::Data => self.unknown(),
        }
    }
}

/// Memory for cut frames that a connection keeps.
const PARTIAL_BYTES_KEPT: usize = 1024;
