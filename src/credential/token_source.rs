//! Provides valid tokens: the only interface between credentials and the rest of finmcp.
//! [`judge`](TokenSource::judge) reads a server's response to a token.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{HeaderMap, Method};

pub use crate::credential::{
    access_token::AccessToken,
    asking::{SILENCE, SignIn},
    error::{LoginReason, SignInFailure, TokenSourceError},
    lookup::{Lookup, Trace},
};
use crate::{
    credential::{
        asking::Asking,
        clock::Clock,
        record::{Credential, Identity},
        renewal::{Account, Parts},
        store::CredentialStore,
    },
    http::Http,
    oauth::challenge::Challenge,
    server_url::ServerUrl,
};

/// The tokens of one identity, shared with all other processes that use it. Clones share their state.
#[derive(Clone)]
pub struct TokenSource {
    parts: Arc<Parts>,
    account: Arc<Mutex<Option<Arc<Account>>>>,
    lookup: Option<Lookup>,
    sign_in: Option<SignIn>,
    pub(super) asking: Asking,
    /// Whether the server is known to require a token, so that finmcp need not try without one.
    is_guarded: bool,
}

impl TokenSource {
    /// The source for `identity`, or an anonymous one without a sign-in. `locks` is the folder of the lock files,
    /// created on first use.
    pub fn new(
        identity: Option<Identity>,
        store: Arc<dyn CredentialStore>,
        locks: PathBuf,
        http: Arc<Http>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let parts = Arc::new(Parts { store, locks, http, clock });
        let account = identity.map(|identity| Arc::new(Account::new(identity, parts.clone())));
        Self {
            parts,
            account: Arc::new(Mutex::new(account)),
            lookup: None,
            sign_in: None,
            asking: Asking::default(),
            is_guarded: false,
        }
    }

    /// The same, but asks `lookup` for a newer sign-in before it requires one.
    pub fn with_lookup(self, lookup: Lookup) -> Self {
        Self { lookup: Some(lookup), ..self }
    }

    /// The same for a server that is known to require a token: without a sign-in, `access_token` fails.
    pub fn guarded(self) -> Self {
        Self { is_guarded: true, ..self }
    }

    /// The same, but asks the user to sign in before it fails.
    pub fn with_sign_in(self, sign_in: SignIn) -> Self {
        Self { sign_in: Some(sign_in), ..self }
    }

    /// A token that is valid for at least `min_ttl`, or for as long as the server's lifetimes allow; none from an
    /// anonymous source. Uses store, lock and network only if the token in memory is not valid long enough. If the
    /// renewal takes too long, returns a token that is still valid but expires sooner: see `expires_at`.
    ///
    /// # Errors
    /// Any [`TokenSourceError`].
    pub async fn access_token(&self, min_ttl: Duration) -> Result<Option<AccessToken>, TokenSourceError> {
        let mut found = match self.account() {
            Ok(account) => account.access_token(min_ttl).await,
            Err(_) if !self.is_guarded => return Ok(self.anonymous()),
            Err(error) => Err(error),
        };
        if matches!(found, Err(TokenSourceError::LoginRequired(_))) && self.look_again().await {
            found = self.account()?.access_token(min_ttl).await;
        }
        match found {
            Err(error @ TokenSourceError::LoginRequired(_))
                if self.sign_in.is_some() && self.asking.may_help(&error) =>
            {
                if self.is_guarded {
                    self.ask_user(None, Challenge::default(), error).await.map(Some)
                } else {
                    // Sends the request without a token: the server's challenge says what to sign in for.
                    Ok(self.anonymous())
                }
            }
            found => found.map(Some),
        }
    }

    /// No token, for an anonymous request. It must not contain cookies of an earlier sign-in.
    fn anonymous(&self) -> Option<AccessToken> {
        self.parts.http.set_cookie_owner(None);
        self.parts.http.hide_certificates();
        None
    }

    /// The token in memory. Reads, requests and renews nothing.
    pub fn held(&self) -> Option<AccessToken> {
        self.account().ok()?.held()
    }

    /// Adds `token` to the headers of one request: `method` at `url`, to be sent at once. Drops cookies of other
    /// sign-ins, and shows the server this sign-in's client certificate.
    ///
    /// # Errors
    /// The token cannot be sent, or its DPoP key cannot sign.
    pub fn authorize(
        &self,
        token: &AccessToken,
        headers: &mut HeaderMap,
        method: &Method,
        url: &ServerUrl,
    ) -> Result<(), TokenSourceError> {
        let now = self.parts.clock.now();
        self.parts.http.set_cookie_owner(Some(token.sign_in()));
        self.parts.http.show_certificate(url, token.certificate());
        Ok(token.authorize(headers, method, url, now)?)
    }

