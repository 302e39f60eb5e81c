//! Dynamic client registration (RFC 7591).

use http::{Method, Request, StatusCode, header};
use jiff::Timestamp;

use crate::{
    http::{Http, retry_after},
    oauth::{
        error::{OAuthError, RegistrationError},
        registration::ClientRegistration,
        registration_request::RegistrationRequest,
    },
    server_url::ServerUrl,
};

/// Registers a client (RFC 7591 section 3).
///
/// # Errors
/// Any [`RegistrationError`].
pub async fn register(
    http: &Http,
    endpoint: &ServerUrl,
    request: RegistrationRequest,
    now: Timestamp,
) -> Result<ClientRegistration, RegistrationError> {
    let mut message = Request::new(request.body()?);
    *message.method_mut() = Method::POST;
    message.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    message.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static("application/json"));
    let reply = http.submit(endpoint, message, None).await?;
    if reply.status.is_success() {
        return request.registered(&reply.body);
    }
    let after = retry_after::delay(&reply.headers, now);
    if let (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, Some(after)) = (reply.status, after) {
        return Err(RegistrationError::Busy { after });
    }
    match OAuthError::parse(&reply.body) {
        Some(error) if !reply.status.is_server_error() => Err(RegistrationError::Refused(error)),
        _ => Err(RegistrationError::Unavailable { status: reply.status.as_u16() }),
    }
}
