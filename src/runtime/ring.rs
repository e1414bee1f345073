//! The io_uring driver: one ring per shard, entered once per turn.
//!
//! ```text
//!   submit, cancel, close ─▶ SQ ─┐                       ┌─▶ completions
//!                                ├─▶ io_uring_enter ─────┤
//!   recycle ─▶ reserve ─▶ buffer ring                    └─▶ filled buffers
//! ```
//!
//! Set up as measured (design §8): SINGLE_ISSUER, DEFER_TASKRUN, NO_SQARRAY, SUBMIT_ALL, CQSIZE,
//! CLAMP, registered ring descriptor, the next timer as the enter's timeout. Deliberately not used:
//! SQPOLL, linked operations, POLL_FIRST, minimum waits, bundles, and the SHUTDOWN and SPLICE
//! operations, which go to worker threads and look their descriptor up there.

#![expect(unsafe_code, reason = "submits operations that point into memory, and owns the ring")]

use std::{
    io,
    os::fd::RawFd,
    ptr::NonNull,
    sync::atomic::{AtomicU16, Ordering},
};

use io_uring::{
    EnterFlags, IoUring, Submitter, opcode, squeue,
    types::{self, BufRingEntry, Fd, SubmitArgs, Timespec},
};

use crate::runtime::{
    buffers::{Mapping, Pool},
    driver::{Completion, Op, Token, Wait},
    files::Files,
    probe::{self, Setup, Unavailable},
    shard::report,
};

/// The only buffer group.
const GROUP: u16 = 0;

/// The io_uring driver.
pub(crate) struct Ring {
    /// Taken before `ring` is freed: it borrows from it.
    submitter: Option<Submitter<'static>>,
    ring: NonNull<IoUring>,
    buffers: BufferRing,
    files: Files,
    enter_flags: EnterFlags,
    overflows: u64,
}

impl Ring {
    /// Sets a ring up on this thread, which must be the one that uses it, and gives it `pool`.
    pub(crate) fn new(entries: u32, pool: &Pool) -> Result<(Self, Setup), Unavailable> {
        probe::check_kernel()?;
        let (ring, mut setup) = probe::build(entries)?;
        probe::check_operations(&ring)?;
        let wants_no_iowait = ring.params().is_feature_no_iowait();
        // The submitter borrows the ring, and both live in this struct; see `Drop`.
        let ring = NonNull::from(Box::leak(Box::new(ring)));
        // SAFETY: the box is freed in `Drop`, after the submitter.
        let shared: &'static IoUring = unsafe { ring.as_ref() };
        let mut submitter = shared.submitter();
        let buffers = BufferRing::new(&submitter, pool);
        if submitter.register_ring_fd().is_err() {
            setup.dropped.push("registered ring descriptor");
        }
        let files = Files::new(&submitter).unwrap_or_else(|| {
            setup.dropped.push("registered descriptors");
            Files::default()
        });
        let mut enter_flags = EnterFlags::GETEVENTS;
        if wants_no_iowait {
            enter_flags |= EnterFlags::NO_IOWAIT;
        }
        let unregistered = BufferRing::absent();
        let (buffers, failed) = match buffers {
            Ok(buffers) => (buffers, None),
            Err(error) => (unregistered, Some(error)),
        };
        let submitter = Some(submitter);
        let this = Self { submitter, ring, buffers, files, enter_flags, overflows: 0 };
        match failed {
            Some(error) => Err(Unavailable::NoBufferRing(error)),
            None => Ok((this, setup)),
        }
    }

