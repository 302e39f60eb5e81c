//! A token that works, whenever one is asked for: the only door from the rest of finmcp to credentials.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

pub use crate::credential::access_token::AccessToken;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use http::{HeaderMap, Method};
use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout},
};

use crate::{
    credential::{
        assertion::AssertionError,
        clock::Clock,
        pacing::Pacing,
        record::{Credential, End, Identity},
        renewal::{Account, Parts},
        store::{CredentialStore, StoreError},
    },
    disk::lock::LockError,
    http::Http,
    oauth::{challenge::Challenge, error::TokenError, scope::Scope},
    server_url::ServerUrl,
};

/// Why there is no token, sorted by what the caller does next. Cheap to clone: callers that waited for the same renewal
/// share its outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TokenSourceError {
    /// A person has to sign in.
    #[error("not signed in: {0}")]
    LoginRequired(LoginReason),
    /// The authorization server refused the request or the registration: something has to be changed, waiting does not
    /// help. The credential stays.
    #[error(transparent)]
    Refused(Arc<TokenError>),
    /// The authorization server could not be reached or made no sense. The credential stays; later may work.
    #[error(transparent)]
    Unavailable(Arc<TokenError>),
    /// The resource server rejects a token that the authorization server has only just handed out: yet another one
    /// would not help. Later may.
    #[error("the server rejects a token that it was just given")]
    Rejected,
    /// There is no assertion that brings a token: whoever provides it has to. The credential stays.
    #[error(transparent)]
    Assertion(Arc<AssertionError>),
    /// The credential store.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// The lock that the renewal needs. Nothing was sent.
    #[error(transparent)]
    Lock(Arc<LockError>),
    /// A person was asked to sign in, and it came to nothing.
    #[error(transparent)]
    SignIn(SignInFailure),
    /// The process is ending.
    #[error("interrupted")]
    Interrupted,
}

/// A sign-in that came to nothing, with the reason for the person, sorted by what helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignInFailure {
    /// Something that a server says must not be acted upon: nobody but whoever runs it can help.
    #[error("{0}")]
    Untrusted(String),
    /// A server could not be reached, or made no sense: later may work.
    #[error("{0}")]
    Unreachable(String),
    /// Nobody came, or it takes more than a browser: a person at a terminal can help.
    #[error("{0}")]
    LoginRequired(String),
    /// It was denied, or failed otherwise.
    #[error("{0}")]
    Failed(String),
}

/// Why a person is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginReason {
    /// Nothing is stored: never signed in, or signed out.
    #[error("there is no stored sign-in")]
    SignedOut,
    /// The server refused the refresh token (RFC 6749 section 5.2): the sign-in ended or was revoked.
    #[error("the server ended the sign-in")]
    Ended,
    /// The server no longer knows the client that it once registered (`invalid_client`, RFC 6749 section 5.2).
    #[error("the server has forgotten this client")]
    ClientForgotten,
    /// The access token has ended, or is not wanted any more, and there is nothing to renew it with.
    #[error("the access token cannot be renewed: the server gave no refresh token")]
    NotRenewable,
    /// The sign-in does not include the scope that is needed.
    #[error("the sign-in does not include the scope that this needs")]
    Scope,
}

impl From<End> for LoginReason {
    fn from(end: End) -> Self {
        match end {
            End::Refused => Self::Ended,
            End::ClientForgotten => Self::ClientForgotten,
        }
    }
}

impl From<StoreError> for TokenSourceError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<LockError> for TokenSourceError {
    fn from(error: LockError) -> Self {
        Self::Lock(Arc::new(error))
    }
}

impl From<TokenError> for TokenSourceError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::PrivateKey(_) => Self::Refused(Arc::new(error)),
            error if error.is_definite_refusal() => Self::Refused(Arc::new(error)),
            error => Self::Unavailable(Arc::new(error)),
        }
    }
}

impl From<AssertionError> for TokenSourceError {
    fn from(error: AssertionError) -> Self {
        match error {
            AssertionError::Token(error) => error.into(),
            error => Self::Assertion(Arc::new(error)),
        }
    }
}

/// The tokens of one identity, shared with every other process that uses it. Clones are the same source.
#[derive(Clone)]
pub struct TokenSource {
    parts: Arc<Parts>,
    account: Arc<Mutex<Option<Arc<Account>>>>,
    lookup: Option<Lookup>,
    sign_in: Option<SignIn>,
    asking: Arc<Mutex<Asking>>,
    /// Whether the server is known to serve nobody without a token: then it need not be asked first.
    is_guarded: bool,
}

/// Finds out who is signed in by now, where another process may have signed somebody in.
#[derive(Clone)]
pub struct Lookup {
    find: Arc<dyn Fn() -> Option<Identity> + Send + Sync>,
    file: PathBuf,
    /// Held while `find` reads: on a disk that does not answer one thread waits, and not one for each request.
    reading: Arc<tokio::sync::Mutex<()>>,
}

/// How long a request waits to learn whether another process has signed in.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(2);

