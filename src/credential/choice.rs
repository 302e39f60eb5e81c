//! The choice of the credential store.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    credential::{
        file::{FileStore, KeySource},
        keychain::{Keychain, TellUser},
        memory::MemoryStore,
        store::CredentialStore,
    },
    secret::Secret,
};

/// The store that the user chose. There is no fallback to another.
#[derive(Debug, Clone)]
pub enum StoreChoice {
    /// The operating system's keychain.
    Keychain,
    /// Encrypted files, for machines without a keychain.
    File {
        /// The files' folder.
        folder: PathBuf,
        /// The source of the encryption key.
        key: KeySource,
    },
    /// This process's memory.
    Memory,
}

impl StoreChoice {
    /// Whether the user has to enter a passphrase first.
    pub fn needs_passphrase(&self) -> bool {
        matches!(self, Self::File { key: KeySource::Unknown, .. })
    }

    /// Whether it is still empty, so that the user chooses its passphrase.
    pub fn is_new(&self) -> bool {
        match self {
            Self::File { folder, .. } => {
                fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none()) || !folder.exists()
            }
            Self::Keychain | Self::Memory => false,
        }
    }

    /// The same with `passphrase` if it needs one.
    pub fn with_passphrase(self, passphrase: Secret) -> Self {
        match self {
            Self::File { folder, key: KeySource::Unknown } => {
                Self::File { folder, key: KeySource::Passphrase(passphrase) }
            }
            other => other,
        }
    }

    /// The file store's key file, if other users can read it.
    pub fn readable_key_file(&self) -> Option<&Path> {
        match self {
            Self::File { key, .. } => key.readable_key_file(),
            Self::Keychain | Self::Memory => None,
        }
    }

    /// The store of a user at a terminal, who can unlock it; `tell` says so.
    pub fn open_attended(self, tell: TellUser) -> Arc<dyn CredentialStore> {
        match self {
            Self::Keychain => Arc::new(Keychain::attended(tell)),
            other => other.open(),
        }
    }

    /// The store. Accesses neither keychain nor disk before its first call.
    pub fn open(self) -> Arc<dyn CredentialStore> {
        match self {
            Self::Keychain => Arc::new(Keychain::default()),
            Self::File { folder, key } => Arc::new(FileStore::new(folder, key)),
            Self::Memory => Arc::new(MemoryStore::default()),
        }
    }
}
