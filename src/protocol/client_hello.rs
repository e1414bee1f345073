//! Reads the first message of a TLS client without answering it: whom does it want (SNI), what
//! does it speak (ALPN). For routing connections that are not terminated here.
//!
//! ```text
//!   bytes as they come ─▶ records (5 + n) ─▶ handshake message (4 + n) ─▶ extensions ─▶ ClientHello
//!                          a message may lie in many records, a record in many segments
//! ```
//! [`Sniffer::push`] looks at every byte once, whatever the pieces, and keeps the message alone:
//! at most [`HELLO_MAX`] bytes, records' heads included. What it doesn't know it passes over:
//! GREASE (RFC 8701), key shares of any size, extensions to come. Of an encrypted ClientHello
//! (ECH) it sees the outer one, whose name is the one to route by. What breaks the format is
//! refused, at the first byte that shows it.
//!
//! It decides nothing about versions or ciphers and verifies nothing: that is the endpoint's.
//! RFC 8446 §4.1.2 and §5.1, RFC 6066 §3, RFC 7301 §3.1.

#[cfg(test)]
mod tests;

/// What a ClientHello says that one can route by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientHello {
    /// The host that it wants, in lower case; none if it doesn't say.
    pub server_name: Option<String>,
    /// The protocols that it offers, in its order; GREASE values are left out.
    pub alpn: Vec<Vec<u8>>,
    /// It has an encrypted ClientHello inside: `server_name` is the public name of whoever can
    /// read it.
    pub has_ech: bool,
}

/// Why bytes are no ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Something else than a TLS handshake record.
    #[error("the connection doesn't begin with a TLS handshake")]
    NotTls,
    /// A record that is empty or longer than TLS allows.
    #[error("a TLS record has an invalid length")]
    RecordLength,
    /// The first handshake message is another one.
    #[error("the first TLS message isn't a ClientHello")]
    NotClientHello,
    /// It doesn't fit into [`HELLO_MAX`].
    #[error("the ClientHello is longer than {HELLO_MAX} bytes")]
    TooLong,
    /// Lengths inside contradict each other, or what may be there once is there twice.
    #[error("the ClientHello is malformed")]
    Malformed,
    /// The server name isn't a host name.
    #[error("the ClientHello asks for something that isn't a host name")]
    NameInvalid,
}

/// Reads a ClientHello piece by piece.
#[derive(Debug, Default)]
pub struct Sniffer {
    /// The record's head, as far as it is here.
    head: [u8; RECORD_HEAD],
    head_len: usize,
    /// Bytes of the record that are still to come.
    record_left: usize,
    /// The handshake message so far, with its head of 4 bytes.
    message: Vec<u8>,
    /// Bytes looked at.
    seen: usize,
}

impl Sniffer {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes; `Some` when the message is whole. What follows it in `bytes` isn't
    /// looked at. Nothing is to be pushed after that, or after an error.
    ///
    /// # Errors
    /// See [`HelloError`].
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Option<ClientHello>, HelloError> {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.record_left == 0 {
                if self.seen >= HELLO_MAX {
                    return Err(HelloError::TooLong);
                }
                self.push_head(first)?;
                bytes = rest;
                continue;
            }
            let needed = self.needed();
            let take = bytes.len().min(self.record_left).min(needed - self.message.len());
            if self.seen + take > HELLO_MAX {
                return Err(HelloError::TooLong);
            }
            let (taken, rest) = bytes.split_at(take);
            self.message.extend_from_slice(taken);
            self.seen += take;
            self.record_left -= take;
            bytes = rest;
            self.check_message()?;
            if self.message.len() > MESSAGE_HEAD && self.message.len() == self.needed() {
                let body = self.message.get(MESSAGE_HEAD..).unwrap_or_default();
                return client_hello(body).map(Some);
            }
        }
        Ok(None)
    }

    /// One byte of a record's head, judged when it is there.
    fn push_head(&mut self, byte: u8) -> Result<(), HelloError> {
        if let Some(place) = self.head.get_mut(self.head_len) {
            *place = byte;
        }
        self.head_len += 1;
        self.seen += 1;
        let [kind, major, _, high, low] = self.head;
        match self.head_len {
            1 if kind != CONTENT_HANDSHAKE => Err(HelloError::NotTls),
            2 if major != VERSION_MAJOR => Err(HelloError::NotTls),
            RECORD_HEAD => {
                self.head_len = 0;
                self.record_left = usize::from(u16::from_be_bytes([high, low]));
                // Handshake records are never empty (RFC 8446 §5.1).
                let is_valid = (1..=RECORD_MAX).contains(&self.record_left);
                if is_valid { Ok(()) } else { Err(HelloError::RecordLength) }
            }
            _ => Ok(()),
        }
    }

    /// How long the message is to become, as far as one can tell; its head comes first.
    fn needed(&self) -> usize {
        match self.message.first_chunk() {
            Some(&[_, a, b, c]) => {
                MESSAGE_HEAD
                    + usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(HELLO_MAX)
            }
            None => MESSAGE_HEAD,
        }
    }

    fn check_message(&self) -> Result<(), HelloError> {
        if self.message.first().is_some_and(|&kind| kind != HANDSHAKE_CLIENT_HELLO) {
            return Err(HelloError::NotClientHello);
        }
        if self.message.len() < MESSAGE_HEAD {
            return Ok(());
        }
        match self.needed() {
            MESSAGE_HEAD => Err(HelloError::Malformed),
            length if length > HELLO_MAX => Err(HelloError::TooLong),
            _ => Ok(()),
        }
    }
}

