//! Blocks of IP addresses, such as `10.0.0.0/8`; and `unix:`, the clients of Unix sockets.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::address::{UNIX_CLIENT, UNIX_CLIENT_TEXT};

/// A block of addresses. IPv4-mapped IPv6 addresses count as IPv4, on both sides. [`UNIX_CLIENT`] is
/// in the block of its own, written `unix:`, and in no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// A text that isn't a block of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// No address, or a prefix longer than one.
    #[error("isn't a block of addresses, such as `10.0.0.0/8`, `192.0.2.7` or `2001:db8::/32`")]
    Syntax,
    /// An address with bits behind the prefix: likely a slip.
    #[error("has bits set behind the prefix; the block is `{0}`")]
    HostBits(Cidr),
}

impl Cidr {
    /// The block of `prefix` bits that `address` lies in; `None` if the prefix is longer than an
    /// address.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let (address, prefix) = match (address, address.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(v4)) => (IpAddr::V4(v4), prefix.checked_sub(96)?),
            (_, address) => (address, prefix),
        };
        let network = match address {
            IpAddr::V4(v4) if prefix <= 32 => {
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask_v4(prefix)))
            }
            IpAddr::V6(v6) if prefix <= 128 => {
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask_v6(prefix)))
            }
            IpAddr::V4(_) | IpAddr::V6(_) => return None,
        };
        Some(Self { network, prefix })
    }

    /// Whether `address` lies in the block.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(_), UNIX_CLIENT) => *self == UNIX_BLOCK,
            (IpAddr::V4(network), IpAddr::V4(v4)) => {
                v4.to_bits() & mask_v4(self.prefix) == network.to_bits()
            }
            (IpAddr::V6(network), IpAddr::V6(v6)) => {
                v6.to_bits() & mask_v6(self.prefix) == network.to_bits()
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    /// An address alone is a block of one.
    fn from_str(text: &str) -> Result<Self, CidrError> {
        if text == UNIX_CLIENT_TEXT {
            return Ok(UNIX_BLOCK);
        }
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => {
                if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(CidrError::Syntax);
                }
                (address, Some(prefix.parse::<u8>().map_err(|_| CidrError::Syntax)?))
            }
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| CidrError::Syntax)?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let block = Self::new(address, prefix.unwrap_or(whole)).ok_or(CidrError::Syntax)?;
        if block.network == address.to_canonical() {
            Ok(block)
        } else {
            Err(CidrError::HostBits(block))
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == UNIX_BLOCK {
            return f.write_str(UNIX_CLIENT_TEXT);
        }
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// The clients of Unix sockets.
const UNIX_BLOCK: Cidr = Cidr { network: UNIX_CLIENT, prefix: 32 };

fn mask_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn mask_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(block: &str, address: &str) -> bool {
        block.parse::<Cidr>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_block_contains_its_addresses_and_no_others() {
        assert!(contains("10.0.0.0/8", "10.255.0.1"));
        assert!(!contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("0.0.0.0/0", "203.0.113.9"));
        assert!(!contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("192.0.2.7", "192.0.2.7"));
        assert!(!contains("192.0.2.7", "192.0.2.8"));
        assert!(contains("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!contains("2001:db8::/32", "2001:db9::1"));
        assert!(contains("::/0", "2001:db9::1"));
        assert!(contains("192.0.2.6/31", "192.0.2.7"));
    }

    #[test]
    fn mapped_addresses_count_as_ipv4() {
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(contains("::ffff:10.0.0.0/104", "10.1.2.3"));
        assert!(!contains("::/0", "::ffff:10.1.2.3"));
    }

    #[test]
    fn clients_of_unix_sockets_are_a_block_of_their_own() {
        let unix: Cidr = "unix:".parse().unwrap();
        assert!(unix.contains(UNIX_CLIENT));
        assert!(!unix.contains("127.0.0.1".parse().unwrap()));
        assert!(!"0.0.0.0/0".parse::<Cidr>().unwrap().contains(UNIX_CLIENT));
        assert_eq!(unix.to_string(), "unix:");
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "a/8", "10.0.0.0/", "10.0.0.0/+8"] {
            assert_eq!(text.parse::<Cidr>(), Err(CidrError::Syntax), "{text:?}");
        }
        let error = "10.1.0.0/8".parse::<Cidr>().unwrap_err();
        assert_eq!(error.to_string(), "has bits set behind the prefix; the block is `10.0.0.0/8`");
    }
}
