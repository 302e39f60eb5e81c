//! A client's file on disk: read, and replaced atomically, with a backup next to it.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    disk::replace::{self, Replacement},
    setup::{client::Client, document::Document, error::DocumentError},
};

/// A file at the time it was read.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    /// Its path, as the client knows it.
    pub path: PathBuf,
    /// Its text; empty if there is no file.
    pub text: String,
    /// Whether the file existed.
    pub exists: bool,
}

/// Why finmcp did not change a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A file operation failed.
    #[error("cannot {verb} {}", path.display())]
    Io {
        verb: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A dangling symlink.
    #[error("{} is a dangling symlink", path.display())]
    Dangling { path: PathBuf },
    /// Another program changed the file after finmcp read it.
    #[error("another program has just changed {}", path.display())]
    Changed { path: PathBuf },
    /// The content cannot be read or changed.
    #[error("cannot edit {}", path.display())]
    Document {
        path: PathBuf,
        #[source]
        error: DocumentError,
    },
}

/// Who may read the written file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The permissions of the replaced file; only the owner for a new one.
    AsBefore,
    /// Only the owner.
    Owner,
}

/// The ending of a backup's name.
const BACKUP_ENDING: &str = ".before-finmcp";

/// How many backups of a file finmcp keeps.
const BACKUPS: usize = 3;

impl ConfigFile {
    /// Reads the file at `path`. A missing file counts as empty.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let (text, exists) = match fs::read_to_string(path) {
            Ok(text) => (text, true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if fs::symlink_metadata(path).is_ok() {
                    return Err(FileError::Dangling { path: path.to_owned() });
                }
                (String::new(), false)
            }
            Err(source) => return Err(FileError::Io { verb: "read", path: path.to_owned(), source }),
        };
        Ok(Self { path: path.to_owned(), text, exists })
    }

    /// The existing backups by number, oldest first. Only files that finmcp named so: others with a similar name are the
    /// user's.
    fn backups(&self) -> Vec<(u32, PathBuf)> {
        let Some(folder) = self.path.parent() else { return Vec::new() };
        // An empty path is the current folder's.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        let numbered = files.filter_map(|file| {
            let is_file = file.file_type().is_ok_and(|kind| kind.is_file());
            let number = self.backup_number(&file.file_name()).filter(|_| is_file)?;
            Some((number, self.backup_path(number)))
        });
        let mut backups: Vec<(u32, PathBuf)> = numbered.collect();
        backups.sort();
        backups
    }

    /// The number in the name of a backup of this file.
    fn backup_number(&self, name: &OsStr) -> Option<u32> {
        let own = self.path.file_name()?.to_str()?;
        let end = name.to_str()?.strip_prefix(own)?.strip_prefix(BACKUP_ENDING)?;
        match end.strip_prefix('-') {
            None if end.is_empty() => Some(1),
            // finmcp writes no leading zero, no sign and no "-1".
            Some(digits) => digits.parse().ok().filter(|number: &u32| *number > 1 && number.to_string() == digits),
            None => None,
        }
    }

    fn backup_path(&self, number: u32) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(BACKUP_ENDING);
        if number > 1 {
            name.push(format!("-{number}"));
        }
        self.path.with_file_name(name)
    }

    /// The path for the next backup. It never overwrites anything.
    fn next_backup(&self) -> PathBuf {
        let last = self.backups().last().map_or(0, |(number, _)| *number);
        let mut number = last.saturating_add(1);
        while fs::symlink_metadata(self.backup_path(number)).is_ok() && number < u32::MAX {
            number += 1;
        }
        self.backup_path(number)
    }

    /// Deletes the oldest backups, except the latest [`BACKUPS`].
    fn prune_backups(&self) {
        let backups = self.backups();
        let surplus = backups.len().saturating_sub(BACKUPS);
        for (_, path) in backups.into_iter().take(surplus) {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(%error, file = %path.display(), "cannot delete an old backup");
            }
        }
    }

    /// The text of the latest backup, if there is one.
    pub fn backup(&self) -> Option<String> {
        fs::read_to_string(&self.backups().last()?.1).ok()
    }

    /// Backs up the file as it was read, with `access`, if it has not changed since, and deletes the backups that are
    /// too old. Does nothing if there was no file.
    ///
    /// # Errors
    /// [`FileError`]; earlier backups are unchanged.
    pub fn back_up(&self, access: Access) -> Result<Option<PathBuf>, FileError> {
        let Some(copy) = self.copy(access)? else { return Ok(None) };
        self.check_unchanged()?;
        let backup = put(copy)?;
        self.prune_backups();
        Ok(Some(backup))
    }

    /// Replaces the file with `text` atomically, if it has not changed since it was read. A symlink stays a symlink,
    /// and the permissions stay.
    ///
    /// # Errors
    /// [`FileError`]; the file is unchanged.
    pub fn replace(&self, text: &str) -> Result<(), FileError> {
        let staged = self.stage(text)?;
        self.check_unchanged()?;
        put(staged).map(drop)
    }

    /// Backs up and replaces the file, and deletes the backups that are too old. The backup gets its name only when all
    /// that remains is to rename the new file. Returns the backup's path; none if there was no file.
    ///
    /// # Errors
    /// [`FileError`]; the file is unchanged.
    pub fn replace_with_backup(&self, text: &str, access: Access) -> Result<Option<PathBuf>, FileError> {
        let staged = self.stage(text)?;
        let copy = self.copy(access)?;
        self.check_unchanged()?;
        let backup = copy.map(put).transpose()?;
        put(staged)?;
        self.prune_backups();
        Ok(backup)
    }

    fn stage(&self, text: &str) -> Result<Replacement, FileError> {
        let target = match self.exists {
            true => fs::canonicalize(&self.path).map_err(|source| self.failed("find", source))?,
            false => self.path.clone(),
        };
        if let Some(folder) = target.parent().filter(|_| !self.exists) {
            fs::create_dir_all(folder).map_err(|source| self.failed("create the folder of", source))?;
        }
        let made = match self.exists {
            true => Replacement::like(&target, target.clone()),
            false => Replacement::private(target.clone()),
        };
        staged(made, &target, text)
    }

    fn copy(&self, access: Access) -> Result<Option<Replacement>, FileError> {
        if !self.exists {
            return Ok(None);
        }
        let target = self.next_backup();
        let made = match access {
            Access::AsBefore => Replacement::like(&self.path, target.clone()),
            Access::Owner => Replacement::private(target.clone()),
        };
        staged(made, &target, &self.text).map(Some)
    }

    fn check_unchanged(&self) -> Result<(), FileError> {
        let now = Self::read(&self.path)?;
        if now.text == self.text && now.exists == self.exists {
            Ok(())
        } else {
            Err(FileError::Changed { path: self.path.clone() })
        }
    }

    fn failed(&self, verb: &'static str, source: io::Error) -> FileError {
        FileError::Io { verb, path: self.path.clone(), source }
    }
}

