//! What a handshake agreed on, or why it failed.

use std::io;

use rustls::{Error as TlsError, HandshakeKind, ProtocolVersion, SupportedCipherSuite};

use super::{client_cert::ClientCertificate, server::Policy};

/// What a handshake agreed on.
#[derive(Debug)]
pub struct Handshaken {
    /// The version of TLS.
    pub version: Version,
    /// The cipher suite, as IANA writes it.
    pub cipher: &'static str,
    /// Whether an earlier session was continued.
    pub is_resumed: bool,
    /// The application protocol; none when the client named none.
    pub alpn: Option<Box<[u8]>>,
    /// The name that the client asked for; none when it named none.
    pub server_name: Option<Box<str>>,
    /// What the client was asked for.
    pub policy: Policy,
    /// The certificate that the client has shown, verified.
    pub client: Option<Box<ClientCertificate>>,
}

/// The versions that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Version {
    /// As logs and metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }

    pub(super) fn of(version: Option<ProtocolVersion>) -> Self {
        if version == Some(ProtocolVersion::TLSv1_2) { Self::Tls12 } else { Self::Tls13 }
    }
}

pub(super) fn cipher_name(suite: Option<SupportedCipherSuite>) -> &'static str {
    suite.and_then(|suite| suite.suite().as_str()).unwrap_or("")
}

pub(super) fn is_resumed(kind: Option<HandshakeKind>) -> bool {
    kind == Some(HandshakeKind::Resumed)
}

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The connection ended or broke.
    #[error("the connection ended during the handshake")]
    Closed(#[source] Option<io::Error>),
    /// What came isn't right, or there is nothing in common.
    #[error("{0}")]
    Tls(#[from] TlsError),
}

/// Why handshakes fail, as metrics count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The other side closed or reset the connection.
    Closed,
    /// It took too long.
    Timeout,
    /// No version, cipher, group or application protocol in common.
    Incompatible,
    /// A certificate was missing or refused.
    Certificate,
    /// The other side refused us by an alert.
    Alert,
    /// What came isn't TLS, or breaks its rules.
    Malformed,
    /// No certificate for the name that was asked for.
    UnknownName,
    /// Too many handshakes at the same time.
    TooMany,
    /// Anything else.
    Internal,
}

impl Reason {
    /// Every reason, in the order of [`Reason::index`].
    pub const ALL: [Self; 9] = [
        Self::Closed,
        Self::Timeout,
        Self::Incompatible,
        Self::Certificate,
        Self::Alert,
        Self::Malformed,
        Self::UnknownName,
        Self::TooMany,
        Self::Internal,
    ];

    /// Its place among all.
    pub fn index(self) -> usize {
        Self::ALL.iter().position(|reason| *reason == self).unwrap_or(0)
    }

    /// As metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Incompatible => "incompatible",
            Self::Certificate => "certificate",
            Self::Alert => "alert",
            Self::Malformed => "malformed",
            Self::UnknownName => "unknown_name",
            Self::TooMany => "too_many",
            Self::Internal => "internal",
        }
    }
}

impl Failure {
    /// The same failure once more, for somebody else who met it.
    #[must_use]
    pub fn again(&self) -> Self {
        match self {
            Self::Closed(source) => {
                Self::Closed(source.as_ref().map(|source| source.kind().into()))
            }
            Self::Tls(error) => Self::Tls(error.clone()),
        }
    }

    /// Which of the reasons it is.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Closed(_) => Reason::Closed,
            Self::Tls(error) => match error {
                TlsError::PeerIncompatible(_) | TlsError::NoApplicationProtocol => {
                    Reason::Incompatible
                }
                TlsError::InvalidCertificate(_)
                | TlsError::NoCertificatesPresented
                | TlsError::InvalidCertRevocationList(_)
                | TlsError::UnsupportedNameType => Reason::Certificate,
                TlsError::AlertReceived(_) => Reason::Alert,
                TlsError::InappropriateMessage { .. }
                | TlsError::InappropriateHandshakeMessage { .. }
                | TlsError::InvalidMessage(_)
                | TlsError::PeerMisbehaved(_)
                | TlsError::DecryptError
                | TlsError::PeerSentOversizedRecord
                | TlsError::General(_) => Reason::Malformed,
                _ => Reason::Internal,
            },
        }
    }
}
