//! Who finmcp is to an authorization server.

use crate::secret::Secret;

/// A client as an authorization server knows it: pre-registered, or registered dynamically (RFC 7591).
#[derive(Debug, Clone)]
pub struct ClientRegistration {
    /// The client identifier (RFC 6749 section 2.2).
    pub client_id: String,
    /// The client secret of a confidential client.
    pub client_secret: Option<Secret>,
    /// How the client proves itself at the token endpoint.
    pub authentication: ClientAuthentication,
    /// The redirect URI that was registered, so that a later sign-in can use the same port; none where the server takes any port (RFC 8252 section 7.3).
    pub redirect_uri: Option<String>,
}

/// How a client authenticates at the token endpoint: the `token_endpoint_auth_method` of RFC 7591 section 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// `none`: a public client, which sends its `client_id` alone.
    None,
    /// `client_secret_basic`: the secret in the `Authorization` header, form-encoded first (RFC 6749 section 2.3.1).
    Basic,
    /// `client_secret_post`: the secret in the form body.
    Body,
}
