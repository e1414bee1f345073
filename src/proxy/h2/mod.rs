//! HTTP/2 connections, driven: one [`Session`] per connection, in either role, many exchanges on it.
//!
//! ```text
//!                 ┌────────────────────── session: one task ───────────────────────┐
//!   socket ─recv─▶│ codec.receive ─ events ─▶ streams' inboxes ─ signal ─▶ exchange │
//!   socket ◀─send─│ codec.transmit ◀── output ◀── heads, DATA, trailers ◀─ exchange │
//!                 └──── the send begins when every ready task of the turn has run ─┘
//! ```
//!
//! What the exchanges of one turn have to say leaves in one send; while it is under way at most
//! the codec's `output_bytes` gather, then DATA waits for its turn, the longest waiting first. What
//! arrives lies in its stream's inbox until the exchange takes it, and only then its credit goes
//! back to the sender: a stream holds at most its window in memory, a connection its window.
//!
//! The protocol's rules are the codec's ([`crate::protocol::h2`]); what a request means, and what a
//! response, is said beside: `downstream::h2` serves clients, `upstream` asks endpoints.

mod body;
mod drive;
mod held;
mod send;
mod session;
mod sessions;
mod stream;

pub(in crate::proxy) use body::{H2Body, Source};
pub(in crate::proxy) use drive::{Ended, NewRequest, Role, drive};
pub(in crate::proxy) use send::{BodyFailure, is_over, next_buffered, send_body};
pub(in crate::proxy) use session::Session;
pub(in crate::proxy) use sessions::Sessions;
pub(in crate::proxy) use stream::{Answer, Gone, Handle, Stream, WriteError};
