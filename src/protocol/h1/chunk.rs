//! The line before a chunk (RFC 9112 §7.1): a size in hex, then extensions that are checked and
//! dropped.
//!
//! ```text
//!   chunk-size *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ) CRLF
//!
//!   Start ─hex─▶ Size ─┬─';'─▶ NameStart ─▶ Name ─┬─'='─▶ ValueStart ─┬─▶ Token ──┐
//!     ▲                │          ▲               │                   └─▶ Quoted ─┤
//!     └── next chunk   ├─CR─▶ Lf  └─────';'───────┴───────────────────────────────┘
//! ```
//! One byte at a time, so that it can stop anywhere. No sign, no `0x`, no space around the size,
//! no bare CR or LF inside an extension: each of these has been a way to smuggle.

use super::BodyError;
use crate::protocol::http::chars::{is_token_byte, is_value_byte};

/// A size line that is being read.
#[derive(Debug, Clone, Copy)]
pub(super) struct SizeLine {
    state: State,
    size: u64,
    digits: u8,
    extension_bytes: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Size,
    /// Whitespace after size or value: only `;` may follow.
    Gap,
    NameStart,
    Name,
    /// Whitespace after a name: `=` or `;` may follow.
    NameGap,
    ValueStart,
    Token,
    Quoted,
    Escaped,
    /// After a closing quote.
    Closed,
    Lf,
}

/// What a byte did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    More,
    /// The line is over: the chunk has that many bytes, and the line had that many in extensions.
    Size {
        size: u64,
        extension_bytes: u16,
    },
}

/// 16 digits fill a `u64`; leading zeros count.
const DIGITS_MAX: u8 = 16;

/// Most bytes of extensions on one line.
pub(super) const EXTENSION_BYTES_MAX: u16 = 1024;

impl SizeLine {
    pub(super) const fn new() -> Self {
        Self { state: State::Start, size: 0, digits: 0, extension_bytes: 0 }
    }

    /// Takes the next byte.
    pub(super) fn push(&mut self, byte: u8) -> Result<Step, BodyError> {
        self.state = match self.state {
            State::Start | State::Size => return self.push_size(byte),
            State::Lf if byte == b'\n' => {
                let step = Step::Size { size: self.size, extension_bytes: self.extension_bytes };
                *self = Self::new();
                return Ok(step);
            }
            State::Lf => return Err(BodyError::ChunkSizeInvalid),
            state => {
                self.extension_bytes += 1;
                if self.extension_bytes > EXTENSION_BYTES_MAX {
                    return Err(BodyError::ExtensionTooLong);
                }
                extension(state, byte).ok_or(BodyError::ExtensionInvalid)?
            }
        };
        Ok(Step::More)
    }

    fn push_size(&mut self, byte: u8) -> Result<Step, BodyError> {
        if let Some(digit) = hex(byte) {
            if self.digits == DIGITS_MAX {
                return Err(BodyError::ChunkSizeTooLarge);
            }
            self.size = self.size << 4 | u64::from(digit);
            // Kept below 2^63 so that nobody's signed arithmetic turns it round.
            if self.size > i64::MAX as u64 {
                return Err(BodyError::ChunkSizeTooLarge);
            }
            self.digits += 1;
            self.state = State::Size;
            return Ok(Step::More);
        }
        self.state = match (self.state, byte) {
            (State::Size, b'\r') => State::Lf,
            (State::Size, b';') => State::NameStart,
            (State::Size, b' ' | b'\t') => State::Gap,
            _ => return Err(BodyError::ChunkSizeInvalid),
        };
        Ok(Step::More)
    }
}

