//! The ends of a connection: drain, failure, and the timeouts that lead there.
//!
//! ```text
//!            drain                    ack of PING, or drain_timeout
//!   No ────────────────▶ Warned ───────────────────────────────────▶ Last(n) ─ no streams ▶ finished
//!    │  GOAWAY(2^31-1), PING     GOAWAY(n): n is the last one taken     ▲
//!    └─ client: GOAWAY(0) ──────────────────────────────────────────────┘
//! ```
//! The first GOAWAY lets requests that are on their way arrive (RFC 9113 §6.8): none is lost.

use super::{Connection, Ping};
use crate::protocol::h2::Role;
use crate::protocol::h2::error::{ConnectionError, ErrorCode, Violation};
use crate::protocol::h2::frame::{WINDOW_MAX, put_go_away, put_ping};
use std::time::Instant;

/// How far a connection is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Going {
    /// It isn't.
    No,
    /// They told us to open no more streams.
    Told,
    /// We have warned them.
    Warned { at: Instant },
    /// We take no stream above that one.
    Last(u32),
}

/// Payload of the PING that follows a warning; any other is a keep-alive's.
pub(super) const DRAIN_PING: [u8; 8] = *b"ringway\x01";
pub(super) const KEEP_ALIVE_PING: [u8; 8] = *b"ringway\x00";

impl Connection {
    /// Ends the connection without losing a request: no new streams, and those that are open run
    /// to their end. A server warns first and takes what arrives within a round trip. Close once
    /// `is_finished`.
    pub fn drain(&mut self, now: Instant) {
        self.now = now;
        if !matches!(self.going, Going::No | Going::Told) || self.failed.is_some() {
            return;
        }
        if self.role == Role::Client {
            put_go_away(0, ErrorCode::NoError, "", &mut self.out);
            self.going = Going::Last(0);
            return;
        }
        put_go_away(WINDOW_MAX, ErrorCode::NoError, "", &mut self.out);
        put_ping(DRAIN_PING, 0, &mut self.out);
        self.going = Going::Warned { at: now };
    }

    /// The first GOAWAY of a drain has been sent, and not the second.
    pub(super) fn is_warned(&self) -> bool {
        matches!(self.going, Going::Warned { .. })
    }

    /// The second GOAWAY of a drain, which is final.
    pub(super) fn drain_last(&mut self) {
        if self.is_warned() {
            put_go_away(self.last_theirs, ErrorCode::NoError, "", &mut self.out);
            self.going = Going::Last(self.last_theirs);
        }
    }

    /// Ends the connection at once with `code`: GOAWAY lies in the output, all streams are gone
    /// without events, and `receive` fails from now on. For deadlines and shutdown.
    pub fn close(&mut self, code: ErrorCode) {
        if self.failed.is_none() {
            put_go_away(self.last_theirs, code, "", &mut self.out);
            self.failed = Some(ConnectionError(Violation::Closed));
        }
    }

    /// A drain has been begun, by us or by them.
    pub fn is_draining(&self) -> bool {
        self.going != Going::No
    }

    /// The drain is through: send what is left of the output and close.
    pub fn is_finished(&self) -> bool {
        self.failed.is_some()
            || matches!(self.going, Going::Last(_) | Going::Told) && self.streams.is_empty()
    }

    /// When `handle_timeout` wants to be called; ask again after every call that takes `now`.
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.failed.is_some() {
            return None;
        }
        let settings =
            (!self.is_settings_acked).then(|| self.settings_sent_at + self.limits.settings_timeout);
        let ping = match self.ping {
            Ping::Sent(at) => Some(at + self.limits.ping_timeout),
            Ping::Idle if self.streams.is_empty() => None,
            Ping::Idle => self.limits.ping_interval.map(|interval| self.heard_at + interval),
        };
        let drain = match self.going {
            Going::Warned { at } => Some(at + self.limits.drain_timeout),
            _ => None,
        };
        [settings, ping, drain].into_iter().flatten().min()
    }

    /// Does what is due: the second GOAWAY, a keep-alive PING.
    ///
    /// # Errors
    /// SETTINGS or PING weren't acknowledged in time; as for `receive`.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ConnectionError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.now = now;
        if !self.is_settings_acked && now >= self.settings_sent_at + self.limits.settings_timeout {
            return Err(self.fail(Violation::SettingsTimeout.into()));
        }
        if let Going::Warned { at } = self.going
            && now >= at + self.limits.drain_timeout
        {
            self.drain_last();
        }
        match (self.ping, self.limits.ping_interval) {
            (Ping::Sent(at), _) if now >= at + self.limits.ping_timeout => {
                return Err(self.fail(Violation::PingTimeout.into()));
            }
            (Ping::Idle, Some(interval))
                if !self.streams.is_empty() && now >= self.heard_at + interval =>
            {
                self.send_ping(now);
            }
            _ => {}
        }
        Ok(())
    }

    /// Sends a PING, unless one is on its way; without an answer in [`super::Limits::ping_timeout`]
    /// `handle_timeout` fails. For callers that want to know whether an idle connection lives.
    pub fn send_ping(&mut self, now: Instant) {
        self.now = now;
        if self.ping == Ping::Idle && self.failed.is_none() {
            put_ping(KEEP_ALIVE_PING, 0, &mut self.out);
            self.ping = Ping::Sent(now);
        }
    }

    /// Is there a PING without an answer?
    pub fn is_pinging(&self) -> bool {
        self.ping != Ping::Idle
    }

    /// The connection is over: says so to them and remembers it.
    pub(super) fn fail(&mut self, error: ConnectionError) -> ConnectionError {
        put_go_away(self.last_theirs, error.code(), error.reason(), &mut self.out);
        self.failed = Some(error);
        error
    }

    /// They sent GOAWAY.
    pub(super) fn set_going_away(&mut self) {
        if self.going == Going::No {
            self.going = Going::Told;
        }
    }

    /// No new streams of ours.
    pub(super) fn is_closing(&self) -> bool {
        self.going != Going::No || self.failed.is_some()
    }

    /// Above what our last GOAWAY promised to take.
    pub(super) fn is_beyond_last(&self, id: u32) -> bool {
        matches!(self.going, Going::Last(last) if id > last)
    }
}
