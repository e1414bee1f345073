//! `[runtime]`: shards, buffers and the limits of the process.
//!
//! Which CPUs exist is asked of `config::cpus`; starting threads and dropping privileges is the
//! server's work.

use std::time::Duration;

/// How the process uses the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// The CPU of each shard, one entry a shard; at least one, at most 1024. A CPU may be named
    /// twice, then it carries two shards. Default: one per physical core the process may use.
    pub shards: Vec<usize>,
    /// Whether each shard's thread is bound to its CPU. Default: true.
    pub pin: bool,
    /// Which driver moves the bytes. Default: [`IoDriver::Auto`].
    pub io_driver: IoDriver,
    /// Entries of the submission queue, per shard; a power of two, 64 to 32768. Default: 4096.
    pub ring_entries: u32,
    /// The shared receive buffers, per shard.
    pub buffers: Buffers,
    /// Which shard gets a new connection. Default: [`AcceptBalance::ReusePort`].
    pub accept_balance: AcceptBalance,
    /// Most client connections at one time, over all shards; 1 to 10,000,000. Default: 200,000.
    pub max_connections: u32,
    /// User to become after binding. Default: stay who we are.
    pub user: Option<String>,
    /// How long a drain waits for exchanges in flight before it closes them. Default: 60 s.
    pub drain_timeout: Duration,
}

/// Which shard gets a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcceptBalance {
    /// The kernel chooses by a hash of the addresses.
    ReusePort,
    /// The shard on the CPU that received it; shards are pinned, one a CPU.
    Cpu,
}

/// The driver below the executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoDriver {
    /// io_uring where the kernel lets us, else epoll.
    Auto,
    /// io_uring, or refuse to start.
    IoUring,
    /// epoll, even where io_uring would work.
    Epoll,
}

/// The provided-buffer ring of a shard: `count * size` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffers {
    /// How many buffers; a power of two, 16 to 32768. Default: 1024.
    pub count: u16,
    /// Bytes of one buffer, a multiple of 4096; 4 KiB to 1 MiB. Default: 16 KiB.
    pub size: u32,
}

impl RuntimeConfig {
    /// The defaults, with one shard on each of these CPUs.
    pub fn new(shards: Vec<usize>) -> Self {
        Self {
            shards,
            pin: true,
            io_driver: IoDriver::Auto,
            ring_entries: 4_096,
            buffers: Buffers::default(),
            accept_balance: AcceptBalance::ReusePort,
            max_connections: 200_000,
            user: None,
            drain_timeout: Duration::from_secs(60),
        }
    }
}

impl AcceptBalance {
    /// The words in the file.
    pub(super) const WORDS: [(&str, Self); 2] =
        [("reuseport", Self::ReusePort), ("cpu", Self::Cpu)];
}

impl IoDriver {
    /// The words in the file.
    pub(super) const WORDS: [(&str, Self); 3] =
        [("auto", Self::Auto), ("io_uring", Self::IoUring), ("epoll", Self::Epoll)];
}

impl Default for Buffers {
    fn default() -> Self {
        Self { count: 1_024, size: 16 * 1_024 }
    }
}
