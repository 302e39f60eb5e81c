//! Requests to an authorization server's token and revocation endpoints.

use jiff::Timestamp;

use crate::{
    http::Http,
    oauth::{error::TokenError, registration::ClientRegistration, scope::Scope, token_set::TokenSet},
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
    /// The scope to ask for.
    pub scope: Option<&'a Scope>,
    /// Further form fields that this server wants, such as `business_id`.
    pub parameters: &'a [(String, String)],
}

/// Sends `request`. A refresh that brings no refresh token leaves `refresh_token` empty: the caller keeps the old one (RFC 6749 section 6).
///
/// # Errors
/// Any [`TokenError`].
pub async fn request_token(_http: &Http, _request: TokenRequest<'_>, _now: Timestamp) -> Result<TokenSet, TokenError> {
    Err(TokenError::Unusable("not built yet"))
}
