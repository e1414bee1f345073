//! Asks one endpoint once.
//!
//! The connection serves one question; the body of the answer is never waited for.

use std::{fmt::Write, io, ops::RangeInclusive};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::{
    base::{address::Address, units::format_duration},
    config::{HealthConfig, Probe, UpstreamProtocol},
    control::health_probe::ask_h2,
    protocol::{
        h1::{HeadLimits, Parsed, parse_response},
        http::{ResponseHead, Status},
    },
    transport::tls::{ClientTls, Conversation, Failure},
};

/// Longest response head.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Of a body no more is read.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Bytes that are decrypted at a time: a record and its beginning.
const TLS_READ: usize = 17 * 1024;

/// Informational responses before the final one.
const INTERIM_MAX: usize = 8;

/// Asks, after `preface`; says what it saw, good (`Ok`) or bad (`Err`), in words for the log. With
/// `tls` the handshake is part of the question.
pub(super) async fn ask(
    address: Address,
    preface: &[u8],
    health: &HealthConfig,
    tls: Option<&ClientTls>,
) -> Result<String, String> {
    let question = async {
        let mut line = Line::open(address, preface, tls).await?;
        match &health.probe {
            Probe::Tcp => Ok("connected".to_owned()),
            Probe::Http { path, host } => {
                let host = host.clone().unwrap_or_else(|| address.host());
                let is_h2 = match health.protocol {
                    UpstreamProtocol::Http11 => false,
                    UpstreamProtocol::H2 => true,
                    UpstreamProtocol::Auto => line.has_chosen_h2(),
                };
                let status = if is_h2 {
                    ask_h2::get(line, path, &host).await?
                } else {
                    get(&mut line, path, &host).await?
                };
                judge(status, &health.expect)
            }
            Probe::Grpc { service, host } => {
                if health.protocol == UpstreamProtocol::Auto && !line.has_chosen_h2() {
                    return Err("speaks no HTTP/2, which gRPC needs".to_owned());
                }
                let host = host.clone().unwrap_or_else(|| address.host());
                ask_h2::grpc(line, service, &host).await
            }
        }
    };
    let late = || Err(format!("timed out after {}", format_duration(health.timeout)));
    timeout(health.timeout, question).await.unwrap_or_else(|_| late())
}

/// A connected socket of either kind.
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    async fn connect(address: Address) -> io::Result<Self> {
        Ok(match address {
            Address::Ip(address) => Self::Tcp(TcpStream::connect(address).await?),
            Address::Unix(path) => Self::Unix(UnixStream::connect(path.as_str()).await?),
        })
    }

    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.write_all(bytes).await,
            Self::Unix(unix) => unix.write_all(bytes).await,
        }
    }

    async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.read(into).await,
            Self::Unix(unix) => unix.read(into).await,
        }
    }

    async fn read_buf(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.read_buf(into).await,
            Self::Unix(unix) => unix.read_buf(into).await,
        }
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.try_read(into),
            Self::Unix(unix) => unix.try_read(into),
        }
    }
}

/// A connection to an endpoint, encrypted or not.
pub(super) struct Line {
    socket: Socket,
    tls: Option<Conversation>,
}

impl Line {
    async fn open(
        address: Address,
        preface: &[u8],
        tls: Option<&ClientTls>,
    ) -> Result<Self, String> {
        let mut socket = Socket::connect(address).await.map_err(|error| connect_failed(&error))?;
        socket.write_all(preface).await.map_err(broken)?;
        let mut line = Self { socket, tls: None };
        if let Some(tls) = tls {
            let mut conversation = Conversation::new(tls, address).map_err(untrusted)?;
            let result = line.shake_hands(&mut conversation).await;
            // The handshake's end, or what is wrong with it.
            if let Some(last) = conversation.outgoing() {
                line.socket.write_all(&last).await.map_err(broken)?;
            }
            result?;
            line.tls = Some(conversation);
        }
        Ok(line)
    }

