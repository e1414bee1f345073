//! The epoll driver: the fallback where io_uring is forbidden, and its oracle in tests.
//!
//! ```text
//!   submit ─▶ believed ready? ─yes─▶ system call ─┬─ done ──▶ completions (reported by the next turn)
//!               │no                               └─ EAGAIN ─▶ not ready any more
//!               ▼                                                 │
//!            waits on its descriptor's list  ◀────────────────────┘
//!               ▲ edge: ready again ─▶ system call ─▶ …
//! ```
//!
//! It plays the ring's part exactly: operations are handed over whole, complete in `turn` only, and
//! a cancelled one completes with `-ECANCELED` or with what had happened. Descriptors are
//! registered at the first EAGAIN, once, edge-triggered, for both directions; what the edges said
//! is remembered so that a hopeless system call is skipped.

#![expect(unsafe_code, reason = "epoll, and system calls into memory that op slots own")]

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr,
    time::Duration,
};

use crate::runtime::{
    buffers::Pool,
    driver::{Completion, MORE, Op, Token, Wait},
    probe,
    shard::report,
    slab::NONE,
    sys,
};

/// Events taken by one `epoll_wait`.
const EVENTS_MAX: usize = 256;
/// Connections accepted from one listener in one turn, so that none starves the others.
const ACCEPTS_PER_TURN: u32 = 64;

/// The epoll driver.
pub(crate) struct Epoll {
    epoll: OwnedFd,
    /// By descriptor number.
    files: Vec<File>,
    /// Waiting operations, by op slot.
    waiting: Vec<Option<Waiting>>,
    /// Free pooled buffers, the one freed last on top.
    free: Vec<u16>,
    done: Vec<Completion>,
    /// Listeners that stopped accepting at their share of the turn.
    again: Vec<RawFd>,
    events: Vec<libc::epoll_event>,
}

/// What is known about a descriptor.
#[derive(Clone, Copy)]
struct File {
    /// Counts the sockets that have had this number, so that a late event isn't the next one's.
    epoch: u32,
    is_registered: bool,
    read: Direction,
    write: Direction,
    /// The other side is done sending: a short read doesn't mean that there is no more to learn.
    is_hung_up: bool,
}

/// One direction of a descriptor.
#[derive(Clone, Copy)]
struct Direction {
    is_ready: bool,
    /// Operations that wait, in order: a list through `Waiting::next`.
    first: u32,
}

const UNTRIED: Direction = Direction { is_ready: true, first: NONE };

impl Default for File {
    fn default() -> Self {
        Self { epoch: 0, is_registered: false, read: UNTRIED, write: UNTRIED, is_hung_up: false }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Read,
    Write,
}

/// An operation that waits for readiness.
#[derive(Clone, Copy)]
struct Waiting {
    token: Token,
    fd: RawFd,
    op: Op,
    /// Bytes that a send has behind it; whether a connect was begun.
    progress: u32,
    next: u32,
}

/// How a try went.
enum Tried {
    Done(i32, u32),
    NotReady,
    /// A listener used up its share; it isn't done.
    Paused,
}

impl Epoll {
    pub(crate) fn new(pool: &Pool) -> io::Result<Self> {
        let epoll = probe::epoll_fd()?;
        Ok(Self {
            // SAFETY: the descriptor is new and nobody else's.
            epoll: unsafe { OwnedFd::from_raw_fd(epoll) },
            files: Vec::new(),
            waiting: Vec::new(),
            free: (0..pool.count()).rev().collect(),
            done: Vec::new(),
            again: Vec::new(),
            events: Vec::with_capacity(EVENTS_MAX),
        })
    }

    pub(crate) fn submit(&mut self, pool: &Pool, token: Token, fd: RawFd, op: Op) {
        let Ok(index) = usize::try_from(fd) else {
            self.done.push(Completion { token, result: -libc::EBADF, flags: 0 });
            return;
        };
        if index >= self.files.len() {
            self.files.resize(index + 1, File::default());
        }
        let mut waiting = Waiting { token, fd, op, progress: 0, next: NONE };
        let way = way_of(op);
        if self.direction(fd, way).is_ready && self.direction(fd, way).first == NONE {
            match self.attempt(pool, &mut waiting) {
                Tried::Done(result, flags) => {
                    self.done.push(Completion { token, result, flags });
                    return;
                }
                Tried::NotReady => self.direction(fd, way).is_ready = false,
                Tried::Paused => self.again.push(fd),
            }
        }
        self.register(fd);
        self.wait(waiting, way);
    }

