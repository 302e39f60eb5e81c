//! Vendors: their endpoints, grant, scopes and limits.
//!
//! The built-in vendors are in `providers.toml`. The user can add more to `config.toml` in the same format.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

use serde::Deserialize;

use crate::{
    login::options::{GrantKind, Options},
    oauth::{overrides::Overrides, registration::ClientAuthentication, scope::Scope},
    server_url::ServerUrl,
};

/// A vendor's servers, and what they have in common.
#[derive(Debug, Clone)]
pub struct Provider {
    /// The preset's name on the command line.
    pub id: String,
    /// The vendor's display name.
    pub title: String,
    /// The grant, if all the vendor's servers use the same.
    pub grant: Option<GrantKind>,
    /// How the client authenticates, if the vendor's documentation says so.
    pub client_authentication: Option<ClientAuthentication>,
    /// The scope to request if the server names none.
    pub scope: Option<Scope>,
    /// Exceptions to the rules for the vendor's servers.
    pub overrides: Overrides,
    /// The vendor's limit of requests per minute and user.
    pub requests_per_minute: Option<NonZeroU32>,
    /// The read-only tools, by the vendor's documentation.
    pub read_only_tools: BTreeSet<String>,
    /// Whether its servers run inside finmcp for the demo.
    pub embedded: bool,
    /// At least one. The only server of a vendor has the empty name.
    environments: BTreeMap<String, Environment>,
    default_environment: String,
}

#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The MCP endpoint; `None` if the vendor tells it to its customers only.
    pub server: Option<ServerUrl>,
    /// The token endpoint of a vendor without discovery. It takes precedence over a discovered one.
    pub token_endpoint: Option<ServerUrl>,
}

/// An invalid provider entry.
#[derive(Debug, thiserror::Error)]
#[error("provider {id:?}: {why}")]
pub struct ProviderError {
    id: String,
    why: String,
}

impl Provider {
    /// The vendors built into this binary.
    ///
    /// # Errors
    /// [`ProviderError`] if the embedded data is invalid, which a test rules out.
    pub fn built_in() -> Result<BTreeMap<String, Self>, ProviderError> {
        let documents: BTreeMap<String, ProviderDocument> = toml_edit::de::from_str(include_str!("providers.toml"))
            .map_err(|error| ProviderError { id: "built-in".to_owned(), why: error.to_string() })?;
        documents.into_iter().map(|(id, document)| Ok((id.clone(), document.validate(id)?))).collect()
    }

    /// The environment called `name`, or the default one, with its name.
    pub fn environment(&self, name: Option<&str>) -> Option<(&str, &Environment)> {
        let name = name.unwrap_or(&self.default_environment);
        self.environments.get_key_value(name).map(|(name, environment)| (name.as_str(), environment))
    }

    /// The names of its environments; empty if it has only one.
    pub fn environment_names(&self) -> Vec<&str> {
        self.environments.keys().map(String::as_str).filter(|name| !name.is_empty()).collect()
    }

    /// The sign-in options that the vendor's documentation prescribes.
    pub fn options(&self, environment: &Environment) -> Options {
        Options {
            grant: self.grant,
            client_authentication: self.client_authentication,
            scope: self.scope.clone(),
            overrides: self.overrides.clone(),
            token_endpoint: environment.token_endpoint.clone(),
            ..Options::default()
        }
    }

    pub fn is_default_environment(&self, name: &str) -> bool {
        self.default_environment == name
    }
}