    fn ring(&self) -> &'static IoUring {
        // SAFETY: the box lives until `Drop` and no caller keeps the reference. Also the queues' own
        // `&mut` are made in one place at a time (`push` and `drain`), never across each other.
        unsafe { self.ring.as_ref() }
    }

    pub(crate) fn overflows(&self) -> u64 {
        self.overflows
    }

    #[inline]
    pub(crate) fn submit(&mut self, pool: &Pool, token: Token, fd: RawFd, op: Op) {
        // A registered descriptor has its own number as its slot, so only a flag tells them apart.
        let known = match op {
            Op::Recv | Op::RecvInto { .. } => self.files.receive(self.submitter.as_ref(), fd),
            Op::Send { .. } => self.files.send(fd),
            _ => squeue::Flags::empty(),
        };
        let fd = Fd(fd);
        let entry = match op {
            Op::Recv => opcode::Recv::new(fd, std::ptr::null_mut(), pool.size())
                .buf_group(GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT),
            Op::RecvInto { to, len } => opcode::Recv::new(fd, to, len).build(),
            Op::Send { from, len } => opcode::Send::new(fd, from, len)
                .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
                .build(),
            Op::Connect { address } => {
                // SAFETY: the op slot keeps the address until the completion.
                let (address, len) = unsafe { &*address }.as_raw();
                opcode::Connect::new(fd, address, len).build()
            }
            Op::Accept => {
                opcode::AcceptMulti::new(fd).flags(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC).build()
            }
            Op::PollRead => opcode::PollAdd::new(fd, poll_mask(libc::POLLIN)).build(),
            Op::PollWrite => opcode::PollAdd::new(fd, poll_mask(libc::POLLOUT)).build(),
            Op::Doorbell { to } => opcode::Read::new(fd, to.cast(), 8).build(),
        };
        self.push(&entry.flags(known).user_data(token.0));
    }

    pub(crate) fn cancel(&mut self, token: Token, _fd: RawFd) {
        let entry = opcode::AsyncCancel::new(token.0).build();
        self.push(&entry.user_data(Token::IGNORED.0));
    }

    pub(crate) fn cancel_all(&mut self, fd: RawFd) {
        let which = types::CancelBuilder::fd(Fd(fd)).all();
        let entry = opcode::AsyncCancel2::new(which).build();
        self.push(&entry.user_data(Token::IGNORED.0));
    }

    /// Closes in order with everything submitted before. Sockets close without a worker thread.
    pub(crate) fn close(&mut self, fd: RawFd) {
        // An empty slot first, or the connection would stay open by it.
        if self.files.forget(fd)
            && let Ok(slot) = u32::try_from(fd)
        {
            let entry = opcode::Close::new(types::Fixed(slot)).build();
            self.push(&entry.user_data(Token::IGNORED.0));
        }
        let entry = opcode::Close::new(Fd(fd)).build();
        self.push(&entry.user_data(Token::IGNORED.0));
    }

    /// Empties the slot of a descriptor that goes elsewhere: at once, since whoever gets it may
    /// close it before this ring is entered again.
    pub(crate) fn release(&mut self, fd: RawFd) {
        if self.files.forget(fd)
            && let Some(submitter) = &self.submitter
            && let Ok(slot) = u32::try_from(fd)
            && let Err(error) = submitter.register_files_update(slot, &[-1])
        {
            report("io_uring keeps a descriptor", &error);
        }
    }

    /// Registered descriptors.
    #[cfg(test)]
    pub(crate) fn registered(&self) -> usize {
        self.files.registered()
    }

    #[inline]
    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: no other submission queue handle exists: each lives for one statement.
            let mut queue = unsafe { self.ring().submission_shared() };
            // SAFETY: what the entry points to belongs to an op slot, which keeps it until the
            // final completion.
            if unsafe { queue.push(entry) }.is_ok() {
                return;
            }
            drop(queue);
            // Full: submit now. Nothing completes before the turn's own enter asks for it.
            if let Err(error) = self.enter(0, EnterFlags::empty(), None)
                && !matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN))
            {
                report("io_uring refuses submissions", &error);
            }
        }
    }

    fn enter(
        &self,
        want: u32,
        flags: EnterFlags,
        args: Option<&SubmitArgs<'_, '_>>,
    ) -> io::Result<usize> {
        // SAFETY: no other submission queue handle exists.
        let len = unsafe { self.ring().submission_shared() }.len();
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let Some(submitter) = &self.submitter else { return Ok(0) };
        // SAFETY: the entries were made by `submit` and point to what their op slots keep; the
        // argument, if any, is the one that EXT_ARG announces.
        unsafe { submitter.enter(len, want, flags.bits(), args) }
    }

    #[inline]
    pub(crate) fn turn(&mut self, pool: &Pool, wait: Wait, out: &mut Vec<Completion>) {
        self.buffers.top_up(pool);
        let entered = match wait {
            Wait::No => self.enter(0, self.enter_flags, None),
            Wait::Forever => self.enter(1, self.enter_flags, None),
            Wait::For(duration) => {
                let timeout = Timespec::from(duration);
                let args = SubmitArgs::new().timespec(&timeout);
                self.enter(1, self.enter_flags | EnterFlags::EXT_ARG, Some(&args))
            }
        };
        if let Err(error) = entered {
            match error.raw_os_error() {
                // The timer is due, a signal came, or memory for requests is short for now: what
                // wasn't submitted stays queued.
                Some(libc::ETIME | libc::EINTR | libc::EAGAIN) => {}
                // The completion queue has overflowed: drained below, flushed by the next enter.
                Some(libc::EBUSY) => {}
                _ => report("io_uring_enter failed", &error),
            }
        }
        self.drain(out);
    }

    #[inline]
    fn drain(&mut self, out: &mut Vec<Completion>) {
        let mut starved = false;
        // SAFETY: no other completion queue handle exists.
        let queue = unsafe { self.ring().completion_shared() };
        for entry in queue {
            let completion = Completion {
                token: Token(entry.user_data()),
                result: entry.result(),
                flags: entry.flags(),
            };
            if completion.buffer().is_some() {
                self.buffers.provided -= 1;
            }
            starved |= completion.result == -libc::ENOBUFS;
            out.push(completion);
        }
        if starved {
            self.buffers.widen();
        }
        // Nothing is lost then: the kernel keeps what didn't fit, and the next enter brings it.
        // SAFETY: no other submission queue handle exists.
        if unsafe { self.ring().submission_shared() }.cq_overflow() {
            self.overflows += 1;
        }
    }

    #[inline]
    pub(crate) fn recycle(&mut self, pool: &Pool, buffer: u16) {
        self.buffers.recycle(pool, buffer);
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Queued closes must not be lost.
        drop(self.enter(0, EnterFlags::empty(), None));
        if let Some(mut submitter) = self.submitter.take() {
            drop(submitter.unregister_buf_ring(GROUP));
            drop(submitter.unregister_ring_fd());
        }
        // SAFETY: `new` leaked this box, the submitter that borrowed it is gone, and it is freed
        // once, here.
        drop(unsafe { Box::from_raw(self.ring.as_ptr()) });
    }
}

