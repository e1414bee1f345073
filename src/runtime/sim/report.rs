//! What a simulation is told, and what it tells at the end.

use std::time::Duration;

use crate::runtime::Options;

/// How hostile the simulated network is. Chances are from 0 to 1. Every default is hostile enough
/// to meet each fault within a few hundred operations; [`calm`](Self::calm) has none.
#[derive(Debug, Clone)]
pub struct SimOptions {
    /// Sizes of the runtime; its driver choice is ignored.
    pub runtime: Options,
    /// A receive gets less than there is. Default: 0.3.
    pub short_read: f64,
    /// A send completes before all is taken. Default: 0.2.
    pub short_write: f64,
    /// A connection is reset under a piece of data. Default: 0.002.
    pub reset: f64,
    /// A connection is refused although somebody listens. Default: 0.01.
    pub refuse: f64,
    /// A receive finds no buffer although there are some. Default: 0.02.
    pub no_buffer: f64,
    /// Accepting fails for want of a descriptor (EMFILE). Default: 0.01.
    pub no_descriptor: f64,
    /// The longest time that data or a connection is under way. Default: 2 ms.
    pub delay_max: Duration,
    /// The longest time from an operation's end to its completion; independent completions
    /// overtake each other within it. Default: 200 µs.
    pub jitter_max: Duration,
    /// Bytes that may be under way or unread in one direction. Default: 64 KiB.
    pub window: usize,
    /// Connections to these listening ports meet no resets and no refusals by chance.
    pub calm_ports: Vec<u16>,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            runtime: Options::default(),
            short_read: 0.3,
            short_write: 0.2,
            reset: 0.002,
            refuse: 0.01,
            no_buffer: 0.02,
            no_descriptor: 0.01,
            delay_max: Duration::from_millis(2),
            jitter_max: Duration::from_micros(200),
            window: 64 << 10,
            calm_ports: Vec::new(),
        }
    }
}

impl SimOptions {
    /// Delays and reordering, but no faults.
    pub fn calm() -> Self {
        Self {
            short_read: 0.0,
            short_write: 0.0,
            reset: 0.0,
            refuse: 0.0,
            no_buffer: 0.0,
            no_descriptor: 0.0,
            ..Self::default()
        }
    }
}

/// What a simulation did, and what was left of it after every task was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimReport {
    /// The seed that reproduces the run.
    pub seed: u64,
    /// A hash over everything that happened, in order: equal for equal runs.
    pub trace_hash: u64,
    /// Virtual time that passed.
    pub elapsed: Duration,
    /// What the network did.
    pub events: SimEvents,
    /// What should have been given back and wasn't.
    pub leaked: SimLeaks,
    /// Rules of the driver seam that were broken, in words.
    pub violations: Vec<String>,
}

impl SimReport {
    /// Whether nothing leaked and no rule was broken.
    pub fn is_clean(&self) -> bool {
        self.leaked == SimLeaks::default() && self.violations.is_empty()
    }
}

/// Counts of what the network did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SimEvents {
    /// Operations completed.
    pub completions: u64,
    /// Connections established.
    pub connections: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Receives cut short by chance.
    pub short_reads: u64,
    /// Sends cut short by chance.
    pub short_writes: u64,
    /// Connections reset by chance.
    pub resets: u64,
    /// Connections refused by chance.
    pub refusals: u64,
    /// Receives told by chance that there is no buffer.
    pub no_buffers: u64,
    /// Accepts told by chance that there is no descriptor.
    pub no_descriptors: u64,
    /// Operations that ended by being cancelled.
    pub cancelled: u64,
}

/// Counts of what leaked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SimLeaks {
    /// Operations in flight or finished and never taken.
    pub operations: u32,
    /// Receive buffers.
    pub buffers: u32,
    /// Leases.
    pub leases: u32,
    /// Tasks.
    pub tasks: u32,
    /// Sockets, of the shard or of the network.
    pub sockets: u32,
    /// Timers.
    pub timers: u32,
}
