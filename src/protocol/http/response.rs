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
}
