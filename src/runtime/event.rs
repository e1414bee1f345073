//! An eventfd: a kernel counter that other threads raise and the driver reads.

#![expect(unsafe_code, reason = "eventfd(2) and write(2)")]

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use crate::runtime::sys;

#[derive(Debug)]
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    pub(crate) fn new(is_nonblocking: bool) -> io::Result<Self> {
        let flags = libc::EFD_CLOEXEC | if is_nonblocking { libc::EFD_NONBLOCK } else { 0 };
        // SAFETY: takes no pointer.
        let fd = sys::check(unsafe { libc::eventfd(0, flags) })?;
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Raises the counter. It can't fail or block before 2^64 - 1 unread signals.
    pub(crate) fn signal(&self) {
        let one = 1_u64;
        // SAFETY: the pointer is readable for the eight bytes that an eventfd takes.
        let _ = unsafe { libc::write(self.fd(), (&raw const one).cast(), size_of::<u64>()) };
    }
}

/// Waits until another thread has signalled. False after `limit`.
#[cfg(any(test, feature = "sim"))]
pub(crate) fn wait(fd: RawFd, limit: std::time::Duration) -> bool {
    let mut request = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let limit = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one request, valid for the call.
    unsafe { libc::poll(&raw mut request, 1, limit) > 0 }
}

/// Takes the signals of a non-blocking eventfd. False if there were none.
#[cfg(any(test, feature = "sim"))]
pub(crate) fn take(fd: RawFd) -> bool {
    let mut count = 0_u64;
    // SAFETY: the pointer is writable for the eight bytes that an eventfd gives.
    let read = unsafe { libc::read(fd, (&raw mut count).cast(), size_of::<u64>()) };
    read > 0
}