    fn direction(&mut self, fd: RawFd, way: Way) -> &mut Direction {
        let file = &mut self.files[index_of(fd)];
        match way {
            Way::Read => &mut file.read,
            Way::Write => &mut file.write,
        }
    }

    /// Puts an operation at the end of its descriptor's list.
    fn wait(&mut self, waiting: Waiting, way: Way) {
        let slot = waiting.token.slot();
        let place = slot as usize;
        if place >= self.waiting.len() {
            self.waiting.resize(place + 1, None);
        }
        self.waiting[place] = Some(waiting);
        let mut last = self.direction(waiting.fd, way).first;
        if last == NONE {
            self.direction(waiting.fd, way).first = slot;
            return;
        }
        while let Some(entry) = &mut self.waiting[last as usize] {
            if entry.next == NONE {
                entry.next = slot;
                return;
            }
            last = entry.next;
        }
    }

    /// Takes an operation off its descriptor's list.
    fn unwait(&mut self, slot: u32) -> Option<Waiting> {
        let waiting = self.waiting.get_mut(slot as usize)?.take()?;
        let way = way_of(waiting.op);
        let first = self.direction(waiting.fd, way).first;
        if first == slot {
            self.direction(waiting.fd, way).first = waiting.next;
            return Some(waiting);
        }
        let mut before = first;
        while let Some(Some(entry)) = self.waiting.get_mut(before as usize) {
            if entry.next == slot {
                entry.next = waiting.next;
                break;
            }
            before = entry.next;
        }
        Some(waiting)
    }

