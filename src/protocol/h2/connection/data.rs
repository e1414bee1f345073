//! DATA in (RFC 9113 §6.1): windows, padding, Content-Length, and credit given back.
//!
//! ```text
//!   DATA ──▶ taken from both windows ──▶ Event::Data ──▶ caller passes it on ──▶ release
//!     └ padding, DATA of streams that are gone: given back at once                 │
//!   WINDOW_UPDATE ◀── when half a window has been given back ◀─────────────────────┘
//! ```

use super::receive::Reading;
use super::{Connection, Event};
use crate::protocol::h2::Abuse;
use crate::protocol::h2::error::{ConnectionError, Violation};
use crate::protocol::h2::frame::{END_STREAM, FrameHead, PADDED, StreamId, put_window_update};
use crate::protocol::h2::stream::{After, Content};
use crate::protocol::h2::streams::Ending;
use std::ops::Range;

/// A DATA frame that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Incoming {
    stream: u32,
    /// Octets of it still to come, without padding once that is known.
    left: usize,
    padding: usize,
    ends: bool,
    /// Nobody wants it, and its credit has been given back.
    is_discarded: bool,
}

impl Connection {
    /// A DATA frame's head has come. `at` is a place in the caller's bytes, for an empty range.
    pub(super) fn begin_data(
        &mut self,
        head: &FrameHead,
        at: usize,
    ) -> Result<(), ConnectionError> {
        let len = u32::try_from(head.len).unwrap_or(u32::MAX);
        self.credit.take(len)?;
        let is_wanted = self.admit_data(head.stream, len)?;
        if !is_wanted {
            self.give_back(len);
        }
        let incoming = Incoming {
            stream: head.stream,
            left: head.len,
            padding: 0,
            ends: head.has(END_STREAM),
            is_discarded: !is_wanted,
        };
        if head.has(PADDED) {
            if head.len == 0 {
                return Err(Violation::FrameSize.into());
            }
            self.reading = Reading::PadLength(incoming);
            return Ok(());
        }
        self.begin_content(incoming, at)
    }

    /// The octet that says how long the padding is.
    pub(super) fn pad_length(
        &mut self,
        incoming: Incoming,
        padding: u8,
        at: usize,
    ) -> Result<usize, ConnectionError> {
        let padding = usize::from(padding);
        let left = (incoming.left - 1).checked_sub(padding).ok_or(Violation::Padding)?;
        if !incoming.is_discarded {
            // Never the caller's: given back at once, whether the stream is still there or not.
            self.free(incoming.stream, u32::try_from(padding + 1).unwrap_or(0));
        }
        self.begin_content(Incoming { left, padding, ..incoming }, at)?;
        Ok(1)
    }

    fn begin_content(&mut self, mut incoming: Incoming, at: usize) -> Result<(), ConnectionError> {
        if !incoming.is_discarded && !self.fits_content(&incoming) {
            // Before any of it goes out, however the wire cuts it.
            self.give_back(u32::try_from(incoming.left).unwrap_or(u32::MAX));
            incoming.is_discarded = true;
            self.stream_error(incoming.stream, Violation::ContentLength)?;
        }
        if incoming.left > 0 {
            self.meters.credit(Abuse::EmptyData, 1);
            self.reading = Reading::Data(incoming);
            return Ok(());
        }
        if !incoming.ends {
            self.charge(Abuse::EmptyData, 1)?;
        }
        self.end_frame(&incoming);
        if incoming.ends && !incoming.is_discarded {
            self.deliver(&incoming, at..at);
        }
        Ok(())
    }

    /// A piece of DATA at `at`, of bytes that end at `len`.
    pub(super) fn data(&mut self, mut incoming: Incoming, len: usize, at: usize) -> usize {
        let used = incoming.left.min(len - at);
        incoming.left -= used;
        if incoming.left == 0 {
            self.end_frame(&incoming);
        } else {
            self.reading = Reading::Data(incoming);
        }
        if !incoming.is_discarded {
            self.deliver(&incoming, at..at + used);
        }
        used
    }

