//! `finmcp status`.

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    app::{credentials::Credentials, relay::remembered},
    cli,
    console::Console,
    credential::{
        clock::Clock,
        record::{Credential, Renewal},
    },
    error::Error,
    mcp::revision::Era,
    profile::{Profile, selector::Selector},
    settings::Settings,
    span,
};

#[derive(Serialize)]
struct ProfileDocument {
    profile: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    environment: String,
    server: String,
    signed_in: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    person: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    renewed_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    renewal: &'static str,
    store: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    era: Option<Era>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Prints every saved profile. Renews no token and contacts no server.
///
/// # Errors
/// There is no such server, or stdout cannot be written.
pub async fn run(
    settings: &Settings,
    credentials: &Credentials,
    console: Console,
    arguments: cli::Status,
) -> Result<(), Error> {
    let selector = Selector::from(arguments.server);
    let selected = match selector == Selector::default() {
        true => settings.profiles.all().collect(),
        false => vec![settings.profiles.select(&selector)?],
    };
    let unsaved = selected.iter().find(|profile| !profile.saved).cloned();
    let mut documents = Vec::new();
    for profile in selected.into_iter().filter(|profile| profile.saved) {
        documents.push(describe(settings, credentials, profile).await);
    }
    if arguments.json {
        let text = serde_json::to_string_pretty(&documents).map_err(std::io::Error::other)?;
        console.data(&(text + "\n"))?;
    } else {
        let text: String =
            documents.iter().map(|document| table(credentials.clock.now(), document)).collect::<Vec<_>>().join("\n");
        console.data(&text)?;
        if let Some(profile) = &unsaved {
            console.say(&format!("Not signed in to {}. Sign in with {}", profile.title, profile.login_command()));
        } else if documents.is_empty() {
            console.say(
                "Not signed in to any server. Sign in with finmcp login SERVER, for example: finmcp login tesorio",
            );
        }
    }
    let broken = settings.profiles.broken().filter(|_| selector == Selector::default());
    for (name, problem) in broken {
        console.say(&format!("warning: profile {name:?} in config.toml is invalid: {problem}"));
    }
    Ok(())
}

async fn describe(settings: &Settings, credentials: &Credentials, profile: Profile) -> ProfileDocument {
    let credential = match &profile.signed_in {
        Some(identity) => credentials.tokens(Some(identity.clone())).credential().await,
        None => Ok(None),
    };
    let problem = credential.as_ref().err().map(ToString::to_string);
    let credential = credential.ok().flatten();
    let tokens = credential.as_ref().and_then(|credential| credential.tokens.as_ref());
    let scope = tokens.and_then(|tokens| tokens.scope.as_ref()).or(credential.as_ref().and_then(|c| c.scope.as_ref()));
    let identity = profile.signed_in.as_ref();
    ProfileDocument {
        signed_in: credential.as_ref().is_some_and(Credential::is_alive) && tokens.is_some(),
        person: tokens.and_then(|tokens| tokens.person.clone()),
        account: identity.map(|identity| identity.account.clone()).filter(|account| *account != profile.name),
        client_id: identity.map(|identity| identity.client_id.clone()).filter(|client| !client.is_empty()),
        issuer: identity.map(|identity| identity.issuer.clone()),
        scope: scope.map(ToString::to_string),
        renewed_at: tokens.map(|tokens| tokens.issued_at.to_string()),
        expires_at: tokens.and_then(|tokens| tokens.expires_at).map(|instant| instant.to_string()),
        renewal: credential.as_ref().map_or("sign in", renewal),
        store: credentials.store.description(),
        era: remembered(settings, &profile).map(|description| description.era),
        problem,
        profile: profile.name,
        provider: profile.provider,
        environment: profile.environment,
        server: profile.server.to_string(),
    }
}

/// The JSON document's word for a token that finmcp renews. Scripts read it, so it stays.
const AUTOMATIC: &str = "by itself";

/// The JSON document's word for an API key.
const API_KEY: &str = "api key";

fn renewal(credential: &Credential) -> &'static str {
    match credential.renewal {
        Renewal::ApiKey(_) => API_KEY,
        _ if credential.renews_by_itself() => AUTOMATIC,
        _ => "sign in",
    }
}

fn table(now: Timestamp, document: &ProfileDocument) -> String {
    let mut rows = vec![("server", document.server.clone())];
    let state = match (document.signed_in, &document.problem) {
        (_, Some(problem)) => format!("unknown: {problem}"),
        (true, None) => "yes".to_owned(),
        (false, None) => "no".to_owned(),
    };
    rows.push(("signed in", state));
    if document.signed_in {
        rows.extend(document.person.clone().map(|person| ("person", person)));
        rows.extend(document.account.clone().map(|account| ("account", account)));
        rows.extend(document.client_id.clone().map(|client| ("client", client)));
        rows.extend(document.scope.clone().map(|scope| ("scope", scope)));
        rows.extend(document.renewed_at.as_deref().map(|instant| ("issued", distance(now, instant))));
        rows.extend(document.expires_at.as_deref().map(|instant| ("expires", distance(now, instant))));
        let renewal = match document.renewal {
            AUTOMATIC => "automatic",
            API_KEY => "none, the API key works until it is revoked",
            _ => "none, sign in again when it expires",
        };
        rows.push(("renewal", renewal.to_owned()));
        rows.push(("stored in", document.store.clone()));
    }
    rows.extend(document.era.map(|era| ("protocol", era.revisions().to_owned())));
    let rows = rows.into_iter().map(|(name, value)| format!("  {name:<11} {}\n", crate::printable::printable(&value)));
    format!("{}\n{}", document.profile, rows.collect::<String>())
}

/// An instant, and how long ago it was or how soon it will be.
fn distance(now: Timestamp, instant: &str) -> String {
    let Ok(then) = instant.parse::<Timestamp>() else { return instant.to_owned() };
    let seconds = then.as_second() - now.as_second();
    let length = span::format_duration(seconds.unsigned_abs());
    if seconds > 0 { format!("{instant} (in {length})") } else { format!("{instant} ({length} ago)") }
}
