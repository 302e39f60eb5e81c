//! One stored credential: whose it is, how it is renewed, and its tokens.

use crate::{
    oauth::{registration::ClientRegistration, scope::Scope, token_set::TokenSet},
    server_url::ServerUrl,
};

/// What a credential belongs to. Two credentials with any part different never meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The vendor environment (`production`, `sandbox`), empty where there is one only.
    pub environment: String,
    /// The authorization server's issuer identifier (RFC 8414 section 2); for a pinned token endpoint without one, the endpoint's URL.
    pub issuer: String,
    /// The protected resource's identifier (RFC 8707).
    pub resource: String,
    /// The client identifier.
    pub client_id: String,
    /// The business or person, as the profile names it.
    pub account: String,
}

impl Identity {
    /// The name of its entry in a store and of its lock.
    pub fn entry(&self) -> String {
        String::new()
    }
}

/// What renews a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// The refresh token of an authorization code sign-in; a person when it is spent.
    RefreshToken,
    /// The client's own credentials: asking again (RFC 6749 section 4.4).
    ClientCredentials,
}

/// A credential, whole.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Whose it is; checked on every read.
    pub identity: Identity,
    /// One more with each save.
    pub generation: u64,
    /// How it is renewed.
    pub renewal: Renewal,
    /// Who asks.
    pub registration: ClientRegistration,
    /// Where tokens come from.
    pub token_endpoint: ServerUrl,
    /// Where they are revoked (RFC 7009), where there is such a place.
    pub revocation_endpoint: Option<ServerUrl>,
    /// The `resource` parameter that is sent, on every leg alike; none where the server wants none.
    pub resource: Option<String>,
    /// The scope that was asked for.
    pub scope: Option<Scope>,
    /// Further form fields that this server wants.
    pub parameters: Vec<(String, String)>,
    /// The tokens; none before the first and after the server said `invalid_grant`.
    pub tokens: Option<TokenSet>,
}