impl Lookup {
    /// `find` reads what is saved in `file`. It is called where it may block.
    pub fn new(file: PathBuf, find: impl Fn() -> Option<Identity> + Send + Sync + 'static) -> Self {
        Self { find: Arc::new(find), file, reading: Arc::default() }
    }

    /// Who is signed in by now. None also where that cannot be read in time.
    async fn look(&self) -> Option<Identity> {
        let look = async {
            let (turn, find) = (self.reading.clone().lock_owned().await, self.find.clone());
            let read = move || {
                let _turn = turn;
                find()
            };
            spawn_blocking(read).await.ok().flatten()
        };
        timeout(LOOKUP_DEADLINE, look).await.ok().flatten()
    }
}

/// What shows of sign-ins from outside, with no look at a store: when the files that they change were changed last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace([Option<SystemTime>; 2]);

/// Brings a person to sign in as the challenge asks, stores what that brought, and says whom it belongs to.
pub type SignIn = Arc<dyn Fn(Challenge) -> BoxFuture<'static, Result<Identity, SignInFailure>> + Send + Sync>;

/// How long a person who said no, or did not come, is not asked again; nor one whom nobody could trust the server with.
pub const SILENCE: Duration = Duration::from_secs(60);

/// The shortest and the longest time between two sign-ins, where the first one was no help.
const SIGN_IN_GAPS: (Duration, Duration) = (SILENCE, Duration::from_secs(3600));

/// How many wider scopes one process asks the person for.
const WISHES: usize = 10;

