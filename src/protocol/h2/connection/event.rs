//! What a connection tells its driver.

use crate::protocol::h2::{ErrorCode, StreamId, Violation};
use crate::protocol::http::Framing;
use std::ops::Range;

/// Something that happened. Handle each before the next call of `receive`: heads are taken by
/// `take_request`, `take_response` and `take_trailers`, and ranges are into the bytes that were
/// given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Servers: a request's head has come; take it with `take_request`. The stream is the
    /// caller's from now on: it has to end it (a response to its end, or `reset`).
    Request {
        /// Its stream.
        stream: StreamId,
        /// What is known of the body: a length, none, or `Chunked` for any length.
        framing: Framing,
        /// No DATA follows. With `Length(0)` an empty DATA may still have to.
        end: bool,
    },
    /// Clients: an interim response (1xx); take it with `take_response`.
    Interim {
        /// Its stream.
        stream: StreamId,
    },
    /// Clients: the final response's head; take it with `take_response`.
    Response {
        /// Its stream.
        stream: StreamId,
        /// What is known of the body.
        framing: Framing,
        /// No DATA follows.
        end: bool,
    },
    /// A piece of a body. Give its credit back with `release` when it has been passed on.
    Data {
        /// Its stream.
        stream: StreamId,
        /// Where it is in the bytes given to `receive`; may be empty.
        range: Range<usize>,
        /// It is the last.
        end: bool,
    },
    /// The body is over and has trailers; take them with `take_trailers`.
    Trailers {
        /// Their stream.
        stream: StreamId,
    },
    /// The stream is over before its time, and forgotten: calls for it give
    /// `SendError::StreamClosed`. Never for streams that the caller reset itself.
    Reset {
        /// Which.
        stream: StreamId,
        /// The code that came or was sent.
        code: ErrorCode,
        /// Who ended it and what that means for the request.
        cause: ResetCause,
    },
    /// More can be sent on a stream whose `send_data` took less than it was given.
    Capacity {
        /// Which.
        stream: StreamId,
    },
    /// SETTINGS came, the first or later ones: `streams_free` and `connect_protocol` may have
    /// changed.
    Settings,
    /// The other side opens or takes no new streams; those above its last one have got `Reset`
    /// events. Finish the rest and close.
    GoAway {
        /// Why.
        code: ErrorCode,
    },
    /// A request that breaks a rule was answered by RST_STREAM (431 if it was too large) and
    /// isn't the caller's: for counting only.
    Refused {
        /// Its stream.
        stream: StreamId,
        /// The rule.
        violation: Violation,
    },
}

/// Who ended a stream early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetCause {
    /// They sent RST_STREAM.
    Theirs,
    /// The server says that it did nothing for this request (REFUSED_STREAM, or GOAWAY below its
    /// number; RFC 9113 §8.7): it is safe to send again, whatever its method.
    Unprocessed,
    /// They broke a rule, and we sent RST_STREAM.
    Violation(Violation),
}
