//! Requests to an authorization server's token, revocation and registration endpoints.

use futures_util::future::BoxFuture;
use http::{Method, Request, header};
use jiff::Timestamp;
use oauth2::{
    AccessToken, AsyncHttpClient, AuthType, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet, HttpRequest,
    HttpResponse, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, RevocationUrl,
    StandardRevocableToken, TokenUrl,
    basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse},
};

use crate::{
    http::Http,
    oauth::{
        error::{OAuthError, RegistrationError, TokenError},
        registration::{ClientAuthentication, ClientRegistration, RegistrationRequest},
        scope::Scope,
        token_set::{TokenResponse, TokenSet},
    },
    secret::Secret,
    server_url::ServerUrl,
};

/// What a token is asked for with (RFC 6749 section 4).
#[derive(Debug)]
pub enum Grant<'a> {
    /// An authorization code and its PKCE verifier (RFC 7636 section 4.5).
    AuthorizationCode {
        /// The code.
        code: &'a Secret,
        /// The verifier.
        verifier: &'a Secret,
        /// The redirect URI of the authorization request, again.
        redirect_uri: &'a str,
    },
    /// The client's own credentials (RFC 6749 section 4.4).
    ClientCredentials,
    /// A refresh token (RFC 6749 section 6).
    RefreshToken(&'a Secret),
}

/// A request to a token endpoint.
#[derive(Debug)]
pub struct TokenRequest<'a> {
    /// The token endpoint.
    pub endpoint: &'a ServerUrl,
    /// Who asks.
    pub registration: &'a ClientRegistration,
    /// With what.
    pub grant: Grant<'a>,
    /// The `resource` parameter (RFC 8707), on every leg alike.
    pub resource: Option<&'a str>,
    /// The scope to ask for. An authorization code has its own already, and takes none.
    pub scope: Option<&'a Scope>,
    /// Further form fields that this server wants, such as `business_id`. One that the request sets itself is left out.
    pub parameters: &'a [(String, String)],
}

/// A token to revoke, of the kind that `token_type_hint` tells (RFC 7009 section 2.1).
#[derive(Debug, Clone, Copy)]
pub enum RevocableToken<'a> {
    /// An access token.
    Access(&'a Secret),
    /// A refresh token; most servers end its access tokens with it.
    Refresh(&'a Secret),
}

type Client = oauth2::Client<
    BasicErrorResponse,
    TokenResponse,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
>;

/// Sends `request`. A refresh that brings no refresh token leaves `refresh_token` empty: the caller keeps the old one (RFC 6749 section 6).
///
/// # Errors
/// Any [`TokenError`].
pub async fn request_token(http: &Http, request: TokenRequest<'_>, now: Timestamp) -> Result<TokenSet, TokenError> {
    let client = client(request.registration).set_token_uri(TokenUrl::from_url(request.endpoint.as_url().clone()));
    let endpoint = Endpoint { http, url: request.endpoint };
    let scope = || request.scope.into_iter().flat_map(Scope::iter).map(|token| oauth2::Scope::new(token.to_owned()));
    let response = match request.grant {
        Grant::AuthorizationCode { code, verifier, redirect_uri } => {
            let redirect_uri = RedirectUrl::new(redirect_uri.to_owned())
                .map_err(|_| TokenError::Unusable("the redirect URI is not a URL"))?;
            let mut exchange = client
                .exchange_code(AuthorizationCode::new(code.expose().clone()))
                .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose().clone()))
                .set_redirect_uri(std::borrow::Cow::Owned(redirect_uri));
            for (name, value) in request.extra_fields() {
                exchange = exchange.add_extra_param(name, value);
            }
            exchange.request_async(&endpoint).await
        }
        Grant::ClientCredentials => {
            let mut exchange = client.exchange_client_credentials().add_scopes(scope());
            for (name, value) in request.extra_fields() {
                exchange = exchange.add_extra_param(name, value);
            }
            exchange.request_async(&endpoint).await
        }
        Grant::RefreshToken(token) => {
            let token = RefreshToken::new(token.expose().clone());
            let mut exchange = client.exchange_refresh_token(&token).add_scopes(scope());
            for (name, value) in request.extra_fields() {
                exchange = exchange.add_extra_param(name, value);
            }
            exchange.request_async(&endpoint).await
        }
    };
    response.map_err(sort)?.into_token_set(now)
}

