//! `doctor`: checks each step from the settings to the list of tools, and says what is wrong and how to fix it.
//!
//! The steps run the code of `login` and `serve`. They change nothing except what `serve` changes too: they renew a
//! token that has expired or that the server rejects. They register no client, open no browser and prompt for nothing.

pub mod authorization;
pub mod client_entry;
pub mod conversation;
pub mod findings;
pub mod network;
pub mod report;
pub mod sign_in;
pub mod step;
pub mod subject;

use crate::{
    doctor::{
        findings::Findings,
        network::Answered,
        step::{Finding, Trouble},
        subject::Subject,
    },
    error::Error,
    oauth::discovery::{Inquiry, Probe},
    profile::{Profile, selector::SelectorError},
    settings::Settings,
};

/// The steps that need a server.
const SERVER_STEPS: [&str; 16] = [
    "proxy",
    "dns",
    "connection",
    "endpoint",
    "resource",
    "issuer",
    "metadata",
    "store",
    "sign-in",
    "lock",
    "registration",
    "token",
    "scope",
    "handshake",
    "tools",
    "clock",
];

/// The findings before the first MCP request.
pub struct Outlook {
    /// The server's response to a request without credentials, if there was one.
    pub answered: Option<Answered>,
    /// The failed step that prevents MCP requests, if any.
    pub obstacle: Option<&'static str>,
}

/// Records the settings, and whether they are valid.
pub fn examine_settings(settings: &Settings, findings: &mut Findings<'_>) {
    let mut parts = vec![format!("config.toml in {}", settings.folder.display())];
    parts.push(match settings.profiles.all().count() {
        1 => "1 profile".to_owned(),
        profiles => format!("{profiles} profiles"),
    });
    parts.extend(settings.profiles.default_server.as_ref().map(|name| format!("default {name}")));
    parts.extend(
        Some(settings.authorities.len())
            .filter(|count| *count > 0)
            .map(|count| format!("certificates in ca_file: {count}")),
    );
    parts.extend(settings.client_metadata_url.as_ref().map(|url| format!("client_metadata_url {url}")));
    parts.extend(settings.request_timeout.map(|limit| format!("request timeout {} s", limit.as_secs())));
    let text = parts.join("; ");
    let broken: Vec<String> =
        settings.profiles.broken().map(|(name, problem)| format!("invalid profile {name:?}: {problem}")).collect();
    findings.note(
        "settings",
        match broken.is_empty() {
            true => Finding::Ok(text),
            false => Finding::Warning(
                Trouble { what: text, why: broken, hints: Vec::new() }
                    .with_hint("fix these in config.toml, or delete them and sign in again"),
            ),
        },
    );
}

/// Records why no server was selected. If the user named none, that is only a warning.
pub fn note_unselected(error: SelectorError, findings: &mut Findings<'_>) {
    let is_open = matches!(error, SelectorError::Unclear { .. });
    let trouble = Trouble::from(Error::from(error));
    findings.note("server", if is_open { Finding::Warning(trouble) } else { Finding::Failed(trouble) });
    findings.skip(&SERVER_STEPS, "server");
}

/// Checks everything up to the token, in order.
pub async fn examine(subject: &Subject<'_>, findings: &mut Findings<'_>) -> Outlook {
    findings.note("server", server(subject.profile));
    let registration = &subject.profile.options;
    let issuer = registration.issuer.as_deref();
    if let Ok(Some(credential)) = subject.tokens.credential().await {
        subject.http.show_certificate(&subject.profile.server, credential.registration.certificate.as_ref());
    }
    let inquiry = Inquiry::new(subject.http, &subject.profile.server, issuer, &registration.overrides);
    let inquiry = inquiry.with_headers(registration.headers.map());
    let reached = network::examine(subject, &inquiry, findings).await;
    let (answered, unreached) = match reached {
        Ok(answered) => (Some(answered), None),
        Err(cause) => (None, Some(cause)),
    };
    let probe = answered.as_ref().map(|answered| &answered.probe).ok_or(unreached.unwrap_or_default());
    let origin = authorization::examine(subject, &inquiry, probe, findings).await;
    let origin = origin.as_ref().map_err(|cause| *cause);
    let is_open = matches!(probe, Ok(Probe::Served));
    let credential = sign_in::examine(subject, origin, is_open, findings).await;
    let found = credential.as_ref().map(Option::as_ref).map_err(|cause| *cause);
    sign_in::examine_registration(subject, found, origin, findings);
    let token = match unreached {
        None => sign_in::examine_token(subject, found, findings).await,
        Some(cause) => {
            findings.skip(&["token"], cause);
            Err(cause)
        }
    };
    let challenged = match probe {
        Ok(Probe::Challenged(challenge)) => challenge.scope.as_ref(),
        _ => None,
    };
    sign_in::examine_scope(subject, found, challenged, findings);
    Outlook { answered, obstacle: token.err() }
}

fn server(profile: &Profile) -> Finding {
    let environment = if profile.environment.is_empty() { String::new() } else { format!(" {}", profile.environment) };
    let text = format!("{}{environment}, {}, profile {}", profile.title, profile.server, profile.name);
    match &profile.options.overrides.risky()[..] {
        [] => Finding::Ok(text),
        risky => Finding::Warning(
            Trouble::new(text)
                .because(format!("a security check is relaxed: {} is set", risky.join(", ")))
                .with_hint("remove it from config.toml unless the vendor told you that it is required"),
        ),
    }
}