    /// Registers a descriptor, once, for everything. The kernel reports at once what is ready
    /// already, so nothing that happened before is missed.
    fn register(&mut self, fd: RawFd) {
        let file = &mut self.files[index_of(fd)];
        if file.is_registered {
            return;
        }
        file.is_registered = true;
        let events = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        let mark = u64::from(file.epoch) << 32 | u64::from(fd.cast_unsigned());
        let mut event = libc::epoll_event { events: events.cast_unsigned(), u64: mark };
        let epoll = self.epoll.as_raw_fd();
        // SAFETY: the event is valid for the call.
        let added = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) };
        if let Err(error) = sys::check(added)
            && error.raw_os_error() != Some(libc::EEXIST)
        {
            report("epoll_ctl failed", &error);
        }
    }

    pub(crate) fn cancel(&mut self, token: Token, _fd: RawFd) {
        let slot = token.slot();
        let is_waiting = matches!(self.waiting.get(slot as usize), Some(Some(waiting)) if waiting.token == token);
        if is_waiting && let Some(waiting) = self.unwait(slot) {
            self.done.push(cancelled(&waiting));
        }
    }

    pub(crate) fn cancel_all(&mut self, fd: RawFd) {
        if index_of(fd) >= self.files.len() {
            return;
        }
        for way in [Way::Read, Way::Write] {
            loop {
                let first = self.direction(fd, way).first;
                let Some(waiting) = self.unwait(first) else { break };
                self.done.push(cancelled(&waiting));
            }
        }
    }

    /// The descriptor moves to another shard: its registration goes with nobody.
    pub(crate) fn release(&mut self, fd: RawFd) {
        let Some(file) = self.files.get_mut(index_of(fd)) else { return };
        if file.is_registered {
            let epoll = self.epoll.as_raw_fd();
            // SAFETY: no event is passed for a deletion.
            let _ = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_DEL, fd, ptr::null_mut()) };
        }
        *file = File { epoch: file.epoch.wrapping_add(1), ..File::default() };
    }

    pub(crate) fn close(&mut self, fd: RawFd) {
        // Closing takes the registration away: nothing else refers to the open file.
        if let Some(file) = self.files.get_mut(index_of(fd)) {
            *file = File { epoch: file.epoch.wrapping_add(1), ..File::default() };
        }
        sys::close(fd);
    }

    #[inline]
    pub(crate) fn recycle(&mut self, _pool: &Pool, buffer: u16) {
        self.free.push(buffer);
    }

    pub(crate) fn turn(&mut self, pool: &Pool, wait: Wait, out: &mut Vec<Completion>) {
        let timeout = match wait {
            _ if !self.done.is_empty() || !self.again.is_empty() => 0,
            Wait::No => 0,
            Wait::Forever => -1,
            Wait::For(duration) => milliseconds(duration),
        };
        let place = self.events.as_mut_ptr();
        let max = i32::try_from(EVENTS_MAX).unwrap_or(1);
        // SAFETY: the vector has room for that many events.
        let found = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), place, max, timeout) };
        match sys::check(found) {
            Ok(found) => {
                let found = usize::try_from(found).unwrap_or(0).min(EVENTS_MAX);
                // SAFETY: the kernel wrote `found` events.
                unsafe { self.events.set_len(found) };
            }
            Err(error) => {
                self.events.clear();
                if error.kind() != io::ErrorKind::Interrupted {
                    report("epoll_wait failed", &error);
                }
            }
        }
        for fd in std::mem::take(&mut self.again) {
            self.run(pool, fd, Way::Read);
        }
        for place in 0..self.events.len() {
            let event = self.events[place];
            self.react(pool, event.events, event.u64);
        }
        self.events.clear();
        out.append(&mut self.done);
    }

    fn react(&mut self, pool: &Pool, events: u32, mark: u64) {
        let [a, b, c, d, e, f, g, h] = mark.to_be_bytes();
        let epoch = u32::from_be_bytes([a, b, c, d]);
        let fd = RawFd::from_be_bytes([e, f, g, h]);
        let Some(file) = self.files.get_mut(index_of(fd)) else { return };
        if file.epoch != epoch {
            return; // An event of a socket that is closed.
        }
        let has = |flags: i32| events & flags.cast_unsigned() != 0;
        if has(libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) {
            file.is_hung_up = true;
        }
        if has(libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) {
            file.read.is_ready = true;
            self.run(pool, fd, Way::Read);
        }
        if has(libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR) {
            self.direction(fd, Way::Write).is_ready = true;
            self.run(pool, fd, Way::Write);
        }
    }

    /// Tries the operations that wait for a direction, in order, until one has to go on waiting.
    fn run(&mut self, pool: &Pool, fd: RawFd, way: Way) {
        loop {
            let slot = self.direction(fd, way).first;
            let Some(Some(waiting)) = self.waiting.get(slot as usize) else { return };
            let mut waiting = *waiting;
            match self.attempt(pool, &mut waiting) {
                Tried::Done(result, flags) => {
                    self.unwait(slot);
                    self.done.push(Completion { token: waiting.token, result, flags });
                }
                Tried::NotReady => {
                    self.direction(fd, way).is_ready = false;
                    self.keep(slot, waiting);
                    return;
                }
                Tried::Paused => {
                    self.again.push(fd);
                    self.keep(slot, waiting);
                    return;
                }
            }
        }
    }

    /// Stores the progress of an operation that goes on waiting.
    fn keep(&mut self, slot: u32, waiting: Waiting) {
        if let Some(Some(entry)) = self.waiting.get_mut(slot as usize) {
            entry.progress = waiting.progress;
        }
    }

    fn attempt(&mut self, pool: &Pool, waiting: &mut Waiting) -> Tried {
        let fd = waiting.fd;
        match waiting.op {
            Op::Recv => self.receive(pool, fd),
            Op::RecvInto { to, len } => self.receive_into(fd, to, len),
            Op::Send { from, len } => send(fd, from, len, &mut waiting.progress),
            Op::Connect { address } => connect(fd, address, &mut waiting.progress),
            Op::Accept => self.accept(fd, waiting.token),
            Op::PollRead => poll(fd, libc::POLLIN),
            Op::PollWrite => poll(fd, libc::POLLOUT),
            Op::Doorbell { to } => {
                // SAFETY: the shard keeps these eight bytes for the driver.
                outcome(unsafe { libc::read(fd, to.cast(), size_of::<u64>()) })
            }
        }
    }

    fn receive(&mut self, pool: &Pool, fd: RawFd) -> Tried {
        let Some(buffer) = self.free.pop() else { return Tried::Done(-libc::ENOBUFS, 0) };
        let to = pool.address(buffer).as_ptr();
        match self.receive_into(fd, to, pool.size()) {
            Tried::Done(result, _) if result > 0 => {
                Tried::Done(result, Completion::buffer_flags(buffer))
            }
            other => {
                self.free.push(buffer);
                other
            }
        }
    }

    fn receive_into(&mut self, fd: RawFd, to: *mut u8, len: u32) -> Tried {
        // SAFETY: the memory belongs to the driver until the completion: a pooled buffer, or a
        // lease that the op slot owns.
        let received = unsafe { libc::recv(fd, to.cast(), len as usize, libc::MSG_DONTWAIT) };
        let file = &mut self.files[index_of(fd)];
        if let Ok(received) = u32::try_from(received)
            && (1..len).contains(&received)
            && !file.is_hung_up
        {
            // A short read: the next edge comes with the next byte.
            file.read.is_ready = false;
            let is_registered = file.is_registered;
            if !is_registered {
                // Without a registration there would be no edge.
                self.register(fd);
            }
        }
        outcome(received)
    }

    fn accept(&mut self, fd: RawFd, token: Token) -> Tried {
        for _ in 0..ACCEPTS_PER_TURN {
            match sys::accept_now(fd) {
                Ok(Some(accepted)) => {
                    self.done.push(Completion { token, result: accepted, flags: MORE });
                }
                Ok(None) => return Tried::NotReady,
                Err(error) => return Tried::Done(sys::negated(&error), 0),
            }
        }
        Tried::Paused
    }
}