    fn end_frame(&mut self, incoming: &Incoming) {
        self.reading = match incoming.padding {
            0 => Reading::Frame,
            padding => Reading::Padding(padding),
        };
    }

    /// Whether DATA of `len` may come on `id`, taking it from the stream's window.
    fn admit_data(&mut self, id: u32, len: u32) -> Result<bool, ConnectionError> {
        let Some(stream) = self.streams.find_mut(id) else {
            self.stray(id)?;
            return Ok(false);
        };
        let violation = if !stream.state.they_may_send() {
            Violation::StreamClosed
        } else if stream.content == Content::Early {
            Violation::DataMisplaced
        } else if stream.recv_window < i64::from(len) {
            Violation::WindowExceeded
        } else {
            stream.recv_window -= i64::from(len);
            return Ok(true);
        };
        self.stream_error(id, violation)?;
        Ok(false)
    }

    /// §8.1.1: as much as Content-Length said, neither more nor less.
    fn fits_content(&self, incoming: &Incoming) -> bool {
        let Some(stream) = self.streams.find(incoming.stream) else { return true };
        let len = incoming.left as u64;
        match stream.content {
            Content::Any => true,
            Content::Left(left) if incoming.ends => len == left,
            Content::Left(left) => len <= left,
            Content::Forbidden | Content::Early => len == 0,
        }
    }

    /// Hands a piece to the caller, if its stream is still there and may have it.
    fn deliver(&mut self, incoming: &Incoming, range: Range<usize>) {
        let id = incoming.stream;
        let len = u32::try_from(range.len()).unwrap_or(u32::MAX);
        let is_last = incoming.left == 0 && incoming.ends;
        let Some(stream) = self.streams.find_mut(id) else {
            return self.give_back(len);
        };
        if let Content::Left(left) = &mut stream.content {
            *left = left.saturating_sub(len.into());
        }
        stream.unreleased += len;
        self.events.push_back(Event::Data { stream: StreamId(id), range, end: is_last });
        if is_last {
            self.they_end(id);
        }
    }

    /// END_STREAM has come.
    pub(super) fn they_end(&mut self, id: u32) {
        let Some(stream) = self.streams.find_mut(id) else { return };
        match stream.state.they_end() {
            After::Open(state) => stream.state = state,
            After::Closed => {
                self.forget(id, Ending::Theirs);
            }
        }
    }

    /// Gives credit back for `len` bytes of DATA that were passed on: the other side may send as
    /// much again. Without it a stream stops when its window is used up, which is how memory stays
    /// bounded. Nothing happens for a stream that is closed; its credit is back already.
    pub fn release(&mut self, stream: StreamId, len: usize) {
        let id = stream.0;
        let Some(stream) = self.streams.find_mut(id) else { return };
        let len = u32::try_from(len).unwrap_or(u32::MAX).min(stream.unreleased);
        stream.unreleased -= len;
        self.free(id, len);
    }

    /// Gives credit back to a stream, if it is still there, and to the connection.
    fn free(&mut self, id: u32, len: u32) {
        if let Some(stream) = self.streams.find_mut(id) {
            stream.freed = stream.freed.saturating_add(len);
            stream.announce(self.recv_initial, &mut self.out);
        }
        self.give_back(len);
    }

    /// Gives credit back to the connection.
    pub(super) fn give_back(&mut self, len: u32) {
        if let Some(increment) = self.credit.free(len) {
            put_window_update(0, increment, &mut self.out);
        }
    }

    /// A frame on a stream that isn't there: an error, unless it may have been sent before the
    /// other side heard that we reset it (§5.1).
    pub(super) fn stray(&mut self, id: u32) -> Result<(), ConnectionError> {
        if self.is_idle(id) {
            return Err(Violation::StreamIdle.into());
        }
        match self.closed.ending(id) {
            Ending::Theirs => Err(Violation::StreamClosed.into()),
            Ending::Never => Err(Violation::StreamId.into()),
            Ending::Ours | Ending::Forgotten => self.charge(Abuse::StrayFrames, 1),
        }
    }
}
