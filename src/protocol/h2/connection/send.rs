//! Everything that goes out on a stream: heads, DATA, trailers, resets, and waiting for windows.
//!
//! ```text
//!   send_data ─ takes min(stream window, connection window, output room)
//!       └ less than given ─▶ waiting ─▶ WINDOW_UPDATE, SETTINGS, transmit ─▶ Event::Capacity
//! ```
//! Waiting streams are woken in the order in which they began to wait.

use super::{Connection, Event, STREAM_ID_MAX};
use crate::protocol::h2::error::{ErrorCode, SendError};
use crate::protocol::h2::frame::{
    END_STREAM, FRAME_BYTES_MAX, Kind, StreamId, put_head, put_reset,
};
use crate::protocol::h2::head::{
    Outgoing, is_plain_connect, list_bytes, put_request, put_response, put_trailers,
};
use crate::protocol::h2::stream::{After, Stream};
use crate::protocol::h2::streams::Ending;
use crate::protocol::h2::{Abuse, Role};
use crate::protocol::http::{Framing, Headers, Method, RequestHead, ResponseHead};

/// Whether a head or a piece of DATA is the last thing on its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndStream {
    /// More follows.
    No,
    /// Nothing follows (END_STREAM).
    Yes,
}

impl EndStream {
    /// `Yes` if `ends`.
    pub const fn when(ends: bool) -> Self {
        if ends { Self::Yes } else { Self::No }
    }
}

impl Connection {
    /// Clients: opens a stream with a request. Content-Length is written from `framing`; fields
    /// of a connection, and Content-Length or Host in the head, are not (Host is `:authority`).
    ///
    /// # Errors
    /// [`SendError`]; nothing was written then.
    pub fn send_request(
        &mut self,
        head: &RequestHead,
        framing: Framing,
        end: EndStream,
    ) -> Result<StreamId, SendError> {
        if self.is_closing() || self.next_ours > STREAM_ID_MAX || self.role == Role::Server {
            return Err(SendError::GoingAway);
        }
        if self.streams_free() == 0 {
            return Err(SendError::NoStreamFree);
        }
        if head.protocol().is_some() && !self.theirs.connect_protocol {
            return Err(SendError::ConnectProtocolDisabled);
        }
        self.check_list(&head.headers, head.path().len() + head.query().map_or(0, str::len))?;
        let id = self.next_ours;
        self.next_ours += 2;
        let ends = end == EndStream::Yes;
        let mut stream = Stream::new(id, self.theirs.window, self.recv_initial);
        stream.is_head_sent = true;
        stream.is_head_method = head.method == Method::Head;
        stream.is_connect = is_plain_connect(head) || head.protocol().is_some();
        self.streams.insert(stream);
        let outgoing = Outgoing { stream: id, ends };
        put_request(head, self.scheme, framing, outgoing, &mut self.encoder, &mut self.out);
        if ends {
            self.we_end(id);
        }
        Ok(StreamId(id))
    }

    /// Servers: sends a response's head, interim (1xx) or final. Content-Length is written from
    /// `framing`, `date` if the head has no Date; fields of a connection are not.
    ///
    /// # Errors
    /// [`SendError`]; nothing was written then.
    pub fn send_response(
        &mut self,
        stream: StreamId,
        head: &ResponseHead,
        framing: Framing,
        date: Option<&str>,
        end: EndStream,
    ) -> Result<(), SendError> {
        let is_interim = head.status.is_informational();
        let ends = end == EndStream::Yes;
        self.check_list(&head.headers, 0)?;
        let state = self.sendable(stream)?;
        if state.is_head_sent || self.role == Role::Client || is_interim && ends {
            return Err(SendError::OutOfOrder);
        }
        if let Some(state) = self.streams.find_mut(stream.0) {
            state.is_head_sent = !is_interim;
        }
        let outgoing = Outgoing { stream: stream.0, ends };
        put_response(head, framing, date, outgoing, &mut self.encoder, &mut self.out);
        if ends {
            self.we_end(stream.0);
        }
        Ok(())
    }

    /// Sends as much of `bytes` as the windows and the output's room allow now, and says how much
    /// that was; the end only goes out with the last of them. If it took less than all, an
    /// [`Event::Capacity`] follows when more may go. Empty `bytes` with `EndStream::Yes` always go.
    ///
    /// # Errors
    /// [`SendError`]; nothing was written then.
    pub fn send_data(
        &mut self,
        stream: StreamId,
        bytes: &[u8],
        end: EndStream,
    ) -> Result<usize, SendError> {
        if !self.sendable(stream)?.is_head_sent {
            return Err(SendError::OutOfOrder);
        }
        let taken = bytes.len().min(self.capacity(stream));
        let ends = end == EndStream::Yes && taken == bytes.len();
        self.put_data(stream.0, bytes.get(..taken).unwrap_or(&[]), ends);
        let sent = i64::try_from(taken).unwrap_or(i64::MAX);
        self.send_window -= sent;
        if let Some(state) = self.streams.find_mut(stream.0) {
            state.send_window -= sent;
            let was_waiting = std::mem::replace(&mut state.is_waiting, taken < bytes.len());
            self.streams_waiting += usize::from(state.is_waiting);
            self.streams_waiting -= usize::from(was_waiting);
            if state.is_waiting && !state.is_queued {
                state.is_queued = true;
                self.waiting.push_back(stream.0);
            }
        }
        self.pay(taken, taken == bytes.len());
        self.note_progress(taken > 0);
        if ends {
            self.we_end(stream.0);
        }
        Ok(taken)
    }

