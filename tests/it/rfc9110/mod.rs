//! RFC 9110, HTTP semantics, where they concern an intermediary.

mod connection;
