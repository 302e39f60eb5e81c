//! A token that works, whenever one is asked for: the only door from the rest of finmcp to credentials.
//! What a server answers to that token is for [`judge`](TokenSource::judge) to read.

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
    oauth::{challenge::Challenge, error::TokenError},
    server_url::ServerUrl,
};

/// The tokens of one identity, shared with every other process that uses it. Clones are the same source.
#[derive(Clone)]
pub struct TokenSource {
    parts: Arc<Parts>,
    account: Arc<Mutex<Option<Arc<Account>>>>,
    lookup: Option<Lookup>,
    sign_in: Option<SignIn>,
    pub(super) asking: Asking,
    /// Whether the server is known to serve nobody without a token: then it need not be asked first.
    is_guarded: bool,
}

impl TokenSource {
    /// The source for `identity`, or an anonymous one for a server that nobody has signed in to. Touches nothing yet.
    /// `locks` is the folder of lock files, made when first needed.
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

    /// The same source, which asks `lookup` before it says that somebody has to sign in.
    pub fn with_lookup(self, lookup: Lookup) -> Self {
        Self { lookup: Some(lookup), ..self }
    }

    /// The same source, for a server that is known to serve nobody without a token: an anonymous one then has none to
    /// offer.
    pub fn guarded(self) -> Self {
        Self { is_guarded: true, ..self }
    }

    /// The same source, which has a person sign in before it gives up.
    pub fn with_sign_in(self, sign_in: SignIn) -> Self {
        Self { sign_in: Some(sign_in), ..self }
    }

    /// A token that lives for `min_ttl` more, or for as much of that as the server's lifetimes allow; none from an
    /// anonymous source It is from memory while that lasts: store, lock and network are only touched when it does not.
    /// A token that still lives but could not be renewed in time is handed out as it is: `expires_at` tells.
    ///
    /// # Errors
    /// Any [`TokenSourceError`].
    pub async fn access_token(&self, min_ttl: Duration) -> Result<Option<AccessToken>, TokenSourceError> {
        let mut found = match self.account() {
            Ok(account) => account.access_token(min_ttl).await,
            Err(_) if !self.is_guarded => return Ok(self.nobody()),
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
                    self.ask_person(None, Challenge::default(), error).await.map(Some)
                } else {
                    // The server says best what a person is to sign in for: it is asked without a token.
                    Ok(self.nobody())
                }
            }
            found => found.map(Some),
        }
    }

    /// No token, for a request that is sent for nobody: with no cookie of somebody who was signed in before.
    fn nobody(&self) -> Option<AccessToken> {
        self.parts.http.set_cookie_owner(None);
        None
    }

    /// The token in use, from memory: nothing is read, asked or renewed for it.
    pub fn held(&self) -> Option<AccessToken> {
        self.account().ok()?.held()
    }

    /// Lets one request use `token`: `method` at `url`, which is to be sent at once. Cookies that came with another sign-in
    /// do not go with it.
    ///
    /// # Errors
    /// [`TokenSourceError::Refused`] where the key that the token is bound to does not sign.
    pub fn authorize(
        &self,
        token: &AccessToken,
        headers: &mut HeaderMap,
        method: &Method,
        url: &ServerUrl,
    ) -> Result<(), TokenSourceError> {
        let now = self.parts.clock.now();
        self.parts.http.set_cookie_owner(Some(token.sign_in()));
        token.authorize(headers, method, url, now).map_err(|error| TokenError::from(error).into())
    }

    /// Whether there is a sign-in by now, be it by another process: one that the server has not refused. Nothing is
    /// renewed to find out.
    pub async fn is_signed_in(&self) -> bool {
        self.look_again().await;
        match self.account() {
            Ok(account) => account.is_signed_in().await,
            Err(_) => false,
        }
    }

    /// What shows of sign-ins by now.
    pub async fn trace(&self) -> Trace {
        let config = self.lookup.as_ref().map(|lookup| lookup.file().to_owned());
        Trace::of([config, self.account().ok().map(|account| account.mark())]).await
    }

    /// What the server said when it last refused a request for which nobody could be asked to sign in.
    pub fn last_challenge(&self) -> Option<Challenge> {
        self.asking.last_challenge()
    }

    /// A token that a person brings by signing in as `challenge` asks, or `error` where nobody can be asked.
    pub(super) async fn ask_person(
        &self,
        unfit: Option<&AccessToken>,
        challenge: Challenge,
        error: TokenSourceError,
    ) -> Result<AccessToken, TokenSourceError> {
        let Some(sign_in) = &self.sign_in else {
            self.asking.nobody(challenge);
            return Err(error);
        };
        let flight = self.asking.ask(sign_in, challenge).map_err(TokenSourceError::SignIn)?;
        self.identify(flight.await.map_err(TokenSourceError::SignIn)?);
        match unfit {
            Some(unfit) => self.account()?.replace(unfit).await,
            None => self.account()?.access_token(Duration::ZERO).await,
        }
    }

    /// Whether somebody else is signed in than this source knew.
    pub(super) async fn look_again(&self) -> bool {
        let Some(lookup) = &self.lookup else { return false };
        let found = lookup.look().await;
        let known = self.account().ok();
        match found {
            Some(identity) if known.is_none_or(|known| *known.identity() != identity) => {
                self.identify(identity);
                true
            }
            _ => false,
        }
    }

    /// A token straight from the authorization server.
    ///
    /// # Errors
    /// Any [`TokenSourceError`].
    pub async fn force_refresh(&self) -> Result<AccessToken, TokenSourceError> {
        self.account()?.force().await
    }

    /// The credential as it is stored now; renews nothing and takes no lock.
    ///
    /// # Errors
    /// [`TokenSourceError::Store`].
    pub async fn credential(&self) -> Result<Option<Credential>, TokenSourceError> {
        match self.account() {
            Ok(account) => account.load().await,
            Err(_) => Ok(None),
        }
    }

    /// Stores what a sign-in brought, in the place of what was there, and serves it from now on, be this source
    /// anonymous or another identity's until now. The generation is set here. A damaged record is replaced, a newer
    /// finmcp's is not.
    ///
    /// # Errors
    /// [`TokenSourceError::Store`] and [`TokenSourceError::Lock`]; then nothing has changed.
    pub async fn sign_in(&self, credential: Credential) -> Result<(), TokenSourceError> {
        let account = self.account_of(credential.identity.clone());
        account.sign_in(credential).await?;
        *self.locked() = Some(account);
        Ok(())
    }

    /// Forgets the credential, and hands it out once more so that it can be revoked (RFC 7009).
    ///
    /// # Errors
    /// [`TokenSourceError::Store`] and [`TokenSourceError::Lock`]; then nothing has changed.
    pub async fn sign_out(&self) -> Result<Option<Credential>, TokenSourceError> {
        match self.account() {
            Ok(account) => account.sign_out().await,
            Err(_) => Ok(None),
        }
    }

    /// From now on serves `identity`, which another process signed in.
    pub fn identify(&self, identity: Identity) {
        let account = self.account_of(identity);
        *self.locked() = Some(account);
    }

    /// Waits for a refresh token that is being spent, and tries once more to save what could not be saved: the next
    /// refresh token must not end with the process. Call it at shutdown; afterwards tokens still come from memory and
    /// from the store, and no longer from the authorization server.
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