/// The state after `byte` within the extensions.
fn extension(state: State, byte: u8) -> Option<State> {
    let space = matches!(byte, b' ' | b'\t');
    Some(match (state, byte) {
        (State::Gap | State::NameGap | State::Name | State::Token | State::Closed, b';') => {
            State::NameStart
        }
        (State::Name | State::NameGap, b'=') => State::ValueStart,
        (State::Name | State::Token | State::Closed, b'\r') => State::Lf,
        (State::Name, b) if is_token_byte(b) => State::Name,
        (State::NameStart, b) if is_token_byte(b) => State::Name,
        (State::Token | State::ValueStart, b) if is_token_byte(b) => State::Token,
        (State::ValueStart, b'"') => State::Quoted,
        (State::Quoted, b'"') => State::Closed,
        (State::Quoted, b'\\') => State::Escaped,
        (State::Quoted | State::Escaped, b) if is_value_byte(b) => State::Quoted,
        (State::Gap | State::NameStart | State::NameGap | State::ValueStart, _) if space => state,
        (State::Name, _) if space => State::NameGap,
        (State::Token | State::Closed, _) if space => State::Gap,
        _ => return None,
    })
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &[u8]) -> Result<Step, BodyError> {
        let mut size = SizeLine::new();
        for (at, &byte) in line.iter().enumerate() {
            match size.push(byte)? {
                Step::More => {}
                done => {
                    assert_eq!(
                        at + 1,
                        line.len(),
                        "ended early: {:?}",
                        String::from_utf8_lossy(line)
                    );
                    return Ok(done);
                }
            }
        }
        Ok(Step::More)
    }

    #[test]
    fn sizes_are_plain_hex() {
        for (line, size) in
            [("0\r\n", 0), ("a\r\n", 10), ("FfF\r\n", 4095), ("0000000000000010\r\n", 16)]
        {
            assert!(
                matches!(read(line.as_bytes()), Ok(Step::Size { size: s, .. }) if s == size),
                "{line:?}"
            );
        }
        assert!(matches!(
            read(b"7fffffffffffffff\r\n"),
            Ok(Step::Size { size: 0x7fff_ffff_ffff_ffff, .. })
        ));
        for bad in [
            "\r\n", " 5\r\n", "5 \r\n", "+5\r\n", "-5\r\n", "0x5\r\n", "5\n", "5\r5", "g\r\n",
            "5,\r\n", "\t5\r\n", "5_0\r\n",
        ] {
            let error = read(bad.as_bytes()).unwrap_err();
            assert!(
                matches!(error, BodyError::ChunkSizeInvalid | BodyError::ExtensionInvalid),
                "{bad:?} {error:?}"
            );
        }
        for bad in [
            "8000000000000000\r\n",
            "ffffffffffffffff\r\n",
            "00000000000000001\r\n",
            "10000000000000000\r\n",
        ] {
            assert_eq!(read(bad.as_bytes()), Err(BodyError::ChunkSizeTooLarge), "{bad:?}");
        }
    }

    #[test]
    fn extensions_follow_the_grammar() {
        for good in
            [";a", ";a=b", ";a=\"b;\\\"c\"", " ; a = b", ";a;b=c;d", ";a=\"\"", "\t;a =\"x\" ;b"]
        {
            let line = format!("5{good}\r\n");
            assert!(matches!(read(line.as_bytes()), Ok(Step::Size { size: 5, .. })), "{line:?}");
        }
        for bad in [
            ";",
            ";=b",
            ";a=",
            ";a b",
            ";a=b c",
            ";a=\"b\nc\"",
            ";a=\"b\rc\"",
            ";a\n",
            ";a=\"\0\"",
            ";a=b ",
            ";;",
            "; a=b\x0b",
        ] {
            let line = format!("5{bad}\r\n");
            assert_eq!(read(line.as_bytes()), Err(BodyError::ExtensionInvalid), "{line:?}");
        }
        let long = format!("5;{}\r\n", "a".repeat(usize::from(EXTENSION_BYTES_MAX) + 1));
        assert_eq!(read(long.as_bytes()), Err(BodyError::ExtensionTooLong));
    }
}
