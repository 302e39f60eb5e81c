//! What every test stands on: a home of its own, a scriptable vendor, a browser that obeys, and the running bridge.

pub mod background;
#[cfg(unix)]
pub mod browser;
#[cfg(unix)]
pub mod http2;
#[cfg(unix)]
pub mod internet;
pub mod peer;
mod rig;
pub mod sandbox;
pub mod secrets;
pub mod serve;
#[cfg(unix)]
pub mod terminal;
pub mod vendor;
pub mod visitor;
pub mod wire;

use std::time::{Duration, Instant};

/// How long a test waits for what should happen at once, on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Looks again and again until `look` finds something, for as long as [`PATIENCE`].
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
