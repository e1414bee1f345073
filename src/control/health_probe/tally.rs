//! What a row of answers means. Pure.

use crate::config::HealthConfig;

/// Counts answers until they make a verdict.
///
/// ```text
///   unknown ── first answer ──▶ healthy ── `fall` bad in a row ──▶ unhealthy
///                                  ▲                                  │
///                                  └────── `rise` good in a row ──────┘
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    verdict: Option<bool>,
    /// Answers in a row that speak against the verdict.
    against: u32,
}

impl Tally {
    /// Whether the endpoint is healthy; `None` before the first answer.
    pub(super) fn verdict(&self) -> Option<bool> {
        self.verdict
    }

    /// Takes the next answer; gives the verdict if it changed. The first answer decides alone: a
    /// dead endpoint shall not get requests for `fall` intervals after a start.
    pub(super) fn observe(&mut self, is_good: bool, health: &HealthConfig) -> Option<bool> {
        let Some(verdict) = self.verdict else {
            self.verdict = Some(is_good);
            return self.verdict;
        };
        if is_good == verdict {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = if is_good { health.rise } else { health.fall };
        if self.against < needed {
            return None;
        }
        *self = Self { verdict: Some(is_good), against: 0 };
        self.verdict
    }

    /// For a changed way of asking: what was believed is still believed, what was counted isn't.
    pub(super) fn restarted(self) -> Self {
        Self { against: 0, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Probe;
    use std::time::Duration;

    fn health(rise: u32, fall: u32) -> HealthConfig {
        HealthConfig {
            probe: Probe::Tcp,
            protocol: crate::config::UpstreamProtocol::Http11,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            rise,
            fall,
            expect: vec![200..=399],
        }
    }

    fn changes(answers: &str, health: &HealthConfig) -> String {
        let mut tally = Tally::default();
        let spell = |change: Option<bool>| match change {
            Some(true) => 'U',
            Some(false) => 'D',
            None => '.',
        };
        answers.chars().map(|answer| spell(tally.observe(answer == '+', health))).collect()
    }

    #[test]
    fn the_first_answer_decides_and_then_rise_and_fall_do() {
        let health = health(2, 3);
        assert_eq!(changes("+--+---+-++", &health), "U.....D...U");
        assert_eq!(changes("-+-++", &health), "D...U");
    }

    #[test]
    fn rise_and_fall_of_one_follow_every_answer() {
        assert_eq!(changes("+-+-", &health(1, 1)), "UDUD");
    }

    #[test]
    fn a_restart_keeps_the_verdict_and_forgets_the_count() {
        let health = health(2, 2);
        let mut tally = Tally::default();
        tally.observe(true, &health);
        tally.observe(false, &health);
        let mut tally = tally.restarted();
        assert_eq!(tally.verdict(), Some(true));
        assert_eq!(tally.observe(false, &health), None);
        assert_eq!(tally.observe(false, &health), Some(false));
    }
}
