//! A copy of `config.toml` for the user to edit.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::{
    disk::private_folder,
    settings::{
        config, environment,
        error::SettingsError,
        faults::{Fault, faults},
    },
};

/// The path of `config.toml`, whether it exists or not.
///
/// # Errors
/// [`SettingsError`] if there is no folder for it.
pub fn config_path() -> Result<PathBuf, SettingsError> {
    Ok(environment::folder()?.join("config.toml"))
}

/// Every fault of the file `config.toml`.
///
/// # Errors
/// It cannot be read, or others can change it.
pub fn config_faults() -> Result<Vec<Fault>, SettingsError> {
    Ok(faults(&config::text(&environment::folder()?)?))
}

/// A copy beside `config.toml`. It is deleted when this value is dropped.
pub struct Copy {
    folder: PathBuf,
    before: String,
    file: NamedTempFile,
}

impl Copy {
    /// Copies the file, which may be missing.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn create() -> Result<Self, SettingsError> {
        let folder = environment::folder()?;
        let before = config::text(&folder)?;
        let failed = |source| SettingsError::File { path: folder.clone(), source };
        private_folder::create(&folder).map_err(failed)?;
        // Editors recognise the format by the file's ending.
        let file = tempfile::Builder::new().prefix("config-").suffix(".toml").tempfile_in(&folder).map_err(failed)?;
        fs::write(file.path(), &before).map_err(failed)?;
        Ok(Self { folder, before, file })
    }

    /// Where the user can edit it.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Its text now, as the editor saved it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn text(&self) -> Result<String, SettingsError> {
        // Not through the open file: many editors replace the file that they save.
        fs::read_to_string(self.path()).map_err(|source| SettingsError::File { path: self.path().to_owned(), source })
    }

    /// Whether the user has changed it to `text`.
    pub fn is_changed(&self, text: &str) -> bool {
        text != self.before
    }

    /// Makes `text` the content of `config.toml`, atomically.
    ///
    /// # Errors
    /// [`SettingsError`], if another program has changed the file in the meantime, too. It is then unchanged.
    pub async fn put(&self, text: &str) -> Result<(), SettingsError> {
        config::replace_text(&self.folder, &self.folder.join("locks"), &self.before, text).await
    }

    /// Keeps the copy.
    ///
    /// # Errors
    /// The I/O error.
    pub fn keep(self) -> io::Result<PathBuf> {
        let (_, path) = self.file.keep().map_err(|error| error.error)?;
        Ok(path)
    }
}
