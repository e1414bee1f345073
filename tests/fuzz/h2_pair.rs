//! Two HTTP/2 connections wired to one another: random actions on both, random cuts between.
//!
//! - Neither ever finds fault with the other.
//! - Bytes arrive whole, in order, on their stream, and no event comes for a stream that is over.
//! - Held DATA never exceeds the windows, unsent output never exceeds its bound.
//! - Once everything is passed on, every exchange that nobody reset is complete on both sides.

use ringway::protocol::{
    h2::{Connection, EndStream, ErrorCode, Event, Limits, StreamId},
    http::{Framing, Headers, RequestHead, ResponseHead, Scheme},
};
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// Actions, one or two bytes each.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn next(&mut self) -> Option<usize> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(usize::from(*first))
    }
}

/// What one side knows of a stream.
#[derive(Debug, Default)]
struct Flow {
    id: Option<StreamId>,
    /// Bytes sent, and wanted in all.
    sent: usize,
    total: usize,
    has_head: bool,
    we_ended: bool,
    with_trailers: bool,
    received: usize,
    unreleased: usize,
    they_ended: bool,
    is_over: bool,
}

struct Side {
    connection: Connection,
    flows: BTreeMap<u32, Flow>,
    /// On their way to the other side.
    wire: VecDeque<u8>,
    buffer: Vec<u8>,
    resets: usize,
}

/// Runs a script; true if at least one exchange was completed.
pub(crate) fn check_pair(script: &[u8], start: Instant) -> bool {
    let mut script = Script(script);
    let shape = script.next().unwrap_or(0);
    // Smaller ones mean a WINDOW_UPDATE every few bytes, which isn't borne for long.
    let windows = [2000, 5000, 70_000, 1 << 20];
    let limits = Limits {
        streams: 1 + u32::try_from(shape % 5).unwrap(),
        stream_window: windows[shape / 5 % 4],
        connection_window: 65_535 + windows[shape / 20 % 4],
        output_bytes: 16_384 * (1 + shape % 3),
        // The script may cancel as much as it likes.
        resets: ringway::protocol::h2::Allowance { burst: u32::MAX, per_second: 1 },
        ..Limits::default()
    };
    let mut world = World {
        client: Side::new(Connection::client(limits.clone(), Scheme::Http, start)),
        server: Side::new(Connection::server(limits.clone(), start)),
        limits,
        now: start,
        completed: 0,
    };
    while let Some(action) = script.next() {
        let amount = script.next().unwrap_or(1);
        world.act(action, amount);
        world.check();
    }
    world.settle();
    world.completed > 0
}

/// The stream that `choice` picks among those that aren't over.
fn pick(flows: &mut BTreeMap<u32, Flow>, choice: usize) -> Option<&mut Flow> {
    let open = flows.values().filter(|flow| !flow.is_over).count();
    flows.values_mut().filter(|flow| !flow.is_over).nth(choice.checked_rem(open)?)
}

impl Side {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            flows: BTreeMap::new(),
            wire: VecDeque::new(),
            buffer: Vec::new(),
            resets: 0,
        }
    }
}

struct World {
    client: Side,
    server: Side,
    limits: Limits,
    now: Instant,
    completed: usize,
}

/// Bytes of a body for each unit of an amount: a few are larger than every window.
fn scale(amount: usize) -> usize {
    if amount % 16 == 9 { 400 } else { 30 }
}

/// The byte at `offset` of what `who` sends on `stream`.
fn pattern(stream: u32, who: u8, offset: usize) -> u8 {
    (stream as usize * 31 + usize::from(who) * 7 + offset).to_le_bytes()[0]
}

impl World {
    fn act(&mut self, action: usize, amount: usize) {
        let on_client = action & 0x80 == 0;
        match action % 9 {
            0 => self.request(amount),
            1 | 2 => self.send(on_client, amount, amount * 97),
            3 => self.release(on_client, amount),
            4 | 5 => self.transmit(on_client),
            6 | 7 => self.deliver(on_client, amount * 61 + 1),
            _ => self.rare(on_client, action / 9 % 8, amount),
        }
    }

    fn side(&mut self, on_client: bool) -> &mut Side {
        if on_client { &mut self.client } else { &mut self.server }
    }

    fn rare(&mut self, on_client: bool, what: usize, amount: usize) {
        let now = self.now;
        match what {
            0 => {
                let side = self.side(on_client);
                let Some(flow) = pick(&mut side.flows, amount) else { return };
                let Some(id) = flow.id else { return };
                flow.is_over = true;
                side.resets += 1;
                side.connection.reset(id, ErrorCode::Cancel);
            }
            1 => self.side(on_client).connection.send_ping(now),
            2 if amount > 250 => self.side(on_client).connection.drain(now),
            3 => self.now += Duration::from_millis(u64::try_from(amount).unwrap()),
            _ => self.send(on_client, amount, 1),
        }
    }

