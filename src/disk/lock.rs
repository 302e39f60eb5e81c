//! A lock that one process at a time can hold, across all finmcp processes of this user.
//!
//! The kernel holds the lock, on a file used for nothing else: no process ids, no time-to-live, no stale lock after a
//! killed holder. One holder can leave the next a note in the file; it must not be secret.
//!
//! The file may be on a network file system that hangs, so all file operations run on blocking threads, never on the
//! waiter's.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

use crate::disk::private_folder::{self, PlaceError, UnsafePlace};

/// The longest pause between two attempts, and so the longest time that a free lock goes unnoticed.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// The longest note, in bytes.
const NOTE_LIMIT: u64 = 16 << 10;

/// A held lock. The kernel releases it when this value is dropped or the process ends in any way.
#[derive(Debug)]
pub struct Lock {
    file: Arc<File>,
}

/// Why the lock could not be acquired. The caller must then not do the work that the lock protects.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process held the lock until the deadline.
    #[error("another finmcp process has held the lock for {} s", .0.as_secs())]
    TimedOut(Duration),
    /// Another user could hold or replace the lock: loose permissions, another owner, a symbolic link.
    #[error("the lock is not safe to use: {0}")]
    Unsafe(UnsafePlace),
    /// The file system does not support locks, or the file could not be created.
    #[error("{what}: {source}")]
    Failed {
        /// The failed operation, with the path.
        what: String,
        source: io::Error,
    },
}

impl Lock {
    /// Waits up to `deadline` for the lock of `entry` in `folder`. Creates folder and file if missing and never deletes
    /// them: after a deletion a second process could lock a new file of the same name. The wait can be cancelled at any
    /// time.
    ///
    /// # Errors
    /// Any [`LockError`].
    pub async fn acquire(folder: &Path, entry: &str, deadline: Duration) -> Result<Self, LockError> {
        let until = Instant::now() + deadline;
        let taking = Self::take(folder.to_owned(), Self::path(folder, entry), until);
        // A file system that hangs blocks only the thread that calls it.
        match timeout_at(until + LONGEST_PAUSE, taking).await {
            Ok(Ok(Some(lock))) => Ok(lock),
            Ok(Err(error)) => Err(error),
            Ok(Ok(None)) | Err(_) => Err(LockError::TimedOut(deadline)),
        }
    }

