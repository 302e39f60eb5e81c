//! How often a server may be called, and whether it may be called now: the generic cell rate algorithm, on a clock
//! that several processes share.
//!
//! Times are in microseconds since the Unix epoch. The wall clock can be set back; usage up to then stays used up. Set
//! forward, it allows at most one more burst.

use std::{num::NonZeroU32, time::Duration};

use crate::bridge::upstream::rate::patience::LONGEST_WAIT;

/// A server's limit: a burst of requests at once, and then one per interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Microseconds per request.
    interval: u64,
    /// How far requests may be ahead of one per interval, in microseconds: the size of a burst.
    tolerance: u64,
}

impl Rate {
    /// No limit, except for pauses that the server asks for.
    pub const UNLIMITED: Self = Self { interval: 0, tolerance: 0 };

    /// At most `limit` requests in any minute.
    pub fn per_minute(limit: NonZeroU32) -> Self {
        Self::per(Duration::from_secs(60), limit)
    }

    /// At most `limit` requests in any period of this length, whenever the server starts to count: a third of them can
    /// be used at once, and the rest is spread over the period.
    pub fn per(period: Duration, limit: NonZeroU32) -> Self {
        // Network delays vary, so requests can arrive closer together than they were sent.
        let period = micros(period + period / 20);
        let limit = u64::from(limit.get());
        let burst = (limit / 3).max(1);
        let interval = period.div_ceil(limit - burst + 1);
        Self { interval, tolerance: interval * (burst - 1) }
    }

    /// The time per request in the long run.
    pub fn interval(self) -> Duration {
        Duration::from_micros(self.interval)
    }
}

/// How much of a [`Rate`] is used up. A request counts when it is sent: one that is cancelled while it waits uses up
/// nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// When this was written.
    noted: u64,
    /// When the next request would come at one per interval: the theoretical arrival time.
    arrival: u64,
}

impl Usage {
    /// Parses the output of [`Usage::to_text`]. An empty text is an unused rate; an invalid one counts as a burst just
    /// used, the safe assumption.
    pub fn from_text(text: &[u8], rate: Rate, now: u64) -> Self {
        if text.is_empty() {
            return Self::default();
        }
        let most = rate.tolerance.saturating_add(rate.interval.max(micros(LONGEST_WAIT)));
        Self::parse(text)
            .filter(|usage| usage.arrival.saturating_sub(usage.noted) <= most)
            .unwrap_or(Self { noted: now, arrival: now.saturating_add(rate.tolerance).saturating_add(rate.interval) })
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (noted, arrival) = str::from_utf8(text).ok()?.strip_suffix('\n')?.split_once(' ')?;
        Some(Self { noted: noted.parse().ok()?, arrival: arrival.parse().ok()? })
    }

    /// One line of text. All lines have the same length, so that none leaves trailing bytes of a longer one.
    pub fn to_text(self) -> String {
        format!("{:020} {:020}\n", self.noted, self.arrival)
    }

    /// Uses up one request, to be sent now. If that is not possible yet, uses up nothing and returns how long to wait
    /// before trying again.
    ///
    /// # Errors
    /// The wait.
    pub fn take(&mut self, rate: Rate, now: u64) -> Result<(), Duration> {
        self.move_to(now);
        let earliest = self.arrival.saturating_sub(rate.tolerance);
        if earliest > now {
            return Err(Duration::from_micros(earliest - now));
        }
        self.arrival = self.arrival.max(now).saturating_add(rate.interval);
        Ok(())
    }

    /// Allows no request for as long as the server asks, [`LONGEST_WAIT`] at most, and no burst after that.
    pub fn hold(&mut self, rate: Rate, now: u64, wait: Duration) {
        self.move_to(now);
        let until = now.saturating_add(micros(wait.min(LONGEST_WAIT)));
        self.arrival = self.arrival.max(until.saturating_add(rate.tolerance));
    }

