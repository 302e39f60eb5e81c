//! The interface of a credential store, and its errors.

use futures_util::{FutureExt as _, future::BoxFuture};
use zeroize::Zeroizing;

use crate::disk::private_folder::UnsafePlace;

/// A store of named secrets. An entry is one credential, named by [`crate::credential::record::Identity::entry`].
pub trait CredentialStore: Send + Sync {
    /// The entry's bytes; none if it does not exist.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn load<'a>(&'a self, entry: &'a str) -> BoxFuture<'a, Result<Option<Zeroizing<Vec<u8>>>, StoreError>>;

    /// Writes the entry durably: it survives a crash after this returns.
    ///
    /// # Errors
    /// Any [`StoreError`]; then the old entry is unchanged.
    fn save<'a>(&'a self, entry: &'a str, payload: Zeroizing<Vec<u8>>) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Deletes the entry if it exists.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn delete<'a>(&'a self, entry: &'a str) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Whether the store works with the key or the login that finmcp has, as far as reading tells. Changes nothing.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn examine(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        /// No entry has this name.
        const NO_ENTRY: &str = "finmcp-proof";
        async { self.load(NO_ENTRY).await.map(drop) }.boxed()
    }

    /// The store's display name, for example "the desktop keyring", or a path.
    fn description(&self) -> String;
}

/// Why a store failed, by what the user can do next.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// This machine or session has no keychain.
    #[error("no credential store available: {0}")]
    Absent(String),
    /// The user has to unlock it.
    #[error("the credential store is locked")]
    Locked,
    /// It did not respond in time.
    #[error("the credential store did not respond within {} s", .0.as_secs())]
    TimedOut(std::time::Duration),
    /// Another failure.
    #[error("the credential store failed: {0}")]
    Failed(String),
    /// The entry is damaged, or another program wrote it.
    #[error("a stored credential is invalid: {0}")]
    Corrupt(String),
    /// A newer finmcp wrote the entry, which this one does not change. The value is its version.
    #[error("a newer finmcp wrote the stored credential (record version {0})")]
    Newer(u64),
    /// The file store is unsafe: wrong permissions, a symbolic link, an invalid key file.
    #[error("the file store is not safe to use: {0}")]
    Unsafe(UnsafePlace),
    /// The key file of the file store does not exist. The value is its path.
    #[error("the key file {0} does not exist")]
    NoKeyFile(String),
    /// The keyring service runs, but the user has no keyring yet.
    #[error("your desktop has no keyring yet")]
    NoKeyring,
    /// The file store was created with another key than the given one.
    #[error(transparent)]
    AnotherKey(Mismatch),
    /// The file store needs a passphrase that finmcp cannot ask for here.
    #[error("the file store needs its key file or its passphrase")]
    NeedsPassphrase,
    /// The file store was created with a key file, and none is given. The value is its folder.
    #[error("the file store in {0} needs its key file")]
    NeedsKeyFile(String),
    /// The passphrase for a new file store is too short.
    #[error("the passphrase is too short for a new file store: it needs at least {NEW_PASSPHRASE} characters")]
    ShortPassphrase,
}

/// The smallest number of characters in the passphrase of a new file store. Existing stores keep theirs.
pub const NEW_PASSPHRASE: usize = 12;

/// What a file store's key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    KeyFile,
    Passphrase,
}

/// A key that is not the file store's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mismatch {
    /// The store's folder.
    pub folder: String,
    /// What the user gave.
    pub given: KeyKind,
    /// What the store was created with.
    pub stored: KeyKind,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let problem = match (self.given, self.stored) {
            (KeyKind::KeyFile, KeyKind::KeyFile) => "is encrypted with another key file",
            (KeyKind::Passphrase, KeyKind::Passphrase) => "is encrypted with another passphrase",
            (KeyKind::KeyFile, KeyKind::Passphrase) => "is encrypted with a passphrase, not with a key file",
            (KeyKind::Passphrase, KeyKind::KeyFile) => "is encrypted with a key file, not with a passphrase",
        };
        write!(formatter, "the file store in {} {problem}", self.folder)
    }
}