/// Revokes `token` (RFC 7009). A server that no longer knows it calls that a success (section 2.2).
///
/// # Errors
/// Any [`TokenError`].
pub async fn revoke(
    http: &Http,
    endpoint: &ServerUrl,
    registration: &ClientRegistration,
    token: RevocableToken<'_>,
) -> Result<(), TokenError> {
    let mut url = endpoint.as_url().clone();
    // The crate knows https only. What may be called is the `ServerUrl`'s to judge, and that is where the form goes.
    let _ = url.set_scheme("https");
    let client = client(registration).set_revocation_url(RevocationUrl::from_url(url));
    let token = match token {
        RevocableToken::Access(token) => AccessToken::new(token.expose().clone()).into(),
        RevocableToken::Refresh(token) => RefreshToken::new(token.expose().clone()).into(),
    };
    let request = client.revoke_token(token).map_err(|_| TokenError::Unusable("the endpoint is not https"))?;
    request.request_async(&Endpoint { http, url: endpoint }).await.map_err(sort)
}

/// Registers a client (RFC 7591 section 3).
///
/// # Errors
/// Any [`RegistrationError`].
pub async fn register(
    http: &Http,
    endpoint: &ServerUrl,
    request: RegistrationRequest,
) -> Result<ClientRegistration, RegistrationError> {
    let mut message = Request::new(request.body()?);
    *message.method_mut() = Method::POST;
    message.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    message.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static("application/json"));
    let reply = http.exchange(endpoint, message).await?;
    if reply.status.is_success() {
        return request.registered(&reply.body);
    }
    match OAuthError::parse(&reply.body) {
        Some(error) if !reply.status.is_server_error() => Err(RegistrationError::Refused(error)),
        _ => Err(RegistrationError::Unavailable { status: reply.status.as_u16() }),
    }
}

impl<'a> TokenRequest<'a> {
    /// `resource`, and the parameters that the request does not set itself: none may come twice (RFC 6749 section 3.2).
    fn extra_fields(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        const OURS: [&str; 8] = [
            "grant_type",
            "client_id",
            "client_secret",
            "code",
            "code_verifier",
            "redirect_uri",
            "refresh_token",
            "scope",
        ];
        let resource = self.resource;
        let parameters = self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let further = parameters.filter(move |(name, _)| {
            let ours = OURS.contains(name) || (resource.is_some() && *name == "resource");
            !ours
        });
        resource.map(|resource| ("resource", resource)).into_iter().chain(further)
    }
}

/// A client that authenticates as it is registered (RFC 6749 section 2.3.1).
fn client(registration: &ClientRegistration) -> Client {
    let client = Client::new(ClientId::new(registration.client_id.clone()));
    let auth_type = match registration.authentication {
        ClientAuthentication::None => return client.set_auth_type(AuthType::RequestBody),
        ClientAuthentication::Basic => AuthType::BasicAuth,
        ClientAuthentication::Body => AuthType::RequestBody,
    };
    let client = client.set_auth_type(auth_type);
    match &registration.client_secret {
        Some(secret) => client.set_client_secret(ClientSecret::new(secret.expose().clone())),
        None => client,
    }
}

/// Where forms are sent. A type with a boxed future, not a closure: the compiler could not tell that a closure's may move between threads.
struct Endpoint<'a> {
    http: &'a Http,
    url: &'a ServerUrl,
}

impl<'c> AsyncHttpClient<'c> for Endpoint<'_> {
    type Error = TokenError;
    type Future = BoxFuture<'c, Result<HttpResponse, TokenError>>;

    /// Only a success comes back, as the plain 200 that the `oauth2` crate expects.
    fn call(&'c self, message: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let reply = self.http.exchange(self.url, message).await?;
            match TokenError::judge(reply.status, &reply.body) {
                Some(error) => Err(error),
                None => Ok(HttpResponse::new(reply.body.to_vec())),
            }
        })
    }
}

/// What is left to go wrong after the [`Endpoint`]: a body that is no token response. It holds secrets, perhaps, and goes no further.
fn sort<T: oauth2::ErrorResponse + 'static>(error: RequestTokenError<TokenError, T>) -> TokenError {
    match error {
        RequestTokenError::Request(error) => error,
        _ => TokenError::Unusable("it is not JSON, or has no `access_token`, or a member twice"),
    }
}