    /// Sets the time. If the clock was set back, the arrival time moves with it.
    fn move_to(&mut self, now: u64) {
        self.arrival = self.arrival.saturating_sub(self.noted.saturating_sub(now));
        self.noted = now;
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: u64 = 1_800_000_000_000_000;
    const MINUTE: u64 = 60_000_000;

    fn rate(limit: u32) -> Rate {
        Rate::per_minute(NonZeroU32::new(limit).unwrap())
    }

    /// How many of a thousand requests at `now` are allowed.
    fn burst(usage: &mut Usage, rate: Rate, now: u64) -> usize {
        (0..1000).take_while(|_| usage.take(rate, now).is_ok()).count()
    }

    /// The largest number of `times` in any minute, including both ends: a server may count that way.
    fn most_in_a_minute(times: &[u64]) -> usize {
        let within = |first: usize| times[first..].iter().take_while(|time| **time <= times[first] + MINUTE).count();
        (0..times.len()).map(within).max().unwrap_or(0)
    }

    #[test]
    fn a_third_passes_at_once_and_the_rest_within_the_minute() {
        let mut usage = Usage::default();
        assert_eq!(burst(&mut usage, rate(60), START), 20);
        let wait = usage.take(rate(60), START).unwrap_err();
        assert_eq!(wait, Duration::from_micros(63_000_000_u64.div_ceil(41)));
        // A request that has waited as told passes.
        assert_eq!(burst(&mut usage, rate(60), START + micros(wait)), 1);
        assert_eq!(burst(&mut usage, rate(60), START + 2 * MINUTE), 20);
    }

    #[test]
    fn a_rate_of_one_is_one() {
        let mut usage = Usage::default();
        assert_eq!(burst(&mut usage, rate(1), START), 1);
        assert_eq!(burst(&mut usage, rate(1), START + MINUTE), 0);
        assert_eq!(burst(&mut usage, rate(1), START + 63 * MINUTE / 60), 1);
    }

    #[test]
    fn without_a_limit_only_a_pause_is_kept() {
        let mut usage = Usage::default();
        assert_eq!(burst(&mut usage, Rate::UNLIMITED, START), 1000);
        usage.hold(Rate::UNLIMITED, START, Duration::from_secs(60));
        assert_eq!(usage.take(Rate::UNLIMITED, START + 1), Err(Duration::from_micros(MINUTE - 1)));
        assert_eq!(burst(&mut usage, Rate::UNLIMITED, START + MINUTE), 1000);
    }

    /// t121: a pause that the server asks for is kept, ends, and is not followed by a burst.
    #[test]
    fn t121_a_pause_is_kept_and_ends() {
        for (asked, kept) in [(30, 30), (1_000_000_000, LONGEST_WAIT.as_secs())] {
            let mut usage = Usage::default();
            usage.take(rate(60), START).unwrap();
            usage.hold(rate(60), START, Duration::from_secs(asked));
            usage.hold(rate(60), START, Duration::from_secs(1)); // a shorter one does not shorten it
            assert_eq!(usage.take(rate(60), START), Err(Duration::from_secs(kept)));
            assert_eq!(burst(&mut usage, rate(60), START + kept * 1_000_000 - 1), 0);
            assert_eq!(burst(&mut usage, rate(60), START + kept * 1_000_000), 1);
        }
    }

    #[test]
    fn a_clock_that_is_set_back_neither_blocks_nor_frees() {
        let mut usage = Usage::default();
        assert_eq!(burst(&mut usage, rate(60), START), 20);
        let before = usage.take(rate(60), START);
        for now in [START - 1, START - 3600 * 1_000_000, 0] {
            assert_eq!(usage.take(rate(60), now), before);
        }
    }

    #[test]
    fn invalid_text_counts_as_a_burst_just_used() {
        for text in ["\n", "1", "a b\n", "5 6", "-1 2\n", "1 2 3\n", "\u{e9}", "0 99999999999999999999\n"] {
            let mut usage = Usage::from_text(text.as_bytes(), rate(60), START);
            assert_eq!(usage.take(rate(60), START), Err(rate(60).interval()), "{text:?}");
        }
        // An entry a thousand years ahead, which no server can have asked for.
        let far = Usage { noted: START, arrival: START + 365_000 * 24 * 60 * MINUTE };
        let mut usage = Usage::from_text(far.to_text().as_bytes(), rate(60), START);
        assert_eq!(usage.take(rate(60), START), Err(rate(60).interval()));
        assert_eq!(burst(&mut Usage::from_text(b"", rate(60), START), rate(60), START), 20);
    }

    /// One turn: the time since the last, by how much the clock was set back, how many requests there are, and the
    /// pause that the server asks for.
    fn turn() -> impl Strategy<Value = (u64, u64, u32, Option<u64>)> {
        let gap = prop_oneof![0..1000_u64, 0..2_000_000_u64, 0..MINUTE];
        let set_back = prop_oneof![9 => Just(0), 1 => 0..10 * MINUTE];
        let pause = prop_oneof![19 => Just(None), 1 => (0..MINUTE).prop_map(Some)];
        (gap, set_back, 1..40_u32, pause)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// t121: whenever requests come, also across a file and with a clock that is set back: never more than the
        /// limit in any minute, and never more than a burst plus one per interval in any period.
        #[test]
        fn t121_never_more_than_the_limit(
            limit in prop_oneof![1..5_u32, 5..200_u32],
            turns in proptest::collection::vec(turn(), 1..200),
        ) {
            let rate = rate(limit);
            let burst = rate.tolerance / rate.interval + 1;
            let (mut text, mut gone) = (String::new(), Vec::new());
            let (mut time, mut clock, mut held) = (START, START, 0);
            for (gap, set_back, askers, pause) in turns {
                time += gap;
                clock = clock + gap - set_back;
                let mut usage = Usage::from_text(text.as_bytes(), rate, clock);
                for _ in 0..askers {
                    match usage.take(rate, clock) {
                        Ok(()) => {
                            prop_assert!(time >= held);
                            gone.push(time);
                        }
                        Err(wait) => prop_assert!(wait > Duration::ZERO && wait <= LONGEST_WAIT.max(rate.interval())),
                    }
                }
                if let Some(pause) = pause {
                    usage.hold(rate, clock, Duration::from_micros(pause));
                    held = held.max(time + pause);
                }
                text = usage.to_text();
            }
            prop_assert!(most_in_a_minute(&gone) <= limit as usize);
            for (first, from) in gone.iter().enumerate() {
                for (last, to) in gone.iter().enumerate().skip(first) {
                    prop_assert!((last - first) as u64 <= burst + (to - from) / rate.interval);
                }
            }
        }

        /// No request passes during a pause, and a request that has waited as told passes.
        #[test]
        fn a_request_that_waits_as_told_passes(limit in 1..200_u32, used in 0..300_u32, pause in proptest::option::of(0..MINUTE)) {
            let rate = rate(limit);
            let mut usage = Usage::default();
            let gone = (0..used).filter(|_| usage.take(rate, START).is_ok()).count();
            prop_assert_eq!(gone as u64, u64::from(used).min(rate.tolerance / rate.interval + 1));
            if let Some(pause) = pause {
                usage.hold(rate, START, Duration::from_micros(pause));
            }
            let wait = usage.take(rate, START).err().map_or(0, micros);
            prop_assert!(wait >= pause.unwrap_or(0));
            prop_assert!(wait == 0 || usage.take(rate, START + wait - 1).is_err());
            prop_assert!(wait == 0 || usage.take(rate, START + wait).is_ok());
        }

        /// Whatever the file contains, the wait is reported and ends.
        #[test]
        fn no_file_blocks_forever(text in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60),
            (any::<u64>(), any::<u64>()).prop_map(|(noted, arrival)| Usage { noted, arrival }.to_text().into_bytes()),
        ], now in any::<u64>()) {
            let rate = rate(60);
            let now = now / 2;
            let mut usage = Usage::from_text(&text, rate, now);
            if let Err(wait) = usage.take(rate, now) {
                prop_assert!(wait <= LONGEST_WAIT.max(rate.interval()));
                let mut usage = Usage::from_text(usage.to_text().as_bytes(), rate, now);
                prop_assert_eq!(usage.take(rate, now + micros(wait)), Ok(()));
            }
        }
    }
}
