//! Requests to an authorization server's token, pushed authorization request, revocation, device
//! authorization and registration endpoints.

mod device;
mod form;
mod form_answer;
mod id_jag;
mod inquiry;
mod pushed_authorization;
mod registration;
mod revocation;
#[cfg(test)]
mod tests;
pub mod userinfo;

use std::borrow::Cow;

use jiff::Timestamp;
use oauth2::{AsyncHttpClient, AuthorizationCode, PkceCodeVerifier, RedirectUrl, RefreshToken, TokenUrl};

pub use self::{
    device::{DeviceRequest, authorize_device},
    id_jag::{TokenExchange, exchange_token},
    inquiry::is_client_unknown,
    pushed_authorization::{PushedAuthorization, PushedRequest, push},
    registration::register,
    revocation::{RevocableToken, RevocationRequest, revoke},
};
use crate::{
    http::Http,
    oauth::{
        client::form::{
            Endpoint, NO_TOKEN, TokenEndpoint, assertion_fields, client, client_id_field, extra_fields, message,
            to_token_error,
        },
        confirmation::ForeignBinding,
        device_authorization::DEVICE_GRANT,
        dpop::DpopKey,
        error::TokenError,
        registration::ClientRegistration,
        scope::Scope,
        token_set::{TokenResponse, TokenSet, TokenType},
    },
    secret::Secret,
    server_url::ServerUrl,
};

/// The grant of a token request (RFC 6749 section 4).
#[derive(Debug, Clone, Copy)]
pub enum Grant<'a> {
    /// An authorization code and its PKCE verifier (RFC 7636 section 4.5).
    AuthorizationCode {
        code: &'a Secret,
        verifier: &'a Secret,
        /// The redirect URI of the authorization request.
        redirect_uri: &'a str,
    },
    /// The client's own credentials (RFC 6749 section 4.4).
    ClientCredentials,
    /// A refresh token (RFC 6749 section 6).
    RefreshToken(&'a Secret),
    /// A device code, which the user approves or declines on another device (RFC 8628 section 3.4).
    DeviceCode(&'a Secret),
    /// A JWT from an issuer that the authorization server trusts (RFC 7523 section 2.1).
    JwtBearer(&'a Secret),
}

/// A request to a token endpoint.
#[derive(Debug, Clone, Copy)]
pub struct TokenRequest<'a> {
    pub endpoint: &'a ServerUrl,
    /// The issuer identifier, the audience of a `private_key_jwt` assertion.
    pub issuer: &'a str,
    pub registration: &'a ClientRegistration,
    pub grant: Grant<'a>,
    /// The `resource` parameter (RFC 8707), the same in every request.
    pub resource: Option<&'a str>,
    /// The requested scope. Not sent with an authorization code, whose scope is already fixed.
    pub scope: Option<&'a Scope>,
    /// The key to bind the tokens to (RFC 9449 section 5).
    pub dpop_key: Option<&'a DpopKey>,
    /// Further form fields for this server, for example `business_id`. A field that the request sets itself is left
    /// out.
    pub parameters: &'a [(String, String)],
    /// The audience that the token must have, if the user requires one. A token without an audience is accepted.
    pub audience: Option<&'a str>,
}

impl TokenRequest<'_> {
    fn token_type(&self) -> TokenType {
        if self.dpop_key.is_some() { TokenType::Dpop } else { TokenType::Bearer }
    }
}

/// Sends `request`. If a refresh returns no new refresh token, `refresh_token` is empty and the caller keeps the old
/// one (RFC 6749 section 6).
///
/// # Errors
/// Any [`TokenError`].
pub async fn request_token(http: &Http, request: TokenRequest<'_>, now: Timestamp) -> Result<TokenSet, TokenError> {
    let tokens = match send(http, request, now).await {
        // The grant is unused and the nonce is stored. The second request also has a new client assertion, because none
        // may be sent twice.
        Err(TokenError::NonceWanted) => send(http, request, now).await?,
        outcome => outcome?,
    };
    let TokenRequest { registration, dpop_key, .. } = request;
    let token = tokens.access_token.expose();
    if let Some(binding) = ForeignBinding::of(token, registration.certificate.as_deref(), dpop_key) {
        return Err(TokenError::Bound(binding));
    }
    match request.audience.and_then(|expected| Some((expected, tokens.other_audience(expected)?))) {
        Some((expected, found)) => Err(TokenError::Audience { expected: expected.to_owned(), found }),
        None => Ok(tokens),
    }
}

