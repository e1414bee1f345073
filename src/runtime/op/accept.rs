//! Accept: one multishot operation per listener, and a queue of what it brought.
//!
//! ```text
//!             accept() awaited, queue empty
//!   Idle ───────────────────────────────────▶ Armed ──(completion)──▶ queue ─▶ accept() returns
//!    ▲                                          │
//!    ├── queue full: cancelled (paused) ◀───────┤
//!    ├── EMFILE, ENFILE, ENOMEM: back off 100 ms┤
//!    └── any completion without MORE ◀──────────┘
//! ```
//!
//! Whatever ends the operation, the next `accept` arms it again. A queued connection belongs to
//! the listener until `accept` returns it, so dropping an `accept` future loses nothing.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    io,
    net::SocketAddr,
    os::fd::RawFd,
    task::Poll,
    time::Duration,
};

use crate::runtime::{
    driver::{Completion, Kind, Op},
    executor::NO_TASK,
    op::{InFlight, OpSlot, Payload, State},
    shard::{self, Shard},
    sys,
    tcp::{TcpListener, TcpStream},
    timers,
};

/// Connections that wait in user space for `accept`; then the operation is paused, and the
/// kernel's backlog fills instead.
const QUEUE_MAX: usize = 64;

/// How long accepting rests when descriptors or memory have run out.
const BACK_OFF: Duration = Duration::from_millis(100);

/// What the accept operation of a listener has brought.
#[derive(Debug, Default)]
pub(crate) struct AcceptQueue {
    ready: RefCell<VecDeque<RawFd>>,
    /// `errno` that ended the operation, 0 if none did.
    error: Cell<i32>,
    flight: RefCell<Option<InFlight>>,
    task: Cell<u32>,
    is_armed: Cell<bool>,
    is_paused: Cell<bool>,
}

impl AcceptQueue {
    fn next(&self) -> Option<RawFd> {
        self.ready.borrow_mut().pop_front()
    }

    /// Closes what nobody accepted.
    pub(crate) fn clear(&self, shard: &Shard) {
        drop(self.flight.take());
        while let Some(fd) = self.next() {
            shard.driver.borrow_mut().close(fd);
        }
    }
}

/// Accepts the next connection; see `TcpListener::accept`.
pub(crate) async fn run(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    loop {
        match poll_fn(|_| poll(listener)).await {
            Ok(fd) => {
                if let Some(accepted) = shard::with(|shard| adopt(shard, fd)) {
                    return Ok(accepted);
                }
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                    tracing::warn!(%error, "can't accept: pausing for {BACK_OFF:?}");
                    timers::sleep(BACK_OFF).await;
                }
                // What befell one connection before it was accepted, or the operation was
                // cancelled to pause: go on with the next (accept(2), "Error handling").
                Some(
                    libc::ECONNABORTED
                    | libc::ECANCELED
                    | libc::EINTR
                    | libc::EAGAIN
                    | libc::EPROTO
                    | libc::ENETDOWN
                    | libc::ENOPROTOOPT
                    | libc::EHOSTDOWN
                    | libc::ENONET
                    | libc::EHOSTUNREACH
                    | libc::ENETUNREACH
                    | libc::EPERM,
                ) => {}
                _ => return Err(error),
            },
        }
    }
}

/// Makes a stream of an accepted descriptor; `None` if the connection is gone already.
fn adopt(shard: &Shard, fd: RawFd) -> Option<(TcpStream, SocketAddr)> {
    let stream = TcpStream::adopt(shard, fd, 0);
    let address = shard.driver.borrow_mut().peer_addr(fd).ok()?;
    Some((stream, address))
}

fn poll(listener: &TcpListener) -> Poll<io::Result<RawFd>> {
    shard::with(|shard| {
        let queue = listener.queue();
        if let Some(fd) = queue.next() {
            return Poll::Ready(Ok(fd));
        }
        let error = queue.error.replace(0);
        if error != 0 {
            return Poll::Ready(Err(io::Error::from_raw_os_error(error)));
        }
        queue.task.set(shard.tasks.current());
        if !queue.is_armed.get() {
            arm(shard, listener);
        }
        Poll::Pending
    })
}

fn arm(shard: &Shard, listener: &TcpListener) {
    let queue = listener.queue();
    let Some(entry) = shard.sockets.get(listener.socket()) else { return };
    let fd = entry.fd.get();
    let slot = shard.prepare(Kind::Accept, listener.socket(), Payload::Accept(queue.clone()));
    queue.is_armed.set(true);
    queue.is_paused.set(false);
    let flight = shard.submit(slot, fd, Op::Accept);
    // The one before has ended, so its slot is only freed here.
    drop(queue.flight.replace(Some(flight)));
}

pub(crate) fn complete(shard: &Shard, slot: u32, op: &OpSlot, completion: Completion) {
    let payload = op.payload.borrow();
    let Payload::Accept(queue) = &*payload else { return };
    let queue = queue.clone();
    drop(payload);
    let is_orphan = op.state.get() == State::Orphan;
    if let Ok(fd) = sys::result(completion.result) {
        let fd = RawFd::try_from(fd).unwrap_or(-1);
        if is_orphan {
            shard.driver.borrow_mut().close(fd);
        } else {
            queue.ready.borrow_mut().push_back(fd);
        }
    } else if completion.result != -libc::ECANCELED && queue.error.get() == 0 {
        queue.error.set(-completion.result);
    }
    if completion.is_final() {
        queue.is_armed.set(false);
        shard.end(slot, op, 0, 0);
    } else if !is_orphan && queue.ready.borrow().len() >= QUEUE_MAX && !queue.is_paused.get() {
        queue.is_paused.set(true);
        shard.cancel_op(slot, op);
    }
    shard.tasks.wake(queue.task.replace(NO_TASK));
}

/// Stops accepting and returns what was accepted but not handed out; see `TcpListener::stop`.
pub(crate) async fn stop(listener: &TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    let queue = listener.queue();
    let flight = queue.flight.take();
    if let Some(mut flight) = flight {
        flight.cancel();
        poll_fn(|_| flight.poll()).await;
    }
    shard::with(|shard| {
        let mut accepted = Vec::new();
        while let Some(fd) = queue.next() {
            accepted.extend(adopt(shard, fd));
        }
        // What the kernel has queued is handed out too, up to its backlog.
        let Some(entry) = shard.sockets.get(listener.socket()) else { return accepted };
        loop {
            let next = shard.driver.borrow_mut().accept_now(entry.fd.get());
            let Ok(Some(fd)) = next else { break };
            accepted.extend(adopt(shard, fd));
        }
        accepted
    })
}
