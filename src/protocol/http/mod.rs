//! HTTP semantics (RFC 9110): heads, fields, framing and the pure helpers around them.
//!
//! A head owns its bytes in arenas that keep their capacity over [`RequestHead::clear`], so a
//! reused head allocates nothing after warm-up and borrows nothing from the wire. The wire
//! format itself is [`crate::protocol::h1`]; decisions (routing, trust, retries) are the proxy's.
//!
//! ```text
//!   RequestHead ── line: String      "GET /a?b HTTP/1.1\r\n"   (method, path, query are spans)
//!       └────────  headers: Headers ── arena: Vec<u8>  "Host: a\r\nAccept: */*\r\n\r\n"
//!                                   └─ fields: [name span, value span, known id, alive]
//! ```

pub mod authority;
pub(crate) mod chars;
pub mod date;
mod error;
pub mod forwarded;
pub(crate) mod framing;
mod headers;
mod hop;
pub(crate) mod list;
mod method;
mod name;
pub(crate) mod name_table;
pub(crate) mod request;
mod response;
pub(crate) mod span;
mod status;
pub(crate) mod target;
pub(crate) mod trailer;
pub mod uri;

pub use error::{FieldError, FramingError, RequestError, ResponseError, SyntaxError, TargetError};
pub use framing::{Framing, request_framing, response_framing};
pub use headers::{FIELDS_MAX, HEADERS_BYTES_MAX, Headers};
pub use hop::{strip_request_hops, strip_response_hops};
pub use method::{Method, Version};
pub use name::Name;
pub use request::{Form, RequestHead, Scheme};
pub use response::ResponseHead;
pub use status::Status;
