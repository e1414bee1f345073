//! Meters against floods: cheap frames that cost us more than their sender.
//!
//! Each kind has a leaky bucket. What honest clients do in bulk is paid for by the work that it
//! belongs to (an answered stream pays for a cancelled one, DATA for WINDOW_UPDATEs and PINGs), so
//! only useless frames fill it; it leaks with time, so a long life is no crime. A full one ends
//! the connection with ENHANCE_YOUR_CALM.
//!
//! ```text
//!   frame ─cost─▶ ┌─────┐ ── over `burst` ─▶ ConnectionError
//!                 │level│ ─ useful work, `leak` a second ─▶
//!                 └─────┘
//! ```

use std::time::{Duration, Instant};

/// Kinds of abuse; also the labels of what is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Abuse {
    /// Streams cancelled before they were answered (CVE-2023-44487).
    RapidReset,
    /// Frames that make us reset a stream (CVE-2025-8671, "MadeYouReset").
    ProvokedReset,
    /// Streams above the limit, opened after the client knew it.
    RefusedStreams,
    /// Header blocks in too many pieces, or too long (CVE-2024-27316).
    Continuation,
    /// SETTINGS (CVE-2019-9515).
    Settings,
    /// PING (CVE-2019-9512).
    Ping,
    /// DATA without content, with padding or without (CVE-2019-9518).
    EmptyData,
    /// WINDOW_UPDATE for which we hadn't sent anything, or crumbs of a window (CVE-2019-9511).
    WindowUpdate,
    /// PRIORITY and PRIORITY_UPDATE (CVE-2019-9513).
    Priority,
    /// Frames of types that nobody knows.
    UnknownFrames,
    /// Frames on streams that are over.
    StrayFrames,
    /// Answers to control frames that the other side doesn't read.
    OutputQueue,
}

impl Abuse {
    /// Every kind, in the order in which they are counted.
    pub const ALL: [Self; 12] = [
        Self::RapidReset,
        Self::ProvokedReset,
        Self::RefusedStreams,
        Self::Continuation,
        Self::Settings,
        Self::Ping,
        Self::EmptyData,
        Self::WindowUpdate,
        Self::Priority,
        Self::UnknownFrames,
        Self::StrayFrames,
        Self::OutputQueue,
    ];

    /// A metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RapidReset => "rapid_reset",
            Self::ProvokedReset => "provoked_reset",
            Self::RefusedStreams => "refused_streams",
            Self::Continuation => "continuation",
            Self::Settings => "settings",
            Self::Ping => "ping",
            Self::EmptyData => "empty_data",
            Self::WindowUpdate => "window_update",
            Self::Priority => "priority",
            Self::UnknownFrames => "unknown_frames",
            Self::StrayFrames => "stray_frames",
            Self::OutputQueue => "output_queue",
        }
    }

    /// What was too much, in a few words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::RapidReset => "too many streams cancelled unanswered",
            Self::ProvokedReset => "too many frames that break streams",
            Self::RefusedStreams => "too many streams above the limit",
            Self::Continuation => "header block in too many pieces or too long",
            Self::Settings => "too many SETTINGS",
            Self::Ping => "too many PINGs",
            Self::EmptyData => "too many DATA frames without content",
            Self::WindowUpdate => "too many WINDOW_UPDATEs",
            Self::Priority => "too many PRIORITY frames",
            Self::UnknownFrames => "too many unknown frames",
            Self::StrayFrames => "too many frames on closed streams",
            Self::OutputQueue => "answers to control frames aren't read",
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// How much of one kind is borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// At once.
    pub burst: u32,
    /// More each second.
    pub per_second: u32,
}

/// The meters of one connection.
#[derive(Debug)]
pub(crate) struct Meters {
    levels: [u32; Abuse::ALL.len()],
    leaked_at: [Instant; Abuse::ALL.len()],
    resets: Allowance,
}

impl Meters {
    /// Meters at zero; `resets` bounds [`Abuse::RapidReset`], and half of it
    /// [`Abuse::ProvokedReset`]: no honest client provokes any.
    pub(crate) const fn new(resets: Allowance, now: Instant) -> Self {
        Self { levels: [0; Abuse::ALL.len()], leaked_at: [now; Abuse::ALL.len()], resets }
    }

    /// Adds `cost` to a kind.
    ///
    /// # Errors
    /// The kind, once it is over its allowance.
    #[inline]
    pub(crate) fn charge(&mut self, kind: Abuse, cost: u32, now: Instant) -> Result<(), Abuse> {
        let allowance = self.allowance(kind);
        let Some(level) = self.levels.get_mut(kind.index()) else { return Ok(()) };
        *level = level.saturating_add(cost);
        if *level <= allowance.burst {
            return Ok(());
        }
        self.leak(kind, allowance, now)
    }

    /// Useful work pays for `amount` of a kind.
    #[inline]
    pub(crate) fn credit(&mut self, kind: Abuse, amount: u32) {
        if let Some(level) = self.levels.get_mut(kind.index()) {
            *level = level.saturating_sub(amount);
        }
    }

    /// Only a full bucket looks at the clock: what has leaked since it last did makes room.
    #[cold]
    fn leak(&mut self, kind: Abuse, allowance: Allowance, now: Instant) -> Result<(), Abuse> {
        let (Some(level), Some(at)) =
            (self.levels.get_mut(kind.index()), self.leaked_at.get_mut(kind.index()))
        else {
            return Ok(());
        };
        let elapsed = now.saturating_duration_since(*at).min(LEAK_MAX);
        let leaked = elapsed.as_millis().saturating_mul(allowance.per_second.into()) / 1000;
        let leaked = u32::try_from(leaked).unwrap_or(u32::MAX);
        if leaked > 0 {
            *level = level.saturating_sub(leaked);
            *at = now;
        }
        if *level <= allowance.burst { Ok(()) } else { Err(kind) }
    }

    const fn allowance(&self, kind: Abuse) -> Allowance {
        let (burst, per_second) = match kind {
            Abuse::RapidReset => return self.resets,
            Abuse::ProvokedReset => (self.resets.burst / 2, self.resets.per_second / 2),
            Abuse::RefusedStreams => (100, 10),
            Abuse::Continuation => (0, 0),
            Abuse::Settings => (32, 1),
            Abuse::Ping => (100, 10),
            Abuse::EmptyData => (100, 10),
            Abuse::WindowUpdate => (1000, 100),
            Abuse::Priority => (500, 50),
            Abuse::UnknownFrames => (200, 20),
            Abuse::StrayFrames => (1000, 100),
            Abuse::OutputQueue => (0, 0),
        };
        Allowance { burst, per_second }
    }
}

/// Longest pause that counts; beyond it every bucket is empty anyway.
const LEAK_MAX: Duration = Duration::from_secs(3600);
