//! Signing in: the whole of it, for whichever command wants it.

use std::sync::Arc;

use crate::{
    app::{
        credentials::Credentials,
        registration::Secrets,
        sign_out::{self, NotRevoked},
    },
    credential::{
        assertion_source::AssertionSource,
        record::{Credential, Identity, Renewal},
        token_source::TokenSourceError,
    },
    error::Error,
    login::{
        api_key::api_key,
        browser::Browser,
        client_credentials::client_credentials,
        context::{Context, Progress, Redirection},
        device::device_code,
        error::LoginError,
        jwt_bearer::jwt_bearer,
        options::{Assertion, GrantKind, Options},
        person::authorization_code,
        request::LoginRequest,
    },
    oauth::{challenge::Challenge, client_metadata::ClientMetadataUrl},
    profile::Profile,
    secret::Secret,
    settings::Settings,
};

/// A sign-in that somebody wants.
pub struct Attempt {
    /// What the person hands over.
    pub secrets: Secrets,
    /// What the server refused a request with, where it has: the new sign-in allows that, and all that the one before
    /// allowed.
    pub challenge: Option<Challenge>,
    /// Whether to register a new client although one from an earlier sign-in is stored (`--force`).
    pub force_registration: bool,
    /// What shows the sign-in page; none where the person wants to do that.
    pub browser: Option<Arc<dyn Browser>>,
    /// How the answer comes back.
    pub redirection: Redirection,
    /// Whom to tell what happens.
    pub tell: Tell,
}

/// Tells somebody how a sign-in goes.
pub type Tell = Box<dyn FnMut(Event<'_>) + Send>;

/// What is worth saying of a sign-in.
pub enum Event<'a> {
    /// What happens meanwhile.
    Progress(Progress<'a>),
    /// What the person had better know about it.
    Note(Note),
    /// It came to nothing, and the person who would hear of it may be elsewhere.
    Failure(&'a Error),
}

/// What the person had better know about a sign-in.
pub enum Note {
    /// A rule that protects the person is loosened for this server.
    Loosened {
        /// The rule.
        rule: &'static str,
        /// The server's name for people.
        title: String,
    },
    /// The token says that it is for somebody else.
    OtherAudience {
        /// The server's name for people.
        title: String,
        /// Whom it names.
        audience: String,
    },
    /// The sign-in that this one replaces is forgotten.
    Replaced {
        /// What it was to.
        resource: String,
    },
    /// The sign-in that this one replaces could not be forgotten.
    StillKept {
        /// What it was to.
        resource: String,
        /// Why.
        error: TokenSourceError,
    },
    /// A token that this sign-in replaces works on.
    NotRevoked(NotRevoked),
}

/// The whole of it: a person or a secret, the credential in the store, the profile in `config.toml`.
///
/// # Errors
/// Whatever kept it from being done; then nothing is changed.
pub async fn sign_in_and_keep(
    settings: &Settings,
    credentials: &Credentials,
    profile: Profile,
    attempt: Attempt,
) -> Result<(Profile, Credential), Error> {
    let Attempt { secrets, challenge, force_registration, browser, redirection, mut tell } = attempt;
    // A store that is locked or missing is said before anybody is asked to sign in, and before a server is.
    credentials.prove_store().await?;
    let earlier = credentials.earlier(&profile).await?;
    let title = &profile.title;
    for rule in profile.options.overrides.risky() {
        tell(Event::Note(Note::Loosened { rule, title: title.clone() }));
    }
    let challenge = challenge.map(|challenge| widened(challenge, earlier.as_ref()));
    let before = Before { credential: earlier.clone(), force_registration };
    let person = Person { browser, redirection, progress: &mut |progress| tell(Event::Progress(progress)) };
    let wanted = Wanted { challenge, before, client_metadata_url: settings.client_metadata_url.as_ref() };
    let credential = sign_in(credentials, &profile, secrets, wanted, person)
        .await
        .map_err(|error| Error::from(error).while_doing(format!("could not sign in to {}", profile.title)))?;
    if let Some(audience) = credential.other_audience() {
        tell(Event::Note(Note::OtherAudience { title: title.clone(), audience: audience.to_owned() }));
    }
    let mut note = |note| tell(Event::Note(note));
    let profile = keep(settings, credentials, profile, credential.clone(), earlier, &mut note).await?;
    if let Err(error) = credentials.registrations().forget(&credential.identity).await {
        tracing::debug!(%error, "the registration that this sign-in took along is still kept for another");
    }
    Ok((profile, credential))
}

/// What a sign-in is asked for with, besides the profile's options.
#[derive(Default)]
pub struct Wanted<'a> {
    /// What the server refused a request with, where it has.
    pub challenge: Option<Challenge>,
    /// What it comes after.
    pub before: Before,
    /// The document about finmcp, where the profile names none.
    pub client_metadata_url: Option<&'a ClientMetadataUrl>,
}

/// What a sign-in comes after.
#[derive(Default)]
pub struct Before {
    /// The credential that the new one replaces.
    pub credential: Option<Credential>,
    /// Whether a client that finmcp has registered before is left alone.
    pub force_registration: bool,
}

/// The sign-in itself, by the profile's grant.
///
/// # Errors
/// Any error of the login.
pub async fn sign_in(
    credentials: &Credentials,
    profile: &Profile,
    secrets: Secrets,
    wanted: Wanted<'_>,
    person: Person<'_>,
) -> Result<Credential, LoginError> {
    let options = &profile.options;
    let context = Context {
        http: &credentials.http,
        clock: credentials.clock.as_ref(),
        browser: person.browser,
        registrations: Some(credentials.registrations()),
    };
    let grant = options.grant.unwrap_or(GrantKind::AuthorizationCode);
    let provider_secret =
        secrets.identity_provider.or_else(|| provider_secret(options, wanted.before.credential.as_ref()));
    let Wanted { challenge, before: Before { credential, force_registration }, client_metadata_url } = wanted;
    let mut request =
        LoginRequest { challenge, force_registration, ..profile.login_request(secrets.client, credential) };
    let options = &mut request.options;
    if options.redirect_uri.is_none() && options.client_metadata_url.is_none() {
        // The document that everybody shares has finmcp's own redirect URI in it, and no other.
        options.client_metadata_url = client_metadata_url.cloned();
    }
    match grant {
        GrantKind::ClientCredentials => client_credentials(request, &context).await,
        GrantKind::ApiKey => api_key(request, secrets.api_key, &context).await,
        GrantKind::JwtBearer => jwt_bearer(request, provider_secret, &context).await,
        GrantKind::DeviceCode => device_code(request, person.redirection.timeout, &context, person.progress).await,
        GrantKind::AuthorizationCode => {
            authorization_code(request, person.redirection, &context, person.progress).await
        }
    }
}

/// The secret that is stored for this very client at this very identity provider.
fn provider_secret(options: &Options, earlier: Option<&Credential>) -> Option<Secret> {
    let Renewal::JwtBearer(AssertionSource::IdentityProvider(known)) = &earlier?.renewal else { return None };
    match &options.assertion {
        Some(Assertion::IdentityProvider { issuer, client_id, .. })
            if known.issuer == *issuer && known.registration.client_id == *client_id =>
        {
            known.registration.client_secret.clone()
        }
        _ => None,
    }
}

/// How a person is reached, where the grant needs one.
pub struct Person<'a> {
    /// What shows the sign-in page; none where the person wants to do that.
    pub browser: Option<Arc<dyn Browser>>,
    /// How the answer comes back.
    pub redirection: Redirection,
    /// Whom to tell what happens.
    pub progress: &'a mut (dyn FnMut(Progress<'_>) + Send),
}

