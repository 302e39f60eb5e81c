//! What is asked of every contestant, however it is reached.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::check::Damage;

/// A conversation that has begun.
pub trait Client {
    /// Calls a tool with a small result, and gives the time that it took.
    fn call(&mut self) -> Result<Duration>;

    /// Keeps so many calls in flight for a while: calls a second.
    fn saturate(&mut self, in_flight: usize, time: Duration) -> Result<f64>;

    /// Calls a tool with a result of so many bytes of text, and gives the time that it took.
    fn large(&mut self, bytes: usize) -> Result<Duration>;

    /// Calls a tool with so many notifications before its result: the time that it took, and what happened to them.
    fn notifications(&mut self, count: usize) -> Result<(Duration, Damage)>;
}

/// A result that should hold `bytes` bytes of text, and nothing but what the server sent.
pub fn ensure_whole(message: &[u8], bytes: usize) -> Result<()> {
    // The letter stands in the words around it, too: the type "text" of a member "text".
    let came = memchr::memchr_iter(b'x', message).count().saturating_sub(2);
    ensure!((bytes..bytes + 10).contains(&came), "the result has {came} of {bytes} bytes");
    Ok(())
}
