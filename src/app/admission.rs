//! Signing a person in while a client is running.

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
    bridge::{
        Offer,
        conversation::sign_in_tool::{Invitation, ShownBy, Window},
    },
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

/// How somebody comes to be signed in. Cheap enough to clone for each time.
#[derive(Clone)]
pub struct Admission {
    /// What is set from outside.
    pub settings: Arc<Settings>,
    /// Where the new credential goes.
    pub credentials: Credentials,
    /// Who hears of it on this machine.
    pub hearer: Hearer,
    /// The server.
    pub profile: Profile,
    /// What the command line says about it.
    pub given: Given,
}

/// Hears how a sign-in goes.
pub type Hearer = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// How long a person may take in the browser, and others wait for that person.
const PERSON: Duration = Duration::from_secs(300);

impl Admission {
    /// Whether it needs nobody: the command line names a program, and what proves that.
    pub fn is_of_a_program(&self) -> bool {
        let Given { options, secrets } = &self.given;
        match options.grant.or(self.profile.options.grant) {
            Some(GrantKind::ClientCredentials) => options.client_id.is_some() && secrets.client.is_some(),
            Some(GrantKind::JwtBearer) => options.assertion.is_some(),
            Some(GrantKind::ApiKey) => secrets.api_key.is_some(),
            Some(GrantKind::AuthorizationCode | GrantKind::DeviceCode) | None => false,
        }
    }

    /// How a client has its person sign in: at a page that the client shows, or that opens in a browser, while it goes on.
    pub fn offer(self, tokens: TokenSource) -> Offer {
        Arc::new(move |shown_by, tell| self.clone().by_client(tokens.clone(), shown_by, tell).boxed())
    }

    /// Has a person sign in with the browser: one for all processes that need it, whoever comes first.
    pub fn of_a_person(self) -> SignIn {
        Arc::new(move |challenge| self.clone().in_turn(challenge, Signer::Person).boxed())
    }

    /// Signs a program in, which needs nobody for that.
    pub fn of_a_program(self) -> SignIn {
        Arc::new(move |challenge| self.clone().in_turn(challenge, Signer::Program).boxed())
    }

    async fn by_client(
        self,
        tokens: TokenSource,
        mut shown_by: watch::Receiver<ShownBy>,
        tell: oneshot::Sender<Invitation>,
    ) -> Result<(), String> {
        let profile = self.profile().await;
        match profile.options.grant {
            Some(GrantKind::ClientCredentials) => {
                return Err("it is not a person who signs in there, but a program with a secret".to_owned());
            }
            Some(GrantKind::JwtBearer) => {
                return Err("it is not a person who signs in there, but a program with an assertion".to_owned());
            }
            Some(GrantKind::ApiKey) => return Err("it takes an API key".to_owned()),
            Some(GrantKind::DeviceCode | GrantKind::AuthorizationCode) | None => {}
        }
        let begun_by = *shown_by.borrow();
        let here = match begun_by {
            ShownBy::Client => Here::Nothing,
            ShownBy::Browser => self.here().await,
        };
        let window = Arc::new(OnceLock::new());
        let (browser, turn) = match here {
            Here::Nothing => (None, None),
            Here::Another => {
                let _ = window.set(Window::OpenedByAnother);
                (None, None)
            }
            Here::Browser(browser, turn) => (Some(browser), Some(turn)),
        };
        let browser = ForClient { browser, window: window.clone() };
        let (mut tell, mut page) = (Some(tell), None);
        let shown = Arc::new(SetOnce::new());
        let place = shown.clone();
        let hearer = self.hearer.clone();
        let mut invite = move |invitation| {
            if let Some(tell) = tell.take() {
                let _ = tell.send(invitation);
            }
        };
        let attempt = Attempt {
            tell: Box::new(move |event| match event {
                Event::Progress(Progress::Page(address)) => {
                    page = Some(address.as_str().to_owned());
                    let _ = place.set(address.clone());
                }
                Event::Progress(Progress::Opened) => {
                    let window = *window.get().unwrap_or(&Window::None);
                    page.take().into_iter().for_each(|address| invite(Invitation { address, code: None, window }));
                }
                Event::Progress(Progress::Code { page, code }) => {
                    let (address, code) = (page.as_str().to_owned(), Some(code.to_owned()));
                    invite(Invitation { address, code, window: Window::None });
                }
                Event::Progress(_) => {}
                event => hearer(event),
            }),
            ..self.attempt(tokens.last_challenge(), Some(Arc::new(browser)))
        };
        // A person may ask for the browser later than an agent for a sign-in.
        let showing = async {
            let is_asked = shown_by.wait_for(|now| *now == ShownBy::Browser).await.is_ok();
            let page = shown.wait().await.clone();
            if is_asked
                && begun_by == ShownBy::Client
                && let Here::Browser(browser, _turn) = self.here().await
            {
                let _ = spawn_blocking(move || browser.open(&page)).await;
                pending::<()>().await; // it is this process's turn until the sign-in is over
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
            (self.hearer)(Event::Failure(&error));
            failure(&error).to_string()
        })?;
        profile.signed_in.into_iter().for_each(|identity| tokens.identify(identity));
        Ok(())
    }

