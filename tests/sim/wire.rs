//! A plain HTTP/1.1 reader over a simulated socket, for clients and endpoints: written apart from
//! the proxy's codec, so that one doesn't excuse the other. It knows valid messages only, and
//! reads bodies piece by piece.

use std::{rc::Rc, time::Duration};

use ringway::runtime::{TcpStream, sleep};

/// Why reading stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broken {
    /// A clean end between two messages.
    End,
    /// The end within a message.
    Cut,
    /// A reset, or another error of the socket.
    Failed(String),
    /// What came isn't HTTP.
    Malformed(String),
}

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

/// A message's head.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// Request line or status line.
    pub(crate) start: String,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
}

impl Head {
    /// The value of a field that stands there once; none when it is missing or stands there twice.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(own, _)| own == name);
        let first = values.next();
        first.filter(|_| values.next().is_none()).map(|(_, value)| &**value)
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(own, _)| own == name)
    }

    /// A response's status.
    pub(crate) fn status(&self) -> Option<u16> {
        let rest = self.start.strip_prefix("HTTP/1.1 ")?;
        rest.get(..3)?.parse().ok()
    }

    /// How the body is delimited; `otherwise` when no field says it.
    pub(crate) fn framing(&self, otherwise: Framing) -> Result<Framing, Broken> {
        let malformed = |what: &str| Broken::Malformed(format!("{what}: {:?}", self.fields));
        match (self.has("content-length"), self.has("transfer-encoding")) {
            (true, true) => Err(malformed("both lengths")),
            (true, false) => {
                let length = self.get("content-length").and_then(|text| text.parse().ok());
                length.map(Framing::Length).ok_or_else(|| malformed("bad length"))
            }
            (false, true) if self.get("transfer-encoding") == Some("chunked") => {
                Ok(Framing::Chunked)
            }
            (false, true) => Err(malformed("bad encoding")),
            (false, false) => Ok(otherwise),
        }
    }
}

/// Reads messages off a socket.
pub(crate) struct Reader {
    stream: Rc<TcpStream>,
    buffer: Vec<u8>,
    is_over: bool,
    /// Rests before every receive.
    pub(crate) pause: Duration,
}

impl Reader {
    pub(crate) fn new(stream: &Rc<TcpStream>) -> Self {
        let stream = Rc::clone(stream);
        Self { stream, buffer: Vec::new(), is_over: false, pause: Duration::ZERO }
    }

    /// The next bytes; false at the end of the stream.
    async fn fill(&mut self) -> Result<bool, Broken> {
        if self.is_over {
            return Ok(false);
        }
        if !self.pause.is_zero() {
            sleep(self.pause).await;
        }
        match self.stream.recv().await {
            Ok(bytes) if bytes.is_empty() => {
                self.is_over = true;
                Ok(false)
            }
            Ok(bytes) => {
                self.buffer.extend_from_slice(&bytes);
                Ok(true)
            }
            Err(error) => Err(Broken::Failed(error.to_string())),
        }
    }

    /// Waits for the stream's end, throwing away what comes.
    pub(crate) async fn drain(&mut self) {
        while let Ok(true) = self.fill().await {
            self.buffer.clear();
        }
    }

    /// Bytes that are here and that no message has taken.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.buffer
    }

    /// Whether bytes are here that no message has taken.
    pub(crate) fn has_more(&self) -> bool {
        !self.buffer.is_empty()
    }

    async fn line(&mut self) -> Result<String, Broken> {
        let mut seen = 0;
        loop {
            if let Some(end) = self.buffer[seen..].windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..seen + end + 2).collect();
                let text = std::str::from_utf8(&line[..line.len() - 2]);
                return text.map(str::to_owned).map_err(|_| Broken::Malformed("not text".into()));
            }
            seen = self.buffer.len().saturating_sub(1);
            if self.buffer.len() > 100_000 {
                return Err(Broken::Malformed("an endless line".into()));
            }
            if !self.fill().await? {
                let is_clean = self.buffer.is_empty();
                return Err(if is_clean { Broken::End } else { Broken::Cut });
            }
        }
    }

    /// The next head. `End` when the stream ends before it.
    pub(crate) async fn head(&mut self) -> Result<Head, Broken> {
        let start = self.line().await?;
        let fields = self.fields().await?;
        Ok(Head { start, fields })
    }

    async fn fields(&mut self) -> Result<Vec<(String, String)>, Broken> {
        let mut fields = Vec::new();
        loop {
            let line = self.line().await.map_err(within)?;
            if line.is_empty() {
                return Ok(fields);
            }
            let Some((name, value)) = line.split_once(": ") else {
                return Err(Broken::Malformed(format!("field line {line:?}")));
            };
            fields.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }

    /// Reads a body and gives its pieces to `sink`. Returns the trailers.
    pub(crate) async fn body(
        &mut self,
        framing: Framing,
        mut sink: impl FnMut(&[u8]),
    ) -> Result<Vec<(String, String)>, Broken> {
        match framing {
            Framing::None => {}
            Framing::Length(length) => self.exactly(length, &mut sink).await?,
            Framing::UntilClose => loop {
                sink(&self.buffer);
                self.buffer.clear();
                if !self.fill().await? {
                    break;
                }
            },
            Framing::Chunked => loop {
                let line = self.line().await.map_err(within)?;
                let Ok(length) = usize::from_str_radix(&line, 16) else {
                    return Err(Broken::Malformed(format!("chunk line {line:?}")));
                };
                if length == 0 {
                    return self.fields().await;
                }
                self.exactly(length, &mut sink).await?;
                let end = self.line().await.map_err(within)?;
                if !end.is_empty() {
                    return Err(Broken::Malformed(format!("after a chunk: {end:?}")));
                }
            },
        }
        Ok(Vec::new())
    }

    async fn exactly(&mut self, length: usize, sink: &mut impl FnMut(&[u8])) -> Result<(), Broken> {
        let mut left = length;
        while left > 0 {
            let here = self.buffer.len().min(left);
            sink(&self.buffer[..here]);
            self.buffer.drain(..here);
            left -= here;
            if left > 0 && !self.fill().await? {
                return Err(Broken::Cut);
            }
        }
        Ok(())
    }
}

/// An end within a message is no clean one.
fn within(broken: Broken) -> Broken {
    if broken == Broken::End { Broken::Cut } else { broken }
}
