//! One HTTP/2 connection: the codec, the table of its streams, and what moves between them.
//!
//! Everything here is synchronous: the driver (`drive`) calls what receives and sends, exchanges
//! call what writes. Each borrows the codec for one call; nothing is borrowed across an await.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    sync::Arc,
    task::Poll,
    time::Instant,
};

use super::{
    drive::{NewRequest, Role},
    held::Held,
    sessions::Mux,
    stream::{Answer, Gone, Handle, Stream},
};
pub(super) use crate::protocol::h2::Connection as Codec;
use crate::{
    protocol::{
        h2::{
            ConnectionError, EndStream, ErrorCode, Event, Limits, ResetCause, SendError, StreamId,
        },
        http::{Framing, Headers, RequestHead, ResponseHead, Scheme},
    },
    proxy::{
        Connection,
        recycle::Pooled,
        stats::{By, H2Counters, ShardStats},
    },
    runtime::{self, Signal},
    transport::Stream as Transport,
    upstream::Dialed,
};

/// What a session runs over.
#[derive(Debug)]
pub(in crate::proxy) enum Link {
    /// A client's connection: we are the server.
    Downstream(Rc<Connection>),
    /// A connection to an endpoint: we are the client.
    Upstream(Dialed),
}

impl Link {
    pub(super) fn stream(&self) -> &Transport {
        match self {
            Self::Downstream(connection) => &connection.stream,
            Self::Upstream(dialed) => dialed.stream(),
        }
    }
}

/// An HTTP/2 connection.
pub(in crate::proxy) struct Session {
    pub(in crate::proxy) link: Link,
    stats: Arc<ShardStats>,
    codec: RefCell<Codec>,
    /// Streams with an exchange, by number.
    streams: RefCell<Vec<(StreamId, Rc<Stream>)>>,
    /// Those of them whose responses have just begun.
    held: Held,
    /// Wakes the driver: there is output, or nothing is left to do.
    pub(super) driver: Signal,
    /// Wakes its reading half: output has gone.
    room: Signal,
    /// Nothing more can be sent or received.
    is_over: Cell<bool>,
    /// Since when it has no stream.
    idle_since: Cell<Instant>,
    /// Requests that it has carried.
    uses: Cell<u64>,
    /// Who waits for a place on it, on a connection to an endpoint.
    mux: RefCell<Weak<Mux>>,
    /// Those who wait for the other side's SETTINGS.
    unsettled: RefCell<Vec<Rc<Signal>>>,
}

impl Session {
    /// The server's side of `connection`.
    pub(in crate::proxy) fn server(connection: &Rc<Connection>, limits: Limits) -> Rc<Self> {
        let now = runtime::now();
        let stats = Arc::clone(connection.shard.shared_stats());
        Self::new(Link::Downstream(Rc::clone(connection)), stats, Codec::server(limits, now), now)
    }

    /// The client's side of a connection to an endpoint.
    pub(in crate::proxy) fn client(
        dialed: Dialed,
        stats: Arc<ShardStats>,
        limits: Limits,
        scheme: Scheme,
    ) -> Rc<Self> {
        let now = runtime::now();
        Self::new(Link::Upstream(dialed), stats, Codec::client(limits, scheme, now), now)
    }

    fn new(link: Link, stats: Arc<ShardStats>, codec: Codec, now: Instant) -> Rc<Self> {
        Rc::new(Self {
            link,
            stats,
            codec: RefCell::new(codec),
            streams: RefCell::default(),
            held: Held::default(),
            driver: Signal::new(),
            room: Signal::new(),
            is_over: Cell::new(false),
            idle_since: Cell::new(now),
            uses: Cell::new(0),
            mux: RefCell::default(),
            unsettled: RefCell::default(),
        })
    }

    /// What is counted of its side.
    pub(super) fn counters(&self) -> &H2Counters {
        match self.link {
            Link::Downstream(_) => &self.stats.h2_downstream,
            Link::Upstream(_) => &self.stats.h2_upstream,
        }
    }

    /// Calls `use_codec` with the codec, and wakes the driver if there is something to send then.
    pub(super) fn with<T>(&self, use_codec: impl FnOnce(&mut Codec) -> T) -> T {
        let mut codec = self.codec.borrow_mut();
        let result = use_codec(&mut codec);
        if codec.output_len() > 0 {
            self.driver.notify();
        }
        result
    }

    /// Writes through the codec, and adds what that made to `sent`.
    pub(super) fn write<T>(
        &self,
        sent: &Cell<u64>,
        write: impl FnOnce(&mut Codec) -> Result<T, SendError>,
    ) -> Result<T, SendError> {
        self.with(|codec| {
            let before = codec.output_len();
            let result = write(codec);
            sent.set(sent.get() + (codec.output_len() - before) as u64);
            result
        })
    }

    /// Gives credit for received data back to the sender.
    pub(super) fn release(&self, id: StreamId, bytes: usize) {
        if bytes > 0 {
            self.with(|codec| codec.release(id, bytes));
        }
    }

