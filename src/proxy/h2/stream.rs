//! One stream of a session, as the exchange on it sees it: an inbox, and verbs that send.
//!
//! ```text
//!   session ─▶ inbox: heads │ chunks │ trailers │ end ─▶ take …       (the exchange's task)
//!   session ◀─ codec ◀──────────────────────────────── send_data …
//! ```
//!
//! The exchange is one task: whatever it waits for on its stream (a head, a chunk, room to send),
//! one signal wakes it. A [`Handle`] owns the stream: dropped early, it resets it.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    mem::ManuallyDrop,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use super::session::Session;
use crate::{
    protocol::{
        h2::{EndStream, ErrorCode, ResetCause, SendError, StreamId},
        http::{Framing, Headers, ResponseHead},
    },
    proxy::{
        body::Chunk,
        deadline::Late,
        head_reader::INTERIM_MAX,
        pace::Pace,
        recycle::{self, Pooled},
        send::Waiting,
    },
    runtime::{self, Expired, Signal, Timer},
};

/// A stream that an exchange runs on.
pub(in crate::proxy) struct Stream {
    /// None only in the free list.
    session: Option<Rc<Session>>,
    pub(super) id: StreamId,
    signal: Signal,
    inbox: RefCell<Inbox>,
    /// A response has begun that may be whole in a moment: the exchange isn't woken for it yet.
    is_held: Cell<bool>,
    has_room: Cell<bool>,
    /// Deadlines of what the exchange waits for from an upstream.
    pub(in crate::proxy) upstream_timer: Timer,
    /// Deadlines of what it waits for on this stream: both ways may go on at once.
    pub(in crate::proxy) timer: Timer,
    room_timer: Timer,
    /// Bytes received and sent, heads included.
    pub(in crate::proxy) received: Cell<u64>,
    pub(in crate::proxy) sent: Cell<u64>,
    /// The client waits for `100 Continue` before it sends its body.
    pub(in crate::proxy) wants_continue: Cell<bool>,
    /// A piece of the request's body is waited for.
    pub(super) awaits_body: Cell<bool>,
    /// The client is waited for to make room for a piece of the response.
    awaits_room: Cell<bool>,
}

/// What has come and was not taken yet.
#[derive(Debug, Default)]
struct Inbox {
    /// A client's: the head of the response, interim ones before it.
    answer: Option<Answer>,
    more_answers: VecDeque<Answer>,
    /// The oldest chunk; the usual stream never has a second.
    first: Option<Chunk>,
    more: VecDeque<Chunk>,
    trailers: Option<Headers>,
    end: End,
    /// It ended before its time; what was whole by then stays so.
    gone: Option<Gone>,
    /// Nobody will take what still comes.
    is_discarding: bool,
}

/// A response's head, as it came.
#[derive(Debug)]
pub(in crate::proxy) struct Answer {
    pub(in crate::proxy) head: Pooled<ResponseHead>,
    /// None: it is an interim one.
    pub(in crate::proxy) framing: Option<Framing>,
    /// Nothing follows it.
    pub(in crate::proxy) is_end: bool,
}

/// Whether more may come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    /// All has come.
    Whole,
}

/// Why a stream ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Gone {
    /// It was reset.
    Reset(ErrorCode, ResetCause),
    /// The connection has ended under it.
    Lost,
}

/// Why something could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum WriteError {
    /// The stream or its connection is over.
    Gone(Gone),
    /// The other side took nothing for a whole timeout.
    Stalled,
    /// It took something, but less than the least rate asks for.
    Slow,
    /// The codec refuses.
    Refused(SendError),
}

impl Stream {
    pub(super) fn new(session: &Rc<Session>, id: StreamId) -> Rc<Self> {
        let fresh = Self { session: Some(Rc::clone(session)), id, ..Self::default() };
        let spare = SPARE.with(|spare| spare.borrow_mut().pop());
        let Some(mut stream) = spare else { return Rc::new(fresh) };
        match Rc::get_mut(&mut stream) {
            Some(own) => {
                *own = fresh;
                stream
            }
            None => Rc::new(fresh),
        }
    }

