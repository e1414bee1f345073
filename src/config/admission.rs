//! Who may connect to a listener, how often, and what stands before a connection's own bytes: keys
//! of `[listener.NAME]` that hold for every protocol.

use crate::base::{cidr::Cidr, units::Rate};

/// Whom a listener lets in. Checked before TLS and before any byte of a protocol.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AdmissionConfig {
    /// Only these may connect; empty (default): everybody.
    pub allow: Vec<Cidr>,
    /// These may not, even if `allow` lists them. Default: nobody.
    pub deny: Vec<Cidr>,
    /// Most connections of the listener at a time, over all shards. Default: unlimited.
    pub connections: Option<u32>,
    /// Most connections of one client at a time, over all shards: an IPv4 address, or the /64 of
    /// an IPv6 address. Default: unlimited.
    pub connections_per_ip: Option<u32>,
    /// Most new connections, all clients together. Default: unlimited.
    pub new_connections: Option<Rate>,
    /// Most new connections of one client. Default: unlimited.
    pub new_connections_per_ip: Option<Rate>,
    /// The PROXY header that connections begin with. Default: none.
    pub proxy_protocol: Option<ProxyHeader>,
}

/// The PROXY header that connections of some sources begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Which versions are taken.
    pub accept: ProxyVersions,
    /// From whom a header is taken; at least one block. Nobody else's first bytes are looked at.
    pub from: Vec<Cidr>,
    /// Default: true: connections without a header are refused, and so are those of everybody
    /// else. If false, listed sources may do without, and others are served as themselves.
    pub required: bool,
}

/// Versions of the PROXY protocol that are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersions {
    /// The line of text.
    V1,
    /// The binary header.
    V2,
    /// Either.
    Both,
}

/// The version of the PROXY protocol that endpoints get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// The line of text: addresses only.
    V1,
    /// The binary header, with ALPN, server name, connection id and checksum.
    V2,
}

/// Bounds of a UDP listener's table of flows, on each shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowLimits {
    /// Most flows at a time, 1 to 1,000,000. Each has a socket. Default: 4096.
    pub flows: u32,
    /// A flow ends after so many replies to each request, 1 to 100. Default: only by silence.
    pub replies: Option<u32>,
}

impl AdmissionConfig {
    /// Whether it lets everybody in without looking.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }
}

impl ProxyVersions {
    /// The words in the file.
    pub(super) const WORDS: [(&str, Self); 3] =
        [("v1", Self::V1), ("v2", Self::V2), ("v1+v2", Self::Both)];
}

impl ProxyVersion {
    /// The words in the file.
    pub(super) const WORDS: [(&str, Self); 2] = [("v1", Self::V1), ("v2", Self::V2)];
}

impl Default for FlowLimits {
    fn default() -> Self {
        Self { flows: 4096, replies: None }
    }
}
