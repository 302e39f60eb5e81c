//! Detects that this machine has slept, because its connections may be dead without any sign.

use std::time::{Duration, Instant, SystemTime};

/// Two clocks read at the same moment: the wall clock advances while the machine sleeps, the monotonic clock does not.
/// (On Windows it does, but a connection that was idle for that long is not reused anyway.)
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    pub(super) wall: SystemTime,
    pub(super) awake: Instant,
}

impl Clocks {
    #[expect(clippy::disallowed_methods, reason = "measures sleep, not the time of day")]
    pub(super) fn read() -> Self {
        Self { wall: SystemTime::now(), awake: Instant::now() }
    }

    /// Whether the machine has slept since `before`, or its clock was set forward: the wall clock is ahead.
    pub(super) fn slept_since(self, before: Self) -> bool {
        /// Longer than clock adjustments, and shorter than the time after which networks drop idle connections.
        const SHORTEST_SLEEP: Duration = Duration::from_secs(10);
        let awake = self.awake.saturating_duration_since(before.awake);
        self.wall.duration_since(before.wall).is_ok_and(|passed| passed > awake + SHORTEST_SLEEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// t130: neither passing time nor a clock that is set back counts as sleep.
    #[test]
    fn t130_sleep_is_the_difference_between_the_clocks() {
        let before = Clocks::read();
        let hour = Duration::from_secs(3600);
        let after = |wall, awake| Clocks { wall, awake }.slept_since(before);
        assert!(after(before.wall + hour, before.awake));
        assert!(after(before.wall + 2 * hour, before.awake + hour));
        assert!(!after(before.wall + hour, before.awake + hour));
        assert!(!after(before.wall - hour, before.awake + hour));
        assert!(!after(before.wall, before.awake));
    }
}
