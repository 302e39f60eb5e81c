//! `finmcp token`.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    app::{
        credentials::Credentials,
        request_headers::{display_name, request_headers},
    },
    cli,
    console::Console,
    credential::{
        clock::Clock,
        token_source::{AccessToken, LoginReason, TokenSource},
    },
    error::{Error, ErrorKind},
    profile::{
        Profile,
        selector::{Selector, SelectorError},
    },
    settings::Settings,
    span,
};

#[derive(Serialize)]
struct TokenDocument<'a> {
    access_token: &'a str,
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    profile: &'a str,
    resource: &'a str,
}

/// Prints a valid token and nothing else. Never prompts.
///
/// # Errors
/// Exit code 4 if the user has to sign in, 1 if no token lasts for `--min-ttl`.
pub async fn run(
    settings: &Settings,
    credentials: &Credentials,
    console: Console,
    arguments: cli::Token,
) -> Result<(), Error> {
    let selected = settings.profiles.select(&selector(settings, &arguments));
    let profile = selected.map_err(|error| unselected(settings, error))?;
    if arguments.headers {
        let headers = request_headers(credentials, &profile).await?;
        return Ok(console.data(&(serde_json::to_string(&headers).map_err(std::io::Error::other)? + "\n"))?);
    }
    let Some(identity) = profile.signed_in.clone() else {
        return Err(Error::login_required(&profile, LoginReason::SignedOut));
    };
    let tokens = credentials.tokens(Some(identity.clone()));
    let token = if arguments.force_refresh {
        tokens.force_refresh().await.map(Some)
    } else {
        tokens.access_token(Duration::from_secs(arguments.min_ttl)).await
    };
    // Shortly before a token expires, `access_token` returns it without waiting for a slow renewal. That renewal has
    // used up the refresh token, so this process must not exit before it has stored the new one; and its access token
    // lasts longer.
    tokens.settle().await;
    let token = match (&token, tokens.access_token(Duration::ZERO).await) {
        (Ok(_), Ok(better)) => Ok(better),
        _ => token,
    };
    let token = token.map_err(|error| Error::of_token(error, &profile))?;
    let token = token.ok_or_else(|| Error::login_required(&profile, LoginReason::SignedOut))?;
    let now = || credentials.clock.now();
    // Another source: the first has ended.
    let tokens = credentials.tokens(Some(identity.clone()));
    let token = lasting(&tokens, token, arguments.min_ttl, &profile, now).await?;
    // finmcp uses the token anyway: some servers write 0 if they do not know the lifetime.
    if arguments.min_ttl == 0 && seconds_left(&token, now()).is_some_and(|left| left <= 0) {
        console.say("note: the server says that this token has already expired; it may not work");
    }
    if token.is_bound() {
        console.say("note: this token is bound to finmcp's DPoP key; it works only through `finmcp serve`");
    }
    if token.has_certificate() {
        console.say("note: this token may be bound to the client certificate; it works only through `finmcp serve`");
    }
    let text = if arguments.json {
        json(credentials.clock.now(), &token, &profile, &identity.resource)?
    } else if arguments.header {
        let (name, value) = token.header().map_err(|error| Error::of_token(error.into(), &profile))?;
        format!("{}: {}\n", display_name(&name), value.to_str().unwrap_or_default())
    } else {
        format!("{}\n", token.secret().expose())
    };
    console.data(&text)?;
    Ok(())
}

/// Why no server is selected. Exit code 4 if the user has to sign in first.
fn unselected(settings: &Settings, error: SelectorError) -> Error {
    let is_signed_out = settings.profiles.all().all(|profile| profile.signed_in.is_none());
    match error {
        SelectorError::Unclear { mut candidates } if is_signed_out => {
            // The demo needs no sign-in.
            candidates.retain(|name| !settings.profiles.is_embedded(Some(name)));
            Error::new(ErrorKind::LoginRequired, "not signed in to any server")
                .hint(format!("run `finmcp login SERVER` in a terminal, with one of: {}", candidates.join(", ")))
        }
        SelectorError::UrlNeeded { .. } => Error::from(error).with_kind(ErrorKind::LoginRequired),
        error => error.into(),
    }
}

/// `token`, or a new one, that is valid for another `min_ttl` seconds.
///
/// # Errors
/// There is no such token.
async fn lasting(
    tokens: &TokenSource,
    token: AccessToken,
    min_ttl: u64,
    profile: &Profile,
    now: impl Fn() -> Timestamp,
) -> Result<AccessToken, Error> {
    let wanted = i64::try_from(min_ttl).unwrap_or(i64::MAX);
    // A token of unknown lifetime lasts until the server rejects it.
    let lasts = |token: &AccessToken| seconds_left(token, now()).is_none_or(|left| left >= wanted);
    if min_ttl == 0 || lasts(&token) {
        return Ok(token);
    }
    let title = &profile.title;
    // Rounded up: it began when the token was requested.
    let lifetime = token.lifetime().map(|lifetime| lifetime.as_secs().saturating_add(1));
    // The source renews no token whose successor would not last either.
    if lifetime.is_none_or(|lifetime| lifetime >= wanted) {
        let renewed = tokens.force_refresh().await.map_err(|error| {
            Error::of_token(error, profile).while_doing(format!("no token of {title} lasts for --min-ttl {min_ttl}"))
        })?;
        if lasts(&renewed) {
            return Ok(renewed);
        }
    }
    let lifetime = lifetime.map(|lifetime| span::format_duration(lifetime.unsigned_abs()));
    let lifetime = lifetime.map(|lifetime| format!(": the server issues tokens for {lifetime}")).unwrap_or_default();
    Err(Error::new(ErrorKind::Failure, format!("no token of {title} lasts for --min-ttl {min_ttl}{lifetime}"))
        .hint("ask for a shorter time, and run `finmcp token` again before the token expires"))
}

/// How long the token is valid, by the server's words.
fn seconds_left(token: &AccessToken, now: Timestamp) -> Option<i64> {
    token.expires_at().map(|end| end.as_second() - now.as_second())
}

/// The server that is meant: a client that asks for headers names it in the environment.
fn selector(settings: &Settings, arguments: &cli::Token) -> Selector {
    let selector = Selector::from(arguments.server.clone());
    match settings.server_of_client.as_ref().filter(|_| arguments.headers && selector == Selector::default()) {
        Some(url) => Selector { server: Some(url.clone()), ..selector },
        None => selector,
    }
}

fn json(now: Timestamp, token: &AccessToken, profile: &Profile, resource: &str) -> Result<String, Error> {
    let document = TokenDocument {
        access_token: token.secret().expose(),
        token_type: token.token_type().name(),
        expires_at: token.expires_at().map(|instant| instant.to_string()),
        expires_in: token.expires_at().map(|instant| (instant.as_second() - now.as_second()).max(0)),
        scope: token.scope().map(ToString::to_string),
        profile: &profile.name,
        resource,
    };
    let text = serde_json::to_string(&document).map_err(std::io::Error::other)?;
    Ok(text + "\n")
}
