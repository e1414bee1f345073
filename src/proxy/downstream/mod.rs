//! The client's side: one file per protocol version, and what they share.

mod error_page;
mod h1;
mod h2;
mod handshake;
pub mod service;
mod side;
mod write;
mod write_h2;

pub(in crate::proxy) use error_page::error_page;
pub(in crate::proxy) use side::{Downstream, go_on};
