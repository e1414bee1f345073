//! One thread's runtime: the only door to the kernel. It has never heard of HTTP.
//!
//! ```text
//!   your futures      spawn, race, Timer, TcpStream, TcpListener, splice, mailbox
//!        │
//!   shard             tasks ─ timers ─ operations ─ sockets ─ buffers ─ leases
//!        │
//!   driver            ring (io_uring) │ epoll │ sim (a seeded network with a virtual clock)
//! ```
//!
//! A [`Runtime`] belongs to its thread. Its futures aren't `Send`; the free functions here find it
//! by a thread-local pointer and panic on a thread that has none. Everything is completion-safe: an
//! operation owns its buffer and holds its descriptor open until the driver is done with both, so
//! any future may be dropped at any await.
//!
//! It doesn't start threads, choose addresses, or know what bytes mean.

mod affinity;
mod buffers;
mod clock;
mod driver;
mod epoll;
mod event;
mod executor;
mod files;
mod lease;
mod look;
pub mod mailbox;
mod op;
mod pooled;
mod probe;
mod race;
mod ring;
mod shard;
mod signal;
#[cfg(any(test, feature = "sim"))]
mod sim;
mod slab;
mod sockets;
mod splice;
mod steering;
mod sys;
mod tcp;
#[cfg(test)]
mod tests;
mod timers;
mod udp;

use std::{fmt, future::Future, marker::PhantomData, rc::Rc, time::Duration};

#[cfg(any(test, feature = "sim"))]
pub use self::sim::{SimEvents, SimLeaks, SimOptions, SimReport};
pub use self::{
    affinity::{cpus, pin},
    buffers::RecvBuf,
    clock::{now, now_uncached, wall_now, wall_now_uncached},
    executor::{Task, spawn, yield_now},
    lease::{LEASE_SIZE, Lease, lease},
    op::{
        recv::Recv,
        send::{SendBuf, Sending},
    },
    pooled::PooledFuture,
    probe::{KERNEL_MIN, KERNEL_RECOMMENDED, KernelVersion, Report, RingReport, probe},
    race::{Either, race},
    signal::{Signal, settled},
    splice::{Burst, BurstError, SpliceError, SpliceStep, splice, splice_burst},
    steering::choose_by_cpu,
    tcp::{ListenOptions, OwnedSocket, TcpListener, TcpStream},
    timers::{Expired, Timer, sleep, sleep_until},
    udp::{Datagrams, Outbox, Received, Train, UdpSocket},
};
use self::{buffers::Pool, driver::Driver, epoll::Epoll, ring::Ring, shard::Shard};

/// What the operator asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DriverChoice {
    /// io_uring if it can be had, else epoll; the reason is kept.
    #[default]
    Auto,
    /// io_uring or no start.
    IoUring,
    /// epoll.
    Epoll,
}

/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverKind {
    /// The product.
    IoUring,
    /// The fallback.
    Epoll,
    /// The simulated network.
    Sim,
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
            Self::Sim => "sim",
        })
    }
}

/// Sizes of a runtime.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which driver to take. Default: auto.
    pub driver: DriverChoice,
    /// Submission queue entries, rounded up to a power of two; the completion queue is eight times
    /// as long. A full queue is submitted early. Default: 1024.
    pub ring_entries: u32,
    /// Receive buffers, 1 to 32768. When all are out, receives wait. Default: 512.
    pub buffer_count: u16,
    /// Bytes of a receive buffer. Default: 16 KiB.
    pub buffer_size: u32,
    /// Bytes of 256 KiB lease buffers at most. Default: 64 MiB.
    pub lease_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            driver: DriverChoice::Auto,
            ring_entries: 1024,
            buffer_count: 512,
            buffer_size: 16 << 10,
            lease_bytes_max: 64 << 20,
        }
    }
}

/// The most receive buffers that a ring can name.
const BUFFER_COUNT_MAX: u16 = 1 << 15;

/// Why no runtime could be had, with what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl StartError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A thread's runtime. Dropping it drops its tasks, cancels what is in flight and waits for that
/// to end.
pub struct Runtime {
    shard: Box<Shard>,
    reason: String,
    _not_send: PhantomData<Rc<()>>,
}

