//! Token revocation (RFC 7009).

use jiff::Timestamp;
use oauth2::{AccessToken, RefreshToken, RevocationUrl};

use crate::{
    http::Http,
    oauth::{
        client::form::{Endpoint, assertion_fields, client, client_id_field, to_token_error},
        error::TokenError,
        registration::ClientRegistration,
    },
    secret::Secret,
    server_url::ServerUrl,
};

/// A token to revoke, with its `token_type_hint` (RFC 7009 section 2.1).
#[derive(Debug, Clone, Copy)]
pub enum RevocableToken<'a> {
    /// An access token.
    Access(&'a Secret),
    /// A refresh token. Most servers also revoke its access tokens.
    Refresh(&'a Secret),
}

/// A request to a revocation endpoint (RFC 7009 section 2.1).
#[derive(Debug, Clone, Copy)]
pub struct RevocationRequest<'a> {
    pub endpoint: &'a ServerUrl,
    /// The issuer identifier, the audience of a `private_key_jwt` assertion.
    pub issuer: &'a str,
    /// The client that the token was issued to.
    pub registration: &'a ClientRegistration,
    pub token: RevocableToken<'a>,
}

/// Revokes a token (RFC 7009). A server that does not know the token reports success (section 2.2).
///
/// # Errors
/// Any [`TokenError`].
pub async fn revoke(http: &Http, request: RevocationRequest<'_>, now: Timestamp) -> Result<(), TokenError> {
    match request.send(http, &[], now).await {
        // Some servers require this parameter from every client; a client without a secret sends an empty one (RFC 6749
        // section 2.3.1).
        Err(TokenError::Refused(refusal))
            if refusal.code == "invalid_request" && request.registration.client_secret.is_none() =>
        {
            let outcome = request.send(http, &[("client_secret", "")], now).await;
            outcome.map_err(|_| TokenError::Refused(refusal))
        }
        outcome => outcome,
    }
}

impl RevocationRequest<'_> {
    async fn send(
        &self,
        http: &Http,
        further: &[(&'static str, &'static str)],
        now: Timestamp,
    ) -> Result<(), TokenError> {
        let Self { endpoint, issuer, registration, token } = *self;
        let mut url = endpoint.as_url().clone();
        // The crate accepts only https. This URL satisfies it; the form goes to the `ServerUrl`, which has been
        // checked.
        let _ = url.set_scheme("https");
        let client = client(registration).set_revocation_url(RevocationUrl::from_url(url));
        let token = match token {
            RevocableToken::Access(token) => AccessToken::new(token.expose().clone()).into(),
            RevocableToken::Refresh(token) => RefreshToken::new(token.expose().clone()).into(),
        };
        let mut request = client.revoke_token(token).map_err(|_| TokenError::Unusable("the endpoint is not https"))?;
        for (name, value) in assertion_fields(registration, issuer, now)? {
            request = request.add_extra_param(name, value.expose().clone());
        }
        for (name, value) in client_id_field(registration).into_iter().chain(further.iter().copied()) {
            request = request.add_extra_param(name, value.to_owned());
        }
        request
            .request_async(&Endpoint {
                http,
                url: endpoint,
                certificate: registration.certificate.as_deref(),
                proof: None,
            })
            .await
            .map_err(to_token_error)
    }
}
