//! How long to wait before a retry: as long as the server asks, else longer each time.

use std::time::Duration;

/// The longest wait that a server can ask for. More than this helps no client.
pub const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// The shortest wait, whatever the server asks.
const SHORTEST_WAIT: Duration = Duration::from_millis(500);

/// The longest wait if the server asks for none.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// How long to wait after the refusal number `refusals` in a row, counted from 0. `asked` is the wait in
/// `Retry-After`, if that is valid; `random` is any number, so that requests refused together are not retried
/// together.
pub fn wait(asked: Option<Duration>, refusals: u32, random: u32) -> Duration {
    match asked {
        Some(asked) => asked.clamp(SHORTEST_WAIT, LONGEST_WAIT) + part(SHORTEST_WAIT, random),
        None => backoff(refusals, random),
    }
}

/// How long to wait before reopening a stream, after `silent` streams in a row on which nothing came. `asked` is the
/// wait in the server's `retry`, which must be kept (MCP 2025-11-25 transports, "Sending Messages to the Server")
/// within reason. `random` is any number.
pub fn reconnect(asked: Option<Duration>, silent: u32, random: u32) -> Duration {
    const SHORTEST: Duration = Duration::from_millis(100);
    let Some(asked) = asked else { return backoff(silent, random) };
    let asked = asked.clamp(SHORTEST, LONGEST_WAIT);
    let wait = asked + part(asked.min(SHORTEST_WAIT) / 5, random);
    match silent {
        0 => wait.min(LONGEST_WAIT),
        _ => wait.min(LONGEST_WAIT).max(backoff(silent - 1, random)),
    }
}

/// How many silent streams in a row are reopened, until the client sends something.
const SILENT_STREAMS: u32 = 6;

/// Counts the silent streams in a row.
#[derive(Debug, Default)]
pub struct Reopening {
    /// The wait in the server's last `retry`.
    pub asked: Option<Duration>,
    silent: u32,
}

impl Reopening {
    /// Something came on the stream.
    pub fn received(&mut self) {
        self.silent = 0;
    }

    /// How long to wait before opening the next stream; none to give up.
    pub fn next(&mut self, random: u32) -> Option<Duration> {
        let wait = (self.silent < SILENT_STREAMS).then(|| reconnect(self.asked, self.silent, random));
        self.silent = self.silent.saturating_add(1);
        wait
    }
}

/// Doubles each time; the second half is random.
fn backoff(refusals: u32, random: u32) -> Duration {
    let whole = LONGEST_BACKOFF.min(SHORTEST_WAIT.saturating_mul(2_u32.saturating_pow(refusals.saturating_add(1))));
    whole / 2 + part(whole / 2, random)
}

/// The part of `duration` that `random` stands for.
fn part(duration: Duration, random: u32) -> Duration {
    duration.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_without_a_request_from_the_server_grow() {
        let seconds = |refusals| (backoff(refusals, 0).as_secs_f64(), backoff(refusals, u32::MAX).as_secs_f64());
        assert_eq!([seconds(0), seconds(1), seconds(4)], [(0.5, 1.0), (1.0, 2.0), (8.0, 16.0)]);
        assert_eq!([seconds(5), seconds(u32::MAX)], [(15.0, 30.0); 2]);
    }

    /// t124: a stream is reopened when the server says, neither too early nor too late, and less and less often if
    /// nothing comes on it.
    #[test]
    fn t124_a_stream_is_reopened_after_a_wait() {
        let millis = |asked: Option<u64>, silent| {
            let wait = |random| reconnect(asked.map(Duration::from_millis), silent, random).as_millis();
            (wait(0), wait(u32::MAX))
        };
        assert_eq!(
            [millis(None, 0), millis(None, 1), millis(None, u32::MAX)],
            [(500, 1000), (1000, 2000), (15_000, 30_000)]
        );
        assert_eq!(
            [millis(Some(0), 0), millis(Some(100), 0), millis(Some(3000), 0)],
            [(100, 120), (100, 120), (3000, 3100)]
        );
        for never in [300_000, 1_000_000_000_000, u64::MAX] {
            assert_eq!([millis(Some(never), 0), millis(Some(never), 9)], [(300_000, 300_000); 2]);
        }
        assert_eq!(
            [millis(Some(0), 1), millis(Some(0), 3), millis(Some(0), 99)],
            [(500, 1000), (2000, 4000), (15_000, 30_000)]
        );
        assert_eq!(millis(Some(60_000), 99), (60_000, 60_100), "not less than the server asks for");
    }

    /// a2: a server whose streams stay silent is left alone after a while, whatever it asks for; one whose streams
    /// carry something is not.
    #[test]
    fn a2_a_silent_stream_is_given_up() {
        for asked in [None, Some(Duration::ZERO), Some(Duration::from_secs(60)), Some(Duration::MAX)] {
            let mut reopening = Reopening { asked, ..Reopening::default() };
            for round in 0..3 {
                let waits: Vec<_> =
                    (0..6).map(|silent| (reopening.next(7), Some(reconnect(asked, silent, 7)))).collect();
                assert!(waits.iter().all(|(wait, expected)| wait == expected), "{round}: {waits:?}");
                assert_eq!([reopening.next(7), reopening.next(7)], [None; 2], "{asked:?}");
                reopening.received();
            }
            for _ in 0..100 {
                reopening.received();
                assert!(reopening.next(7).is_some());
            }
        }
    }

    proptest! {
        /// t121: not shorter than asked for, hardly longer, and bounded.
        #[test]
        fn t121_the_wait_is_as_long_as_asked(seconds in any::<u64>(), refusals in any::<u32>(), random in any::<u32>()) {
            let asked = Duration::from_secs(seconds);
            let wanted = asked.clamp(SHORTEST_WAIT, LONGEST_WAIT);
            let waited = wait(Some(asked), refusals, random);
            prop_assert!(waited >= wanted && waited <= wanted + SHORTEST_WAIT);
        }

        /// t121: without a valid wait from the server, the wait is still bounded.
        #[test]
        fn t121_any_wait_is_bounded(refusals in any::<u32>(), random in any::<u32>()) {
            for asked in [None, Some(Duration::ZERO), Some(Duration::MAX)] {
                let waited = wait(asked, refusals, random);
                prop_assert!(waited >= SHORTEST_WAIT && waited <= LONGEST_WAIT + SHORTEST_WAIT);
            }
        }
    }
}
