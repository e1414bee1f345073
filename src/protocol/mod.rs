//! Protocol machines below the sans-IO line: bytes in, meaning out.
//!
//! Nothing here does I/O, reads a clock, draws a random number or awaits. [`http`] holds what a
//! message *is* in any version of HTTP; [`h1`] and [`h2`] are the wire formats. [`proxy_protocol`]
//! and [`client_hello`] read what stands before a connection's own bytes, [`websocket`] knows a
//! handshake. Bytes come from
//! whoever owns a connection and go back to it as ranges into its own buffer.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod client_hello;
pub mod h1;
pub mod h2;
pub mod http;
pub mod proxy_protocol;
pub mod websocket;
