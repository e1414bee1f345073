//! One stream: its state (RFC 9113 §5.1), its windows, and what its content may still be.
//!
//! ```text
//!             ┌────────┐  they end   ┌─────────────────────┐
//!   HEADERS ─▶│  Open  │────────────▶│ HalfClosedRemote    │─ we end ──┐
//!             │        │   we end    ├─────────────────────┤           ▼
//!             │        │────────────▶│ HalfClosedLocal     │─ they ▶ closed
//!             └───┬────┘             └──────────┬──────────┘   end     ▲
//!                 └───────── RST_STREAM ────────┴──────────────────────┘
//! ```
//! Idle streams aren't stored (every number above the last one), nor are closed ones
//! ([`super::streams::Closed`] remembers the latest). Reserved doesn't exist without push.

use super::frame::put_window_update;

/// The states in which a stream is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Both sides may send.
    Open,
    /// We have ended.
    HalfClosedLocal,
    /// They have ended.
    HalfClosedRemote,
}

/// What an ending side leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    Open(State),
    Closed,
}

impl State {
    /// They may still send DATA or HEADERS.
    #[inline]
    pub(crate) fn they_may_send(self) -> bool {
        self != Self::HalfClosedRemote
    }

    /// We may still send DATA or HEADERS.
    #[inline]
    pub(crate) fn we_may_send(self) -> bool {
        self != Self::HalfClosedLocal
    }

    /// END_STREAM came.
    #[inline]
    pub(crate) fn they_end(self) -> After {
        match self {
            Self::Open => After::Open(Self::HalfClosedRemote),
            Self::HalfClosedRemote => After::Open(self),
            Self::HalfClosedLocal => After::Closed,
        }
    }

    /// We sent END_STREAM.
    #[inline]
    pub(crate) fn we_end(self) -> After {
        match self {
            Self::Open => After::Open(Self::HalfClosedLocal),
            Self::HalfClosedLocal => After::Open(self),
            Self::HalfClosedRemote => After::Closed,
        }
    }
}

/// DATA that may come (§8.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// No head yet: none.
    Early,
    /// As much as they like.
    Any,
    /// So many octets, and then the end.
    Left(u64),
    /// None: responses to HEAD, 204, 304.
    Forbidden,
}

/// A stream that isn't closed.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    pub(crate) state: State,
    /// DATA that we may send; negative after they lowered it (§6.9.2).
    pub(crate) send_window: i64,
    /// DATA that they may send.
    pub(crate) recv_window: i64,
    /// DATA that the caller has and hasn't released.
    pub(crate) unreleased: u32,
    /// Credit that is released and not announced yet.
    pub(crate) freed: u32,
    pub(crate) content: Content,
    /// Our final head has been sent.
    pub(crate) is_head_sent: bool,
    /// Their final head has come.
    pub(crate) is_head_received: bool,
    /// A request of ours to which no content comes back.
    pub(crate) is_head_method: bool,
    /// A CONNECT, plain or extended; no longer one once it is declined.
    pub(crate) is_connect: bool,
    /// The caller wanted to send more than it could, and waits for `Capacity`.
    pub(crate) is_waiting: bool,
    /// It stands in the queue of those.
    pub(crate) is_queued: bool,
}

impl Stream {
    pub(crate) fn new(id: u32, send_window: u32, recv_window: u32) -> Self {
        Self {
            id,
            state: State::Open,
            send_window: send_window.into(),
            recv_window: recv_window.into(),
            unreleased: 0,
            freed: 0,
            content: Content::Early,
            is_head_sent: false,
            is_head_received: false,
            is_head_method: false,
            is_connect: false,
            is_waiting: false,
            is_queued: false,
        }
    }

    /// Gives the credit that was released back, if it is half of `window` and of any use.
    #[inline]
    pub(crate) fn announce(&mut self, window: u32, out: &mut Vec<u8>) {
        if self.freed >= window.div_ceil(2) && self.freed > 0 && self.state.they_may_send() {
            let increment = std::mem::take(&mut self.freed);
            self.recv_window += i64::from(increment);
            put_window_update(self.id, increment, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9113 §5.1, figure 2.
    #[test]
    fn a_stream_closes_when_both_sides_have_ended() {
        assert_eq!(State::Open.they_end(), After::Open(State::HalfClosedRemote));
        assert_eq!(State::HalfClosedRemote.we_end(), After::Closed);
        assert_eq!(State::Open.we_end(), After::Open(State::HalfClosedLocal));
        assert_eq!(State::HalfClosedLocal.they_end(), After::Closed);
        assert!(State::Open.they_may_send() && State::Open.we_may_send());
        assert!(!State::HalfClosedRemote.they_may_send() && State::HalfClosedRemote.we_may_send());
        assert!(State::HalfClosedLocal.they_may_send() && !State::HalfClosedLocal.we_may_send());
    }
}
