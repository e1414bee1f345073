//! One request as a client sends it, and the answers that endpoints give to it.

use std::time::Duration;

use crate::random::body;

/// How a client's request looks, and what becomes of it.
#[derive(Debug)]
pub(crate) struct RequestPlan {
    /// Names it: in path, fields and body.
    pub(crate) token: u64,
    pub(crate) method: &'static str,
    pub(crate) is_http10: bool,
    pub(crate) body: Delimited,
    pub(crate) length: usize,
    pub(crate) has_trailers: bool,
    pub(crate) expects_continue: bool,
    /// The client stops after so many bytes, in this way. Always before the request's end.
    pub(crate) cut: Option<(usize, End)>,
    /// Of the first attempt, the second, …; the last one answers all further ones.
    pub(crate) answers: Vec<Answer>,
}

/// How a body's end is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delimited {
    /// A request: without a body. A response: by the connection's end.
    No,
    Length,
    Chunked,
}

/// How a client breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Close,
    Reset,
    /// Sends nothing more, and reads.
    Stall,
    /// Ends its side, and reads.
    HalfClose,
}

/// One attempt's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) when: When,
    pub(crate) interim: Option<u16>,
    pub(crate) think: Duration,
    pub(crate) delimited: Delimited,
    pub(crate) length: usize,
    pub(crate) has_trailers: bool,
    /// Sends that the answer is spread over.
    pub(crate) pieces: usize,
    pub(crate) fault: Fault,
    pub(crate) announces_close: bool,
    /// The connection is closed so long after a good answer, unannounced.
    pub(crate) closes_after: Option<Duration>,
}

/// When an endpoint answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// After the request's body.
    AfterBody,
    /// While it still reads.
    Beside,
    /// After the head; the body is never read, and the connection closes.
    AtOnce,
}

/// What goes wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Closes after this share of the answer.
    Cut {
        permille: usize,
    },
    /// Resets after this share.
    Reset {
        permille: usize,
    },
    /// Falls silent after this share.
    Stall {
        permille: usize,
    },
    MalformedHead {
        kind: usize,
    },
    BadChunk,
    /// Bytes behind the answer that belong to nothing.
    Extra,
    /// Closes without a word.
    Silent,
}

impl RequestPlan {
    /// The request's bytes, and the length of its head.
    pub(crate) fn encode(&self) -> (Vec<u8>, usize) {
        let Self { token, method, length, .. } = self;
        let version = if self.is_http10 { "HTTP/1.0" } else { "HTTP/1.1" };
        let mut head = format!(
            "{method} {} {version}\r\nHost: sim.test\r\nX-Token: {token}\r\nX-Length: {length}\r\n\
             Connection: x-secret\r\nX-Secret: {token}\r\n",
            self.path(),
        );
        match self.body {
            Delimited::No => {}
            Delimited::Length => head += &format!("Content-Length: {length}\r\n"),
            Delimited::Chunked => head += "Transfer-Encoding: chunked\r\n",
        }
        if self.expects_continue {
            head += "Expect: 100-continue\r\n";
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        let head_length = bytes.len();
        match self.body {
            Delimited::No => {}
            Delimited::Length => bytes.extend(body(self.token, self.length)),
            Delimited::Chunked => {
                chunked(self.token, self.length, self.trailer().as_ref(), &mut bytes);
            }
        }
        (bytes, head_length)
    }

    pub(crate) fn path(&self) -> String {
        format!("/t/{0}?n={0}", self.token)
    }

    /// The trailer that follows its chunked body.
    pub(crate) fn trailer(&self) -> Option<(String, String)> {
        self.has_trailers.then(|| ("x-trailer".to_owned(), self.token.to_string()))
    }

    pub(crate) fn answer(&self, attempt: usize) -> &Answer {
        &self.answers[attempt.min(self.answers.len() - 1)]
    }

    pub(crate) fn is_idempotent(&self) -> bool {
        self.method != "POST"
    }
}

impl Answer {
    /// Whether a response to `method` has a body.
    pub(crate) fn has_body(&self, method: &str) -> bool {
        method != "HEAD" && self.status != 204 && self.status != 304
    }

