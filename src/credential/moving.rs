//! Gives a credential another account, when its profile gets another name.
//!
//! The copy is stored first, then the settings name it, and then the old record is deleted: whenever the process is
//! killed, the settings name a complete record. The locks of both records are held all the time, so that no other process
//! renews the token in between: its new refresh token would be lost.

use std::{path::Path, sync::Arc};

use crate::{
    credential::{
        error::TokenSourceError,
        record::{Credential, Identity},
        renewal::LOCK_DEADLINE,
        store::CredentialStore,
    },
    disk::lock::Lock,
};

/// A credential that is stored twice.
pub struct Moving {
    store: Arc<dyn CredentialStore>,
    old: Identity,
    new: Identity,
    _locks: [Lock; 2],
}

impl Moving {
    /// Stores a copy of the credential of `old` with the account `account`, if there is one.
    pub(crate) async fn begin(
        store: Arc<dyn CredentialStore>,
        locks: &Path,
        old: &Identity,
        account: &str,
    ) -> Result<Self, TokenSourceError> {
        let new = Identity { account: account.to_owned(), ..old.clone() };
        let mut entries = [old.entry(), new.entry()];
        // In one order for all processes, so that two of them never wait for each other.
        entries.sort();
        let [one, other] = &entries;
        let locks =
            [Lock::acquire(locks, one, LOCK_DEADLINE).await?, Lock::acquire(locks, other, LOCK_DEADLINE).await?];
        if let Some(payload) = store.load(&old.entry()).await? {
            let credential = Credential::from_payload(&payload, old)?;
            let copy = Credential { identity: new.clone(), ..credential };
            store.save(&new.entry(), copy.to_payload()?).await?;
        }
        Ok(Self { store, old: old.clone(), new, _locks: locks })
    }

    /// Deletes the old record. Call this once the settings name the new one.
    ///
    /// # Errors
    /// The store cannot delete it.
    pub async fn finish(self) -> Result<(), TokenSourceError> {
        Ok(self.store.delete(&self.old.entry()).await?)
    }

    /// Deletes the copy.
    ///
    /// # Errors
    /// The store cannot delete it.
    pub async fn undo(self) -> Result<(), TokenSourceError> {
        Ok(self.store.delete(&self.new.entry()).await?)
    }
}
