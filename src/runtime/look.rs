//! Looking at what has arrived without taking it: for headers that stand before a connection's own
//! bytes, and for protocols that are told by their first bytes.
//!
//! ```text
//!   await_bytes(n + 1) ─▶ peek ─▶ enough? ─no─▶ await_bytes(n + 1) …
//!                                    └yes─▶ take_exactly, or leave all to whoever reads next
//! ```
//! What is looked at stays in the socket, so whoever reads next needs to know nothing of it. To
//! wait for more than has been seen, the socket's low-water mark is raised (SO_RCVLOWAT): it is
//! readable only when that many bytes are there, or the stream has ended. A Unix socket doesn't know
//! the mark: whoever finds nothing new there has to look again after a while. These are system calls
//! of their own, once or twice a connection; the bytes of a stream come by the driver.

use std::io;

use crate::runtime::{TcpStream, shard};

impl TcpStream {
    /// Waits until `count` bytes can be read, or the stream has ended or failed. Cancel safe, but
    /// leaves the mark where it is: the next call, or [`look_is_over`](Self::look_is_over), moves it.
    ///
    /// # Errors
    /// Those of `setsockopt(2)`, and `Unsupported` in the simulation.
    pub async fn await_bytes(&self, count: usize) -> io::Result<()> {
        self.set_low_water(count)?;
        self.readable().await
    }

    /// Reads what is there into `buf` without taking it; `WouldBlock` when there is nothing, 0 at
    /// the end of the stream.
    ///
    /// # Errors
    /// Those of `recv(2)`, and `Unsupported` in the simulation.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        shard::with(|shard| {
            let fd = shard.fd(self.socket());
            shard.driver.borrow().look(fd, buf, Look::Peek)
        })
    }

    /// Takes what is there into `buf`, as far as it goes.
    ///
    /// # Errors
    /// As [`peek`](Self::peek).
    pub fn take_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        shard::with(|shard| {
            let fd = shard.fd(self.socket());
            shard.driver.borrow().look(fd, buf, Look::Take)
        })
    }

    /// Whether nothing will come behind what is there: the other side has ended its stream, or the
    /// connection has failed.
    pub fn has_ended(&self) -> bool {
        shard::with(|shard| {
            let fd = shard.fd(self.socket());
            shard.driver.borrow().has_ended(fd)
        })
    }

    /// The socket is readable again with its first byte.
    ///
    /// # Errors
    /// Those of `setsockopt(2)`.
    pub fn look_is_over(&self) -> io::Result<()> {
        self.set_low_water(1)
    }

    fn set_low_water(&self, count: usize) -> io::Result<()> {
        shard::with(|shard| {
            let fd = shard.fd(self.socket());
            shard.driver.borrow().set_low_water(fd, count.max(1))
        })
    }
}

/// What becomes of bytes that are read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// They stay in the socket.
    Peek,
    /// They are taken.
    Take,
}
