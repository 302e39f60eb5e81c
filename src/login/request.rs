//! A sign-in request: the server, the client and the account. All grants start and end here.

use std::sync::Arc;

use jiff::Timestamp;
use oauth2::CsrfToken;

use crate::{
    credential::record::{Bearer, Credential, Identity, Renewal},
    http::client_certificate::ClientCertificate,
    login::{
        context::Context,
        error::LoginError,
        options::{Options, ResourceParameter},
    },
    oauth::{
        authorization_server::AuthorizationServer,
        challenge::Challenge,
        client::{self as oauth_client, Grant, userinfo},
        discovery::{self, Discovery, Requirement},
        dpop::DpopKey,
        error::{TokenError, Untrusted},
        private_key::PrivateKey,
        registration::{ClientAuthentication, ClientRegistration},
        scope::Scope,
    },
    printable::quoted,
    secret::Secret,
    server_url::ServerUrl,
};

/// The scope that asks for a refresh token (OpenID Connect Core 1.0 section 11).
const OFFLINE_ACCESS: &str = "offline_access";

/// The scope that requests an ID token (OpenID Connect Core 1.0 section 3.1.2.1).
const OPENID: &str = "openid";

/// The server to sign in to, the client and the account.
#[derive(Debug, Clone)]
pub struct LoginRequest {
    /// The MCP server.
    pub server: ServerUrl,
    /// Its display name.
    pub title: String,
    /// The vendor's environment; empty if it has only one.
    pub environment: String,
    /// The account, as the profile names it.
    pub account: String,
    /// How to sign in.
    pub options: Options,
    /// The secret or private key of a manually registered client.
    pub client_secret: Option<Secret>,
    /// The certificate of a manually registered client.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// An earlier registration, for the same authorization server only.
    pub known: Option<KnownClient>,
    /// Whether to ignore a client that finmcp registered before and register a new one.
    pub force_registration: bool,
    /// The server's refusal of a request, if there was one: discovery then sends no probe. finmcp requests its scope
    /// in addition to the chosen one.
    pub challenge: Option<Challenge>,
}

/// A registration and its authorization server (MCP authorization, "Authorization Server Binding").
#[derive(Debug, Clone)]
pub struct KnownClient {
    /// The authorization server's issuer identifier.
    pub issuer: String,
    /// The client there.
    pub registration: ClientRegistration,
}

impl LoginRequest {
    pub(super) async fn discover(&self, context: &Context<'_>) -> Result<Discovery, LoginError> {
        let certificate = self.certificate();
        if certificate.is_some() {
            // The MCP server may ask for it before it answers anything.
            context.http.show_certificate(&self.server, certificate);
        }
        let (issuer, challenge) = (self.options.issuer.as_deref(), self.challenge.clone());
        let (headers, overrides) = (self.options.headers.map(), &self.options.overrides);
        match discovery::discover(context.http, &self.server, issuer, challenge, headers, overrides).await? {
            Requirement::Token(mut discovery) => {
                self.refuse_another_server(&discovery.authorization_server)?;
                if certificate.is_some() {
                    discovery.authorization_server = discovery.authorization_server.for_certificate()?;
                }
                Ok(*discovery)
            }
            Requirement::Nothing => Err(LoginError::NotRequired { host: self.server.host() }),
        }
    }

    /// A manually registered client belongs to one authorization server. Refuses to use it with another unless the
    /// user names that server (MCP authorization, "Authorization Server Binding").
    ///
    /// # Errors
    /// [`Untrusted::AnotherServer`].
    pub fn refuse_another_server(&self, server: &AuthorizationServer) -> Result<(), Untrusted> {
        let (Some(client_id), Some(known), None) = (&self.options.client_id, &self.known, &self.options.issuer) else {
            return Ok(());
        };
        if known.registration.client_id != *client_id || known.issuer == server.issuer {
            return Ok(());
        }
        Err(Untrusted::AnotherServer { expected: quoted(&known.issuer), found: quoted(&server.issuer) })
    }

    /// The certificate of the client: the one that the user gave, else the stored one of the same client.
    fn certificate(&self) -> Option<&Arc<ClientCertificate>> {
        let known = || self.known.as_ref()?.registration.certificate.as_ref();
        self.certificate.as_ref().or_else(known)
    }