    /// What can show a page on this machine now: one browser for all processes together, and none for a while after the
    /// person has said no.
    async fn here(&self) -> Here {
        let Screen::Browser(browser) = self.settings.surroundings.screen().await else { return Here::Nothing };
        match Turn::wait(&self.settings.locks(), &self.profile.name, Duration::ZERO).await {
            Ok(turn) if turn.refusal(self.credentials.clock.now()).await.is_none() => Here::Browser(browser, turn),
            Err(LockError::TimedOut(_)) => Here::Another,
            Ok(_) | Err(_) => Here::Nothing,
        }
    }

    async fn in_turn(self, challenge: Challenge, signer: Signer) -> Result<Identity, SignInFailure> {
        let Self { settings, credentials, profile, .. } = &self;
        let reported = |error: Error| {
            (self.hearer)(Event::Failure(&error));
            failure(&error)
        };
        let before = signed_in(credentials, profile).await;
        let patience = PERSON + Duration::from_secs(30);
        let turn = Turn::wait(&settings.locks(), &profile.name, patience).await;
        let turn = turn.map_err(|error| reported(error.into()))?;
        // Somebody else's person may have been there meanwhile, or has just said no.
        match signed_in(credentials, profile).await {
            Some((identity, generation)) if before != Some((identity.clone(), generation)) => return Ok(identity),
            _ => {}
        }
        if let Some(refusal) = turn.refusal(credentials.clock.now()).await {
            return Err(refusal);
        }
        let browser = match signer {
            Signer::Program => None,
            Signer::Person => match settings.surroundings.screen().await {
                Screen::Browser(browser) => Some(browser),
                // Nothing is left for other processes: they may have a screen.
                Screen::Terminal => return Err(nobody("there is no display, and no FINMCP_BROWSER")),
                Screen::Nobody(reason) => return Err(nobody(reason)),
            },
        };
        let outcome = self.sign_in(challenge, browser).await.map_err(reported);
        turn.end(outcome.as_ref().err(), credentials.clock.now()).await;
        outcome
    }

    /// Signs in by a page in `browser`, where one is needed. Nobody sees its address but there: a browser that does not
    /// open ends it.
    async fn sign_in(&self, challenge: Challenge, browser: Option<SystemBrowser>) -> Result<Identity, Error> {
        let title = &self.profile.title;
        let (not_opened, failed) = oneshot::channel();
        let (mut not_opened, hearer) = (Some(not_opened), self.hearer.clone());
        let attempt = Attempt {
            tell: Box::new(move |event| {
                if let Event::Progress(Progress::NotOpened(BrowserError(error))) = &event
                    && let Some(not_opened) = not_opened.take()
                {
                    let _ = not_opened.send(error.to_string());
                }
                hearer(event);
            }),
            ..self.attempt(Some(challenge), browser.map(|browser| Arc::new(browser) as Arc<dyn Browser>))
        };
        let profile = self.profile().await;
        let kept = tokio::select! {
            kept = sign_in_and_keep(&self.settings, &self.credentials, profile, attempt) => kept?,
            Ok(reason) = failed => {
                let error = format!("a person has to sign in to {title}, and no browser could be opened: {reason}");
                return Err(Error::new(ErrorKind::LoginRequired, error));
            }
        };
        let (profile, _) = kept;
        profile.signed_in.ok_or_else(|| Error::new(ErrorKind::Failure, "the sign-in left no credential"))
    }

