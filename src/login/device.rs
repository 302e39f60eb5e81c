//! Signing in on another device: the user enters a code there while finmcp polls for the token (RFC 8628).

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    credential::record::{Credential, Renewal},
    login::{
        client::Applicant,
        context::{Context, Progress},
        error::LoginError,
        request::{LoginRequest, with_holder, with_tokens},
    },
    oauth::{
        client::{self, DeviceRequest, Grant},
        device_authorization::DeviceAuthorization,
        error::{OAuthError, TokenError},
    },
    server_url::ServerUrl,
};

/// The redirect URI that the client registers for a later sign-in with a browser (RFC 8252 section 7.3).
const REDIRECT_URI: &str = "http://127.0.0.1/callback";

/// Signs in with the device authorization grant. The user has until the code expires, up to `timeout`.
///
/// # Errors
/// Any [`LoginError`].
pub async fn device_code(
    request: LoginRequest,
    timeout: Duration,
    context: &Context<'_>,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<Credential, LoginError> {
    let discovery = request.discover(context).await?;
    let server = &discovery.authorization_server;
    let Some(endpoint) = &server.device_authorization_endpoint else {
        return Err(LoginError::NoDeviceCode { host: server.token_endpoint.host() });
    };
    let scope = request.scope_for_person(&discovery);
    let applicant = Applicant { request: &request, discovery: &discovery, scope: scope.as_ref(), context, timeout };
    let (registration, origin) = applicant.for_device(REDIRECT_URI, progress).await?;
    let other = origin.other_registration(&request, server, &registration);
    let mut credential = request.credential(&discovery, Renewal::RefreshToken, registration, scope)?;
    let authorization = match (begin(endpoint, &credential, context).await, other) {
        (Err(LoginError::Token(refusal)), Some(other)) if refusal.refuses_client() => {
            credential.registration = other;
            begin(endpoint, &credential, context).await.map_err(|_| LoginError::Token(refusal))?
        }
        (outcome, _) => outcome?,
    };
    let patience = authorization.expires_in.min(timeout);
    progress(Progress::Code { page: &authorization.page, code: &authorization.user_code });
    progress(Progress::Waiting(patience));
    let credential = token(&authorization, &credential, patience, context).await?;
    Ok(with_holder(credential, server, context).await)
}

/// Requests a code for the user to enter on another device.
pub(super) async fn begin(
    endpoint: &ServerUrl,
    credential: &Credential,
    context: &Context<'_>,
) -> Result<DeviceAuthorization, LoginError> {
    let asked = DeviceRequest {
        endpoint,
        issuer: &credential.identity.issuer,
        registration: &credential.registration,
        resource: credential.resource.as_deref(),
        scope: credential.scope.as_ref(),
        parameters: &credential.parameters,
    };
    let answer = client::authorize_device(context.http, asked, context.clock.now()).await?;
    Ok(DeviceAuthorization::parse(&answer, endpoint)?)
}

/// Polls for the token until the user has decided or `patience` is over.
pub(super) async fn token(
    authorization: &DeviceAuthorization,
    credential: &Credential,
    patience: Duration,
    context: &Context<'_>,
) -> Result<Credential, LoginError> {
    let end = Instant::now() + patience;
    let mut pace = authorization.pace;
    loop {
        let next = Instant::now() + pace.interval();
        if next > end {
            tokio::time::sleep_until(end).await;
            return Err(LoginError::TimedOut { after: patience, known_client: false });
        }
        tokio::time::sleep_until(next).await;
        let grant = Grant::DeviceCode(&authorization.device_code);
        let error = match with_tokens(credential.clone(), grant, context).await {
            Err(LoginError::Token(error)) => error,
            Err(LoginError::Http(error)) => TokenError::Http(error),
            outcome => return outcome,
        };
        pace = match pace.after(&error) {
            Some(pace) => pace,
            None => return Err(ended(error, patience)),
        };
    }
}

/// Why polling has ended without a token (RFC 8628 section 3.5).
fn ended(error: TokenError, patience: Duration) -> LoginError {
    match error {
        TokenError::Refused(error) if error.code == "access_denied" => LoginError::Denied(error),
        TokenError::Refused(OAuthError { code, .. }) if code == "expired_token" => {
            LoginError::TimedOut { after: patience, known_client: false }
        }
        error => error.into(),
    }
}
