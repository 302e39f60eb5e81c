//! Signing in by what somebody else says of us (RFC 7523 section 2.1): a platform of its workload, or an enterprise's
//! identity provider of its employee.

use std::path::PathBuf;

use crate::{
    credential::{
        assertion_source::{AssertionSource, IdentityProvider},
        record::{Credential, Renewal},
    },
    login::{Context, LoginError, LoginRequest},
    oauth::{
        discovery,
        registration::{ClientAuthentication, ClientRegistration},
        scope::Scope,
    },
    secret::Secret,
    server_url::ServerUrl,
};

/// Where the assertion of a sign-in comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assertion {
    /// A file that holds it, and that its platform keeps fresh (workload identity federation).
    File(PathBuf),
    /// An identity provider, which gives it for a person's ID token (MCP "Enterprise-Managed Authorization").
    IdentityProvider {
        /// Its issuer identifier.
        issuer: String,
        /// The client that the ID token was issued to.
        client_id: String,
        /// The file that holds the ID token.
        id_token_file: PathBuf,
    },
}

/// Signs in with `assertion`. A pinned `token_endpoint` wins over whatever the server might say: nothing is discovered
/// then.
///
/// # Errors
/// Any [`LoginError`].
pub async fn jwt_bearer(
    request: LoginRequest,
    assertion: Assertion,
    identity_provider_secret: Option<Secret>,
    token_endpoint: Option<ServerUrl>,
    context: &Context<'_>,
) -> Result<Credential, LoginError> {
    let discovery = request.discover_unless_pinned(token_endpoint, context).await?;
    let server = &discovery.authorization_server;
    let registration = match (&assertion, &request.client) {
        (Assertion::File(_), None) => unnamed(),
        _ => request
            .registration(server, context.clock.now())
            .ok_or_else(|| LoginError::NeedsRegistration { host: server.token_endpoint.host() })?,
    };
    let source = match assertion {
        Assertion::File(path) => AssertionSource::File(path),
        Assertion::IdentityProvider { issuer, client_id, id_token_file } => {
            let found = discovery::identity_provider(context.http, &issuer, &request.overrides).await?;
            let authentication = match &identity_provider_secret {
                Some(_) => ClientAuthentication::choose(&found.authentication),
                None => ClientAuthentication::None,
            };
            AssertionSource::IdentityProvider(Box::new(IdentityProvider {
                issuer,
                token_endpoint: found.token_endpoint,
                registration: ClientRegistration {
                    client_id,
                    client_secret: identity_provider_secret,
                    authentication,
                    redirect_uri: None,
                    expires_at: None,
                    withheld: Scope::default(),
                    other_redirect_uris: Vec::new(),
                },
                id_token_file,
            }))
        }
    };
    let scope = request.scope(&discovery);
    let mut credential = request.credential(&discovery, Renewal::JwtBearer(source.clone()), registration, scope)?;
    credential.tokens = Some(source.tokens(context.http, &credential, context.clock.now()).await?);
    Ok(credential)
}

/// A client without a name: its assertion says who it is (RFC 7521 section 4.1).
fn unnamed() -> ClientRegistration {
    ClientRegistration {
        client_id: String::new(),
        client_secret: None,
        authentication: ClientAuthentication::None,
        redirect_uri: None,
        expires_at: None,
        withheld: Scope::default(),
        other_redirect_uris: Vec::new(),
    }
}
