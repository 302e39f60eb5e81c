//! `finmcp login`.

use std::{
    io::{self, IsTerminal},
    sync::Arc,
    time::Duration,
};

use crate::{
    app::{
        credentials::Credentials,
        registration::Given,
        sign_in::{Attempt, sign_in_and_keep},
    },
    cli::{self, ImportSource},
    commands::{import, words},
    console::Console,
    error::{Error, ErrorKind},
    login::{browser::Browser, context::Redirection, options::GrantKind, paste::Paste},
    profile::Profile,
    secret::Secret,
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
    let Given { options, mut secrets } = Given::read(arguments.registration, settings).await?;
    let mut profile = settings.profiles.select(&arguments.server.into())?;
    if !arguments.force {
        refuse_takeover(settings, &profile)?;
    }
    profile.options = options.or(profile.options);
    // --port selects another redirect URI than the saved one.
    if arguments.port.is_some() {
        profile.options.redirect_uri = None;
    }
    if let Some(ImportSource::McpRemote) = arguments.import {
        return import::run(settings, credentials, console, profile, arguments.disposal).await;
    }

    if profile.options.grant_kind() == GrantKind::ApiKey && secrets.api_key.is_none() {
        secrets.api_key = ask_for_key(console, &profile.title).await;
    }
    let uses_page = profile.options.grant_kind().uses_page();
    let browser = if uses_page && !arguments.no_browser { browser_for(settings, &profile).await? } else { None };
    let paste = if uses_page { paste(arguments.no_browser) } else { None };
    let redirection = Redirection { port: arguments.port, paste, timeout: Duration::from_secs(arguments.timeout) };
    let tell = Box::new(words::of_sign_in(console, &profile));
    let attempt = Attempt { secrets, challenge: None, force_registration: arguments.force, browser, redirection, tell };
    let (profile, credential) = sign_in_and_keep(settings, credentials, profile, attempt).await?;
    words::summarise(credentials, console, &profile, &credential);
    Ok(())
}

/// The API key, from a person at a terminal.
async fn ask_for_key(console: Console, title: &str) -> Option<Secret> {
    let question = format!("API key of {title} (not shown): ");
    let asked = tokio::task::spawn_blocking(move || console.ask_secret(&question)).await;
    asked.ok()?.ok().filter(|key| !key.same_as(&Secret::new(String::new())))
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

fn refuse_takeover(settings: &Settings, profile: &Profile) -> Result<(), Error> {
    match settings.profiles.named(&profile.name) {
        Some(saved) if saved.server != profile.server && saved.signed_in.is_some() => Err(Error::new(
            ErrorKind::Usage,
            format!("profile {:?} is already signed in to {}", saved.name, saved.server),
        )
        .hint("choose another name with --profile, or replace it with --force")),
        _ => Ok(()),
    }
}
