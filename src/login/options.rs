//! How to sign in: one value, whoever says it.

use serde::{Deserialize, Serialize};

use crate::{
    login::{ResourceParameter, jwt_bearer::Assertion, redirect_uri::RedirectUri},
    oauth::{
        client_metadata::ClientMetadataUrl, overrides::Overrides, registration::ClientAuthentication, scope::Scope,
    },
    server_url::ServerUrl,
};

/// What a person, a preset or an earlier sign-in says about signing in. Everything left open is discovered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// How a token is first obtained.
    pub grant: Option<GrantKind>,
    /// A pre-registered client's identifier.
    pub client_id: Option<String>,
    /// How the client authenticates, where it is fixed.
    pub client_authentication: Option<ClientAuthentication>,
    /// The Client ID Metadata Document to be known by.
    pub client_metadata_url: Option<ClientMetadataUrl>,
    /// Who says who signs in, where somebody else does.
    pub assertion: Option<Assertion>,
    /// The redirect URI that the client is registered with, where the server compares it byte for byte.
    pub redirect_uri: Option<RedirectUri>,
    /// The scope to ask for.
    pub scope: Option<Scope>,
    /// A pinned token endpoint: nothing is discovered.
    pub token_endpoint: Option<ServerUrl>,
    /// The issuer to expect.
    pub issuer: Option<String>,
    /// The `resource` parameter.
    pub resource: ResourceParameter,
    /// Further fields of the authorization and token requests, such as `business_id`.
    pub parameters: Vec<(String, String)>,
    /// Whether tokens are to be bound to a key, though the server does not ask for it.
    pub dpop: bool,
    /// What is accepted of this server though the rules refuse it.
    pub overrides: Overrides,
}

impl Options {
    /// These, with the gaps filled from `other`.
    pub fn or(self, other: Self) -> Self {
        let parameters = if self.parameters.is_empty() { other.parameters } else { self.parameters };
        let resource = if self.resource == ResourceParameter::Discovered { other.resource } else { self.resource };
        Self {
            grant: self.grant.or(other.grant),
            client_id: self.client_id.or(other.client_id),
            client_authentication: self.client_authentication.or(other.client_authentication),
            client_metadata_url: self.client_metadata_url.or(other.client_metadata_url),
            assertion: self.assertion.or(other.assertion),
            redirect_uri: self.redirect_uri.or(other.redirect_uri),
            scope: self.scope.or(other.scope),
            token_endpoint: self.token_endpoint.or(other.token_endpoint),
            issuer: self.issuer.or(other.issuer),
            resource,
            parameters,
            dpop: self.dpop || other.dpop,
            overrides: self.overrides.or(other.overrides),
        }
    }
}

/// How a token is first obtained (RFC 6749 section 1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum GrantKind {
    /// A person signs in with a browser.
    AuthorizationCode,
    /// A program signs in with a client secret.
    ClientCredentials,
    /// A person signs in on another device, and enters a code there.
    DeviceCode,
    /// Somebody else says who signs in: a platform, or an identity provider (RFC 7523).
    JwtBearer,
}
