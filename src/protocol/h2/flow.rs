//! The credit that we give for DATA (RFC 9113 §5.2, §6.9): never more outstanding than the window,
//! given back in halves of it, so that a WINDOW_UPDATE is rare.
//!
//! ```text
//!   window = allowed (they may still send) + held (came, not released) + freed (not announced)
//! ```

use super::error::Violation;

/// Credit for a whole connection.
#[derive(Debug)]
pub(crate) struct Credit {
    /// The whole window.
    window: u32,
    /// What they may still send.
    allowed: u32,
    /// What was released and isn't announced yet.
    freed: u32,
}

impl Credit {
    pub(crate) const fn new(window: u32) -> Self {
        Self { window, allowed: window, freed: 0 }
    }

    /// DATA came.
    ///
    /// # Errors
    /// [`Violation::WindowExceeded`].
    #[inline]
    pub(crate) fn take(&mut self, len: u32) -> Result<(), Violation> {
        self.allowed = self.allowed.checked_sub(len).ok_or(Violation::WindowExceeded)?;
        Ok(())
    }

    /// Gives back; an increment to announce, if it is worth one.
    #[inline]
    pub(crate) fn free(&mut self, len: u32) -> Option<u32> {
        self.freed = self.freed.saturating_add(len);
        debug_assert!(
            u64::from(self.freed) + u64::from(self.allowed) <= u64::from(self.window),
            "credit is given back once"
        );
        if self.freed < self.window.div_ceil(2) {
            return None;
        }
        let increment = std::mem::take(&mut self.freed);
        self.allowed = self.allowed.saturating_add(increment);
        Some(increment)
    }

    /// What they have that isn't given back.
    #[cfg(test)]
    pub(crate) fn held(&self) -> u32 {
        self.window - self.allowed - self.freed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_is_announced_in_halves_and_never_grows() {
        let mut credit = Credit::new(100);
        credit.take(60).unwrap();
        assert_eq!(credit.take(41), Err(Violation::WindowExceeded));
        assert_eq!((credit.free(49), credit.held()), (None, 11));
        assert_eq!(credit.free(1), Some(50));
        credit.take(90).unwrap();
        assert_eq!(credit.take(1), Err(Violation::WindowExceeded));
        assert_eq!(credit.held(), 100);
    }
}
