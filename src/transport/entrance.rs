//! From an accepted connection to an admitted one: whose it is, and whether it may be.
//!
//! ```text
//!   accepted ─▶ may its source announce others? ─yes─▶ PROXY header ─▶ the client it names ─┐
//!                        └no─▶ required? ─yes─▶ refused                                      ▼
//!                                  └no─▶ the source itself ────────────────────────────▶ Gate ─▶ Entry
//! ```
//! Lists and limits hold for the client that was announced, so that a balancer in front counts as
//! all its clients and not as one. The same for L4 and L7.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use super::{
    admission::{Gate, Pass, Refusal},
    counters::ListenerCounters,
    front::{Demand, FrontError, TakenHeader, read_proxy_header},
};
use crate::{
    config::ProxyVersions,
    protocol::proxy_protocol::Accept,
    runtime::{self, TcpStream},
};

/// The way into one listener.
#[derive(Debug, Clone)]
pub struct Entrance {
    /// Lists and limits.
    pub gate: Arc<Gate>,
    /// How long a PROXY header may take.
    pub first_bytes: Duration,
}

/// An admitted connection.
#[derive(Debug)]
pub struct Entry {
    /// Its place, to be held as long as it lasts.
    pub pass: Pass,
    /// The client: announced, or the other side of the socket.
    pub client: SocketAddr,
    /// The PROXY header, if there was one.
    pub header: Option<TakenHeader>,
}

/// Why a connection may not come in.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// It isn't let in.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It should begin with a PROXY header.
    #[error(transparent)]
    Front(#[from] FrontError),
}

impl EntryError {
    /// Counts it at its listener.
    pub fn count(&self, counters: &ListenerCounters) {
        let counter = match self {
            Self::Refused(Refusal::Denied) => &counters.denied,
            Self::Refused(Refusal::OverConnections) => &counters.over_connections,
            Self::Refused(Refusal::OverRate) => &counters.over_rate,
            Self::Front(_) => &counters.bad_headers,
        };
        counter.increment();
    }
}

impl Entrance {
    /// Whether everybody comes in without a look.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.gate.config().is_open()
    }

    /// Lets a connection in.
    ///
    /// # Errors
    /// Why not; it is to be reset.
    pub async fn enter(&self, stream: &TcpStream, source: SocketAddr) -> Result<Entry, EntryError> {
        let header = self.header(stream, source.ip()).await?;
        let announced = header.as_ref().and_then(|taken| taken.header.addresses);
        let client = announced.map_or(source, |addresses| addresses.source);
        let pass = self.gate.admit(client.ip(), runtime::now())?;
        Ok(Entry { pass, client, header })
    }

    async fn header(
        &self,
        stream: &TcpStream,
        source: IpAddr,
    ) -> Result<Option<TakenHeader>, EntryError> {
        let Some(rules) = &self.gate.config().proxy_protocol else { return Ok(None) };
        if !rules.from.iter().any(|block| block.contains(source)) {
            return if rules.required { Err(Refusal::Denied.into()) } else { Ok(None) };
        }
        let accept = match rules.accept {
            ProxyVersions::V1 => Accept::V1,
            ProxyVersions::V2 => Accept::V2,
            ProxyVersions::Both => Accept::Both,
        };
        let demand = if rules.required { Demand::Required } else { Demand::Optional };
        Ok(read_proxy_header(stream, accept, demand, self.first_bytes).await?)
    }
}
