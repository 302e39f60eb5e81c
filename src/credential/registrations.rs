//! The registered clients that have no sign-in yet (RFC 7591). finmcp stores them so that the next process that offers
//! the sign-in does not register another one. They are in the credential store because some have secrets. A sign-in
//! moves its client into the credential.

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    credential::{
        document::RegistrationDocument,
        error::TokenSourceError,
        record::Identity,
        store::{CredentialStore, StoreError},
    },
    disk::lock::Lock,
    oauth::registration::ClientRegistration,
};

/// How long a successful sign-in waits for the lock to delete its client: the holder may be registering another.
const FORGET_DEADLINE: Duration = Duration::from_secs(5);

/// The most clients for one sign-in: more processes may wait for their user than one client has ports.
const LIMIT: usize = 8;

/// The stored clients. Cheap to clone.
#[derive(Clone)]
pub struct Registrations {
    store: Arc<dyn CredentialStore>,
    locks: PathBuf,
}

/// The clients for one sign-in, oldest first, locked for other processes.
pub struct Pending {
    store: Arc<dyn CredentialStore>,
    entry: String,
    clients: Vec<ClientRegistration>,
    _lock: Lock,
}

#[derive(Serialize, Deserialize)]
struct Document<'a> {
    clients: Vec<RegistrationDocument<'a>>,
}

impl Registrations {
    /// The clients in `store`. All processes that use the folder `locks` share them.
    pub fn new(store: Arc<dyn CredentialStore>, locks: PathBuf) -> Self {
        Self { store, locks }
    }

    /// The clients for a sign-in to `identity`, whatever its client id. Waits up to `deadline` for another process
    /// that is registering a client.
    ///
    /// # Errors
    /// The store or the lock fails.
    pub async fn open(&self, identity: &Identity, deadline: Duration) -> Result<Pending, TokenSourceError> {
        let entry = entry(identity);
        let lock = Lock::acquire(&self.locks, &entry, deadline).await?;
        let payload = self.store.load(&entry).await?;
        let clients = payload.and_then(|payload| clients(&payload)).unwrap_or_default();
        Ok(Pending { store: self.store.clone(), entry, clients, _lock: lock })
    }

    /// Deletes all of them, after a sign-in.
    ///
    /// # Errors
    /// The store or the lock fails.
    pub async fn forget(&self, identity: &Identity) -> Result<(), TokenSourceError> {
        // Most sign-ins have nothing to delete, and reading needs no lock.
        let entry = entry(identity);
        if self.store.load(&entry).await?.is_none() {
            return Ok(());
        }
        let _lock = Lock::acquire(&self.locks, &entry, FORGET_DEADLINE).await?;
        Ok(self.store.delete(&entry).await?)
    }
}

impl Pending {
    /// The clients.
    pub fn clients(&self) -> &[ClientRegistration] {
        &self.clients
    }

    /// Stores another one.
    ///
    /// # Errors
    /// The store fails.
    pub async fn add(&mut self, client: ClientRegistration) -> Result<(), StoreError> {
        self.clients.push(client);
        let surplus = self.clients.len().saturating_sub(LIMIT);
        self.clients.drain(..surplus);
        self.save().await
    }

    /// Deletes one that the server has forgotten.
    ///
    /// # Errors
    /// The store fails.
    pub async fn remove(&mut self, client_id: &str) -> Result<(), StoreError> {
        self.clients.retain(|client| client.client_id != client_id);
        self.save().await
    }

    /// Deletes all.
    ///
    /// # Errors
    /// The store fails.
    pub async fn clear(&mut self) -> Result<(), StoreError> {
        if self.clients.is_empty() {
            return Ok(());
        }
        self.clients.clear();
        self.save().await
    }

    async fn save(&self) -> Result<(), StoreError> {
        if self.clients.is_empty() {
            return self.store.delete(&self.entry).await;
        }
        let document = Document { clients: self.clients.iter().map(RegistrationDocument::from).collect() };
        let payload = serde_json::to_vec(&document).map(Zeroizing::new);
        let payload = payload.map_err(|error| StoreError::Failed(format!("could not write a record: {error}")))?;
        self.store.save(&self.entry, payload).await
    }
}

/// The clients in a document; none if it is damaged: finmcp then registers another client.
fn clients(payload: &[u8]) -> Option<Vec<ClientRegistration>> {
    let document: Document<'_> = serde_json::from_slice(payload).ok()?;
    document.clients.into_iter().map(|client| client.try_into().ok()).collect()
}

