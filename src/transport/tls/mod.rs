//! TLS between a socket and a protocol: rustls with AWS-LC, driven on the shard.
//!
//! ```text
//!   files ──▶ Certificate, authorities        read and checked on the control thread
//!     └─▶ ServerTls: names ─▶ policy ─▶ rustls config, ticket keys      shared by all shards
//!             └─▶ TlsStream: socket + Session                           one a connection
//!   files ──▶ ClientTls: authorities, name, certificate ─▶ the same, towards endpoints
//! ```
//!
//! A [`ServerTls`] never changes; new files make a new one, and connections live on with the one
//! they began with. Certificates that ask clients for different things are different *policies*:
//! each has ticket keys of its own, so that no session passes from one to another.

mod certificate;
mod client;
mod client_cert;
mod distinguished_name;
mod files;
mod handshake;
mod server;
mod session;
mod stream;
mod tickets;

pub use certificate::Facts;
pub use client::{ClientTls, Conversation};
pub use client_cert::ClientCertificate;
pub use files::{Expiry, Listed, Loaded, load};
pub use handshake::{Failure, Handshaken, Reason, Version};
pub use server::{BuildError, Policy, ServerTls};
pub use stream::{OwnedTls, TlsStream};
pub use tickets::{
    LIFETIME as TICKET_LIFETIME, ROTATE_EVERY as TICKET_KEYS_ROTATE_EVERY, TicketKeys,
};
