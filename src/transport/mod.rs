//! What a connection's bytes pass through between the kernel and a protocol.
//!
//! ```text
//!   protocol ◀─ plaintext ─▶ Stream ─┬─ plain: the runtime's socket, one branch away
//!                                    └─ tls:   a session between the two, boxed
//! ```
//!
//! Both kinds have the same verbs, so that pools and exchanges don't ask which they hold. Knows
//! nothing of HTTP and opens no connection by itself: listeners and upstream pools do.

pub(crate) mod bytes;
mod stream;
pub mod tls;

pub use stream::{OwnedStream, Received, Recv, Sending, Stream};