    fn request(&mut self, amount: usize) {
        let mut head = RequestHead::new();
        head.headers.set("host", "a.example").unwrap();
        head.headers.set("x-amount", format!("{amount}")).unwrap();
        head.headers.set("User-Agent", "pair").unwrap();
        let free = self.client.connection.streams_free();
        let end = EndStream::when(amount == 0);
        let framing = if amount.is_multiple_of(2) {
            Framing::Length((amount * scale(amount)) as u64)
        } else {
            Framing::Chunked
        };
        match self.client.connection.send_request(&head, framing, end) {
            Ok(id) => {
                assert!(free > 0);
                let flow = Flow {
                    id: Some(id),
                    total: amount * scale(amount),
                    has_head: true,
                    we_ended: amount == 0,
                    with_trailers: amount % 3 == 1 && amount > 0,
                    ..Flow::default()
                };
                self.client.flows.insert(id.number(), flow);
            }
            Err(error) => assert_eq!(free, 0, "{error}"),
        }
    }

    /// Sends up to `len` more bytes on a stream, its head before and its end after.
    fn send(&mut self, on_client: bool, choice: usize, len: usize) {
        let side = self.side(on_client);
        let Some(flow) = pick(&mut side.flows, choice) else { return };
        let Some(id) = flow.id.filter(|_| !flow.we_ended) else { return };
        if !flow.has_head {
            flow.has_head = true;
            let mut head = ResponseHead::new();
            head.headers.set("Content-Type", "text/plain").unwrap();
            let framing = Framing::Chunked;
            side.connection.send_response(id, &head, framing, None, EndStream::No).unwrap();
            return;
        }
        let wanted = (flow.total - flow.sent).min(len.max(1));
        let bytes: Vec<u8> = (flow.sent..flow.sent + wanted)
            .map(|offset| pattern(id.number(), u8::from(on_client), offset))
            .collect();
        let is_last = flow.sent + wanted == flow.total;
        let end = EndStream::when(is_last && !flow.with_trailers);
        let capacity = side.connection.capacity(id);
        let taken = side.connection.send_data(id, &bytes, end).unwrap();
        assert_eq!(taken, wanted.min(capacity));
        flow.sent += taken;
        if is_last && taken == wanted {
            flow.we_ended = true;
            if flow.with_trailers {
                let mut trailers = Headers::new();
                trailers.append("x-sum", "1").unwrap();
                side.connection.send_trailers(id, &trailers).unwrap();
            }
        }
        self.complete(on_client, id);
    }

    fn release(&mut self, on_client: bool, choice: usize) {
        let side = self.side(on_client);
        let Some(flow) = pick(&mut side.flows, choice) else { return };
        let some = if choice.is_multiple_of(2) { flow.unreleased } else { flow.unreleased / 2 };
        flow.unreleased -= some;
        if let Some(id) = flow.id {
            side.connection.release(id, some);
        }
    }

    fn release_all(&mut self, on_client: bool) {
        let side = self.side(on_client);
        for flow in side.flows.values_mut().filter(|flow| !flow.is_over) {
            if let Some(id) = flow.id {
                side.connection.release(id, std::mem::take(&mut flow.unreleased));
            }
        }
    }

    fn transmit(&mut self, on_client: bool) {
        let now = self.now;
        let side = self.side(on_client);
        side.buffer.clear();
        let mut buffer = std::mem::take(&mut side.buffer);
        side.connection.transmit(now, &mut buffer);
        side.wire.extend(&buffer);
        side.buffer = buffer;
        self.events(on_client, &[]);
    }

    /// Bytes arrive at the other side.
    fn deliver(&mut self, from_client: bool, len: usize) {
        let side = self.side(from_client);
        let len = len.min(side.wire.len());
        let bytes: Vec<u8> = side.wire.drain(..len).collect();
        let now = self.now;
        let mut at = 0;
        while at < bytes.len() {
            let to = self.side(!from_client);
            let used = to.connection.receive(now, &bytes[at..]).expect("no fault to find");
            self.events(!from_client, &bytes[at..]);
            at += used;
        }
    }

    fn events(&mut self, on_client: bool, bytes: &[u8]) {
        while let Some(event) = self.side(on_client).connection.poll_event() {
            self.event(on_client, event, bytes);
        }
    }

