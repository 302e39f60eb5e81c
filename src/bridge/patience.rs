//! How long to wait before a server is asked again: as long as it says, and longer each time where it does not.

use std::time::Duration;

use jiff::Timestamp;

/// The longest wait that a server can ask for. More would be somebody else's problem, or nonsense.
pub const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// The shortest wait, whatever the server says.
const SHORTEST_WAIT: Duration = Duration::from_millis(500);

/// The longest wait where the server says nothing.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// How long to wait after the refusal number `refusals` in a row, counted from 0. `asked` is what `Retry-After` asks for,
/// where there is one that makes sense, and `random` any number: of those who were refused together, not all come back
/// together.
pub fn wait(asked: Option<Duration>, refusals: u32, random: u32) -> Duration {
    match asked {
        Some(asked) => asked.clamp(SHORTEST_WAIT, LONGEST_WAIT) + part(SHORTEST_WAIT, random),
        None => backoff(refusals, random),
    }
}

/// How long to wait before a stream is opened again, after `silent` streams in a row on which nothing came. `asked` is what
/// the server's `retry` asks for: that has to be waited (MCP 2025-11-25 transports, "Sending Messages to the Server"), as
/// far as it makes sense. `random` is any number.
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

/// How often in a row a stream on which nothing comes is opened again before the client has to be heard of.
const SILENT_STREAMS: u32 = 6;

/// The streams that were opened one after the other in the place of one that has ended.
#[derive(Debug, Default)]
pub struct Reopening {
    /// What the server's `retry` asked for last.
    pub asked: Option<Duration>,
    silent: u32,
}

impl Reopening {
    /// Something came on the stream.
    pub fn heard(&mut self) {
        self.silent = 0;
    }

    /// How long to wait before the next stream is opened; none where it is left alone.
    pub fn next(&mut self, random: u32) -> Option<Duration> {
        let wait = (self.silent < SILENT_STREAMS).then(|| reconnect(self.asked, self.silent, random));
        self.silent = self.silent.saturating_add(1);
        wait
    }
}

/// What a `Retry-After` asks for: seconds, or a date, which may be over (RFC 9110 section 10.2.3). None where it is
/// neither.
pub fn asked(retry_after: &[u8], now: Timestamp) -> Option<Duration> {
    let text = str::from_utf8(retry_after).ok()?.trim_matches([' ', '\t']);
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // As many digits as anybody likes.
        return Some(text.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let date = Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()?;
    Some(now.duration_until(date).try_into().unwrap_or(Duration::ZERO))
}

/// Twice as long each time, of which the second half is left to chance.
fn backoff(refusals: u32, random: u32) -> Duration {
    let whole = LONGEST_BACKOFF.min(SHORTEST_WAIT.saturating_mul(2_u32.saturating_pow(refusals.saturating_add(1))));
    whole / 2 + part(whole / 2, random)
}

/// As much of `duration` as `random` says.
fn part(duration: Duration, random: u32) -> Duration {
    duration.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-20T08:49:07Z".parse().unwrap()
    }

    /// t121: seconds and all three forms of a date that a recipient must accept (RFC 9110 section 5.6.7).
    #[test]
    fn t121_seconds_and_dates_are_understood() {
        for (value, seconds) in [
            ("0", 0),
            ("7", 7),
            (" 120\t", 120),
            ("007", 7),
            ("1000000000", 1_000_000_000),
            ("Fri, 20 Nov 2026 08:49:37 GMT", 30),
            ("Friday, 20-Nov-26 08:49:37 GMT", 30),
            ("Fri Nov 20 08:49:37 2026", 30),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
        ] {
            assert_eq!(asked(value.as_bytes(), now()), Some(Duration::from_secs(seconds)), "{value:?}");
        }
        assert_eq!(asked(b"99999999999999999999999", now()), Some(Duration::MAX));
    }

    /// t121: what is neither is left to our own patience.
    #[test]
    fn t121_nonsense_is_not_understood() {
        for value in ["", " ", "-1", "+1", "1.5", "1e9", "0x10", "1 s", "soon", "1, 2", "Fri, 99 Nov 2026 08:49:37 GMT"]
        {
            assert_eq!(asked(value.as_bytes(), now()), None, "{value:?}");
            assert_eq!(wait(asked(value.as_bytes(), now()), 3, 9), wait(None, 3, 9), "{value:?}");
        }
        assert_eq!(asked("２".as_bytes(), now()), None);
        assert_eq!(asked(b"\xff", now()), None);
    }

    #[test]
    fn silence_is_met_with_longer_and_longer_waits() {
        let seconds = |refusals| (backoff(refusals, 0).as_secs_f64(), backoff(refusals, u32::MAX).as_secs_f64());
        assert_eq!([seconds(0), seconds(1), seconds(4)], [(0.5, 1.0), (1.0, 2.0), (8.0, 16.0)]);
        assert_eq!([seconds(5), seconds(u32::MAX)], [(15.0, 30.0); 2]);
    }

    /// t124: a stream is opened again when the server says, not too soon, not too late, and ever more rarely where nothing
    /// comes of it.
    #[test]
    fn t124_a_stream_is_opened_again_in_a_while() {
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
        assert_eq!(millis(Some(60_000), 99), (60_000, 60_100), "no less than it asks for");
    }

    /// a2: a server on whose stream nothing comes is left alone after a while, whatever it asks for; one on whose stream
    /// something comes now and then is not.
    #[test]
    fn a2_a_silent_stream_is_given_up() {
        for asked in [None, Some(Duration::ZERO), Some(Duration::from_secs(60)), Some(Duration::MAX)] {
            let mut reopening = Reopening { asked, ..Reopening::default() };
            for round in 0..3 {
                let waits: Vec<_> =
                    (0..6).map(|silent| (reopening.next(7), Some(reconnect(asked, silent, 7)))).collect();
                assert!(waits.iter().all(|(wait, expected)| wait == expected), "{round}: {waits:?}");
                assert_eq!([reopening.next(7), reopening.next(7)], [None; 2], "{asked:?}");
                reopening.heard();
            }
            for _ in 0..100 {
                reopening.heard();
                assert!(reopening.next(7).is_some());
            }
        }
    }

    proptest! {
        /// t121: never shorter than asked for, never much longer, and never without bound.
        #[test]
        fn t121_the_wait_is_what_is_asked_for(seconds in any::<u64>(), refusals in any::<u32>(), random in any::<u32>()) {
            let wanted = Duration::from_secs(seconds).clamp(SHORTEST_WAIT, LONGEST_WAIT);
            let waited = wait(asked(seconds.to_string().as_bytes(), now()), refusals, random);
            prop_assert!(waited >= wanted && waited <= wanted + SHORTEST_WAIT);
        }

        /// t121: whatever a server says, at whatever time, we wait a while and not for ever.
        #[test]
        fn t121_any_value_gives_a_bounded_wait(
            value in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..60),
                "[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT".prop_map(String::into_bytes),
            ],
            refusals in any::<u32>(),
            random in any::<u32>(),
            seconds in -377_705_116_800_i64..253_402_207_200,
        ) {
            let waited = wait(asked(&value, Timestamp::from_second(seconds).unwrap()), refusals, random);
            prop_assert!(waited >= SHORTEST_WAIT && waited <= LONGEST_WAIT + SHORTEST_WAIT);
        }
    }
}
