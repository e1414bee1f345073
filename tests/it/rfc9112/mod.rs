//! RFC 9112, HTTP/1.1, as an intermediary has to hold it.
//!
//! [`judge`] runs a message through the codec as the proxy does and gives the verdict; the
//! tables in the modules below state it for each way to be wrong.

mod bodies;
mod encoding;
mod heads;
mod judge;
mod limits;
pub(crate) mod malformed_framing;
pub(crate) mod malformed_requests;
pub(crate) mod malformed_responses;
mod split;