async fn send(http: &Http, request: TokenRequest<'_>, now: Timestamp) -> Result<TokenSet, TokenError> {
    let client = client(request.registration).set_token_uri(TokenUrl::from_url(request.endpoint.as_url().clone()));
    let endpoint = Endpoint {
        http,
        url: request.endpoint,
        certificate: request.registration.certificate.as_deref(),
        proof: request.dpop_key.map(|key| (key, now)),
    };
    let endpoint = TokenEndpoint(endpoint);
    let assertion = assertion_fields(request.registration, request.issuer, now)?;
    let extra_fields =
        || extra_fields(request.resource, request.parameters).chain(client_id_field(request.registration));
    let fields = || extra_fields().chain(assertion.iter().map(|(name, value)| (*name, value.expose().as_str())));
    let scope = || request.scope.into_iter().flat_map(Scope::iter).map(|token| oauth2::Scope::new(token.to_owned()));
    let response = match request.grant {
        Grant::AuthorizationCode { code, verifier, redirect_uri } => {
            let redirect_uri = RedirectUrl::new(redirect_uri.to_owned())
                .map_err(|_| TokenError::Unusable("the redirect URI is not a URL"))?;
            let mut exchange = client
                .exchange_code(AuthorizationCode::new(code.expose().clone()))
                .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose().clone()))
                .set_redirect_uri(Cow::Owned(redirect_uri));
            for (name, value) in fields() {
                exchange = exchange.add_extra_param(name, value);
            }
            exchange.request_async(&endpoint).await
        }
        Grant::ClientCredentials => {
            let mut exchange = client.exchange_client_credentials().add_scopes(scope());
            for (name, value) in fields() {
                exchange = exchange.add_extra_param(name, value);
            }
            exchange.request_async(&endpoint).await
        }
        Grant::RefreshToken(token) => {
            let token = RefreshToken::new(token.expose().clone());
            let mut exchange = client.exchange_refresh_token(&token).add_scopes(scope());
            for (name, value) in fields() {
                exchange = exchange.add_extra_param(name, value);
            }
            exchange.request_async(&endpoint).await
        }
        // Not with the crate, which would also do the polling.
        Grant::DeviceCode(code) => {
            let own = [("grant_type", DEVICE_GRANT), ("device_code", code.expose())];
            return send_form(&endpoint, &request, own.into_iter(), now).await;
        }
        // Not with the crate, which does not support it.
        Grant::JwtBearer(assertion) => {
            const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
            let scope = request.scope.map(Scope::to_string);
            let own = [("grant_type", GRANT), ("assertion", assertion.expose())].into_iter();
            return send_form(&endpoint, &request, own.chain(scope.as_deref().map(|scope| ("scope", scope))), now)
                .await;
        }
    };
    response.map_err(to_token_error)?.into_token_set(request.token_type(), now)
}

/// Sends `request` with the fields of its grant, without the crate's help.
async fn send_form<'f>(
    endpoint: &TokenEndpoint<'_>,
    request: &TokenRequest<'f>,
    own: impl Iterator<Item = (&'f str, &'f str)>,
    now: Timestamp,
) -> Result<TokenSet, TokenError> {
    let fields = own.chain(extra_fields(request.resource, request.parameters));
    let message = message(request.registration, request.issuer, fields, now)?;
    let answer = endpoint.call(message).await?;
    let response: TokenResponse = serde_json::from_slice(answer.body()).map_err(|_| NO_TOKEN)?;
    response.into_token_set(request.token_type(), now)
}