impl Runtime {
    /// Starts a runtime on this thread.
    ///
    /// # Errors
    /// When the chosen driver can't be had (the text says why and what to do about it), memory is
    /// short, an option is out of range, or the thread has a runtime already.
    pub fn new(options: &Options) -> Result<Self, StartError> {
        if !(1..=BUFFER_COUNT_MAX).contains(&options.buffer_count) || options.buffer_size == 0 {
            return Err(StartError::new("buffer_count must be 1 to 32768, buffer_size at least 1"));
        }
        let pool = new_pool(options)?;
        let (driver, reason) = choose(options, &pool)?;
        Self::assemble(driver, pool, options, reason)
    }

    fn assemble(
        driver: Driver,
        pool: Pool,
        options: &Options,
        reason: String,
    ) -> Result<Self, StartError> {
        if Shard::is_entered() {
            return Err(StartError::new("this thread has a runtime already"));
        }
        let shard = Shard::new(driver, pool, options)?;
        shard.enter();
        Ok(Self { shard, reason, _not_send: PhantomData })
    }

    /// Runs `future` and every spawned task until `future` ends. May be called again; tasks stand
    /// still in between.
    ///
    /// # Panics
    /// When called from within a task.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.shard.block_on(future)
    }

    /// Which driver runs.
    pub fn driver(&self) -> DriverKind {
        self.shard.driver.borrow().kind()
    }

    /// Why that driver won: `io_uring: all features`, or `epoll: kernel.io_uring_disabled is 2: …`.
    pub fn driver_reason(&self) -> &str {
        &self.reason
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.shard.shut_down();
        self.shard.leave();
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("reason", &self.reason).finish_non_exhaustive()
    }
}

fn new_pool(options: &Options) -> Result<Pool, StartError> {
    Pool::new(options.buffer_count, options.buffer_size).map_err(|error| {
        let bytes = u64::from(options.buffer_count) * u64::from(options.buffer_size);
        StartError::new(format!("no {bytes} bytes for receive buffers can be had: {error}"))
    })
}

fn choose(options: &Options, pool: &Pool) -> Result<(Driver, String), StartError> {
    let epoll = |reason: String| match Epoll::new(pool) {
        Ok(epoll) => Ok((Driver::Epoll(Box::new(epoll)), reason)),
        Err(error) => Err(StartError::new(format!("epoll can't be had: {error}"))),
    };
    if options.driver == DriverChoice::Epoll {
        return epoll("epoll: as configured".into());
    }
    match Ring::new(options.ring_entries, pool) {
        Ok((ring, setup)) => Ok((Driver::Ring(Box::new(ring)), setup.to_string())),
        Err(error) if options.driver == DriverChoice::Auto => epoll(format!("epoll: {error}")),
        Err(error) => Err(StartError::new(error.to_string())),
    }
}

/// Counters of this thread's runtime, read by the shard and published as metrics.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Turns of the loop, each one visit to the kernel.
    pub turns: u64,
    /// CPU time that this thread has used since it began, in user space and in the kernel (where the
    /// ring does its work). Zero in a simulation.
    pub busy: Duration,
    /// Receive buffers that are out.
    pub buffers_in_use: u32,
    /// Leases that are out.
    pub leases_in_use: u32,
    /// Operations that the driver has.
    pub ops_in_flight: u32,
    /// Tasks alive.
    pub tasks: u32,
    /// Sockets open.
    pub sockets: u32,
    /// How often a receive waited for a buffer.
    pub buffer_waits: u64,
    /// How often the completion queue overflowed; nothing is lost then, but time is.
    pub cq_overflows: u64,
}

/// Bytes of a receive buffer of this thread's runtime: a receive that fills one has most likely left
/// something behind.
///
/// # Panics
/// Outside of a runtime.
#[inline]
pub fn recv_buffer_size() -> usize {
    shard::with(|shard| shard.pool.size() as usize)
}

/// This thread's counters.
///
/// # Panics
/// Outside of a runtime.
pub fn usage() -> Usage {
    shard::with(Shard::usage)
}
