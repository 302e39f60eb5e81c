//! Detects sign-ins by other processes.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{task::spawn_blocking, time::timeout};

use crate::credential::record::Identity;

/// Finds the current sign-in, which another process may have changed.
#[derive(Clone)]
pub struct Lookup {
    find: Arc<dyn Fn() -> Option<Identity> + Send + Sync>,
    file: PathBuf,
    /// Locked while `find` reads, so that a hung disk blocks only one thread and not one for every request.
    reading: Arc<tokio::sync::Mutex<()>>,
}

/// How long a request waits for the lookup.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(2);

impl Lookup {
    /// `find` reads `file`. It runs on a thread that may block.
    pub fn new(file: PathBuf, find: impl Fn() -> Option<Identity> + Send + Sync + 'static) -> Self {
        Self { find: Arc::new(find), file, reading: Arc::default() }
    }

    /// The file that a sign-in changes.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// The current sign-in. None also if it cannot be read in time.
    pub(super) async fn look(&self) -> Option<Identity> {
        let look = async {
            let (turn, find) = (self.reading.clone().lock_owned().await, self.find.clone());
            let read = move || {
                let _turn = turn;
                find()
            };
            spawn_blocking(read).await.ok().flatten()
        };
        timeout(LOOKUP_DEADLINE, look).await.ok().flatten()
    }
}

/// When the files that a sign-in changes were last modified: shows sign-ins without reading the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace([Option<SystemTime>; 2]);

impl Trace {
    /// When each of `files` was last modified, if it exists.
    pub(super) async fn of(files: [Option<PathBuf>; 2]) -> Self {
        let modified = |file: PathBuf| std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
        let read = move || Self(files.map(|file| file.and_then(modified)));
        spawn_blocking(read).await.unwrap_or(Self([None; 2]))
    }
}