    /// Feeds what the connection brought.
    ///
    /// # Errors
    /// The connection is broken; what the other side is to be told lies in the output.
    pub(super) fn receive(
        self: &Rc<Self>,
        bytes: &[u8],
        role: &impl Role,
    ) -> Result<(), ConnectionError> {
        let now = runtime::now();
        let mut rest = bytes;
        while !rest.is_empty() {
            let mut codec = self.codec.borrow_mut();
            let result = codec.receive(now, rest);
            let mut of_data = 0;
            while let Some(event) = codec.poll_event() {
                if let Event::Data { range, .. } = &event {
                    of_data += range.len();
                }
                let consumed = *result.as_ref().unwrap_or(&0);
                self.handle(&mut codec, event, rest, consumed.saturating_sub(of_data), role);
            }
            drop(codec);
            let consumed = result?;
            debug_assert!(consumed > 0, "the codec takes what it is given");
            rest = rest.get(consumed..).unwrap_or_default();
        }
        self.flush();
        self.held.note_receive();
        self.announce(Held::pop_late);
        Ok(())
    }

    /// Whether some exchange would rather hear of its response with the next turn.
    pub(super) fn holds_any(&self) -> bool {
        self.held.is_any()
    }

    /// Nothing more has come: every exchange hears what is here.
    pub(super) fn announce_all(&self) {
        self.announce(Held::pop);
    }

    fn announce(&self, next: fn(&Held) -> Option<StreamId>) {
        while let Some(id) = next(&self.held) {
            if let Some(stream) = self.find(id).filter(|stream| stream.is_held()) {
                stream.announce();
            }
        }
    }

    /// Hands events out that came of something else than received bytes.
    pub(super) fn drain_events(self: &Rc<Self>, role: &impl Role) {
        let mut codec = self.codec.borrow_mut();
        while let Some(event) = codec.poll_event() {
            self.handle(&mut codec, event, &[], 0, role);
        }
    }

    fn handle(
        self: &Rc<Self>,
        codec: &mut Codec,
        event: Event,
        bytes: &[u8],
        head_bytes: usize,
        role: &impl Role,
    ) {
        match event {
            Event::Request { stream: id, framing, end } => {
                let mut head = Pooled::<RequestHead>::take();
                codec.take_request(&mut head);
                let stream = self.enter(id);
                stream.received.set(head_bytes as u64);
                if end {
                    stream.put_end(None);
                }
                role.accept(NewRequest { handle: Handle::of_server(stream), head, framing });
            }
            Event::Interim { stream } => self.answer(codec, stream, None, false),
            Event::Response { stream, framing, end } => {
                self.answer(codec, stream, Some(framing), end);
            }
            Event::Data { stream: id, range, end } => {
                let data = bytes.get(range).unwrap_or_default();
                let is_wanted = self.find(id).is_some_and(|stream| stream.put_data(data, end));
                if !is_wanted {
                    codec.release(id, data.len());
                }
            }
            Event::Trailers { stream } => {
                let mut trailers = Headers::new();
                codec.take_trailers(&mut trailers);
                if let Some(stream) = self.find(stream) {
                    stream.put_end(Some(trailers));
                }
            }
            Event::Reset { stream, code, cause } => {
                let by = if let ResetCause::Violation(_) = cause { By::Us } else { By::Them };
                self.counters().count_reset(by, code);
                if let Some(stream) = self.find(stream) {
                    stream.put_gone(Gone::Reset(code, cause));
                }
            }
            Event::Capacity { stream } => {
                if let Some(stream) = self.find(stream) {
                    stream.put_room();
                }
            }
            Event::Refused { .. } => self.counters().refused.increment(),
            Event::GoAway { code } => {
                self.counters().count_goaway(By::Them, code);
                // Without a stream nothing is left to do.
                self.driver.notify();
                role.changed();
            }
            Event::Settings => {
                self.tell_unsettled();
                role.changed();
            }
        }
    }

    fn answer(&self, codec: &mut Codec, id: StreamId, framing: Option<Framing>, is_end: bool) {
        let mut head = Pooled::<ResponseHead>::take();
        codec.take_response(&mut head);
        if let Some(stream) = self.find(id) {
            stream.put_answer(Answer { head, framing, is_end });
            if stream.is_held() {
                self.held.push(id);
            }
        }
    }

    /// Everything that is to be sent; empty when there is nothing.
    pub(super) fn take_output(self: &Rc<Self>, into: &mut Vec<u8>, role: &impl Role) {
        self.codec.borrow_mut().transmit(runtime::now(), into);
        self.room.notify();
        self.drain_events(role);
    }

    /// Waits until what a client has asked for is sent, but for [`UNREAD_MAX`].
    pub(super) async fn until_read(&self) {
        std::future::poll_fn(|_| {
            // An endpoint's output is bounded by its streams, and an endpoint may itself read only
            // while it is read.
            let is_client = matches!(self.link, Link::Downstream(_));
            if !is_client || self.codec.borrow().output_len() <= UNREAD_MAX {
                return Poll::Ready(());
            }
            self.room.listen();
            Poll::Pending
        })
        .await;
    }

    pub(super) fn has_output(&self) -> bool {
        self.codec.borrow().output_len() > 0
    }

