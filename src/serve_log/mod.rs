//! The log of `serve`: an AI client starts it where its stderr is often not shown, so each process also writes a few lines to a
//! file of its profile. They say who talks to whom and what failed, never what a message or a token says.
//!
//! Two files a profile, of at most [`LIMIT`] bytes each: `PROFILE.log` and, before it, `PROFILE.log.1`. All processes of
//! a profile share them.

mod event;
mod file;
pub mod reader;
pub mod writer;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The size at which a file is full.
pub const LIMIT: u64 = 512 << 10;

/// The name of the log of processes that found no profile.
pub const NO_PROFILE: &str = "finmcp";

/// The current log file of `profile`.
pub fn current(folder: &Path, profile: &str) -> PathBuf {
    folder.join(format!("{profile}.log"))
}

/// The log file of `profile` that was full.
pub fn earlier(folder: &Path, profile: &str) -> PathBuf {
    folder.join(format!("{profile}.log.1"))
}

/// Gives the log of the profile `old` to `new`, if there is one. `serve` goes on without its log if that fails.
pub fn rename(folder: &Path, old: &str, new: &str) {
    for file in [current, earlier] {
        let _ = fs::rename(file(folder, old), file(folder, new));
    }
}

/// Deletes the log of `profile`, if there is one.
pub fn remove(folder: &Path, profile: &str) {
    for file in [current, earlier] {
        let _ = fs::remove_file(file(folder, profile));
    }
}
