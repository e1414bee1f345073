//! What a connection's bytes pass through between the kernel and a protocol.
//!
//! Plaintext TCP passes through nothing, so a [`Stream`] is the runtime's socket itself and costs
//! nothing over it. Connections that are encrypted or announced by a PROXY header get their place
//! here. Knows nothing of HTTP and opens no connection by itself: listeners and upstream pools do.

/// A connected byte stream, as upstream pools lend it and exchanges use it.
pub type Stream = crate::runtime::TcpStream;
