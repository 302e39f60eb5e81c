//! `finmcp status`.

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    app::{company::Company, credentials::Credentials, relay::remembered},
    cli,
    console::Console,
    credential::{
        clock::Clock,
        record::{Credential, End, Renewal},
    },
    error::Error,
    mcp::revision::Era,
    oauth::id_token,
    paragraph::hanging_indent,
    printable::printable,
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
    /// Whether the client signs in for itself, without a user.
    #[serde(skip)]
    is_program: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    company: Option<CompanyDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    renewed_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    renewal: &'static str,
    store: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    era: Option<Era>,
    /// Why no one is signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// The command that signs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// The sign-in at the company's identity provider, which this profile shares with others.
#[derive(Serialize)]
struct CompanyDocument {
    issuer: String,
    signed_in: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    person: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

/// Prints the saved profiles, or only the one that is named. Renews no token and contacts no server.
///
/// # Errors
/// Unknown server, or stdout cannot be written.
pub async fn run(
    settings: &Settings,
    credentials: &Credentials,
    console: Console,
    arguments: cli::Status,
) -> Result<(), Error> {
    let selector = Selector::from(arguments.server);
    let is_selective = selector != Selector::default();
    let profiles = match is_selective {
        false => settings.profiles.all().collect(),
        true => vec![settings.profiles.select(&selector)?],
    };
    let mut documents = Vec::new();
    for profile in profiles {
        documents.push(describe(settings, credentials, profile).await);
    }
    if arguments.json {
        let text = serde_json::to_string_pretty(&documents).map_err(std::io::Error::other)?;
        console.data(&(text + "\n"))?;
    } else {
        let now = credentials.clock.now();
        let text: Vec<String> = match arguments.verbose {
            true => documents.iter().map(|document| table(now, document)).collect(),
            false => lines(now, &documents, console.width()),
        };
        console.data(&text.join(if arguments.verbose { "\n" } else { "" }))?;
        if documents.is_empty() {
            console.say("Not signed in to any server. Sign in with `finmcp login`; `finmcp demo` needs no account.");
        }
    }
    for (name, problem) in settings.profiles.broken().filter(|_| !is_selective) {
        console.say(&format!("warning: invalid profile {name:?} in config.toml: {problem}"));
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
    let signed_in = credential.as_ref().is_some_and(Credential::is_alive) && tokens.is_some();
    ProfileDocument {
        signed_in,
        reason: (!signed_in && problem.is_none()).then(|| why_not(credential.as_ref())),
        command: (!signed_in && problem.is_none()).then(|| profile.login_command()),
        person: tokens.and_then(|tokens| tokens.person.clone()),
        account: identity.map(|identity| identity.account.clone()).filter(|account| *account != profile.name),
        client_id: identity.map(|identity| identity.client_id.clone()).filter(|client| !client.is_empty()),
        is_program: credential
            .as_ref()
            .is_some_and(|credential| matches!(credential.renewal, Renewal::ClientCredentials)),
        issuer: identity.map(|identity| identity.issuer.clone()),
        scope: scope.map(ToString::to_string),
        company: company(credentials, &profile).await,
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

async fn company(credentials: &Credentials, profile: &Profile) -> Option<CompanyDocument> {
    let company = Company::of(&profile.options).ok().flatten()?;
    let credential = company.credential(credentials).await.ok().flatten().filter(Credential::is_alive);
    let tokens = credential.as_ref().and_then(|credential| credential.tokens.as_ref());
    let id_token = tokens.and_then(|tokens| tokens.id_token.as_ref());
    Some(CompanyDocument {
        issuer: company.identity().issuer,
        signed_in: id_token.is_some(),
        person: tokens.and_then(|tokens| tokens.person.clone()),
        expires_at: id_token.and_then(id_token::expiry).map(|instant| instant.to_string()),
    })
}

/// The JSON document's word for a token that finmcp renews.
const AUTOMATIC: &str = "automatic";

/// The JSON document's word for an API key.
const API_KEY: &str = "api key";

fn renewal(credential: &Credential) -> &'static str {
    match credential.renewal {
        Renewal::ApiKey(_) => API_KEY,
        _ if credential.renews_automatically() => AUTOMATIC,
        _ => "sign in",
    }
}

/// Why the sign-in of `credential` does not work.
fn why_not(credential: Option<&Credential>) -> &'static str {
    match credential {
        None => "there is no stored sign-in",
        Some(Credential { end: Some(End::Refused), .. }) => "the server ended the sign-in",
        Some(Credential { end: Some(End::ClientForgotten), .. }) => "the server no longer knows finmcp's registration",
        Some(_) => "there is no token yet",
    }
}

/// One line for each profile, and what to run where no one is signed in.
fn lines(now: Timestamp, documents: &[ProfileDocument], width: usize) -> Vec<String> {
    let longest = documents.iter().map(|document| document.profile.chars().count()).max().unwrap_or_default();
    let column = longest.min(width / 3) + 2;
    let line = |document: &ProfileDocument| {
        let name = format!("{:<1$}", document.profile, column - 2);
        let state = hanging_indent(&printable(&state(now, document)), column, width);
        let command = document.command.as_ref().map(|command| format!("{}{command}\n", " ".repeat(column)));
        format!("{name}  {state}{}", command.unwrap_or_default())
    };
    documents.iter().map(line).collect()
}

/// Who is signed in and until when, or why no one is.
fn state(now: Timestamp, document: &ProfileDocument) -> String {
    if let Some(problem) = &document.problem {
        return format!("unknown: {problem}");
    }
    if let Some(reason) = document.reason {
        return format!("signed out: {reason}. Sign in with:");
    }
    let at_company = document.company.as_ref().and_then(|company| company.person.as_ref());
    let who = match (document.person.as_ref().or(at_company), &document.client_id) {
        (Some(person), _) => format!(" as {person}"),
        (None, Some(client)) if document.is_program => format!(" as client {client}"),
        (None, _) => String::new(),
    };
    let end = document.expires_at.as_deref().and_then(|instant| instant.parse::<Timestamp>().ok());
    let until = match (document.renewal, end) {
        (AUTOMATIC | API_KEY, _) => String::new(),
        (_, Some(end)) if end <= now => ", but the token has expired and cannot be renewed".to_owned(),
        (_, Some(end)) => format!(" for {}", span::format_duration((end.as_second() - now.as_second()).unsigned_abs())),
        (_, None) => String::new(),
    };
    format!("signed in{who}{until}")
}

/// All there is to know about a profile.
fn table(now: Timestamp, document: &ProfileDocument) -> String {
    let mut rows = vec![("server", document.server.clone())];
    let state = match (document.signed_in, document.reason, &document.problem) {
        (_, _, Some(problem)) => format!("unknown: {problem}"),
        (true, _, None) => "yes".to_owned(),
        (false, reason, None) => format!("no: {}", reason.unwrap_or_default()),
    };
    rows.push(("signed in", state));
    rows.extend(document.command.clone().map(|command| ("sign in with", command)));
    if document.signed_in {
        rows.extend(document.person.clone().map(|person| ("person", person)));
        rows.extend(document.account.clone().map(|account| ("account", account)));
        rows.extend(document.client_id.clone().map(|client| ("client", client)));
        rows.extend(document.scope.clone().map(|scope| ("scope", scope)));
        rows.extend(document.renewed_at.as_deref().map(|instant| ("issued", distance(now, instant))));
        rows.extend(document.expires_at.as_deref().map(|instant| ("expires", distance(now, instant))));
        let renewal = match document.renewal {
            AUTOMATIC => AUTOMATIC,
            API_KEY => "none, the API key works until it is revoked",
            _ => "none, sign in again when it expires",
        };
        rows.push(("renewal", renewal.to_owned()));
        rows.push(("stored in", document.store.clone()));
    }
    rows.extend(document.company.as_ref().map(|company| ("company", company_text(now, company))));
    rows.extend(document.era.map(|era| ("protocol", era.revisions().to_owned())));
    let rows = rows.into_iter().map(|(name, value)| format!("  {name:<13} {}\n", printable(&value)));
    format!("{}\n{}", document.profile, rows.collect::<String>())
}

/// Where the user is signed in, as whom, and until when.
fn company_text(now: Timestamp, company: &CompanyDocument) -> String {
    let CompanyDocument { issuer, signed_in, person, expires_at } = company;
    if !signed_in {
        return format!("signed out of {issuer}");
    }
    let person = person.as_ref().map(|person| format!(" as {person}")).unwrap_or_default();
    let end = expires_at.as_deref().map(|end| format!(", ID token expires {}", distance(now, end)));
    format!("signed in to {issuer}{person}{}", end.unwrap_or_default())
}

/// An instant, and how long ago it was or how soon it will be.
fn distance(now: Timestamp, instant: &str) -> String {
    let Ok(then) = instant.parse::<Timestamp>() else { return instant.to_owned() };
    let seconds = then.as_second() - now.as_second();
    let length = span::format_duration(seconds.unsigned_abs());
    if seconds > 0 { format!("{instant} (in {length})") } else { format!("{instant} ({length} ago)") }
}