/// What the person is being asked, and what came of it last.
#[derive(Default)]
struct Asking {
    /// The sign-in that is under way, for everybody to wait for.
    flight: Option<Shared<BoxFuture<'static, Result<Identity, SignInFailure>>>>,
    /// When the last one came to nothing, and why.
    failed: Option<(Instant, SignInFailure)>,
    /// The sign-ins that people completed.
    answered: Pacing,
    /// The server has taken a token since the last of them.
    helped: bool,
    /// The scopes that the person has signed in for because the server wanted them.
    widened: Vec<Scope>,
    /// What a server demanded for which nobody could be asked.
    challenge: Option<Challenge>,
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
            asking: Arc::default(),
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
            Err(_) if !self.is_guarded => return Ok(None),
            Err(error) => Err(error),
        };
        if matches!(found, Err(TokenSourceError::LoginRequired(_))) && self.look_again().await {
            found = self.account()?.access_token(min_ttl).await;
        }
        match found {
            Err(error @ TokenSourceError::LoginRequired(_)) if self.sign_in.is_some() && self.may_ask_again(&error) => {
                if self.is_guarded {
                    self.ask_person(None, Challenge::default(), error).await.map(Some)
                } else {
                    // The server says best what a person is to sign in for: it is asked without a token.
                    Ok(None)
                }
            }
            found => found.map(Some),
        }
    }

    /// The token in use, from memory: nothing is read, asked or renewed for it.
    pub fn held(&self) -> Option<AccessToken> {
        self.account().ok()?.held()
    }

    /// A token for a server that asks an anonymous source for one: that of whoever has signed in meanwhile, or does so
    /// now.
    ///
    /// # Errors
    /// Any [`TokenSourceError`]; [`TokenSourceError::LoginRequired`] where nobody has.
    pub async fn demanded(&self, challenge: Challenge) -> Result<AccessToken, TokenSourceError> {
        self.look_again().await;
        let found = match self.account() {
            Ok(account) => account.access_token(Duration::ZERO).await,
            Err(error) => Err(error),
        };
        match found {
            Err(error @ TokenSourceError::LoginRequired(_)) => self.ask_person(None, challenge, error).await,
            outcome => outcome,
        }
    }

    /// Lets one request use `token`: `method` at `url`, which is to be sent at once.
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
        token.authorize(headers, method, url, now).map_err(|error| TokenError::from(error).into())
    }

    /// Another token than `rejected`, which the resource server answered with 401: another process's newer one, or else
    /// a new one.
    ///
    /// # Errors
    /// Any [`TokenSourceError`].
    pub async fn renew(&self, rejected: &AccessToken, challenge: Challenge) -> Result<AccessToken, TokenSourceError> {
        match self.account()?.replace(rejected).await {
            Err(TokenSourceError::LoginRequired(_)) if self.look_again().await => {
                self.account()?.access_token(Duration::ZERO).await
            }
            Err(error @ (TokenSourceError::LoginRequired(_) | TokenSourceError::Rejected))
                if self.may_ask_again(&error) =>
            {
                self.ask_person(Some(rejected), challenge, error).await
            }
            outcome => outcome,
        }
    }

    /// Takes note that the server took `token`.
    pub fn helped(&self, token: &AccessToken) {
        self.asking().helped = true;
        self.account().into_iter().for_each(|account| account.accepted(token));
    }

    /// Takes note that the server refused `token`, which was to replace another that it refused.
    pub fn refused(&self, token: &AccessToken) {
        self.account().into_iter().for_each(|account| account.refused(token));
    }

    /// Whether another sign-in may help. A server that rejects what a person has only just signed in for is not helped by
    /// it; a sign-in that did help and is over, as where the authorization server has moved, is another matter.
    fn may_ask_again(&self, error: &TokenSourceError) -> bool {
        let asking = self.asking();
        let is_over = asking.helped && matches!(error, TokenSourceError::LoginRequired(_));
        asking.answered.admits(Instant::now()) || is_over && asking.answered.is_calm(SIGN_IN_GAPS)
    }

    /// A token with the scope that `narrow` lacks (403 with `insufficient_scope`): only a person can grant it, in another
    /// process perhaps.
    ///
    /// # Errors
    /// Any [`TokenSourceError`]; [`TokenSourceError::LoginRequired`] where nobody grants it.
    pub async fn widen(&self, narrow: &AccessToken, challenge: Challenge) -> Result<AccessToken, TokenSourceError> {
        self.look_again().await;
        if let Ok(account) = self.account()
            && let Some(wider) = account.wider(narrow, challenge.scope.as_ref()).await
        {
            return Ok(wider);
        }
        let error = TokenSourceError::LoginRequired(LoginReason::Scope);
        let wish = challenge.scope.clone().unwrap_or_default();
        let is_had = !wish.is_empty() && narrow.scope().is_some_and(|had| had.union(&wish) == *had);
        let is_known = {
            let widened = &self.asking().widened;
            widened.contains(&wish) || widened.len() >= WISHES
        };
        // A server that is not content with what it asked for never will be (MCP authorization, "Step-Up Authorization
        // Flow").
        if is_had || is_known {
            return Err(error);
        }
        let token = self.ask_person(Some(narrow), challenge, error).await?;
        let widened = &mut self.asking().widened;
        if !widened.contains(&wish) {
            widened.push(wish);
        }
        Ok(token)
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
        let config = self.lookup.as_ref().map(|lookup| lookup.file.clone());
        let mark = self.account().ok().map(|account| account.mark());
        let modified = |file: PathBuf| std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
        let read = move || Trace([config.and_then(modified), mark.and_then(modified)]);
        spawn_blocking(read).await.unwrap_or(Trace([None; 2]))
    }

    /// What the server said when it last refused a request for which nobody could be asked to sign in.
    pub fn last_challenge(&self) -> Option<Challenge> {
        self.asking().challenge.clone()
    }

    async fn ask_person(
        &self,
        unfit: Option<&AccessToken>,
        challenge: Challenge,
        error: TokenSourceError,
    ) -> Result<AccessToken, TokenSourceError> {
        let Some(sign_in) = &self.sign_in else {
            self.asking().challenge = Some(challenge);
            return Err(error);
        };
        let flight = self.asked(sign_in, challenge).map_err(TokenSourceError::SignIn)?;
        self.identify(flight.await.map_err(TokenSourceError::SignIn)?);
        match unfit {
            Some(unfit) => self.account()?.replace(unfit).await,
            None => self.account()?.access_token(Duration::ZERO).await,
        }
    }

    /// The sign-in that is under way, or a new one: in a task of its own, since the browser is open even if whoever
    /// asked no longer waits.
    fn asked(
        &self,
        sign_in: &SignIn,
        challenge: Challenge,
    ) -> Result<Shared<BoxFuture<'static, Result<Identity, SignInFailure>>>, SignInFailure> {
        let mut asking = self.asking();
        if let Some(flight) = &asking.flight {
            return Ok(flight.clone());
        }
        match &asking.failed {
            Some((at, failure)) if at.elapsed() < SILENCE => return Err(failure.clone()),
            _ => {}
        }
        let (signing_in, memory) = (sign_in(challenge), self.asking.clone());
        let task = tokio::spawn(async move {
            let outcome = signing_in.await;
            let mut asking = memory.lock().unwrap_or_else(PoisonError::into_inner);
            let failure = outcome.as_ref().err().filter(|failure| !matches!(failure, SignInFailure::Unreachable(_)));
            asking.flight = None;
            asking.failed = failure.map(|failure| (Instant::now(), failure.clone()));
            if outcome.is_ok() {
                asking.answered.note(Instant::now(), SIGN_IN_GAPS);
                asking.helped = false;
            }
            drop(asking);
            outcome
        });
        let interrupted = || SignInFailure::Failed("the sign-in was interrupted".to_owned());
        let flight = async move { task.await.unwrap_or_else(|_| Err(interrupted())) }.boxed().shared();
        Ok(asking.flight.insert(flight).clone())
    }

    /// Whether somebody else is signed in than this source knew.
    async fn look_again(&self) -> bool {
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

    fn account(&self) -> Result<Arc<Account>, TokenSourceError> {
        self.locked().clone().ok_or(TokenSourceError::LoginRequired(LoginReason::SignedOut))
    }

    fn account_of(&self, identity: Identity) -> Arc<Account> {
        match self.account() {
            Ok(account) if *account.identity() == identity => account,
            _ => Arc::new(Account::new(identity, self.parts.clone())),
        }
    }

    fn asking(&self) -> MutexGuard<'_, Asking> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locked(&self) -> MutexGuard<'_, Option<Arc<Account>>> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
