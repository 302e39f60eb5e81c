//! The sign-in: the credential store and its lock, the credential, the OAuth client, and the token.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    credential::{
        record::{Credential, Identity, Renewal},
        token_source::{LoginReason, TokenSourceError},
    },
    disk::lock::Lock,
    doctor::{
        authorization::Origin,
        findings::Findings,
        step::{Finding, Trouble},
        subject::Subject,
    },
    error::Error,
    login::{error::LoginError, options::GrantKind},
    oauth::{
        authorization_server::AuthorizationServer,
        client::{self, Grant},
        registration::ClientAuthentication,
        scope::Scope,
        token_set::TokenSet,
    },
    profile::Profile,
    span,
};

/// How long to wait for the lock. A process that holds it longer is waiting for a server.
const LOCK_DEADLINE: Duration = Duration::from_secs(3);

/// The name of an entry that no store has.
const NO_ENTRY: &str = "finmcp-proof";

/// The stored credential; none if the user is not signed in and the server `is_open`. On failure returns the step that
/// failed.
pub async fn examine(
    subject: &Subject<'_>,
    origin: Result<&Origin, &'static str>,
    is_open: bool,
    findings: &mut Findings<'_>,
) -> Result<Option<Credential>, &'static str> {
    let credential = match stored(subject).await {
        Ok(credential) => credential,
        Err(error) => {
            findings.note("store", Finding::Failed(Error::of_token(error, subject.profile).into()));
            findings.skip(&["sign-in", "lock"], "store");
            return Err("store");
        }
    };
    findings.note("store", Finding::Ok(format!("{} (readable)", subject.store.description())));
    let identity = subject.profile.signed_in.as_ref();
    let finding = match (&credential, identity) {
        (None, None) if is_open => {
            findings.note("sign-in", Finding::Ok("not signed in (not required)".to_owned()));
            findings.note("lock", Finding::Ok("not needed".to_owned()));
            return Ok(None);
        }
        (None, None) => Finding::Failed(signed_out(subject)),
        (None, Some(_)) => Finding::Failed(lost(subject)),
        (Some(credential), _) if !credential.is_alive() => {
            let reason = credential.end.map_or(LoginReason::Ended, LoginReason::from);
            Finding::Failed(Error::login_required(subject.profile, reason).into())
        }
        (Some(credential), _) => signed_in(subject, credential, origin),
    };
    let is_bad = matches!(finding, Finding::Failed(_));
    findings.conceal(credential.iter().flat_map(secrets));
    findings.note("sign-in", finding);
    match identity {
        Some(identity) => findings.note("lock", lock(subject, identity).await),
        None => findings.skip(&["lock"], "sign-in"),
    }
    if is_bad { Err("sign-in") } else { Ok(credential) }
}

async fn stored(subject: &Subject<'_>) -> Result<Option<Credential>, TokenSourceError> {
    match subject.profile.signed_in {
        Some(_) => subject.tokens.credential().await,
        // Only tests whether the store can be read.
        None => subject.store.load(NO_ENTRY).await.map(|_| None).map_err(TokenSourceError::from),
    }
}

/// The secrets of `credential`, which a server may repeat.
fn secrets(credential: &Credential) -> impl Iterator<Item = crate::secret::Secret> {
    let tokens = credential.tokens.iter();
    let tokens = tokens.flat_map(|tokens| [Some(tokens.access_token.clone()), tokens.refresh_token.clone()]);
    tokens.chain([credential.registration.client_secret.clone()]).flatten()
}

fn signed_out(subject: &Subject<'_>) -> Trouble {
    let trouble = Trouble::from(Error::login_required(subject.profile, LoginReason::SignedOut));
    match subject.other_environment() {
        Some(other) => trouble
            .because(format!(
                "you are signed in to {} ({}), but its credentials do not work here",
                other.title, other.environment
            ))
            .with_hint(format!("to diagnose that one, run `finmcp doctor {}`", other.selector_text())),
        None => trouble,
    }
}

fn lost(subject: &Subject<'_>) -> Trouble {
    let description = subject.store.description();
    Trouble::new(format!("config.toml records a sign-in, but its credential is missing from {description}"))
        .because("the credential was deleted, or it is in a different store")
        .with_hint("check that FINMCP_STORE and FINMCP_CONFIG_DIR are the same as when you signed in")
        .with_hint(format!("if they are, run `{}`", subject.profile.login_command()))
}