/// The challenge with all that was granted `earlier`, and for tokens that are bound to a key if those were: a lesser
/// sign-in would only move the refusal elsewhere (MCP authorization, "Step-Up Authorization Flow").
fn widened(challenge: Challenge, earlier: Option<&Credential>) -> Challenge {
    let granted = earlier.and_then(|credential| {
        let tokens = credential.tokens.as_ref()?;
        tokens.scope.clone().or_else(|| credential.scope.clone())
    });
    let scope = [granted, challenge.scope].into_iter().flatten().reduce(|all, scope| all.union(&scope));
    let dpop = challenge.dpop || earlier.is_some_and(|credential| credential.dpop_key.is_some());
    Challenge { scope, dpop, ..challenge }
}

/// Stores the new credential, then points the profile at it, then forgets what was there before: whenever this is cut
/// short, a working one is left.
///
/// # Errors
/// The store, or `config.toml`.
pub async fn keep(
    settings: &Settings,
    credentials: &Credentials,
    mut profile: Profile,
    credential: Credential,
    earlier: Option<Credential>,
    note: &mut (dyn FnMut(Note) + Send),
) -> Result<Profile, Error> {
    let identity = credential.identity.clone();
    credentials.tokens(Some(identity.clone())).sign_in(credential).await.map_err(|error| {
        Error::of_token(error, &profile).while_doing("signed in, but could not keep the credential")
    })?;
    profile.signed_in = Some(identity.clone());
    (profile.saved, profile.moved) = (true, false);
    settings.save_profile(&profile).await?;
    let before = [earlier.map(|earlier| earlier.identity), settings.profiles.last_sign_in(&profile.name)];
    for before in before.into_iter().flatten().filter(|before| *before != identity) {
        replace(credentials, before, &identity, note).await;
    }
    Ok(profile)
}

/// Forgets what `new` replaces, here and at the server. A registration that goes on being used is not touched there: some
/// servers end all that they ever granted to a client, be it a moment ago.
async fn replace(credentials: &Credentials, before: Identity, new: &Identity, note: &mut (dyn FnMut(Note) + Send)) {
    let is_in_use = (&before.issuer, &before.client_id) == (&new.issuer, &new.client_id);
    let resource = before.resource.clone();
    match credentials.tokens(Some(before)).sign_out().await {
        Ok(Some(credential)) if !is_in_use => {
            note(Note::Replaced { resource });
            sign_out::revoke(credentials, &credential, &mut |left| note(Note::NotRevoked(left))).await;
        }
        Ok(_) => {}
        Err(error) => note(Note::StillKept { resource, error }),
    }
}