    /// Sends trailers, which end the stream.
    ///
    /// # Errors
    /// [`SendError`]; nothing was written then.
    pub fn send_trailers(&mut self, stream: StreamId, trailers: &Headers) -> Result<(), SendError> {
        if !self.sendable(stream)?.is_head_sent {
            return Err(SendError::OutOfOrder);
        }
        self.check_list(trailers, 0)?;
        put_trailers(trailers, stream.0, &mut self.encoder, &mut self.out);
        self.we_end(stream.0);
        Ok(())
    }

    /// Ends a stream now, whatever it waits for; no event follows. `Cancel` for requests that
    /// nobody wants any more, `NoError` after a whole response to a request that is still coming
    /// (RFC 9113 §8.1), `Internal` for an exchange that failed, `RefusedStream` for a request that
    /// nothing was done for. Nothing happens if it is closed.
    pub fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        if self.forget(stream.0, Ending::Ours).is_some() && self.failed.is_none() {
            put_reset(stream.0, code, &mut self.out);
        }
    }

    /// Bytes of DATA that `send_data` would take now.
    #[inline]
    pub fn capacity(&self, stream: StreamId) -> usize {
        let Some(state) = self.streams.find(stream.0) else { return 0 };
        let window = state.send_window.min(self.send_window).max(0);
        usize::try_from(window).unwrap_or(0).min(self.room())
    }

    /// The stream, if we may still send on it.
    fn sendable(&self, stream: StreamId) -> Result<&Stream, SendError> {
        if self.failed.is_some() {
            return Err(SendError::StreamClosed);
        }
        let stream = self.streams.find(stream.0).ok_or(SendError::StreamClosed)?;
        if stream.state.we_may_send() { Ok(stream) } else { Err(SendError::OutOfOrder) }
    }

    /// SETTINGS_MAX_HEADER_LIST_SIZE is advice (§10.5.1); sending above it would only be refused.
    fn check_list(&self, headers: &Headers, line_bytes: usize) -> Result<(), SendError> {
        let most = self.theirs.header_list_bytes;
        if most != u32::MAX && list_bytes(headers, line_bytes) > most as usize {
            return Err(SendError::HeadTooLarge);
        }
        Ok(())
    }

    fn put_data(&mut self, id: u32, bytes: &[u8], ends: bool) {
        if bytes.is_empty() {
            if ends {
                put_head(0, Kind::Data, END_STREAM, id, &mut self.out);
            }
            return;
        }
        self.out.reserve(bytes.len() + 16 * bytes.len().div_ceil(FRAME_BYTES_MAX));
        let mut pieces = bytes.chunks(FRAME_BYTES_MAX).peekable();
        while let Some(piece) = pieces.next() {
            let flags = if ends && pieces.peek().is_none() { END_STREAM } else { 0 };
            put_head(piece.len(), Kind::Data, flags, id, &mut self.out);
            self.out.extend_from_slice(piece);
        }
    }

    /// What was sent pays for what they say about it: some clients answer every frame. A piece that
    /// their window cut doesn't count as one, or windows of one octet would pay for themselves.
    fn pay(&mut self, sent: usize, is_whole: bool) {
        self.unpaid += sent;
        let bytes = u32::try_from(self.unpaid / PAID_BYTES).unwrap_or(u32::MAX);
        self.unpaid %= PAID_BYTES;
        let paid = bytes.saturating_add(if is_whole && sent > 0 { 2 } else { 0 });
        self.meters.credit(Abuse::WindowUpdate, paid);
        self.meters.credit(Abuse::Ping, paid);
    }

    /// We have sent END_STREAM.
    fn we_end(&mut self, id: u32) {
        let Some(stream) = self.streams.find_mut(id) else { return };
        if self.role == Role::Server {
            self.meters.credit(Abuse::RapidReset, 1);
        }
        match stream.state.we_end() {
            After::Open(state) => stream.state = state,
            After::Closed => {
                self.forget(id, Ending::Theirs);
            }
        }
    }

    /// Output that DATA may still fill.
    #[inline]
    fn room(&self) -> usize {
        self.limits.output_bytes.saturating_sub(self.out.len())
    }

    /// DATA of some stream could go.
    pub(super) fn has_room(&self) -> bool {
        self.send_window > 0 && self.room() > 0
    }

    /// Tells waiting streams that they can go on, longest waiting first.
    pub(super) fn wake(&mut self) {
        for _ in 0..self.waiting.len() {
            if !self.has_room() {
                break;
            }
            let Some(id) = self.waiting.pop_front() else { break };
            let Some(stream) = self.streams.find_mut(id) else { continue };
            if stream.is_waiting && stream.send_window <= 0 {
                self.waiting.push_back(id);
            } else {
                stream.is_queued = false;
                self.wake_one(id);
            }
        }
    }

    /// Tells one waiting stream.
    pub(super) fn wake_one(&mut self, id: u32) {
        if let Some(stream) = self.streams.find_mut(id).filter(|stream| stream.is_waiting) {
            stream.is_waiting = false;
            self.events.push_back(Event::Capacity { stream: StreamId(id) });
            self.note_awake();
        }
    }

    /// One stream fewer waits.
    pub(super) fn note_awake(&mut self) {
        self.streams_waiting -= 1;
        if self.streams_waiting == 0 {
            self.blocked_since = None;
        }
    }

    fn note_progress(&mut self, is_progress: bool) {
        if self.streams_waiting == 0 {
            self.blocked_since = None;
        } else if is_progress || self.blocked_since.is_none() {
            self.blocked_since = Some(self.now);
        }
    }
}

/// DATA that pays for a WINDOW_UPDATE and a PING.
const PAID_BYTES: usize = 512;
