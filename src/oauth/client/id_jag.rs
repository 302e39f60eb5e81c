//! Exchanges the user's ID token for an ID-JAG, a grant at another authorization server (RFC 8693).

use jiff::Timestamp;
use oauth2::AsyncHttpClient;

use crate::{
    http::Http,
    oauth::{
        client::form::{Endpoint, message},
        error::TokenError,
        id_jag::{GRANT_TYPE, ID_JAG, ID_TOKEN, IdJag},
        registration::ClientRegistration,
        scope::Scope,
    },
    secret::Secret,
    server_url::ServerUrl,
};

/// A request to an identity provider for an ID-JAG (MCP "Enterprise-Managed Authorization" section 4).
#[derive(Debug, Clone, Copy)]
pub struct TokenExchange<'a> {
    pub endpoint: &'a ServerUrl,
    pub issuer: &'a str,
    /// The client that the ID token was issued to.
    pub registration: &'a ClientRegistration,
    pub id_token: &'a Secret,
    /// The issuer identifier of the authorization server that the grant is for.
    pub audience: &'a str,
    /// The resource for which the grant will be exchanged for an access token.
    pub resource: &'a str,
    pub scope: Option<&'a Scope>,
}

/// Exchanges the ID token for an ID-JAG at the identity provider.
///
/// # Errors
/// Any [`TokenError`]; [`TokenError::InvalidGrant`] if the provider does not (or no longer) accept the ID token.
pub async fn exchange_token(http: &Http, request: TokenExchange<'_>, now: Timestamp) -> Result<IdJag, TokenError> {
    let TokenExchange { endpoint, issuer, registration, .. } = request;
    let scope = request.scope.map(Scope::to_string);
    let fields = [
        ("grant_type", GRANT_TYPE),
        ("requested_token_type", ID_JAG),
        ("audience", request.audience),
        ("resource", request.resource),
        ("subject_token", request.id_token.expose()),
        ("subject_token_type", ID_TOKEN),
    ];
    let fields = fields.into_iter().chain(scope.as_deref().map(|scope| ("scope", scope)));
    let message = message(registration, issuer, fields, now)?;
    IdJag::parse(
        Endpoint { http, url: endpoint, certificate: registration.certificate.as_deref(), proof: None }
            .call(message)
            .await?
            .body(),
    )
}
