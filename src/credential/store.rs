//! What a store of secrets must do, and how it can fail.

use futures_util::future::BoxFuture;
use zeroize::Zeroizing;

/// Named secrets. One entry is one credential; names are made by [`crate::credential::record::Identity::entry`].
pub trait CredentialStore: Send + Sync {
    /// The entry's bytes, or none.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn load<'a>(&'a self, entry: &'a str) -> BoxFuture<'a, Result<Option<Zeroizing<Vec<u8>>>, StoreError>>;

    /// Writes the entry, durably: when this returns, a crash loses nothing.
    ///
    /// # Errors
    /// Any [`StoreError`]; then the old entry is still whole.
    fn save<'a>(&'a self, entry: &'a str, payload: Zeroizing<Vec<u8>>) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Removes the entry; one that is not there is fine.
    ///
    /// # Errors
    /// Any [`StoreError`].
    fn delete<'a>(&'a self, entry: &'a str) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Where it is, in words for people: "the GNOME keyring", a path.
    fn description(&self) -> String;
}

/// Why a store does not do its work, sorted by what the person does next.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such service on this machine or in this session.
    #[error("no credential store can be reached: {0}")]
    Absent(String),
    /// It is there, and locked.
    #[error("the credential store is locked")]
    Locked,
    /// It did not answer in time.
    #[error("the credential store did not answer within {} s", .0.as_secs())]
    TimedOut(std::time::Duration),
    /// It refused or broke.
    #[error("the credential store failed: {0}")]
    Failed(String),
    /// The entry is damaged, or was written by somebody else.
    #[error("a stored credential cannot be used: {0}")]
    Corrupt(String),
    /// The entry was written by a newer finmcp, and is left alone. The value is its version.
    #[error("a stored credential was written by a newer finmcp (record version {0})")]
    Newer(u64),
    /// The file store is not set up safely: a loose mode, a symbolic link, a missing key.
    #[error("the file store is not safe to use: {0}")]
    Unsafe(String),
    /// The file store was begun with another key file or passphrase. The value is its folder.
    #[error("the file store in {0} is encrypted with another key or passphrase")]
    AnotherKey(String),
    /// The file store is encrypted with a person's passphrase, and nobody is there to be asked for it.
    #[error("the file store needs its key file or its passphrase")]
    NeedsPassphrase,
}
