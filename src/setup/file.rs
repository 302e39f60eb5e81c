//! A client's file on disk: read, and replaced atomically, with a backup next to it.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use crate::setup::document::DocumentError;

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
        /// The operation.
        verb: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A dangling symlink.
    #[error("{} is a dangling symlink", path.display())]
    Dangling {
        /// The link.
        path: PathBuf,
    },
    /// Another program changed the file after finmcp read it.
    #[error("another program has just changed {}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The content cannot be read or changed.
    #[error("{}", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// The problem and its place.
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
pub const BACKUP_ENDING: &str = ".before-finmcp";

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

    /// The existing backups, oldest first, and the path for the next one. A backup never overwrites another, which may
    /// be the only copy of the user's settings.
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

    /// The text of the latest backup, if there is one.
    pub fn backup(&self) -> Option<String> {
        fs::read_to_string(self.backups().0.last()?).ok()
    }

    /// Backs up the file as it was read, with `access`, if it has not changed since. Does nothing if there was no file.
    ///
    /// # Errors
    /// [`FileError`]; earlier backups are unchanged.
    pub fn back_up(&self, access: Access) -> Result<Option<PathBuf>, FileError> {
        let Some(copy) = self.copy(access)? else { return Ok(None) };
        self.check_unchanged()?;
        copy.put().map(Some)
    }

    /// Replaces the file with `text` atomically, if it has not changed since it was read. A symlink stays a symlink,
    /// and the permissions stay.
    ///
    /// # Errors
    /// [`FileError`]; the file is unchanged.
    pub fn replace(&self, text: &str) -> Result<(), FileError> {
        let staged = self.stage(text)?;
        self.check_unchanged()?;
        staged.put().map(drop)
    }

    /// Backs up and replaces the file. The backup gets its name only when all that remains is to rename the new file.
    /// Returns the backup's path; none if there was no file.
    ///
    /// # Errors
    /// [`FileError`]; the file is unchanged.
    pub fn replace_with_backup(&self, text: &str, access: Access) -> Result<Option<PathBuf>, FileError> {
        let staged = self.stage(text)?;
        let copy = self.copy(access)?;
        self.check_unchanged()?;
        let backup = copy.map(Staged::put).transpose()?;
        staged.put()?;
        Ok(backup)
    }

    fn stage(&self, text: &str) -> Result<Staged, FileError> {
        let target = match self.exists {
            true => fs::canonicalize(&self.path).map_err(|source| self.failed("find", source))?,
            false => self.path.clone(),
        };
        if let Some(folder) = target.parent().filter(|_| !self.exists) {
            fs::create_dir_all(folder).map_err(|source| self.failed("create the folder of", source))?;
        }
        let model = self.exists.then(|| target.clone());
        Staged::write(target, text, model.as_deref())
    }

    fn copy(&self, access: Access) -> Result<Option<Staged>, FileError> {
        let model = if access == Access::AsBefore { Some(self.path.as_path()) } else { None };
        self.exists.then(|| Staged::write(self.backups().1, &self.text, model)).transpose()
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

/// A temporary file next to the file that it will replace.
struct Staged {
    file: tempfile::NamedTempFile,
    target: PathBuf,
}

impl Staged {
    /// Writes `text` next to `target`, readable only by the owner, or with the permissions of `model`.
    fn write(target: PathBuf, text: &str, model: Option<&Path>) -> Result<Self, FileError> {
        let stage = || {
            let mut file = tempfile::NamedTempFile::new_in(folder_of(&target))?;
            file.write_all(text.as_bytes())?;
            if let Some(model) = model {
                file.as_file().set_permissions(fs::metadata(model)?.permissions())?;
            }
            file.as_file().sync_all()?;
            Ok(file)
        };
        match stage() {
            Ok(file) => Ok(Self { file, target }),
            Err(source) => Err(FileError::Io { verb: "write", path: target, source }),
        }
    }

    /// Renames it to the target and returns that path.
    fn put(self) -> Result<PathBuf, FileError> {
        let Self { file, target } = self;
        if let Err(error) = file.persist(&target) {
            return Err(FileError::Io { verb: "write", path: target, source: error.error });
        }
        // The file is already in place; at worst it is lost in a power failure.
        #[cfg(unix)]
        if let Err(error) = fs::File::open(folder_of(&target)).and_then(|folder| folder.sync_all()) {
            tracing::warn!(%error, file = %target.display(), "cannot flush the file's folder to disk");
        }
        Ok(target)
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}
