//! `finmcp login`.

use std::{
    io::{self, IsTerminal},
    sync::Arc,
    time::Duration,
};

use crate::{
    cli::{self, ImportSource},
    commands::{
        App, import, logout,
        registration::{Given, Secrets},
    },
    console::Console,
    credential::{
        assertion::AssertionSource,
        clock::Clock,
        record::{Credential, Identity, Renewal},
        registrations::Registrations,
    },
    error::{Error, ErrorKind},
    login::{
        browser::Browser,
        client_credentials::client_credentials,
        context::{Context, Progress, Redirection},
        device::device_code,
        error::LoginError,
        jwt_bearer::jwt_bearer,
        options::{Assertion, GrantKind, Options},
        paste::Paste,
        person::authorization_code,
        request::LoginRequest,
    },
    oauth::challenge::Challenge,
    profile::Profile,
    secret::Secret,
    settings::screen::Screen,
    span,
};

/// Signs in, stores the credential, and saves the profile, so that `token` and `serve` find it by name.
///
/// # Errors
/// Whatever kept it from being done; then nothing is changed.
pub async fn run(app: &App, arguments: cli::Login) -> Result<(), Error> {
    let Given { options, secrets } = Given::read(app, arguments.registration).await?;
    let mut profile = app.settings.profiles.select(&arguments.server.into())?;
    if !arguments.force {
        refuse_takeover(app, &profile)?;
    }
    profile.options = options.or(profile.options);
    // The port of 127.0.0.1 that is asked for now is another redirect URI.
    if arguments.port.is_some() {
        profile.options.redirect_uri = None;
    }
    if let Some(ImportSource::McpRemote) = arguments.import {
        return import::run(app, profile, arguments.disposal).await;
    }

    let by_page = profile.options.grant.is_none_or(|grant| grant == GrantKind::AuthorizationCode);
    let browser = if by_page && !arguments.no_browser { browser_for(app, &profile).await? } else { None };
    let paste = if by_page { paste(arguments.no_browser) } else { None };
    let redirection = Redirection { port: arguments.port, paste, timeout: Duration::from_secs(arguments.timeout) };
    let tell = spoken(app.console, &profile.title);
    let attempt = Attempt { secrets, challenge: None, anew: arguments.force, browser, redirection, tell };
    let (profile, credential) = sign_in_and_keep(app, profile, attempt).await?;
    summarise(app, &profile, &credential);
    Ok(())
}

/// What shows the sign-in page; nothing where somebody at a terminal opens it elsewhere.
async fn browser_for(app: &App, profile: &Profile) -> Result<Option<Arc<dyn Browser>>, Error> {
    match app.settings.surroundings.screen().await {
        Screen::Browser(browser) => Ok(Some(Arc::new(browser))),
        Screen::Terminal => Ok(None),
        Screen::Nobody(reason) => {
            let error = format!("a person has to sign in to {}, and nobody is here: {reason}", profile.title);
            let command = profile.login_command();
            Err(Error::new(ErrorKind::LoginRequired, error).hint(format!("run `{command}` in a terminal or on a desktop; or `{command} --no-browser` here, which prints the address to open and reads from stdin the one that the browser ends on")))
        }
    }
}

/// Where the person can paste the answer: a terminal, which need not be told about; anything else only where that is how
/// it is to come back.
fn paste(no_browser: bool) -> Option<Paste> {
    Paste::from_terminal().or_else(|| (no_browser && !io::stdin().is_terminal()).then(Paste::from_pipe))
}

/// A sign-in that somebody wants.
pub struct Attempt {
    /// What the person hands over.
    pub secrets: Secrets,
    /// What the server refused a request with, where it has: the new sign-in allows that, and all that the one before
    /// allowed.
    pub challenge: Option<Challenge>,
    /// Whether a client that registered itself earlier is to register anew.
    pub anew: bool,
    /// What shows the sign-in page; none where the person wants to do that.
    pub browser: Option<Arc<dyn Browser>>,
    /// How the answer comes back.
    pub redirection: Redirection,
    /// Whom to tell what happens.
    pub tell: Tell,
}

