//! Whom a request came from, as the exchange that answers it sees it: the same few verbs for every
//! protocol version. Responses are written by the version's own file; this is what happens before.

use std::rc::Rc;

use crate::{
    protocol::{
        h1::{self, ConnectionHeader},
        http::{Framing, ResponseHead, Version},
    },
    proxy::{Connection, Error, ListenerRules, recycle, shard::Shard},
    runtime::{SendBuf, Timer},
};

/// The client's end of an exchange.
#[derive(Debug, Clone)]
pub(in crate::proxy) enum Downstream {
    /// A connection that carries one exchange at a time.
    H1(Rc<Connection>),
}

impl Downstream {
    /// The shard that it came in by.
    pub(in crate::proxy) fn shard(&self) -> &Shard {
        match self {
            Self::H1(connection) => &connection.shard,
        }
    }

    /// A timer that is in the wheel already and serves all exchanges of a connection in turn.
    pub(in crate::proxy) fn upstream_timer(&self) -> &Timer {
        match self {
            Self::H1(connection) => &connection.upstream_timer,
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
                connection.send(bytes, listener).await.map(drop)
            }
            Self::H1(_) => Ok(()),
        }
    }

    /// Tells a client that waits for it to send its body (RFC 9110 §10.1.1).
    ///
    /// # Errors
    /// The client has gone, or takes nothing.
    pub(in crate::proxy) async fn go_on(&self, listener: &ListenerRules) -> Result<(), Error> {
        match self {
            Self::H1(connection) => {
                let go_on = SendBuf::Static(b"HTTP/1.1 100 Continue\r\n\r\n");
                connection.send(go_on, listener).await.map(drop)
            }
        }
    }
}
