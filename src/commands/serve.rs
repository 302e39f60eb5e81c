//! `finmcp serve`.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::{
    bridge::{
        Bridge, Ends, Offer, Remember, description::Description, governor::Rate, reply::Words, turnstile::Turnstile,
    },
    cli::{self, SignInMode},
    commands::{
        App,
        login::{self, Secrets},
    },
    credential::{
        lock::Lock,
        record::Identity,
        token_source::{Lookup, SignIn, SignInFailure, TokenSource},
    },
    error::{Error, ErrorKind},
    login::{
        Redirection,
        browser::{Browser, BrowserError},
    },
    oauth::challenge::Challenge,
    profile::{Profile, Selector},
    provider::GrantKind,
    server_url::ServerUrl,
    settings::Settings,
};

/// How long a request may take when nobody says otherwise. Longer than any client waits by itself.
const DEADLINE: Duration = Duration::from_secs(300);

/// Relays between the client on stdin and stdout and the server. Needs nobody to be signed in, and nothing to answer:
/// whatever is missing is said in the answers.
///
/// # Errors
/// What is wrong with the command line, the settings, or stdin and stdout.
pub async fn run(app: &App, arguments: cli::Serve) -> Result<(), Error> {
    let selector = Selector::from(arguments.server);
    let deadline = arguments.timeout.map(Duration::from_secs).or(app.settings.request_timeout).unwrap_or(DEADLINE);
    #[cfg(feature = "demo")]
    if app.settings.is_embedded(selector.server.as_deref()) {
        return super::demo::serve(app, &selector, deadline).await;
    }
    let profile = Profile::select(&selector, &app.settings)?;
    let tokens = app.tokens(profile.signed_in.clone()).with_lookup(lookup(&profile));
    // Vendors that finmcp knows serve nobody without a token.
    let tokens = if profile.provider.is_some() { tokens.guarded() } else { tokens };
    let (tokens, offer) = match arguments.sign_in {
        SignInMode::Auto if app.settings.browser_possible => (tokens.with_sign_in(sign_in(app, &profile)), None),
        SignInMode::Tool => {
            let offer = offer(app, &profile, tokens.clone());
            (tokens, Some(offer))
        }
        _ => (tokens, None),
    };
    relay(app, &profile, tokens, offer, deadline).await
}

/// Relays for `profile` until the client is done; with the way to sign in that a client is offered, if any.
///
/// # Errors
/// What is wrong with stdin and stdout.
pub async fn relay(
    app: &App,
    profile: &Profile,
    tokens: TokenSource,
    offer: Option<Offer>,
    deadline: Duration,
) -> Result<(), Error> {
    let ends = Ends {
        server: profile.server.clone(),
        http: app.http.clone(),
        tokens,
        words: Words { title: profile.title.clone(), login_command: profile.login_command() },
        deadline,
        turnstile: turnstile(app, profile),
        remembered: remembered(app, profile),
        remember: remember(app, profile),
        offer,
    };
    Bridge::open(ends)?.run().await?;
    Ok(())
}

/// The gate to the vendor's limit of requests, which all processes of the profile share.
fn turnstile(app: &App, profile: &Profile) -> Turnstile {
    let provider = profile.provider.as_ref().and_then(|name| app.settings.providers.get(name));
    match provider.and_then(|provider| provider.requests_per_minute) {
        Some(limit) => Turnstile::shared(
            Rate::per_minute(limit),
            app.settings.locks(),
            &profile.name,
            &profile.server,
            app.clock.clone(),
        ),
        None => Turnstile::open(app.clock.clone()),
    }
}

/// What a server said of itself, on disk; of this server only.
#[derive(Serialize, Deserialize)]
struct DescriptionDocument<'a> {
    server: Cow<'a, str>,
    description: Cow<'a, Description>,
}

/// What is known of the server from the last time. What cannot be read is not known.
fn remembered(app: &App, profile: &Profile) -> Option<Description> {
    let text = app.settings.description(&profile.name)?;
    let document: DescriptionDocument<'_> = serde_json::from_str(&text).ok()?;
    (document.server == profile.server.as_str()).then(|| document.description.into_owned())
}

fn remember(app: &App, profile: &Profile) -> Remember {
    let (settings, name, server) = (app.settings.clone(), profile.name.clone(), profile.server.clone());
    Arc::new(move |description| {
        let document = DescriptionDocument { server: server.as_str().into(), description: Cow::Borrowed(description) };
        let kept = serde_json::to_string(&document)
            .map_err(std::io::Error::from)
            .and_then(|text| settings.keep_description(&name, &text));
        if let Err(error) = kept {
            tracing::warn!(%error, "what the server says of itself is not remembered");
        }
    })
}