    /// A pinned token endpoint skips discovery.
    pub(super) async fn discover_unless_pinned(&self, context: &Context<'_>) -> Result<Discovery, LoginError> {
        match self.options.token_endpoint.clone() {
            Some(endpoint) => Ok(Discovery::pinned(self.options.issuer.clone(), endpoint)),
            None => self.discover(context).await,
        }
    }

    /// The client that needs no registration with `server`: a manually registered one, else the Client ID Metadata
    /// Document, else an earlier registration with the same server (MCP authorization, "Client Registration").
    pub fn registration(&self, server: &AuthorizationServer, now: Timestamp) -> Option<ClientRegistration> {
        let known = self.known.as_ref().filter(|known| known.issuer == server.issuer).map(|known| &known.registration);
        if let Some(client_id) = self.options.client_id.clone() {
            let client_secret = self.client_secret.clone();
            // The stored secret of the same client, which goes only to the same server.
            let has_none = client_secret.is_none() && self.certificate.is_none();
            if let (true, Some(known)) = (has_none, known.filter(|known| known.client_id == client_id)) {
                return Some(known.clone());
            }
            let stored = || known.filter(|known| known.client_id == client_id)?.certificate.clone();
            let certificate = self.certificate.clone().or_else(stored);
            if let Some(certificate) = &certificate
                && let Some(registration) = certified(&client_id, client_secret.as_ref(), certificate, server)
            {
                return Some(registration);
            }
            let registration = ClientRegistration::with_secret(client_id, client_secret, &server.authentication);
            let registration = ClientRegistration { certificate, ..registration };
            return Some(
                registration
                    .authenticating(self.options.client_authentication.or(self.options.overrides.authentication())),
            );
        }
        if let Some(url) = self.options.client_metadata_url.as_ref().filter(|_| server.client_metadata_documents) {
            return Some(url.registration());
        }
        let known = known.filter(|known| known.expires_at.is_none_or(|end| end > now));
        let known = known.filter(|known| !(self.force_registration && known.is_dynamic()));
        known.cloned().map(|known| known.authenticating(self.options.overrides.authentication()))
    }

    /// The resource's identifier, and the `resource` parameter.
    pub(super) fn resource(&self, discovery: &Discovery) -> (String, Option<String>) {
        let published = discovery.protected_resource.as_ref().map(|resource| resource.resource.clone());
        let identifier = published.unwrap_or_else(|| self.server.resource());
        match self.options.resource.clone() {
            ResourceParameter::Discovered => (identifier.clone(), Some(identifier)),
            ResourceParameter::Fixed(resource) => (resource.clone(), Some(resource)),
            ResourceParameter::Omitted => (identifier, None),
        }
    }

    /// The scope to request. The override `offline_access = false` removes that scope, whatever names it: the server,
    /// its challenge, the preset or the user.
    pub(super) fn scope(&self, discovery: &Discovery) -> Option<Scope> {
        let supported = discovery.protected_resource.as_ref().and_then(|resource| resource.scopes_supported.clone());
        let refused = self.challenge.as_ref().and_then(|challenge| challenge.scope.as_ref());
        let chosen = match (&self.options.scope, refused) {
            (Some(chosen), Some(refused)) => Some(chosen.union(refused)),
            (chosen, _) => chosen.clone(),
        };
        let selected = Scope::select(chosen, discovery.challenge.scope.clone(), supported);
        let selected = match self.options.bearer {
            Some(Bearer::IdToken) => selected.clone().unwrap_or_default().with(OPENID).ok().or(selected),
            Some(Bearer::AccessToken) | None => selected,
        };
        if self.options.overrides.offline_access != Some(false) {
            return selected;
        }
        selected.map(|scope| scope.without_token(OFFLINE_ACCESS)).filter(|scope| !scope.is_empty())
    }

    /// Additional parameters of the authorization request. An option that only this request sends is added here.
    pub(super) fn authorization_parameters(&self, nonce: Option<&str>) -> Vec<(String, String)> {
        let nonce = nonce.map(|nonce| ("nonce".to_owned(), nonce.to_owned()));
        self.options.parameters.iter().cloned().chain(nonce).collect()
    }

