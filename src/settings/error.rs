//! Invalid settings.

use std::{io, path::PathBuf};

use crate::{disk::lock, profile::provider_document::ProviderError};

/// A problem with the environment or `config.toml`.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// An environment variable has an invalid value.
    #[error("invalid {name} {problem}")]
    Variable {
        name: &'static str,
        /// The value and the expected ones.
        problem: String,
    },
    #[error("no home folder found for this user")]
    NoHomeFolder,
    #[error("cannot use {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// `config.toml` is invalid.
    #[error("{}: {problem}", path.display())]
    Config {
        path: PathBuf,
        /// The problem and its position.
        problem: String,
    },
    /// Another user can write to the file or its folder.
    #[error("other users can change {}", path.display())]
    Exposed { path: PathBuf },
    /// Another program changed the file while the user edited a copy.
    #[error("another program has changed {} in the meantime", path.display())]
    Overtaken { path: PathBuf },
    /// The lock on `config.toml` could not be acquired.
    #[error("config.toml was not changed")]
    Unchanged(#[source] lock::LockError),
}

impl From<ProviderError> for SettingsError {
    fn from(error: ProviderError) -> Self {
        Self::Config { path: "config.toml".into(), problem: error.to_string() }
    }
}
