//! A response head: status, reason and fields in arenas of their own.

use super::chars::is_value;
use super::span::Span;
use super::{Headers, Status, TargetError, Version};

/// The head of a response. [`ResponseHead::clear`] keeps all memory for the next one.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    /// Version in the status line.
    pub version: Version,
    /// Status code.
    pub status: Status,
    /// The fields.
    pub headers: Headers,
    /// Everything up to the first field as it came, or only a reason set by hand.
    line: Vec<u8>,
    /// `None`: write the status's registered phrase.
    reason: Option<Span>,
    /// Where the parser goes on after `Incomplete`.
    resume: usize,
}

impl ResponseHead {
    /// `HTTP/1.1 200 OK` without fields; no allocation.
    pub const fn new() -> Self {
        Self {
            version: Version::Http11,
            status: Status::OK,
            headers: Headers::new(),
            line: Vec::new(),
            reason: None,
            resume: 0,
        }
    }

    /// Back to [`ResponseHead::new`], keeping memory.
    #[inline]
    pub fn clear(&mut self) {
        self.version = Version::Http11;
        self.status = Status::OK;
        self.headers.clear();
        self.line.clear();
        self.reason = None;
        self.resume = 0;
    }

    /// The reason as it came or was set, else the status's registered phrase. May be empty and
    /// may hold obs-text.
    #[inline]
    pub fn reason(&self) -> &[u8] {
        match self.reason {
            Some(span) => span.of(&self.line),
            None => self.status.phrase().as_bytes(),
        }
    }

    /// Sets status and its registered phrase.
    pub fn set_status(&mut self, status: Status) {
        self.status = status;
        self.reason = None;
    }

    /// Sets a reason of one's own.
    ///
    /// # Errors
    /// [`TargetError::Invalid`] for controls; nothing has changed then.
    pub fn set_reason(&mut self, reason: &str) -> Result<(), TargetError> {
        if !is_value(reason.as_bytes()) {
            return Err(TargetError::Invalid);
        }
        self.line.clear();
        self.line.extend_from_slice(reason.as_bytes());
        self.reason = Some(Span::new(0, reason.len()));
        Ok(())
    }

    /// The parser's entry: `line` is everything before the first field.
    #[inline]
    pub(crate) fn begin(&mut self, line: &[u8], version: Version, status: Status, reason: Span) {
        self.line.clear();
        self.line.extend_from_slice(line);
        self.version = version;
        self.status = status;
        self.reason = Some(reason);
    }

    /// The status line as it came, if that is also how it would be written now.
    pub(crate) fn unchanged_line(&self) -> Option<&[u8]> {
        let (reason, start) = (self.reason?, self.line.first_chunk::<REASON_START>()?);
        // Version and status are public fields and may have been set since; what we speak is 1.1.
        let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b' ', digits @ .., b' '] = start
        else {
            return None;
        };
        let unchanged = *digits == self.status.digits()
            && reason.start() == REASON_START
            && reason.end() + 2 == self.line.len();
        unchanged.then_some(&self.line)
    }

    #[inline]
    pub(crate) fn line(&self) -> &[u8] {
        &self.line
    }

    #[inline]
    pub(crate) fn resume(&self) -> usize {
        self.resume
    }

    #[inline]
    pub(crate) fn set_resume(&mut self, at: usize) {
        self.resume = at;
    }
}

/// Where the reason begins in a status line.
const REASON_START: usize = "HTTP/1.1 200 ".len();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_follows_the_status_unless_set() {
        let mut head = ResponseHead::new();
        head.set_status(Status::NOT_FOUND);
        assert_eq!(head.reason(), b"Not Found");
        head.set_reason("Nope").unwrap();
        assert_eq!(head.reason(), b"Nope");
        assert_eq!(head.set_reason("a\r\nb"), Err(TargetError::Invalid));
        head.clear();
        assert_eq!((head.status, head.reason()), (Status::OK, &b"OK"[..]));
    }

    #[test]
    fn only_a_line_as_it_came_is_unchanged() {
        let came = || {
            let mut head = ResponseHead::new();
            let line = b"HTTP/1.1 200 OK\r\n";
            head.begin(line, Version::Http11, Status::OK, Span::new(13, 15));
            assert_eq!(head.unchanged_line(), Some(&line[..]));
            head
        };
        let mut head = came();
        head.status = Status::NOT_FOUND;
        assert_eq!(head.unchanged_line(), None);
        let mut head = came();
        head.set_reason("HTTP/1.1 200 Fine").unwrap();
        assert_eq!(head.unchanged_line(), None);
        for other in ["HTTP/1.0 200 OK\r\n", "HTTP/1.2 200 OK\r\n", "HTTP/1.1 200\r\n"] {
            let end = other.len() - 2;
            let reason = Span::new(end.min(13), end);
            head.begin(other.as_bytes(), Version::Http11, Status::OK, reason);
            assert_eq!(head.unchanged_line(), None, "{other}");
        }
    }
}
