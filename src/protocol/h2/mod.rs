//! HTTP/2 (RFC 9113) with HPACK (RFC 7541), both roles: one sans-IO machine per connection.
//!
//! ```text
//!  socket ─ bytes ─▶ receive ─▶ poll_event ─┬▶ Request, Response, Interim ── take_*(&mut head)
//!                                           ├▶ Data { range } ── pass on, then release(n)
//!                                           ├▶ Trailers, Reset, Capacity
//!                                           └▶ Settings, GoAway, Refused
//!  socket ◀─ one send ◀─ transmit ◀─ output ◀── send_request, send_response, send_data,
//!                                               send_trailers, reset, drain, and all answers
//! ```
//! Decides nothing about requests and knows no clock: `now` comes in, [`Connection::next_timeout`]
//! says when it wants to be told again. Payload is never stored: DATA comes out as ranges into the
//! caller's bytes and is copied once on the way out. After warm-up nothing is allocated.
//!
//! # Driving a connection
//! One task owns the socket, stream tasks share the [`Connection`] through a `RefCell`. A turn:
//! ```text
//!   read task    bytes ─▶ while at < len { receive(now, &bytes[at..]); all events; at += used }
//!                  Request   take_request into a spare head, note the stream, start its task
//!                  Data      copy into the stream's queue (bounded by its window), wake its task;
//!                            the task calls release(n) when it has passed n bytes on
//!                  Reset     drop the task (its future); the stream is gone already
//!                  Capacity  wake the task, which calls send_data with the rest
//!                All bytes are used up: the receive buffer goes back to the ring at once.
//!   stream task  send_response, send_data (takes what fits; wait for Capacity), send_trailers
//!                  drop half-way: reset(stream, Cancel); after a whole response to a request that
//!                  is still coming: reset(stream, NoError)
//!   end of turn  if no send is running: transmit(now, &mut buffer), poll_event, send the buffer
//!   timer        next_timeout ─▶ handle_timeout(now), then as at the end of a turn
//!   Err(_)       transmit once more (GOAWAY is in it), send, close
//!   drain        drain(now); once is_finished(): transmit, send, close
//! ```
//! Start a stream's task after the bytes of a turn are read, not within: a request that is
//! cancelled in the same bytes then costs nothing (CVE-2023-44487).
//!
//! A client (towards an upstream) is the same, with `send_request` while [`Connection::streams_free`]
//! isn't 0, and `Response` and `Interim` instead of `Request`. [`ResetCause::Unprocessed`] is safe
//! to retry elsewhere. A `Reset` with `NoError` after the response's end only says that the rest of
//! the request isn't wanted.
//!
//! # Bounds
//! [`Limits`] names every one. A connection holds at most: its window of DATA (with the caller), one
//! header block, one head, one cut frame (16 KiB), `output_bytes` + `control_bytes` of output beyond
//! the heads that the caller sends, two HPACK tables of 4 KiB, and 100 bytes a stream.

mod abuse;
mod connection;
mod error;
mod fields;
mod flow;
mod frame;
mod head;
pub mod hpack;
mod limits;
mod settings;
mod stream;
mod streams;

pub use abuse::{Abuse, Allowance};
pub use connection::{Connection, EndStream, Event, ResetCause, StreamState};
pub use error::{ConnectionError, ErrorCode, SendError, Violation};
pub use frame::{FRAME_BYTES_MAX, FRAME_HEAD_BYTES, PREFACE, StreamId, WINDOW_DEFAULT, WINDOW_MAX};
pub use hpack::{HpackError, TABLE_BYTES_MAX};
pub use limits::Limits;

/// Which side of a connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes requests.
    Server,
    /// Sends requests.
    Client,
}
