//! What the control thread tells a shard, and what it hears back.

use std::{
    net::UdpSocket,
    os::fd::OwnedFd,
    sync::{Arc, mpsc},
};

use super::l4::Makers;
use crate::{
    base::{access::AccessSink, address::Address},
    proxy::{self, ConnectionLimit, Shared, Snapshot, stats::ShardStats},
    runtime::{DriverChoice, DriverKind, Options, StartError},
    upstream::Neighbours,
};

/// An order from the control thread.
pub(super) enum Order {
    /// Build the handlers of `snapshot`; answer whether that worked.
    Prepare { snapshot: Arc<Snapshot>, reply: mpsc::Sender<Prepared> },
    /// Use what was prepared: open these listeners, close those that the snapshot no longer has.
    Commit { listeners: Vec<BoundListener>, l4: Vec<BoundL4> },
    /// Accept by the certificates of `snapshot`, which differs in nothing else.
    Certificates { snapshot: Arc<Snapshot> },
    /// Forget what was prepared.
    Abort,
    /// Accept nothing more, and end keep-alive. Answers once every connection that was established
    /// has been handed to its service.
    Drain { reply: mpsc::Sender<()> },
    /// Close everything and end.
    Stop,
}

/// A socket that is bound for one shard.
#[derive(Debug)]
pub(super) struct BoundListener {
    /// Its listener's name.
    pub(super) name: String,
    pub(super) address: Address,
    pub(super) socket: OwnedFd,
}

/// A socket of an L4 listener that is bound for one shard.
#[derive(Debug)]
pub(super) struct BoundL4 {
    /// Its listener's name.
    pub(super) name: String,
    pub(super) address: Address,
    pub(super) socket: BoundSocket,
}

/// The socket itself.
#[derive(Debug)]
pub(super) enum BoundSocket {
    /// For connections: TCP or Unix.
    Stream(OwnedFd),
    Udp(UdpSocket),
}

/// How a shard's preparation went.
pub(super) struct Prepared {
    pub(super) shard: usize,
    pub(super) result: Result<(), proxy::Error>,
}

/// What a shard's thread says once, when it has started or cannot.
pub(super) struct Started {
    pub(super) shard: usize,
    pub(super) result: Result<Driver, StartError>,
}

/// Which driver a shard runs on.
#[derive(Debug, Clone)]
pub(super) struct Driver {
    pub(super) kind: DriverKind,
    pub(super) reason: String,
}

/// What a shard's thread begins with.
pub(super) struct Seed {
    pub(super) index: usize,
    /// Bound to this CPU; none: wherever the kernel likes.
    pub(super) cpu: Option<usize>,
    pub(super) options: Options,
    pub(super) connections: Arc<ConnectionLimit>,
    pub(super) process: u32,
    pub(super) neighbours: Neighbours,
    pub(super) stats: Arc<ShardStats>,
    pub(super) shared: Arc<Shared>,
    pub(super) access: Option<AccessSink>,
    pub(super) makers: Makers,
}

/// The runtime's word for the config's.
pub(super) fn driver_choice(config: crate::config::IoDriver) -> DriverChoice {
    match config {
        crate::config::IoDriver::Auto => DriverChoice::Auto,
        crate::config::IoDriver::IoUring => DriverChoice::IoUring,
        crate::config::IoDriver::Epoll => DriverChoice::Epoll,
    }
}
