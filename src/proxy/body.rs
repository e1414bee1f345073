//! Message bodies: a stream of [`Chunk`]s with, where it is known, an exact length.
//!
//! A body on the wire is read only when somebody asks for its next chunk, so a slow receiver slows
//! the sender, and nothing is buffered whole. A body that no filter touched stays recognisable
//! (`Kind::Wire`): the relay then moves the kernel's bytes without asking for chunks at all.

use std::{any::Any, fmt, ops::Deref};

use bytes::Bytes;

use super::{error::Error, h2::H2Body, recycle, tunnel::Tunnel, upload::Upload, wire::WireBody};
use crate::{
    protocol::http::Headers,
    runtime::{PooledFuture, RecvBuf, SendBuf},
    transport::Received,
};

/// A piece of a body. Derefs to its bytes.
#[derive(Debug)]
pub struct Chunk {
    kind: ChunkKind,
    /// Bytes already taken from the front (`Owned` and `Shared` only).
    start: usize,
}

#[derive(Debug)]
enum ChunkKind {
    /// A buffer of the shard's ring, lent until dropped.
    Ring(RecvBuf),
    Owned(Vec<u8>),
    Shared(Bytes),
}

impl Chunk {
    /// Drops the first `count` bytes.
    pub(crate) fn advance(&mut self, count: usize) {
        match &mut self.kind {
            ChunkKind::Ring(buf) => buf.advance(count),
            ChunkKind::Owned(_) | ChunkKind::Shared(_) => self.start += count,
        }
    }

    /// The same bytes in memory of their own: a ring buffer is not held while somebody is waited
    /// for, because a thousand waiting clients would hold all of them.
    pub(crate) fn detach(self) -> Self {
        if !matches!(self.kind, ChunkKind::Ring(_)) {
            return self;
        }
        let mut copy = recycle::take_bytes();
        copy.extend_from_slice(&self);
        copy.into()
    }

    /// Appends `bytes` if the chunk has its own memory and is then at most `most` long. (The memory's
    /// size decides nothing: it differs from run to run.)
    pub(crate) fn extend_within(&mut self, bytes: &[u8], most: usize) -> bool {
        match &mut self.kind {
            ChunkKind::Owned(own) if own.len() + bytes.len() <= most => {
                own.extend_from_slice(bytes);
                true
            }
            _ => false,
        }
    }

    /// Keeps the first `length` bytes.
    pub(crate) fn truncate(&mut self, length: usize) {
        match &mut self.kind {
            ChunkKind::Ring(buf) => buf.truncate(length),
            ChunkKind::Owned(bytes) => bytes.truncate(self.start + length),
            ChunkKind::Shared(bytes) => bytes.truncate(self.start + length),
        }
    }

    /// The chunk as what the runtime sends, without copying where nothing was taken from the front.
    pub(crate) fn into_send(mut self) -> SendBuf {
        match std::mem::replace(&mut self.kind, ChunkKind::Shared(Bytes::new())) {
            ChunkKind::Ring(buf) => SendBuf::Recv(buf),
            ChunkKind::Owned(mut bytes) => {
                bytes.drain(..self.start);
                SendBuf::Vec(bytes)
            }
            ChunkKind::Shared(bytes) => SendBuf::Bytes(bytes.slice(self.start..)),
        }
    }
}

impl Deref for Chunk {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.kind {
            ChunkKind::Ring(buf) => buf,
            ChunkKind::Owned(bytes) => bytes.get(self.start..).unwrap_or_default(),
            ChunkKind::Shared(bytes) => bytes.get(self.start..).unwrap_or_default(),
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let ChunkKind::Owned(bytes) = &mut self.kind {
            recycle::give_bytes(std::mem::take(bytes));
        }
    }
}

impl From<RecvBuf> for Chunk {
    fn from(buf: RecvBuf) -> Self {
        Self { kind: ChunkKind::Ring(buf), start: 0 }
    }
}
impl From<Received> for Chunk {
    #[inline]
    fn from(received: Received) -> Self {
        match received {
            Received::Ring(buf) => buf.into(),
            Received::Owned(bytes) => bytes.into(),
        }
    }
}
impl From<Vec<u8>> for Chunk {
    fn from(bytes: Vec<u8>) -> Self {
        Self { kind: ChunkKind::Owned(bytes), start: 0 }
    }
}
impl From<String> for Chunk {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}
impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        Self { kind: ChunkKind::Shared(bytes), start: 0 }
    }
}
impl From<&'static str> for Chunk {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

/// A body that a program makes itself, chunk by chunk.
pub trait BodyStream {
    /// The next chunk, `None` at the end. Called again only after the chunk before was sent.
    fn next(&mut self) -> PooledFuture<'_, Result<Option<Chunk>, Error>>;
    /// How many bytes are still to come, when that is known exactly.
    fn remaining(&self) -> Option<u64> {
        None
    }
    /// The trailers, once `next` has said that there are no more chunks.
    fn trailers(&self) -> Option<&Headers> {
        None
    }
}

/// A request's or a response's body.
pub struct Body {
    pub(super) kind: Kind,
    /// Lives until the body has been sent or dropped.
    guard: Option<Box<dyn Any>>,
}

