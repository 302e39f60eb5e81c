//! Renews a token: lock, reload, adopt or request, save, use, unlock.
//!
//! A rotating refresh token works once; using it twice ends the sign-in (RFC 9700 section 4.14.2). So the lock covers
//! all steps: reading the store, deciding, the request, and saving the response. They run in a separate task, so that
//! a cancelled caller cannot interrupt them.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::{
    credential::{
        access_token::AccessToken,
        assertion::AssertionError,
        assertion_source::AssertionSource,
        clock::Clock,
        error::{LoginReason, TokenSourceError},
        pacing::Pacing,
        record::{Credential, End, Identity, Renewal},
        store::{CredentialStore, StoreError},
    },
    disk::lock::Lock,
    http::Http,
    oauth::{
        client::{Grant, TokenRequest, request_token},
        error::TokenError,
        scope::Scope,
        token_set::TokenSet,
    },
    secret::Secret,
};

/// How long to wait for the lock: longer than its holder may need for one request
/// ([`crate::http::DOCUMENT_DEADLINE`]) and a few calls of the store.
pub(super) const LOCK_DEADLINE: Duration = Duration::from_secs(45);

/// How long a caller waits for a renewal while the old token is valid.
const PATIENCE: Duration = Duration::from_secs(2);

/// The pause after a failed renewal while the old token is valid.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// The shortest and the longest time between two renewals after a 401.
const REJECTION_GAPS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(64));

/// The shortest and the longest pause before finmcp tries again to save.
const SAVE_PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// What a renewal uses.
pub(super) struct Parts {
    pub(super) store: Arc<dyn CredentialStore>,
    pub(super) locks: PathBuf,
    pub(super) http: Arc<Http>,
    pub(super) clock: Arc<dyn Clock>,
}

/// One identity's tokens in this process.
pub(super) struct Account {
    identity: Identity,
    entry: String,
    parts: Arc<Parts>,
    /// How early it renews, from 0 to 1: processes that share a token must not renew it all at once.
    haste: f64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The token in use.
    token: Option<AccessToken>,
    /// The renewal in progress, shared by all that wait for it.
    flight: Option<Flight>,
    /// When the last renewal failed, if it did.
    failed_at: Option<Instant>,
    /// The renewed credential if it could not be saved.
    unsaved: Option<Unsaved>,
    /// Whether a refresh token is being sent, or its successor being saved.
    is_spending: bool,
    /// Whether the process is exiting, so that no new renewal may start.
    is_ending: bool,
    /// The renewals after a 401.
    rejections: Pacing,
    /// The token that the resource server refused and that finmcp could not replace. It counts as signed out, whatever
    /// its lifetime, until the server accepts it for another request.
    refused: Option<AccessToken>,
}

/// A renewed credential that is not in the store yet.
struct Unsaved {
    renewed: Credential,
    /// The refresh token that was used up for it.
    spent: Secret,
}

impl Unsaved {
    /// Whether it was renewed from this record. The generation alone does not show that: it restarts after a sign-out.
    fn follows(&self, stored: &Credential) -> bool {
        let refresh_token = stored.tokens.as_ref().and_then(|tokens| tokens.refresh_token.as_ref());
        stored.generation.checked_add(1) == Some(self.renewed.generation)
            && refresh_token.is_some_and(|token| token.same_as(&self.spent))
    }
}

type Outcome = Result<AccessToken, TokenSourceError>;
type Flight = Shared<BoxFuture<'static, Outcome>>;

/// Which token the caller needs.
enum Need {
    /// One that has not expired.
    Usable,
    /// One that is valid for at least this long, with this haste.
    Lasting(Duration, f64),
    /// Another one than this, which the resource server rejected.
    OtherThan(AccessToken),
    /// A new one in any case.
    New,
}

impl Need {
    fn is_met_by(&self, token: &AccessToken, now: Timestamp) -> bool {
        match self {
            Self::Usable => token.is_usable(now),
            Self::Lasting(min_ttl, haste) => token.lasts(*min_ttl, *haste, now),
            Self::OtherThan(rejected) => token != rejected && token.is_usable(now),
            Self::New => false,
        }
    }
}

