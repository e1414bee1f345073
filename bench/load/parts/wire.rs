//! Just enough HTTP/1.1 for a load generator and its backend: where a head ends, the status, the
//! length, whether the connection closes. Not a validator; what it can't read is an error.

use memchr::{memchr, memmem};

/// What a generator must know of a head, request or response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes up to and including the empty line.
    pub(crate) bytes: usize,
    /// The first number of the start line's second word: a response's status; 0 in a request.
    pub(crate) status: u16,
    /// Content-Length; 0 when there is none.
    pub(crate) length: u64,
    /// Whether `Connection: close` was said.
    pub(crate) closes: bool,
}

/// Reads a head at the front of `bytes`; `None` until its empty line has come.
pub(crate) fn head(bytes: &[u8]) -> Option<Head> {
    let end = memmem::find(bytes, b"\r\n\r\n")? + 4;
    let mut rest = &bytes[..end - 2];
    let start_line = line(&mut rest);
    let mut head = Head { bytes: end, status: status(start_line), length: 0, closes: false };
    while !rest.is_empty() {
        let field = line(&mut rest);
        match field.first() {
            Some(b'C' | b'c') => {}
            _ => continue,
        }
        if let Some(value) = value_of(field, b"content-length:") {
            head.length = number(value);
        } else if let Some(value) = value_of(field, b"connection:") {
            head.closes = value.eq_ignore_ascii_case(b"close");
        }
    }
    Some(head)
}

/// The next line without its CR LF.
fn line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = memchr(b'\n', rest).unwrap_or(rest.len());
    let line = &rest[..end];
    *rest = rest.get(end + 1..).unwrap_or(&[]);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn value_of<'a>(field: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, value) = field.split_at_checked(name.len())?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn status(start_line: &[u8]) -> u16 {
    let digits =
        start_line.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5)).unwrap_or(b"0");
    u16::try_from(number(digits)).unwrap_or(0)
}

fn number(digits: &[u8]) -> u64 {
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// The body that the backend sends and the generator expects: bytes whose value tells their place,
/// so that one lost or doubled is seen.
pub(crate) fn body(bytes: usize) -> Vec<u8> {
    // 251 is prime: no buffer size divides it, so a shift by a buffer never looks right.
    (b'\x00'..251).cycle().take(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        let text =
            b"HTTP/1.1 200 OK\r\nServer: x\r\ncontent-LENGTH: 12\r\nConnection: close\r\n\r\nbody";
        let read = head(text).unwrap();
        assert_eq!(read, Head { bytes: text.len() - 4, status: 200, length: 12, closes: true });
        assert_eq!(head(&text[..text.len() - 6]), None);
        assert_eq!(head(b"GET /1k HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().status, 0);
    }
}
