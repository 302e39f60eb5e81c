//! The sign-in: the credential, its lock, and the OAuth client.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    credential::{
        record::{Credential, Identity},
        token_source::LoginReason,
    },
    disk::lock::Lock,
    doctor::{
        authorization::Origin,
        findings::Findings,
        holder,
        step::{Finding, StepName, Trouble},
        store,
        subject::Subject,
    },
    error::Error,
    login::{error::LoginError, options::GrantKind},
    oauth::{authorization_server::AuthorizationServer, discovery::Probe, registration::ClientAuthentication},
    secret::Secret,
    span,
};

/// How long to wait for the lock. A process that holds it longer is waiting for a server.
const LOCK_DEADLINE: Duration = Duration::from_secs(3);

/// The stored credential; none if the user is not signed in and need not be. On failure returns the step that failed.
pub async fn examine(
    subject: &Subject<'_>,
    probe: Result<&Probe, StepName>,
    origin: Result<&Origin, StepName>,
    findings: &mut Findings<'_>,
) -> Result<Option<Credential>, StepName> {
    let credential = match store::stored(subject).await {
        Ok(credential) => credential,
        Err(error) => {
            findings.note(StepName::Store, Finding::Failed(store::trouble(subject, error)));
            findings.skip(&[StepName::SignIn, StepName::Lock], StepName::Store);
            return Err(StepName::Store);
        }
    };
    findings.note(StepName::Store, Finding::Ok(format!("{} (readable)", subject.store.description())));
    let identity = subject.profile.signed_in.as_ref();
    let finding = match (&credential, identity) {
        (None, None) if matches!(probe, Ok(Probe::Served)) => {
            findings.note(StepName::SignIn, Finding::Ok("not signed in (not required)".to_owned()));
            findings.note(StepName::Lock, Finding::Ok("not needed".to_owned()));
            return Ok(None);
        }
        (None, None) => match (probe, origin) {
            // Whether and how to sign in is unknown.
            (Err(cause), _) | (_, Err(cause)) => {
                findings.skip(&[StepName::SignIn, StepName::Lock], cause);
                return Err(cause);
            }
            (Ok(_), Ok(origin)) => Finding::Failed(signed_out(subject, origin)),
        },
        (None, Some(_)) => Finding::Failed(lost(subject)),
        (Some(credential), _) if !credential.is_alive() => {
            let reason = credential.end.map_or(LoginReason::Ended, LoginReason::from);
            Finding::Failed(Error::login_required(subject.profile, reason).into())
        }
        (Some(credential), _) => signed_in(subject, credential, origin),
    };
    let is_bad = matches!(finding, Finding::Failed(_));
    findings.conceal(credential.iter().flat_map(secrets));
    findings.note(StepName::SignIn, finding);
    match identity {
        Some(identity) => findings.note(StepName::Lock, lock(subject, identity).await),
        None => findings.skip(&[StepName::Lock], StepName::SignIn),
    }
    if is_bad { Err(StepName::SignIn) } else { Ok(credential) }
}

/// The secrets of `credential`, which a server may repeat.
pub(super) fn secrets(credential: &Credential) -> impl Iterator<Item = Secret> {
    let tokens = credential.tokens.iter();
    let tokens = tokens.flat_map(|tokens| [Some(tokens.access_token.clone()), tokens.refresh_token.clone()]);
    tokens.chain([credential.registration.client_secret.clone()]).flatten()
}

fn signed_out(subject: &Subject<'_>, origin: &Origin) -> Trouble {
    let trouble = Trouble::from(Error::login_required(subject.profile, LoginReason::SignedOut));
    let lacking = match origin {
        Origin::Server(server) => registered(subject, None, server).err(),
        Origin::Nowhere => None,
    };
    let trouble = match lacking.map(Trouble::from) {
        // What the sign-in lacks, and how to pass it.
        Some(lacking) => {
            let why = trouble.why.into_iter().chain([lacking.what]).chain(lacking.why).collect();
            Trouble { why, hints: trouble.hints.into_iter().chain(lacking.hints).collect(), ..trouble }
        }
        None => trouble,
    };
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

fn signed_in(subject: &Subject<'_>, credential: &Credential, origin: Result<&Origin, StepName>) -> Finding {
    let client = &credential.identity.client_id;
    let client = if client.is_empty() { String::new() } else { format!(", client {client}") };
    let end = credential.tokens.as_ref().and_then(|tokens| tokens.expires_at);
    let end = end.map(|end| format!("token {}, ", validity(end, subject.clock.now()))).unwrap_or_default();
    let renewal = if credential.renews_automatically() { "renewed automatically" } else { "not renewed automatically" };
    let text = format!("{}{client}; {end}{renewal}", holder::of(subject.profile, credential));
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
pub(super) fn validity(end: Timestamp, now: Timestamp) -> String {
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
    credential: Result<Option<&Credential>, StepName>,
    origin: Result<&Origin, StepName>,
    findings: &mut Findings<'_>,
) {
    const NAME: StepName = StepName::Registration;
    let server = match (origin, credential) {
        (Ok(Origin::Nowhere), _) => return findings.note(NAME, Finding::Ok("not needed".to_owned())),
        // Without the store, the stored registration is unknown.
        (_, Err(StepName::Store)) => return findings.skip(&[NAME], StepName::Store),
        (Err(cause), _) => return findings.skip(&[NAME], cause),
        (Ok(Origin::Server(server)), _) => server,
    };
    match (registered(subject, credential.ok().flatten(), server), credential) {
        (Ok(text), _) => findings.note(NAME, Finding::Ok(text)),
        // The next sign-in brings the client, and says so if it cannot.
        (Err(_), Err(cause)) => findings.skip(&[NAME], cause),
        (Err(error), Ok(_)) => findings.note(NAME, Finding::Failed(Error::from(error).into())),
    }
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