fn signed_in(subject: &Subject<'_>, credential: &Credential, origin: Result<&Origin, &'static str>) -> Finding {
    let client = &credential.identity.client_id;
    let client = if client.is_empty() { String::new() } else { format!(", client {client}") };
    let end = credential.tokens.as_ref().and_then(|tokens| tokens.expires_at);
    let end = end.map(|end| format!("token {}, ", validity(end, subject.clock.now()))).unwrap_or_default();
    let renewal = if credential.renews_automatically() { "renewed automatically" } else { "not renewed automatically" };
    let text = format!("as {}{client}; {end}{renewal}", credential.holder());
    match origin {
        Ok(Origin::Server(server)) if server.issuer != credential.identity.issuer => Finding::Warning(
            Trouble::new(text)
                .because(format!(
                    "you signed in at {}, but the server now names {}",
                    credential.identity.issuer, server.issuer
                ))
                .with_hint(format!("run `{}`", subject.profile.login_command())),
        ),
        _ => Finding::Ok(text),
    }
}

/// How long a token is still valid, or when it expired.
fn validity(end: Timestamp, now: Timestamp) -> String {
    let left = end.duration_since(now);
    let distance = span::format_duration(left.unsigned_abs().as_secs());
    if left.is_positive() { format!("valid for {distance}") } else { format!("expired {distance} ago") }
}

async fn lock(subject: &Subject<'_>, identity: &Identity) -> Finding {
    match Lock::acquire(&subject.settings.locks(), &identity.entry(), LOCK_DEADLINE).await {
        Ok(_) => Finding::Ok("free".to_owned()),
        Err(error) => Finding::Failed(Error::from(error).into()),
    }
}

/// The OAuth client that finmcp uses. Registers nothing: only checks that a client is known or can be registered.
pub fn examine_registration(
    subject: &Subject<'_>,
    credential: Result<Option<&Credential>, &'static str>,
    origin: Result<&Origin, &'static str>,
    findings: &mut Findings<'_>,
) {
    let server = match (origin, credential) {
        (Ok(Origin::Nowhere), _) => return findings.note("registration", Finding::Ok("not needed".to_owned())),
        // Without the store, the stored registration is unknown.
        (_, Err("store")) => return findings.skip(&["registration"], "store"),
        (Err(cause), _) => return findings.skip(&["registration"], cause),
        (Ok(Origin::Server(server)), _) => server,
    };
    let finding = match registered(subject, credential.ok().flatten(), server) {
        Ok(text) => Finding::Ok(text),
        Err(error) => Finding::Failed(Error::from(error).into()),
    };
    findings.note("registration", finding);
}

fn registered(
    subject: &Subject<'_>,
    credential: Option<&Credential>,
    server: &AuthorizationServer,
) -> Result<String, LoginError> {
    let secret = subject.settings.client_secret.clone();
    let mut request = subject.profile.login_request(secret, credential.cloned());
    let options = &mut request.options;
    options.client_metadata_url =
        options.client_metadata_url.take().or_else(|| subject.settings.client_metadata_url.clone());
    request.refuse_another_server(server)?;
    let registration = request.registration(server, subject.clock.now());
    let grant = subject.profile.options.grant_kind();
    match registration {
        Some(known) if grant.needs_secret() && !known.is_confidential() => Err(LoginError::NeedsSecret),
        None if grant.needs_secret() => Err(LoginError::NeedsSecret),
        Some(known) if known.is_dynamic() => Ok(format!("{} (dynamically registered)", known.client_id)),
        Some(known) => {
            let proof = match known.authentication {
                ClientAuthentication::None => "public client",
                ClientAuthentication::Basic | ClientAuthentication::Body => "with client secret",
                ClientAuthentication::PrivateKeyJwt => "with private key",
                ClientAuthentication::Certificate => "with certificate",
            };
            Ok(format!("{} ({proof})", known.client_id))
        }
        None if grant == GrantKind::JwtBearer => Ok("not needed: the assertion identifies the client".to_owned()),
        None if server.registration_endpoint.is_some() => Ok("the next sign-in registers a client".to_owned()),
        None => Err(LoginError::NeedsRegistration { host: server.token_endpoint.host() }),
    }
}

/// Whether there is a token that is valid by this machine's clock. Renews it when `serve` would. Beyond that it tests
/// only client credentials, by requesting a token and discarding it: that does not use up a refresh token.
pub async fn examine_token(
    subject: &Subject<'_>,
    credential: Result<Option<&Credential>, &'static str>,
    findings: &mut Findings<'_>,
) -> Result<(), &'static str> {
    let credential = match credential {
        Ok(Some(credential)) => credential,
        Ok(None) => {
            findings.note("token", Finding::Ok("not needed".to_owned()));
            return Ok(());
        }
        Err(cause) => {
            findings.skip(&["token"], cause);
            return Err(cause);
        }
    };
    let finding = token(subject, credential).await;
    // The check may have renewed the token: hide the new one too.
    if let Ok(Some(credential)) = stored(subject).await {
        findings.conceal(secrets(&credential));
    }
    let is_bad = matches!(finding, Finding::Failed(_));
    findings.note("token", finding);
    if is_bad { Err("token") } else { Ok(()) }
}