    /// Keeps the memory of a stream that is over for the next one, if nobody else holds it.
    fn recycle(mut stream: Rc<Self>) {
        let Some(own) = Rc::get_mut(&mut stream) else { return };
        *own = Self::default();
        SPARE.with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARE_MAX {
                spare.push(stream);
            }
        });
    }

    /// The connection that it is a part of.
    pub(in crate::proxy) fn session(&self) -> &Rc<Session> {
        self.session.as_ref().expect("taken out only where nobody holds the stream")
    }

    // What the session does.

    /// The head of a response; one that more follows is held until [`Stream::announce`].
    pub(super) fn put_answer(&self, answer: Answer) {
        self.is_held.set(answer.framing.is_some() && !answer.is_end);
        let mut inbox = self.inbox.borrow_mut();
        if answer.is_end && inbox.end == End::Open {
            inbox.end = End::Whole;
        }
        if inbox.answer.is_none() {
            inbox.answer = Some(answer);
        } else if answer.framing.is_some() || inbox.more_answers.len() < ANSWERS_WAITING_MAX {
            inbox.more_answers.push_back(answer);
        }
        drop(inbox);
        self.tell();
    }

    /// Wakes the exchange, unless it is to hear of more at once.
    fn tell(&self) {
        if !self.is_held.get() {
            self.signal.notify();
        }
    }

    /// What follows the head is whole, or has been waited for long enough.
    pub(super) fn announce(&self) {
        self.is_held.set(false);
        self.signal.notify();
    }

    /// Whether the exchange hasn't heard of its response yet.
    pub(super) fn is_held(&self) -> bool {
        self.is_held.get()
    }

    /// A piece of the body; false when nobody wants it, and its credit is free at once.
    pub(super) fn put_data(&self, bytes: &[u8], is_end: bool) -> bool {
        self.received.set(self.received.get() + bytes.len() as u64);
        let mut inbox = self.inbox.borrow_mut();
        if is_end && inbox.end == End::Open {
            inbox.end = End::Whole;
        }
        let is_wanted = !inbox.is_discarding;
        if is_wanted && !bytes.is_empty() {
            inbox.push(bytes);
        }
        drop(inbox);
        if is_end {
            self.announce();
        } else {
            self.tell();
        }
        is_wanted
    }

    pub(super) fn put_end(&self, trailers: Option<Headers>) {
        let mut inbox = self.inbox.borrow_mut();
        if inbox.end == End::Open {
            inbox.end = End::Whole;
            inbox.trailers = trailers;
        }
        drop(inbox);
        self.announce();
    }

    /// It is over before its time.
    pub(super) fn put_gone(&self, gone: Gone) {
        self.inbox.borrow_mut().gone.get_or_insert(gone);
        self.announce();
    }

    /// There is room to send.
    pub(super) fn put_room(&self) {
        self.has_room.set(true);
        self.signal.notify();
    }

    // What the exchange does.

    /// Why it ended before its time, if it did.
    pub(in crate::proxy) fn gone(&self) -> Option<Gone> {
        self.inbox.borrow().gone
    }

    /// Why no more of it can be had, although it isn't whole.
    pub(super) fn is_cut(&self) -> Option<Gone> {
        let inbox = self.inbox.borrow();
        inbox.gone.filter(|_| inbox.end == End::Open)
    }

    /// Ends when the stream does, before its time.
    pub(in crate::proxy) async fn until_gone(&self) -> Gone {
        self.wait(|| self.gone()).await
    }

    /// Whether everything has come and been taken, but for trailers.
    pub(super) fn is_drained(&self) -> bool {
        let inbox = self.inbox.borrow();
        inbox.first.is_none() && inbox.end == End::Whole
    }

    /// Whether all there ever was is one chunk, which is here, or nothing.
    pub(super) fn is_one_piece(&self) -> bool {
        let inbox = self.inbox.borrow();
        inbox.end == End::Whole && inbox.more.is_empty() && inbox.trailers.is_none()
    }

    /// Whether everything has come, taken or not.
    pub(in crate::proxy) fn is_whole(&self) -> bool {
        self.inbox.borrow().end == End::Whole
    }

    /// The next chunk, if it is here; its credit goes back to the sender.
    pub(super) fn take_chunk(&self) -> Option<Chunk> {
        let mut inbox = self.inbox.borrow_mut();
        let chunk = inbox.first.take()?;
        inbox.first = inbox.more.pop_front();
        drop(inbox);
        self.session().release(self.id, chunk.len());
        Some(chunk)
    }

    pub(super) fn take_trailers(&self) -> Option<Headers> {
        self.inbox.borrow_mut().trailers.take()
    }

    /// What still comes is of no use to anybody.
    pub(super) fn discard(&self) {
        let mut inbox = self.inbox.borrow_mut();
        inbox.is_discarding = true;
        let chunks = inbox.first.take().into_iter().chain(inbox.more.drain(..));
        let freed: usize = chunks.map(|chunk| chunk.len()).sum();
        drop(inbox);
        self.session().release(self.id, freed);
    }

    /// The next head of a response, interim or final.
    pub(in crate::proxy) async fn answer(&self) -> Result<Answer, Gone> {
        self.wait(|| {
            let mut inbox = self.inbox.borrow_mut();
            let answer = inbox.answer.take();
            inbox.answer = inbox.more_answers.pop_front();
            match (answer, inbox.gone) {
                (Some(answer), _) => {
                    self.is_held.set(false);
                    Some(Ok(answer))
                }
                (None, Some(gone)) => Some(Err(gone)),
                (None, None) => None,
            }
        })
        .await
    }

    /// Waits until there is a chunk, the end, or an early end.
    pub(super) async fn until_readable(&self) {
        self.wait(|| {
            let inbox = self.inbox.borrow();
            let is_over = inbox.end != End::Open || inbox.gone.is_some();
            (inbox.first.is_some() || is_over).then_some(())
        })
        .await;
    }

    /// The next chunk, an empty one at the end: for a tunnel, which has no trailers.
    ///
    /// Cancel safe: nothing is lost.
    pub(in crate::proxy) async fn receive(&self) -> Result<Chunk, Gone> {
        self.until_readable().await;
        match (self.is_cut(), self.take_chunk()) {
            (Some(gone), _) => Err(gone),
            (None, Some(chunk)) => Ok(chunk),
            (None, None) => Ok(Chunk::from("")),
        }
    }

    /// Sends the head of a response.
    pub(in crate::proxy) fn send_response(
        &self,
        head: &ResponseHead,
        framing: Framing,
        date: Option<&str>,
        end: EndStream,
    ) -> Result<(), WriteError> {
        self.write(|codec| codec.send_response(self.id, head, framing, date, end))
    }

    /// Sends trailers, which end the stream.
    pub(in crate::proxy) fn send_trailers(&self, trailers: &Headers) -> Result<(), WriteError> {
        self.write(|codec| codec.send_trailers(self.id, trailers))
    }

    /// Sends as much of `bytes` as there is room for, and says how much that was; the end goes out
    /// with the last of them only. For bytes that [`Stream::send_data`] takes on where this ends.
    pub(in crate::proxy) fn try_send_data(
        &self,
        bytes: &[u8],
        end: EndStream,
    ) -> Result<usize, WriteError> {
        self.write(|codec| codec.send_data(self.id, bytes, end))
    }

    /// Whom the exchange waits for, if it is the client of this stream.
    pub(in crate::proxy) fn late(&self) -> Late {
        if self.awaits_room.get() {
            Late::Taking
        } else if self.awaits_body.get() {
            Late::Sending
        } else {
            Late::Upstream
        }
    }

    /// Sends all of `bytes`; the other side must make room for some of it within `limit`, again
    /// and again, and as fast as `pace` asks.
    ///
    /// *Cancel safety*: dropped midway, a part has been sent.
    pub(in crate::proxy) async fn send_data(
        &self,
        mut bytes: &[u8],
        end: EndStream,
        limit: Duration,
        pace: &Pace,
    ) -> Result<(), WriteError> {
        loop {
            self.has_room.set(false);
            let taken = self.write(|codec| codec.send_data(self.id, bytes, end))?;
            bytes = bytes.get(taken..).unwrap_or_default();
            if bytes.is_empty() {
                pace.note(Duration::ZERO, taken as u64);
                return Ok(());
            }
            pace.note(Duration::ZERO, taken as u64);
            let _waiting = Waiting::begin(&self.awaits_room);
            let began = runtime::now();
            self.room_timer.set_after(pace.limit(limit));
            let made = self.room_timer.guard(self.until_writable()).await;
            pace.note(runtime::now().saturating_duration_since(began), 0);
            match made {
                Ok(Some(gone)) => return Err(WriteError::Gone(gone)),
                Ok(None) => {}
                Err(Expired) if pace.is_over() => return Err(WriteError::Slow),
                Err(Expired) => return Err(WriteError::Stalled),
            }
        }
    }

    /// Ends when the session says that there is room, or that there never will be.
    async fn until_writable(&self) -> Option<Gone> {
        self.wait(|| match self.gone() {
            None => self.has_room.take().then_some(None),
            gone => Some(gone),
        })
        .await
    }

    fn write<T>(
        &self,
        send: impl FnOnce(&mut super::session::Codec) -> Result<T, SendError>,
    ) -> Result<T, WriteError> {
        match self.session().write(&self.sent, send) {
            Ok(value) => Ok(value),
            Err(SendError::StreamClosed) => {
                Err(WriteError::Gone(self.gone().unwrap_or(Gone::Lost)))
            }
            Err(error) => Err(WriteError::Refused(error)),
        }
    }

    /// Looks again whenever the session has something for this stream.
    async fn wait<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        std::future::poll_fn(|_| match look() {
            Some(value) => Poll::Ready(value),
            None => {
                self.signal.listen();
                Poll::Pending
            }
        })
        .await
    }
}

