//! Who may connect: asked once a connection, when it was accepted and before its first byte (and
//! before TLS).
//!
//! ```text
//!   accept ─▶ runtime.max_connections ─▶ PROXY header, lists, limits ─▶ the program's own, in order
//!                   │                            │                              │        └─▶ served ─▶ leave, each
//!                   └────────────────────────────┴───── refused: reset, counted ┘
//! ```

use std::{net::SocketAddr, rc::Rc};

use crate::runtime::TcpStream;

/// Decides over connections. One a shard and configuration; what all shards decide together lives
/// in [`ShardScope::shared`](super::ShardScope::shared).
///
/// ```
/// use std::net::IpAddr;
/// use ringway::{Admission, Admit, Arriving};
///
/// struct NotThisOne(IpAddr);
///
/// impl Admit for NotThisOne {
///     fn admit(&self, arriving: &Arriving<'_>) -> Admission {
///         if arriving.client.ip() == self.0 { Admission::Refused } else { Admission::Admitted }
///     }
/// }
/// ```
pub trait Admit {
    /// Whether the connection may stay. Must be quick: the shard waits.
    fn admit(&self, arriving: &Arriving<'_>) -> Admission;

    /// A connection of `client` that this has admitted is over, or was refused by another.
    fn leave(&self, client: SocketAddr) {
        let _ = client;
    }
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may stay.
    Admitted,
    /// It is reset at once.
    Refused,
}

/// A connection that was just accepted.
#[derive(Debug)]
pub struct Arriving<'a> {
    /// The client's socket address. Behind another proxy it is that proxy's.
    pub client: SocketAddr,
    /// The listener's name.
    pub listener: &'a str,
    pub(super) stream: &'a TcpStream,
}

impl Arriving<'_> {
    /// The address that the client connected to: one system call. None when it is gone already.
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        self.stream.local_addr().ok()
    }
}

/// All who are asked, in order.
pub type Doors = Rc<[Rc<dyn Admit>]>;

/// A connection that all doors have admitted; tells them when it is over.
pub(super) struct Inside {
    doors: Doors,
    admitted: usize,
    client: SocketAddr,
}

impl Inside {
    /// Asks one after the other; none when one refuses.
    pub(super) fn enter(doors: Doors, arriving: &Arriving<'_>) -> Option<Self> {
        let mut inside = Self { doors, admitted: 0, client: arriving.client };
        while let Some(door) = inside.doors.get(inside.admitted) {
            if door.admit(arriving) == Admission::Refused {
                return None;
            }
            inside.admitted += 1;
        }
        Some(inside)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        for door in self.doors.iter().take(self.admitted) {
            door.leave(self.client);
        }
    }
}
