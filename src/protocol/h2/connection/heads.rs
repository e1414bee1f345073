//! Header blocks in (RFC 9113 §4.3, §6.2, §6.10, §8): joined, decoded, and turned into events.
//!
//! A block is decoded whatever becomes of its stream: HPACK's state depends on it (§4.3). A whole
//! one is decoded where it lies; only pieces are joined, in memory that is bounded.

use super::{Connection, Event};
use crate::protocol::h2::error::{ConnectionError, ErrorCode, Violation};
use crate::protocol::h2::fields::{NoFields, RequestFields, ResponseFields, TrailerFields};
use crate::protocol::h2::frame::{
    END_HEADERS, END_STREAM, FrameHead, StreamId, headers_fragment, put_reset,
};
use crate::protocol::h2::head::{Outgoing, put_response};
use crate::protocol::h2::stream::{Content, State, Stream};
use crate::protocol::h2::streams::Ending;
use crate::protocol::h2::{Abuse, Role};
use crate::protocol::http::{Framing, Method, ResponseHead, Status};

/// A header block that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Block {
    open: Option<Opening>,
    bytes: Vec<u8>,
    pieces: u32,
}

/// What a HEADERS frame says of its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Opening {
    stream: u32,
    ends: bool,
    violation: Option<Violation>,
}

impl Block {
    /// The stream whose CONTINUATION must come next.
    #[inline]
    pub(super) fn stream(&self) -> Option<u32> {
        self.open.map(|opening| opening.stream)
    }
}

impl Connection {
    pub(super) fn headers(
        &mut self,
        head: &FrameHead,
        payload: &[u8],
    ) -> Result<(), ConnectionError> {
        let (range, depends_on) = headers_fragment(head, payload)?;
        let violation = (depends_on == Some(head.stream)).then_some(Violation::SelfDependency);
        let opening = Opening { stream: head.stream, ends: head.has(END_STREAM), violation };
        let fragment = payload.get(range).unwrap_or(&[]);
        if head.has(END_HEADERS) {
            return self.whole_block(opening, fragment);
        }
        self.block.open = Some(opening);
        self.block.pieces = 1;
        self.block.bytes.extend_from_slice(fragment);
        Ok(())
    }

    pub(super) fn continuation(
        &mut self,
        head: &FrameHead,
        payload: &[u8],
    ) -> Result<(), ConnectionError> {
        let Some(opening) = self.block.open else { return Err(Violation::Continuation.into()) };
        self.block.pieces += 1;
        if self.block.pieces > PIECES_MAX
            || self.block.bytes.len() + payload.len() > self.limits.block_bytes()
        {
            return Err(Abuse::Continuation.into());
        }
        self.block.bytes.extend_from_slice(payload);
        if !head.has(END_HEADERS) {
            return Ok(());
        }
        self.block.open = None;
        let mut bytes = std::mem::take(&mut self.block.bytes);
        let result = self.whole_block(opening, &bytes);
        bytes.clear();
        bytes.shrink_to(BLOCK_BYTES_KEPT);
        self.block.bytes = bytes;
        result
    }

    fn whole_block(&mut self, opening: Opening, block: &[u8]) -> Result<(), ConnectionError> {
        let id = opening.stream;
        let Some(stream) = self.streams.find(id) else {
            if self.is_idle(id) {
                if self.role == Role::Client || !self.is_theirs(id) {
                    return Err(Violation::StreamId.into());
                }
                return self.new_request(opening, block);
            }
            self.decoder.decode(block, &mut NoFields)?;
            return self.stray(id);
        };
        if !stream.state.they_may_send() {
            self.decoder.decode(block, &mut NoFields)?;
            return self.stream_error(id, Violation::StreamClosed);
        }
        if self.role == Role::Client && !stream.is_head_received {
            return self.response_block(opening, block);
        }
        self.trailer_block(opening, block)
    }

    fn new_request(&mut self, opening: Opening, block: &[u8]) -> Result<(), ConnectionError> {
        let id = opening.stream;
        self.last_theirs = id;
        if self.is_beyond_last(id) {
            // §6.8: sent before they knew of our GOAWAY, which told them to send it elsewhere.
            self.closed.push(id, Ending::Ours);
            return Ok(self.decoder.decode(block, &mut NoFields)?);
        }
        if self.streams.len() >= self.limits.streams as usize {
            self.decoder.decode(block, &mut NoFields)?;
            return self.refuse_stream(id);
        }
        let limits = &self.limits;
        let mut fields = RequestFields::new(
            &mut self.request,
            limits.header_list_bytes,
            limits.fields,
            limits.connect_protocol,
        );
        self.decoder.decode(block, &mut fields)?;
        let result = match opening.violation {
            Some(violation) => Err(violation),
            None => fields.finish().and_then(|length| self.request_framing(length, opening.ends)),
        };
        match result {
            Ok(framing) => self.accept_request(id, framing, opening.ends),
            Err(violation) => return self.refuse_request(opening, violation),
        }
        Ok(())
    }

    /// A request's body as its head declares it (§8.1.1).
    fn request_framing(&self, length: Option<u64>, ends: bool) -> Result<Framing, Violation> {
        match (length, ends) {
            (Some(1..), true) => Err(Violation::ContentLength),
            // What follows is the tunnel's; a length above 0 was refused before.
            _ if self.request.method == Method::Connect => Ok(Framing::None),
            (Some(length), _) => Ok(Framing::Length(length)),
            (None, true) => Ok(Framing::None),
            (None, false) => Ok(Framing::Chunked),
        }
    }

