//! RFC 9113, HTTP/2: every frame-level MUST, filed by its section.
//!
//! [`pair`] holds one side of a connection and speaks the other by hand: bytes in, bytes out.

mod abuse;
pub(crate) mod pair;
mod section_3;
mod section_4;
mod section_5_flow;
mod section_5_streams;
mod section_6_control;
mod section_6_data;
mod section_6_headers;
mod section_8_connect;
mod section_8_fields;
mod section_8_messages;
