//! The key that seals audit logs: one for all logs of this machine, in the credential store.

use std::{io, time::Duration};

use zeroize::Zeroizing;

use crate::{
    app::credentials::Credentials,
    bridge::control::audit::seal::{KEY_LENGTH, SealKey},
    credential::{
        choice::StoreChoice,
        store::{CredentialStore, StoreError},
    },
    disk::lock::Lock,
    error::{Error, ErrorKind},
    settings::Settings,
};

/// The name of the entry and of its lock.
const ENTRY: &str = "finmcp-audit-seal";

/// How long to wait for another process that creates the key.
const DEADLINE: Duration = Duration::from_secs(10);

/// The key, which is created if there is none yet.
///
/// # Errors
/// The store fails or does not persist the key.
pub async fn key(settings: &Settings, credentials: &Credentials) -> Result<SealKey, Error> {
    if matches!(settings.store, StoreChoice::Memory) {
        let message = "--audit-seal needs a credential store that keeps its key";
        return Err(Error::new(ErrorKind::Usage, message).hint("set FINMCP_STORE to keychain or file"));
    }
    let store = credentials.store.as_ref();
    if let Some(key) = load(store).await? {
        return Ok(key);
    }
    let _lock = Lock::acquire(&settings.locks(), ENTRY, DEADLINE).await?;
    if let Some(key) = load(store).await? {
        return Ok(key);
    }
    let mut bytes = Zeroizing::new([0; KEY_LENGTH]);
    getrandom::fill(bytes.as_mut_slice()).map_err(io::Error::other)?;
    store.save(ENTRY, Zeroizing::new(hex::encode(bytes.as_slice()).into_bytes())).await?;
    Ok(SealKey::new(&bytes))
}

/// The key, if there is one.
///
/// # Errors
/// The store fails.
pub async fn existing(credentials: &Credentials) -> Result<Option<SealKey>, Error> {
    Ok(load(credentials.store.as_ref()).await?)
}

async fn load(store: &dyn CredentialStore) -> Result<Option<SealKey>, StoreError> {
    let Some(text) = store.load(ENTRY).await? else { return Ok(None) };
    let mut bytes = Zeroizing::new([0; KEY_LENGTH]);
    hex::decode_to_slice(text.as_slice(), bytes.as_mut_slice())
        .map_err(|_| StoreError::Corrupt("the key that seals audit logs".to_owned()))?;
    Ok(Some(SealKey::new(&bytes)))
}
