//! What stands before a connection's own bytes: a PROXY header, a TLS client's first message.
//!
//! ```text
//!   socket │ PROXY header │ ClientHello │ …          read_proxy_header takes the header, exactly
//!                         └── look_at_client_hello leaves everything where it is
//! ```
//! Both read by looking first, so that what follows is untouched and the next reader, whatever it
//! is, begins at its own first byte. Bounded in bytes by the parsers and in time by the caller's
//! deadline.

use std::{io, time::Duration};

use crate::{
    protocol::{
        client_hello::{ClientHello, HELLO_MAX, HelloError, Sniffer},
        proxy_protocol::{self, Accept, HEADER_MAX, Header, HeaderError, Parsed},
    },
    runtime::{self, Expired, TcpStream, Timer},
};

/// Why a connection's front could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// No PROXY header that is taken.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// No ClientHello.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// It didn't come in time.
    #[error("the connection's first bytes didn't come within {0:?}")]
    Timeout(Duration),
    /// The client ended the connection before it was whole.
    #[error("the connection ended before its first bytes were whole")]
    Ended,
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

impl FrontError {
    /// One word for logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Header(_) => "bad_proxy_header",
            Self::Hello(_) => "bad_client_hello",
            Self::Timeout(_) => "client_timeout",
            Self::Ended | Self::Io(_) => "client_closed",
        }
    }
}

/// A PROXY header that was taken off a connection.
#[derive(Debug, Default)]
pub struct TakenHeader {
    /// What it says; ranges point into `bytes`.
    pub header: Header,
    /// The header itself.
    pub bytes: Vec<u8>,
}

/// Whether a connection must begin with a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Without one it is refused.
    Required,
    /// It may begin with its own bytes, or with none: a client that waits for the other side to
    /// speak first is let through when the time for a header is over.
    Optional,
}

/// Takes the PROXY header off `stream`, within `limit`. `None`: there is none, and none was
/// required.
///
/// # Errors
/// See [`FrontError`]; the connection is to be closed.
pub async fn read_proxy_header(
    stream: &TcpStream,
    accept: Accept,
    demand: Demand,
    limit: Duration,
) -> Result<Option<TakenHeader>, FrontError> {
    let timer = Timer::new();
    timer.set_after(limit);
    match timer.guard(take_header(stream, accept, demand)).await {
        Ok(taken) => taken,
        Err(Expired) => {
            stream.look_is_over()?;
            match (demand, stream.peek(&mut [0])) {
                (Demand::Optional, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    Ok(None)
                }
                _ => Err(FrontError::Timeout(limit)),
            }
        }
    }
}

async fn take_header(
    stream: &TcpStream,
    accept: Accept,
    demand: Demand,
) -> Result<Option<TakenHeader>, FrontError> {
    let mut bytes = vec![0; HEADER_MAX];
    let mut seen = 0;
    loop {
        let Some(found) = look(stream, &mut bytes, seen).await? else {
            return Err(FrontError::Ended);
        };
        match proxy_protocol::parse(&bytes[..found], accept) {
            Ok(Parsed::Complete { header, consumed }) => {
                bytes.truncate(consumed);
                stream.look_is_over()?;
                // They are there: they have been looked at.
                let taken = stream.take_now(&mut bytes)?;
                debug_assert_eq!(taken, consumed, "what was looked at can be taken");
                return Ok(Some(TakenHeader { header, bytes }));
            }
            Ok(Parsed::Incomplete) => seen = found,
            Err(HeaderError::Missing) if demand == Demand::Optional => {
                stream.look_is_over()?;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Looks at the ClientHello at the front of `stream`, within `limit`, and leaves it there.
///
/// # Errors
/// See [`FrontError`].
pub async fn look_at_client_hello(
    stream: &TcpStream,
    limit: Duration,
) -> Result<ClientHello, FrontError> {
    let timer = Timer::new();
    timer.set_after(limit);
    let looked = timer.guard(sniff(stream)).await;
    looked.map_err(|Expired| FrontError::Timeout(limit)).flatten()
}

async fn sniff(stream: &TcpStream) -> Result<ClientHello, FrontError> {
    let mut bytes = vec![0; HELLO_MAX];
    let mut sniffer = Sniffer::new();
    let mut seen = 0;
    loop {
        let Some(found) = look(stream, &mut bytes, seen).await? else {
            return Err(FrontError::Ended);
        };
        if let Some(hello) = sniffer.push(&bytes[seen..found])? {
            stream.look_is_over()?;
            return Ok(hello);
        }
        seen = found;
    }
}

/// How long a Unix socket, whose readiness doesn't tell of more bytes, is left alone.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Waits until more than `seen` bytes are there and looks at them; returns how many. `None`: there
/// will be no more.
pub(crate) async fn look(
    stream: &TcpStream,
    bytes: &mut [u8],
    seen: usize,
) -> Result<Option<usize>, io::Error> {
    let mut has_ended = false;
    loop {
        stream.await_bytes(seen + 1).await?;
        match stream.peek(bytes) {
            Ok(found) if found > seen => return Ok(Some(found)),
            Ok(_) if has_ended => return Ok(None),
            Ok(_) => {
                // Asked before the next look, so that nothing can come in between.
                has_ended = stream.has_ended();
                if !has_ended {
                    runtime::sleep(LOOK_AGAIN).await;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
