//! Whether this machine has slept: what it was connected to then may be gone, and nobody tells.

use std::time::{Duration, Instant, SystemTime};

/// Two clocks, read together: one goes on while the machine sleeps, the other does not (but on Windows, where a
/// connection that was idle for so long is not used again anyway).
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    pub(super) wall: SystemTime,
    pub(super) awake: Instant,
}

impl Clocks {
    /// Both as they are.
    #[expect(clippy::disallowed_methods, reason = "not for the time, but for how much of it was slept through")]
    pub(super) fn read() -> Self {
        Self { wall: SystemTime::now(), awake: Instant::now() }
    }

    /// Whether the machine has slept since `before`, or its clock was set forward: then one goes ahead of the other.
    pub(super) fn slept_since(self, before: Self) -> bool {
        /// Longer than a clock is adjusted by, and shorter than any network forgets a connection.
        const A_NAP: Duration = Duration::from_secs(10);
        let awake = self.awake.saturating_duration_since(before.awake);
        self.wall.duration_since(before.wall).is_ok_and(|passed| passed > awake + A_NAP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// t130: neither time that passes nor a clock that is set back is sleep.
    #[test]
    fn t130_a_sleep_is_what_one_clock_misses() {
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
