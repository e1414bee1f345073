//! What a hashing balancer goes by: a key's bytes, reduced once to what the algorithms need.

use crate::base::crc::CRC32;
use std::net::IpAddr;

/// A key's hashes. The same bytes give the same key in every process and on every machine, so that
/// a fleet agrees about places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Of maglev, rendezvous and `hash`.
    hash: u64,
    /// Of ketama: nginx's choice.
    crc: u32,
}

impl Key {
    /// The key of no bytes at all.
    pub(super) const EMPTY: Self = Self { hash: mix(FNV_BASIS), crc: 0 };

    /// The key of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { hash: hash(bytes), crc: CRC32.of(bytes) }
    }

    /// The key of an address: that of its text, which is what nginx's `$remote_addr` is. A mapped
    /// IPv4 address counts as IPv4. Allocates nothing.
    #[must_use]
    pub fn of_ip(address: IpAddr) -> Self {
        let mut text = Text { bytes: [0; TEXT_MAX], len: 0 };
        // An address is at most 39 characters long.
        let _written =
            std::fmt::Write::write_fmt(&mut text, format_args!("{}", address.to_canonical()));
        Self::of(&text.bytes[..text.len])
    }

    /// 64 well-mixed bits.
    pub(super) fn bits(self) -> u64 {
        self.hash
    }

    /// The CRC-32 of the bytes.
    pub(super) fn crc(self) -> u32 {
        self.crc
    }
}

/// FNV-1a over the bytes, then a finalizer: FNV alone leaves the high bits of short keys poor.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut hash = FNV_BASIS;
    for &byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mix(hash)
}

/// Where FNV-1a begins.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// Makes every bit of the result depend on every bit of `value` (SplitMix64's finalizer).
pub(super) const fn mix(value: u64) -> u64 {
    let mut mixed = value;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// An address's text on the stack.
struct Text {
    bytes: [u8; TEXT_MAX],
    len: usize,
}

/// The longest text of an IPv6 address is 39; with an IPv4 tail it is 45.
const TEXT_MAX: usize = 48;

impl std::fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let place = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(std::fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_are_a_key_too() {
        assert_eq!(Key::of(b""), Key::EMPTY);
    }

    #[test]
    fn an_address_is_its_text() {
        for text in [
            "127.0.0.1",
            "255.255.255.255",
            "2001:db8::1",
            "fe80:1111:2222:3333:4444:5555:6666:7777",
        ] {
            assert_eq!(Key::of_ip(text.parse().unwrap()), Key::of(text.as_bytes()), "{text}");
        }
        assert_eq!(Key::of_ip("::ffff:192.0.2.1".parse().unwrap()), Key::of(b"192.0.2.1"));
    }
}
