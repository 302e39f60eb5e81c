//! The credentials on this machine, and their renewal.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    credential::{
        clock::SystemClock,
        moving::Moving,
        record::{Credential, Identity},
        registrations::Registrations,
        store::{CredentialStore, StoreError},
        token_source::{TokenSource, TokenSourceError},
    },
    error::Error,
    http::Http,
    profile::Profile,
    settings::Settings,
};

/// The credential store, and what finmcp needs to renew tokens. Cheap to clone.
#[derive(Clone)]
pub struct Credentials {
    /// The store that the user chose.
    pub store: Arc<dyn CredentialStore>,
    /// Sends the token requests.
    pub http: Arc<Http>,
    /// The system's clock.
    pub clock: Arc<SystemClock>,
    /// The folder of the lock files.
    locks: PathBuf,
    /// Token sources that may have a renewal in progress.
    sources: Arc<Mutex<Vec<TokenSource>>>,
}

impl Credentials {
    /// The credentials in `store`.
    pub fn new(store: Arc<dyn CredentialStore>, settings: &Settings) -> Self {
        Self {
            store,
            http: Arc::new(Http::trusting(settings.authorities.clone())),
            clock: Arc::new(SystemClock),
            locks: settings.locks(),
            sources: Arc::default(),
        }
    }

    /// The same with another store and other locks.
    #[cfg(feature = "demo")]
    pub fn of(&self, settings: &Settings) -> Self {
        Self { store: settings.store.clone().open(), locks: settings.locks(), ..self.clone() }
    }

    /// The tokens of `identity`.
    pub fn tokens(&self, identity: Option<Identity>) -> TokenSource {
        let source =
            TokenSource::new(identity, self.store.clone(), self.locks.clone(), self.http.clone(), self.clock.clone());
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(source.clone());
        source
    }

    /// Gives the stored credential of `old` the account `account`: copies it now, and deletes the old one when that is
    /// [finished](Moving::finish).
    ///
    /// # Errors
    /// The store cannot be read or written, or another process holds the credential's lock.
    pub async fn begin_move(&self, old: &Identity, account: &str) -> Result<Moving, TokenSourceError> {
        Moving::begin(self.store.clone(), &self.locks, old, account).await
    }

    /// The registered clients that have no sign-in yet.
    pub fn registrations(&self) -> Registrations {
        Registrations::new(self.store.clone(), self.locks.clone())
    }

    /// Writes a test entry and deletes it: if the store cannot be written, the user must not sign in for nothing.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn prove_store(&self) -> Result<(), StoreError> {
        const PROOF: &str = "finmcp-proof";
        self.store.save(PROOF, zeroize::Zeroizing::new(b"finmcp can write here".to_vec())).await?;
        self.store.delete(PROOF).await
    }

    /// The stored credential of this profile.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn earlier(&self, profile: &Profile) -> Result<Option<Credential>, Error> {
        match self.tokens(profile.signed_in.clone()).credential().await {
            Ok(credential) => Ok(credential),
            // Signing in again replaces a damaged entry.
            Err(TokenSourceError::Store(error)) if matches!(*error, StoreError::Corrupt(_)) => Ok(None),
            Err(error) => Err(Error::of_token(error, profile)),
        }
    }

    /// Waits for all renewals in progress: the process must not exit before a rotated refresh token is stored.
    pub async fn settle(&self) {
        let sources = std::mem::take(&mut *self.sources.lock().unwrap_or_else(PoisonError::into_inner));
        futures_util::future::join_all(sources.iter().map(TokenSource::settle)).await;
    }
}