    /// Tries to take the lock until it succeeds, or returns `None` at `until`.
    async fn take(folder: PathBuf, path: PathBuf, until: Instant) -> Result<Option<Self>, LockError> {
        let place = path.clone();
        let file = aside(move || {
            private_folder::ensure(&folder)?;
            Ok(private_folder::open(&place, OpenOptions::new().read(true).write(true).create(true))?)
        });
        let file = Arc::new(file.await?);
        let mut pause = Duration::from_millis(1);
        // Poll instead of waiting in the kernel, which would block a thread that cannot be cancelled.
        loop {
            let asked = Arc::clone(&file);
            let (asking, path) = (aside(move || Ok(asked.try_lock())), path.clone());
            match asking.await? {
                Ok(()) => return Ok(Some(Self { file })),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => return Ok(None),
                Err(TryLockError::WouldBlock) => {
                    tokio::time::sleep_until(until.min(Instant::now() + any_part_of(pause))).await
                }
                Err(TryLockError::Error(error)) => return Err(private_folder::failed("lock", &path)(error).into()),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The lock file of `entry` in `folder`.
    pub fn path(folder: &Path, entry: &str) -> PathBuf {
        folder.join(format!("{entry}.lock"))
    }

    /// The note that the previous holder left; empty at first.
    ///
    /// # Errors
    /// [`LockError::Failed`].
    pub async fn note(&self) -> Result<Vec<u8>, LockError> {
        let file = Arc::clone(&self.file);
        let read = move || {
            let mut note = Vec::new();
            (&*file).rewind().and_then(|()| (&*file).take(NOTE_LIMIT).read_to_end(&mut note)).map_err(|source| {
                LockError::Failed { what: "could not read the lock file's note".to_owned(), source }
            })?;
            Ok(note)
        };
        aside(read).await
    }

    /// Replaces the note for the next holder. A note as long as the one it replaces is written in one step. The lock
    /// stays held until the note is written, even if the caller stops waiting.
    ///
    /// # Errors
    /// [`LockError::Failed`].
    pub async fn leave(&self, note: &[u8]) -> Result<(), LockError> {
        let (file, note) = (Arc::clone(&self.file), note.to_vec());
        let write = move || {
            (&*file)
                .rewind()
                .and_then(|()| (&*file).write_all(&note))
                .and_then(|()| file.set_len(note.len() as u64))
                .map_err(|source| LockError::Failed { what: "could not write the lock file's note".to_owned(), source })
        };
        aside(write).await
    }
}

/// Runs `work`, which may block, on a blocking thread.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LockError> + Send + 'static,
) -> Result<T, LockError> {
    let failed = |error| LockError::Failed { what: "could not use a lock".to_owned(), source: io::Error::other(error) };
    spawn_blocking(work).await.map_err(failed)?
}

/// Random, so that waiters that started together do not keep polling at the same moments.
fn any_part_of(pause: Duration) -> Duration {
    pause.mul_f64(f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX))
}

impl From<PlaceError> for LockError {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::Unsafe(place) => Self::Unsafe(place),
            PlaceError::Failed { what, source } => Self::Failed { what, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const LATE: Duration = Duration::from_secs(30);

    /// t073: a waiter gets an error instead of the lock.
    #[tokio::test]
    async fn t073_a_held_lock_times_out() {
        let folder = tempfile::tempdir().unwrap();
        let locks = folder.path().join("locks");
        let held = Lock::acquire(&locks, "a", LATE).await.unwrap();
        assert!(matches!(Lock::acquire(&locks, "a", SOON).await, Err(LockError::TimedOut(SOON))));
        // t078: another entry's lock is free.
        let _other = Lock::acquire(&locks, "b", SOON).await.unwrap();
        drop(held);
        Lock::acquire(&locks, "a", SOON).await.unwrap();
    }

    /// A note of any length stays until a holder replaces it.
    #[tokio::test]
    async fn a_note_is_for_the_next_holder() {
        let folder = tempfile::tempdir().unwrap();
        let locks = folder.path().join("locks");
        for (found, left) in [("", "first"), ("first", "a longer one"), ("a longer one", "short"), ("short", "")] {
            let held = Lock::acquire(&locks, "a", SOON).await.unwrap();
            assert_eq!(held.note().await.unwrap(), found.as_bytes());
            held.leave(left.as_bytes()).await.unwrap();
            assert_eq!(held.note().await.unwrap(), left.as_bytes());
        }
    }

    /// All 64 waiters get the lock, one at a time.
    #[tokio::test]
    async fn one_holder_at_a_time_among_64() {
        let folder = tempfile::tempdir().unwrap();
        let inside = std::sync::Arc::new(AtomicUsize::new(0));
        let waiters = (0..64).map(|_| {
            let (locks, inside) = (folder.path().join("locks"), inside.clone());
            tokio::spawn(async move {
                let _lock = Lock::acquire(&locks, "a", LATE).await.unwrap();
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                tokio::time::sleep(Duration::from_millis(1)).await;
                inside.fetch_sub(1, Ordering::SeqCst);
            })
        });
        for waiter in waiters.collect::<Vec<_>>() {
            waiter.await.unwrap();
        }
    }

    #[cfg(unix)]
    mod unix {
        use std::{
            fs,
            os::unix::fs::{MetadataExt, PermissionsExt, symlink},
        };

        use super::*;

        async fn refusal(locks: &Path) -> String {
            match Lock::acquire(locks, "a", SOON).await {
                Err(LockError::Unsafe(place)) => format!("{place}; {}", place.fix),
                other => panic!("{other:?}"),
            }
        }

        /// t075, t076: a separate file that only its owner can open, in a folder that only its owner can enter.
        #[tokio::test]
        async fn t075_the_lock_is_private() {
            let folder = tempfile::tempdir().unwrap();
            let locks = folder.path().join("state/locks");
            let _lock = Lock::acquire(&locks, "a", SOON).await.unwrap();
            assert_eq!(fs::metadata(&locks).unwrap().mode() & 0o777, 0o700);
            assert_eq!(fs::metadata(locks.join("a.lock")).unwrap().mode() & 0o777, 0o600);
        }

        /// t075: a place that another user could hold, replace or redirect is refused, and the error says what to do.
        #[tokio::test]
        async fn t075_loose_and_linked_places_are_refused() {
            let folder = tempfile::tempdir().unwrap();
            let locks = folder.path().join("locks");
            fs::create_dir(&locks).unwrap();
            fs::set_permissions(&locks, fs::Permissions::from_mode(0o777)).unwrap();
            assert!(refusal(&locks).await.contains("chmod 700"));

            fs::set_permissions(&locks, fs::Permissions::from_mode(0o700)).unwrap();
            let linked = folder.path().join("linked");
            symlink(&locks, &linked).unwrap();
            assert!(refusal(&linked).await.contains("symbolic link"));

            let target = folder.path().join("target");
            symlink(&target, locks.join("a.lock")).unwrap();
            assert!(refusal(&locks).await.contains("symbolic link"));
            assert!(!target.exists());

            fs::remove_file(locks.join("a.lock")).unwrap();
            rustix::fs::mkfifoat(
                rustix::fs::CWD,
                locks.join("a.lock"),
                rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            )
            .unwrap();
            assert!(refusal(&locks).await.contains("regular file"));
        }
    }
}