fn cancelled(waiting: &Waiting) -> Completion {
    // A send that has got somewhere says how far; everything else has had no effect.
    let result = match (waiting.op, i32::try_from(waiting.progress)) {
        (Op::Send { .. }, Ok(sent)) if sent > 0 => sent,
        _ => -libc::ECANCELED,
    };
    Completion { token: waiting.token, result, flags: 0 }
}

fn way_of(op: Op) -> Way {
    match op {
        Op::Recv | Op::RecvInto { .. } | Op::Accept | Op::PollRead | Op::Doorbell { .. } => {
            Way::Read
        }
        Op::Send { .. } | Op::Connect { .. } | Op::PollWrite => Way::Write,
    }
}

fn index_of(fd: RawFd) -> usize {
    usize::try_from(fd).unwrap_or(usize::MAX)
}

/// Rounded up, so that a timer isn't met a moment too early.
fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
}

/// The outcome of a call that returns a length.
fn outcome(length: isize) -> Tried {
    match sys::check_len(length) {
        Ok(length) => Tried::Done(i32::try_from(length).unwrap_or(i32::MAX), 0),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Tried::NotReady,
        Err(error) => Tried::Done(sys::negated(&error), 0),
    }
}

fn send(fd: RawFd, from: *const u8, len: u32, progress: &mut u32) -> Tried {
    while *progress < len {
        // SAFETY: `progress < len`, so the pointer stays inside the buffer.
        let rest = unsafe { from.add(*progress as usize) };
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        // SAFETY: the op slot owns these bytes until the completion.
        let sent = unsafe { libc::send(fd, rest.cast(), (len - *progress) as usize, flags) };
        match outcome(sent) {
            Tried::Done(sent, _) if sent >= 0 => *progress += sent.cast_unsigned(),
            // What was sent before the error is reported by the error: the connection is done for.
            other => return other,
        }
    }
    Tried::Done(i32::try_from(len).unwrap_or(i32::MAX), 0)
}

fn connect(fd: RawFd, address: *const sys::SocketAddress, is_begun: &mut u32) -> Tried {
    if *is_begun == 0 {
        *is_begun = 1;
        // SAFETY: the op slot keeps the address until the completion.
        let (address, len) = unsafe { &*address }.as_raw();
        // SAFETY: pointer and length describe that address.
        return match sys::check(unsafe { libc::connect(fd, address, len) }) {
            Ok(_) => Tried::Done(0, 0),
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Tried::NotReady,
            Err(error) => Tried::Done(sys::negated(&error), 0),
        };
    }
    match poll(fd, libc::POLLOUT) {
        Tried::Done(..) => Tried::Done(-sys::pending_error(fd), 0),
        other => other,
    }
}

/// Whether the descriptor is ready now, whatever the edges said: others read and write it too.
fn poll(fd: RawFd, events: libc::c_short) -> Tried {
    let mut request = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one request, valid for the call.
    match sys::check(unsafe { libc::poll(&raw mut request, 1, 0) }) {
        Ok(0) => Tried::NotReady,
        Ok(_) => Tried::Done(i32::from(request.revents), 0),
        Err(error) => Tried::Done(sys::negated(&error), 0),
    }
}
