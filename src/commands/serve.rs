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
    profile::selector::Selector,
    settings::Settings,
};

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
