//! Finds a body's data in the bytes of a connection and its end (RFC 9112 §6, §7).
//!
//! ```text
//!   Length(n)   ─ data ─▶ Done
//!   UntilClose  ─ data ─▶ (on_eof) Done
//!   Chunked     ┌▶ Size ─n─▶ Data ─▶ DataCr ─▶ DataLf ┐
//!               └──────────────────────────────────────┘
//!                   └─0─▶ Trailers ⟲ line ─▶ TrailersLf ─▶ Done
//! ```
//! Owns no payload: data comes out as a range into the caller's bytes. Can stop and go on at any
//! byte; framing bytes and trailer lines are always consumed, so the caller's buffer may be
//! recycled after each call.

use super::chunk::{SizeLine, Step};
use super::fields::{Line, line};
use crate::protocol::http::trailer::TrailerFate;
use crate::protocol::http::{Framing, Headers, Name, SyntaxError};
use std::fmt;
use std::ops::Range;

/// Why a body is refused. A request's is the client's fault (400), a response's the upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// Not 1–16 hex digits and CRLF.
    ChunkSizeInvalid,
    /// 2^63 or more.
    ChunkSizeTooLarge,
    /// Not the grammar of RFC 9112 §7.1.1.
    ExtensionInvalid,
    /// Too many bytes of extensions, on one line or for the data that they came with.
    ExtensionTooLong,
    /// No CRLF after a chunk's data.
    ChunkEndMissing,
    /// A malformed trailer field.
    Trailer(SyntaxError),
    /// A trailer field that would change framing or routing (RFC 9110 §6.5.1).
    TrailerForbidden,
    /// More trailers than [`TRAILER_BYTES_MAX`] or [`TRAILER_FIELDS_MAX`].
    TrailersTooLarge,
    /// The connection ended first.
    Truncated,
}

impl BodyError {
    /// What is wrong, in a few words.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::ChunkSizeInvalid => "invalid chunk size",
            Self::ChunkSizeTooLarge => "chunk size too large",
            Self::ExtensionInvalid => "invalid chunk extension",
            Self::ExtensionTooLong => "chunk extensions too long",
            Self::ChunkEndMissing => "no CRLF after a chunk",
            Self::Trailer(error) => error.reason(),
            Self::TrailerForbidden => "field not allowed in trailers",
            Self::TrailersTooLarge => "trailers too large",
            Self::Truncated => "body ended early",
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for BodyError {}

/// Most bytes of trailers.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// Most trailer fields.
pub const TRAILER_FIELDS_MAX: usize = 32;

/// Extension bytes that a body may carry beyond one for each byte of data. Without this a client
/// could make us read a kilobyte of nothing for each byte that counts.
pub const EXTENSION_EXCESS_MAX: u64 = 16 * 1024;

/// What one call of [`BodyDecoder::decode`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes that are dealt with, `data` included.
    pub consumed: usize,
    /// The data among them, as a range into the bytes given; may be empty.
    pub data: Range<usize>,
    /// The body is complete; what follows `consumed` belongs to the next message.
    pub done: bool,
}

/// Reads one body.
#[derive(Debug, Clone)]
pub struct BodyDecoder {
    state: State,
    size: SizeLine,
    /// Extension bytes not yet paid for by data.
    excess: u64,
    /// The trailer line being read; empty unless a body has trailers.
    held: Vec<u8>,
    trailer_bytes: usize,
    /// The trailers, complete once the body is done. Fields that only make sense before a body
    /// (credentials, caching, content) are left out.
    pub trailers: Headers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    Size,
    Data(u64),
    DataCr,
    DataLf,
    Trailers,
    TrailersLf,
    Done,
}

impl BodyDecoder {
    /// A decoder for one body; allocates nothing until a trailer comes.
    pub const fn new(framing: Framing) -> Self {
        Self {
            state: State::of(framing),
            size: SizeLine::new(),
            excess: 0,
            held: Vec::new(),
            trailer_bytes: 0,
            trailers: Headers::new(),
        }
    }

    /// Begins the next body, keeping memory.
    pub fn reset(&mut self, framing: Framing) {
        self.state = State::of(framing);
        self.size = SizeLine::new();
        self.excess = 0;
        self.held.clear();
        self.trailer_bytes = 0;
        self.trailers.clear();
    }

    /// Reads on in `bytes`, which begin where the last call's `consumed` ended.
    ///
    /// Gives at most one range of data; call again with the rest until `done`, or until nothing
    /// is consumed, which means that more bytes are needed.
    ///
    /// # Errors
    /// [`BodyError`]; the message is broken for good, and so is its connection.
    #[inline]
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, BodyError> {
        match self.state {
            State::Done => Ok(Decoded { consumed: 0, data: 0..0, done: true }),
            State::UntilClose => {
                Ok(Decoded { consumed: bytes.len(), data: 0..bytes.len(), done: false })
            }
            State::Length(left) => {
                let taken = at_most(bytes.len(), left);
                self.state = after_length(left - taken as u64);
                Ok(Decoded { consumed: taken, data: 0..taken, done: self.is_done() })
            }
            _ => self.decode_chunked(bytes),
        }
    }