    /// What goes wrong: faults that have no meaning for this answer become others.
    pub(crate) fn fault(&self, method: &str) -> Fault {
        let has_body = self.has_body(method);
        let is_until_close = has_body && self.delimited == Delimited::No;
        match self.fault {
            // The end of the connection would be a good end of the body.
            Fault::Cut { permille } if is_until_close => Fault::Reset { permille },
            Fault::Extra if is_until_close => Fault::None,
            Fault::BadChunk if !has_body || self.delimited != Delimited::Chunked => {
                Fault::MalformedHead { kind: 0 }
            }
            // What its lengths are doesn't matter without a body.
            Fault::MalformedHead { .. } if !has_body => Fault::MalformedHead { kind: 0 },
            fault => fault,
        }
    }

    /// The answer to `request` as attempt number `attempt`.
    pub(crate) fn encode(&self, request: &RequestPlan, attempt: u64) -> Vec<u8> {
        let method = request.method;
        let fault = self.fault(method);
        let has_body = self.has_body(method);
        let mut head = match fault {
            Fault::MalformedHead { kind: 0 } => format!("HTTP/1.1 2x{} Well\r\n", self.status),
            Fault::MalformedHead { kind: 5 } => {
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n".into()
            }
            Fault::MalformedHead { kind: 6 } => "\u{16}\u{3}\u{1}garbage\r\n".into(),
            _ => format!("HTTP/1.1 {} Well\r\n", self.status),
        };
        head += &format!(
            "X-Token: {}\r\nX-Attempt: {attempt}\r\nX-Length: {}\r\nX-Secret: {attempt}\r\n",
            request.token, self.length
        );
        head += if self.announces_close {
            "Connection: x-secret, close\r\n"
        } else {
            "Connection: x-secret\r\n"
        };
        if let Fault::MalformedHead { kind } = fault {
            head += &match kind {
                1 => "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n".to_owned(),
                2 => "Content-Length: 3\r\nContent-Length: 4\r\n".to_owned(),
                3 => "Content-Length: 12abc\r\n".to_owned(),
                4 => "Transfer-Encoding: gzip\r\n".to_owned(),
                7 => "X-Flood: 1\r\n".repeat(300),
                _ => String::new(),
            };
            head += "\r\n";
            return head.into_bytes();
        }
        let describes = has_body || (method == "HEAD" && self.status == 200);
        match self.delimited {
            _ if !describes => {}
            Delimited::No => {}
            Delimited::Length => head += &format!("Content-Length: {}\r\n", self.length),
            Delimited::Chunked => head += "Transfer-Encoding: chunked\r\n",
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        if has_body {
            match self.delimited {
                Delimited::Chunked if fault == Fault::BadChunk => {
                    bytes.extend_from_slice(b"3\r\n");
                    bytes.extend(body(attempt, 3));
                    bytes.extend_from_slice(b"\r\nzz\r\n");
                }
                Delimited::Chunked => {
                    chunked(attempt, self.length, self.trailer(attempt).as_ref(), &mut bytes);
                }
                _ => bytes.extend(body(attempt, self.length)),
            }
        }
        if fault == Fault::Extra {
            bytes.extend_from_slice(b"bytes of nobody\r\n\r\n");
        }
        bytes
    }

    pub(crate) fn trailer(&self, attempt: u64) -> Option<(String, String)> {
        self.has_trailers.then(|| ("x-trailer".to_owned(), attempt.to_string()))
    }
}

/// Encodes the body that belongs to `salt` in chunks of many sizes.
fn chunked(salt: u64, length: usize, trailer: Option<&(String, String)>, out: &mut Vec<u8>) {
    let whole = body(salt, length);
    let mut rest = &whole[..];
    let mut size = usize::try_from(salt % 7).unwrap() + 1;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
        rest = after;
        size = size * 3 % 20_011 + 1;
    }
    out.extend_from_slice(b"0\r\n");
    if let Some((name, value)) = trailer {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}
