//! Signing in: from a server's URL to a credential. Nothing here prints, and nothing is stored; both are the caller's.

mod answer;
pub mod browser;
mod client;
pub mod device;
pub mod jwt_bearer;
pub mod loopback;
pub mod mcp_remote;
pub mod options;
pub mod page;
pub mod parameters;
pub mod paste;
mod place;
pub mod portal;
pub mod redirect_uri;
pub mod turn;

#[cfg(test)]
mod rehearsal;
#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    credential::{
        assertion::AssertionError,
        clock::Clock,
        record::{Credential, Identity, Renewal},
        registrations::Registrations,
    },
    http::{Http, HttpError},
    login::{
        answer::{Answer, Asked},
        browser::{Browser, BrowserError},
        client::{Applicant, Origin},
        page::Page,
        paste::{Paste, PasteError},
        place::Place,
        redirect_uri::RedirectUri,
    },
    oauth::{
        authorization::{AuthorizationRequest, Wanted},
        authorization_server::AuthorizationServer,
        challenge::Challenge,
        client::{self as oauth_client, Grant},
        client_metadata::ClientMetadataUrl,
        discovery::{self, Discovery, DiscoveryError, Requirement},
        dpop::DpopKey,
        error::{OAuthError, RegistrationError, TokenError, Untrusted, cleaned},
        overrides::Overrides,
        private_key::PrivateKey,
        registration::{ClientAuthentication, ClientRegistration},
        scope::Scope,
    },
    secret::Secret,
    server_url::ServerUrl,
};

/// The scope that asks for a refresh token (OpenID Connect Core 1.0 section 11).
const OFFLINE_ACCESS: &str = "offline_access";

/// What to sign in to, and as whom.
#[derive(Debug, Clone)]
pub struct LoginRequest {
    /// The MCP server.
    pub server: ServerUrl,
    /// Its name for people.
    pub title: String,
    /// The vendor environment, empty where there is one only.
    pub environment: String,
    /// The business or person, as the profile names it.
    pub account: String,
    /// The authorization server's issuer identifier, where the person or the provider knows better than the server.
    pub issuer: Option<String>,
    /// The client, where the person or the provider has registered one.
    pub client: Option<PreRegistered>,
    /// The document that says who finmcp is, for authorization servers that read such.
    pub client_metadata_url: Option<ClientMetadataUrl>,
    /// An earlier registration, used again with the same authorization server and with no other.
    pub known: Option<KnownClient>,
    /// Whether a client that finmcp has registered before is left alone, and a new one registered.
    pub registers_anew: bool,
    /// What to ask for, where the person or the provider has chosen.
    pub scope: Option<Scope>,
    /// What the server has refused a request with, where it has: it is not asked again then. The scope that it names is
    /// asked for besides the chosen one.
    pub challenge: Option<Challenge>,
    /// The redirect URI that the client is registered with, where a person has fixed it.
    pub redirect_uri: Option<RedirectUri>,
    /// The `resource` parameter.
    pub resource: ResourceParameter,
    /// Further parameters that this server wants, such as `business_id`.
    pub parameters: Vec<(String, String)>,
    /// Whether the tokens are to be bound to a key, though nobody but the person asks for it (RFC 9449).
    pub dpop: bool,
    /// What the person accepts of this server.
    pub overrides: Overrides,
}

/// A client that was registered by hand (MCP authorization, "Pre-registration").
#[derive(Debug, Clone)]
pub struct PreRegistered {
    /// The client identifier.
    pub client_id: String,
    /// The secret of a confidential client, or its private key.
    pub client_secret: Option<Secret>,
    /// How it authenticates, where that is known; else as the authorization server's metadata says.
    pub authentication: Option<ClientAuthentication>,
}

/// A registration and the authorization server that it is good for (MCP authorization, "Authorization Server Binding").
#[derive(Debug, Clone)]
pub struct KnownClient {
    /// That server's issuer identifier.
    pub issuer: String,
    /// The registration.
    pub registration: ClientRegistration,
}

/// The `resource` parameter of every request for a token (RFC 8707 section 2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ResourceParameter {
    /// As the server's metadata says, else the server's own URL.
    #[default]
    Discovered,
    /// This one.
    Fixed(String),
    /// None: for servers that refuse it.
    Omitted,
}