/// A provider's table in `providers.toml` or `config.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderDocument {
    title: Option<String>,
    grant: Option<GrantKind>,
    client_authentication: Option<AuthenticationDocument>,
    scope: Option<String>,
    requests_per_minute: Option<NonZeroU32>,
    #[serde(default)]
    read_only_tools: BTreeSet<String>,
    default_environment: Option<String>,
    url: Option<String>,
    token_endpoint: Option<String>,
    #[serde(default)]
    url_from_person: bool,
    #[serde(default)]
    embedded: bool,
    #[serde(default)]
    overrides: Overrides,
    #[serde(default)]
    environments: BTreeMap<String, EnvironmentDocument>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvironmentDocument {
    url: Option<String>,
    token_endpoint: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AuthenticationDocument {
    Body,
    Basic,
}

impl ProviderDocument {
    /// Validates this document as the provider `id`.
    ///
    /// # Errors
    /// [`ProviderError`], which names the invalid member.
    pub fn validate(self, id: String) -> Result<Provider, ProviderError> {
        let fail = |why: String| ProviderError { id: id.clone(), why };
        let optional = |member: &str, text: &Option<String>| {
            let url = text.as_deref().map(str::parse::<ServerUrl>).transpose();
            url.map_err(|error| fail(format!("{member}: {error}")))
        };

        let mut environments = BTreeMap::new();
        for (name, document) in &self.environments {
            let server = optional("url", &document.url)?;
            if server.is_none() && !self.embedded {
                return Err(fail(format!("environment {name:?} has no url")));
            }
            let token_endpoint = optional("token_endpoint", &document.token_endpoint)?;
            environments.insert(name.clone(), Environment { server, token_endpoint });
        }
        let alone = Environment {
            server: optional("url", &self.url)?,
            token_endpoint: optional("token_endpoint", &self.token_endpoint)?,
        };
        match (environments.is_empty(), alone.server.is_some() || self.url_from_person) {
            (true, true) => drop(environments.insert(String::new(), alone)),
            (false, false) => {}
            (true, false) => return Err(fail("needs a url or environments".to_owned())),
            (false, true) => return Err(fail("has both a url and environments".to_owned())),
        }
        let default_environment = match (self.default_environment, environments.keys().next()) {
            (Some(name), _) if environments.contains_key(&name) => name,
            (None, Some(only)) if environments.len() == 1 => only.clone(),
            _ => return Err(fail("default_environment must name one of its environments".to_owned())),
        };
        let scope = self.scope.as_deref().map(str::parse).transpose();
        Ok(Provider {
            title: self.title.clone().unwrap_or_else(|| id.clone()),
            grant: self.grant,
            client_authentication: self.client_authentication.map(|document| match document {
                AuthenticationDocument::Body => ClientAuthentication::Body,
                AuthenticationDocument::Basic => ClientAuthentication::Basic,
            }),
            scope: scope.map_err(|error: crate::oauth::scope::ScopeError| fail(format!("scope: {error}")))?,
            overrides: self.overrides.clone(),
            requests_per_minute: self.requests_per_minute,
            read_only_tools: self.read_only_tools,
            embedded: self.embedded,
            environments,
            default_environment,
            id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_vendors_match_their_documentation() {
        let providers = Provider::built_in().unwrap();
        assert_eq!(providers.keys().collect::<Vec<_>>(), ["asset", "demo", "masset", "tesorio"]);

        let asset = &providers["asset"];
        let (name, production) = asset.environment(None).unwrap();
        assert_eq!((name, asset.grant), ("production", Some(GrantKind::ClientCredentials)));
        assert_eq!(production.server.as_ref().unwrap().as_str(), "https://api.getasset.com/mcp");
        let (_, sandbox) = asset.environment(Some("sandbox")).unwrap();
        assert_eq!(sandbox.token_endpoint.as_ref().unwrap().as_str(), "https://api.sandbox.getasset.com/v0/auth/token");

        let (name, only) = providers["tesorio"].environment(None).unwrap();
        assert_eq!((name, only.server.as_ref().unwrap().as_str()), ("", "https://mcp.tesorio.com/v1/mcp"));
        assert!(providers["tesorio"].environment(Some("sandbox")).is_none());

        assert!(providers["masset"].environment(None).unwrap().1.server.is_none(), "only customers know it");
        assert_eq!(providers["masset"].requests_per_minute, NonZeroU32::new(60));
        assert!(providers["masset"].read_only_tools.contains("get_asset_metadata"));
        assert!(providers["asset"].read_only_tools.is_empty(), "documented in prose only");
    }

    #[test]
    fn an_invalid_entry_names_the_member() {
        for (text, fault) in [
            ("grant = 'client-credentials'", "needs a url"),
            ("grant = 'client-credentials'\nurl = 'http://example.com'", "url: only https"),
            ("grant = 'client-credentials'\nurl = 'https://a.example'\nscope = 'a\\u0007'", "scope"),
            (
                "grant = 'client-credentials'\n[environments.a]\nurl='https://a.example'\n[environments.b]\nurl='https://b.example'",
                "default_environment",
            ),
        ] {
            let document: ProviderDocument =
                toml_edit::de::from_str(&text.replace("'a\\u0007'", "\"a\\u0007\"")).unwrap();
            let error = document.validate("x".to_owned()).unwrap_err().to_string();
            assert!(error.contains(fault), "{error}");
        }
        let nothing = toml_edit::de::from_str::<ProviderDocument>("url = 'https://a.example'\nrequests_per_minute = 0");
        assert!(nothing.unwrap_err().to_string().contains("nonzero"));
    }
}
