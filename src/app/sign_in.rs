//! Signing in, from the checks before to the saved profile.

use std::sync::Arc;

use crate::{
    app::{
        company::Company,
        credentials::Credentials,
        person::Person,
        registration::Secrets,
        sign_out::{self, NotRevoked},
    },
    credential::{
        assertion::AssertionError,
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

/// A sign-in to perform.
pub struct Attempt {
    /// The secrets that the user provides.
    pub secrets: Secrets,
    /// The server's refusal of a request, if that is the reason to sign in: the new sign-in covers its scope and all
    /// scope granted before.
    pub challenge: Option<Challenge>,
    /// Whether to register a new client although one from an earlier sign-in is stored (`--force`).
    pub force_registration: bool,
    /// Opens the sign-in page; none if the user opens it.
    pub browser: Option<Arc<dyn Browser>>,
    /// How the authorization response comes back.
    pub redirection: Redirection,
    /// Receives what happens.
    pub tell: Tell,
}

/// Receives the events of a sign-in.
pub type Tell = Box<dyn FnMut(Event<'_>) + Send>;

/// The progress of a sign-in.
pub enum Event<'a> {
    /// The sign-in progresses.
    Progress(Progress<'a>),
    /// The user should know this.
    Note(Note),
    /// It failed. For the log: the error may go to a client elsewhere.
    Failure(&'a Error),
}

/// What the user should know about a sign-in.
pub enum Note {
    /// An override relaxes a security check for this server.
    Loosened {
        /// The override.
        rule: &'static str,
        /// The server's display name.
        title: String,
    },
    /// The token was issued for another resource.
    OtherAudience {
        /// The server's display name.
        title: String,
        /// The resource in the token.
        audience: String,
    },
    /// finmcp deleted the sign-in that this one replaces.
    Replaced {
        /// The resource of the old sign-in.
        resource: String,
    },
    /// finmcp could not delete the sign-in that this one replaces.
    StillKept {
        /// The resource of the old sign-in.
        resource: String,
        /// Why.
        error: TokenSourceError,
    },
    /// A token that this sign-in replaces is still valid.
    NotRevoked(NotRevoked),
}

/// Signs in, stores the credential, and saves the profile in `config.toml`.
///
/// # Errors
/// If it fails, nothing is changed.
pub async fn sign_in_and_keep(
    settings: &Settings,
    credentials: &Credentials,
    profile: Profile,
    attempt: Attempt,
) -> Result<(Profile, Credential), Error> {
    let Attempt { secrets, challenge, force_registration, browser, redirection, mut tell } = attempt;
    // Fails on a locked or missing store before the user signs in and before any request is sent.
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
        tracing::debug!(%error, "could not delete the stored registration that this sign-in used");
    }
    Ok((profile, credential))
}

/// Inputs to a sign-in besides the profile's options.
#[derive(Default)]
pub struct Wanted<'a> {
    /// The server's refusal of a request, if that is the reason to sign in.
    pub challenge: Option<Challenge>,
    /// The earlier sign-in.
    pub before: Before,
    /// The Client ID Metadata Document to use if the profile has none.
    pub client_metadata_url: Option<&'a ClientMetadataUrl>,
}

/// The earlier sign-in.
#[derive(Default)]
pub struct Before {
    /// The credential that the new one replaces.
    pub credential: Option<Credential>,
    /// Whether to ignore a stored registration.
    pub force_registration: bool,
}

/// Signs in with the profile's grant.
///
/// # Errors
/// Any [`LoginError`].
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
        browser: person.browser.clone(),
        registrations: Some(credentials.registrations()),
    };
    let grant = options.grant_kind();
    let provider_secret =
        secrets.identity_provider.or_else(|| provider_secret(options, wanted.before.credential.as_ref()));
    let Wanted { challenge, before: Before { credential, force_registration }, client_metadata_url } = wanted;
    let mut request = LoginRequest {
        challenge,
        force_registration,
        certificate: secrets.certificate,
        ..profile.login_request(secrets.client, credential)
    };
    let options = &mut request.options;
    if options.redirect_uri.is_none() && options.client_metadata_url.is_none() {
        // The shared document contains finmcp's own redirect URI only.
        options.client_metadata_url = client_metadata_url.cloned();
    }
    match grant {
        GrantKind::ClientCredentials => client_credentials(request, &context).await,
        GrantKind::ApiKey => api_key(request, secrets.api_key, &context).await,
        GrantKind::JwtBearer => by_assertion(credentials, request, provider_secret, person, &context).await,
        GrantKind::DeviceCode => device_code(request, person.redirection.timeout, &context, person.progress).await,
        GrantKind::AuthorizationCode => {
            authorization_code(request, person.redirection, &context, person.progress).await
        }
    }
}

/// Signs in with an assertion. If a company's identity provider issues it, its user signs in there first, unless that was
/// done for another server; once more if the provider no longer accepts that sign-in.
async fn by_assertion(
    credentials: &Credentials,
    request: LoginRequest,
    provider_secret: Option<Secret>,
    person: Person<'_>,
    context: &Context<'_>,
) -> Result<Credential, LoginError> {
    let Some(company) = Company::of(&request.options)? else {
        return jwt_bearer(request, provider_secret, None, context).await;
    };
    let stored = company.id_token(credentials).await.map_err(LoginError::Store)?;
    if let Some(id_token) = stored {
        let sign_in = Some((company.identity(), id_token));
        match jwt_bearer(request.clone(), provider_secret.clone(), sign_in, context).await {
            Err(LoginError::Assertion(AssertionError::SignInRefused { .. })) => {}
            outcome => return outcome,
        }
    }
    let id_token = company.sign_in(credentials, &request.options, provider_secret.clone(), person).await?;
    jwt_bearer(request, provider_secret, Some((company.identity(), id_token)), context).await
}

/// The stored secret of this client at this identity provider.
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

/// The challenge plus the scope that was granted `earlier`, and with DPoP if the earlier sign-in used it: with less,
/// other requests would fail instead (MCP authorization, "Step-Up Authorization Flow").
fn widened(challenge: Challenge, earlier: Option<&Credential>) -> Challenge {
    let granted = earlier.and_then(|credential| {
        let tokens = credential.tokens.as_ref()?;
        tokens.scope.clone().or_else(|| credential.scope.clone())
    });
    let scope = [granted, challenge.scope].into_iter().flatten().reduce(|all, scope| all.union(&scope));
    let dpop = challenge.dpop || earlier.is_some_and(|credential| credential.dpop_key.is_some());
    Challenge { scope, dpop, ..challenge }
}

/// Stores the new credential, then saves the profile that refers to it, then deletes the old credential: if this is
/// interrupted, a valid credential remains.
///
/// # Errors
/// The store or `config.toml` cannot be written.
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
        Error::of_token(error, &profile).while_doing("signed in, but could not store the credential")
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

/// Deletes the credential that `new` replaces and revokes its tokens. Revokes nothing if `new` uses the same client:
/// some servers then end every sign-in of that client, including the new one.
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