    async fn shake_hands(&mut self, conversation: &mut Conversation) -> Result<(), String> {
        let mut buffer = vec![0; TLS_READ];
        while conversation.is_handshaking() {
            if let Some(bytes) = conversation.outgoing() {
                self.socket.write_all(&bytes).await.map_err(broken)?;
            }
            let read = self.socket.read(&mut buffer).await.map_err(broken)?;
            if read == 0 {
                return Err("closed during the TLS handshake".to_owned());
            }
            let received = buffer.get_mut(..read).unwrap_or_default();
            conversation.receive(received).map_err(untrusted)?;
        }
        Ok(())
    }

    /// Whether the endpoint has chosen HTTP/2.
    fn has_chosen_h2(&self) -> bool {
        self.tls.as_ref().and_then(Conversation::alpn) == Some(b"h2")
    }

    /// Whether it is encrypted.
    pub(super) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sealed = match &mut self.tls {
            None => None,
            Some(tls) => Some(tls.seal(bytes).map_err(untrusted)?),
        };
        self.socket.write_all(sealed.as_deref().unwrap_or(bytes)).await.map_err(broken)
    }

    /// More bytes behind those in `into`; false at the end.
    pub(super) async fn receive(&mut self, into: &mut Vec<u8>) -> Result<bool, String> {
        let Some(tls) = &mut self.tls else {
            return Ok(self.socket.read_buf(into).await.map_err(broken)? > 0);
        };
        let mut buffer = vec![0; TLS_READ];
        loop {
            let plain = tls.plain().map_err(broken)?;
            if !plain.is_empty() {
                into.extend_from_slice(&plain);
                return Ok(true);
            }
            let read = self.socket.read(&mut buffer).await.map_err(broken)?;
            if read == 0 {
                return Ok(false);
            }
            tls.receive(buffer.get_mut(..read).unwrap_or_default()).map_err(untrusted)?;
        }
    }
}

fn broken(error: io::Error) -> String {
    format!("connection broke: {error}")
}

fn untrusted(error: Failure) -> String {
    format!("TLS failed: {error}")
}

fn connect_failed(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect refused".to_owned(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "no route to the host".to_owned()
        }
        _ => format!("connect failed: {error}"),
    }
}

/// Sends a GET and reads up to the final status.
async fn get(line: &mut Line, path: &str, host: &str) -> Result<Status, String> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ringway-health/{}\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    line.send(request.as_bytes()).await?;
    let limits = HeadLimits { bytes: HEAD_BYTES_MAX, ..HeadLimits::default() };
    let mut head = ResponseHead::new();
    let mut received = Vec::with_capacity(1024);
    let mut interims = 0;
    loop {
        let parsed = parse_response(&received, &limits, &mut head)
            .map_err(|error| format!("response isn't HTTP: {}", error.reason()))?;
        match parsed {
            Parsed::Complete { consumed } if head.status.is_informational() => {
                interims += 1;
                if interims > INTERIM_MAX {
                    return Err("no end of 1xx responses".to_owned());
                }
                received.drain(..consumed);
                head.clear();
            }
            Parsed::Complete { .. } => break,
            Parsed::Incomplete => {
                if !line.receive(&mut received).await? {
                    return Err("closed before a response".to_owned());
                }
            }
        }
    }
    discard_arrived(&line.socket);
    Ok(head.status)
}

/// Reads what of the body is there already: a small one came with its head, and closing with
/// unread bytes would be a reset that the endpoint may log. Nobody waits for a long one.
fn discard_arrived(socket: &Socket) {
    let mut scratch = [0; 4096];
    let mut left = BODY_BYTES_MAX;
    while let Ok(read @ 1..) = socket.try_read(&mut scratch) {
        left = left.saturating_sub(read);
        if left == 0 {
            return;
        }
    }
}

fn judge(status: Status, expect: &[RangeInclusive<u16>]) -> Result<String, String> {
    let code = status.code();
    if expect.iter().any(|range| range.contains(&code)) {
        return Ok(format!("status {code}"));
    }
    let mut text = format!("status {code}, expected ");
    for (i, range) in expect.iter().enumerate() {
        let comma = if i > 0 { ", " } else { "" };
        let written = if range.start() == range.end() {
            write!(text, "{comma}{}", range.start())
        } else {
            write!(text, "{comma}{}-{}", range.start(), range.end())
        };
        written.expect("writing to a String never fails");
    }
    Err(text)
}
