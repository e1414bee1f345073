//! `[listener.NAME]`: where clients connect and what they may cost us.

use std::time::Duration;

use crate::base::{
    address::Address,
    cidr::Cidr,
    units::{ByteRate, Rate},
};

use super::admission::{AdmissionConfig, FlowLimits};
use super::tls::ListenerTls;
use super::xdp::PacketForward;

/// One listener; every shard listens on each of its addresses, unless its packets are forwarded.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerConfig {
    /// Name of the table.
    pub name: String,
    /// Addresses to bind; at least one, none used by another listener, ports are not 0.
    pub addresses: Vec<Address>,
    /// Mode of the files of its Unix sockets. Default: 0o666, as open as a port of this machine.
    pub socket_mode: u32,
    /// What is spoken. Default: [`Protocol::Http`].
    pub protocol: Protocol,
    /// How the fast path gets its packets to endpoints; then no shard listens. TCP and UDP only.
    /// Default (`None`): shards relay.
    pub forward: Option<PacketForward>,
    /// SYNs that are let through, 8/s to 10,000,000/s; the fast path drops more, or answers them
    /// with cookies where a shard listens. Default: unlimited.
    pub syn_rate: Option<Rate>,
    /// Which versions of HTTP are spoken, in our order of preference; none twice, at least one.
    /// Default: HTTP/1.1 only.
    ///
    /// Without TLS there is no negotiation: with HTTP/2 alone clients must know it beforehand
    /// (RFC 9113 §3.3), with both the first bytes of a connection decide.
    pub alpn: Vec<Alpn>,
    /// There exactly if the protocol is [`Protocol::Https`].
    pub tls: Option<ListenerTls>,
    /// Who may connect.
    pub admission: AdmissionConfig,
    /// Bounds of a UDP listener's flows.
    pub flows: FlowLimits,
    /// Whose forwarding headers are believed. Default: nobody's.
    pub trusted_proxies: Vec<Cidr>,
    /// Which forwarding headers are sent to endpoints. Default: [`Forwarded::XForwarded`].
    pub forwarded: Forwarded,
    /// Shape of the error pages we write ourselves. Default: [`ErrorFormat::Auto`].
    pub error_format: ErrorFormat,
    /// Whether CONNECT is let through to routes. Default: false, it gets 405.
    pub connect: bool,
    /// The port of HTTPS to which every request that came in the clear is sent (308), none: requests
    /// are answered. Default: none; `true` in the file is 443.
    pub redirect_https: Option<u16>,
    /// What one client may cost.
    pub limits: ListenerLimits,
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP in the clear.
    Http,
    /// HTTP over TLS.
    Https,
    /// Any TCP: connections are relayed as they are.
    Tcp,
    /// TLS that is passed through, routed by the client's first message.
    Tls,
    /// Any UDP: datagrams are relayed in flows.
    Udp,
}

/// Limits of one client connection. Times are never zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerLimits {
    /// From the first byte of a request to the end of its head. Default: 10 s.
    pub header_timeout: Duration,
    /// Longest pause between two pieces of a request's body. Default: 30 s.
    pub body_timeout: Duration,
    /// Longest time in which the client takes nothing of a response. Default: 30 s.
    pub write_timeout: Duration,
    /// Least speed at which a client must send its body and take a response; `None` asks for none.
    /// Only the time in which the client is waited for counts, and it may fall behind by two
    /// `body_timeout` (`write_timeout` for responses). Default: 240 B/s.
    pub min_rate: Option<ByteRate>,
    /// How long a kept-alive connection may sit between requests. Default: 75 s.
    pub idle: Duration,
    /// Largest request head in bytes, 1 KiB to 64 KiB; above it 431. Default: 32 KiB.
    pub headers: u32,
    /// Largest request body in bytes, above it 413; `None` is unlimited. Default: 10 MiB.
    pub body: Option<u64>,
    /// Most requests at a time on one HTTP/2 connection, 1 to 10000; more are refused so that
    /// they may be sent again. Default: 128.
    pub h2_streams: u32,
}

/// A version of HTTP, as ALPN names it (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// `h2`
    H2,
    /// `http/1.1`, and 1.0 with it
    Http11,
}

/// Which forwarding headers an endpoint gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Rfc7239,
    /// Both kinds.
    Both,
    /// None; those of untrusted clients are removed all the same.
    Off,
}

/// Shape of the error pages we write ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorFormat {
    /// JSON if the request's `Accept` prefers it, else text.
    Auto,
    /// Plain text.
    Text,
    /// JSON.
    Json,
}

/// The port of HTTPS.
pub const HTTPS_PORT: u16 = 443;

/// The largest `limits.headers` in bytes: what the codec takes.
pub const HEADERS_MAX: u32 = 64 * 1024;

/// The default of `socket_mode`.
pub(super) const SOCKET_MODE: u32 = 0o666;

impl ListenerConfig {
    /// A listener on these addresses with every default.
    pub fn new(name: String, addresses: Vec<impl Into<Address>>) -> Self {
        Self {
            name,
            addresses: addresses.into_iter().map(Into::into).collect(),
            socket_mode: SOCKET_MODE,
            protocol: Protocol::Http,
            forward: None,
            syn_rate: None,
            alpn: vec![Alpn::Http11],
            tls: None,
            admission: AdmissionConfig::default(),
            flows: FlowLimits::default(),
            trusted_proxies: Vec::new(),
            forwarded: Forwarded::XForwarded,
            error_format: ErrorFormat::Auto,
            connect: false,
            redirect_https: None,
            limits: ListenerLimits::default(),
        }
    }

    /// The addresses that shards listen on; none when packets are forwarded.
    #[must_use]
    pub fn bound_addresses(&self) -> &[Address] {
        if self.forward.is_some() { &[] } else { &self.addresses }
    }
}

impl Protocol {
    /// The words in the file.
    pub(super) const WORDS: [(&str, Self); 5] = [
        ("http", Self::Http),
        ("https", Self::Https),
        ("tcp", Self::Tcp),
        ("tls", Self::Tls),
        ("udp", Self::Udp),
    ];

    /// The word in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::WORDS.iter().find(|(_, own)| *own == self).map_or("", |(name, _)| name)
    }

    /// Whether its bytes are relayed without being understood.
    #[must_use]
    pub fn is_l4(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls | Self::Udp)
    }
}

impl Alpn {
    /// The words in the file, which are those on the wire.
    pub(super) const WORDS: [(&str, Self); 2] = [("h2", Self::H2), ("http/1.1", Self::Http11)];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::H2 => "h2",
            Self::Http11 => "http/1.1",
        }
    }
}

impl Forwarded {
    /// The words in the file.
    pub(super) const WORDS: [(&str, Self); 4] = [
        ("x-forwarded", Self::XForwarded),
        ("forwarded", Self::Rfc7239),
        ("both", Self::Both),
        ("off", Self::Off),
    ];
}

impl ErrorFormat {
    /// The words in the file.
    pub(super) const WORDS: [(&str, Self); 3] =
        [("auto", Self::Auto), ("text", Self::Text), ("json", Self::Json)];
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            min_rate: Some(ByteRate(240)),
            idle: Duration::from_secs(75),
            headers: 32 * 1024,
            body: Some(10 * 1024 * 1024),
            h2_streams: 128,
        }
    }
}