async fn token(subject: &Subject<'_>, credential: &Credential) -> Finding {
    let token = match subject.tokens.access_token(Duration::ZERO).await {
        Ok(Some(token)) => token,
        Ok(None) => return Finding::Ok("not needed".to_owned()),
        Err(error) => return Finding::Failed(refused(subject, error)),
    };
    let stored = credential.tokens.as_ref();
    let is_stored = stored.is_some_and(|tokens| tokens.access_token.same_as(token.secret()));
    let tried = match credential.renewal {
        Renewal::ClientCredentials if is_stored => {
            let request = credential.token_request(Grant::ClientCredentials);
            match client::request_token(subject.http, request, subject.clock.now()).await {
                Ok(_) => "a test request for another one succeeded",
                Err(error) => return Finding::Failed(refused(subject, error.into())),
            }
        }
        Renewal::ApiKey(_) => return Finding::Ok("an API key, which works until it is revoked".to_owned()),
        _ if is_stored => "not renewed now: that would use up the refresh token",
        _ => "renewed: the old one had expired or was about to",
    };
    if let Some(finding) = credential.tokens.as_ref().and_then(|tokens| misdirected(subject, credential, tokens)) {
        return finding;
    }
    Finding::Ok(match token.expires_at() {
        Some(end) => format!("{} ({tried})", validity(end, subject.clock.now())),
        None => format!("valid, expiry unknown ({tried})"),
    })
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
        true => trouble.with_hint(format!(
            "get new credentials from {}, then run `{} --client-id ID --client-secret-file PATH`",
            profile.title,
            profile.login_command()
        )),
        false => trouble,
    }
}

/// Whether the granted scope covers what is needed.
pub fn examine_scope(
    subject: &Subject<'_>,
    credential: Result<Option<&Credential>, &'static str>,
    challenged: Option<&Scope>,
    findings: &mut Findings<'_>,
) {
    let credential = match credential {
        Ok(Some(credential)) => credential,
        Ok(None) => return findings.note("scope", Finding::Ok("not needed".to_owned())),
        Err(cause) => return findings.skip(&["scope"], cause),
    };
    let tokens = credential.tokens.as_ref();
    let granted = tokens.and_then(|tokens| tokens.scope.as_ref()).or(credential.scope.as_ref());
    let granted = granted.cloned().unwrap_or_default();
    let asked = subject.profile.options.scope.clone().unwrap_or_default();
    let preset = subject.provider().and_then(|provider| provider.common.scope.clone()).unwrap_or_default();
    let login = subject.profile.login_command();
    let lacking = |needed: &Scope| needed.iter().filter(|token| !granted.contains(token)).collect::<Vec<_>>().join(" ");
    let (asked_for, usual, wanted) = (lacking(&asked), lacking(&preset), challenged.map(lacking).unwrap_or_default());
    let trouble = |missing: &str| {
        let had = if granted.is_empty() { "nothing".to_owned() } else { granted.to_string() };
        Trouble::new(format!("the sign-in does not include {missing}"))
            .because(format!("granted: {had}; requests that need more are refused"))
    };
    let finding = if !asked_for.is_empty() {
        Finding::Failed(trouble(&asked_for).because("it was requested but not granted").with_hint(format!(
            "run `{login}` and allow everything; if it is not offered, ask your account's administrator"
        )))
    } else if !usual.is_empty() {
        Finding::Warning(
            trouble(&usual)
                .because("it was not requested")
                .with_hint(format!("run `{login} --scope '{preset}'` to request all of it")),
        )
    } else if !wanted.is_empty() {
        Finding::Warning(
            trouble(&wanted)
                .because("the server requires it")
                .with_hint(format!("run `{login}` and allow everything that it requests")),
        )
    } else if granted.is_empty() {
        Finding::Ok("none: the server names no scope".to_owned())
    } else {
        Finding::Ok(granted.to_string())
    };
    findings.note("scope", finding);
}

impl Subject<'_> {
    /// A sign-in to another environment of the same vendor.
    fn other_environment(&self) -> Option<Profile> {
        let is_sibling = |other: &Profile| {
            other.provider.is_some()
                && other.provider == self.profile.provider
                && other.environment != self.profile.environment
        };
        self.settings.profiles.all().find(|other| is_sibling(other) && other.signed_in.is_some())
    }

    /// Whether the vendor has several environments.
    fn environments(&self) -> bool {
        self.provider().is_some_and(|provider| provider.environment_names().len() > 1)
    }

    /// The vendor's other environment whose server is `audience`.
    fn environment_of(&self, audience: &str) -> Option<String> {
        let saved = self.other_environment().filter(|other| other.server.resource() == audience);
        let provider = self.provider()?;
        let preset = provider.environment_names().into_iter().find(|name| {
            let server = provider.environment(Some(name)).and_then(|(_, environment)| environment.server.as_ref());
            *name != self.profile.environment && server.is_some_and(|server| server.resource() == audience)
        });
        saved.map(|other| other.environment).or_else(|| preset.map(str::to_owned))
    }
}
