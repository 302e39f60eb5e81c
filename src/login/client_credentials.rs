//! Signing in without a user, with a client secret or a private key.

use crate::{
    credential::record::{Credential, Renewal},
    login::{
        context::Context,
        error::LoginError,
        request::{LoginRequest, with_first_tokens, with_other_algorithm},
    },
    oauth::{client::Grant, registration::ClientRegistration},
};

/// Signs in with the client credentials grant (RFC 6749 section 4.4). A pinned token endpoint skips discovery.
///
/// # Errors
/// Any [`LoginError`].
pub async fn client_credentials(request: LoginRequest, context: &Context<'_>) -> Result<Credential, LoginError> {
    let discovery = request.discover_unless_pinned(context).await?;
    let registration = request.registration(&discovery.authorization_server, context.clock.now());
    let registration = registration.filter(ClientRegistration::is_confidential);
    let registration = registration.ok_or(LoginError::NeedsSecret)?;
    let other = with_other_algorithm(&registration, &discovery.authorization_server);
    let scope = request.scope(&discovery);
    let credential = request.credential(&discovery, Renewal::ClientCredentials, registration, scope)?;
    with_first_tokens(credential, Grant::ClientCredentials, other.as_ref(), context).await
}