/// Tells somebody how a sign-in goes.
pub type Tell = Box<dyn FnMut(Progress<'_>) + Send>;

/// The whole of it: a person or a secret, the credential in the store, the profile in `config.toml`.
///
/// # Errors
/// Whatever kept it from being done; then nothing is changed.
pub async fn sign_in_and_keep(app: &App, profile: Profile, attempt: Attempt) -> Result<(Profile, Credential), Error> {
    let Attempt { secrets, challenge, anew, browser, redirection, mut tell } = attempt;
    // A store that is locked or missing is said before anybody is asked to sign in, and before a server is.
    prove_store(app).await?;
    let earlier = earlier(app, &profile).await?;
    let (console, title) = (app.console, &profile.title);
    for name in profile.options.overrides.risky() {
        console.say(&format!("Note: {name} is set for {title}: a rule that protects you is loosened."));
    }
    let person = Person { browser, redirection, progress: &mut tell };
    let challenge = challenge.map(|challenge| widened(challenge, earlier.as_ref()));
    let before = Before { credential: earlier.clone(), registers_anew: anew };
    let credential = sign_in(app, &profile, secrets, challenge, before, person)
        .await
        .map_err(|error| Error::from(error).while_doing(format!("could not sign in to {}", profile.title)))?;
    if let Some(audience) = credential.other_audience() {
        console.say(&format!("Note: the token of {title} says that it is for {audience}, not for this server."));
    }
    let profile = keep(app, profile, credential.clone(), earlier).await?;
    if let Err(error) = registrations(app).forget(&credential.identity).await {
        tracing::debug!(%error, "the registration that this sign-in took along is still kept for another");
    }
    Ok((profile, credential))
}

/// Where clients are kept that nobody has signed in with yet.
fn registrations(app: &App) -> Registrations {
    Registrations::new(app.store.clone(), app.settings.locks())
}

/// What a sign-in comes after.
#[derive(Default)]
pub struct Before {
    /// The credential that the new one replaces.
    pub credential: Option<Credential>,
    /// Whether a client that finmcp has registered before is left alone.
    pub registers_anew: bool,
}

/// The sign-in itself, by the profile's grant.
///
/// # Errors
/// Any error of the login.
pub async fn sign_in(
    app: &App,
    profile: &Profile,
    secrets: Secrets,
    challenge: Option<Challenge>,
    before: Before,
    person: Person<'_>,
) -> Result<Credential, LoginError> {
    let options = &profile.options;
    let context = Context {
        http: &app.http,
        clock: app.clock.as_ref(),
        browser: person.browser,
        registrations: Some(registrations(app)),
    };
    let grant = options.grant.unwrap_or(GrantKind::AuthorizationCode);
    let provider_secret = secrets.identity_provider.or_else(|| provider_secret(options, before.credential.as_ref()));
    let Before { credential, registers_anew } = before;
    let mut request = LoginRequest { challenge, registers_anew, ..profile.login_request(secrets.client, credential) };
    if request.options.redirect_uri.is_none() {
        // The document that everybody shares has finmcp's own redirect URI in it, and no other.
        let options = &mut request.options;
        options.client_metadata_url =
            options.client_metadata_url.take().or_else(|| app.settings.client_metadata_url.clone());
    }
    match grant {
        GrantKind::ClientCredentials => client_credentials(request, &context).await,
        GrantKind::JwtBearer => jwt_bearer(request, provider_secret, &context).await,
        GrantKind::DeviceCode => device_code(request, person.redirection.timeout, &context, person.progress).await,
        GrantKind::AuthorizationCode => {
            authorization_code(request, person.redirection, &context, person.progress).await
        }
    }
}

/// The secret that is stored for this very client at this very identity provider.
fn provider_secret(options: &Options, earlier: Option<&Credential>) -> Option<Secret> {
    let Renewal::JwtBearer(AssertionSource::IdentityProvider(known)) = &earlier?.renewal else { return None };
    match &options.assertion {
        Some(Assertion::IdentityProvider { issuer, client_id, .. })
            if known.issuer == *issuer && known.registration.client_id == *client_id =>
        {
            known.registration.client_secret.clone()
        }
        _ => None,
    }
}

/// How a person is reached, where the grant needs one.
pub struct Person<'a> {
    /// What shows the sign-in page; none where the person wants to do that.
    pub browser: Option<Arc<dyn Browser>>,
    /// How the answer comes back.
    pub redirection: Redirection,
    /// Whom to tell what happens.
    pub progress: &'a mut (dyn FnMut(Progress<'_>) + Send),
}

/// The challenge with all that was granted `earlier`, and for tokens that are bound to a key if those were: a lesser
/// sign-in would only move the refusal elsewhere (MCP authorization, "Step-Up Authorization Flow").
fn widened(challenge: Challenge, earlier: Option<&Credential>) -> Challenge {
    let granted = earlier.and_then(|credential| {
        let tokens = credential.tokens.as_ref()?;
        tokens.scope.clone().or_else(|| credential.scope.clone())
    });
    let scope = [granted, challenge.scope].into_iter().flatten().reduce(|all, scope| all.union(&scope));
    let dpop = challenge.dpop || earlier.is_some_and(|credential| credential.dpop_key.is_some());
    Challenge { scope, dpop, ..challenge }
}

/// Stores the new credential, then points the profile at it, then forgets what was there before: whenever this is cut
/// short, a working one is left.
///
/// # Errors
/// The store, or `config.toml`.
pub async fn keep(
    app: &App,
    mut profile: Profile,
    credential: Credential,
    earlier: Option<Credential>,
) -> Result<Profile, Error> {
    let identity = credential.identity.clone();
    app.tokens(Some(identity.clone())).sign_in(credential).await.map_err(|error| {
        Error::of_token(error, &profile).while_doing("signed in, but could not keep the credential")
    })?;
    profile.signed_in = Some(identity.clone());
    (profile.saved, profile.moved) = (true, false);
    app.settings.save_profile(&profile).await?;
    let before = [earlier.map(|earlier| earlier.identity), app.settings.profiles.last_sign_in(&profile.name)];
    for before in before.into_iter().flatten().filter(|before| *before != identity) {
        replace(app, before, &identity).await;
    }
    Ok(profile)
}

