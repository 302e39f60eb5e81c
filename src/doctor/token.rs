//! The access token.

use std::time::Duration;

use jiff::SignedDuration;

use crate::{
    credential::{
        record::{Credential, Renewal},
        token_source::{LoginReason, TokenSourceError},
    },
    doctor::{
        findings::Findings,
        sign_in,
        step::{Finding, StepName, Trouble},
        store,
        subject::Subject,
    },
    error::Error,
    oauth::{
        client::{self, Grant},
        registration::ClientAuthentication,
        token_set::TokenSet,
    },
};

/// Why there is no usable token.
pub struct Obstacle {
    /// The step that is to blame.
    pub step: StepName,
    /// What happened, if a wrong clock is to blame.
    pub symptom: Option<String>,
}

impl From<StepName> for Obstacle {
    fn from(step: StepName) -> Self {
        Self { step, symptom: None }
    }
}

/// Whether there is a token that is valid by this machine's clock. Renews it when `serve` would. Beyond that it tests
/// only client credentials, by requesting a token and discarding it: that does not use up a refresh token. `ahead` is
/// how far this machine's clock is ahead of the server's, if it is wrong.
pub async fn examine(
    subject: &Subject<'_>,
    credential: Result<Option<&Credential>, StepName>,
    ahead: Option<SignedDuration>,
    findings: &mut Findings<'_>,
) -> Result<(), Obstacle> {
    const NAME: StepName = StepName::Token;
    let credential = match credential {
        Ok(Some(credential)) => credential,
        Ok(None) => {
            findings.note(NAME, Finding::Ok("not needed".to_owned()));
            return Ok(());
        }
        Err(cause) => {
            findings.skip(&[NAME], cause);
            return Err(cause.into());
        }
    };
    let outcome = token(subject, credential).await;
    // The check may have renewed the token: hide the new one too.
    if let Ok(Some(credential)) = store::stored(subject).await {
        findings.conceal(sign_in::secrets(&credential));
    }
    let finding = match outcome {
        Ok(finding) => finding,
        // The step before has failed for the same reason.
        Err(TokenSourceError::Lock(_)) if findings.has_failed(StepName::Lock) => {
            findings.skip(&[NAME], StepName::Lock);
            return Err(StepName::Lock.into());
        }
        Err(error) if ahead.is_some_and(|ahead| is_of_clock(subject, credential, &error, ahead)) => {
            findings.skip(&[NAME], StepName::Clock);
            let symptom = Some(Error::of_token(error, subject.profile).message());
            return Err(Obstacle { step: StepName::Clock, symptom });
        }
        Err(error) => Finding::Failed(refused(subject, error)),
    };
    let is_bad = matches!(finding, Finding::Failed(_));
    findings.note(NAME, finding);
    if is_bad { Err(NAME.into()) } else { Ok(()) }
}

/// Whether a wrong clock explains that there is no token: the token has expired on this machine only, or the server
/// refuses what finmcp signs together with the time.
fn is_of_clock(
    subject: &Subject<'_>,
    credential: &Credential,
    error: &TokenSourceError,
    ahead: SignedDuration,
) -> bool {
    let end = credential.tokens.as_ref().and_then(|tokens| tokens.expires_at);
    match error {
        TokenSourceError::LoginRequired(LoginReason::NotRenewable) => {
            end.is_some_and(|end| end.duration_since(subject.clock.now()) > -ahead)
        }
        TokenSourceError::LoginRequired(LoginReason::Ended | LoginReason::ClientForgotten)
        | TokenSourceError::Refused(_) => signs_the_time(credential),
        _ => false,
    }
}

/// Whether finmcp sends the time in what it signs: in proofs of a key (RFC 9449) and in client assertions (RFC 7523).
pub fn signs_the_time(credential: &Credential) -> bool {
    credential.dpop_key.is_some() || credential.registration.authentication == ClientAuthentication::PrivateKeyJwt
}

async fn token(subject: &Subject<'_>, credential: &Credential) -> Result<Finding, TokenSourceError> {
    let Some(token) = subject.tokens.access_token(Duration::ZERO).await? else {
        return Ok(Finding::Ok("not needed".to_owned()));
    };
    let stored = credential.tokens.as_ref();
    let is_stored = stored.is_some_and(|tokens| tokens.access_token.same_as(token.secret()));
    let tried = match credential.renewal {
        Renewal::ClientCredentials if is_stored => {
            let request = credential.token_request(Grant::ClientCredentials);
            client::request_token(subject.http, request, subject.clock.now()).await?;
            "a test request for another one succeeded"
        }
        Renewal::ApiKey(_) => return Ok(Finding::Ok("an API key, which works until it is revoked".to_owned())),
        _ if is_stored => "not renewed now: that would use up the refresh token",
        _ => "renewed: the old one had expired or was about to",
    };
    if let Some(finding) = credential.tokens.as_ref().and_then(|tokens| misdirected(subject, credential, tokens)) {
        return Ok(finding);
    }
    Ok(Finding::Ok(match token.expires_at() {
        Some(end) => format!("{} ({tried})", sign_in::validity(end, subject.clock.now())),
        None => format!("valid, expiry unknown ({tried})"),
    }))
}

/// What is wrong with `tokens` that were issued for another server. If that is the vendor's other environment, the user
/// signed in with its credentials.
fn misdirected(subject: &Subject<'_>, credential: &Credential, tokens: &TokenSet) -> Option<Finding> {
    let profile = subject.profile;
    let trouble =
        |audience: &str| Trouble::new(format!("the token was issued for {audience}, not for {}", profile.server));
    let elsewhere = tokens.other_audience(&profile.server.resource());
    if let Some(audience) = &elsewhere
        && let Some(environment) = subject.environment_of(audience)
    {
        let trouble = trouble(audience)
            .because(format!(
                "that is {}'s {environment} environment; each environment has its own credentials",
                profile.title
            ))
            .with_hint(format!("sign in with this environment's credentials: run `{}`", profile.login_command()))
            .with_hint(format!("or use the other environment: add --env {environment}"));
        return Some(Finding::Failed(trouble));
    }
    let trouble = trouble(&credential.other_audience()?)
        .because("this server may accept it, but most refuse a token issued for another resource")
        .with_hint("if the server refuses it, contact the server's operator");
    Some(Finding::Warning(trouble))
}

/// Why the authorization server issued no token. If it does not know the client and the vendor has other environments,
/// the credentials may belong to one of those.
fn refused(subject: &Subject<'_>, error: TokenSourceError) -> Trouble {
    let is_unknown_client = error.is_unknown_client();
    let trouble = Trouble::from(Error::of_token(error, subject.profile));
    if !is_unknown_client {
        return trouble;
    }
    let profile = subject.profile;
    let trouble = trouble.because("the vendor revoked the client, or the client secret changed");
    let trouble = match subject.environments() {
        true => trouble.because(format!(
            "or the credentials belong to a different {} environment, not {}",
            profile.title, profile.environment
        )),
        false => trouble,
    };
    match profile.options.grant_kind().needs_secret() {
        true => trouble.with_only_hint(format!(
            "get new credentials from {}, then run `{} --client-id ID --client-secret-file PATH`",
            profile.title,
            profile.login_command()
        )),
        false => trouble,
    }
}
