//! What a connection's bytes pass through between the kernel and a protocol.
//!
//! ```text
//!   protocol ◀─ plaintext ─▶ Stream ─┬─ plain: the runtime's socket, one branch away
//!                                    └─ tls:   a session between the two, boxed
//! ```
//!
//! Both kinds have the same verbs, so that pools and exchanges don't ask which they hold. Knows
//! nothing of HTTP and opens no connection by itself: listeners and upstream pools do.

pub mod admission;
pub(crate) mod bytes;
mod connection_limit;
pub mod counters;
pub mod entrance;
pub mod front;
mod rate_table;
pub mod relay;
mod stream;
pub mod tls;

pub use connection_limit::{ConnectionLimit, Place};
pub use rate_table::{RateTable, Verdict};
pub use stream::{OwnedStream, Received, Recv, Sending, Stream};
