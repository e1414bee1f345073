//! Moves bytes from one socket to another without entering user space.
//!
//! ```text
//!   from ──splice(2)──▶ pipe (256 KiB, pooled) ──splice(2)──▶ to
//!     └ EAGAIN: wait readable on the driver   EAGAIN: wait writable ┘
//! ```
//!
//! Readiness comes from the driver, the moving itself is a non-blocking system call: the ring's own
//! SPLICE always goes to a worker thread (measured: 1.5 × the cost). A pipe goes back to the pool
//! only when it is empty; one with leftovers (an error, a dropped future) is closed.

#![expect(unsafe_code, reason = "pipe2(2), fcntl(2) and splice(2)")]

use std::{
    cell::RefCell,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use crate::runtime::{TcpStream, executor::yield_now, shard, sys};

/// Which side failed, after how many bytes had reached the other one.
#[derive(Debug, thiserror::Error)]
pub enum SpliceError {
    /// `from` closed before `len` bytes.
    #[error("the stream ended after {moved} bytes")]
    Ended {
        /// Bytes that `to` has taken.
        moved: u64,
    },
    /// No pipe could be had, and nothing was moved: use another way.
    #[error("no pipe")]
    NoPipe(#[source] io::Error),
    /// Reading failed.
    #[error("reading failed after {moved} bytes")]
    From {
        /// What the read met.
        #[source]
        error: io::Error,
        /// Bytes that `to` has taken.
        moved: u64,
    },
    /// Writing failed.
    #[error("writing failed after {moved} bytes")]
    To {
        /// What the write met.
        #[source]
        error: io::Error,
        /// Bytes that `to` has taken.
        moved: u64,
    },
}

/// What a splice does next, or has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpliceStep {
    /// `to` has taken so many bytes.
    Moved(u64),
    /// It waits for bytes from `from`.
    AwaitsFrom,
    /// It waits for room at `to`.
    AwaitsTo,
}

/// Moves exactly `len` bytes from one socket to another through a pooled pipe, never through user
/// space. `watch` is told of each step (for counters, and for deadlines that blame the right side). Neither socket
/// may have an operation in flight in its direction. Works where
/// [`can_splice`](TcpStream::can_splice) says so.
///
/// *Cancel safety*: bytes in the pipe are lost; give both connections up.
///
/// # Errors
/// [`SpliceError`] says which side failed.
pub async fn splice(
    from: &TcpStream,
    to: &TcpStream,
    len: u64,
    mut watch: impl FnMut(SpliceStep),
) -> Result<(), SpliceError> {
    let mut moved = 0;
    let mut unyielded = 0;
    let mut pipe = LentPipe::take().map_err(SpliceError::NoPipe)?;
    let (source, sink) = shard::with(|shard| (shard.fd(from.socket()), shard.fd(to.socket())));
    while moved < len {
        let rest = len - moved - pipe.filled as u64;
        if pipe.filled < pipe.capacity() && rest > 0 {
            match pipe.fill(source, rest) {
                Ok(0) => {
                    // What is in the pipe already still belongs to the other side.
                    moved += drain(&mut pipe, to, sink, moved, &mut watch).await?;
                    return Err(SpliceError::Ended { moved });
                }
                Ok(_) => {}
                Err(error) if is_not_ready(&error) => {
                    if pipe.filled == 0 {
                        watch(SpliceStep::AwaitsFrom);
                        from.readable()
                            .await
                            .map_err(|error| SpliceError::From { error, moved })?;
                        continue;
                    }
                }
                Err(error) => return Err(SpliceError::From { error, moved }),
            }
        }
        match pipe.empty(sink) {
            Ok(taken) => {
                moved += taken;
                account(to, taken);
                watch(SpliceStep::Moved(taken));
                unyielded += taken;
                if unyielded >= YIELD_EVERY {
                    // Two fast sides would keep the shard to themselves.
                    unyielded = 0;
                    yield_now().await;
                }
            }
            Err(error) if is_not_ready(&error) => {
                watch(SpliceStep::AwaitsTo);
                to.writable().await.map_err(|error| SpliceError::To { error, moved })?;
            }
            Err(error) => return Err(SpliceError::To { error, moved }),
        }
    }
    Ok(())
}

/// What one burst moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burst {
    /// Bytes that the receiver has taken.
    pub bytes: u64,
    /// The sender has ended its stream.
    pub is_end: bool,
}

