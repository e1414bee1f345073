//! One end of a TCP connection in a test: exact bytes out, exact bytes in, every wait bounded.
//!
//! The same for a client and for an endpoint; only the messages differ. Reads are buffered, so that
//! a head can be taken without what lies behind it.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

/// Longest wait for anything that must come. Long, because the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A message as it was on the wire, its body decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Start line and fields with their line ends, and the empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Fields behind the last chunk, as lines.
    pub(crate) trailers: String,
}

impl Message {
    /// The number in a status line.
    pub(crate) fn status(&self) -> u16 {
        status(&self.head)
    }

    /// The value of the only field `name`; none when there is no such field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }
}

/// The number in the status line of `head`.
pub(crate) fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{head:?}"))
}

/// The value of the only field `name` of `head`.
pub(crate) fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    let mut found = lines.filter(|(own, _)| own.eq_ignore_ascii_case(name));
    let first = found.next().map(|(_, value)| value.trim());
    assert!(found.next().is_none(), "several `{name}` in {head}");
    first
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    Reset,
    /// TLS, and no `close_notify` came before the end.
    Cut,
}

/// TLS on a connection, from either side.
#[derive(Debug)]
pub(crate) enum Tls {
    Client(rustls::ClientConnection),
    Server(rustls::ServerConnection),
}

trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