impl Account {
    pub(super) fn new(identity: Identity, parts: Arc<Parts>) -> Self {
        let haste = f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX);
        Self { entry: identity.entry(), identity, parts, haste, state: Mutex::default() }
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) async fn access_token(self: &Arc<Self>, min_ttl: Duration) -> Outcome {
        let now = self.parts.clock.now();
        let (token, failed_at) = {
            let state = self.state();
            (state.token.clone(), state.failed_at)
        };
        let token = match token.filter(|token| token.is_usable(now)) {
            Some(token) => token,
            None => self.obtain(Need::Usable).await?,
        };
        if token.lasts(min_ttl, self.haste, now) {
            return Ok(token);
        }
        // The token is still valid, so a slow or failed renewal must not delay or fail the call, unless the caller
        // needs a longer validity.
        let remaining = token.remaining(now).unwrap_or(SignedDuration::MAX).unsigned_abs();
        let patience = if remaining < min_ttl { Duration::MAX } else { PATIENCE.min(remaining / 2) };
        if patience < Duration::MAX && failed_at.is_some_and(|at| at.elapsed() < RETRY_PAUSE) {
            return Ok(token);
        }
        match tokio::time::timeout(patience, self.obtain(Need::Lasting(min_ttl, self.haste))).await {
            Ok(Ok(renewed)) => Ok(renewed),
            Ok(Err(error @ TokenSourceError::LoginRequired(LoginReason::SignedOut))) => Err(error),
            Ok(Err(_)) | Err(_) => Ok(token),
        }
    }

    /// The token in memory.
    pub(super) fn held(&self) -> Option<AccessToken> {
        self.state().token.clone()
    }

    /// Records that the resource server accepted `token`.
    pub(super) fn accepted(&self, token: &AccessToken) {
        self.state().refused.take_if(|refused| refused == token);
    }

    /// Records that the resource server refused `token`, and that there is no other.
    pub(super) fn refused(&self, token: &AccessToken) {
        self.state().refused = Some(token.clone());
    }

    /// Whether the stored credential can provide tokens without a user, as far as this process knows. Renews nothing.
    pub(super) async fn is_signed_in(&self) -> bool {
        let Ok(Some(credential)) = self.load().await else { return false };
        let Some(tokens) = &credential.tokens else { return credential.is_alive() };
        let token = AccessToken::new(tokens, &credential);
        let is_refused = self.state().refused.as_ref() == Some(&token);
        !is_refused
            && (credential.renews_automatically() || credential.is_alive() && token.is_usable(self.parts.clock.now()))
    }

    /// The file that shows a sign-in by another process without reading the store.
    pub(super) fn mark(&self) -> PathBuf {
        Lock::path(&self.parts.locks, &self.entry)
    }

    pub(super) async fn replace(self: &Arc<Self>, rejected: &AccessToken) -> Outcome {
        self.obtain(Need::OtherThan(rejected.clone())).await
    }

    pub(super) async fn force(self: &Arc<Self>) -> Outcome {
        self.obtain(Need::New).await
    }

    /// The stored credential, or a newer one that is not saved yet.
    pub(super) async fn load(&self) -> Result<Option<Credential>, TokenSourceError> {
        let stored = match self.parts.store.load(&self.entry).await? {
            Some(payload) => Some(self.with_key_in_use(Credential::from_payload(&payload, &self.identity)?)),
            None => None,
        };
        let mut state = self.state();
        // Only if it was renewed from this record: a later sign-in or sign-out in any process takes precedence.
        state.unsaved =
            state.unsaved.take().filter(|unsaved| stored.as_ref().is_some_and(|stored| unsaved.follows(stored)));
        Ok(state.unsaved.as_ref().map(|unsaved| unsaved.renewed.clone()).or(stored))
    }

    /// The credential with the DPoP key in use, which has the servers' nonces.
    fn with_key_in_use(&self, mut credential: Credential) -> Credential {
        let state = self.state();
        let in_use = state.token.as_ref().and_then(AccessToken::key);
        if let (Some(stored), Some(in_use)) = (&mut credential.dpop_key, in_use)
            && stored.same_as(in_use)
        {
            *stored = in_use.clone();
        }
        drop(state);
        credential
    }

    pub(super) async fn sign_in(&self, credential: Credential) -> Result<(), TokenSourceError> {
        let lock = self.lock().await?;
        let generation = match self.load().await {
            Ok(stored) => stored.map_or(0, |stored| stored.generation),
            Err(error) if is_corrupt(&error) => 0,
            Err(error) => return Err(error),
        };
        let sign_in = getrandom::u64().unwrap_or(credential.sign_in);
        let credential = Credential { generation: generation.saturating_add(1), sign_in, ..credential };
        self.save(&credential).await?;
        // The lock file's modification time shows the sign-in to other processes.
        if let Err(error) = lock.leave(credential.generation.to_string().as_bytes()).await {
            tracing::debug!(%error, "other processes will notice the sign-in late");
        }
        let mut state = self.state();
        state.refused = None;
        state.token = credential.tokens.as_ref().map(|tokens| AccessToken::new(tokens, &credential));
        state.unsaved = None;
        state.failed_at = None;
        Ok(())
    }

    pub(super) async fn sign_out(&self) -> Result<Option<Credential>, TokenSourceError> {
        let _lock = self.lock().await?;
        let credential = match self.load().await {
            Ok(credential) => credential,
            Err(error) if is_corrupt(&error) => None,
            Err(error) => return Err(error),
        };
        self.parts.store.delete(&self.entry).await?;
        let mut state = self.state();
        state.token = None;
        state.unsaved = None;
        Ok(credential)
    }

    pub(super) async fn settle(&self) {
        let flight = {
            let mut state = self.state();
            state.is_ending = true;
            state.flight.clone().filter(|_| state.is_spending)
        };
        if let Some(flight) = flight {
            // The caller that started it gets its outcome.
            let _ = flight.await;
        }
        if self.state().unsaved.is_some()
            && let Err(error) = self.save_unsaved().await
        {
            tracing::warn!(%error, "a renewed sign-in could not be saved and will be lost");
        }
    }

    /// Waits for the renewal in progress, or starts one.
    async fn obtain(self: &Arc<Self>, need: Need) -> Outcome {
        let need = Arc::new(need);
        loop {
            let (flight, is_ours) = {
                let mut state = self.state();
                if let Some(token) = &state.token
                    && need.is_met_by(token, self.parts.clock.now())
                {
                    return Ok(token.clone());
                }
                match &state.flight {
                    Some(flight) => (flight.clone(), false),
                    None => (state.flight.insert(self.clone().start(need.clone())).clone(), true),
                }
            };
            let token = flight.await?;
            // Another caller's token may not meet this need. This caller's own is used, however short-lived it is.
            if is_ours || need.is_met_by(&token, self.parts.clock.now()) {
                return Ok(token);
            }
        }
    }

    fn start(self: Arc<Self>, need: Arc<Need>) -> Flight {
        let task = tokio::spawn(async move {
            let outcome = self.renew(&need).await;
            let mut state = self.state();
            state.flight = None;
            state.failed_at = outcome.is_err().then(Instant::now);
            match &outcome {
                Ok(token) => state.token = Some(token.clone()),
                // A token that cannot be renewed stays valid until it expires, unless it was signed out or rejected.
                Err(TokenSourceError::LoginRequired(reason))
                    if *reason == LoginReason::SignedOut || matches!(*need, Need::OtherThan(_)) =>
                {
                    state.token = None;
                }
                Err(error) => tracing::debug!(%error, "no renewed token"),
            }
            if let (Need::OtherThan(refused), Err(error)) = (&*need, &outcome)
                && matches!(error, TokenSourceError::LoginRequired(_) | TokenSourceError::Rejected)
            {
                state.refused = Some(refused.clone());
            }
            drop(state);
            outcome
        });
        async { task.await.unwrap_or(Err(TokenSourceError::Interrupted)) }.boxed().shared()
    }

    async fn renew(self: &Arc<Self>, need: &Need) -> Outcome {
        // Another process may have saved a newer token; reading it needs no lock.
        let stored = self.load().await?;
        if let Some(token) = self.adopt(need, stored.as_ref()) {
            return Ok(token);
        }
        match &stored {
            None => return Err(TokenSourceError::LoginRequired(LoginReason::SignedOut)),
            Some(Credential { end: Some(end), .. }) => {
                return Err(TokenSourceError::LoginRequired((*end).into()));
            }
            Some(_) => {}
        }
        let _lock = self.lock().await?;
        // Another process may have renewed it meanwhile.
        let stored = self.load().await?;
        if let Some(token) = self.adopt(need, stored.as_ref()) {
            return Ok(token);
        }
        let credential = stored.ok_or(TokenSourceError::LoginRequired(LoginReason::SignedOut))?;
        let is_rejection = matches!(need, Need::OtherThan(_));
        if is_rejection && !self.state().rejections.admits(Instant::now()) {
            return Err(TokenSourceError::Rejected);
        }
        let token = self.request_and_save(credential).await?;
        if is_rejection {
            self.state().rejections.note(Instant::now(), REJECTION_GAPS);
        }
        Ok(token)
    }

    /// The token of a newer sign-in by another process if it covers the `missing` scope. Unless both scopes are known,
    /// any other token than `narrow` may.
    pub(super) async fn wider(&self, narrow: &AccessToken, missing: Option<&Scope>) -> Option<AccessToken> {
        let stored = self.load().await.ok()?;
        let token = self.adopt(&Need::OtherThan(narrow.clone()), stored.as_ref())?;
        let allows = match (token.scope(), missing) {
            (Some(granted), Some(missing)) => missing.iter().all(|token| granted.contains(token)),
            _ => true,
        };
        if !allows {
            return None;
        }
        self.state().token = Some(token.clone());
        Some(token)
    }

    fn adopt(&self, need: &Need, stored: Option<&Credential>) -> Option<AccessToken> {
        // A sign-in that the server refused to renew has ended, even if its token has not expired.
        let credential = stored.filter(|stored| stored.end.is_none())?;
        let token = AccessToken::new(credential.tokens.as_ref()?, credential);
        need.is_met_by(&token, self.parts.clock.now()).then_some(token)
    }

    /// Requests a token and saves it before use. Needs the lock.
    async fn request_and_save(self: &Arc<Self>, credential: Credential) -> Outcome {
        let login_required = |reason| Err(TokenSourceError::LoginRequired(reason));
        let (grant, scope) = match (&credential.renewal, &credential.tokens) {
            (Renewal::JwtBearer(source), _) => {
                self.begin(&credential.renewal)?;
                let tokens = self.by_assertion(source, &credential).await?;
                return Ok(self.keep(credential, tokens).await);
            }
            (Renewal::ClientCredentials, _) => (Grant::ClientCredentials, credential.scope.as_ref()),
            (Renewal::ApiKey(_), _) => return login_required(LoginReason::KeyRefused),
            (Renewal::RefreshToken, None) => return login_required(LoginReason::Ended),
            (Renewal::RefreshToken, Some(tokens)) => match &tokens.refresh_token {
                None => return login_required(LoginReason::NotRenewable),
                Some(refresh_token) => {
                    // Checks that the store can be written: otherwise the refresh token would be used up and its
                    // successor lost.
                    self.save(&credential).await?;
                    // Without a scope, the server keeps the granted one (RFC 6749 section 6).
                    (
                        Grant::RefreshToken(refresh_token),
                        credential.scope.as_ref().filter(|_| credential.scope_on_refresh),
                    )
                }
            },
        };
        let request = TokenRequest { scope, ..credential.token_request(grant) };
        self.begin(&credential.renewal)?;
        let outcome = match request_token(&self.parts.http, request, self.parts.clock.now()).await {
            Ok(tokens) => Ok(self.keep(credential, tokens).await),
            Err(error) if matches!(credential.renewal, Renewal::RefreshToken) && error.is_definite_refusal() => {
                self.end(credential, error).await
            }
            Err(error) => Err(error.into()),
        };
        self.state().is_spending = false;
        outcome
    }

    /// Tokens for an assertion. If the identity provider refuses the ID token, for example because its clock is ahead, a
    /// renewed one is tried once.
    async fn by_assertion(
        &self,
        source: &AssertionSource,
        credential: &Credential,
    ) -> Result<TokenSet, TokenSourceError> {
        let (http, now) = (&self.parts.http, self.parts.clock.now());
        let Some(identity) = source.sign_in() else { return Ok(source.tokens(http, credential, None, now).await?) };
        let provider = || Arc::new(Account::new(identity.clone(), self.parts.clone()));
        let token = id_token(provider(), None).await?;
        match source.tokens(http, credential, Some(token.secret().clone()), now).await {
            Err(AssertionError::SignInRefused { .. }) => {
                let token = id_token(provider(), Some(token)).await?;
                Ok(source.tokens(http, credential, Some(token.secret().clone()), now).await?)
            }
            tokens => Ok(tokens?),
        }
    }

    /// Records the request that starts now. Only a request with a refresh token uses it up, so only that one must
    /// finish before the process exits.
    fn begin(&self, renewal: &Renewal) -> Result<(), TokenSourceError> {
        let mut state = self.state();
        if state.is_ending {
            return Err(TokenSourceError::Interrupted);
        }
        state.is_spending = matches!(renewal, Renewal::RefreshToken);
        Ok(())
    }

    async fn keep(self: &Arc<Self>, credential: Credential, tokens: TokenSet) -> AccessToken {
        let spent = credential.tokens.as_ref().and_then(|tokens| tokens.refresh_token.clone());
        let tokens = merged(tokens, credential.tokens.as_ref());
        let token = AccessToken::new(&tokens, &credential);
        let renewed = Credential {
            generation: credential.generation.saturating_add(1),
            tokens: Some(tokens),
            end: None,
            ..credential
        };
        match self.save(&renewed).await {
            Ok(()) => tracing::info!(generation = renewed.generation, "saved a renewed sign-in"),
            Err(error) => {
                tracing::warn!(%error, "a renewed sign-in could not be saved; trying again");
                // The other grants can request a token at any time.
                if matches!(renewed.renewal, Renewal::RefreshToken)
                    && let Some(spent) = spent
                {
                    self.state().unsaved = Some(Unsaved { renewed, spent });
                    tokio::spawn(self.clone().save_later());
                }
            }
        }
        token
    }

    /// Records that the authorization server has ended the sign-in of `refused`, unless the store has another one by
    /// now. Its tokens stay stored until the next sign-in.
    async fn end(&self, refused: Credential, refusal: TokenError) -> Outcome {
        let stored = self.load().await?;
        if stored.as_ref().is_some_and(|stored| stored.generation != refused.generation) {
            return self
                .adopt(&Need::Usable, stored.as_ref())
                .ok_or_else(|| TokenSourceError::Unavailable(Arc::new(refusal)));
        }
        tracing::info!(error = %refusal, "the server has ended the sign-in");
        let is_forgotten = refusal.is_invalid_client() && refused.registration.is_dynamic();
        let end = if is_forgotten { End::ClientForgotten } else { End::Refused };
        let mut ended = Credential { generation: refused.generation.saturating_add(1), end: Some(end), ..refused };
        if is_forgotten {
            // Makes the next sign-in register another client.
            ended.registration.expires_at = Some(self.parts.clock.now());
        }
        if stored.is_some()
            && let Err(error) = self.save(&ended).await
        {
            tracing::debug!(%error, "could not save that the sign-in ended");
        }
        Err(TokenSourceError::LoginRequired(end.into()))
    }

    async fn save_later(self: Arc<Self>) {
        let mut pause = SAVE_PAUSES.0;
        while self.state().unsaved.is_some() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(SAVE_PAUSES.1);
            if let Err(error) = self.save_unsaved().await {
                tracing::debug!(%error, "a renewed sign-in is still not saved");
            }
        }
    }

    async fn save_unsaved(&self) -> Result<(), TokenSourceError> {
        let _lock = self.lock().await?;
        let newest = self.load().await?;
        let is_unsaved = self.state().unsaved.is_some();
        match newest {
            Some(credential) if is_unsaved => self.save(&credential).await,
            _ => Ok(()),
        }
    }

    async fn save(&self, credential: &Credential) -> Result<(), TokenSourceError> {
        self.parts.store.save(&self.entry, credential.to_payload()?).await?;
        let mut state = self.state();
        state.unsaved = state.unsaved.take().filter(|unsaved| unsaved.renewed.generation > credential.generation);
        Ok(())
    }

    async fn lock(&self) -> Result<Lock, TokenSourceError> {
        let begun = Instant::now();
        let lock = Lock::acquire(&self.parts.locks, &self.entry, LOCK_DEADLINE).await?;
        tracing::debug!(waited = ?begun.elapsed(), "acquired the lock");
        Ok(lock)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the old values that a response omits: the refresh token (RFC 6749 section 6), the scope (section 5.1), and
/// the user's name.
fn merged(new: TokenSet, old: Option<&TokenSet>) -> TokenSet {
    TokenSet {
        refresh_token: new.refresh_token.or_else(|| old?.refresh_token.clone()),
        scope: new.scope.filter(|scope| !scope.is_empty()).or_else(|| old?.scope.clone()),
        person: new.person.or_else(|| old?.person.clone()),
        id_token: new.id_token.or_else(|| old?.id_token.clone()),
        ..new
    }
}

/// An ID token of the user's sign-in at the identity provider, other than the `refused` one. (Renewals nest here, so
/// the future is boxed.)
fn id_token(provider: Arc<Account>, refused: Option<AccessToken>) -> BoxFuture<'static, Outcome> {
    async move {
        let token = match &refused {
            Some(refused) => provider.replace(refused).await,
            None => provider.access_token(Duration::ZERO).await,
        };
        provider.settle().await;
        token
    }
    .boxed()
}

fn is_corrupt(error: &TokenSourceError) -> bool {
    matches!(error, TokenSourceError::Store(error) if matches!(**error, StoreError::Corrupt(_)))
}
