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
        Bridge, Ends, Offer, Remember,
        audit::{self, Audit},
        description::Description,
        governor::Rate,
        label::Label,
        policy::Rules,
        reply::Words,
        turnstile::Turnstile,
    },
    cli::{self, Control, SignInMode},
    commands::{
        App,
        login::{self, Attempt, Secrets},
    },
    credential::{
        clock::Clock,
        record::Identity,
        token_source::{Lookup, SignIn, SignInFailure, TokenSource},
    },
    error::{Error, ErrorKind},
    login::{
        Redirection,
        browser::{Browser, BrowserError, SystemBrowser},
        turn::Turn,
    },
    oauth::challenge::Challenge,
    profile::{Profile, Selector},
    provider::GrantKind,
    server_url::ServerUrl,
    settings::{Screen, Settings},
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
        return super::demo::serve(app, &selector, deadline, &arguments.control).await;
    }
    let profile = Profile::select(&selector, &app.settings)?;
    let tokens = app.tokens(profile.signed_in.clone()).with_lookup(lookup(&profile));
    // Vendors that finmcp knows serve nobody without a token.
    let tokens = if profile.provider.is_some() { tokens.guarded() } else { tokens };
    let (tokens, offer) = match (arguments.sign_in, &app.settings.screen) {
        (SignInMode::Auto, Screen::Browser(browser)) => (tokens.with_sign_in(sign_in(app, &profile, browser)), None),
        (SignInMode::Tool, _) => {
            let offer = offer(app, &profile, tokens.clone());
            (tokens, Some(offer))
        }
        _ => (tokens, None),
    };
    relay(app, &profile, tokens, offer, deadline, &arguments.control).await
}

/// Relays for `profile` until the client is done; with the way to sign in that a client is offered, if any.
///
/// # Errors
/// What is wrong with the audit log, or with stdin and stdout.
pub async fn relay(
    app: &App,
    profile: &Profile,
    tokens: TokenSource,
    offer: Option<Offer>,
    deadline: Duration,
    control: &Control,
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
        rules: rules(app, profile, control),
        label: control.label.then(|| Label::new(&profile.title, &profile.name, &profile.environment)),
        audit: audit(app, profile, control)?,
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

/// Which tools a client may see and call.
fn rules(app: &App, profile: &Profile, control: &Control) -> Rules {
    let provider = profile.provider.as_ref().and_then(|provider| app.settings.providers.get(provider));
    Rules {
        read_only: control.read_only,
        known_to_read: provider.map(|provider| provider.read_only_tools.clone()).unwrap_or_default(),
        allow: control.allow_tool.clone(),
        deny: control.deny_tool.clone(),
    }
}

/// The log of the calls, where one is wanted.
fn audit(app: &App, profile: &Profile, control: &Control) -> Result<Option<Audit>, Error> {
    let Some(path) = control.audit_log.clone() else { return Ok(None) };
    let console = app.console;
    let audit = Audit::open(audit::Terms {
        path,
        profile: profile.name.clone(),
        environment: profile.environment.clone(),
        arguments: control.audit_arguments,
        clock: app.clock.clone(),
        complain: Box::new(move |error| console.report(&error.into())),
    })?;
    Ok(Some(audit))
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
                Some(GrantKind::DeviceCode) => return Err("its sign-in shows a code in a terminal".to_owned()),
                _ => {}
            }
            let attempt = attempt(tokens.last_challenge(), Arc::new(Announced(Mutex::new(Some(tell)))));
            let kept = login::sign_in_and_keep(&app, profile, attempt).await;
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

/// A sign-in that a client needs, by a page that `browser` shows.
fn attempt(challenge: Option<Challenge>, browser: Arc<dyn Browser>) -> Attempt {
    let redirection = Redirection { port: None, paste: None, timeout: PERSON };
    Attempt { secrets: Secrets::default(), challenge, anew: false, browser: Some(browser), redirection }
}

/// Has a person sign in with the browser: one for all processes that need it, whoever comes first.
fn sign_in(app: &App, profile: &Profile, browser: &SystemBrowser) -> SignIn {
    let (app, profile, browser) = (app.clone(), profile.clone(), Arc::new(browser.clone()));
    Arc::new(move |challenge| {
        let (app, profile, attempt) = (app.clone(), profile.clone(), attempt(Some(challenge), browser.clone()));
        async move { sign_in_in_turn(&app, profile, attempt).await }.boxed()
    })
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
        ErrorKind::Failure | ErrorKind::Store | ErrorKind::Interrupted => SignInFailure::Failed(reason),
    }
}

async fn sign_in_in_turn(app: &App, profile: Profile, attempt: Attempt) -> Result<Identity, SignInFailure> {
    let reported = |error: Error| {
        app.console.report(&error);
        failure(&error)
    };
    let before = signed_in(app, &profile).await;
    let patience = PERSON + Duration::from_secs(30);
    let turn = Turn::wait(&app.settings.locks(), &profile.name, patience).await;
    let turn = turn.map_err(|error| reported(error.into()))?;
    // Somebody else's person may have been there meanwhile, or has just said no.
    match signed_in(app, &profile).await {
        Some((identity, generation)) if before != Some((identity.clone(), generation)) => return Ok(identity),
        _ => {}
    }
    if let Some(refusal) = turn.refusal(app.clock.now()) {
        return Err(refusal);
    }
    let profile = current(&profile.name, &profile.server).unwrap_or(profile);
    let outcome = login::sign_in_and_keep(app, profile, attempt).await.and_then(|(profile, _)| {
        profile.signed_in.ok_or_else(|| Error::new(ErrorKind::Failure, "the sign-in left no credential"))
    });
    let outcome = outcome.map_err(reported);
    turn.end(outcome.as_ref().err(), app.clock.now());
    outcome
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
            told(LoginError::TimedOut { after: PERSON, known_client: false }),
            SignInFailure::LoginRequired("could not sign in to X: nobody signed in within 300 s".to_owned())
        );
        let denied = told(LoginError::Denied(OAuthError::new("access_denied", None)));
        assert!(matches!(&denied, SignInFailure::Failed(reason) if reason.contains("access_denied")), "{denied:?}");
        let stuck = told(LoginError::NeedsRegistration { host: "as.example".to_owned() });
        assert!(matches!(&stuck, SignInFailure::LoginRequired(reason) if reason.contains("--client-id")), "{stuck:?}");
    }
}
