//! The credentials that are kept on this machine, and what renews them.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    credential::{
        clock::SystemClock,
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

/// Where credentials are kept, and what it takes to renew them. Cheap to clone.
#[derive(Clone)]
pub struct Credentials {
    /// Where secrets are kept.
    pub store: Arc<dyn CredentialStore>,
    /// The network.
    pub http: Arc<Http>,
    /// The time.
    pub clock: Arc<SystemClock>,
    locks: PathBuf,
    /// Whatever may be renewing a token.
    sources: Arc<Mutex<Vec<TokenSource>>>,
}

impl Credentials {
    /// Those in `store`.
    pub fn new(store: Arc<dyn CredentialStore>, settings: &Settings) -> Self {
        Self {
            store,
            http: Arc::new(Http::trusting(settings.authorities.clone())),
            clock: Arc::new(SystemClock),
            locks: settings.locks(),
            sources: Arc::default(),
        }
    }

    /// Those of other settings of the same program.
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

    /// Where clients are kept that nobody has signed in with yet.
    pub fn registrations(&self) -> Registrations {
        Registrations::new(self.store.clone(), self.locks.clone())
    }

    /// Writes to the store and cleans up: what it will not take later is better not asked for.
    ///
    /// # Errors
    /// The store's.
    pub async fn prove_store(&self) -> Result<(), StoreError> {
        const PROOF: &str = "finmcp-proof";
        self.store.save(PROOF, zeroize::Zeroizing::new(b"finmcp can write here".to_vec())).await?;
        self.store.delete(PROOF).await
    }

    /// What is stored for this profile already.
    ///
    /// # Errors
    /// The store's.
    pub async fn earlier(&self, profile: &Profile) -> Result<Option<Credential>, Error> {
        match self.tokens(profile.signed_in.clone()).credential().await {
            Ok(credential) => Ok(credential),
            // Signing in again replaces a damaged entry.
            Err(TokenSourceError::Store(error)) if matches!(*error, StoreError::Corrupt(_)) => Ok(None),
            Err(error) => Err(Error::of_token(error, profile)),
        }
    }

    /// Sees every renewal that is under way to its end: a rotated refresh token must not end with the process.
    pub async fn settle(&self) {
        let sources = std::mem::take(&mut *self.sources.lock().unwrap_or_else(PoisonError::into_inner));
        futures_util::future::join_all(sources.iter().map(TokenSource::settle)).await;
    }
}