    /// Whether there is a sign-in that the server has not refused, possibly by another process. Renews nothing.
    pub async fn is_signed_in(&self) -> bool {
        self.look_again().await;
        match self.account() {
            Ok(account) => account.is_signed_in().await,
            Err(_) => false,
        }
    }

    /// The current trace of sign-ins.
    pub async fn trace(&self) -> Trace {
        let config = self.lookup.as_ref().map(|lookup| lookup.file().to_owned());
        Trace::of([config, self.account().ok().map(|account| account.mark())]).await
    }

    /// The last challenge without a user to ask.
    pub fn last_challenge(&self) -> Option<Challenge> {
        self.asking.last_challenge()
    }

    /// A token from a new sign-in for `challenge`; `error` if there is no user to ask.
    pub(super) async fn ask_user(
        &self,
        rejected: Option<&AccessToken>,
        challenge: Challenge,
        error: TokenSourceError,
    ) -> Result<AccessToken, TokenSourceError> {
        let Some(sign_in) = &self.sign_in else {
            self.asking.note_challenge(challenge);
            return Err(error);
        };
        let flight = self.asking.ask(sign_in, challenge).map_err(TokenSourceError::SignIn)?;
        self.use_identity(flight.await.map_err(TokenSourceError::SignIn)?);
        match rejected {
            Some(rejected) => self.account()?.replace(rejected).await,
            None => self.account()?.access_token(Duration::ZERO).await,
        }
    }

    /// Looks for another sign-in and uses it; whether there is one.
    pub(super) async fn look_again(&self) -> bool {
        let Some(lookup) = &self.lookup else { return false };
        let found = lookup.look().await;
        let known = self.account().ok();
        match found {
            Some(identity) if known.is_none_or(|known| *known.identity() != identity) => {
                self.use_identity(identity);
                true
            }
            _ => false,
        }
    }

    /// A new token from the authorization server.
    ///
    /// # Errors
    /// Any [`TokenSourceError`].
    pub async fn force_refresh(&self) -> Result<AccessToken, TokenSourceError> {
        self.account()?.force().await
    }

    /// The stored credential. Renews nothing and takes no lock.
    ///
    /// # Errors
    /// [`TokenSourceError::Store`].
    pub async fn credential(&self) -> Result<Option<Credential>, TokenSourceError> {
        match self.account() {
            Ok(account) => account.load().await,
            Err(_) => Ok(None),
        }
    }

    /// Stores a new credential in place of the old one, sets its generation, and uses it from now on, even if this
    /// source was anonymous or another identity's. Replaces a damaged record, but not a newer finmcp's.
    ///
    /// # Errors
    /// [`TokenSourceError::Store`] and [`TokenSourceError::Lock`]; then nothing has changed.
    pub async fn sign_in(&self, credential: Credential) -> Result<(), TokenSourceError> {
        let account = self.account_of(credential.identity.clone());
        account.sign_in(credential).await?;
        *self.locked() = Some(account);
        Ok(())
    }

    /// Deletes the credential and returns it, so that it can be revoked (RFC 7009).
    ///
    /// # Errors
    /// [`TokenSourceError::Store`] and [`TokenSourceError::Lock`]; then nothing has changed.
    pub async fn sign_out(&self) -> Result<Option<Credential>, TokenSourceError> {
        match self.account() {
            Ok(account) => account.sign_out().await,
            Err(_) => Ok(None),
        }
    }

    /// Uses the sign-in of `identity`, from another process, from now on.
    pub fn use_identity(&self, identity: Identity) {
        let account = self.account_of(identity);
        *self.locked() = Some(account);
    }

    /// Waits for a renewal with a refresh token, and tries again to save an unsaved credential: the new refresh token
    /// must not be lost when the process exits. Call this at shutdown; afterwards, tokens come only from memory and
    /// the store.
    pub async fn settle(&self) {
        if let Ok(account) = self.account() {
            account.settle().await;
        }
    }

    pub(super) fn account(&self) -> Result<Arc<Account>, TokenSourceError> {
        self.locked().clone().ok_or(TokenSourceError::LoginRequired(LoginReason::SignedOut))
    }

    fn account_of(&self, identity: Identity) -> Arc<Account> {
        match self.account() {
            Ok(account) if *account.identity() == identity => account,
            _ => Arc::new(Account::new(identity, self.parts.clone())),
        }
    }

    fn locked(&self) -> MutexGuard<'_, Option<Arc<Account>>> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
