//! What a person wants to be otherwise with one server.

use serde::{Deserialize, Serialize};

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
        }
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
