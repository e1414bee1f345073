//! Who asks and how it is told apart: the request's id and the scheme it came by.

use std::fmt;

/// How the client reached us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Scheme {
    /// In the clear.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A request's id: unique over all shards and, by the process's seed, over restarts.
///
/// Written as 24 hexadecimal digits: 8 of the process, 4 of the shard, 12 of the request. Making
/// one costs an addition; the text is made only where it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId {
    process: u32,
    shard: u16,
    serial: u64,
}

/// Hexadecimal digits of a [`RequestId`].
const ID_DIGITS: usize = 24;

impl RequestId {
    pub(crate) fn new(process: u32, shard: u16, serial: u64) -> Self {
        Self { process, shard, serial }
    }

    /// The id's text on the stack.
    #[must_use]
    pub fn text(self) -> IdText {
        let mut digits = [0; ID_DIGITS];
        let value = u128::from(self.process) << 64
            | u128::from(self.shard) << 48
            | u128::from(self.serial & 0xffff_ffff_ffff);
        for (place, digit) in digits.iter_mut().rev().enumerate() {
            let nibble = (value >> (4 * place)) & 0xf;
            *digit = b"0123456789abcdef"
                .get(usize::try_from(nibble).unwrap_or(0))
                .copied()
                .unwrap_or(b'0');
        }
        IdText(digits)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// The text of a [`RequestId`]; derefs to `str`.
#[derive(Debug, Clone, Copy)]
pub struct IdText([u8; ID_DIGITS]);

impl std::ops::Deref for IdText {
    type Target = str;
    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_three_parts_in_hexadecimal() {
        let id = RequestId::new(0xdead_beef, 0x12, 0x1_0000_0abc);
        assert_eq!(id.to_string(), "deadbeef0012000100000abc");
    }
}