    fn event(&mut self, on_client: bool, event: Event, bytes: &[u8]) {
        let side = self.side(on_client);
        match event {
            Event::Request { stream, end, .. } => {
                let mut head = RequestHead::new();
                side.connection.take_request(&mut head);
                let amount: usize =
                    String::from_utf8_lossy(head.headers.get("x-amount").unwrap()).parse().unwrap();
                let flow = Flow {
                    id: Some(stream),
                    total: (255 - amount) * scale(amount),
                    with_trailers: amount % 5 == 1,
                    they_ended: end,
                    ..Flow::default()
                };
                assert!(side.flows.insert(stream.number(), flow).is_none(), "a number used twice");
            }
            Event::Response { stream, end, .. } => {
                let flow = side.flows.get_mut(&stream.number()).unwrap();
                assert!(!flow.is_over);
                flow.they_ended = end;
                self.complete(on_client, stream);
            }
            Event::Data { stream, range, end } => {
                let flow = side.flows.get_mut(&stream.number()).unwrap();
                assert!(!flow.is_over && !flow.they_ended, "DATA after the end");
                for byte in &bytes[range.clone()] {
                    let expected = pattern(stream.number(), u8::from(!on_client), flow.received);
                    assert_eq!(*byte, expected, "byte {} of {stream}", flow.received);
                    flow.received += 1;
                }
                flow.unreleased += range.len();
                flow.they_ended = end;
                self.complete(on_client, stream);
            }
            Event::Trailers { stream } => {
                let flow = side.flows.get_mut(&stream.number()).unwrap();
                assert!(!flow.is_over && !flow.they_ended);
                flow.they_ended = true;
                self.complete(on_client, stream);
            }
            Event::Reset { stream, .. } => {
                let flow = side.flows.get_mut(&stream.number()).unwrap();
                assert!(!flow.is_over, "reset twice");
                flow.is_over = true;
            }
            Event::Capacity { stream } => {
                assert!(!side.flows[&stream.number()].is_over);
                assert!(!side.flows[&stream.number()].we_ended);
            }
            Event::Interim { .. } | Event::Refused { .. } => panic!("{event:?}"),
            Event::Settings | Event::GoAway { .. } => {}
        }
    }

    /// Both sides of a stream have ended, as `on_client` sees it.
    fn complete(&mut self, on_client: bool, id: StreamId) {
        let side = self.side(on_client);
        let Some(flow) = side.flows.get_mut(&id.number()) else { return };
        if flow.we_ended && flow.they_ended && !flow.is_over {
            flow.is_over = true;
            assert_eq!(side.connection.stream_state(id), None, "closed streams are forgotten");
            self.completed += usize::from(on_client);
        }
    }

    fn check(&self) {
        let limits = self.limits.clone();
        for side in [&self.client, &self.server] {
            let held: usize =
                side.flows.values().filter(|f| !f.is_over).map(|f| f.unreleased).sum();
            assert!(held <= limits.connection_window as usize, "connection window");
            // 65,535 until our SETTINGS are in force.
            let window = (limits.stream_window as usize).max(65_535);
            assert!(side.flows.values().all(|flow| flow.is_over || flow.unreleased <= window));
            let open = side.flows.values().filter(|flow| !flow.is_over).count();
            assert_eq!(side.connection.streams_open(), open);
            // Heads, resets and acknowledgements come on top of DATA.
            assert!(side.connection.output_len() <= limits.output_bytes + limits.control_bytes * 2);
        }
        assert!(self.client.connection.streams_open() <= limits.streams as usize);
    }

    /// Passes everything on until nothing moves any more: then all must be complete.
    fn settle(&mut self) {
        for _ in 0..20_000 {
            for on_client in [true, false] {
                let open = self.side(on_client).flows.values().filter(|flow| !flow.is_over).count();
                for choice in 0..open {
                    self.send(on_client, choice, 1 << 20);
                }
                self.release_all(on_client);
                self.transmit(on_client);
                self.deliver(on_client, usize::MAX);
            }
            let is_quiet = self.client.wire.is_empty()
                && self.client.connection.streams_open() == 0
                && self.server.connection.streams_open() == 0;
            if is_quiet {
                break;
            }
        }
        self.check();
        for side in [&self.client, &self.server] {
            for (number, flow) in &side.flows {
                assert!(flow.is_over, "{number} got stuck: {flow:?}");
            }
            assert_eq!(side.connection.streams_open(), 0);
        }
        if self.client.resets + self.server.resets == 0
            && !self.client.connection.is_draining()
            && !self.server.connection.is_draining()
        {
            for (number, sent) in &self.client.flows {
                let received = &self.server.flows[number];
                assert_eq!((sent.sent, received.sent), (received.received, sent.received));
            }
        }
    }
}
