//! What every test stands on: its own home, a scriptable vendor, a browser that obeys, and the running bridge.

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

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

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

/// The files beneath `path` whose names end with one of `endings`, with their text.
pub fn files(path: &Path, endings: &[&str]) -> Vec<(PathBuf, String)> {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        return entries.flat_map(|path| files(&path, endings)).collect();
    }
    let is_meant = path.extension().is_some_and(|extension| endings.iter().any(|ending| extension == *ending));
    if is_meant { vec![(path.to_owned(), fs::read_to_string(path).unwrap())] } else { Vec::new() }
}
