//! `finmcp login`.

mod asked;
mod client;
mod server;

use std::{
    io::{self, IsTerminal},
    sync::Arc,
    time::Duration,
};

use crate::{
    app::{
        credentials::Credentials,
        registration::{Given, Secrets},
        sign_in::{Attempt, sign_in_and_keep},
    },
    cli::{self, ImportSource},
    commands::{
        import,
        login::{client::Questions, server::Choice},
        presets, words,
    },
    console::Console,
    credential::record::Credential,
    error::{Error, ErrorKind},
    login::{browser::Browser, context::Redirection, paste::Paste},
    profile::Profile,
    settings::{Settings, screen::Screen},
};

/// Signs in, stores the credential, and saves the profile, so that `token` and `serve` find it by name.
///
/// # Errors
/// If it fails, nothing is changed.
pub async fn run(
    settings: &Settings,
    credentials: &Credentials,
    console: Console,
    arguments: cli::Login,
) -> Result<(), Error> {
    if arguments.list {
        return Ok(console.data(&presets::table(&settings.profiles.ordered_providers(), console.width()))?);
    }
    let given = Given::read(arguments.registration, settings).await?;
    let way = Way {
        force: arguments.force,
        no_browser: arguments.no_browser,
        port: arguments.port,
        timeout: Duration::from_secs(arguments.timeout),
    };
    if arguments.all {
        return sign_in_to_all(settings, credentials, console, &given, way).await;
    }
    let mut profile = match server::choose(&settings.profiles, console, arguments.server.into()).await? {
        Choice::Server(profile) => *profile,
        #[cfg(feature = "demo")]
        Choice::Demo => {
            let demo = cli::Demo { browser: false, keep: false };
            return crate::commands::demo::run(settings, credentials, console, demo).await;
        }
    };
    if !arguments.force {
        refuse_takeover(settings, &profile)?;
    }
    profile.options = given.options.or(profile.options);
    // --port selects another redirect URI than the saved one.
    if arguments.port.is_some() {
        profile.options.redirect_uri = None;
    }
    if let Some(ImportSource::McpRemote) = arguments.import {
        return import::run(settings, credentials, console, profile, arguments.disposal).await;
    }
    sign_in(settings, credentials, console, profile, given.secrets, way).await
}

/// How the user signs in.
#[derive(Clone, Copy)]
struct Way {
    force: bool,
    no_browser: bool,
    port: Option<u16>,
    timeout: Duration,
}

/// Signs in to every saved profile without a sign-in, one after another. Reports a failure and continues.
async fn sign_in_to_all(
    settings: &Settings,
    credentials: &Credentials,
    console: Console,
    given: &Given,
    way: Way,
) -> Result<(), Error> {
    let mut failed = None;
    for mut profile in settings.profiles.all() {
        if credentials.tokens(profile.signed_in.clone()).is_signed_in().await {
            continue;
        }
        profile.options = given.options.clone().or(profile.options);
        if let Err(error) = sign_in(settings, credentials, console, profile, given.secrets.clone(), way).await {
            if error.kind == ErrorKind::Interrupted {
                return Err(error);
            }
            console.report(&error);
            failed.get_or_insert(error.kind);
        }
    }
    match failed {
        None => Ok(()),
        Some(kind) => Err(Error::new(kind, "some profiles could not be signed in")),
    }
}

async fn sign_in(
    settings: &Settings,
    credentials: &Credentials,
    console: Console,
    mut profile: Profile,
    mut secrets: Secrets,
    way: Way,
) -> Result<(), Error> {
    let facts = settings.profiles.provider(&profile).map(|provider| provider.facts.clone()).unwrap_or_default();
    presets::tell(console, &profile.title, &facts);
    let questions = Questions { credentials, console, facts: &facts };
    questions.complete(&mut profile, &mut secrets, way.force).await?;
    let mut signed_in = sign_in_once(settings, credentials, console, &profile, &secrets, way).await;
    if console.is_attended() && signed_in.as_ref().is_err_and(Error::needs_client) {
        questions.ask_client(&mut profile, &mut secrets).await?;
        signed_in = sign_in_once(settings, credentials, console, &profile, &secrets, way).await;
    }
    let (profile, credential) = signed_in.map_err(|error| match &facts.credentials_from {
        // The client ID, the secret or the key is missing.
        Some(place) if error.kind == ErrorKind::Usage => error.hint(format!("where to get it: {place}")),
        _ => error,
    })?;
    words::summarise(credentials, console, &profile, &credential);
    Ok(())
}

async fn sign_in_once(
    settings: &Settings,
    credentials: &Credentials,
    console: Console,
    profile: &Profile,
    secrets: &Secrets,
    way: Way,
) -> Result<(Profile, Credential), Error> {
    let by_page = profile.options.uses_page();
    let browser = if by_page && !way.no_browser { browser_for(settings, profile).await? } else { None };
    let paste = if by_page { paste(way.no_browser) } else { None };
    let redirection = Redirection { port: way.port, paste, timeout: way.timeout };
    let tell = Box::new(words::of_sign_in(console, profile));
    let secrets = secrets.clone();
    let attempt = Attempt { secrets, challenge: None, force_registration: way.force, browser, redirection, tell };
    sign_in_and_keep(settings, credentials, profile.clone(), attempt).await
}

/// Opens the sign-in page; none if the user at the terminal opens it elsewhere.
async fn browser_for(settings: &Settings, profile: &Profile) -> Result<Option<Arc<dyn Browser>>, Error> {
    match settings.surroundings.screen().await {
        Screen::Browser(browser) => Ok(Some(Arc::new(browser))),
        Screen::Terminal => Ok(None),
        Screen::Unavailable(reason) => {
            let error = format!("cannot show you the sign-in page of {}: {reason}", profile.title);
            let command = profile.login_command();
            Err(Error::new(ErrorKind::LoginRequired, error)
                .hint(format!("run `{command}` in a terminal or on a desktop"))
                .hint(format!(
                    "or run `{command} --no-browser` here: it prints the address to open and reads the final address \
                     from stdin"
                )))
        }
    }
}

/// Where the user can paste the final address: always in a terminal; from a pipe only with --no-browser.
fn paste(no_browser: bool) -> Option<Paste> {
    Paste::from_terminal().or_else(|| (no_browser && !io::stdin().is_terminal()).then(Paste::from_pipe))
}

/// Refuses a sign-in that would replace the one to another server.
///
/// # Errors
/// The profile that is in the way.
pub(super) fn refuse_takeover(settings: &Settings, profile: &Profile) -> Result<(), Error> {
    match settings.profiles.named(&profile.name) {
        Some(saved) if saved.server != profile.server && saved.signed_in.is_some() => Err(Error::new(
            ErrorKind::Usage,
            format!("profile {:?} is already signed in to {}", saved.name, saved.server),
        )
        .hint("choose another name with --profile, or replace it with --force")),
        _ => Ok(()),
    }
}
