//! The HTTP/1.1 wire format (RFC 9112): heads in and out, bodies in and out.
//!
//! ```text
//!   wire ─▶ parse_request ─▶ request_framing ─▶ BodyDecoder ─▶ data ranges, trailers
//!   wire ◀─ encode_response ◀─ Framing        ◀─ encode_chunk_head · data · encode_chunk_end
//! ```
//! Everything is a function over the caller's bytes or a small machine fed with them. Strict, as
//! an intermediary must be: what two readers could understand differently is refused, and what is
//! forwarded is always written anew from what was understood.
//!
//! Order on the way through a proxy: parse, framing, wishes ([`request_keeps_alive`],
//! [`upgrade_requested`], [`expects_continue`]), then strip hop-by-hop fields, edit, encode.

mod body;
mod chunk;
mod connection;
mod encode;
mod fields;
mod limits;
mod request;
mod response;

pub use body::{
    BodyDecoder, BodyError, Decoded, EXTENSION_EXCESS_MAX, TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX,
};
pub use connection::{
    expects_continue, request_keeps_alive, response_keeps_alive, upgrade_requested,
};
pub use encode::{
    CHUNK_HEAD_BYTES_MAX, ConnectionHeader, encode_chunk_end, encode_chunk_head, encode_last_chunk,
    encode_request, encode_response,
};
pub use limits::{HeadLimits, Parsed};
pub use request::parse_request;
pub use response::parse_response;
