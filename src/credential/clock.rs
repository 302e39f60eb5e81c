//! The clock, as an argument that tests can replace.
#![expect(clippy::disallowed_methods, reason = "the one module that reads the clock")]

use jiff::Timestamp;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
