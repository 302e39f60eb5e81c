//! Durations as text.

/// The longest wait that a user can set, in seconds: one day.
pub const LONGEST_WAIT: u64 = 24 * 3600;

/// Formats `seconds` as `90 s`, `42 min`, `7 h` or `12 days`.
pub fn format_duration(seconds: u64) -> String {
    match seconds {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 7_200 => format!("{} min", seconds / 60),
        seconds if seconds < 172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// Parses a wait in seconds.
///
/// # Errors
/// The expected values.
pub fn seconds(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(seconds @ 1..=LONGEST_WAIT) => Ok(seconds),
        _ => Err(format!("expected a number of seconds from 1 to {LONGEST_WAIT}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_lasts_until_two_of_the_next() {
        for (seconds, text) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7_199, "119 min"),
            (7_200, "2 h"),
            (172_799, "47 h"),
            (172_800, "2 days"),
        ] {
            assert_eq!(format_duration(seconds), text);
        }
    }
}
