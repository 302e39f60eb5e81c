//! Looks out for what other processes do: whether one of them has signed somebody in.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{task::spawn_blocking, time::timeout};

use crate::credential::record::Identity;

/// Finds out who is signed in by now, where another process may have signed somebody in.
#[derive(Clone)]
pub struct Lookup {
    find: Arc<dyn Fn() -> Option<Identity> + Send + Sync>,
    file: PathBuf,
    /// Held while `find` reads: on a disk that does not answer one thread waits, and not one for each request.
    reading: Arc<tokio::sync::Mutex<()>>,
}

/// How long a request waits to learn whether another process has signed in.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(2);

impl Lookup {
    /// `find` reads what is saved in `file`. It is called where it may block.
    pub fn new(file: PathBuf, find: impl Fn() -> Option<Identity> + Send + Sync + 'static) -> Self {
        Self { find: Arc::new(find), file, reading: Arc::default() }
    }

    /// The file that changes when somebody signs in.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Who is signed in by now. None also where that cannot be read in time.
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

/// What shows of sign-ins from outside, with no look at a store: when the files that they change were changed last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace([Option<SystemTime>; 2]);

impl Trace {
    /// When each of `files` was changed last, where it is there.
    pub(super) async fn of(files: [Option<PathBuf>; 2]) -> Self {
        let modified = |file: PathBuf| std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
        let read = move || Self(files.map(|file| file.and_then(modified)));
        spawn_blocking(read).await.unwrap_or(Self([None; 2]))
    }
}
