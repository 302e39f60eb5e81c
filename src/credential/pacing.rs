//! Limits how often finmcp repeats an action that may not help.

use std::time::Duration;

use tokio::time::Instant;

/// Allows an action again after a gap. The gap grows while the action is repeated as soon as it is allowed.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    last: Option<Instant>,
    gap: Duration,
}

impl Pacing {
    /// Whether the action is allowed at `now`.
    pub(super) fn admits(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| now.duration_since(last) >= self.gap)
    }

    /// Whether the gap has not grown yet.
    pub(super) fn is_calm(&self, (shortest, _): (Duration, Duration)) -> bool {
        self.gap <= shortest
    }

    /// Records the action at `now`. The gap doubles, from `shortest` to `longest`, while the action is repeated as
    /// soon as it is allowed.
    pub(super) fn note(&mut self, now: Instant, (shortest, longest): (Duration, Duration)) {
        let is_storm = self.last.is_some_and(|last| now.duration_since(last) < self.gap * 2);
        *self = Self { last: Some(now), gap: if is_storm { longest.min(self.gap * 2) } else { shortest } };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// t018, t056: the gap grows for an action that never helps, and not for one that helps for a while.
    #[test]
    fn t056_the_gap_grows_while_the_action_does_not_help() {
        let gaps = (Duration::from_secs(1), Duration::from_secs(64));
        let done_in_an_hour = |every: f64| {
            let (start, mut pacing, mut count) = (Instant::now(), Pacing::default(), 0);
            let mut elapsed = Duration::ZERO;
            while elapsed < Duration::from_secs(3600) {
                if pacing.admits(start + elapsed) {
                    pacing.note(start + elapsed, gaps);
                    count += 1;
                }
                elapsed += Duration::from_secs_f64(every);
            }
            count
        };
        assert!((60..70).contains(&done_in_an_hour(0.01)));
        assert_eq!(done_in_an_hour(5.0), 720);
    }
}