    /// Ties the ID token to the authorization request, if finmcp uses one (OpenID Connect Core 1.0 section 3.1.2.1). A
    /// nonce among the user's parameters takes its place.
    pub(super) fn nonce(&self) -> Option<String> {
        let is_chosen = self.options.parameters.iter().any(|(name, _)| name == "nonce");
        let is_used = self.options.bearer == Some(Bearer::IdToken);
        (is_used && !is_chosen).then(|| CsrfToken::new_random_len(32).into_secret())
    }

    /// Adds `offline_access` if the server supports it or the override requests it, so that the user signs in only once
    /// (MCP authorization, "Refresh Tokens").
    pub(super) fn scope_for_person(&self, discovery: &Discovery) -> Option<Scope> {
        let scope = self.scope(discovery);
        if !self.options.overrides.offline_access.unwrap_or(discovery.authorization_server.offline_access) {
            return scope;
        }
        scope.clone().unwrap_or_default().with(OFFLINE_ACCESS).ok().or(scope)
    }

    /// A DPoP key if the user asks for one, or if the MCP server does in its metadata or its challenge. Support by the
    /// authorization server alone is no reason: it does not know whether the MCP server accepts DPoP. Without that
    /// support there is no key, unless the user asked and there is no metadata to state it (RFC 9449 section 5.1).
    fn dpop_key(&self, discovery: &Discovery) -> Result<Option<Arc<DpopKey>>, LoginError> {
        let server = &discovery.authorization_server;
        let required = discovery.protected_resource.as_ref().is_some_and(|resource| resource.dpop_required);
        let asked = self.options.dpop || required || discovery.challenge.dpop;
        match (asked, server.dpop.unwrap_or(self.options.dpop)) {
            (true, true) => Ok(Some(Arc::new(DpopKey::generate().map_err(TokenError::from)?))),
            (true, false) if self.options.dpop || required => {
                Err(LoginError::NoDpop { host: server.token_endpoint.host() })
            }
            // A server with a DPoP challenge may accept bearer tokens too (RFC 9449 section 7.2).
            _ => Ok(None),
        }
    }

    /// The credential, still without tokens.
    pub(super) fn credential(
        self,
        discovery: &Discovery,
        renewal: Renewal,
        registration: ClientRegistration,
        scope: Option<Scope>,
    ) -> Result<Credential, LoginError> {
        refuse_without_certificate(&discovery.authorization_server, &registration)?;
        let registration = with_key_algorithm(registration, &discovery.authorization_server)?;
        let dpop_key = self.dpop_key(discovery)?;
        let scope = registration.allowed(scope.as_ref());
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
            sign_in: 0,
            renewal,
            registration,
            token_endpoint: server.token_endpoint.clone(),
            revocation_endpoint: server.revocation_endpoint.clone(),
            resource,
            scope,
            scope_on_refresh: self.options.overrides.scope_on_refresh,
            require_audience: self.options.overrides.require_audience,
            parameters: self.options.parameters,
            bearer: self.options.bearer.unwrap_or_default(),
            dpop_key,
            tokens: None,
            end: None,
        })
    }
}

/// A client that its certificate authenticates, or its certificate's key. `None` if it has another secret, or if
/// `server` lists neither method.
fn certified(
    client_id: &str,
    client_secret: Option<&Secret>,
    certificate: &Arc<ClientCertificate>,
    server: &AuthorizationServer,
) -> Option<ClientRegistration> {
    if client_secret.is_some_and(|secret| !certificate.has_key(secret)) {
        return None;
    }
    let methods = [ClientAuthentication::Certificate, ClientAuthentication::PrivateKeyJwt].into_iter();
    let mut methods = methods.filter(|method| server.authentication.contains(method));
    let authentication = methods.next()?;
    let key = Some(certificate.pem().clone()).filter(|_| authentication == ClientAuthentication::PrivateKeyJwt);
    Some(ClientRegistration {
        client_secret: key,
        certificate: Some(certificate.clone()),
        authentication,
        ..ClientRegistration::public(client_id.to_owned())
    })
}