    fn flush(&self) {
        if self.has_output() {
            self.driver.notify();
        }
    }

    /// Those who wait at `mux` are told of every stream that ends.
    pub(super) fn serve(&self, mux: &Rc<Mux>) {
        self.mux.replace(Rc::downgrade(mux));
    }

    /// Opens a stream with `head`.
    ///
    /// # Errors
    /// Nothing was sent.
    pub(in crate::proxy) fn request(
        self: &Rc<Self>,
        head: &RequestHead,
        framing: Framing,
        end: EndStream,
    ) -> Result<Handle, SendError> {
        let sent = Cell::new(0);
        let id = self.write(&sent, |codec| codec.send_request(head, framing, end))?;
        let stream = self.enter(id);
        stream.sent.set(sent.get());
        Ok(Handle::of_client(stream))
    }

    fn enter(self: &Rc<Self>, id: StreamId) -> Rc<Stream> {
        self.uses.set(self.uses.get() + 1);
        let counters = self.counters();
        counters.streams.increment();
        counters.streams_open.add(1);
        let stream = Stream::new(self, id);
        // Numbers rise, so the table stays in order.
        self.streams.borrow_mut().push((id, Rc::clone(&stream)));
        stream
    }

    fn find(&self, id: StreamId) -> Option<Rc<Stream>> {
        let streams = self.streams.borrow();
        let at = streams.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        streams.get(at).map(|(_, stream)| Rc::clone(stream))
    }

    /// The exchange on stream `id` is over. A half that has not ended is reset: with `unfinished`
    /// if it is ours, with `unread` if it is theirs.
    pub(super) fn end(&self, id: StreamId, unread: ErrorCode, unfinished: ErrorCode) {
        let found = {
            let mut streams = self.streams.borrow_mut();
            let at = streams.binary_search_by_key(&id, |(id, _)| *id);
            at.ok().map(|at| streams.remove(at))
        };
        if self.streams.borrow().is_empty() {
            self.idle_since.set(runtime::now());
            // A session that was only kept open by this stream may end now.
            self.driver.notify();
        }
        if found.is_some() {
            self.counters().streams_open.add(-1);
        }
        drop(found);
        self.with(|codec| {
            let code = match codec.stream_state(id) {
                Some(state) if !state.we_ended => unfinished,
                Some(state) if !state.they_ended => unread,
                _ => return,
            };
            codec.reset(id, code);
            self.counters().count_reset(By::Us, code);
        });
        if let Some(mux) = self.mux.borrow().upgrade() {
            mux.wake(1);
        }
    }

    /// The connection is over: every exchange on it is told.
    pub(super) fn fail(&self) {
        self.is_over.set(true);
        self.tell_unsettled();
        for (_, stream) in self.streams.borrow().iter() {
            stream.put_gone(Gone::Lost);
        }
    }

    /// Waits for the other side's SETTINGS, or for the end.
    pub(in crate::proxy) async fn until_settled(&self) {
        let signal = self.enter_unsettled();
        std::future::poll_fn(|_| {
            if self.is_over.get() || self.codec.borrow().is_established() {
                return Poll::Ready(());
            }
            signal.listen();
            Poll::Pending
        })
        .await;
    }

    fn enter_unsettled(&self) -> Rc<Signal> {
        let signal = Rc::new(Signal::new());
        let mut unsettled = self.unsettled.borrow_mut();
        // Those who gave up.
        unsettled.retain(|signal| Rc::strong_count(signal) > 1);
        unsettled.push(Rc::clone(&signal));
        signal
    }

    fn tell_unsettled(&self) {
        for signal in self.unsettled.take() {
            signal.notify();
        }
    }

    /// Whether the endpoint takes extended CONNECT (RFC 8441 §3), by its SETTINGS so far.
    pub(in crate::proxy) fn takes_connect(&self) -> bool {
        self.codec.borrow().connect_protocol()
    }

    /// Exchanges on it now.
    pub(in crate::proxy) fn streams(&self) -> usize {
        self.streams.borrow().len()
    }

    /// Since when there was none.
    pub(super) fn idle_since(&self) -> Instant {
        self.idle_since.get()
    }

    /// Requests that it has carried.
    pub(in crate::proxy) fn uses(&self) -> u64 {
        self.uses.get()
    }

    /// Requests that could be sent on it now.
    pub(in crate::proxy) fn streams_free(&self) -> usize {
        if self.is_over.get() { 0 } else { self.codec.borrow().streams_free() }
    }

    /// Whether a drain is through, or the connection was closed: nothing is left to be said.
    pub(super) fn is_finished(&self) -> bool {
        self.streams.borrow().is_empty() && self.codec.borrow().is_finished()
    }

    /// Whether its connection takes no more requests.
    pub(in crate::proxy) fn is_leaving(&self) -> bool {
        self.is_over.get() || self.codec.borrow().is_draining()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("streams", &self.streams()).finish_non_exhaustive()
    }
}

/// Output that a client may leave unread before nothing more is read of it: what the codec lets DATA
/// fill, and as much again for heads.
const UNREAD_MAX: usize = 128 * 1024;