/// Writes `text` to `made`, the temporary file that will replace `target`.
fn staged(made: io::Result<Replacement>, target: &Path, text: &str) -> Result<Replacement, FileError> {
    let write = |mut replacement: Replacement| replacement.write(text.as_bytes()).map(|()| replacement);
    made.and_then(write).map_err(|source| FileError::Io { verb: "write", path: target.to_owned(), source })
}

/// Renames it to the target and returns that path.
fn put(staged: Replacement) -> Result<PathBuf, FileError> {
    let target = staged.target().to_owned();
    if let Err(source) = staged.put() {
        return Err(FileError::Io { verb: "write", path: target, source });
    }
    // The file is already in place; at worst it is lost in a power failure.
    if let Err(error) = replace::flush(&target) {
        tracing::warn!(%error, file = %target.display(), "cannot flush the file's folder to disk");
    }
    Ok(target)
}

impl ConfigFile {
    /// The parsed file, in `client`'s format.
    ///
    /// # Errors
    /// The file is not valid in that format.
    pub fn document(&self, client: Client) -> Result<Document, FileError> {
        self.about(Document::read(client, &self.text))
    }

    /// Adds the file's path to the error.
    ///
    /// # Errors
    /// The error in `outcome`.
    pub fn about<T>(&self, outcome: Result<T, DocumentError>) -> Result<T, FileError> {
        outcome.map_err(|error| FileError::Document { path: self.path.clone(), error })
    }
}