/// Reads the message's body.
fn client_hello(body: &[u8]) -> Result<ClientHello, HelloError> {
    let mut body = Reader(body);
    body.take(2 + 32)?; // legacy_version, random
    body.block8()?; // legacy_session_id
    body.block16()?; // cipher_suites
    body.block8()?; // legacy_compression_methods
    let mut hello = ClientHello::default();
    if body.0.is_empty() {
        return Ok(hello); // TLS 1.2 and before may leave extensions out.
    }
    let mut extensions = Reader(body.block16()?);
    if !body.0.is_empty() {
        return Err(HelloError::Malformed);
    }
    let (mut has_name, mut has_alpn) = (false, false);
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let content = extensions.block16()?;
        let is_again = match kind {
            EXTENSION_SERVER_NAME => std::mem::replace(&mut has_name, true),
            EXTENSION_ALPN => std::mem::replace(&mut has_alpn, true),
            EXTENSION_ECH => std::mem::replace(&mut hello.has_ech, true),
            _ => false,
        };
        if is_again {
            return Err(HelloError::Malformed);
        }
        match kind {
            EXTENSION_SERVER_NAME => hello.server_name = server_name(content)?,
            EXTENSION_ALPN => hello.alpn = protocols(content)?,
            _ => {}
        }
    }
    Ok(hello)
}

fn server_name(content: &[u8]) -> Result<Option<String>, HelloError> {
    let mut content = Reader(content);
    let mut list = Reader(content.block16()?);
    if !content.0.is_empty() || list.0.is_empty() {
        return Err(HelloError::Malformed);
    }
    let mut found = None;
    while !list.0.is_empty() {
        let kind = list.u8()?;
        let name = list.block16()?;
        // Only one name of a kind (RFC 6066 §3), and host names are the only kind there is.
        if kind == NAME_HOST && found.replace(name).is_some() {
            return Err(HelloError::Malformed);
        }
    }
    found.map(host_name).transpose()
}

/// A host name as in DNS, lower case. An address isn't one (RFC 6066 §3), but clients send them;
/// they match no pattern and go where names go that nobody has listed.
fn host_name(name: &[u8]) -> Result<String, HelloError> {
    let is_plain =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    let is_name = (1..=NAME_MAX).contains(&name.len()) && name.iter().all(is_plain);
    let text = std::str::from_utf8(name).ok().filter(|_| is_name);
    text.map(str::to_ascii_lowercase).ok_or(HelloError::NameInvalid)
}

fn protocols(content: &[u8]) -> Result<Vec<Vec<u8>>, HelloError> {
    let mut content = Reader(content);
    let mut list = Reader(content.block16()?);
    if !content.0.is_empty() || list.0.is_empty() {
        return Err(HelloError::Malformed);
    }
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        let name = list.block8()?;
        if name.is_empty() {
            return Err(HelloError::Malformed);
        }
        if !is_grease(name) {
            protocols.push(name.to_vec());
        }
    }
    Ok(protocols)
}

/// Reserved ALPN values: two equal bytes of the form `0x?A` (RFC 8701 §2).
fn is_grease(name: &[u8]) -> bool {
    matches!(name, [a, b] if a == b && a & 0x0f == 0x0a)
}

/// Takes bytes off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], HelloError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(HelloError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, HelloError> {
        self.take(1)?.first().copied().ok_or(HelloError::Malformed)
    }

    fn u16(&mut self) -> Result<u16, HelloError> {
        let bytes = self.take(2)?.first_chunk().ok_or(HelloError::Malformed)?;
        Ok(u16::from_be_bytes(*bytes))
    }

    /// What follows a length of one byte.
    fn block8(&mut self) -> Result<&'a [u8], HelloError> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// What follows a length of two bytes.
    fn block16(&mut self) -> Result<&'a [u8], HelloError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
}

/// Most bytes that are looked at: several times what post-quantum key shares and ECH need today
/// (about 3 KiB).
pub const HELLO_MAX: usize = 16 << 10;

const RECORD_HEAD: usize = 5;
const MESSAGE_HEAD: usize = 4;
/// The longest plaintext record (RFC 8446 §5.1).
const RECORD_MAX: usize = 1 << 14;
const CONTENT_HANDSHAKE: u8 = 22;
/// Of SSL 3.0 and every TLS since.
const VERSION_MAJOR: u8 = 3;
const HANDSHAKE_CLIENT_HELLO: u8 = 1;
const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ALPN: u16 = 16;
const EXTENSION_ECH: u16 = 0xfe0d;
const NAME_HOST: u8 = 0;
/// The longest host name (RFC 1035 §2.3.4).
const NAME_MAX: usize = 253;

const _: () = assert!(HELLO_MAX >= RECORD_HEAD + MESSAGE_HEAD);