pub(super) enum Kind {
    /// No body: the message carries none, whatever its head says (HEAD, 204, 304).
    Empty,
    /// All of it, in memory.
    Whole(Chunk),
    /// On a connection, as it came.
    Wire(Box<WireBody>),
    /// On a stream of an HTTP/2 connection.
    H2(Box<H2Body>),
    /// Made by a program.
    Stream(Box<dyn BodyStream>),
    /// The connection or stream itself, after `101 Switching Protocols` or CONNECT.
    Tunnel(Box<Tunnel>),
}

impl Body {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Kind::Empty.into()
    }

    /// A body made by `stream`.
    #[must_use]
    pub fn stream(stream: impl BodyStream + 'static) -> Self {
        Kind::Stream(Box::new(stream)).into()
    }

    /// How many bytes are still to come, when that is known exactly.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        match &self.kind {
            Kind::Empty => Some(0),
            Kind::Whole(chunk) => Some(chunk.len() as u64),
            Kind::Wire(wire) => wire.remaining(),
            Kind::H2(body) => body.remaining(),
            Kind::Stream(stream) => stream.remaining(),
            Kind::Tunnel(_) => None,
        }
    }

    /// Whether nothing is to come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remaining() == Some(0)
    }

    /// The next chunk, `None` at the end.
    ///
    /// *Cancel safety*: a dropped future may lose bytes of the body; give the body up with it.
    ///
    /// # Errors
    /// The sender broke off, sent a malformed body, stalled, or passed a limit.
    pub async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        match &mut self.kind {
            Kind::Empty | Kind::Tunnel(_) => Ok(None),
            Kind::Whole(_) => match std::mem::replace(&mut self.kind, Kind::Empty) {
                Kind::Whole(chunk) if !chunk.is_empty() => Ok(Some(chunk)),
                _ => Ok(None),
            },
            Kind::Wire(wire) => wire.next().await,
            Kind::H2(body) => body.next().await,
            Kind::Stream(stream) => stream.next().await,
        }
    }

    /// Collects the whole body, at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Body::next`], and [`Error::BodyTooLarge`] beyond `limit`.
    pub async fn collect(mut self, limit: usize) -> Result<Vec<u8>, Error> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.next().await? {
            if whole.len() + chunk.len() > limit {
                return Err(Error::BodyTooLarge { limit: limit as u64 });
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    }

    /// Passes every chunk through `change`. The body is then of unknown length and enters user
    /// code, so the relay's direct ways (ring buffers, splice) are given up.
    #[must_use]
    pub fn map(mut self, change: impl FnMut(Chunk) -> Result<Chunk, Error> + 'static) -> Self {
        let guard = self.guard.take();
        let mut mapped = Self::stream(Map { body: self, change });
        mapped.guard = guard;
        mapped
    }

    /// Keeps `guard` until the last byte has been sent or the body was given up.
    #[must_use]
    pub fn hold(mut self, guard: impl Any) -> Self {
        self.guard = Some(match self.guard.take() {
            Some(earlier) => Box::new((earlier, guard)),
            None => Box::new(guard),
        });
        self
    }

    /// The trailers that followed the body; none before its end.
    #[must_use]
    pub fn trailers(&self) -> Option<&Headers> {
        match &self.kind {
            Kind::Wire(wire) => wire.trailers(),
            Kind::H2(body) => body.trailers(),
            Kind::Stream(stream) => stream.trailers(),
            Kind::Empty | Kind::Whole(_) | Kind::Tunnel(_) => None,
        }
    }

    /// The rest of the request's body, if it is still on its way while this one comes.
    pub(super) fn upload(&self) -> Option<&Upload> {
        match &self.kind {
            Kind::Wire(wire) => wire.upload(),
            Kind::H2(body) => body.upload(),
            _ => None,
        }
    }

    /// Takes the tunnel out, if it is one.
    pub(super) fn take_tunnel(&mut self) -> Option<Box<Tunnel>> {
        if !matches!(self.kind, Kind::Tunnel(_)) {
            return None;
        }
        match std::mem::replace(&mut self.kind, Kind::Empty) {
            Kind::Tunnel(tunnel) => Some(tunnel),
            _ => None,
        }
    }

    /// Takes the body out, leaving none.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Kind> for Body {
    fn from(kind: Kind) -> Self {
        Self { kind, guard: None }
    }
}

impl<T: Into<Chunk>> From<T> for Body {
    fn from(chunk: T) -> Self {
        Kind::Whole(chunk.into()).into()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Empty => "empty",
            Kind::Whole(_) => "whole",
            Kind::Wire(_) => "wire",
            Kind::H2(_) => "h2",
            Kind::Stream(_) => "stream",
            Kind::Tunnel(_) => "tunnel",
        };
        f.debug_struct("Body").field("kind", &kind).field("remaining", &self.remaining()).finish()
    }
}

/// A body whose chunks pass through a function.
struct Map<F> {
    body: Body,
    change: F,
}

impl<F: FnMut(Chunk) -> Result<Chunk, Error>> BodyStream for Map<F> {
    fn next(&mut self) -> PooledFuture<'_, Result<Option<Chunk>, Error>> {
        PooledFuture::new(async move {
            match self.body.next().await? {
                Some(chunk) => (self.change)(chunk).map(Some),
                None => Ok(None),
            }
        })
    }

    fn trailers(&self) -> Option<&Headers> {
        self.body.trailers()
    }
}
