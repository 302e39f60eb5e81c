//! Which store keeps the secrets: a person's choice.

use std::{fs, path::PathBuf, sync::Arc};

use crate::{
    credential::{
        file::{FileStore, KeySource},
        keychain::Keychain,
        memory::MemoryStore,
        store::CredentialStore,
    },
    secret::Secret,
};

/// Which store the person chose. There is no fallback from one to another.
#[derive(Debug, Clone)]
pub enum StoreChoice {
    /// The operating system's.
    Keychain,
    /// Encrypted files, for machines that have no keychain.
    File {
        /// Where they are.
        folder: PathBuf,
        /// What they are encrypted with.
        key: KeySource,
    },
    /// This process's memory, gone with it.
    Memory,
}

impl StoreChoice {
    /// Whether it takes a passphrase that nobody has given yet.
    pub fn needs_passphrase(&self) -> bool {
        matches!(self, Self::File { key: KeySource::Unknown, .. })
    }

    /// Whether nothing has been kept in it: whoever gives a passphrase chooses it.
    pub fn is_new(&self) -> bool {
        match self {
            Self::File { folder, .. } => {
                fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none()) || !folder.exists()
            }
            Self::Keychain | Self::Memory => false,
        }
    }

    /// The same with `passphrase`, where one was needed.
    pub fn with_passphrase(self, passphrase: Secret) -> Self {
        match self {
            Self::File { folder, key: KeySource::Unknown } => {
                Self::File { folder, key: KeySource::Passphrase(passphrase) }
            }
            other => other,
        }
    }

    /// The store. Touches neither keychain nor disk before its first call.
    pub fn open(self) -> Arc<dyn CredentialStore> {
        match self {
            Self::Keychain => Arc::new(Keychain::default()),
            Self::File { folder, key } => Arc::new(FileStore::new(folder, key)),
            Self::Memory => Arc::new(MemoryStore::default()),
        }
    }
}
