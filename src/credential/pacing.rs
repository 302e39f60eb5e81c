//! How often something is done again that may not help.

use std::time::Duration;

use tokio::time::Instant;

/// Lets something be done again after a while, and after a longer one for as long as it is done as soon as it may be.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    last: Option<Instant>,
    gap: Duration,
}

impl Pacing {
    /// Whether it may be done at `now`.
    pub(super) fn admits(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| now.duration_since(last) >= self.gap)
    }

    /// Whether it has not been done as often as it may be: once more, and early, is no storm yet.
    pub(super) fn is_calm(&self, (shortest, _): (Duration, Duration)) -> bool {
        self.gap <= shortest
    }

    /// It was done at `now`. The gap doubles, from `shortest` to `longest`, while it is done as often as it may be.
    pub(super) fn note(&mut self, now: Instant, (shortest, longest): (Duration, Duration)) {
        let is_storm = self.last.is_some_and(|last| now.duration_since(last) < self.gap * 2);
        *self = Self { last: Some(now), gap: if is_storm { longest.min(self.gap * 2) } else { shortest } };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// t018, t056: what never helps is done less and less; what helps for a while is done each time.
    #[test]
    fn t056_what_does_not_help_is_paced() {
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
