//! The calls that have no line yet, noted next to the log: after a kill, the next process that writes to the log
//! records them.
//!
//! Each process has one file and keeps it locked. The kernel releases the lock when the process dies, however
//! it dies, and only then does another process read the file.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use crate::bridge::control::audit::error::AuditError;
use crate::disk::private_folder;

/// What the files' names begin with. A file gets this name when it is locked.
const PREFIX: &str = "calls-";

/// The length from which on a file is written again without the calls that have ended.
const COMPACT_LENGTH: usize = 1 << 20;

/// This process's calls without a line.
#[derive(Debug)]
pub struct OpenCalls {
    /// Opened for appending, and locked.
    file: File,
    path: PathBuf,
    session: String,
    calls: BTreeMap<u64, String>,
    length: usize,
}

/// The calls of a process that was killed.
#[derive(Debug)]
pub struct KilledCalls {
    /// The id of each call, and the beginning of its line.
    pub calls: Vec<(String, String)>,
    path: PathBuf,
    _lock: File,
}

impl OpenCalls {
    /// A file for this process in `folder`.
    pub fn create(folder: &Path) -> Result<Self, AuditError> {
        remove_unused(folder);
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(|error| AuditError(format!("could not create a random name: {error}")))?;
        let session = hex::encode(id);
        let (unlocked, path) = (folder.join(format!("new-{session}")), folder.join(format!("{PREFIX}{session}")));
        let file = private_folder::open(&unlocked, OpenOptions::new().read(true).append(true).create_new(true))?;
        let named = file.lock().and_then(|()| fs::rename(&unlocked, &path));
        named.map_err(|error| AuditError(format!("could not use {}: {error}", unlocked.display())))?;
        Ok(Self { file, path, session, calls: BTreeMap::new(), length: 0 })
    }

    /// The id of call `number` in this log.
    pub fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.session)
    }

    /// Notes that the server is about to get call `number`, whose line begins with `text`.
    pub fn begin(&mut self, number: u64, text: String) -> io::Result<()> {
        let note = format!("{number} {text}\n");
        self.calls.insert(number, text);
        self.append(&note)
    }

    /// Notes that call `number` has its line, or needs none.
    pub fn end(&mut self, number: u64) -> io::Result<()> {
        if self.calls.remove(&number).is_none() {
            return Ok(());
        }
        if self.calls.is_empty() {
            self.length = 0;
            return self.file.set_len(0);
        }
        if self.length < COMPACT_LENGTH {
            return self.append(&format!("{number}\n"));
        }
        let notes: String = self.calls.iter().map(|(number, text)| format!("{number} {text}\n")).collect();
        self.length = 0;
        self.file.set_len(0)?;
        self.append(&notes)
    }

    /// The calls of the processes that were killed, in the order of the processes' names.
    pub fn of_killed(&self) -> Vec<KilledCalls> {
        let Some(folder) = self.path.parent() else { return Vec::new() };
        let others = others(folder).filter(|(path, length)| *length > 0 && *path != self.path);
        let mut killed: Vec<_> = others.filter_map(|(path, _)| KilledCalls::read(path)).collect();
        killed.sort_by(|one, other| one.path.cmp(&other.path));
        killed
    }

    fn append(&mut self, text: &str) -> io::Result<()> {
        self.length += text.len();
        (&self.file).write_all(text.as_bytes())
    }
}

impl Drop for OpenCalls {
    fn drop(&mut self) {
        if self.calls.is_empty() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl KilledCalls {
    /// The calls in the file at `path`; none while its process lives.
    fn read(path: PathBuf) -> Option<Self> {
        let mut file = lock_if_free(&path)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).ok()?;
        let session = path.file_name()?.to_str()?.strip_prefix(PREFIX)?;
        let mut open = BTreeMap::new();
        // A line that was cut off is of a call that the server did not get.
        for line in String::from_utf8_lossy(&text).split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            match line.split_once(' ') {
                Some((number, text)) => drop(open.insert(number.parse::<u64>().ok()?, text.to_owned())),
                None => drop(open.remove(&line.parse().ok()?)),
            }
        }
        let calls = open.into_iter().map(|(number, text)| (format!("{session}-{number}"), text)).collect();
        Some(Self { calls, path, _lock: file })
    }

    /// Forgets them, because they are recorded.
    pub fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes the files without calls of processes that have ended.
fn remove_unused(folder: &Path) {
    for (path, _) in others(folder).filter(|(_, length)| *length == 0) {
        if lock_if_free(&path).is_some() {
            let _ = fs::remove_file(&path);
        }
    }
}

/// The files in `folder`, with their lengths.
fn others(folder: &Path) -> impl Iterator<Item = (PathBuf, u64)> {
    fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| {
        let is_one = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        is_one.then(|| Some((entry.path(), entry.metadata().ok()?.len()))).flatten()
    })
}

/// The file at `path`, locked; none while its process lives.
fn lock_if_free(path: &Path) -> Option<File> {
    let file = private_folder::open(path, OpenOptions::new().read(true).write(true)).ok()?;
    file.try_lock().is_ok().then_some(file)
}