    /// The framing before one range of data, the range, and the framing after it.
    fn decode_chunked(&mut self, bytes: &[u8]) -> Result<Decoded, BodyError> {
        let mut data = 0..0;
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match self.state {
                State::Data(left) => {
                    if !data.is_empty() {
                        break;
                    }
                    let taken = at_most(bytes.len() - at, left);
                    data = at..at + taken;
                    at += taken;
                    self.state = after_data(left - taken as u64);
                    continue;
                }
                State::Trailers => {
                    at += self.read_trailers(bytes.get(at..).unwrap_or(&[]))?;
                    continue;
                }
                State::Size => self.read_size(byte)?,
                State::DataCr if byte == b'\r' => self.state = State::DataLf,
                State::DataLf if byte == b'\n' => self.state = State::Size,
                State::DataCr | State::DataLf => return Err(BodyError::ChunkEndMissing),
                State::TrailersLf if byte == b'\n' => self.state = State::Done,
                State::TrailersLf => return Err(BodyError::Trailer(SyntaxError::BareCr)),
                State::Done | State::Length(_) | State::UntilClose => break,
            }
            at += 1;
        }
        Ok(Decoded { consumed: at, data, done: self.is_done() })
    }

    fn read_size(&mut self, byte: u8) -> Result<(), BodyError> {
        if let Step::Size { size, extension_bytes } = self.size.push(byte)? {
            self.excess = (self.excess + u64::from(extension_bytes)).saturating_sub(size);
            if self.excess > EXTENSION_EXCESS_MAX {
                return Err(BodyError::ExtensionTooLong);
            }
            self.state = if size == 0 { State::Trailers } else { State::Data(size) };
        }
        Ok(())
    }

    /// Takes up to one trailer line, or the CR of the empty line; gives the bytes consumed.
    fn read_trailers(&mut self, bytes: &[u8]) -> Result<usize, BodyError> {
        if self.held.is_empty() && bytes.first() == Some(&b'\r') {
            self.state = State::TrailersLf;
            return Ok(1);
        }
        let newline = memchr::memchr(b'\n', bytes);
        let taken = newline.map_or(bytes.len(), |at| at + 1);
        self.trailer_bytes += taken;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(BodyError::TrailersTooLarge);
        }
        self.held.extend_from_slice(bytes.get(..taken).unwrap_or(&[]));
        if newline.is_some() {
            self.take_trailer()?;
            self.held.clear();
        }
        Ok(taken)
    }

    /// Reads the held line into the trailers.
    fn take_trailer(&mut self) -> Result<(), BodyError> {
        let field = line(&self.held, 0).map_err(BodyError::Trailer)?;
        let Line::Field { name_end, value, .. } = field else {
            return Err(BodyError::Trailer(SyntaxError::Folded));
        };
        let name = self.held.get(..name_end).unwrap_or(&[]);
        match TrailerFate::of(Name::of(name)) {
            TrailerFate::Refused => return Err(BodyError::TrailerForbidden),
            TrailerFate::Dropped => return Ok(()),
            TrailerFate::Kept => {}
        }
        if self.trailers.len() >= TRAILER_FIELDS_MAX {
            return Err(BodyError::TrailersTooLarge);
        }
        self.trailers.append(name, value.of(&self.held)).map_err(|_| BodyError::TrailersTooLarge)
    }

    /// Bytes still to come of a [`Framing::Length`] body; 0 once done, `None` if unknown.
    #[inline]
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// The body is complete.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// `n` bytes of data went past this decoder (splice). Only for what [`Framing::Length`],
    /// [`Framing::UntilClose`] or the current chunk still holds.
    pub fn skip(&mut self, n: u64) {
        self.state = match self.state {
            State::Length(left) => {
                debug_assert!(n <= left, "skipped beyond the body");
                after_length(left.saturating_sub(n))
            }
            State::Data(left) => {
                debug_assert!(n <= left, "skipped beyond the chunk");
                after_data(left.saturating_sub(n))
            }
            other => other,
        };
    }

    /// The connection ended: the good end of an [`Framing::UntilClose`] body.
    ///
    /// # Errors
    /// [`BodyError::Truncated`] if the body wanted more.
    pub fn on_eof(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::Done | State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(BodyError::Truncated),
        }
    }
}

impl State {
    const fn of(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Described(_) | Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Size,
            Framing::UntilClose => Self::UntilClose,
        }
    }
}

#[inline]
fn after_length(left: u64) -> State {
    if left == 0 { State::Done } else { State::Length(left) }
}

#[inline]
fn after_data(left: u64) -> State {
    if left == 0 { State::DataCr } else { State::Data(left) }
}

/// The smaller of the two; fits, since one of them is a `usize`.
#[inline]
fn at_most(len: usize, left: u64) -> usize {
    usize::try_from(left).map_or(len, |left| left.min(len))
}
