//! What serves a connection: the TCP twin of the filter API.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{error::Error, shard::Shard};
use crate::{
    base::address::Address,
    protocol::client_hello::ClientHello,
    runtime::{Expired, PooledFuture, TcpStream, Timer},
    transport::{
        front::{self, FrontError, TakenHeader},
        relay::Moved,
    },
};

/// Serves client connections of one listener on one shard. State is a `Cell`: nothing here is
/// `Send`, and the future is dropped when the server stops.
///
/// ```
/// use ringway::l4::{ConnectionHandler, Downstream, Error, Forward};
///
/// /// SSH and everything else on one port.
/// struct ByFirstBytes {
///     ssh: Forward,
///     web: Forward,
/// }
///
/// impl ConnectionHandler for ByFirstBytes {
///     async fn serve(&self, client: &Downstream) -> Result<(), Error> {
///         let first = client.look(4).await?;
///         let upstream = if first.starts_with(b"SSH-") { &self.ssh } else { &self.web };
///         upstream.relay(client).await
///     }
/// }
/// ```
pub trait ConnectionHandler {
    /// Serves one connection to its end. An error is counted and logged; the connection is reset.
    fn serve(&self, client: &Downstream) -> impl Future<Output = Result<(), Error>>;
}

/// One that several hold.
impl<H: ConnectionHandler> ConnectionHandler for Rc<H> {
    async fn serve(&self, client: &Downstream) -> Result<(), Error> {
        (**self).serve(client).await
    }
}

/// A [`ConnectionHandler`] behind a pointer. Every handler is one.
pub trait DynConnectionHandler {
    /// As [`ConnectionHandler::serve`]; the future's memory comes from the shard's free lists.
    fn serve_boxed<'a>(&'a self, client: &'a Downstream) -> PooledFuture<'a, Result<(), Error>>;
}

impl<H: ConnectionHandler> DynConnectionHandler for H {
    fn serve_boxed<'a>(&'a self, client: &'a Downstream) -> PooledFuture<'a, Result<(), Error>> {
        PooledFuture::new(self.serve(client))
    }
}

/// One client's connection, accepted and admitted.
#[derive(Debug)]
pub struct Downstream {
    pub(super) stream: TcpStream,
    pub(super) client: SocketAddr,
    pub(super) header: Option<TakenHeader>,
    pub(super) hello: RefCell<Option<Rc<ClientHello>>>,
    pub(super) first_bytes: Duration,
    pub(super) id: u128,
    pub(super) started: Instant,
    pub(super) moved: Moved,
    pub(super) trace: Trace,
    pub(super) shard: Rc<Shard>,
}

/// What is told when the connection is over.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) route: Cell<Option<usize>>,
    pub(super) upstream: RefCell<Option<Rc<str>>>,
    pub(super) endpoint: Cell<Option<Address>>,
    pub(super) attempts: Cell<u32>,
    /// From accept to a connected endpoint.
    pub(super) connected: Cell<Option<Duration>>,
}

impl Downstream {
    /// The client's address: the one that a PROXY header named, or the socket's.
    #[must_use]
    pub fn client_addr(&self) -> SocketAddr {
        self.client
    }

    /// Where the client connected to: as a PROXY header says, or the socket's own address.
    ///
    /// # Errors
    /// Those of `getsockname(2)`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let announced = self.header.as_ref().and_then(|taken| taken.header.addresses);
        announced.map_or_else(|| self.stream.local_addr(), |addresses| Ok(addresses.destination))
    }

    /// When it was accepted.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The connection itself, for protocols of one's own.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Looks at the connection's first bytes without taking them: at least `count` of them, at most
    /// 16 KiB, fewer if the client ends its stream before. Within the listener's
    /// `limits.header_timeout`.
    ///
    /// # Errors
    /// [`Error::Front`]: it took too long, or the connection failed.
    pub async fn look(&self, count: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; LOOK_MAX];
        let wanted = count.clamp(1, LOOK_MAX);
        let timer = Timer::new();
        timer.set_after(self.first_bytes);
        let looked = timer.guard(async {
            let mut seen = 0;
            while seen < wanted {
                match front::look(&self.stream, &mut bytes, wanted - 1).await? {
                    Some(found) => seen = found,
                    None => break,
                }
            }
            Ok::<_, io::Error>(self.stream.peek(&mut bytes).unwrap_or(seen))
        });
        let found = match looked.await {
            Ok(found) => found.map_err(FrontError::Io)?,
            Err(Expired) => return Err(FrontError::Timeout(self.first_bytes).into()),
        };
        self.stream.look_is_over().map_err(FrontError::Io)?;
        bytes.truncate(found);
        Ok(bytes)
    }

    /// The client's TLS hello, looked at once and left where it is.
    ///
    /// # Errors
    /// [`Error::Front`]: there is none, or it didn't come in time.
    pub async fn client_hello(&self) -> Result<Rc<ClientHello>, Error> {
        if let Some(known) = &*self.hello.borrow() {
            return Ok(Rc::clone(known));
        }
        let hello = front::look_at_client_hello(&self.stream, self.first_bytes).await?;
        let hello = Rc::new(hello);
        *self.hello.borrow_mut() = Some(Rc::clone(&hello));
        Ok(hello)
    }

    /// Bytes from the client so far, and to it.
    #[must_use]
    pub fn moved(&self) -> &Moved {
        &self.moved
    }
}

/// The most that one can look at.
const LOOK_MAX: usize = 16 << 10;