impl Tls {
    fn over<T>(&mut self, stream: &mut TcpStream, work: impl FnOnce(&mut dyn Both) -> T) -> T {
        match self {
            Self::Client(client) => work(&mut rustls::Stream::new(client, stream)),
            Self::Server(server) => work(&mut rustls::Stream::new(server, stream)),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    pub(crate) tls: Option<Box<Tls>>,
    buffered: Vec<u8>,
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect_timeout(&address, PATIENCE).unwrap())
    }

    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, tls: None, buffered: Vec::new() }
    }

    /// The same over TLS. The handshake comes with the first bytes.
    pub(crate) fn secure(stream: TcpStream, tls: Tls) -> Self {
        Self { tls: Some(Box::new(tls)), ..Self::new(stream) }
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.tls {
            None => self.stream.write_all(bytes),
            Some(tls) => tls.over(&mut self.stream, |io| io.write_all(bytes)),
        }
    }

    /// Sends all of `bytes`.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends `bytes` to somebody who may have closed already.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.write_all(bytes.as_ref()).is_ok()
    }

    /// Says that no more comes, as TLS does.
    pub(crate) fn say_goodbye(&mut self) {
        if let Some(Tls::Server(server)) = self.tls.as_deref_mut() {
            server.send_close_notify();
            while server.wants_write() {
                server.write_tls(&mut self.stream).unwrap();
            }
        }
    }

    /// Ends this side; the other may go on.
    pub(crate) fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Reads once more; 0 at the end.
    pub(crate) fn try_fill(&mut self) -> std::io::Result<usize> {
        let mut piece = [0; 65_536];
        let length = match &mut self.tls {
            None => self.stream.read(&mut piece),
            Some(tls) => tls.over(&mut self.stream, |io| io.read(&mut piece)),
        }?;
        self.buffered.extend_from_slice(&piece[..length]);
        Ok(length)
    }

    /// Reads once more; none at the end.
    #[track_caller]
    fn fill(&mut self) -> Result<usize, End> {
        match self.try_fill() {
            Ok(0) => Err(End::Closed),
            Ok(length) => Ok(length),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(End::Reset),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(End::Cut),
            Err(error) => panic!("{error}, after {:?}", text(&self.buffered)),
        }
    }

    /// Takes everything up to and with `end`.
    #[track_caller]
    pub(crate) fn until(&mut self, end: &[u8]) -> String {
        let mut seen = 0_usize;
        loop {
            let from = seen.saturating_sub(end.len());
            let at = self.buffered[from..].windows(end.len()).position(|part| part == end);
            if let Some(at) = at {
                let rest = self.buffered.split_off(from + at + end.len());
                let taken = std::mem::replace(&mut self.buffered, rest);
                return String::from_utf8(taken).unwrap();
            }
            seen = self.buffered.len();
            if let Err(ended) = self.fill() {
                panic!("{ended:?} before {:?}: {:?}", text(end), text(&self.buffered));
            }
        }
    }

    /// Takes a head.
    #[track_caller]
    pub(crate) fn head(&mut self) -> String {
        self.until(b"\r\n\r\n")
    }

    /// Takes exactly `length` bytes.
    #[track_caller]
    pub(crate) fn exact(&mut self, length: usize) -> Vec<u8> {
        while self.buffered.len() < length {
            if let Err(ended) = self.fill() {
                panic!(
                    "{ended:?} after {} of {length}: {:?}",
                    self.buffered.len(),
                    text(&self.buffered)
                );
            }
        }
        let rest = self.buffered.split_off(length);
        std::mem::replace(&mut self.buffered, rest)
    }

    /// What comes next, however much it is.
    #[track_caller]
    pub(crate) fn piece(&mut self) -> Result<Vec<u8>, End> {
        self.piece_within(usize::MAX)
    }

    /// The same, `most` bytes of it.
    #[track_caller]
    pub(crate) fn piece_within(&mut self, most: usize) -> Result<Vec<u8>, End> {
        if self.buffered.is_empty() {
            self.fill()?;
        }
        let rest = self.buffered.split_off(most.min(self.buffered.len()));
        Ok(std::mem::replace(&mut self.buffered, rest))
    }

    /// Takes exactly `length` bytes; none when the connection ends before.
    #[track_caller]
    pub(crate) fn try_exact(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffered.len() < length {
            self.fill().ok()?;
        }
        let rest = self.buffered.split_off(length);
        Some(std::mem::replace(&mut self.buffered, rest))
    }

    /// Asserts that exactly `bytes` come next.
    #[track_caller]
    pub(crate) fn expect(&mut self, bytes: &str) {
        let got = self.exact(bytes.len());
        assert_eq!(text(&got), bytes);
    }

    /// Takes a message: a request or, with `has_body` false where its status or method has none, a
    /// response.
    #[track_caller]
    fn message(&mut self, is_response: bool, has_body: bool) -> Message {
        let head = self.head();
        let mut message = Message { head, body: Vec::new(), trailers: String::new() };
        if !has_body {
            return message;
        }
        if message.field("transfer-encoding").is_some() {
            loop {
                let line = self.until(b"\r\n");
                let length = usize::from_str_radix(line.trim_end(), 16).unwrap();
                if length == 0 {
                    break;
                }
                let data = self.exact(length);
                message.body.extend(data);
                self.expect("\r\n");
            }
            loop {
                let line = self.until(b"\r\n");
                if line == "\r\n" {
                    break;
                }
                message.trailers.push_str(&line);
            }
        } else if let Some(length) = message.field("content-length") {
            let length = length.parse().unwrap();
            message.body = self.exact(length);
        } else if is_response {
            let (body, end) = self.rest();
            assert_eq!(end, End::Closed, "a body that ends with its connection ends well");
            message.body = body;
        }
        message
    }

    /// Takes a request with its body.
    #[track_caller]
    pub(crate) fn request(&mut self) -> Message {
        self.message(false, true)
    }

    /// Takes a response with its body.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Message {
        self.message(true, true)
    }

    /// Takes a response that has no body, whatever its head says.
    #[track_caller]
    pub(crate) fn bodiless(&mut self) -> Message {
        self.message(true, false)
    }

    /// Everything until the connection ends, and how it ends.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Err(end) = self.fill() {
                return (std::mem::take(&mut self.buffered), end);
            }
        }
    }

    /// Asserts that nothing more comes, and that the connection ends, one way or the other.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> End {
        let (rest, end) = self.rest();
        assert_eq!(text(&rest), "", "nothing more");
        end
    }

    /// Asserts that the connection ends without a reset, with nothing more on it.
    #[track_caller]
    pub(crate) fn closed(&mut self) {
        assert_eq!(self.ended(), End::Closed);
    }

    /// Sends a request and takes its response.
    #[track_caller]
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Message {
        self.send(request);
        self.response()
    }

    /// `GET path` on a connection that stays.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Message {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: example.com\r\n\r\n"))
    }
}

fn text(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(2000)];
    String::from_utf8_lossy(shown).into_owned()
}