/// How the answer of a person's sign-in comes back.
#[derive(Debug)]
pub struct Redirection {
    /// The port of 127.0.0.1 to listen on; else the fixed redirect URI, else that of an earlier registration if its port is
    /// free, else any port.
    pub port: Option<u16>,
    /// Where the person can paste it, when the browser cannot come back here.
    pub paste: Option<Paste>,
    /// How long the person has.
    pub timeout: Duration,
}

/// What a sign-in works with.
#[derive(Clone)]
pub struct Context<'a> {
    /// The network.
    pub http: &'a Http,
    /// The time.
    pub clock: &'a dyn Clock,
    /// What shows the sign-in page; none where the person wants to do that.
    pub browser: Option<Arc<dyn Browser>>,
    /// Where clients are kept that nobody has signed in with yet; none where each sign-in registers its own.
    pub registrations: Option<Registrations>,
}

/// What happens meanwhile, for whoever watches.
#[derive(Debug)]
pub enum Progress<'a> {
    /// The authorization server registers no client for this long, and is waited for.
    Busy(Duration),
    /// The sign-in page, before it is opened: its host is whom the person is about to trust.
    Page(&'a ServerUrl),
    /// The page that the person opens on another device, whose host is whom the person is about to trust, and the code
    /// to enter there.
    Code {
        /// The page.
        page: &'a ServerUrl,
        /// The code.
        code: &'a str,
    },
    /// A browser was started with it.
    Opened,
    /// No browser could be started: the person has to open the page.
    NotOpened(BrowserError),
    /// The person can paste the address that the browser ends on.
    PasteHere,
    /// What was pasted is not the answer; the wait goes on.
    WrongPaste(PasteError),
    /// The wait for the person begins, and lasts this long at most.
    Waiting(Duration),
    /// The answer is there, and is being exchanged for a token.
    Answered,
}

