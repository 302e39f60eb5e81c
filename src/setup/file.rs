//! A client's file on the disk: read, and replaced in one step with a copy of what was before beside it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    disk::replace::{self, Replacement},
    setup::{client::Client, document::Document, error::DocumentError},
};

/// A file as it was read.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    /// Its path, as the client knows it.
    pub path: PathBuf,
    /// Its text; empty where there is none.
    pub text: String,
    /// Whether it was there.
    pub exists: bool,
}

/// Why a file is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system says no.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A link that leads nowhere: what it stands for is not to be guessed.
    #[error("{} is a link to nothing", path.display())]
    Dangling {
        /// The link.
        path: PathBuf,
    },
    /// Somebody else wrote it in the meantime.
    #[error("{} was changed by another program just now", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// What it says cannot be read, or not be changed.
    #[error("{}", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        #[source]
        error: DocumentError,
    },
}

/// Who may read what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whoever may read the file that is replaced; for a new one the owner alone.
    AsBefore,
    /// The owner alone.
    Owner,
}

/// What the copies of the files before are called.
pub const BACKUP_ENDING: &str = ".before-finmcp";

impl ConfigFile {
    /// Reads the file at `path`; none is an empty one.
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

    /// The copies of what was there before, the oldest first, and where the next one goes: none takes another's place,
    /// since it may be all that is left of what a person had.
    fn backups(&self) -> (Vec<PathBuf>, PathBuf) {
        let named = |number: usize| {
            let mut name = self.path.file_name().unwrap_or_default().to_owned();
            name.push(BACKUP_ENDING);
            if number > 1 {
                name.push(format!("-{number}"));
            }
            self.path.with_file_name(name)
        };
        let there: Vec<PathBuf> = (1..).map(named).take_while(|path| fs::symlink_metadata(path).is_ok()).collect();
        let next = named(there.len() + 1);
        (there, next)
    }

    /// What the latest copy beside it says, if there is one.
    pub fn backup(&self) -> Option<String> {
        fs::read_to_string(self.backups().0.last()?).ok()
    }

    /// Copies the file as it was read to its backup, for `access`, if it is still so; nothing where there was none.
    ///
    /// # Errors
    /// [`FileError`]; then an earlier backup is as it was.
    pub fn back_up(&self, access: Access) -> Result<Option<PathBuf>, FileError> {
        let Some(copy) = self.copy(access)? else { return Ok(None) };
        self.check_unchanged()?;
        put(copy).map(Some)
    }

    /// Puts `text` in the file's place, in one step, if it is still as it was read. A file that is a link stays one;
    /// its permissions stay.
    ///
    /// # Errors
    /// [`FileError`]; then the file is as it was.
    pub fn replace(&self, text: &str) -> Result<(), FileError> {
        let staged = self.stage(text)?;
        self.check_unchanged()?;
        put(staged).map(drop)
    }

    /// Both: the copy, for `access`, takes an earlier one's place once nothing but the move of the file is left to do.
    /// The backup's path; none where there was no file.
    ///
    /// # Errors
    /// [`FileError`]; then the file is as it was.
    pub fn replace_with_backup(&self, text: &str, access: Access) -> Result<Option<PathBuf>, FileError> {
        let staged = self.stage(text)?;
        let copy = self.copy(access)?;
        self.check_unchanged()?;
        let backup = copy.map(put).transpose()?;
        put(staged)?;
        Ok(backup)
    }

    fn stage(&self, text: &str) -> Result<Replacement, FileError> {
        let target = match self.exists {
            true => fs::canonicalize(&self.path).map_err(|source| self.failed("find", source))?,
            false => self.path.clone(),
        };
        if let Some(folder) = target.parent().filter(|_| !self.exists) {
            fs::create_dir_all(folder).map_err(|source| self.failed("make the folder of", source))?;
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
        let target = self.backups().1;
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

/// Writes `text` into `made`, which is to take the place of `target`.
fn staged(made: io::Result<Replacement>, target: &Path, text: &str) -> Result<Replacement, FileError> {
    let write = |mut replacement: Replacement| replacement.write(text.as_bytes()).map(|()| replacement);
    made.and_then(write).map_err(|source| FileError::Io { verb: "write", path: target.to_owned(), source })
}

/// Moves `staged` to its place, and says which.
fn put(staged: Replacement) -> Result<PathBuf, FileError> {
    let target = staged.target().to_owned();
    if let Err(source) = staged.put() {
        return Err(FileError::Io { verb: "write", path: target, source });
    }
    // It is there already: that it may not outlast a power cut is no failure.
    if let Err(error) = replace::flush(&target) {
        tracing::warn!(%error, file = %target.display(), "its folder could not be flushed to the disk");
    }
    Ok(target)
}

impl ConfigFile {
    /// What it says, as `client` spells it.
    ///
    /// # Errors
    /// It is spelled otherwise.
    pub fn document(&self, client: Client) -> Result<Document, FileError> {
        self.about(Document::read(client, &self.text))
    }

    /// What went wrong, with the file that it is about.
    ///
    /// # Errors
    /// What went wrong.
    pub fn about<T>(&self, outcome: Result<T, DocumentError>) -> Result<T, FileError> {
        outcome.map_err(|error| FileError::Document { path: self.path.clone(), error })
    }
}
