//! A client's file on the disk: read, and replaced in one step with a copy of what was before beside it.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use crate::setup::document::DocumentError;

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

    /// Where the copy of the file before is kept.
    pub fn backup_path(&self) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(BACKUP_ENDING);
        self.path.with_file_name(name)
    }

    /// What the copy beside it says, if there is one.
    pub fn backup(&self) -> Option<String> {
        fs::read_to_string(self.backup_path()).ok()
    }

    /// Copies the file as it was read to its backup, for `access`; nothing where there was none.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn back_up(&self, access: Access) -> Result<Option<PathBuf>, FileError> {
        if !self.exists {
            return Ok(None);
        }
        let path = self.backup_path();
        let model = if access == Access::AsBefore { Some(self.path.as_path()) } else { None };
        put(&path, &self.text, model, || Ok(()))?;
        Ok(Some(path))
    }

    /// Puts `text` in the file's place, in one step, if it is still as it was read. A file that is a link stays one;
    /// its permissions stay.
    ///
    /// # Errors
    /// [`FileError`]; then the file is as it was.
    pub fn replace(&self, text: &str) -> Result<(), FileError> {
        let target = match self.exists {
            true => fs::canonicalize(&self.path).map_err(|source| self.failed("find", source))?,
            false => self.path.clone(),
        };
        if let Some(folder) = target.parent().filter(|_| !self.exists) {
            fs::create_dir_all(folder).map_err(|source| self.failed("make the folder of", source))?;
        }
        put(&target, text, self.exists.then_some(&target), || self.check_unchanged())
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

/// Writes `text` beside `path` and moves it there, after `check`. It is readable by its owner alone, or by whoever may
/// read `model`.
fn put(
    path: &Path,
    text: &str,
    model: Option<&Path>,
    check: impl FnOnce() -> Result<(), FileError>,
) -> Result<(), FileError> {
    let failed = |source| FileError::Io { verb: "write", path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    if let Some(model) = model {
        let permissions = fs::metadata(model).map_err(failed)?.permissions();
        file.as_file().set_permissions(permissions).map_err(failed)?;
    }
    file.as_file().sync_all().map_err(failed)?;
    check()?;
    file.persist(path).map_err(|error| failed(error.error))?;
    #[cfg(unix)]
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(())
}
