//! What a person wants to be otherwise with one server.

use serde::{Deserialize, Serialize};

use crate::oauth::registration::ClientAuthentication;

/// Departures from the rules for one server, each by the name that it has in `config.toml`. By default there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Overrides {
    /// The `issuer` that the authorization server's metadata may have in place of the one that they were looked up for
    /// (against RFC 8414 section 3.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_override: Option<String>,
    /// Metadata without `code_challenge_methods_supported` are taken for a promise of S256, which is used all the same
    /// (against MCP authorization, "Authorization Code Protection").
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_missing_pkce_metadata: bool,
    /// The server may name others in private networks.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_private_network: bool,
    /// A token that says that it is for another resource than the one asked for is not taken (RFC 8707 section 2).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub require_audience: bool,
    /// A refresh repeats the scope that the sign-in asked for (RFC 6749 section 6 leaves that to the client).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub scope_on_refresh: bool,
    /// Whether to ask for `offline_access`, whatever the server lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offline_access: Option<bool>,
    /// How a client authenticates at the token endpoint, whatever the server lists: what finmcp registers for, and what
    /// it uses (RFC 7591 section 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_method: Option<AuthenticationMethod>,
}

/// A method that finmcp can register for, by its name in RFC 7591 section 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthenticationMethod {
    /// A public client.
    None,
    /// The secret in the form.
    ClientSecretPost,
    /// The secret in the `Authorization` header.
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
    /// These, and those of `other` besides.
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

    /// The method by which clients are to authenticate, where the person has chosen one.
    pub fn authentication(&self) -> Option<ClientAuthentication> {
        self.token_endpoint_auth_method.map(ClientAuthentication::from)
    }

    /// The names of those that loosen a rule which protects the person.
    pub fn risky(&self) -> Vec<&'static str> {
        let risky = [
            (self.issuer_override.is_some(), "issuer_override"),
            (self.allow_missing_pkce_metadata, "allow_missing_pkce_metadata"),
            (self.allow_private_network, "allow_private_network"),
        ];
        risky.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name).collect()
    }
}
