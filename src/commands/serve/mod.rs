//! `finmcp serve`.

mod sign_in;

use std::{borrow::Cow, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::{
    bridge::{
        Bridge, Ends, Remember,
        audit::{self, Audit},
        description::Description,
        downstream,
        governor::Rate,
        host::Host,
        label::Label,
        policy::Rules,
        reply::Words,
        turnstile::Turnstile,
    },
    cli::{self, Control, SignInMode},
    commands::{App, registration::Given, serve::sign_in::Admission},
    credential::token_source::{Lookup, TokenSource},
    error::Error,
    profile::{Profile, selector::Selector},
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
    let deadline = deadline(app, arguments.timeout);
    #[cfg(feature = "demo")]
    if app.settings.profiles.is_embedded(selector.server.as_deref()) {
        return super::demo::serve(app, &selector, deadline, &arguments.control).await;
    }
    let profile = app.settings.profiles.select(&selector)?;
    let tokens = tokens(app, &profile);
    let given = Given::read_without_stdin(app, arguments.registration).await?;
    let admission = Admission { app: app.clone(), profile: profile.clone(), given };
    let (tokens, offer) = match arguments.sign_in {
        SignInMode::Off => (tokens, None),
        _ if admission.is_of_a_program() => (tokens.with_sign_in(admission.of_a_program()), None),
        SignInMode::Tool => {
            let offer = admission.offer(tokens.clone());
            (tokens, Some(offer))
        }
        SignInMode::Auto => (tokens.with_sign_in(admission.of_a_person()), None),
    };
    relay(Ends { offer, ..ends(app, &profile, tokens, deadline, &arguments.control)? }).await
}

/// How long a request may take, where `timeout` is what the command line says, in seconds.
pub fn deadline(app: &App, timeout: Option<u64>) -> Duration {
    timeout.map(Duration::from_secs).or(app.settings.request_timeout).unwrap_or(DEADLINE)
}

/// Relays between stdin and stdout and the server until the client is done.
///
/// # Errors
/// What is wrong with stdin and stdout.
pub async fn relay(ends: Ends) -> Result<(), Error> {
    let client = downstream::stdio()?;
    let mut host = Host::watch()?;
    Bridge::new(client, ends).run(host.gone()).await?;
    Ok(())
}

/// What a conversation with the server of `profile` is made of. No client is offered a sign-in.
///
/// # Errors
/// What is wrong with the audit log.
pub fn ends(
    app: &App,
    profile: &Profile,
    tokens: TokenSource,
    deadline: Duration,
    control: &Control,
) -> Result<Ends, Error> {
    Ok(Ends {
        server: profile.server.clone(),
        http: app.http.clone(),
        tokens,
        words: Words { title: profile.title.clone(), login_command: profile.login_command() },
        deadline,
        turnstile: turnstile(app, profile),
        remembered: remembered(app, profile),
        remember: remember(app, profile),
        offer: None,
        rules: rules(app, profile, control),
        label: control.label.then(|| Label::new(&profile.title, &profile.name, &profile.environment)),
        audit: audit(app, profile, control)?,
    })
}

/// The gate to the vendor's limit of requests, which all processes of the profile share.
fn turnstile(app: &App, profile: &Profile) -> Turnstile {
    let provider = profile.provider.as_ref().and_then(|name| app.settings.profiles.providers.get(name));
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
    let provider = profile.provider.as_ref().and_then(|provider| app.settings.profiles.providers.get(provider));
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
pub(super) fn remembered(app: &App, profile: &Profile) -> Option<Description> {
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

/// The tokens of whoever is signed in to `profile`, now or later.
pub fn tokens(app: &App, profile: &Profile) -> TokenSource {
    let tokens = app.tokens(profile.signed_in.clone()).with_lookup(lookup(app, profile));
    // Vendors that finmcp knows serve nobody without a token.
    if profile.provider.is_some() { tokens.guarded() } else { tokens }
}

/// Who is signed in to `profile` by now: somebody may run `finmcp login` while a client is running.
fn lookup(app: &App, profile: &Profile) -> Lookup {
    let (name, server) = (profile.name.clone(), profile.server.clone());
    Lookup::new(app.settings.config_file(), move || saved(&name, &server)?.signed_in)
}

/// `profile` as it is saved now. The file may be on a disk that does not answer: it is read beside the conversation.
async fn current(profile: &Profile) -> Option<Profile> {
    let (name, server) = (profile.name.clone(), profile.server.clone());
    spawn_blocking(move || saved(&name, &server)).await.ok().flatten()
}

/// The profile of this name and server as it is saved now.
fn saved(name: &str, server: &ServerUrl) -> Option<Profile> {
    Settings::load().ok()?.profiles.named(name).filter(|now| now.server == *server)
}
