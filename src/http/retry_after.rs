//! The `Retry-After` header (RFC 9110 section 10.2.3).

use std::time::Duration;

use http::{HeaderMap, header};
use jiff::Timestamp;

/// The wait that `Retry-After` asks for, counted from `now`. `None` if the header is missing or malformed.
pub fn delay(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    read(headers.get(header::RETRY_AFTER)?.as_bytes(), now)
}

/// Parses seconds or a date. A date in the past means no wait.
fn read(value: &[u8], now: Timestamp) -> Option<Duration> {
    let text = str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that overflows means "as long as possible".
        return Some(text.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let date = Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()?;
    Some(now.duration_until(date).try_into().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
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
            assert_eq!(read(value.as_bytes(), now()), Some(Duration::from_secs(seconds)), "{value:?}");
        }
        assert_eq!(read(b"99999999999999999999999", now()), Some(Duration::MAX));
    }

    /// t121: any other value is ignored.
    #[test]
    fn t121_invalid_values_are_ignored() {
        for value in ["", " ", "-1", "+1", "1.5", "1e9", "0x10", "1 s", "soon", "1, 2", "Fri, 99 Nov 2026 08:49:37 GMT"]
        {
            assert_eq!(read(value.as_bytes(), now()), None, "{value:?}");
        }
        assert_eq!(read("２".as_bytes(), now()), None);
        assert_eq!(read(b"\xff", now()), None);
    }

    /// b9: the first of several `Retry-After` headers counts.
    #[test]
    fn b9_it_is_read_from_the_headers() {
        let of = |values: &[&'static str]| {
            let named = |value: &&'static str| (header::RETRY_AFTER, HeaderValue::from_static(value));
            delay(&values.iter().map(named).collect(), now()).map(|pause| pause.as_secs())
        };
        assert_eq!([of(&[]), of(&["5"]), of(&["soon"]), of(&["5", "7"])], [None, Some(5), None, Some(5)]);
    }

    proptest! {
        /// t121: no value makes the parser panic, and every number of seconds is understood.
        #[test]
        fn t121_any_value_is_read(
            value in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..60),
                "[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT".prop_map(String::into_bytes),
            ],
            seconds in -377_705_116_800_i64..253_402_207_200,
            asked in any::<u64>(),
        ) {
            let now = Timestamp::from_second(seconds).unwrap();
            let _ = read(&value, now);
            prop_assert_eq!(read(asked.to_string().as_bytes(), now), Some(Duration::from_secs(asked)));
        }
    }
}