/// Why a burst ended early.
#[derive(Debug, thiserror::Error)]
pub enum BurstError {
    /// No pipe could be had, and nothing was moved: use another way.
    #[error("no pipe")]
    NoPipe(#[source] io::Error),
    /// Reading failed.
    #[error("reading failed")]
    From(#[source] io::Error),
    /// Writing failed.
    #[error("writing failed")]
    To(#[source] io::Error),
}

/// Moves what `from` has now, and what comes meanwhile, to `to` through a pooled pipe; ends when
/// `from` has nothing for the moment, so that a connection that rests holds no pipe. `moved` is
/// told of each piece that `to` has taken. Neither socket may have an operation in flight in its
/// direction.
///
/// *Cancel safety*: bytes in the pipe are lost; give both connections up.
///
/// # Errors
/// See [`BurstError`].
pub async fn splice_burst(
    from: &TcpStream,
    to: &TcpStream,
    mut moved: impl FnMut(u64),
) -> Result<Burst, BurstError> {
    let mut burst = Burst { bytes: 0, is_end: false };
    let mut unyielded = 0;
    let mut pipe = LentPipe::take().map_err(BurstError::NoPipe)?;
    let (source, sink) = shard::with(|shard| (shard.fd(from.socket()), shard.fd(to.socket())));
    loop {
        if pipe.filled < pipe.capacity() && !burst.is_end {
            match pipe.fill(source, u64::MAX) {
                Ok(0) => burst.is_end = true,
                Ok(_) => {}
                Err(error) if is_not_ready(&error) => {}
                Err(error) => return Err(BurstError::From(error)),
            }
        }
        if pipe.filled == 0 {
            return Ok(burst);
        }
        match pipe.empty(sink) {
            Ok(taken) => {
                burst.bytes += taken;
                account(to, taken);
                moved(taken);
                unyielded += taken;
                if unyielded >= YIELD_EVERY {
                    // Two fast sides would keep the shard to themselves.
                    unyielded = 0;
                    yield_now().await;
                }
            }
            Err(error) if is_not_ready(&error) => {
                to.writable().await.map_err(BurstError::To)?;
            }
            Err(error) => return Err(BurstError::To(error)),
        }
    }
}

/// Moves what the pipe holds; returns how much that was.
async fn drain(
    pipe: &mut LentPipe,
    to: &TcpStream,
    sink: RawFd,
    before: u64,
    watch: &mut impl FnMut(SpliceStep),
) -> Result<u64, SpliceError> {
    let mut drained = 0;
    while pipe.filled > 0 {
        let moved = before + drained;
        match pipe.empty(sink) {
            Ok(taken) => {
                drained += taken;
                account(to, taken);
                watch(SpliceStep::Moved(taken));
            }
            Err(error) if is_not_ready(&error) => {
                watch(SpliceStep::AwaitsTo);
                to.writable().await.map_err(|error| SpliceError::To { error, moved })?;
            }
            Err(error) => return Err(SpliceError::To { error, moved }),
        }
    }
    Ok(drained)
}

fn is_not_ready(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn account(to: &TcpStream, bytes: u64) {
    shard::with(|shard| {
        if let Some(socket) = shard.sockets.get(to.socket()) {
            socket.sent.set(socket.sent.get() + bytes);
        }
    });
}

/// Bytes after which the shard's other tasks have their turn.
const YIELD_EVERY: u64 = 1 << 20;

/// The size that a pipe is asked to have. Processes without CAP_SYS_RESOURCE get fewer large pipes
/// (`fs.pipe-user-pages-soft`); a smaller pipe is taken as it is.
const PIPE_SIZE: libc::c_int = 256 << 10;

/// Empty pipes kept for later; two descriptors each.
const PIPES_KEPT: usize = 64;

#[derive(Debug)]
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    capacity: usize,
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let mut ends: [RawFd; 2] = [-1; 2];
        let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
        // SAFETY: the pointer is writable for two descriptors.
        sys::check(unsafe { libc::pipe2(ends.as_mut_ptr(), flags) })?;
        // SAFETY: the descriptor is new and nobody else's.
        let read = unsafe { OwnedFd::from_raw_fd(ends[0]) };
        // SAFETY: as above.
        let write = unsafe { OwnedFd::from_raw_fd(ends[1]) };
        // SAFETY: takes no pointer. Refusal (EPERM, EBUSY) leaves the pipe as it is.
        let _ = unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_SIZE) };
        // SAFETY: takes no pointer.
        let size = sys::check(unsafe { libc::fcntl(write.as_raw_fd(), libc::F_GETPIPE_SZ) })?;
        Ok(Self { read, write, capacity: usize::try_from(size).unwrap_or(4096) })
    }
}

/// The shard's empty pipes.
#[derive(Debug, Default)]
pub(crate) struct Pipes(RefCell<Vec<Pipe>>);

/// A pipe on loan: returned when dropped empty, closed otherwise.
struct LentPipe {
    pipe: Option<Pipe>,
    filled: usize,
}

impl LentPipe {
    fn take() -> io::Result<Self> {
        let pooled = shard::with(|shard| shard.pipes.0.borrow_mut().pop());
        let pipe = match pooled {
            Some(pipe) => pipe,
            None => Pipe::new()?,
        };
        Ok(Self { pipe: Some(pipe), filled: 0 })
    }

    fn capacity(&self) -> usize {
        self.pipe.as_ref().map_or(0, |pipe| pipe.capacity)
    }

    fn fill(&mut self, from: RawFd, rest: u64) -> io::Result<usize> {
        let Some(pipe) = &self.pipe else { return Ok(0) };
        let room = pipe.capacity - self.filled;
        let want = usize::try_from(rest).unwrap_or(usize::MAX).min(room);
        let taken = move_bytes(from, pipe.write.as_raw_fd(), want)?;
        self.filled += taken;
        Ok(taken)
    }

    fn empty(&mut self, to: RawFd) -> io::Result<u64> {
        let Some(pipe) = &self.pipe else { return Ok(0) };
        let taken = move_bytes(pipe.read.as_raw_fd(), to, self.filled)?;
        self.filled -= taken.min(self.filled);
        Ok(taken as u64)
    }
}

impl Drop for LentPipe {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take()
            && self.filled == 0
        {
            shard::try_with(|shard| {
                let mut kept = shard.pipes.0.borrow_mut();
                if kept.len() < PIPES_KEPT {
                    kept.push(pipe);
                }
            });
        }
    }
}

fn move_bytes(from: RawFd, to: RawFd, len: usize) -> io::Result<usize> {
    // No SPLICE_F_MORE: it would hold a slow stream's tail back for 200 ms.
    let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
    // SAFETY: null offsets are required for sockets and pipes; descriptors are only looked up.
    let moved = unsafe { libc::splice(from, ptr::null_mut(), to, ptr::null_mut(), len, flags) };
    sys::check_len(moved)
}
