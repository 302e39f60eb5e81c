//! The measurements that every contestant goes through, over HTTP or stdio.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::check::Damage;

/// An initialized MCP connection.
pub trait Client {
    /// Calls a tool with a small result and returns the time that it took.
    fn call(&mut self) -> Result<Duration>;

    /// Keeps `in_flight` calls in flight for `time` and returns the calls per second.
    fn saturate(&mut self, in_flight: usize, time: Duration) -> Result<f64>;

    /// Calls a tool with a result of `bytes` bytes of text and returns the time that it took.
    fn large(&mut self, bytes: usize) -> Result<Duration>;

    /// Calls a tool that sends `count` notifications before its result. Returns the time and the damage.
    fn notifications(&mut self, count: usize) -> Result<(Duration, Damage)>;
}

/// Ensures that a result holds the `bytes` bytes of text that the server sent.
pub fn ensure_whole(message: &[u8], bytes: usize) -> Result<()> {
    // The JSON around the text has a few of the letters too: the type "text" and the member "text".
    let came = memchr::memchr_iter(b'x', message).count().saturating_sub(2);
    ensure!((bytes..bytes + 10).contains(&came), "the result has {came} of {bytes} bytes");
    Ok(())
}
