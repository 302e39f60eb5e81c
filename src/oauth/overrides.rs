//! The user's exceptions to the rules for one server.

use serde::{Deserialize, Serialize};

use crate::oauth::registration::ClientAuthentication;

/// Exceptions to the rules for one server, with their names in `config.toml`. None by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Overrides {
    /// The `issuer` that the authorization server's metadata may have instead of the expected one (contrary to RFC 8414
    /// section 3.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_override: Option<String>,
    /// Assume that a server without `code_challenge_methods_supported` supports S256, and use it (contrary to MCP
    /// authorization, "Authorization Code Protection").
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_missing_pkce_metadata: bool,
    /// The server's metadata may name servers in private networks.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_private_network: bool,
    /// Refuse a token that names another resource as its audience (RFC 8707 section 2).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub require_audience: bool,
    /// Repeat the sign-in's scope in every refresh (optional in RFC 6749 section 6).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub scope_on_refresh: bool,
    /// Whether to request `offline_access`, regardless of the server's metadata; `false` also removes it from the scope
    /// that the challenge, the preset or the user names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offline_access: Option<bool>,
    /// The authentication method to register with and to use at the token endpoint, regardless of the server's metadata
    /// (RFC 7591 section 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_method: Option<AuthenticationMethod>,
}

/// An authentication method that finmcp can register with, named as in RFC 7591 section 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthenticationMethod {
    None,
    ClientSecretPost,
    ClientSecretBasic,
}

impl From<AuthenticationMethod> for ClientAuthentication {
    fn from(method: AuthenticationMethod) -> Self {
        match method {
            AuthenticationMethod::None => Self::None,
            AuthenticationMethod::ClientSecretPost => Self::Body,
            AuthenticationMethod::ClientSecretBasic => Self::Basic,
        }
    }
}

impl Overrides {
    /// These overrides, and those of `other` where these have none.
    pub fn or(self, other: Self) -> Self {
        Self {
            issuer_override: self.issuer_override.or(other.issuer_override),
            allow_missing_pkce_metadata: self.allow_missing_pkce_metadata || other.allow_missing_pkce_metadata,
            allow_private_network: self.allow_private_network || other.allow_private_network,
            require_audience: self.require_audience || other.require_audience,
            scope_on_refresh: self.scope_on_refresh || other.scope_on_refresh,
            offline_access: self.offline_access.or(other.offline_access),
            token_endpoint_auth_method: self.token_endpoint_auth_method.or(other.token_endpoint_auth_method),
        }
    }

    /// The user's authentication method, if set.
    pub fn authentication(&self) -> Option<ClientAuthentication> {
        self.token_endpoint_auth_method.map(ClientAuthentication::from)
    }

    /// The names of overrides that weaken the user's protection.
    pub fn risky(&self) -> Vec<&'static str> {
        let risky = [
            (self.issuer_override.is_some(), "issuer_override"),
            (self.allow_missing_pkce_metadata, "allow_missing_pkce_metadata"),
            (self.allow_private_network, "allow_private_network"),
        ];
        risky.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name).collect()
    }
}
