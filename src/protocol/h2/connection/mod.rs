//! One HTTP/2 connection: state, construction, and what its driver asks between calls.
//!
//! ```text
//!            receive ──▶ frames ─┬▶ heads (HEADERS, CONTINUATION) ─▶ events
//!   bytes                        ├▶ data ─▶ events with ranges        ▲
//!                                └▶ control (SETTINGS, PING, …) ──────┘
//!            transmit ◀── out ◀── send (heads, DATA, trailers), control answers, close
//! ```
//! The parts are files beside this one; they share this struct and call no one above.

mod close;
mod control;
mod data;
mod event;
mod heads;
mod receive;
mod send;

pub use event::{Event, ResetCause};
pub use send::EndStream;

use super::abuse::Meters;
use super::error::{ConnectionError, Violation};
use super::flow::Credit;
use super::frame::{PREFACE, StreamId, WINDOW_DEFAULT, put_reset, put_window_update};
use super::hpack::{Decoder, Encoder};
use super::settings::{Settings, put_settings};
use super::stream::Stream;
use super::streams::{Closed, Ending, Streams};
use super::{Abuse, Limits, Role};
use crate::protocol::http::{Headers, RequestHead, ResponseHead, Scheme};
use close::Going;
use heads::Block;
use receive::Reading;
use std::collections::VecDeque;
use std::time::Instant;

/// One side of a connection. See [`super`] for how it is driven.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    limits: Limits,
    /// `:scheme` of requests that we send.
    scheme: Scheme,
    /// The latest time that a caller told.
    now: Instant,
    /// When bytes last came.
    heard_at: Instant,

    reading: Reading,
    /// A frame that isn't whole yet.
    partial: Vec<u8>,
    /// A header block that isn't whole yet.
    block: Block,
    decoder: Decoder,
    encoder: Encoder,

    /// What they said of themselves.
    theirs: Settings,
    is_settings_received: bool,
    /// Ours are in force.
    is_settings_acked: bool,
    settings_sent_at: Instant,
    ping: Ping,

    streams: Streams,
    closed: Closed,
    /// The highest number that they opened.
    last_theirs: u32,
    /// The next number that we open.
    next_ours: u32,

    /// DATA that we may send on all streams together.
    send_window: i64,
    /// DATA that they may send on all streams together.
    credit: Credit,
    /// SETTINGS_INITIAL_WINDOW_SIZE of ours that is in force.
    recv_initial: u32,
    /// Streams that wait for capacity, longest first, each once. May hold ones that no longer do.
    waiting: VecDeque<u32>,
    /// How many really do.
    streams_waiting: usize,
    /// Since when no DATA could be sent although a stream waits.
    blocked_since: Option<Instant>,

    events: VecDeque<Event>,
    out: Vec<u8>,
    /// Bytes of `out` that answer control frames.
    control_bytes: usize,

    request: RequestHead,
    response: ResponseHead,
    trailers: Headers,

    going: Going,
    meters: Meters,
    /// DATA sent that hasn't paid for anything yet.
    unpaid: usize,
    failed: Option<ConnectionError>,
}

/// A keep-alive PING on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ping {
    Idle,
    Sent(Instant),
}

impl Connection {
    /// A server's side. Its SETTINGS lie in the output at once.
    pub fn server(limits: Limits, now: Instant) -> Self {
        let mut connection = Self::new(Role::Server, limits, Scheme::Http, now);
        connection.open();
        connection
    }

    /// A client's side, whose requests have `scheme`. Preface and SETTINGS lie in the output at
    /// once; requests may follow without waiting (RFC 9113 §3.4).
    pub fn client(limits: Limits, scheme: Scheme, now: Instant) -> Self {
        let mut connection = Self::new(Role::Client, limits, scheme, now);
        connection.out.extend_from_slice(PREFACE);
        connection.open();
        connection
    }

    fn new(role: Role, limits: Limits, scheme: Scheme, now: Instant) -> Self {
        let limits = limits.bounded();
        Self {
            role,
            scheme,
            now,
            heard_at: now,
            reading: if role == Role::Server { Reading::Preface(0) } else { Reading::Frame },
            partial: Vec::new(),
            block: Block::default(),
            decoder: Decoder::new(),
            encoder: Encoder::new(),
            theirs: Settings::INITIAL,
            is_settings_received: false,
            is_settings_acked: false,
            settings_sent_at: now,
            ping: Ping::Idle,
            streams: Streams::default(),
            closed: Closed::default(),
            last_theirs: 0,
            next_ours: if role == Role::Client { 1 } else { 2 },
            send_window: WINDOW_DEFAULT.into(),
            credit: Credit::new(WINDOW_DEFAULT),
            recv_initial: WINDOW_DEFAULT,
            waiting: VecDeque::new(),
            streams_waiting: 0,
            blocked_since: None,
            events: VecDeque::new(),
            out: Vec::new(),
            control_bytes: 0,
            request: RequestHead::new(),
            response: ResponseHead::new(),
            trailers: Headers::new(),
            going: Going::No,
            meters: Meters::new(limits.resets, now),
            unpaid: 0,
            failed: None,
            limits,
        }
    }

    /// Our SETTINGS, and the connection's window, which SETTINGS can't set (§6.9.2).
    fn open(&mut self) {
        put_settings(&self.limits, self.role, &mut self.out);
        let more = self.limits.connection_window - WINDOW_DEFAULT;
        self.credit = Credit::new(self.limits.connection_window);
        if more > 0 {
            put_window_update(0, more, &mut self.out);
        }
    }

