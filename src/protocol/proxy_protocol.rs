//! The PROXY protocol, versions 1 and 2: who a connection really comes from, said in a header
//! before its first byte.
//!
//! ```text
//!   v1   PROXY TCP4 203.0.113.7 192.0.2.1 51034 443\r\n                    a line, at most 107 bytes
//!   v2   signature (12) │ 2·command │ family·kind │ length (2) │ addresses │ TLV … │
//!                                                               └────── length ──────┘
//! ```
//! Parsing takes what has arrived so far and says what it is, that more is needed, or why it is
//! refused, at the first byte that shows it. Strict, since whoever may send such a header decides
//! what we believe: an address that isn't one, a port above 65535, a bare line feed or a wrong
//! checksum end the connection. Ranges point into the caller's bytes. From whom a header is taken
//! at all is the caller's to say.
//!
//! The specification: haproxy's `doc/proxy-protocol.txt`, versions 1 and 2.

mod encode;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

pub use encode::{Announcement, Transport, encode_local_v1, encode_local_v2, encode_v1, encode_v2};

use std::net::SocketAddr;
use std::ops::Range;

/// Which versions are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    /// The line only.
    V1,
    /// The binary header only.
    V2,
    /// Either; the first byte tells them apart.
    Both,
}

/// What the bytes so far are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// A whole header in the first `consumed` bytes.
    Complete {
        /// What it says.
        header: Header,
        /// Its length.
        consumed: usize,
    },
    /// The beginning of a header.
    Incomplete,
}

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// Client and the address it connected to. None when the sender speaks for itself (LOCAL, a
    /// health probe) or doesn't know (UNKNOWN, a Unix socket): the socket's own addresses hold.
    pub addresses: Option<Addresses>,
    /// The protocol that was negotiated by ALPN in front (`PP2_TYPE_ALPN`).
    pub alpn: Option<Range<usize>>,
    /// The name that the client asked for, its SNI (`PP2_TYPE_AUTHORITY`).
    pub authority: Option<Range<usize>>,
    /// The connection's id, at most 128 bytes (`PP2_TYPE_UNIQUE_ID`).
    pub unique_id: Option<Range<usize>>,
}

/// The two ends of the announced connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The client's.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
}

/// Why bytes are no header that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// They begin with neither `PROXY ` nor the signature of version 2.
    #[error("the connection doesn't begin with a PROXY header")]
    Missing,
    /// It is of a version that isn't accepted here.
    #[error("the PROXY header is of a version that isn't accepted here")]
    VersionRefused,
    /// Version 1: no line end within 107 bytes.
    #[error("the PROXY line is longer than 107 bytes")]
    LineTooLong,
    /// Version 1: not the words and numbers of the specification.
    #[error("the PROXY line is malformed")]
    LineMalformed,
    /// Version 2: a version, command, family or kind that doesn't exist.
    #[error("the PROXY header has an unknown version, command or address family")]
    Unknown,
    /// Version 2: the length is below that of the addresses, or a TLV runs over its end.
    #[error("the PROXY header's lengths contradict each other")]
    Truncated,
    /// Version 2: longer than [`LENGTH_MAX`].
    #[error("the PROXY header is longer than {LENGTH_MAX} bytes")]
    TooLong,
    /// Version 2: a TLV with a wrong length, or twice what may be there once.
    #[error("the PROXY header has a malformed TLV")]
    TlvMalformed,
    /// Version 2: the CRC-32C doesn't fit.
    #[error("the PROXY header's checksum is wrong")]
    ChecksumWrong,
}

/// Reads a header at the beginning of `bytes`.
///
/// # Errors
/// See [`HeaderError`]. An empty slice is incomplete.
pub fn parse(bytes: &[u8], accept: Accept) -> Result<Parsed, HeaderError> {
    let begins = |signature: &[u8]| {
        let known = bytes.len().min(signature.len());
        bytes.get(..known) == signature.get(..known)
    };
    if bytes.is_empty() {
        Ok(Parsed::Incomplete)
    } else if begins(v2::SIGNATURE) {
        if accept == Accept::V1 { Err(HeaderError::VersionRefused) } else { v2::parse(bytes) }
    } else if begins(v1::SIGNATURE) {
        if accept == Accept::V2 { Err(HeaderError::VersionRefused) } else { v1::parse(bytes) }
    } else {
        Err(HeaderError::Missing)
    }
}

/// Most bytes of a version 2 header behind its first 16: room for addresses, names and a client
/// certificate's subject; the format would allow 65535.
pub const LENGTH_MAX: usize = 4096;

/// Most bytes of any header that [`parse`] takes: what a reader needs room for.
pub const HEADER_MAX: usize = v2::FIXED + LENGTH_MAX;

const _: () = assert!(HEADER_MAX > v1::LINE_MAX);
