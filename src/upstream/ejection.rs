//! How long one endpoint stays ejected: one word that all shards change at once.
//!
//! Knows nothing of why, of the other endpoints or of probes; `outlier` decides. Every change is
//! one compare-exchange and its winner is told, so that each is acted upon once. Sans-IO: `now`
//! is passed in.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// The ejection of one endpoint, in one word:
/// ```text
///   bit 63   62 ............. 16   15 ...... 0
///   is out   milliseconds          times
/// ```
/// Out: until when, and the how-manieth time in a row. In: since when, and how many times still
/// count. Milliseconds run from `epoch` and last for 4,400 years.
#[derive(Debug)]
pub(super) struct Ejection {
    epoch: Instant,
    word: AtomicU64,
}

impl Ejection {
    pub(super) fn new(epoch: Instant) -> Self {
        Self { epoch, word: AtomicU64::new(0) }
    }

    pub(super) fn is_out(&self, now: Instant) -> bool {
        let word = Word::unpack(self.word.load(Ordering::Relaxed));
        word.is_out && self.millis(now) < word.millis
    }

    /// Ejects; the length of it, or `None` when it is out already.
    pub(super) fn begin(&self, now: Instant, unit: Duration) -> Option<Duration> {
        let packed = self.word.load(Ordering::Relaxed);
        let word = Word::unpack(packed);
        let at = self.millis(now);
        if word.is_out && at < word.millis {
            return None;
        }
        let times = word.times.saturating_add(1).min(TIMES_MAX);
        let length = unit.saturating_mul(u32::from(times)).max(Duration::from_millis(1));
        let millis = at.saturating_add(millis(length));
        self.exchange(packed, Word { is_out: true, millis, times }).then_some(length)
    }

    /// Ends an ejection whose time is over; true for the one caller that did it.
    pub(super) fn end_if_over(&self, now: Instant) -> bool {
        let packed = self.word.load(Ordering::Relaxed);
        let word = Word::unpack(packed);
        let at = self.millis(now);
        word.is_out
            && at >= word.millis
            && self.exchange(packed, Word { is_out: false, millis: at, ..word })
    }

    /// Ends an ejection early.
    pub(super) fn end_now(&self, now: Instant) {
        let packed = self.word.load(Ordering::Relaxed);
        let word = Word::unpack(packed);
        if word.is_out {
            // Lost to another change: then that one stands.
            let _ended =
                self.exchange(packed, Word { is_out: false, millis: self.millis(now), ..word });
        }
    }

    /// Takes one off the multiplier for each `unit` of good service.
    pub(super) fn forgive(&self, now: Instant, unit: Duration) {
        let packed = self.word.load(Ordering::Relaxed);
        let word = Word::unpack(packed);
        let at = self.millis(now);
        if !word.is_out && word.times > 0 && at.saturating_sub(word.millis) >= millis(unit) {
            let times = word.times - 1;
            let _forgiven = self.exchange(packed, Word { is_out: false, millis: at, times });
        }
    }

    fn exchange(&self, from: u64, to: Word) -> bool {
        self.word.compare_exchange(from, to.pack(), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.epoch))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word {
    is_out: bool,
    millis: u64,
    times: u16,
}

impl Word {
    fn pack(self) -> u64 {
        u64::from(self.is_out) << 63 | self.millis.min(MILLIS_MAX) << 16 | u64::from(self.times)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low 16 bits are the point")]
    fn unpack(word: u64) -> Self {
        Self { is_out: word >> 63 == 1, millis: (word >> 16) & MILLIS_MAX, times: word as u16 }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An ejection is at most this many times `eject` long.
pub const TIMES_MAX: u16 = 10;
const MILLIS_MAX: u64 = (1 << 47) - 1;
