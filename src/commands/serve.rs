//! `finmcp serve`.

use std::sync::Arc;

#[cfg(feature = "demo")]
use crate::app::embedded::{self, Embedded};
use crate::{
    app::{
        admission::Admission,
        audit_seal,
        credentials::Credentials,
        registration::Given,
        relay::{self, Relay},
    },
    bridge::{Ends, control::audit::AuditError},
    cli::{self, SignInMode},
    commands::words,
    console::Console,
    error::Error,
    profile::selector::{Selector, SelectorError},
    serve_log::{NO_PROFILE, writer::Writer},
    settings::Settings,
};

/// The log of this process, in the files of the profile that it serves.
pub fn log(settings: &Settings, arguments: &cli::Serve) -> Writer {
    let selector = Selector::from(arguments.server.clone());
    Writer::start(settings.logs.clone(), log_name(settings, &selector).unwrap_or_else(|_| NO_PROFILE.to_owned()))
}

/// Logs how `serve` ended.
pub fn log_end(log: &Writer, outcome: &Result<(), Error>) {
    match outcome {
        Ok(()) => tracing::info!("finmcp ends"),
        Err(error) => {
            let why = [vec![error.message()], error.causes()].concat().join(": ");
            tracing::info!("finmcp ends with an error: {why}; {}", error.hints().join("; "));
        }
    }
    log.finish();
}

/// The name of the log for what `selector` selects.
///
/// # Errors
/// It selects no profile.
pub fn log_name(settings: &Settings, selector: &Selector) -> Result<String, SelectorError> {
    match &selector.server {
        Some(server) if settings.profiles.is_embedded(Some(server)) => Ok(server.clone()),
        _ => Ok(settings.profiles.select(selector)?.name),
    }
}

/// Relays between the client on stdin and stdout and the server. Starts without a sign-in and without a response
/// from the server: its own responses say what is missing.
///
/// # Errors
/// Invalid options or settings, or stdin or stdout fails.
pub async fn run(
    settings: &Arc<Settings>,
    credentials: &Credentials,
    console: Console,
    arguments: cli::Serve,
) -> Result<(), Error> {
    let selector = Selector::from(arguments.server);
    tracing::info!("finmcp {} starts", env!("CARGO_PKG_VERSION"));
    if console.is_attended() {
        console.note(
            "Waiting for MCP messages on stdin. AI clients start this command; `finmcp setup` adds it to one. \
             Ctrl-C ends it.",
        );
    }
    let deadline = relay::deadline(arguments.timeout, settings);
    let control = &arguments.control;
    let seal = if control.audit_seal { Some(audit_seal::key(settings, credentials).await?) } else { None };
    let on_failure = move |error: AuditError| console.report(&error.into());
    #[cfg(feature = "demo")]
    if settings.profiles.is_embedded(selector.server.as_deref()) {
        let Embedded { settings, credentials, profile, .. } =
            &embedded::start(settings, credentials, &selector).await?;
        let server = Relay { settings, credentials, profile };
        let ends = server.ends(credentials.tokens(profile.signed_in.clone()), deadline, control);
        return relay::run(Ends { audit: server.audit(control, seal, on_failure)?, ..ends }).await;
    }
    let profile = settings.profiles.select(&selector)?;
    tracing::info!(
        "profile {} for {}, credentials in {}",
        profile.name,
        profile.server.host(),
        credentials.store.description()
    );
    let server = Relay { settings, credentials, profile: &profile };
    let tokens = server.tokens();
    let given = Given::read_without_stdin(arguments.registration, settings).await?;
    let admission = Admission {
        settings: settings.clone(),
        credentials: credentials.clone(),
        listener: Arc::new(words::of_sign_in(console, &profile)),
        profile: profile.clone(),
        given,
    };
    let (tokens, offer) = match arguments.sign_in {
        SignInMode::Off => (tokens, None),
        _ if admission.needs_no_user() => (tokens.with_sign_in(admission.by_program()), None),
        SignInMode::Tool => {
            let offer = admission.offer(tokens.clone());
            (tokens, Some(offer))
        }
        SignInMode::Auto => (tokens.with_sign_in(admission.by_user()), None),
    };
    let ends = server.ends(tokens, deadline, control);
    relay::run(Ends { offer, audit: server.audit(control, seal, on_failure)?, ..ends }).await
}
