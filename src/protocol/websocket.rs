//! The opening handshake of WebSocket, where a proxy stands between two versions of HTTP.
//!
//! ```text
//!   HTTP/1.1 (RFC 6455 §4)              HTTP/2 (RFC 8441)
//!   GET /chat                           :method CONNECT, :protocol websocket, :path /chat
//!   Upgrade: websocket
//!   Sec-WebSocket-Key: K                —
//!   101, Sec-WebSocket-Accept: f(K)     200
//! ```
//! Key and answer prove to a client that an old server understood it; HTTP/2 needs no such proof
//! (§5). Whoever translates asks with a key of its own, and gives or checks the answer.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// The protocol's name in Upgrade and `:protocol`.
pub const PROTOCOL: &str = "websocket";
/// Fields of the handshake that only HTTP/1.1 has.
pub const KEY: &str = "sec-websocket-key";
/// See [`KEY`].
pub const ACCEPT: &str = "sec-websocket-accept";

/// Whether an Upgrade field or `:protocol` asks for WebSocket and nothing else.
pub fn is_websocket(protocol: &[u8]) -> bool {
    protocol.eq_ignore_ascii_case(PROTOCOL.as_bytes())
}

/// A Sec-WebSocket-Key. It need not be secret: it only tells one handshake from another.
pub fn key(nonce: [u8; 16]) -> String {
    base64(&nonce)
}

/// The Sec-WebSocket-Accept that answers `key` (RFC 6455 §4.2.2, step 5.4).
pub fn accept(key: &[u8]) -> String {
    let whole = [key, GUID].concat();
    base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, &whole).as_ref())
}

/// Base64 with padding (RFC 4648 §4).
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for piece in bytes.chunks(3) {
        let mut octets = [0; 4];
        for (place, byte) in octets.iter_mut().skip(1).zip(piece) {
            *place = *byte;
        }
        let group = u32::from_be_bytes(octets);
        for place in 0..4 {
            let digit = usize::try_from(group >> (18 - 6 * place) & 0x3f).unwrap_or(0);
            let is_padding = place > piece.len();
            let letter = if is_padding { None } else { ALPHABET.get(digit) };
            text.push(letter.copied().map_or('=', char::from));
        }
    }
    text
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648 §10.
    #[test]
    fn base64_pads_to_four() {
        let pairs =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (plain, encoded) in pairs {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xff; 16]).len(), 24);
    }

    /// RFC 6455 §1.3 works the example through.
    #[test]
    fn the_answer_to_a_key_is_the_rfcs() {
        assert_eq!(key(*b"the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
