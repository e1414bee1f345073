//! Whom a request came from, as the exchange that answers it sees it: the same few verbs for every
//! protocol version. Responses are written by the version's own file; this is what happens before.

use std::{net::SocketAddr, rc::Rc};

use crate::{
    protocol::{
        h1::{self, ConnectionHeader},
        h2::EndStream,
        http::{Framing, ResponseHead, Status, Version},
    },
    proxy::{
        Connection, Error, ListenerRules, Pooled, Scheme, deadline::Late, h2::Stream, recycle,
        shard::Shard,
    },
    runtime::Timer,
};

/// The client's end of an exchange.
#[derive(Debug, Clone)]
pub(in crate::proxy) enum Downstream {
    /// A connection that carries one exchange at a time.
    H1(Rc<Connection>),
    /// One of the streams of a connection.
    H2(Rc<Connection>, Rc<Stream>),
}

impl Downstream {
    /// The client's connection.
    pub(in crate::proxy) fn connection(&self) -> &Rc<Connection> {
        match self {
            Self::H1(connection) | Self::H2(connection, _) => connection,
        }
    }

    /// The client's socket address.
    pub(in crate::proxy) fn client(&self) -> SocketAddr {
        self.connection().client
    }

    /// How its connection was made.
    pub(in crate::proxy) fn scheme(&self) -> Scheme {
        self.connection().scheme()
    }

    /// The shard that it came in by.
    pub(in crate::proxy) fn shard(&self) -> &Shard {
        &self.connection().shard
    }

    /// Where the client connected to.
    ///
    /// # Errors
    /// Those of `getsockname(2)`.
    pub(in crate::proxy) fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.connection().stream.local_addr()
    }

    /// A timer that is in the wheel already and serves all exchanges of a connection in turn.
    pub(in crate::proxy) fn upstream_timer(&self) -> &Timer {
        match self {
            Self::H1(connection) => &connection.upstream_timer,
            Self::H2(_, stream) => &stream.upstream_timer,
        }
    }

    /// Passes an interim response on to a client of `version` that can understand it (RFC 9110
    /// §15.2).
    ///
    /// # Errors
    /// The client has gone, or takes nothing.
    pub(in crate::proxy) async fn interim(
        &self,
        head: &ResponseHead,
        version: Version,
        listener: &ListenerRules,
    ) -> Result<(), Error> {
        match self {
            Self::H1(connection) if version != Version::Http10 => {
                let mut bytes = recycle::take_bytes();
                let fate = ConnectionHeader::Implied;
                h1::encode_response(head, Framing::None, fate, None, &mut bytes);
                let sent = connection.send(bytes, listener).await;
                connection.watch();
                sent.map(drop)
            }
            Self::H1(_) => Ok(()),
            Self::H2(_, stream) => interim(stream, head),
        }
    }

    /// Whom the exchange waits for, if it is the client.
    pub(in crate::proxy) fn late(&self) -> Late {
        match self {
            Self::H1(connection) => connection.late(),
            Self::H2(_, stream) => stream.late(),
        }
    }

    /// Whether the client waits for `100 Continue`, and nobody has told it yet.
    pub(in crate::proxy) fn wants_continue(&self) -> bool {
        match self {
            Self::H1(connection) => connection.wants_continue.get(),
            Self::H2(_, stream) => stream.wants_continue.get(),
        }
    }

    /// Tells a client that waits for it to send its body (RFC 9110 §10.1.1), once.
    ///
    /// # Errors
    /// The client has gone, or takes nothing.
    pub(in crate::proxy) async fn go_on(&self, listener: &ListenerRules) -> Result<(), Error> {
        match self {
            Self::H1(connection) => connection.invite(listener.write_timeout).await,
            Self::H2(_, stream) if stream.wants_continue.replace(false) => go_on(stream),
            Self::H2(..) => Ok(()),
        }
    }
}

/// Tells the client of a stream to send its body.
pub(in crate::proxy) fn go_on(stream: &Stream) -> Result<(), Error> {
    let mut head = Pooled::<ResponseHead>::take();
    head.status = Status::CONTINUE;
    interim(stream, &head)
}

/// An interim response on a stream; one that is over needs none.
fn interim(stream: &Stream, head: &ResponseHead) -> Result<(), Error> {
    match stream.send_response(head, Framing::None, None, EndStream::No) {
        Ok(()) => Ok(()),
        Err(_) => Err(Error::ClientClosed),
    }
}