/// The name of the entry and of its lock: `finmcp-registration-` and a SHA-256 in hexadecimal of the identity without
/// its client id, as in [`Identity::entry`].
fn entry(identity: &Identity) -> String {
    let Identity { environment, issuer, resource, client_id: _, account } = identity;
    let mut hash = Sha256::new_with_prefix(b"finmcp registration 1");
    for part in [environment, issuer, resource, account] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    format!("finmcp-registration-{}", hex::encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        credential::memory::MemoryStore,
        oauth::{registration::ClientAuthentication, scope::Scope},
        secret::Secret,
    };

    const SOON: Duration = Duration::from_secs(5);

    fn identity(change: impl FnOnce(&mut Identity)) -> Identity {
        let mut identity = Identity {
            environment: "sandbox".to_owned(),
            issuer: "https://as.example".to_owned(),
            resource: "https://mcp.example/mcp".to_owned(),
            client_id: String::new(),
            account: "books".to_owned(),
        };
        change(&mut identity);
        identity
    }

    fn client(id: &str) -> ClientRegistration {
        ClientRegistration {
            client_id: id.to_owned(),
            client_secret: Some(Secret::new("s".to_owned())),
            certificate: None,
            key_algorithm: None,
            authentication: ClientAuthentication::Body,
            redirect_uri: Some("http://127.0.0.1:5000/callback".to_owned()),
            expires_at: None,
            withheld: Scope::default(),
            other_redirect_uris: vec!["http://127.0.0.1:5001/callback".to_owned()],
        }
    }

    fn ids(pending: &Pending) -> Vec<&str> {
        pending.clients().iter().map(|client| client.client_id.as_str()).collect()
    }

    /// b16: the next process finds the client, whatever its id; another sign-in does not.
    #[tokio::test]
    async fn b16_the_next_process_finds_a_registration() {
        let folder = tempfile::tempdir().unwrap();
        let registrations = Registrations::new(Arc::new(MemoryStore::default()), folder.path().join("locks"));
        let mine = identity(|_| {});
        registrations.open(&mine, SOON).await.unwrap().add(client("one")).await.unwrap();
        let found =
            registrations.open(&identity(|identity| identity.client_id = "one".to_owned()), SOON).await.unwrap();
        assert_eq!(ids(&found), ["one"]);
        assert_eq!(found.clients()[0].client_secret.as_ref().unwrap().expose(), "s");
        let ports = ["http://127.0.0.1:5000/callback", "http://127.0.0.1:5001/callback"];
        assert_eq!(found.clients()[0].redirect_uris().collect::<Vec<_>>(), ports);
        let x = || "x".to_owned();
        for other in [
            identity(|identity| identity.environment = x()),
            identity(|identity| identity.issuer = x()),
            identity(|identity| identity.resource = x()),
            identity(|identity| identity.account = x()),
        ] {
            assert!(registrations.open(&other, SOON).await.unwrap().clients().is_empty(), "{other:?}");
        }
        drop(found);
        registrations.forget(&mine).await.unwrap();
        registrations.forget(&mine).await.unwrap();
        assert!(registrations.open(&mine, SOON).await.unwrap().clients().is_empty());
    }

    /// b16: one process at a time, a limited number of clients, and a damaged record counts as empty.
    #[tokio::test]
    async fn b16_clients_are_stored_under_a_lock() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(MemoryStore::default());
        let registrations = Registrations::new(store.clone(), folder.path().join("locks"));
        let mine = identity(|_| {});
        let mut pending = registrations.open(&mine, SOON).await.unwrap();
        assert!(registrations.open(&mine, Duration::ZERO).await.is_err());
        for number in 0..LIMIT + 2 {
            pending.add(client(&number.to_string())).await.unwrap();
        }
        pending.remove("3").await.unwrap();
        drop(pending);
        let mut pending = registrations.open(&mine, SOON).await.unwrap();
        assert_eq!(ids(&pending), ["2", "4", "5", "6", "7", "8", "9"]);
        pending.clear().await.unwrap();
        assert!(store.load(&entry(&mine)).await.unwrap().is_none());
        drop(pending);
        for damaged in ["", "{}", "<html>", r#"{"clients":[{"client_id":"x"}]}"#] {
            store.save(&entry(&mine), Zeroizing::new(damaged.as_bytes().to_vec())).await.unwrap();
            assert!(registrations.open(&mine, SOON).await.unwrap().clients().is_empty(), "{damaged}");
        }
    }
}
