//! Descriptors that the ring knows by heart: an operation on one of them takes no reference of the
//! process's table, which is what a send or a receive spends most of its own time on.
//!
//! ```text
//!   receive 1, 2 ─▶ unknown ─▶ receive 3: registered ─▶ close: slot emptied, then closed
//!                                        └─ every receive and send from here on by its slot
//! ```
//!
//! A slot has the number of its descriptor, so nothing has to be looked up or given back: the kernel
//! gives a number out again only after its close, and the close empties the slot first, in the same
//! queue. A connection is registered at its third receive, because that costs a system call, which
//! a connection with one request would never earn back. The descriptor itself stays as it is: what
//! isn't a receive or a send (splice, shutdown, options) goes by it as ever.
//!
//! Without kernel support, or beyond the table's end, everything goes by descriptors.

use std::os::fd::RawFd;

use io_uring::{Submitter, squeue::Flags};
use nix::sys::resource::{Resource, getrlimit};

/// The ring's table of descriptors.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Receives of each descriptor so far; [`REGISTERED`] says that its slot holds it.
    receives: Vec<u8>,
    /// Slots of the table: descriptors from here on are never registered.
    len: usize,
}

/// The slot of this descriptor is filled.
const REGISTERED: u8 = u8::MAX;
/// The receive that registers a descriptor.
const REGISTER_AT: u8 = 3;
/// Most slots: 8 bytes each in the kernel.
const SLOTS_MAX: u32 = 1 << 16;

impl Files {
    /// Makes the table; `None` where the kernel has none to give.
    pub(crate) fn new(submitter: &Submitter<'_>) -> Option<Self> {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        let len = u32::try_from(limit).unwrap_or(SLOTS_MAX).min(SLOTS_MAX);
        submitter.register_files_sparse(len).ok()?;
        Some(Self { receives: Vec::new(), len: len as usize })
    }

    /// How a receive on `fd` names it. Registers it when it is time.
    #[inline]
    pub(crate) fn receive(&mut self, submitter: Option<&Submitter<'_>>, fd: RawFd) -> Flags {
        match self.receives.get_mut(index(fd)) {
            Some(&mut REGISTERED) => Flags::FIXED_FILE,
            Some(receives) if *receives + 1 < REGISTER_AT => {
                *receives += 1;
                Flags::empty()
            }
            _ => self.register(submitter, fd),
        }
    }

    /// How a send on `fd` names it.
    #[inline]
    pub(crate) fn send(&self, fd: RawFd) -> Flags {
        match self.receives.get(index(fd)) {
            Some(&REGISTERED) => Flags::FIXED_FILE,
            _ => Flags::empty(),
        }
    }

    /// Forgets `fd`, which is about to be closed; true when its slot must be emptied first.
    pub(crate) fn forget(&mut self, fd: RawFd) -> bool {
        let receives = self.receives.get_mut(index(fd));
        receives.is_some_and(|receives| std::mem::take(receives) == REGISTERED)
    }

    /// Makes room for a descriptor that is seen for the first time, or fills its slot.
    #[cold]
    fn register(&mut self, submitter: Option<&Submitter<'_>>, fd: RawFd) -> Flags {
        let index = index(fd);
        if index >= self.len {
            return Flags::empty();
        }
        if index >= self.receives.len() {
            self.receives.resize((index + 1).next_power_of_two().min(self.len), 0);
            self.receives[index] = 1;
            return Flags::empty();
        }
        let slot = u32::try_from(index).unwrap_or(u32::MAX);
        match submitter.map(|submitter| submitter.register_files_update(slot, &[fd])) {
            Some(Ok(1)) => {
                self.receives[index] = REGISTERED;
                Flags::FIXED_FILE
            }
            // No memory for it now: tried again two receives later.
            _ => {
                self.receives[index] = 0;
                Flags::empty()
            }
        }
    }

    /// Descriptors in the table.
    #[cfg(test)]
    pub(crate) fn registered(&self) -> usize {
        self.receives.iter().filter(|&&receives| receives == REGISTERED).count()
    }
}

/// A negative descriptor is beyond any table's end.
fn index(fd: RawFd) -> usize {
    usize::try_from(fd).unwrap_or(usize::MAX)
}
