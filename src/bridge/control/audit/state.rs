//! The folder next to a log: its lock, and the last line that finmcp wrote.
//!
//! The lock is on the file with the state, not on the log, which may be moved away while a process waits for it.

use std::{
    borrow::Cow,
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::bridge::control::audit::{
    error::AuditError,
    link::Hash,
    seal::{self, Seal, SealKey},
};
use crate::disk::private_folder;

/// The longest state, in bytes.
const LIMIT: u64 = 4096;

/// The last line that finmcp wrote to the log, in whatever file it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The chain's name.
    pub chain: String,
    /// The line's number.
    pub number: u64,
    /// The line's digest.
    pub digest: Hash,
    /// Whether the log is sealed.
    pub is_sealed: bool,
}

#[derive(Serialize, Deserialize)]
struct StateDocument<'a> {
    #[serde(borrow)]
    chain: Cow<'a, str>,
    seq: u64,
    digest: String,
}

/// The locked state of a log. Closing the file releases the lock.
#[derive(Debug)]
pub struct LockedState {
    file: File,
    path: PathBuf,
}

/// The folder next to the log at `path`.
pub fn folder(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".state");
    path.with_file_name(name)
}

impl LockedState {
    /// Waits for the lock in `folder`, which is created if it is missing.
    pub fn acquire(folder: &Path) -> Result<Self, AuditError> {
        let state = Self::open(folder)?;
        state.file.lock().map_err(|error| state.failed("lock", &error))?;
        Ok(state)
    }

    /// Whether the file system supports locks. Never waits.
    pub fn probe(folder: &Path) -> Result<(), AuditError> {
        let state = Self::open(folder)?;
        match state.file.try_lock() {
            Ok(()) | Err(std::fs::TryLockError::WouldBlock) => Ok(()),
            Err(std::fs::TryLockError::Error(error)) => Err(state.failed("lock", &error)),
        }
    }

    /// Waits until no process writes to the log; none if it has no state.
    ///
    /// # Errors
    /// The I/O error.
    pub fn shared(folder: &Path) -> io::Result<Option<Self>> {
        let path = folder.join("chain");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        file.lock_shared()?;
        Ok(Some(Self { file, path }))
    }

    fn open(folder: &Path) -> Result<Self, AuditError> {
        let path = folder.join("chain");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true);
        let file = match private_folder::open(&path, &mut options) {
            Err(private_folder::PlaceError::Failed { source, .. }) if source.kind() == ErrorKind::NotFound => {
                private_folder::ensure(folder)?;
                private_folder::open(&path, &mut options)?
            }
            file => file?,
        };
        Ok(Self { file, path })
    }

    /// The state; none at first, if it is damaged, or if `key` did not seal it.
    pub fn read(&self, key: Option<&SealKey>) -> Option<State> {
        let mut text = Vec::new();
        (&self.file).rewind().ok()?;
        (&self.file).take(LIMIT).read_to_end(&mut text).ok()?;
        let document: StateDocument<'_> = serde_json::from_slice(&text).ok()?;
        let mut digest = [0; 32];
        hex::decode_to_slice(&document.digest, &mut digest).ok()?;
        let seal = seal::check(&text, key);
        (seal != Seal::Bad).then(|| State {
            chain: document.chain.into_owned(),
            number: document.seq,
            digest,
            is_sealed: seal != Seal::None,
        })
    }

    /// Replaces the state.
    pub fn write(&self, state: &State, key: Option<&SealKey>) -> io::Result<()> {
        let document =
            StateDocument { chain: (&*state.chain).into(), seq: state.number, digest: hex::encode(state.digest) };
        let mut text = serde_json::to_string(&document)?;
        if let Some(key) = key {
            text = key.seal(&text);
        }
        (&self.file).rewind()?;
        (&self.file).write_all(text.as_bytes())?;
        self.file.set_len(text.len() as u64)
    }

    fn failed(&self, verb: &str, error: &io::Error) -> AuditError {
        AuditError(format!("could not {verb} {}: {error}", self.path.display()))
    }
}
