//! The device authorization request (RFC 8628).

use jiff::Timestamp;
use oauth2::AsyncHttpClient;

use crate::{
    http::Http,
    oauth::{
        client::form::{Endpoint, extra_fields, message},
        error::TokenError,
        registration::ClientRegistration,
        scope::Scope,
    },
    server_url::ServerUrl,
};

/// A request to a device authorization endpoint (RFC 8628 section 3.1); its members are those of the [`TokenRequest`](super::TokenRequest)
/// that follows.
#[derive(Debug)]
pub struct DeviceRequest<'a> {
    pub endpoint: &'a ServerUrl,
    /// The issuer identifier of the authorization server.
    pub issuer: &'a str,
    pub registration: &'a ClientRegistration,
    pub resource: Option<&'a str>,
    pub scope: Option<&'a Scope>,
    /// Further form fields for this server.
    pub parameters: &'a [(String, String)],
}

/// Starts a sign-in on another device and returns the body of the response (RFC 8628 section 3.1).
///
/// # Errors
/// Any [`TokenError`].
pub async fn authorize_device(http: &Http, request: DeviceRequest<'_>, now: Timestamp) -> Result<Vec<u8>, TokenError> {
    let DeviceRequest { endpoint, issuer, registration, resource, parameters, .. } = request;
    let scope = request.scope.map(Scope::to_string);
    let scope = scope.as_deref().map(|scope| ("scope", scope));
    let fields = scope.into_iter().chain(extra_fields(resource, parameters));
    let message = message(registration, issuer, fields, now)?;
    Ok(Endpoint { http, url: endpoint, certificate: registration.certificate.as_deref(), proof: None }
        .call(message)
        .await?
        .into_body())
}
