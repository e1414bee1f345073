//! Opening a connection to an endpoint, and why none could be had.
//!
//! Every [`ConnectError`] means that no byte of the request was sent: it may be tried elsewhere
//! whatever its method.

use super::endpoint::Security;
use crate::{
    base::address::Address,
    config::UpstreamProtocol,
    runtime::{Either, PooledFuture, TcpStream, race, sleep},
    transport::{
        Stream,
        tls::{ClientTls, Failure},
    },
};
use std::{io, net::SocketAddr, time::Duration};

/// Why there is no connection. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens there, or the listener's queue is full.
    #[error("`{0}` refuses connections")]
    Refused(Address),
    /// No answer within the connect timeout.
    #[error("`{address}` didn't accept a connection within {after:?}")]
    Timeout {
        /// The endpoint.
        address: Address,
        /// How long was waited.
        after: Duration,
    },
    /// No way there.
    #[error("`{address}` can't be reached")]
    Unreachable {
        /// The endpoint.
        address: Address,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The endpoint can't be believed, or there is nothing in common with it.
    #[error("TLS with `{address}` failed: {source}")]
    Tls {
        /// The endpoint.
        address: Address,
        /// Why.
        #[source]
        source: Failure,
    },
    /// The upstream is to be reached by TLS, and nobody has read the files for it.
    #[error("`{0}` is to be reached by TLS, which has not been made ready")]
    NoTls(Address),
    /// It has chosen to speak another version of HTTP than the connection was meant for; the next
    /// one is asked for that.
    #[error("`{0}` chose another version of HTTP than before")]
    OtherProtocol(Address),
    /// All local ports towards this endpoint are in use (EADDRNOTAVAIL).
    #[error(
        "no local port is left for connections to `{0}`: widen net.ipv4.ip_local_port_range, set \
         limits.connections, or keep connections longer (pool.idle_per_endpoint, pool.max_reuse)"
    )]
    NoLocalPort(Address),
    /// The process or the system has no file descriptor left (EMFILE, ENFILE).
    #[error("no file descriptor is left for a connection to `{0}`: raise LimitNOFILE (ulimit -n)")]
    NoDescriptor(Address),
    /// `limits.connections` are in use and `limits.pending` requests wait already.
    #[error("`{address}` has all its connections in use and {pending} requests wait already")]
    QueueFull {
        /// The endpoint.
        address: Address,
        /// The limit.
        pending: u32,
    },
    /// `limits.connections` were in use for all of `limits.queue_timeout`.
    #[error("`{address}` had all its connections in use for {after:?}")]
    QueueTimeout {
        /// The endpoint.
        address: Address,
        /// How long was waited.
        after: Duration,
    },
    /// Anything else the kernel had to say.
    #[error("connecting to `{address}` failed")]
    Failed {
        /// The endpoint.
        address: Address,
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
            | Self::Failed { .. }
            | Self::Tls { .. } => Fault::Endpoint,
            Self::NoTls(_)
            | Self::OtherProtocol(_)
            | Self::NoLocalPort(_)
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
            Self::Tls { address, source } => {
                Self::Tls { address: *address, source: source.again() }
            }
            Self::NoTls(address) => Self::NoTls(*address),
            Self::OtherProtocol(address) => Self::OtherProtocol(*address),
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

    pub(super) fn from_io(address: Address, source: io::Error) -> Self {
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

/// What the endpoint at the other end of `stream` has agreed to speak by ALPN.
pub(super) fn spoken(stream: &Stream) -> UpstreamProtocol {
    match stream.handshaken().and_then(|handshaken| handshaken.alpn.as_deref()) {
        Some(b"h2") => UpstreamProtocol::H2,
        _ => UpstreamProtocol::Http11,
    }
}

/// How a connection is opened.
#[derive(Debug, Clone)]
pub struct Dial {
    /// How long it may take, what stands before its own bytes included.
    pub timeout: Duration,
    /// The address that the endpoint shall see; `None`: one of ours.
    pub from: Option<SocketAddr>,
    /// What is sent before anything else: a PROXY header.
    pub preface: Option<Vec<u8>>,
}

impl Dial {
    /// A plain one.
    #[must_use]
    pub fn within(timeout: Duration) -> Self {
        Self { timeout, from: None, preface: None }
    }
}

/// Connects as `dial` says, TLS handshake included. Dropping the future abandons the attempt.
pub(super) async fn connect(
    address: Address,
    security: &Security,
    dial: Dial,
) -> Result<Stream, ConnectError> {
    let Dial { timeout, from, preface } = dial;
    let connect = async {
        let tcp = match (address, from) {
            (Address::Ip(address), None) => TcpStream::connect(address).await,
            (Address::Ip(address), Some(from)) => TcpStream::connect_from(address, from).await,
            (Address::Unix(path), _) => TcpStream::connect_unix(path.as_str()).await,
        };
        let tcp = tcp.map_err(|error| ConnectError::from_io(address, error))?;
        if let Some(preface) = preface {
            let (sent, _) = tcp.send_all(preface).await;
            sent.map_err(|error| ConnectError::from_io(address, error))?;
        }
        match security {
            Security::Plain => Ok(tcp.into()),
            Security::Tls(tls) => PooledFuture::new(secure(tcp, tls, address)).await,
            Security::Missing => Err(ConnectError::NoTls(address)),
        }
    };
    match race(connect, sleep(timeout)).await {
        Either::First(result) => result,
        Either::Second(()) => Err(ConnectError::Timeout { address, after: timeout }),
    }
}

async fn secure(tcp: TcpStream, tls: &ClientTls, address: Address) -> Result<Stream, ConnectError> {
    let failed = |source| ConnectError::Tls { address, source };
    let stream = Stream::connect_tls(tcp, tls, address).map_err(failed)?;
    if let Some(session) = stream.as_tls() {
        let handshaken = session.handshake().await.map_err(failed)?;
        tls.accepts(handshaken).map_err(failed)?;
    }
    Ok(stream)
}