impl Default for Stream {
    /// Of no session, as it lies in the free list.
    fn default() -> Self {
        Self {
            session: None,
            id: StreamId(0),
            signal: Signal::new(),
            inbox: RefCell::default(),
            is_held: Cell::new(false),
            has_room: Cell::new(false),
            upstream_timer: Timer::new(),
            timer: Timer::new(),
            room_timer: Timer::new(),
            received: Cell::new(0),
            sent: Cell::new(0),
            wants_continue: Cell::new(false),
            awaits_body: Cell::new(false),
            awaits_room: Cell::new(false),
        }
    }
}

thread_local! {
    /// Streams without a session. Never dropped, like the lists of `recycle`.
    static SPARE: ManuallyDrop<RefCell<Vec<Rc<Stream>>>> =
        const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

/// Streams whose memory a thread keeps.
const SPARE_MAX: usize = 512;

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Inbox {
    /// Copies `bytes` behind what is here, into the last chunk if that is small.
    fn push(&mut self, bytes: &[u8]) {
        let last = self.more.back_mut().or(self.first.as_mut());
        if let Some(last) = last
            && last.extend_within(bytes, CHUNK_MAX)
        {
            return;
        }
        let mut copy = recycle::take_bytes();
        copy.extend_from_slice(bytes);
        if self.first.is_none() {
            self.first = Some(copy.into());
        } else {
            self.more.push_back(copy.into());
        }
    }
}

/// Interim responses that wait to be passed on. More of them are a flood, and its reader will say so
/// when it has counted these: the rest needs no memory.
const ANSWERS_WAITING_MAX: usize = INTERIM_MAX as usize;

/// Small DATA is gathered up to this size, so that a thousand crumbs don't cost a thousand chunks.
const CHUNK_MAX: usize = 16 * 1024;

/// Owns a stream: when it is dropped the session forgets the stream, and resets it if it has not
/// ended on both sides.
#[derive(Debug)]
pub(in crate::proxy) struct Handle {
    /// Emptied only by drop.
    stream: Option<Rc<Stream>>,
    /// What the other side is told if its half is still open when ours has ended.
    unread: ErrorCode,
    /// What it is told if ours has not ended.
    unfinished: Cell<ErrorCode>,
}

impl Handle {
    /// The owner of a stream that a client opened.
    pub(super) fn of_server(stream: Rc<Stream>) -> Self {
        // RFC 9113 §8.1: a server that needs no more of a request says NO_ERROR behind its response.
        let unfinished = Cell::new(ErrorCode::Internal);
        Self { stream: Some(stream), unread: ErrorCode::NoError, unfinished }
    }

    /// The owner of a stream that we opened.
    pub(super) fn of_client(stream: Rc<Stream>) -> Self {
        let unfinished = Cell::new(ErrorCode::Cancel);
        Self { stream: Some(stream), unread: ErrorCode::Cancel, unfinished }
    }

    /// If our half has not ended, `code` says why.
    pub(in crate::proxy) fn blame(&self, code: ErrorCode) {
        self.unfinished.set(code);
    }
}

impl std::ops::Deref for Handle {
    type Target = Rc<Stream>;
    fn deref(&self) -> &Rc<Stream> {
        self.stream.as_ref().expect("emptied only by drop")
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        stream.session().end(stream.id, self.unread, self.unfinished.get());
        Stream::recycle(stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_interim_responses_is_not_kept_but_the_final_one_is() {
        let stream = Stream::default();
        let put = |framing| {
            let head = Pooled::<ResponseHead>::take();
            stream.put_answer(Answer { head, framing, is_end: false });
        };
        (0..10_000).for_each(|_| put(None));
        put(Some(Framing::None));
        let inbox = stream.inbox.borrow();
        // One more than its reader bears.
        assert_eq!(inbox.more_answers.len(), ANSWERS_WAITING_MAX + 1);
        assert!(inbox.more_answers.back().is_some_and(|answer| answer.framing.is_some()));
    }
}