/// Checks that a client has the certificate that `server` asks of every client, before the user signs in.
fn refuse_without_certificate(
    server: &AuthorizationServer,
    registration: &ClientRegistration,
) -> Result<(), LoginError> {
    let is_certificate = |method: &ClientAuthentication| *method == ClientAuthentication::Certificate;
    let is_only_way = !server.authentication.is_empty() && server.authentication.iter().all(is_certificate);
    match &registration.certificate {
        None if is_only_way => Err(LoginError::NeedsCertificate { host: server.token_endpoint.host() }),
        _ => Ok(()),
    }
}

/// The same client with the algorithm that its private key signs with for `server`. Checks that there is one, before the
/// user signs in.
fn with_key_algorithm(
    registration: ClientRegistration,
    server: &AuthorizationServer,
) -> Result<ClientRegistration, LoginError> {
    let (ClientAuthentication::PrivateKeyJwt, Some(pem)) = (registration.authentication, &registration.client_secret)
    else {
        return Ok(registration);
    };
    let key = PrivateKey::from_pem(pem).map_err(TokenError::from)?;
    match server.algorithms_for(&key)[..] {
        [best, ..] => Ok(ClientRegistration { key_algorithm: Some(best), ..registration }),
        [] => {
            let accepted = server.key_algorithms.iter().flatten().map(|accepted| quoted(accepted)).collect();
            Err(LoginError::KeyRefused { host: server.token_endpoint.host(), algorithms: key.algorithms(), accepted })
        }
    }
}

/// The same client with the second-best algorithm for `server`: a vendor can register a key for one algorithm only.
pub(super) fn with_other_algorithm(
    registration: &ClientRegistration,
    server: &AuthorizationServer,
) -> Option<ClientRegistration> {
    let pem = registration.client_secret.as_ref()?;
    let second = *server.algorithms_for(&PrivateKey::from_pem(pem).ok()?).get(1)?;
    Some(ClientRegistration { key_algorithm: Some(second), ..registration.clone() })
}

/// `credential` with its first tokens. A server that refuses the client does not use up the code (RFC 6749 section
/// 3.2.1), so finmcp tries the `other` registration of the client with the same code. The credential keeps the one that
/// worked.
pub(super) async fn with_first_tokens(
    credential: Credential,
    grant: Grant<'_>,
    other: Option<&ClientRegistration>,
    context: &Context<'_>,
) -> Result<Credential, LoginError> {
    let (refusal, registration) = match (with_tokens(credential.clone(), grant, context).await, other) {
        (Err(LoginError::Token(refusal)), Some(other)) if refusal.refuses_client() => (refusal, other.clone()),
        (outcome, _) => return outcome,
    };
    tracing::debug!(%refusal, method = registration.authentication.method(), "trying another authentication method");
    with_tokens(Credential { registration, ..credential }, grant, context).await.map_err(|_| LoginError::Token(refusal))
}

/// `credential` with the name of its holder, if the tokens have none and `server`, which issued them, tells it.
pub(super) async fn with_holder(
    mut credential: Credential,
    server: &AuthorizationServer,
    context: &Context<'_>,
) -> Credential {
    // A bound token would need a proof, which is too much for a name.
    if let (Some(endpoint), None, Some(tokens)) =
        (&server.userinfo_endpoint, &credential.dpop_key, credential.tokens.as_mut())
        && tokens.person.is_none()
        && tokens.scope.as_ref().or(credential.scope.as_ref()).is_some_and(|scope| scope.contains(OPENID))
    {
        tokens.person = userinfo::holder_of(context.http, endpoint, &tokens.access_token).await;
    }
    credential
}

/// `credential` with its first tokens.
pub(super) async fn with_tokens(
    mut credential: Credential,
    grant: Grant<'_>,
    context: &Context<'_>,
) -> Result<Credential, LoginError> {
    let request = credential.token_request(grant);
    let tokens = oauth_client::request_token(context.http, request, context.clock.now()).await?;
    if credential.bearer == Bearer::IdToken && tokens.id_token.is_none() {
        return Err(TokenError::Unusable("it contains no ID token").into());
    }
    credential.tokens = Some(tokens);
    Ok(credential)
}