    /// The profile as it is saved by now, with what was said when this began.
    async fn profile(&self) -> Profile {
        let saved = current(&self.profile).await.unwrap_or_else(|| self.profile.clone());
        Profile { options: self.given.options.clone().or(saved.options), ..saved }
    }

    /// A sign-in that a client needs, by a page that `browser` shows where one is needed.
    fn attempt(&self, challenge: Option<Challenge>, browser: Option<Arc<dyn Browser>>) -> Attempt {
        let hearer = self.hearer.clone();
        Attempt {
            secrets: self.given.secrets.clone(),
            challenge,
            force_registration: false,
            browser,
            redirection: Redirection { port: None, paste: None, timeout: PERSON },
            tell: Box::new(move |event| hearer(event)),
        }
    }
}

/// Who proves who they are.
#[derive(Clone, Copy)]
enum Signer {
    Person,
    Program,
}

/// What can show a page on this machine now.
enum Here {
    /// This browser, and no other process's as long as the turn is held.
    Browser(SystemBrowser, Turn),
    /// Another process's browser, which shows the page of the same sign-in.
    Another,
    Nothing,
}

/// Shows a client's person the page, whose address the client has in any case: no failure ends the sign-in.
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

/// Why no person can be asked here.
fn nobody(reason: &str) -> SignInFailure {
    SignInFailure::LoginRequired(format!("a person has to sign in, and nobody is here: {reason}"))
}

/// What the client is told of a sign-in that came to nothing.
fn failure(error: &Error) -> SignInFailure {
    let reason = std::iter::once(error.message()).chain(error.causes()).collect::<Vec<_>>().join(": ");
    let with_hints = |reason| [vec![reason], error.hints().to_vec()].concat().join("; ");
    match error.kind {
        _ if error.is_unanswered() => SignInFailure::LoginRequired(reason),
        // It takes more than a browser can ask for.
        ErrorKind::LoginRequired | ErrorKind::Usage => SignInFailure::LoginRequired(with_hints(reason)),
        ErrorKind::Untrusted => SignInFailure::Untrusted(with_hints(reason)),
        ErrorKind::Network => SignInFailure::Unreachable(reason),
        ErrorKind::Store => SignInFailure::Failed(with_hints(reason)),
        ErrorKind::Failure | ErrorKind::Interrupted => SignInFailure::Failed(reason),
    }
}

/// Who is signed in, and which sign-in or renewal that is.
async fn signed_in(credentials: &Credentials, profile: &Profile) -> Option<(Identity, u64)> {
    let identity = current(profile).await?.signed_in?;
    let credential = credentials.tokens(Some(identity.clone())).credential().await.ok()??;
    credential.is_alive().then_some((identity, credential.generation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{credential::store::StoreError, login::error::LoginError, oauth::error::OAuthError};

    /// t035: what a client is told of a person who does not come, who says no, and who has to say more.
    #[test]
    fn t035_what_the_client_is_told() {
        let told = |error: LoginError| failure(&Error::from(error).while_doing("could not sign in to X"));
        assert_eq!(
            told(LoginError::TimedOut { after: PERSON, known_client: false }),
            SignInFailure::LoginRequired("could not sign in to X: nobody signed in within 300 s".to_owned())
        );
        let denied = told(LoginError::Denied(OAuthError::new("access_denied", None)));
        assert!(matches!(&denied, SignInFailure::Failed(reason) if reason.contains("access_denied")), "{denied:?}");
        let lost = failure(&Error::from(StoreError::NeedsPassphrase));
        assert!(matches!(&lost, SignInFailure::Failed(reason) if reason.contains("FINMCP_STORE_KEY_FILE")), "{lost:?}");
        let stuck = told(LoginError::NeedsRegistration { host: "as.example".to_owned() });
        assert!(matches!(&stuck, SignInFailure::LoginRequired(reason) if reason.contains("--client-id")), "{stuck:?}");
    }
}