    fn accept_request(&mut self, id: u32, framing: Framing, ends: bool) {
        let mut stream = Stream::new(id, self.theirs.window, self.recv_initial);
        stream.is_head_received = true;
        stream.is_connect = self.request.method == Method::Connect;
        stream.content = match framing {
            Framing::Length(length) => Content::Left(length),
            _ => Content::Any,
        };
        if ends {
            stream.state = State::HalfClosedRemote;
        }
        self.streams.insert(stream);
        // What a browser sends along with a request.
        self.meters.credit(Abuse::WindowUpdate, 2);
        self.meters.credit(Abuse::Priority, 3);
        self.events.push_back(Event::Request { stream: StreamId(id), framing, end: ends });
    }

    /// A request above SETTINGS_MAX_CONCURRENT_STREAMS (§5.1.2).
    fn refuse_stream(&mut self, id: u32) -> Result<(), ConnectionError> {
        let before = self.out.len();
        put_reset(id, ErrorCode::RefusedStream, &mut self.out);
        self.closed.push(id, Ending::Ours);
        let violation = Violation::StreamsTooMany;
        self.events.push_back(Event::Refused { stream: StreamId(id), violation });
        if self.is_settings_acked {
            // Before, they couldn't know the limit.
            self.charge(Abuse::RefusedStreams, 1)?;
        }
        self.charge_output(before)
    }

    /// A malformed request (§8.1.1), or one with a head that is too large (§10.5.1).
    fn refuse_request(
        &mut self,
        opening: Opening,
        violation: Violation,
    ) -> Result<(), ConnectionError> {
        let (id, before) = (opening.stream, self.out.len());
        if violation == Violation::HeaderListTooLarge {
            let mut head = ResponseHead::new();
            head.set_status(Status::HEAD_TOO_LARGE);
            let outgoing = Outgoing { stream: id, ends: true };
            put_response(
                &head,
                Framing::Length(0),
                None,
                outgoing,
                &mut self.encoder,
                &mut self.out,
            );
            if !opening.ends {
                put_reset(id, ErrorCode::NoError, &mut self.out);
            }
        } else {
            put_reset(id, violation.code(), &mut self.out);
        }
        self.closed.push(id, Ending::Ours);
        self.events.push_back(Event::Refused { stream: StreamId(id), violation });
        self.charge(Abuse::ProvokedReset, 1)?;
        self.charge_output(before)
    }

    fn response_block(&mut self, opening: Opening, block: &[u8]) -> Result<(), ConnectionError> {
        let id = opening.stream;
        let limits = &self.limits;
        let mut fields =
            ResponseFields::new(&mut self.response, limits.header_list_bytes, limits.fields);
        self.decoder.decode(block, &mut fields)?;
        let result = match opening.violation {
            Some(violation) => Err(violation),
            None => {
                fields.finish().and_then(|length| self.accept_response(id, length, opening.ends))
            }
        };
        match result {
            Ok(()) => Ok(()),
            Err(violation) => self.stream_error(id, violation),
        }
    }

    fn accept_response(
        &mut self,
        id: u32,
        length: Option<u64>,
        ends: bool,
    ) -> Result<(), Violation> {
        let status = self.response.status;
        let Some(stream) = self.streams.find_mut(id) else { return Ok(()) };
        if status.is_informational() {
            // §8.1: an interim response never ends a stream.
            if ends {
                return Err(Violation::Status);
            }
            self.events.push_back(Event::Interim { stream: StreamId(id) });
            return Ok(());
        }
        stream.is_head_received = true;
        let (framing, content) = if stream.is_head_method || status.code() == 304 {
            (length.map_or(Framing::None, Framing::Described), Content::Forbidden)
        } else if stream.is_connect && status.class() == 2 {
            (Framing::None, Content::Any)
        } else if status.code() == 204 {
            (Framing::None, Content::Forbidden)
        } else {
            stream.is_connect = false;
            match (length, ends) {
                (Some(1..), true) => return Err(Violation::ContentLength),
                (Some(length), _) => (Framing::Length(length), Content::Left(length)),
                (None, true) => (Framing::Length(0), Content::Any),
                (None, false) => (Framing::Chunked, Content::Any),
            }
        };
        stream.content = content;
        self.events.push_back(Event::Response { stream: StreamId(id), framing, end: ends });
        if ends {
            self.they_end(id);
        }
        Ok(())
    }

    fn trailer_block(&mut self, opening: Opening, block: &[u8]) -> Result<(), ConnectionError> {
        let id = opening.stream;
        let limits = &self.limits;
        let mut fields =
            TrailerFields::new(&mut self.trailers, limits.header_list_bytes, limits.fields);
        self.decoder.decode(block, &mut fields)?;
        let stream = self.streams.find(id);
        let is_short = stream.is_some_and(|stream| matches!(stream.content, Content::Left(1..)));
        let is_connect = stream.is_some_and(|stream| stream.is_connect);
        let violation = match (opening.violation, fields.finish()) {
            (Some(violation), _) | (None, Err(violation)) => Some(violation),
            (None, Ok(())) if is_connect => Some(Violation::HeadersInTunnel),
            (None, Ok(())) if !opening.ends => Some(Violation::TrailersOpen),
            (None, Ok(())) if is_short => Some(Violation::ContentLength),
            (None, Ok(())) => None,
        };
        if let Some(violation) = violation {
            return self.stream_error(id, violation);
        }
        self.events.push_back(Event::Trailers { stream: StreamId(id) });
        self.they_end(id);
        Ok(())
    }
}

/// Frames of one header block. Honest encoders fill frames of 16 KiB before they begin another;
/// some proxies cut at 4 KiB.
const PIECES_MAX: u32 = 16;

/// Memory for joined blocks that a connection keeps.
const BLOCK_BYTES_KEPT: usize = 4096;
