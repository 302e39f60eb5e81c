//! `finmcp login`.

use std::{
    fs,
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use zeroize::Zeroizing;

use crate::{
    cli,
    commands::App,
    console::Console,
    credential::{
        assertion::AssertionSource,
        record::{Credential, Renewal},
    },
    error::{Error, ErrorKind},
    login::{
        self, Context, KnownClient, LoginError, LoginRequest, PreRegistered, Progress, Redirection, ResourceParameter,
        browser::Browser,
        device::device_code,
        jwt_bearer::{Assertion, jwt_bearer},
        paste::Paste,
    },
    oauth::{
        challenge::Challenge, overrides::Overrides, private_key::PrivateKey, registration::ClientAuthentication,
        scope::Scope,
    },
    profile::{Profile, RegistrationOptions, Selector},
    provider::GrantKind,
    secret::Secret,
    settings::Screen,
};

/// Signs in, stores the credential, and saves the profile, so that `token` and `serve` find it by name.
///
/// # Errors
/// Whatever kept it from being done; then nothing is changed.
pub async fn run(app: &App, arguments: cli::Login) -> Result<(), Error> {
    if arguments.client_secret.is_some() {
        return Err(Error::new(ErrorKind::Usage, "a secret typed as an argument can be seen by everybody on this machine")
            .hint("put it into a file for --client-secret-file, pipe it to --client-secret-file -, or set FINMCP_CLIENT_SECRET"));
    }
    let secrets = Secrets {
        client: match arguments.private_key_file.clone() {
            Some(path) => Some(private_key(path).await?),
            None => client_secret(app, arguments.client_secret_file.clone()).await?,
        },
        identity_provider: match arguments.identity_provider_client_secret_file.clone() {
            Some(path) => Some(secret_in(path, "identity provider's client secret").await?),
            None => None,
        },
    };
    let (port, timeout) = (arguments.port, Duration::from_secs(arguments.timeout));
    let (no_browser, force) = (arguments.no_browser, arguments.force);
    let (selector, options) = options(arguments)?;
    let mut profile = Profile::select(&selector, &app.settings)?;
    if !force {
        refuse_takeover(app, &profile)?;
    }
    profile.registration = options.or(profile.registration);

    let by_page = profile.registration.grant.is_none_or(|grant| grant == GrantKind::AuthorizationCode);
    let browser = if by_page && !no_browser { browser_for(app, &profile)? } else { None };
    let paste = if by_page { paste(no_browser) } else { None };
    let redirection = Redirection { port, paste, timeout };
    let attempt = Attempt { secrets, challenge: None, anew: force, browser, redirection };
    let (profile, credential) = sign_in_and_keep(app, profile, attempt).await?;
    summarise(app, &profile, &credential);
    Ok(())
}

/// What shows the sign-in page; nothing where somebody at a terminal opens it elsewhere.
fn browser_for(app: &App, profile: &Profile) -> Result<Option<Arc<dyn Browser>>, Error> {
    match &app.settings.screen {
        Screen::Browser(browser) => Ok(Some(Arc::new(browser.clone()))),
        Screen::Terminal => Ok(None),
        Screen::Nobody(reason) => {
            let error = format!("a person has to sign in to {}, and nobody is here: {reason}", profile.title);
            let command = profile.login_command();
            Err(Error::new(ErrorKind::LoginRequired, error).hint(format!("run `{command}` in a terminal or on a desktop; or `{command} --no-browser` here, which prints the address to open and reads from stdin the one that the browser ends on")))
        }
    }
}

/// Where the person can paste the answer: a terminal, which need not be told about; anything else only where that is how
/// it is to come back.
fn paste(no_browser: bool) -> Option<Paste> {
    Paste::from_terminal().or_else(|| (no_browser && !io::stdin().is_terminal()).then(Paste::from_pipe))
}

/// What a person hands over for a sign-in, where it takes any; what is stored already need not be.
#[derive(Default)]
pub struct Secrets {
    /// The client secret, or the client's private key.
    pub client: Option<Secret>,
    /// The client secret at the identity provider.
    pub identity_provider: Option<Secret>,
}

/// A sign-in that somebody wants.
pub struct Attempt {
    /// What the person hands over.
    pub secrets: Secrets,
    /// What the server refused a request with, where it has: the new sign-in allows that, and all that the one before
    /// allowed.
    pub challenge: Option<Challenge>,
    /// Whether a client that registered itself earlier is to register anew.
    pub anew: bool,
    /// What shows the sign-in page; none where the person wants to do that.
    pub browser: Option<Arc<dyn Browser>>,
    /// How the answer comes back.
    pub redirection: Redirection,
}

/// The whole of it: a person or a secret, the credential in the store, the profile in `config.toml`.
///
/// # Errors
/// Whatever kept it from being done; then nothing is changed.
pub async fn sign_in_and_keep(app: &App, profile: Profile, attempt: Attempt) -> Result<(Profile, Credential), Error> {
    let Attempt { secrets, challenge, anew, browser, redirection } = attempt;
    // A store that is locked or missing is said before anybody is asked to sign in, and before a server is.
    prove_store(app).await?;
    let earlier = earlier(app, &profile).await?;
    let (console, title) = (app.console, profile.title.clone());
    for name in profile.registration.overrides.risky() {
        console.say(&format!("Note: {name} is set for {title}: a rule that protects you is loosened."));
    }
    let person = Person { browser, redirection, progress: &mut |progress| show(console, &title, progress) };
    let challenge = challenge.map(|challenge| widened(challenge, earlier.as_ref()));
    let known = earlier.clone().filter(|earlier| !(anew && earlier.registration.is_dynamic()));
    let credential = sign_in(app, &profile, secrets, challenge, known, person)
        .await
        .map_err(|error| Error::from(error).while_doing(format!("could not sign in to {}", profile.title)))?;
    if let Some(audience) = credential.other_audience() {
        console.say(&format!("Note: the token of {title} says that it is for {audience}, not for this server."));
    }
    let profile = keep(app, profile, credential.clone(), earlier).await?;
    Ok((profile, credential))
}

/// The sign-in itself, by the profile's grant.
///
/// # Errors
/// Any error of the login.
pub async fn sign_in(
    app: &App,
    profile: &Profile,
    secrets: Secrets,
    challenge: Option<Challenge>,
    earlier: Option<Credential>,
    person: Person<'_>,
) -> Result<Credential, LoginError> {
    let options = &profile.registration;
    let context = Context { http: &app.http, clock: app.clock.as_ref(), browser: person.browser };
    let grant = options.grant.unwrap_or(GrantKind::AuthorizationCode);
    let provider_secret = secrets.identity_provider.or_else(|| provider_secret(options, earlier.as_ref()));
    let mut request = LoginRequest { challenge, ..request(profile, secrets.client, earlier) };
    request.client_metadata_url = request.client_metadata_url.or_else(|| app.settings.client_metadata_url.clone());
    match grant {
        GrantKind::ClientCredentials => {
            login::client_credentials(request, options.token_endpoint.clone(), &context).await
        }
        GrantKind::JwtBearer => {
            let assertion = options.assertion.clone().ok_or(LoginError::NeedsAssertion)?;
            jwt_bearer(request, assertion, provider_secret, options.token_endpoint.clone(), &context).await
        }
        GrantKind::DeviceCode => device_code(request, person.redirection.timeout, &context, person.progress).await,
        GrantKind::AuthorizationCode => {
            login::authorization_code(request, person.redirection, &context, person.progress).await
        }
    }
}

/// The secret that is stored for this very client at this very identity provider.
fn provider_secret(options: &RegistrationOptions, earlier: Option<&Credential>) -> Option<Secret> {
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

fn request(profile: &Profile, secret: Option<Secret>, earlier: Option<Credential>) -> LoginRequest {
    let options = &profile.registration;
    let known = earlier
        .map(|credential| KnownClient { issuer: credential.identity.issuer, registration: credential.registration });
    LoginRequest {
        server: profile.server.clone(),
        title: profile.title.clone(),
        environment: profile.environment.clone(),
        account: profile.account(),
        issuer: options.issuer.clone(),
        client: options.client_id.clone().map(|client_id| PreRegistered {
            client_id,
            client_secret: secret,
            authentication: options.client_authentication,
        }),
        client_metadata_url: options.client_metadata_url.clone(),
        // One that was given by hand is no longer meant where it is no longer named.
        known: known.filter(|known| match &options.client_id {
            Some(client_id) => known.registration.client_id == *client_id,
            None => known.registration.is_dynamic(),
        }),
        scope: options.scope.clone(),
        challenge: None,
        resource: options.resource.clone(),
        parameters: options.parameters.clone(),
        dpop: options.dpop,
        overrides: options.overrides.clone(),
    }
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

/// Stores the new credential, then points the profile at it, then forgets the one before: whenever this is cut short, a
/// working one is left.
///
/// # Errors
/// The store, or `config.toml`.
pub async fn keep(
    app: &App,
    mut profile: Profile,
    credential: Credential,
    earlier: Option<Credential>,
) -> Result<Profile, Error> {
    let identity = credential.identity.clone();
    app.tokens(Some(identity.clone())).sign_in(credential).await.map_err(|error| {
        Error::of_token(error, &profile).while_doing("signed in, but could not keep the credential")
    })?;
    profile.signed_in = Some(identity.clone());
    profile.saved = true;
    app.settings.save_profile(&profile).await?;
    if let Some(earlier) = earlier.filter(|earlier| earlier.identity != identity) {
        let _ = app.tokens(Some(earlier.identity)).sign_out().await;
    }
    Ok(profile)
}

fn summarise(app: &App, profile: &Profile, credential: &Credential) {
    let console = app.console;
    match credential.tokens.as_ref().and_then(|tokens| tokens.person.as_ref()) {
        Some(person) => console.say(&format!("Signed in to {} as {person}, profile {}.", profile.title, profile.name)),
        None => console.say(&format!("Signed in to {} as profile {}.", profile.title, profile.name)),
    }
    console.say(&format!("The credential is in {}.", app.store.description()));
    match credential.tokens.as_ref().and_then(|tokens| tokens.expires_at) {
        _ if credential.renews_by_itself() => console.say("It is renewed by itself."),
        Some(end) => console.say(&format!("It ends at {end}: the server gave nothing to renew it with.")),
        None => {}
    }
    console.say(&format!("An AI client starts it with: finmcp serve {}", profile.spoken()));
}

/// Writes to the store and cleans up: what it will not take later is better not asked for.
async fn prove_store(app: &App) -> Result<(), Error> {
    const PROOF: &str = "finmcp-proof";
    app.store.save(PROOF, zeroize::Zeroizing::new(b"finmcp can write here".to_vec())).await?;
    app.store.delete(PROOF).await?;
    Ok(())
}

/// What is stored for this profile already.
async fn earlier(app: &App, profile: &Profile) -> Result<Option<Credential>, Error> {
    use crate::credential::{store::StoreError, token_source::TokenSourceError};
    match app.tokens(profile.signed_in.clone()).credential().await {
        Ok(credential) => Ok(credential),
        // A damaged entry is what signing in again mends.
        Err(TokenSourceError::Store(error)) if matches!(*error, StoreError::Corrupt(_)) => Ok(None),
        Err(error) => Err(Error::of_token(error, profile)),
    }
}

fn refuse_takeover(app: &App, profile: &Profile) -> Result<(), Error> {
    match app.settings.profile(&profile.name) {
        Some(saved) if saved.server != profile.server && saved.signed_in.is_some() => Err(Error::new(
            ErrorKind::Usage,
            format!("profile {:?} is signed in to {} already", saved.name, saved.server),
        )
        .hint("choose another name with --profile, or replace it with --force")),
        _ => Ok(()),
    }
}

/// What the command line says about signing in.
fn options(arguments: cli::Login) -> Result<(Selector, RegistrationOptions), Error> {
    let scope = arguments.scope.iter().fold(None, |whole: Option<Scope>, scope| {
        Some(whole.map_or_else(|| scope.clone(), |whole| whole.union(scope)))
    });
    let assertion = match (arguments.assertion_file, arguments.identity_provider) {
        (Some(path), _) => Some(Assertion::File(lasting(&path)?)),
        (None, Some(issuer)) => Some(Assertion::IdentityProvider {
            issuer,
            client_id: arguments.identity_provider_client_id.unwrap_or_default(),
            id_token_file: lasting(&arguments.id_token_file.unwrap_or_default())?,
        }),
        (None, None) => None,
    };
    let grant = match (arguments.grant, &assertion) {
        (None, Some(_)) => Some(GrantKind::JwtBearer),
        (Some(grant), Some(_)) if grant != GrantKind::JwtBearer => {
            let text = "--assertion-file and --identity-provider are for --grant jwt-bearer, and for no other grant";
            return Err(Error::new(ErrorKind::Usage, text));
        }
        (grant, _) => grant,
    };
    let mut parameters = arguments.parameters;
    parameters.extend(arguments.business_id.map(|id| ("business_id".to_owned(), id)));
    let options = RegistrationOptions {
        grant,
        assertion,
        client_id: arguments.client_id,
        client_authentication: arguments.private_key_file.map(|_| ClientAuthentication::PrivateKeyJwt),
        client_metadata_url: arguments.client_metadata_url,
        scope,
        token_endpoint: arguments.token_endpoint,
        issuer: arguments.issuer,
        resource: match arguments.resource.as_deref() {
            None => ResourceParameter::Discovered,
            Some("none") => ResourceParameter::Omitted,
            Some(resource) => ResourceParameter::Fixed(resource.to_owned()),
        },
        parameters,
        dpop: arguments.dpop,
        overrides: Overrides { allow_private_network: arguments.allow_private_network, ..Overrides::default() },
    };
    Ok((arguments.server.into(), options))
}

/// The path of a file that will be read again later, from whatever folder.
fn lasting(path: &Path) -> Result<PathBuf, Error> {
    let absolute = std::path::absolute(path)?;
    match absolute.to_str() {
        Some(_) => Ok(absolute),
        None => Err(Error::new(ErrorKind::Usage, format!("{} is not a name in UTF-8", path.display()))),
    }
}

/// The client secret: from the file, from stdin, or from the environment.
async fn client_secret(app: &App, path: Option<PathBuf>) -> Result<Option<Secret>, Error> {
    match path {
        Some(path) => secret_in(path, "client secret").await.map(Some),
        None => Ok(app.settings.client_secret.clone()),
    }
}

/// The client's private key, from the file or from stdin, if it can be used.
async fn private_key(path: PathBuf) -> Result<Secret, Error> {
    let shown = path.display().to_string();
    let key = secret_in(path, "private key").await?;
    PrivateKey::from_pem(&key)
        .map_err(|error| Error::new(ErrorKind::Usage, format!("the private key in {shown} cannot be used: {error}")))?;
    Ok(key)
}

/// What a file, or stdin, holds. A line end after it is not part of it.
async fn secret_in(path: PathBuf, name: &str) -> Result<Secret, Error> {
    let shown = path.display().to_string();
    // A pipe or a terminal may never say anything: on a thread of its own, so that Ctrl-C is heard.
    let text = tokio::task::spawn_blocking(move || read_secret(&path)).await.map_err(io::Error::other).flatten();
    let text = text.map_err(|error| {
        let kind = if error.kind() == io::ErrorKind::NotFound { ErrorKind::Usage } else { ErrorKind::Failure };
        Error::new(kind, error.to_string()).while_doing(format!("cannot read the {name} from {shown}"))
    })?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(Error::new(ErrorKind::Usage, format!("there is no {name} in {shown}"))),
        secret => Ok(Secret::new(secret.to_owned())),
    }
}

fn read_secret(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    if path == Path::new("-") {
        io::stdin().take(SECRET_LIMIT).read_to_string(&mut text)?;
    } else {
        fs::File::open(path)?.take(SECRET_LIMIT).read_to_string(&mut text)?;
    }
    Ok(text)
}

/// The most that is read as a client secret, in bytes.
const SECRET_LIMIT: u64 = 64 << 10;

/// Tells the person what happens.
fn show(console: Console, title: &str, progress: Progress<'_>) {
    match progress {
        Progress::Page(url) => {
            console.say(&format!("{title} asks you to sign in at {}.", url.host()));
            console.say(&format!("If no browser opens, open this address yourself:\n\n  {url}\n"));
        }
        Progress::Code { page, code } => {
            console.say(&format!("{title} asks you to sign in at {}.", page.host()));
            console.say(&format!("On any device, open this address and enter the code {code}:\n\n  {page}\n"));
        }
        Progress::Opened => console.say("Your browser was opened."),
        Progress::NotOpened(_) => console.say("No browser could be opened: use the address above."),
        Progress::PasteHere => console.say(
            "If the browser ends on a page that does not load, copy that page's whole address, paste it here and press \
             Enter. It is not shown.",
        ),
        Progress::WrongPaste(error) => console.say(&format!("Not taken: {error}. Still waiting.")),
        Progress::Waiting(limit) => {
            console.say(&format!("Waiting for you, {} s at most. Ctrl-C stops it.", limit.as_secs()));
        }
        Progress::Answered => console.say("You are back; getting the token."),
    }
}
