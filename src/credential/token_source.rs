//! A token that works, whenever one is asked for: the only door from the rest of finmcp to credentials.

use std::{path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    credential::{
        clock::Clock,
        lock::LockError,
        record::{Credential, Identity},
        store::{CredentialStore, StoreError},
    },
    http::Http,
    oauth::{error::TokenError, scope::Scope},
    secret::Secret,
};

/// A bearer token and what is known of it. Cheap to clone; two are equal when they hide the same token.
#[derive(Debug, Clone)]
pub struct AccessToken(Arc<Issued>);

#[derive(Debug)]
struct Issued {
    secret: Secret,
    expires_at: Option<Timestamp>,
    scope: Option<Scope>,
}

impl AccessToken {
    /// The token itself (RFC 6750 section 2.1).
    pub fn secret(&self) -> &Secret {
        &self.0.secret
    }

    /// When it ends; none where the server did not say.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.0.expires_at
    }

    /// The scope granted; none where the server did not say and none was asked for.
    pub fn scope(&self) -> Option<&Scope> {
        self.0.scope.as_ref()
    }
}

impl PartialEq for AccessToken {
    fn eq(&self, other: &Self) -> bool {
        self.0.secret.same_as(&other.0.secret)
    }
}

impl Eq for AccessToken {}

/// Why there is no token, sorted by what the caller does next. Cheap to clone: callers that waited for the same renewal share its outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TokenSourceError {
    /// A person has to sign in.
    #[error("not signed in: {0}")]
    LoginRequired(LoginReason),
    /// The authorization server refused the request or the registration: something has to be changed, waiting does not help. The credential stays.
    #[error(transparent)]
    Refused(Arc<TokenError>),
    /// The authorization server could not be reached or made no sense. The credential stays; later may work.
    #[error(transparent)]
    Unavailable(Arc<TokenError>),
    /// The server rejects a token that the authorization server has only just handed out: another one would not help.
    #[error("the server rejects a token that it was just given")]
    Rejected,
    /// The credential store.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// The lock that the renewal needs.
    #[error(transparent)]
    Lock(Arc<LockError>),
}

/// Why a person is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginReason {
    /// Nothing is stored: never signed in, or signed out.
    #[error("there is no stored sign-in")]
    SignedOut,
    /// The server said `invalid_grant`: the sign-in ended or was revoked.
    #[error("the server ended the sign-in")]
    Ended,
    /// The access token ended and there is nothing to renew it with.
    #[error("the access token ended and the server gave no refresh token")]
    NotRenewable,
}

/// The tokens of one identity, shared with every other process that uses it.
#[derive(Clone)]
pub struct TokenSource {
    identity: Option<Identity>,
    store: Arc<dyn CredentialStore>,
    locks: PathBuf,
    http: Arc<Http>,
    clock: Arc<dyn Clock>,
}

impl TokenSource {
    /// The source for `identity`, or an anonymous one for a server that nobody has signed in to. Touches nothing yet. `locks` is the folder of lock files.
    pub fn new(
        identity: Option<Identity>,
        store: Arc<dyn CredentialStore>,
        locks: PathBuf,
        http: Arc<Http>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { identity, store, locks, http, clock }
    }

    /// A token that lives for `min_ttl` more, as far as the server's lifetimes allow; none for an anonymous source.
    ///
    /// # Errors
    /// Any [`TokenSourceError`].
    pub async fn access_token(&self, min_ttl: Duration) -> Result<Option<AccessToken>, TokenSourceError> {
        let _ = (min_ttl, &self.store, &self.locks, &self.http, self.clock.now());
        if self.identity.is_none() { Ok(None) } else { Err(TokenSourceError::LoginRequired(LoginReason::SignedOut)) }
    }

    /// Another token than `rejected`, which the resource server answered with 401.
    ///
    /// # Errors
    /// Any [`TokenSourceError`].
    pub async fn renew(&self, rejected: &AccessToken) -> Result<AccessToken, TokenSourceError> {
        let _ = rejected;
        Err(TokenSourceError::LoginRequired(LoginReason::SignedOut))
    }

    /// A token straight from the authorization server.
    ///
    /// # Errors
    /// Any [`TokenSourceError`].
    pub async fn force_refresh(&self) -> Result<AccessToken, TokenSourceError> {
        Err(TokenSourceError::LoginRequired(LoginReason::SignedOut))
    }

    /// The credential as it is stored now, for `status`; renews nothing and takes no lock.
    ///
    /// # Errors
    /// [`TokenSourceError::Store`].
    pub async fn credential(&self) -> Result<Option<Credential>, TokenSourceError> {
        Ok(None)
    }

    /// Stores what a sign-in brought, under the lock, in the place of what was there, and serves it from now on, be this source anonymous or another identity's until
    /// now. The generation is set here.
    ///
    /// # Errors
    /// [`TokenSourceError::Store`] and [`TokenSourceError::Lock`]; then nothing has changed.
    pub async fn sign_in(&self, credential: Credential) -> Result<(), TokenSourceError> {
        let _ = credential;
        Ok(())
    }

    /// Forgets the credential, under the lock, and hands it out once more so that it can be revoked.
    ///
    /// # Errors
    /// [`TokenSourceError::Store`] and [`TokenSourceError::Lock`].
    pub async fn sign_out(&self) -> Result<Option<Credential>, TokenSourceError> {
        Ok(None)
    }

    /// From now on serves `identity`, which another process signed in.
    pub fn identify(&self, identity: Identity) {
        let _ = identity;
    }

    /// Waits for a renewal that is under way, so that a rotated token is saved before the process ends. Call at shutdown.
    pub async fn settle(&self) {}
}
