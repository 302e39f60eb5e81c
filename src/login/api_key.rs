//! Signing in with an API key: finmcp tests whether the server accepts the key, and discovers nothing else.

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use crate::{
    credential::record::{Bearer, Credential, Identity, Renewal},
    login::{context::Context, error::LoginError, request::LoginRequest},
    oauth::{
        discovery::{DiscoveryError, Inquiry, Probe},
        registration::ClientRegistration,
        token_set::TokenSet,
    },
    secret::Secret,
};

/// The credential that holds `key`, once the server has accepted it. The key goes to this server and nowhere else.
///
/// # Errors
/// [`LoginError::NeedsApiKey`], [`LoginError::ApiKeyUnusable`], [`LoginError::ApiKeyRefused`], and why the server did not
/// answer.
pub async fn api_key(
    request: LoginRequest,
    key: Option<Secret>,
    context: &Context<'_>,
) -> Result<Credential, LoginError> {
    let key = key.ok_or(LoginError::NeedsApiKey)?;
    let header = request.options.api_key_header.clone().unwrap_or_default();
    let value = header.value(&key).ok_or(LoginError::ApiKeyUnusable)?;
    let mut headers = request.options.headers.map().clone();
    headers.insert(header.name().clone(), value);
    prove(&request, &headers, context).await?;
    Ok(credential(request, Renewal::ApiKey(header), key, context.clock.now()))
}

/// Sends the server the key, as `serve` will.
async fn prove(request: &LoginRequest, headers: &HeaderMap, context: &Context<'_>) -> Result<(), LoginError> {
    let inquiry = Inquiry::new(context.http, &request.server, None, &request.options.overrides).with_headers(headers);
    let host = request.server.host();
    match inquiry.probe().await?.0 {
        Probe::Served => Ok(()),
        Probe::Challenged(_) | Probe::Unclear(StatusCode::FORBIDDEN) => Err(LoginError::ApiKeyRefused { host }),
        Probe::Redirected { status, target } => Err(crate::http::HttpError::Redirected { host, status, target }.into()),
        Probe::Unclear(status) => Err(LoginError::Discovery(DiscoveryError::NotMcp { host, status: status.as_u16() })),
    }
}

/// A key has no authorization server: `issuer` and `token_endpoint` hold the MCP server's URL and are never used.
fn credential(request: LoginRequest, renewal: Renewal, key: Secret, now: Timestamp) -> Credential {
    let resource = request.server.resource();
    let identity = Identity {
        environment: request.environment,
        issuer: resource.clone(),
        resource: resource.clone(),
        client_id: String::new(),
        account: request.account,
    };
    let tokens = TokenSet {
        access_token: key,
        refresh_token: None,
        issued_at: now,
        expires_at: None,
        scope: None,
        person: None,
        id_token: None,
    };
    Credential {
        identity,
        generation: 0,
        sign_in: 0,
        renewal,
        registration: ClientRegistration::public(String::new()),
        token_endpoint: request.server,
        revocation_endpoint: None,
        resource: Some(resource),
        scope: None,
        scope_on_refresh: false,
        require_audience: false,
        parameters: Vec::new(),
        bearer: Bearer::default(),
        dpop_key: None,
        tokens: Some(tokens),
        end: None,
    }
}