    /// The next thing that happened; `None` until there is more. Ask until `None` after every
    /// call of `receive`, `transmit` and `handle_timeout`.
    #[inline]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Takes the head of the latest [`Event::Request`], leaving `head`'s memory for the next.
    #[inline]
    pub fn take_request(&mut self, head: &mut RequestHead) {
        std::mem::swap(&mut self.request, head);
    }

    /// Takes the head of the latest [`Event::Response`] or [`Event::Interim`], leaving `head`'s
    /// memory for the next.
    #[inline]
    pub fn take_response(&mut self, head: &mut ResponseHead) {
        std::mem::swap(&mut self.response, head);
    }

    /// Takes the fields of the latest [`Event::Trailers`], leaving `trailers`'s memory for the
    /// next.
    #[inline]
    pub fn take_trailers(&mut self, trailers: &mut Headers) {
        std::mem::swap(&mut self.trailers, trailers);
    }

    /// Moves everything that is to be sent to the end of `into`. An empty `into` is swapped, not
    /// copied: hand in a cleared buffer each time and nothing is allocated.
    ///
    /// Call it once a turn and only when the bytes before have been sent: DATA waits while
    /// [`Limits::output_bytes`] lie here. May make [`Event::Capacity`].
    pub fn transmit(&mut self, now: Instant, into: &mut Vec<u8>) {
        self.now = now;
        if self.out.is_empty() {
            return;
        }
        if into.is_empty() {
            std::mem::swap(&mut self.out, into);
        } else {
            into.append(&mut self.out);
        }
        self.control_bytes = 0;
        self.wake();
    }

    /// Bytes that wait for `transmit`.
    #[inline]
    pub fn output_len(&self) -> usize {
        self.out.len()
    }

    /// Which side this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Streams that are open or half-closed.
    #[inline]
    pub fn streams_open(&self) -> usize {
        self.streams.len()
    }

    /// Clients: requests that may be sent now. 0 once the connection is going away.
    pub fn streams_free(&self) -> usize {
        if self.role == Role::Server || self.is_closing() || self.next_ours > STREAM_ID_MAX {
            return 0;
        }
        let most = self.theirs.streams.min(self.limits.streams) as usize;
        most.saturating_sub(self.streams.len())
    }

    /// Clients: the server takes extended CONNECT (RFC 8441); known once [`Event::Settings`] came.
    pub fn connect_protocol(&self) -> bool {
        self.theirs.connect_protocol
    }

    /// The other side's SETTINGS have come.
    pub fn is_established(&self) -> bool {
        self.is_settings_received
    }

    /// Since when some stream has had something to send and no window or output room let it.
    /// For a deadline against readers that stall (RFC 9113 §10.5).
    pub fn blocked_since(&self) -> Option<Instant> {
        self.blocked_since
    }

    /// How far `stream` is from its end; `None` once it is closed and forgotten.
    pub fn stream_state(&self, stream: StreamId) -> Option<StreamState> {
        self.streams.find(stream.0).map(|stream| StreamState {
            we_ended: !stream.state.we_may_send(),
            they_ended: !stream.state.they_may_send(),
        })
    }

    /// Counts a kind of abuse.
    #[inline]
    fn charge(&mut self, kind: Abuse, cost: u32) -> Result<(), ConnectionError> {
        Ok(self.meters.charge(kind, cost, self.now)?)
    }

    /// Something was appended to the output because of a control frame.
    fn charge_output(&mut self, before: usize) -> Result<(), ConnectionError> {
        self.control_bytes += self.out.len().saturating_sub(before);
        if self.control_bytes > self.limits.control_bytes {
            return Err(Abuse::OutputQueue.into());
        }
        Ok(())
    }

    /// Takes a stream out for good and gives its credit back to the connection.
    fn forget(&mut self, id: u32, ending: Ending) -> Option<Stream> {
        let stream = self.streams.remove(id)?;
        self.closed.push(id, ending);
        self.give_back(stream.unreleased);
        if stream.is_queued {
            self.waiting.retain(|waiting| *waiting != id);
        }
        if stream.is_waiting {
            self.note_awake();
        }
        Some(stream)
    }

    /// Resets a stream because of what they did on it (§5.4.2).
    fn stream_error(&mut self, id: u32, violation: Violation) -> Result<(), ConnectionError> {
        let before = self.out.len();
        put_reset(id, violation.code(), &mut self.out);
        if self.forget(id, Ending::Ours).is_some() {
            let (code, cause) = (violation.code(), ResetCause::Violation(violation));
            self.events.push_back(Event::Reset { stream: StreamId(id), code, cause });
        }
        self.charge(Abuse::ProvokedReset, 1)?;
        self.charge_output(before)
    }

    /// Whether `id` is one that they would open.
    #[inline]
    fn is_theirs(&self, id: u32) -> bool {
        (id % 2 == 1) == (self.role == Role::Server)
    }

    /// Nobody has opened `id` yet (§5.1).
    #[inline]
    fn is_idle(&self, id: u32) -> bool {
        if self.is_theirs(id) { id > self.last_theirs } else { id >= self.next_ours }
    }
}

/// How far a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamState {
    /// END_STREAM was sent.
    pub we_ended: bool,
    /// END_STREAM came.
    pub they_ended: bool,
}

const STREAM_ID_MAX: u32 = 0x7fff_ffff;