fn poll_mask(events: libc::c_short) -> u32 {
    u32::from(events.cast_unsigned())
}

/// The kernel-visible ring of free buffers.
///
/// The kernel takes buffers in ring order, so a full ring would cycle through all of the pool and
/// touch cold memory with each receive. Only a few are in the ring (`target`); the others wait in
/// a stack, and the one freed last goes in first. When the kernel finds the ring empty although
/// the stack isn't, `target` doubles.
struct BufferRing {
    entries: Option<Mapping>,
    mask: u16,
    tail: u16,
    /// Buffers in the ring that no completion has named yet.
    provided: u32,
    target: u32,
    reserve: Vec<u16>,
}

/// Buffers that the kernel gets at first.
const TARGET_FIRST: u32 = 64;

impl BufferRing {
    const fn absent() -> Self {
        Self { entries: None, mask: 0, tail: 0, provided: 0, target: 0, reserve: Vec::new() }
    }

    fn new(submitter: &Submitter<'_>, pool: &Pool) -> io::Result<Self> {
        let len = pool.count().checked_next_power_of_two().unwrap_or(1 << 15).min(1 << 15);
        let entries = Mapping::new(usize::from(len) * size_of::<BufRingEntry>())?;
        let address = u64::try_from(entries.start.addr().get()).unwrap_or(0);
        // SAFETY: the mapping has room for `len` entries and is page aligned; it is unmapped after
        // the ring was unregistered or closed.
        unsafe { submitter.register_buf_ring_with_flags(address, len, GROUP, 0) }?;
        let mut this = Self {
            entries: Some(entries),
            mask: len - 1,
            tail: 0,
            provided: 0,
            target: TARGET_FIRST.min(u32::from(pool.count())),
            reserve: (0..pool.count().min(len)).rev().collect(),
        };
        this.top_up(pool);
        Ok(this)
    }

    #[inline]
    fn recycle(&mut self, pool: &Pool, buffer: u16) {
        if self.provided < self.target {
            self.provide(pool, buffer);
            self.publish();
        } else {
            self.reserve.push(buffer);
        }
    }

    /// Fills the ring up to its target.
    #[inline]
    fn top_up(&mut self, pool: &Pool) {
        if self.provided >= self.target || self.reserve.is_empty() {
            return;
        }
        while self.provided < self.target
            && let Some(buffer) = self.reserve.pop()
        {
            self.provide(pool, buffer);
        }
        self.publish();
    }

    /// The kernel ran out: let it have more at a time.
    fn widen(&mut self) {
        if !self.reserve.is_empty() {
            self.target = (self.target * 2).min(u32::from(self.mask) + 1);
        }
    }

    fn provide(&mut self, pool: &Pool, buffer: u16) {
        let Some(entries) = &self.entries else { return };
        let first: NonNull<BufRingEntry> = entries.start.cast();
        // SAFETY: the mask keeps the index inside the mapping.
        let mut place = unsafe { first.add(usize::from(self.tail & self.mask)) };
        // SAFETY: the kernel reads entries before the tail only, and this one is behind it.
        let entry = unsafe { place.as_mut() };
        entry.set_addr(u64::try_from(pool.address(buffer).addr().get()).unwrap_or(0));
        entry.set_len(pool.size());
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        self.provided += 1;
    }

    fn publish(&self) {
        let Some(entries) = &self.entries else { return };
        // SAFETY: the pointer is the start of a registered buffer ring.
        let tail = unsafe { BufRingEntry::tail(entries.start.cast().as_ptr()) };
        // SAFETY: the tail is two aligned bytes that only this thread writes.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Entries first, then the tail that lets the kernel see them.
        tail.store(self.tail, Ordering::Release);
    }
}

/// Whether a ring can be had at all, and what was left out: for `runtime::probe`.
pub(crate) fn supports_buffer_ring(ring: &IoUring) -> bool {
    let Ok(pool) = Pool::new(1, 4096) else { return false };
    let submitter = ring.submitter();
    let found = BufferRing::new(&submitter, &pool).is_ok();
    if found {
        drop(submitter.unregister_buf_ring(GROUP));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::sys;

    #[test]
    fn errors_carry_their_number() {
        let error = io::Error::from_raw_os_error(libc::ENOBUFS);
        assert_eq!(sys::negated(&error), -libc::ENOBUFS);
        assert_eq!(sys::result(-libc::ENOBUFS).unwrap_err().raw_os_error(), Some(libc::ENOBUFS));
    }
}