/// Forgets what `new` replaces, here and at the server. A registration that goes on being used is not touched there: some
/// servers end all that they ever granted to a client, be it a moment ago.
async fn replace(app: &App, before: Identity, new: &Identity) {
    let is_in_use = (&before.issuer, &before.client_id) == (&new.issuer, &new.client_id);
    let resource = before.resource.clone();
    match app.tokens(Some(before)).sign_out().await {
        Ok(Some(credential)) if !is_in_use => {
            app.console.note(&format!("The sign-in to {resource} that this one replaces is forgotten."));
            logout::revoke(app, &credential).await;
        }
        Ok(_) => {}
        Err(error) => {
            app.console.say(&format!("The sign-in to {resource} that this one replaces is still kept: {error}."))
        }
    }
}

/// Says who is signed in to what, and how it goes on.
pub fn summarise(app: &App, profile: &Profile, credential: &Credential) {
    let console = app.console;
    match credential.tokens.as_ref().and_then(|tokens| tokens.person.as_ref()) {
        Some(person) => console.note(&format!("Signed in to {} as {person}, profile {}.", profile.title, profile.name)),
        None => console.note(&format!("Signed in to {} as profile {}.", profile.title, profile.name)),
    }
    console.note(&format!("The credential is in {}.", app.store.description()));
    match credential.tokens.as_ref().and_then(|tokens| tokens.expires_at) {
        _ if credential.renews_by_itself() => console.note("It is renewed by itself."),
        Some(end) => {
            let left = span::spoken((end.as_second() - app.clock.now().as_second()).max(0).unsigned_abs());
            console
                .note(&format!("It ends in {left}, and the server gave nothing to renew it with: sign in again then."));
        }
        None => {}
    }
    console.note(&format!(
        "Next: `finmcp setup CLIENT {0}` gives it to an AI client, which then starts `finmcp serve {0}`.",
        profile.spoken()
    ));
}

/// Writes to the store and cleans up: what it will not take later is better not asked for.
///
/// # Errors
/// The store's.
pub async fn prove_store(app: &App) -> Result<(), Error> {
    const PROOF: &str = "finmcp-proof";
    app.store.save(PROOF, zeroize::Zeroizing::new(b"finmcp can write here".to_vec())).await?;
    app.store.delete(PROOF).await?;
    Ok(())
}

/// What is stored for this profile already.
///
/// # Errors
/// The store's.
pub async fn earlier(app: &App, profile: &Profile) -> Result<Option<Credential>, Error> {
    use crate::credential::{store::StoreError, token_source::TokenSourceError};
    match app.tokens(profile.signed_in.clone()).credential().await {
        Ok(credential) => Ok(credential),
        // A damaged entry is what signing in again mends.
        Err(TokenSourceError::Store(error)) if matches!(*error, StoreError::Corrupt(_)) => Ok(None),
        Err(error) => Err(Error::of_token(error, profile)),
    }
}

fn refuse_takeover(app: &App, profile: &Profile) -> Result<(), Error> {
    match app.settings.profiles.named(&profile.name) {
        Some(saved) if saved.server != profile.server && saved.signed_in.is_some() => Err(Error::new(
            ErrorKind::Usage,
            format!("profile {:?} is signed in to {} already", saved.name, saved.server),
        )
        .hint("choose another name with --profile, or replace it with --force")),
        _ => Ok(()),
    }
}

/// Tells the person at this machine how the sign-in to `title` goes.
pub fn spoken(console: Console, title: &str) -> Tell {
    let title = title.to_owned();
    Box::new(move |progress| show(console, &title, progress))
}

fn show(console: Console, title: &str, progress: Progress<'_>) {
    match progress {
        Progress::Busy(pause) => {
            console.say(&format!("{title} is busy, and asks to wait {} s before finmcp registers.", pause.as_secs()));
        }
        Progress::Page(url) => {
            console.say(&format!("{title} asks you to sign in at {}.", url.host()));
            console.say(&format!("If no browser opens, open this address yourself:\n\n  {url}\n"));
        }
        Progress::Code { page, code } => {
            console.say(&format!("{title} asks you to sign in at {}.", page.host()));
            console.say(&format!("On any device, open this address and enter the code {code}:\n\n  {page}\n"));
        }
        Progress::Opened => console.note("Your browser was opened."),
        Progress::NotOpened(_) => console.say("No browser could be opened: use the address above."),
        Progress::PasteHere => console.say(
            "If the browser ends on a page that does not load, copy that page's whole address, paste it here and press \
             Enter. It is not shown.",
        ),
        Progress::WrongPaste(error) => console.say(&format!("Not taken: {error}. Still waiting.")),
        Progress::Waiting(limit) => {
            console.note(&format!("Waiting for you, {} s at most. Ctrl-C stops it.", limit.as_secs()));
        }
        Progress::Answered => console.note("You are back; getting the token."),
    }
}