/// How a client has its person sign in: at an address that the client shows, while it goes on.
fn offer(app: &App, profile: &Profile, tokens: TokenSource) -> Offer {
    let (app, profile) = (app.clone(), profile.clone());
    Arc::new(move |tell| {
        let (app, profile, tokens) = (app.clone(), profile.clone(), tokens.clone());
        async move {
            let profile = current(&profile.name, &profile.server).unwrap_or(profile);
            match profile.registration.grant {
                Some(GrantKind::ClientCredentials) => {
                    return Err("it is not a person who signs in there, but a program with a secret".to_owned());
                }
                Some(GrantKind::JwtBearer) => {
                    return Err("it is not a person who signs in there, but a program with an assertion".to_owned());
                }
                _ => {}
            }
            let redirection = Redirection { port: None, timeout: PERSON };
            let browser: Arc<dyn Browser> = Arc::new(Announced(Mutex::new(Some(tell))));
            let challenge = tokens.last_challenge();
            let kept =
                login::sign_in_and_keep(&app, profile, Secrets::default(), challenge, Some(browser), redirection).await;
            let (profile, _) = kept.map_err(|error| {
                app.console.report(&error);
                failure(&error).to_string()
            })?;
            profile.signed_in.into_iter().for_each(|identity| tokens.identify(identity));
            Ok(())
        }
        .boxed()
    })
}

/// Shows the page to nobody: says where it is.
struct Announced(Mutex<Option<oneshot::Sender<String>>>);

impl Browser for Announced {
    fn open(&self, url: &ServerUrl) -> Result<(), BrowserError> {
        if let Some(tell) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = tell.send(url.as_str().to_owned());
        }
        Ok(())
    }
}

/// Who is signed in to `profile` by now: somebody may run `finmcp login` while a client is running.
fn lookup(profile: &Profile) -> Lookup {
    let (name, server) = (profile.name.clone(), profile.server.clone());
    Arc::new(move || current(&name, &server)?.signed_in)
}

/// The profile as it is saved now.
fn current(name: &str, server: &ServerUrl) -> Option<Profile> {
    Settings::load().ok()?.profile(name).filter(|now| now.server == *server)
}

/// How long a person may take in the browser, and others wait for that person.
const PERSON: Duration = Duration::from_secs(300);

/// Has a person sign in with the browser: one for all processes that need it, whoever comes first.
fn sign_in(app: &App, profile: &Profile) -> SignIn {
    let (app, profile) = (app.clone(), profile.clone());
    Arc::new(move |challenge| {
        let (app, profile) = (app.clone(), profile.clone());
        async move {
            let asked = sign_in_in_turn(&app, profile, challenge).await;
            asked.inspect_err(|error| app.console.report(error)).map_err(|error| failure(&error))
        }
        .boxed()
    })
}

/// What the client is told of a sign-in that came to nothing.
fn failure(error: &Error) -> SignInFailure {
    let reason = std::iter::once(error.message()).chain(error.causes()).collect::<Vec<_>>().join(": ");
    match error.kind {
        _ if error.is_unanswered() => SignInFailure::LoginRequired(reason),
        // It takes more than a browser can ask for.
        ErrorKind::LoginRequired | ErrorKind::Usage => {
            SignInFailure::LoginRequired([vec![reason], error.hints().to_vec()].concat().join("; "))
        }
        ErrorKind::Untrusted => SignInFailure::Untrusted(reason),
        ErrorKind::Network => SignInFailure::Unreachable(reason),
        ErrorKind::Failure | ErrorKind::Store | ErrorKind::Interrupted => SignInFailure::Failed(reason),
    }
}

async fn sign_in_in_turn(app: &App, profile: Profile, challenge: Challenge) -> Result<Identity, Error> {
    let before = signed_in(app, &profile).await;
    let turn = format!("sign-in-{}", profile.name);
    let _turn = Lock::acquire(&app.settings.locks(), &turn, PERSON + Duration::from_secs(30)).await?;
    // Somebody else's person may have been there meanwhile.
    match signed_in(app, &profile).await {
        Some((identity, generation)) if before != Some((identity.clone(), generation)) => return Ok(identity),
        _ => {}
    }
    let profile = current(&profile.name, &profile.server).unwrap_or(profile);
    let redirection = Redirection { port: None, timeout: PERSON };
    let browser = Some(login::browser(app));
    let (profile, _) =
        login::sign_in_and_keep(app, profile, Secrets::default(), Some(challenge), browser, redirection).await?;
    profile.signed_in.ok_or_else(|| Error::new(ErrorKind::Failure, "the sign-in left no credential"))
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
    use crate::{login::LoginError, oauth::error::OAuthError};

    /// t035: what a client is told of a person who does not come, who says no, and who has to say more.
    #[test]
    fn t035_what_the_client_is_told() {
        let told = |error: LoginError| failure(&Error::from(error).while_doing("could not sign in to X"));
        assert_eq!(
            told(LoginError::TimedOut(PERSON)),
            SignInFailure::LoginRequired("could not sign in to X: nobody signed in within 300 s".to_owned())
        );
        let denied = told(LoginError::Denied(OAuthError::new("access_denied", None)));
        assert!(matches!(&denied, SignInFailure::Failed(reason) if reason.contains("access_denied")), "{denied:?}");
        let stuck = told(LoginError::NeedsRegistration { host: "as.example".to_owned() });
        assert!(matches!(&stuck, SignInFailure::LoginRequired(reason) if reason.contains("--client-id")), "{stuck:?}");
    }
}
