//! The request headers for an AI client that connects to the server itself and asks a command for them.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tokio::time::timeout;

use crate::{
    app::credentials::Credentials,
    credential::{
        judgement::{Judgement, RefusalReason},
        token_source::{AccessToken, LoginReason, TokenSource, TokenSourceError},
    },
    error::{Error, ErrorKind},
    http::HttpError,
    mcp::{attempts::Attempts, headers, id::Id, message::Message, revision::LEGACY},
    profile::Profile,
    server_url::ServerUrl,
};

/// The timeout of the whole command. Claude Code and Codex wait for 10 s.
const DEADLINE: Duration = Duration::from_secs(8);

/// The timeout of the test request.
const TRIAL: Duration = Duration::from_secs(3);

/// Every header that a request to the server of `profile` needs: a token that the server accepts now, and the headers
/// of the profile. Clients call again after a 401 without saying why, so finmcp tests the token first.
///
/// # Errors
/// Exit code 4 if the user has to sign in; tokens that are bound to a DPoP key.
pub async fn request_headers(credentials: &Credentials, profile: &Profile) -> Result<BTreeMap<String, String>, Error> {
    let Some(identity) = profile.signed_in.clone() else {
        return Err(login_required(profile, &LoginReason::SignedOut.to_string()));
    };
    let tokens = credentials.tokens(Some(identity));
    let token = timeout(DEADLINE, accepted_token(credentials, profile, &tokens)).await;
    // The refresh token may have been used up: its successor has to be stored before this process ends.
    tokens.settle().await;
    let token = token.map_err(|_| header_timeout_error(profile))??;
    if token.is_bound() || token.has_certificate() {
        return Err(bound(profile, &token));
    }
    let (name, value) = token.header().map_err(|error| Error::of_token(error.into(), profile))?;
    let mut all = profile.options.headers.map().clone();
    all.insert(name, value);
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    Ok(all.iter().map(|(name, value)| (display_name(name).to_owned(), text(value))).collect())
}

/// The name as users write it. Names are not case-sensitive (RFC 9110 section 5.1).
pub fn display_name(name: &HeaderName) -> &str {
    if *name == header::AUTHORIZATION { "Authorization" } else { name.as_str() }
}

/// A token that the server has not refused just now.
async fn accepted_token(
    credentials: &Credentials,
    profile: &Profile,
    tokens: &TokenSource,
) -> Result<AccessToken, Error> {
    let failed = |error| match error {
        TokenSourceError::LoginRequired(reason) => login_required(profile, &reason.to_string()),
        error => Error::of_token(error, profile),
    };
    let token = tokens.access_token(Duration::ZERO).await;
    let mut token = token.map_err(failed)?.ok_or_else(|| login_required(profile, "there is no stored sign-in"))?;
    let attempts = Attempts::default();
    while attempts.send() && !token.is_bound() {
        let Ok((status, said)) = try_out(credentials, profile, tokens, &token).await else { break };
        match tokens.judge(Some(&token), &profile.server, status, &said, &attempts).await {
            Judgement::Accepted => break,
            Judgement::Retry(another) => token = another,
            // The token is valid; the call's own error names the missing scope.
            Judgement::Refused(RefusalReason::InsufficientScope { .. }) => break,
            Judgement::Refused(RefusalReason::NoToken(error)) => return Err(failed(error)),
            Judgement::Refused(RefusalReason::InvalidToken) => {
                return Err(login_required(profile, "the server refuses the token"));
            }
        }
    }
    Ok(token)
}

/// Sends a request that changes nothing. Only the server's verdict on the token matters.
async fn try_out(
    credentials: &Credentials,
    profile: &Profile,
    tokens: &TokenSource,
    token: &AccessToken,
) -> Result<(http::StatusCode, HeaderMap), HttpError> {
    let message = Message::request(Id::from_number(0), "tools/list", "{}");
    let all = |place: &ServerUrl| {
        let mut all = profile.options.headers.map().clone();
        all.extend(headers::legacy(None, Some(LEGACY)));
        all.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        all.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        let authorized = tokens.authorize(token, &mut all, &Method::POST, place);
        authorized.map_err(|_| HttpError::TimedOut { host: place.host(), after: TRIAL })?;
        Ok::<_, HttpError>(all)
    };
    let sending = credentials.http.send(&profile.server, &Method::POST, message.raw(), &all);
    let late = |_| HttpError::TimedOut { host: profile.server.host(), after: TRIAL };
    let response = timeout(TRIAL, sending).await.map_err(late)??;
    Ok((response.status(), response.headers().clone()))
}

/// On one line, because clients show at most the first.
fn login_required(profile: &Profile, reason: &str) -> Error {
    let text = format!("not signed in to {}: {reason}; run `{}`", profile.title, profile.login_command());
    Error::new(ErrorKind::LoginRequired, text)
}

fn header_timeout_error(profile: &Profile) -> Error {
    Error::new(
        ErrorKind::Network,
        format!("could not get a token for {} within {} s", profile.title, DEADLINE.as_secs()),
    )
}

fn bound(profile: &Profile, token: &AccessToken) -> Error {
    let key = if token.is_bound() { "finmcp's DPoP key" } else { "a client certificate" };
    let text = format!("the tokens of {} are bound to {key}, so only finmcp can use them", profile.title);
    let command = profile.arguments().join(" ");
    Error::new(ErrorKind::Failure, text).hint(format!("configure the client to run `finmcp serve {command}`"))
}