/// A sign-in that brought no credential, sorted by what the person does next.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Something that a server says must not be acted upon.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// The server serves without authorization: there is nothing to sign in to.
    #[error("{host} asks for no sign-in")]
    NotRequired {
        /// The server.
        host: String,
    },
    /// The authorization server registers no clients by itself: the person needs a client of their own.
    #[error("{host} does not let programs register by themselves")]
    NeedsRegistration {
        /// The authorization server.
        host: String,
    },
    /// The authorization server signs nobody in on another device (RFC 8628).
    #[error("{host} does not offer sign-in with a device code")]
    NoDeviceCode {
        /// The authorization server.
        host: String,
    },
    /// The authorization server takes no sign-in whose request did not come to it beforehand (RFC 9126 section 5).
    #[error("{host} takes only authorization requests that are pushed to it first (PAR), and finmcp does not push yet")]
    PushedOnly {
        /// The authorization server.
        host: String,
        /// Whether it offers sign-in with a device code, which needs no such request.
        device_codes: bool,
    },
    /// Tokens are to be bound to a key, and the authorization server does not say that it does so.
    #[error("{host} does not say that it binds tokens to a key (DPoP with ES256)")]
    NoDpop {
        /// The authorization server.
        host: String,
    },
    /// Client credentials are wanted, and there are none.
    #[error("a client id and its secret or private key are needed")]
    NeedsSecret,
    /// The authorization server does not take the client's private key (RFC 8414 section 2).
    #[error("{}", key_refused(.host, .algorithm, .accepted))]
    KeyRefused {
        /// The authorization server.
        host: String,
        /// What the key signs with.
        algorithm: &'static str,
        /// What the server lists, cleaned; nothing where it takes no keys at all.
        accepted: Vec<String>,
    },
    /// Somebody else is to say who we are, and there is nobody.
    #[error("an assertion, or an identity provider that gives one, is needed")]
    NeedsAssertion,
    /// The assertion brought nothing.
    #[error(transparent)]
    Assertion(AssertionError),
    /// The person, or somebody for them, said no.
    #[error("the sign-in was refused: {0}")]
    Denied(OAuthError),
    /// The authorization server did not accept the request.
    #[error("the authorization server did not accept the sign-in: {0}")]
    Refused(OAuthError),
    /// The authorization server refuses the client that it has just registered.
    #[error("the authorization server refused the client that it has just registered: {0}")]
    NewClientRefused(OAuthError),
    /// The authorization server no longer knows the client that it registered for an earlier sign-in.
    #[error("the authorization server no longer knows the client that it registered: {0}")]
    ClientForgotten(OAuthError),
    /// Nobody signed in.
    #[error("nobody signed in within {} s", .after.as_secs())]
    TimedOut {
        /// How long the person had.
        after: Duration,
        /// Whether the client registered at an earlier sign-in. A server that has forgotten it shows a page of its own
        /// that leads nowhere (RFC 6749 section 4.1.2.1), and nobody comes back.
        known_client: bool,
    },
    /// The redirect URI's port cannot be used.
    #[error("cannot listen for the answer on {}", listened_at(.address))]
    Listener {
        /// Where; port 0 is any port.
        address: SocketAddr,
        /// The option that chose the port; none where the system was to pick one.
        option: Option<&'static str>,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The server's metadata cannot be had.
    #[error(transparent)]
    Discovery(DiscoveryError),
    /// Dynamic registration.
    #[error(transparent)]
    Registration(RegistrationError),
    /// The token request.
    #[error(transparent)]
    Token(TokenError),
    /// The network.
    #[error(transparent)]
    Http(#[from] HttpError),
}

fn listened_at(address: &SocketAddr) -> String {
    if address.port() == 0 { address.ip().to_string() } else { address.to_string() }
}

fn key_refused(host: &str, algorithm: &str, accepted: &[String]) -> String {
    match accepted {
        [] => format!("{host} takes no private key: it does not list private_key_jwt"),
        accepted => format!("{host} takes no key that signs with {algorithm}, but {} only", accepted.join(", ")),
    }
}

/// Signs a person in with the authorization code grant and PKCE (RFC 6749 section 4.1, RFC 7636), or with a device code
/// where no browser opens here and the server offers that. A server that has forgotten an earlier registration gets a
/// new one, and the person is asked once more.
///
/// # Errors
/// Any [`LoginError`].
pub async fn authorization_code(
    request: LoginRequest,
    mut redirection: Redirection,
    context: &Context<'_>,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<Credential, LoginError> {
    let anew = LoginRequest { known: None, registers_anew: true, ..request.clone() };
    match ask_person(request, &mut redirection, context, progress).await {
        Err(LoginError::ClientForgotten(_)) => ask_person(anew, &mut redirection, context, progress).await,
        outcome => outcome,
    }
}

async fn ask_person(
    request: LoginRequest,
    redirection: &mut Redirection,
    context: &Context<'_>,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<Credential, LoginError> {
    let discovery = request.discover(context).await?;
    let server = &discovery.authorization_server;
    // Whoever a person cannot be sent to is refused before anything is registered or opened.
    server.authorization_endpoint()?;
    if server.pushed_requests_only {
        return Err(LoginError::PushedOnly { host: server.token_endpoint.host(), device_codes: server.device_codes });
    }
    let scope = request.scope_for_person(&discovery);
    let place = Place { fixed: request.redirect_uri.as_ref(), port: redirection.port };
    let applicant = Applicant { request: &request, discovery: &discovery, scope: scope.as_ref(), context };
    let (loopback, registration, origin) = applicant.for_browser(&place, progress).await?;
    let redirect_uri = loopback.redirect_uri().to_string();
    let other = request.other_authentication(&registration, origin);
    let (title, host) = (request.title.clone(), request.server.host());
    let credential = request.credential(&discovery, Renewal::RefreshToken, registration, scope)?;
    let dpop_jkt = credential.dpop_key.as_ref().map(|key| key.thumbprint());
    let wanted = Wanted {
        resource: credential.resource.as_deref(),
        scope: credential.scope.as_ref(),
        dpop_jkt: dpop_jkt.as_deref(),
        parameters: &credential.parameters,
    };
    let authorization = Arc::new(AuthorizationRequest::new(server, &credential.registration, &redirect_uri, wanted)?);
    let asked = Asked {
        authorization: &authorization,
        credential: &credential,
        device: server.device_authorization_endpoint.as_ref().filter(|_| server.device_codes),
        known_client: origin.may_be_forgotten(),
    };
    let (answer, visitor) = match asked.first_answer(loopback, redirection, context, progress).await? {
        Answer::Elsewhere(credential) => return Ok(*credential),
        Answer::Here(answer, visitor) => (answer, visitor),
    };
    let outcome = match answer {
        Ok(code) => {
            progress(Progress::Answered);
            let verifier = &authorization.verifier;
            let grant = Grant::AuthorizationCode { code: &code, verifier, redirect_uri: &redirect_uri };
            match with_first_tokens(credential, grant, other, context).await {
                Err(LoginError::Token(TokenError::Refused(refusal))) if refusal.code == "invalid_client" => {
                    Err(refused_client(refusal, origin))
                }
                outcome => outcome,
            }
        }
        Err(error) => Err(error),
    };
    if let Some(visitor) = visitor {
        let page = match &outcome {
            Ok(credential) => Page::signed_in(&title, &host, &credential.holder()),
            Err(_) => Page::failed(&title),
        };
        visitor.show(page).await;
    }
    outcome
}

/// What `invalid_client` means, by where the client comes from.
fn refused_client(refusal: OAuthError, origin: Origin) -> LoginError {
    match origin {
        Origin::Given => LoginError::Token(TokenError::Refused(refusal)),
        Origin::Earlier | Origin::Pending => LoginError::ClientForgotten(refusal),
        Origin::New => LoginError::NewClientRefused(refusal),
    }
}

/// Signs a client in with its own credentials (RFC 6749 section 4.4). A pinned `token_endpoint` wins over whatever the
/// server might say: nothing is discovered then.
///
/// # Errors
/// Any [`LoginError`].
pub async fn client_credentials(
    request: LoginRequest,
    token_endpoint: Option<ServerUrl>,
    context: &Context<'_>,
) -> Result<Credential, LoginError> {
    let discovery = request.discover_unless_pinned(token_endpoint, context).await?;
    let registration = request.registration(&discovery.authorization_server, context.clock.now());
    let registration = registration.filter(|registration| registration.client_secret.is_some());
    let registration = registration.ok_or(LoginError::NeedsSecret)?;
    let scope = request.scope(&discovery);
    let credential = request.credential(&discovery, Renewal::ClientCredentials, registration, scope)?;
    with_tokens(credential, Grant::ClientCredentials, context).await
}

impl LoginRequest {
    async fn discover(&self, context: &Context<'_>) -> Result<Discovery, LoginError> {
        let (issuer, challenge) = (self.issuer.as_deref(), self.challenge.clone());
        match discovery::discover(context.http, &self.server, issuer, challenge, &self.overrides).await? {
            Requirement::Token(discovery) => {
                self.refuse_another_server(&discovery.authorization_server)?;
                Ok(*discovery)
            }
            Requirement::Nothing => Err(LoginError::NotRequired { host: self.server.host() }),
        }
    }

    /// A client that was registered by hand is one server's, and shown to no other unless the person says so (MCP
    /// authorization, "Authorization Server Binding").
    ///
    /// # Errors
    /// [`Untrusted::AnotherServer`].
    pub fn refuse_another_server(&self, server: &AuthorizationServer) -> Result<(), Untrusted> {
        let (Some(client), Some(known), None) = (&self.client, &self.known, &self.issuer) else { return Ok(()) };
        if known.registration.client_id != client.client_id || known.issuer == server.issuer {
            return Ok(());
        }
        Err(Untrusted::AnotherServer { expected: cleaned(&known.issuer), found: cleaned(&server.issuer) })
    }

    async fn discover_unless_pinned(
        &self,
        token_endpoint: Option<ServerUrl>,
        context: &Context<'_>,
    ) -> Result<Discovery, LoginError> {
        match token_endpoint {
            Some(endpoint) => Ok(Discovery::pinned(self.issuer.clone(), endpoint)),
            None => self.discover(context).await,
        }
    }

    /// Who we are to `server` already: as registered by hand, else by the document about us, else as registered earlier
    /// with this very server (MCP authorization, "Client Registration").
    pub fn registration(&self, server: &AuthorizationServer, now: Timestamp) -> Option<ClientRegistration> {
        let known = self.known.as_ref().filter(|known| known.issuer == server.issuer).map(|known| &known.registration);
        if let Some(PreRegistered { client_id, client_secret, authentication }) = self.client.clone() {
            // A secret that is stored already need not be given again, and goes nowhere else.
            if let (None, Some(known)) = (&client_secret, known.filter(|known| known.client_id == client_id)) {
                return Some(known.clone());
            }
            let usual = match &client_secret {
                None => ClientAuthentication::None,
                Some(_) => ClientAuthentication::choose(&server.authentication),
            };
            let registration = ClientRegistration {
                client_id,
                client_secret,
                authentication: usual,
                redirect_uri: None,
                expires_at: None,
            };
            return Some(registration.authenticating(authentication.or(self.overrides.authentication())));
        }
        if let Some(url) = self.client_metadata_url.as_ref().filter(|_| server.client_metadata_documents) {
            return Some(url.registration());
        }
        let known = known.filter(|known| known.expires_at.is_none_or(|end| end > now));
        let known = known.filter(|known| !(self.registers_anew && known.is_dynamic()));
        known.cloned().map(|known| known.authenticating(self.overrides.authentication()))
    }

    /// How else the client could authenticate if the server refuses it, where it has never been accepted and the person
    /// has not chosen.
    fn other_authentication(&self, registration: &ClientRegistration, origin: Origin) -> Option<ClientAuthentication> {
        let is_open = origin.is_unproven() && self.overrides.authentication().is_none();
        if is_open { registration.other_authentication() } else { None }
    }

    /// The resource's identifier, and the `resource` parameter.
    fn resource(&self, discovery: &Discovery) -> (String, Option<String>) {
        let published = discovery.protected_resource.as_ref().map(|resource| resource.resource.clone());
        let identifier = published.unwrap_or_else(|| self.server.resource());
        match self.resource.clone() {
            ResourceParameter::Discovered => (identifier.clone(), Some(identifier)),
            ResourceParameter::Fixed(resource) => (resource.clone(), Some(resource)),
            ResourceParameter::Omitted => (identifier, None),
        }
    }

    fn scope(&self, discovery: &Discovery) -> Option<Scope> {
        let supported = discovery.protected_resource.as_ref().and_then(|resource| resource.scopes_supported.clone());
        let refused = self.challenge.as_ref().and_then(|challenge| challenge.scope.as_ref());
        let chosen = match (&self.scope, refused) {
            (Some(chosen), Some(refused)) => Some(chosen.union(refused)),
            (chosen, _) => chosen.clone(),
        };
        Scope::select(chosen, discovery.challenge.scope.clone(), supported)
    }

    /// With a refresh token where the server offers one, so that the person is asked once (MCP authorization, "Refresh
    /// Tokens").
    fn scope_for_person(&self, discovery: &Discovery) -> Option<Scope> {
        let scope = self.scope(discovery);
        if !self.overrides.offline_access.unwrap_or(discovery.authorization_server.offline_access) {
            return scope;
        }
        scope.clone().unwrap_or_default().with(OFFLINE_ACCESS).ok().or(scope)
    }

    /// A key for the tokens, where a person asks for one, or the server does: by its metadata, or by the scheme of its
    /// challenge. The authorization server's word alone is no reason: whether the server takes such tokens is not its
    /// to say. And without that word there is none, except where nobody could give it (RFC 9449 section 5.1).
    fn dpop_key(&self, discovery: &Discovery) -> Result<Option<Arc<DpopKey>>, LoginError> {
        let server = &discovery.authorization_server;
        let required = discovery.protected_resource.as_ref().is_some_and(|resource| resource.dpop_required);
        let asked = self.dpop || required || discovery.challenge.dpop;
        match (asked, server.dpop.unwrap_or(self.dpop)) {
            (true, true) => Ok(Some(Arc::new(DpopKey::generate().map_err(TokenError::from)?))),
            (true, false) if self.dpop || required => Err(LoginError::NoDpop { host: server.token_endpoint.host() }),
            // A server that challenges may take other tokens as well (RFC 9449 section 7.2).
            _ => Ok(None),
        }
    }

    /// The credential that is about to get its tokens.
    fn credential(
        self,
        discovery: &Discovery,
        renewal: Renewal,
        registration: ClientRegistration,
        scope: Option<Scope>,
    ) -> Result<Credential, LoginError> {
        refuse_key(&discovery.authorization_server, &registration)?;
        let dpop_key = self.dpop_key(discovery)?;
        let server = &discovery.authorization_server;
        let (identifier, resource) = self.resource(discovery);
        let identity = Identity {
            environment: self.environment,
            issuer: server.issuer.clone(),
            resource: identifier,
            client_id: registration.client_id.clone(),
            account: self.account,
        };
        Ok(Credential {
            identity,
            generation: 0,
            renewal,
            registration,
            token_endpoint: server.token_endpoint.clone(),
            revocation_endpoint: server.revocation_endpoint.clone(),
            resource,
            scope,
            scope_on_refresh: self.overrides.scope_on_refresh,
            require_audience: self.overrides.require_audience,
            parameters: self.parameters,
            dpop_key,
            tokens: None,
            end: None,
        })
    }
}

/// Whether the client's private key is one that `server` takes. It is said before anybody is asked to sign in.
fn refuse_key(server: &AuthorizationServer, registration: &ClientRegistration) -> Result<(), LoginError> {
    let (ClientAuthentication::PrivateKeyJwt, Some(pem), Some(accepted)) =
        (registration.authentication, &registration.client_secret, &server.key_algorithms)
    else {
        return Ok(());
    };
    let algorithm = PrivateKey::from_pem(pem).map_err(TokenError::from)?.algorithm().name();
    if accepted.iter().any(|accepted| accepted == algorithm) {
        return Ok(());
    }
    let accepted = accepted.iter().map(|accepted| cleaned(accepted)).collect();
    Err(LoginError::KeyRefused { host: server.token_endpoint.host(), algorithm, accepted })
}

/// `credential` with its first tokens. A server that refuses a client looks at no code (RFC 6749 section 3.2.1), so that
/// the `other` way to authenticate is tried with the same one, where there is one. The way that worked stays with the
/// credential.
async fn with_first_tokens(
    credential: Credential,
    grant: Grant<'_>,
    other: Option<ClientAuthentication>,
    context: &Context<'_>,
) -> Result<Credential, LoginError> {
    let refusal = match (with_tokens(credential.clone(), grant, context).await, other) {
        (Err(LoginError::Token(refusal)), Some(_)) if refusal.refuses_client() => refusal,
        (outcome, _) => return outcome,
    };
    let registration = credential.registration.authenticating(other);
    tracing::debug!(%refusal, method = registration.authentication.method(), "authenticating in another way");
    with_tokens(Credential { registration, ..credential }, grant, context).await.map_err(|_| LoginError::Token(refusal))
}

/// `credential` with its first tokens.
async fn with_tokens(
    mut credential: Credential,
    grant: Grant<'_>,
    context: &Context<'_>,
) -> Result<Credential, LoginError> {
    let request = credential.token_request(grant);
    credential.tokens = Some(oauth_client::request_token(context.http, request, context.clock.now()).await?);
    Ok(credential)
}

impl From<DiscoveryError> for LoginError {
    fn from(error: DiscoveryError) -> Self {
        match error {
            DiscoveryError::Untrusted(reason) => Self::Untrusted(reason),
            DiscoveryError::Http(error) => Self::Http(error),
            error => Self::Discovery(error),
        }
    }
}

impl From<RegistrationError> for LoginError {
    fn from(error: RegistrationError) -> Self {
        match error {
            RegistrationError::Http(error) => Self::Http(error),
            error => Self::Registration(error),
        }
    }
}

impl From<AssertionError> for LoginError {
    fn from(error: AssertionError) -> Self {
        match error {
            AssertionError::Token(error) => error.into(),
            error => Self::Assertion(error),
        }
    }
}

impl From<TokenError> for LoginError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Http(error) => Self::Http(error),
            error => Self::Token(error),
        }
    }
}
