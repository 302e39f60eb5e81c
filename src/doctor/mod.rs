//! `doctor`: checks each step from the settings to the list of tools, and says what is wrong and how to fix it.
//!
//! The steps run the code of `login` and `serve`. They change nothing except what `serve` changes too: they renew a
//! token that has expired or that the server rejects. They register no client, open no browser and prompt for nothing.

pub mod authorization;
pub mod browser;
pub mod client_entry;
pub mod conversation;
pub mod findings;
pub mod holder;
pub mod network;
pub mod report;
pub mod scope;
pub mod sign_in;
pub mod step;
pub mod store;
pub mod subject;
pub mod token;

use crate::{
    doctor::{
        findings::Findings,
        network::Answered,
        step::{Finding, StepName, Trouble},
        subject::Subject,
        token::Obstacle,
    },
    error::Error,
    oauth::discovery::{Inquiry, Probe},
    profile::{Profile, selector::SelectorError},
    settings::{Settings, machine::Machine},
};

/// The steps that need a server.
const SERVER_STEPS: [StepName; 17] = [
    StepName::Proxy,
    StepName::Dns,
    StepName::Connection,
    StepName::Endpoint,
    StepName::Resource,
    StepName::Issuer,
    StepName::Metadata,
    StepName::Store,
    StepName::SignIn,
    StepName::Lock,
    StepName::Registration,
    StepName::Browser,
    StepName::Token,
    StepName::Scope,
    StepName::Handshake,
    StepName::Tools,
    StepName::Clock,
];

/// The findings before the first MCP request.
pub struct Outlook {
    /// The server's response to a request without credentials, or the failed step that prevents it.
    pub answered: Result<Answered, StepName>,
    /// What prevents MCP requests, if anything.
    pub obstacle: Option<Obstacle>,
    /// Whether finmcp signs the time, so that a wrong clock can make the server refuse its requests.
    pub signs_the_time: bool,
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
        StepName::Settings,
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
    let similar = match &error {
        SelectorError::Unknown { similar, .. } => similar.clone(),
        _ => Vec::new(),
    };
    let mut trouble = Trouble::from(Error::from(error));
    if !similar.is_empty() {
        trouble.hints = similar.iter().map(|name| format!("did you mean {name}? Run `finmcp doctor {name}`")).collect();
    }
    findings.note(StepName::Server, if is_open { Finding::Warning(trouble) } else { Finding::Failed(trouble) });
    findings.skip(&SERVER_STEPS, StepName::Server);
}

/// Checks everything up to the token, in order.
pub async fn examine(subject: &Subject<'_>, machine: &Machine, findings: &mut Findings<'_>) -> Outlook {
    findings.note(StepName::Server, server(subject.profile));
    let registration = &subject.profile.options;
    let issuer = registration.issuer.as_deref();
    if let Ok(Some(credential)) = subject.tokens.credential().await {
        subject.http.show_certificate(&subject.profile.server, credential.registration.certificate.as_ref());
    }
    let inquiry = Inquiry::new(subject.http, &subject.profile.server, issuer, &registration.overrides);
    let inquiry = inquiry.with_headers(registration.headers.map());
    let answered = network::examine(subject, &inquiry, findings).await;
    let probe = answered.as_ref().map(|answered| &answered.probe).map_err(|cause| *cause);
    let origin = authorization::examine(subject, &inquiry, probe, findings).await;
    let origin = origin.as_ref().map_err(|cause| *cause);
    let credential = sign_in::examine(subject, probe, origin, findings).await;
    let found = credential.as_ref().map(Option::as_ref).map_err(|cause| *cause);
    sign_in::examine_registration(subject, found, origin, findings);
    browser::examine(subject, machine, findings);
    // Without the server, a token is useless, and its renewal can wait.
    let wanted = probe.and(found);
    let ahead = answered.as_ref().ok().and_then(Answered::wrong_by);
    let token = token::examine(subject, wanted, ahead, findings).await;
    let challenged = match probe {
        Ok(Probe::Challenged(challenge)) => challenge.scope.as_ref(),
        _ => None,
    };
    // A sign-in that has to be repeated anyway can bring another scope.
    let scoped = match &token {
        Err(obstacle) if probe.is_ok() => Err(obstacle.step),
        _ => found,
    };
    scope::examine(subject, scoped, challenged, findings);
    let signs_the_time = found.ok().flatten().is_some_and(token::signs_the_time);
    Outlook { obstacle: token.err(), signs_the_time, answered }
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
