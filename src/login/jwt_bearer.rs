//! Signing in with an assertion (RFC 7523 section 2.1): from a platform about its workload, or from an enterprise's
//! identity provider about its employee.

use crate::{
    credential::{
        assertion_source::{AssertionSource, IdToken, IdentityProvider},
        record::{Credential, Identity, Renewal},
    },
    login::{context::Context, error::LoginError, options::Assertion, request::LoginRequest},
    oauth::{discovery, registration::ClientRegistration},
    secret::Secret,
};

/// Signs in with the assertion of the options. `sign_in` is the user's at the identity provider, with its ID token. A
/// pinned token endpoint skips discovery.
///
/// # Errors
/// Any [`LoginError`].
pub async fn jwt_bearer(
    request: LoginRequest,
    identity_provider_secret: Option<Secret>,
    sign_in: Option<(Identity, Secret)>,
    context: &Context<'_>,
) -> Result<Credential, LoginError> {
    let assertion = request.options.assertion.clone().ok_or(LoginError::NeedsAssertion)?;
    let discovery = request.discover_unless_pinned(context).await?;
    let server = &discovery.authorization_server;
    let registration = match (&assertion, &request.options.client_id) {
        // The assertion identifies the client (RFC 7521 section 4.1).
        (Assertion::File(_), None) => ClientRegistration::public(String::new()),
        _ => request
            .registration(server, context.clock.now())
            .ok_or_else(|| LoginError::NeedsRegistration { host: server.token_endpoint.host() })?,
    };
    let (identity, id_token) = sign_in.unzip();
    let source = match assertion {
        Assertion::File(path) => AssertionSource::File(path),
        Assertion::IdentityProvider { issuer, client_id, id_token_file } => {
            let found = discovery::identity_provider(context.http, &issuer, &request.options.overrides).await?;
            let (secret, methods) = (identity_provider_secret, &found.authentication);
            AssertionSource::IdentityProvider(Box::new(IdentityProvider {
                issuer,
                token_endpoint: found.token_endpoint,
                registration: ClientRegistration::with_secret(client_id, secret, methods),
                id_token: match (id_token_file, identity) {
                    (Some(path), _) => IdToken::File(path),
                    (None, Some(identity)) => IdToken::SignIn(identity),
                    (None, None) => return Err(LoginError::NeedsAssertion),
                },
            }))
        }
    };
    let scope = request.scope(&discovery);
    let mut credential = request.credential(&discovery, Renewal::JwtBearer(source.clone()), registration, scope)?;
    credential.tokens = Some(source.tokens(context.http, &credential, id_token, context.clock.now()).await?);
    Ok(credential)
}
