//! Signing in while an AI client is running.

use std::{
    future::pending,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{
    sync::{SetOnce, oneshot, watch},
    task::spawn_blocking,
};

use crate::{
    app::{
        credentials::Credentials,
        registration::Given,
        relay::current,
        sign_in::{Attempt, Event, sign_in_and_keep},
    },
    bridge::Offer,
    conversation::sign_in_tool::{Invitation, ShownBy, Window},
    credential::{
        clock::Clock,
        record::Identity,
        token_source::{SignIn, SignInFailure, TokenSource},
    },
    disk::lock::LockError,
    error::{Error, ErrorKind},
    login::{
        browser::{Browser, BrowserError, SystemBrowser},
        context::{Progress, Redirection},
        options::GrantKind,
        turn::Turn,
    },
    oauth::challenge::Challenge,
    profile::Profile,
    server_url::ServerUrl,
    settings::{Settings, screen::Screen},
};

/// Signs in to a server on behalf of `serve`. Cheap enough to clone for every sign-in.
#[derive(Clone)]
pub struct Admission {
    /// The settings of this process.
    pub settings: Arc<Settings>,
    /// Stores the new credential.
    pub credentials: Credentials,
    /// Receives the events, for the log.
    pub listener: Listener,
    /// The server and the account.
    pub profile: Profile,
    /// The sign-in options of the command line.
    pub given: Given,
}

/// Receives the events of a sign-in.
pub type Listener = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// How long the user may take in the browser, and how long other processes wait for that.
const USER_TIMEOUT: Duration = Duration::from_secs(300);

impl Admission {
    /// Whether the sign-in needs no user: the command line names a client and its secret or assertion.
    pub fn needs_no_user(&self) -> bool {
        let Given { options, secrets } = &self.given;
        let own = options.clone().or(self.profile.options.clone());
        match own.grant_kind() {
            GrantKind::ClientCredentials => options.client_id.is_some() && secrets.client.is_some(),
            GrantKind::JwtBearer => own.assertion.is_some() && !own.needs_user(),
            GrantKind::ApiKey => secrets.api_key.is_some(),
            GrantKind::AuthorizationCode | GrantKind::DeviceCode => false,
        }
    }

    /// A sign-in that the client starts: the client shows the page, or a browser opens it, while the client continues.
    pub fn offer(self, tokens: TokenSource) -> Offer {
        Arc::new(move |shown_by, tell| self.clone().by_client(tokens.clone(), shown_by, tell).boxed())
    }

    /// A sign-in with the browser, shared by all processes that need it.
    pub fn by_user(self) -> SignIn {
        Arc::new(move |challenge| self.clone().in_turn(challenge, Signer::User).boxed())
    }

    /// A sign-in without a user.
    pub fn by_program(self) -> SignIn {
        Arc::new(move |challenge| self.clone().in_turn(challenge, Signer::Program).boxed())
    }

    async fn by_client(
        self,
        tokens: TokenSource,
        mut shown_by: watch::Receiver<ShownBy>,
        tell: oneshot::Sender<Invitation>,
    ) -> Result<(), String> {
        let profile = self.profile().await;
        if let Some(reason) = needs_terminal(&profile) {
            return Err(reason);
        }
        let begun_by = *shown_by.borrow();
        let display = match begun_by {
            ShownBy::Client => PageDisplay::None,
            ShownBy::Browser => self.page_display().await,
        };
        let window = Arc::new(OnceLock::new());
        let (browser, turn) = match display {
            PageDisplay::None => (None, None),
            PageDisplay::OtherProcess => {
                let _ = window.set(Window::OpenedByAnother);
                (None, None)
            }
            PageDisplay::Browser(browser, turn) => (Some(browser), Some(turn)),
        };
        let browser = ForClient { browser, window: window.clone() };
        let (mut tell, mut page) = (Some(tell), None);
        let shown = Arc::new(SetOnce::new());
        let place = shown.clone();
        let listener = self.listener.clone();
        let mut invite = move |invitation| {
            if let Some(tell) = tell.take() {
                let _ = tell.send(invitation);
            }
        };
        let attempt = Attempt {
            tell: Box::new(move |event| match event {
                Event::Progress(Progress::Page(address)) => {
                    page = Some(address.clone());
                }
                // The user may open the page much later than the client shows it.
                Event::Progress(Progress::Link(address)) => page = Some(address.clone()),
                Event::Progress(Progress::Opened) => {
                    let window = *window.get().unwrap_or(&Window::None);
                    if let Some(page) = page.take() {
                        invite(Invitation { address: page.as_str().to_owned(), code: None, window });
                        let _ = place.set(page);
                    }
                }
                Event::Progress(Progress::Code { page, code }) => {
                    let (address, code) = (page.as_str().to_owned(), Some(code.to_owned()));
                    invite(Invitation { address, code, window: Window::None });
                }
                Event::Progress(_) => {}
                event => listener(event),
            }),
            ..self.attempt(tokens.last_challenge(), Some(Arc::new(browser)))
        };
        // The user may ask for the browser later than the agent for the sign-in.
        let showing = async {
            let is_asked = shown_by.wait_for(|now| *now == ShownBy::Browser).await.is_ok();
            let page = shown.wait().await.clone();
            if is_asked
                && begun_by == ShownBy::Client
                && let PageDisplay::Browser(browser, _turn) = self.page_display().await
            {
                let _ = spawn_blocking(move || browser.open(&page)).await;
                pending::<()>().await; // keeps the turn until the sign-in ends
            }
            pending().await
        };
        let kept = tokio::select! {
            kept = sign_in_and_keep(&self.settings, &self.credentials, profile, attempt) => kept,
            never = showing => never,
        };
        if let Some(turn) = turn {
            turn.end(kept.as_ref().err().map(failure).as_ref(), self.credentials.clock.now()).await;
        }
        let (profile, _) = kept.map_err(|error| {
            (self.listener)(Event::Failure(&error));
            failure(&error).to_string()
        })?;
        profile.signed_in.into_iter().for_each(|identity| tokens.use_identity(identity));
        Ok(())
    }

    /// The way to show a page on this machine now: one browser for all processes together, and none for a while after
    /// the user declined.
    async fn page_display(&self) -> PageDisplay {
        let Screen::Browser(browser) = self.settings.surroundings.screen().await else { return PageDisplay::None };
        match Turn::wait(&self.settings.locks(), &self.profile.name, Duration::ZERO).await {
            Ok(turn) if turn.refusal(self.credentials.clock.now()).await.is_none() => {
                PageDisplay::Browser(browser, turn)
            }
            Err(LockError::TimedOut(_)) => PageDisplay::OtherProcess,
            Ok(_) | Err(_) => PageDisplay::None,
        }
    }

    async fn in_turn(self, challenge: Challenge, signer: Signer) -> Result<Identity, SignInFailure> {
        let Self { settings, credentials, profile, .. } = &self;
        if let (Signer::User, Some(reason)) = (signer, needs_terminal(&self.profile().await)) {
            return Err(SignInFailure::LoginRequired(reason));
        }
        let reported = |error: Error| {
            (self.listener)(Event::Failure(&error));
            failure(&error)
        };
        let before = signed_in(credentials, profile).await;
        let patience = USER_TIMEOUT + Duration::from_secs(30);
        let turn = Turn::wait(&settings.locks(), &profile.name, patience).await;
        let turn = turn.map_err(|error| reported(error.into()))?;
        // The user may have signed in or declined in another process meanwhile.
        match signed_in(credentials, profile).await {
            Some((identity, generation)) if before != Some((identity.clone(), generation)) => return Ok(identity),
            _ => {}
        }
        if let Some(refusal) = turn.refusal(credentials.clock.now()).await {
            return Err(refusal);
        }
        let browser = match signer {
            Signer::Program => None,
            Signer::User => match settings.surroundings.screen().await {
                Screen::Browser(browser) => Some(browser),
                // Leaves no refusal for other processes: they may have a screen.
                Screen::Terminal => return Err(unattended("no display and no FINMCP_BROWSER")),
                Screen::Unavailable(reason) => return Err(unattended(reason)),
            },
        };
        let outcome = self.sign_in(challenge, browser).await.map_err(reported);
        turn.end(outcome.as_ref().err(), credentials.clock.now()).await;
        outcome
    }

    /// Signs in, with a page in `browser` if the grant needs one. Only the browser gets the page's address: if it does
    /// not open, the sign-in ends.
    async fn sign_in(&self, challenge: Challenge, browser: Option<SystemBrowser>) -> Result<Identity, Error> {
        let title = &self.profile.title;
        let (not_opened, failed) = oneshot::channel();
        let (mut not_opened, listener) = (Some(not_opened), self.listener.clone());
        let attempt = Attempt {
            tell: Box::new(move |event| {
                if let Event::Progress(Progress::NotOpened(BrowserError(error))) = &event
                    && let Some(not_opened) = not_opened.take()
                {
                    let _ = not_opened.send(error.to_string());
                }
                listener(event);
            }),
            ..self.attempt(Some(challenge), browser.map(|browser| Arc::new(browser) as Arc<dyn Browser>))
        };
        let profile = self.profile().await;
        let kept = tokio::select! {
            kept = sign_in_and_keep(&self.settings, &self.credentials, profile, attempt) => kept?,
            Ok(reason) = failed => {
                let error = format!("you need to sign in to {title}, but no browser could be opened: {reason}");
                return Err(Error::new(ErrorKind::LoginRequired, error));
            }
        };
        let (profile, _) = kept;
        profile.signed_in.ok_or_else(|| Error::new(ErrorKind::Failure, "the sign-in left no credential"))
    }

    /// The saved profile, with the options of this command line.
    async fn profile(&self) -> Profile {
        let saved = current(&self.profile).await.unwrap_or_else(|| self.profile.clone());
        Profile { options: self.given.options.clone().or(saved.options), ..saved }
    }

    /// A sign-in for a client, with a page in `browser` if the grant needs one.
    fn attempt(&self, challenge: Option<Challenge>, browser: Option<Arc<dyn Browser>>) -> Attempt {
        let listener = self.listener.clone();
        Attempt {
            secrets: self.given.secrets.clone(),
            challenge,
            force_registration: false,
            browser,
            redirection: Redirection { port: None, paste: None, timeout: USER_TIMEOUT },
            tell: Box::new(move |event| listener(event)),
        }
    }
}

/// Who signs in.
#[derive(Clone, Copy)]
enum Signer {
    User,
    Program,
}

/// The way to show a page on this machine now.
enum PageDisplay {
    /// This browser; no other process opens one while this one holds the turn.
    Browser(SystemBrowser, Turn),
    /// Another process's browser shows the page of the same sign-in.
    OtherProcess,
    None,
}

/// Opens the page if it can. The client has the page's address too, so a failure does not end the sign-in.
struct ForClient {
    browser: Option<SystemBrowser>,
    window: Arc<OnceLock<Window>>,
}

impl Browser for ForClient {
    fn open(&self, url: &ServerUrl) -> Result<(), BrowserError> {
        if let Some(browser) = &self.browser
            && browser.open(url).is_ok()
        {
            let _ = self.window.set(Window::Opened);
        }
        Ok(())
    }
}

/// Why this profile's sign-in needs a terminal instead of a page.
fn needs_terminal(profile: &Profile) -> Option<String> {
    let title = &profile.title;
    match profile.options.grant_kind().typed() {
        // No client may see that.
        Some(secret) => Some(format!(
            "it needs {secret}. Never type that here: the command asks for it and says where to get it, and the tools \
             of {title} work after that"
        )),
        None if profile.options.needs_user() => None,
        None => Some("it signs in with an assertion, not with a page".to_owned()),
    }
}

fn unattended(reason: &str) -> SignInFailure {
    SignInFailure::LoginRequired(format!("you need to sign in, but no browser can be opened here: {reason}"))
}

/// The message to the client about a failed sign-in.
fn failure(error: &Error) -> SignInFailure {
    let reason = std::iter::once(error.message()).chain(error.causes()).collect::<Vec<_>>().join(": ");
    let with_hints = |reason| [vec![reason], error.hints().to_vec()].concat().join("; ");
    match error.kind {
        _ if error.is_unanswered() => SignInFailure::LoginRequired(reason),
        // The browser cannot ask for what is missing.
        ErrorKind::LoginRequired | ErrorKind::Usage => SignInFailure::LoginRequired(with_hints(reason)),
        ErrorKind::Untrusted => SignInFailure::Untrusted(with_hints(reason)),
        ErrorKind::Network => SignInFailure::Unreachable(reason),
        ErrorKind::Store => SignInFailure::Failed(with_hints(reason)),
        ErrorKind::Failure | ErrorKind::Interrupted => SignInFailure::Failed(reason),
    }
}

/// The current sign-in, with the generation of its tokens.
async fn signed_in(credentials: &Credentials, profile: &Profile) -> Option<(Identity, u64)> {
    let identity = current(profile).await?.signed_in?;
    let credential = credentials.tokens(Some(identity.clone())).credential().await.ok()??;
    credential.is_alive().then_some((identity, credential.generation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{credential::store::StoreError, login::error::LoginError, oauth::error::OAuthError};

    /// t035: what a client is told if the user does not sign in, declines, or has to run a command.
    #[test]
    fn t035_the_message_to_the_client() {
        let told = |error: LoginError| failure(&Error::from(error).while_doing("could not sign in to X"));
        assert_eq!(
            told(LoginError::TimedOut { after: USER_TIMEOUT, known_client: false }),
            SignInFailure::LoginRequired("could not sign in to X: the sign-in timed out after 5 min".to_owned())
        );
        let denied = told(LoginError::Denied(OAuthError::new("access_denied", None)));
        assert!(matches!(&denied, SignInFailure::Failed(reason) if reason.contains("access_denied")), "{denied:?}");
        let lost = failure(&Error::from(StoreError::NeedsPassphrase));
        assert!(matches!(&lost, SignInFailure::Failed(reason) if reason.contains("FINMCP_STORE_KEY_FILE")), "{lost:?}");
        let stuck = told(LoginError::NeedsRegistration { host: "as.example".to_owned() });
        assert!(matches!(&stuck, SignInFailure::LoginRequired(reason) if reason.contains("--client-id")), "{stuck:?}");
    }
}
