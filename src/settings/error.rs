//! Why the settings cannot be used.

use std::{io, path::PathBuf};

use crate::{disk::lock, profile::provider::ProviderError};

/// What is wrong with the environment or with `config.toml`.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// An environment variable with a value that means nothing.
    #[error("{name} is {problem}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// No home folder, so nowhere to keep anything.
    #[error("this user has no home folder")]
    Homeless,
    /// `config.toml` cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// `config.toml` says something that makes no sense.
    #[error("{}: {problem}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },
    /// A folder or file that another user could have changed.
    #[error("{} can be changed by other users", path.display())]
    Exposed {
        /// The file or folder.
        path: PathBuf,
    },
    /// `config.toml` is not to be changed without its lock.
    #[error("config.toml was not changed")]
    Unchanged(#[source] lock::LockError),
}

impl From<ProviderError> for SettingsError {
    fn from(error: ProviderError) -> Self {
        Self::Config { path: "config.toml".into(), problem: error.to_string() }
    }
}
