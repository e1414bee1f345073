//! Opening a connection to an endpoint, and why none could be had.
//!
//! Every [`ConnectError`] means that no byte of the request was sent: it may be tried elsewhere
//! whatever its method.

use crate::runtime::{Either, TcpStream, race, sleep};
use std::{io, net::SocketAddr, time::Duration};

/// Why there is no connection. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens there, or the listener's queue is full.
    #[error("`{0}` refuses connections")]
    Refused(SocketAddr),
    /// No answer within the connect timeout.
    #[error("`{address}` didn't accept a connection within {after:?}")]
    Timeout {
        /// The endpoint.
        address: SocketAddr,
        /// How long was waited.
        after: Duration,
    },
    /// No way there.
    #[error("`{address}` can't be reached")]
    Unreachable {
        /// The endpoint.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// All local ports towards this endpoint are in use (EADDRNOTAVAIL).
    #[error(
        "no local port is left for connections to `{0}`: widen net.ipv4.ip_local_port_range, set \
         limits.connections, or keep connections longer (pool.idle_per_endpoint, pool.max_reuse)"
    )]
    NoLocalPort(SocketAddr),
    /// The process or the system has no file descriptor left (EMFILE, ENFILE).
    #[error("no file descriptor is left for a connection to `{0}`: raise LimitNOFILE (ulimit -n)")]
    NoDescriptor(SocketAddr),
    /// `limits.connections` are in use and `limits.pending` requests wait already.
    #[error("`{address}` has all its connections in use and {pending} requests wait already")]
    QueueFull {
        /// The endpoint.
        address: SocketAddr,
        /// The limit.
        pending: u32,
    },
    /// `limits.connections` were in use for all of `limits.queue_timeout`.
    #[error("`{address}` had all its connections in use for {after:?}")]
    QueueTimeout {
        /// The endpoint.
        address: SocketAddr,
        /// How long was waited.
        after: Duration,
    },
    /// Anything else the kernel had to say.
    #[error("connecting to `{address}` failed")]
    Failed {
        /// The endpoint.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The endpoint's, or the network's on the way there: counts towards its ejection.
    Endpoint,
    /// Ours: a limit that was configured or that the system sets.
    Us,
}

impl ConnectError {
    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Refused(_)
            | Self::Timeout { .. }
            | Self::Unreachable { .. }
            | Self::Failed { .. } => Fault::Endpoint,
            Self::NoLocalPort(_)
            | Self::NoDescriptor(_)
            | Self::QueueFull { .. }
            | Self::QueueTimeout { .. } => Fault::Us,
        }
    }

    /// The same failure once more, for another request that met it.
    #[must_use]
    pub fn again(&self) -> Self {
        let copy = |source: &io::Error| match source.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => source.kind().into(),
        };
        match self {
            Self::Refused(address) => Self::Refused(*address),
            Self::Timeout { address, after } => Self::Timeout { address: *address, after: *after },
            Self::Unreachable { address, source } => {
                Self::Unreachable { address: *address, source: copy(source) }
            }
            Self::NoLocalPort(address) => Self::NoLocalPort(*address),
            Self::NoDescriptor(address) => Self::NoDescriptor(*address),
            Self::QueueFull { address, pending } => {
                Self::QueueFull { address: *address, pending: *pending }
            }
            Self::QueueTimeout { address, after } => {
                Self::QueueTimeout { address: *address, after: *after }
            }
            Self::Failed { address, source } => {
                Self::Failed { address: *address, source: copy(source) }
            }
        }
    }

    /// Whether the upstream has as many requests as its `limits` allow: another attempt would only
    /// add to them.
    #[must_use]
    pub fn is_overload(&self) -> bool {
        matches!(self, Self::QueueFull { .. } | Self::QueueTimeout { .. })
    }

    pub(super) fn from_io(address: SocketAddr, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EADDRNOTAVAIL) => Self::NoLocalPort(address),
            Some(libc::EMFILE | libc::ENFILE) => Self::NoDescriptor(address),
            _ => match source.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {
                    Self::Refused(address)
                }
                io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::NetworkDown
                | io::ErrorKind::TimedOut => Self::Unreachable { address, source },
                _ => Self::Failed { address, source },
            },
        }
    }
}

/// Connects within `timeout`. Dropping the future abandons the attempt.
pub(super) async fn connect(
    address: SocketAddr,
    timeout: Duration,
) -> Result<TcpStream, ConnectError> {
    match race(TcpStream::connect(address), sleep(timeout)).await {
        Either::First(Ok(stream)) => Ok(stream),
        Either::First(Err(error)) => Err(ConnectError::from_io(address, error)),
        Either::Second(()) => Err(ConnectError::Timeout { address, after: timeout }),
    }
}
