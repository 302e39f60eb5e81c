//! Signing a person in while a client is running.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::sync::oneshot;

use crate::{
    bridge::{Offer, sign_in::Invitation},
    commands::{
        App,
        login::{self, Attempt},
        registration::Given,
        serve::current,
    },
    credential::{
        clock::Clock,
        record::Identity,
        token_source::{SignIn, SignInFailure, TokenSource},
    },
    error::{Error, ErrorKind},
    login::{
        Progress, Redirection,
        browser::{Browser, BrowserError, SystemBrowser},
        turn::Turn,
    },
    oauth::challenge::Challenge,
    profile::Profile,
    provider::GrantKind,
    server_url::ServerUrl,
};

/// How somebody comes to be signed in. Cheap enough to clone for each time.
#[derive(Clone)]
pub(super) struct Admission {
    /// What it works with.
    pub app: App,
    /// The server.
    pub profile: Profile,
    /// What the command line says about it.
    pub given: Given,
}

/// How long a person may take in the browser, and others wait for that person.
const PERSON: Duration = Duration::from_secs(300);

impl Admission {
    /// Whether it needs nobody: the command line names a program, and what proves that.
    pub fn is_of_a_program(&self) -> bool {
        let Given { options, secrets } = &self.given;
        match options.grant.or(self.profile.registration.grant) {
            Some(GrantKind::ClientCredentials) => options.client_id.is_some() && secrets.client.is_some(),
            Some(GrantKind::JwtBearer) => options.assertion.is_some(),
            Some(GrantKind::AuthorizationCode | GrantKind::DeviceCode) | None => false,
        }
    }

    /// How a client has its person sign in: at an address that the client shows, while it goes on.
    pub fn offer(self, tokens: TokenSource) -> Offer {
        Arc::new(move |tell| self.clone().by_client(tokens.clone(), tell).boxed())
    }

    /// Has a person sign in with the browser: one for all processes that need it, whoever comes first.
    pub fn with(self, browser: &SystemBrowser) -> SignIn {
        let browser: Arc<dyn Browser> = Arc::new(browser.clone());
        Arc::new(move |challenge| self.clone().in_turn(challenge, Some(browser.clone())).boxed())
    }

    /// Signs a program in, which needs nobody for that.
    pub fn of_a_program(self) -> SignIn {
        Arc::new(move |challenge| self.clone().in_turn(challenge, None).boxed())
    }

    async fn by_client(self, tokens: TokenSource, tell: oneshot::Sender<Invitation>) -> Result<(), String> {
        let profile = self.profile();
        match profile.registration.grant {
            Some(GrantKind::ClientCredentials) => {
                return Err("it is not a person who signs in there, but a program with a secret".to_owned());
            }
            Some(GrantKind::JwtBearer) => {
                return Err("it is not a person who signs in there, but a program with an assertion".to_owned());
            }
            Some(GrantKind::DeviceCode | GrantKind::AuthorizationCode) | None => {}
        }
        let mut tell = Some(tell);
        let attempt = Attempt {
            tell: Box::new(move |progress| {
                if let Some(invitation) = invitation(&progress)
                    && let Some(tell) = tell.take()
                {
                    let _ = tell.send(invitation);
                }
            }),
            ..self.attempt(tokens.last_challenge(), Some(Arc::new(ByClient)))
        };
        let kept = login::sign_in_and_keep(&self.app, profile, attempt).await;
        let (profile, _) = kept.map_err(|error| {
            self.app.console.report(&error);
            failure(&error).to_string()
        })?;
        profile.signed_in.into_iter().for_each(|identity| tokens.identify(identity));
        Ok(())
    }

    async fn in_turn(self, challenge: Challenge, browser: Option<Arc<dyn Browser>>) -> Result<Identity, SignInFailure> {
        let Self { app, profile, .. } = &self;
        let reported = |error: Error| {
            app.console.report(&error);
            failure(&error)
        };
        let before = signed_in(app, profile).await;
        let patience = PERSON + Duration::from_secs(30);
        let turn = Turn::wait(&app.settings.locks(), &profile.name, patience).await;
        let turn = turn.map_err(|error| reported(error.into()))?;
        // Somebody else's person may have been there meanwhile, or has just said no.
        match signed_in(app, profile).await {
            Some((identity, generation)) if before != Some((identity.clone(), generation)) => return Ok(identity),
            _ => {}
        }
        if let Some(refusal) = turn.refusal(app.clock.now()).await {
            return Err(refusal);
        }
        let attempt = self.attempt(Some(challenge), browser);
        let outcome = login::sign_in_and_keep(app, self.profile(), attempt).await.and_then(|(profile, _)| {
            profile.signed_in.ok_or_else(|| Error::new(ErrorKind::Failure, "the sign-in left no credential"))
        });
        let outcome = outcome.map_err(reported);
        turn.end(outcome.as_ref().err(), app.clock.now()).await;
        outcome
    }

    /// The profile as it is saved by now, with what was said when this began.
    fn profile(&self) -> Profile {
        let saved = current(&self.profile.name, &self.profile.server).unwrap_or_else(|| self.profile.clone());
        Profile { registration: self.given.options.clone().or(saved.registration), ..saved }
    }

    /// A sign-in that a client needs, by a page that `browser` shows where one is needed.
    fn attempt(&self, challenge: Option<Challenge>, browser: Option<Arc<dyn Browser>>) -> Attempt {
        Attempt {
            secrets: self.given.secrets.clone(),
            challenge,
            anew: false,
            browser,
            redirection: Redirection { port: None, paste: None, timeout: PERSON },
            tell: login::spoken(self.app.console, &self.profile.title),
        }
    }
}

/// What the client's person is to open.
fn invitation(progress: &Progress<'_>) -> Option<Invitation> {
    match *progress {
        Progress::Page(page) => Some(Invitation { address: page.as_str().to_owned(), code: None }),
        Progress::Code { page, code } => {
            Some(Invitation { address: page.as_str().to_owned(), code: Some(code.to_owned()) })
        }
        _ => None,
    }
}

/// The client has the address, and shows it by itself.
struct ByClient;

impl Browser for ByClient {
    fn open(&self, _: &ServerUrl) -> Result<(), BrowserError> {
        Ok(())
    }
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
async fn signed_in(app: &App, profile: &Profile) -> Option<(Identity, u64)> {
    let identity = current(&profile.name, &profile.server)?.signed_in?;
    let credential = app.tokens(Some(identity.clone())).credential().await.ok()??;
    credential.tokens.is_some().then_some((identity, credential.generation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{credential::store::StoreError, login::LoginError, oauth::error::OAuthError};

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
