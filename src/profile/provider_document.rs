//! A provider's table in `providers.toml` or `config.toml`.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

use serde::Deserialize;

use crate::{
    login::{
        options::{GrantKind, Options, ResourceParameter, headers_of, read},
        parameters,
    },
    oauth::{overrides::Overrides, registration::ClientAuthentication},
    profile::provider::{Environment, Facts, Provider},
    server_url::ServerUrl,
};

/// A provider's table. `docs/config.schema.json` describes its members.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderDocument {
    title: Option<String>,
    grant: Option<GrantKind>,
    #[serde(default)]
    grants: Vec<SignInDocument>,
    client_authentication: Option<AuthenticationDocument>,
    client_id: Option<String>,
    redirect_uri: Option<String>,
    api_key_header: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    scope: Option<String>,
    resource: Option<String>,
    issuer: Option<String>,
    requests_per_minute: Option<NonZeroU32>,
    #[serde(default)]
    read_only_tools: BTreeSet<String>,
    default_environment: Option<String>,
    url: Option<String>,
    token_endpoint: Option<String>,
    #[serde(default)]
    url_from_person: bool,
    url_example: Option<String>,
    #[serde(default)]
    embedded: bool,
    documentation: Option<String>,
    facts_from: Option<String>,
    credentials_from: Option<String>,
    #[serde(default)]
    notes: Vec<String>,
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

/// A way to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SignInDocument {
    AuthorizationCode,
    ClientCredentials,
    DeviceCode,
    JwtBearer,
    ApiKey,
    /// The servers need no sign-in.
    None,
}

impl SignInDocument {
    fn grant(self) -> Option<GrantKind> {
        match self {
            Self::AuthorizationCode => Some(GrantKind::AuthorizationCode),
            Self::ClientCredentials => Some(GrantKind::ClientCredentials),
            Self::DeviceCode => Some(GrantKind::DeviceCode),
            Self::JwtBearer => Some(GrantKind::JwtBearer),
            Self::ApiKey => Some(GrantKind::ApiKey),
            Self::None => None,
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AuthenticationDocument {
    Body,
    Basic,
}

/// An invalid provider entry.
#[derive(Debug, thiserror::Error)]
#[error("provider {id:?}: {why}")]
pub struct ProviderError {
    pub(super) id: String,
    pub(super) why: String,
}

impl ProviderError {
    /// What is invalid, without the provider.
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl ProviderDocument {
    /// Validates this document as the provider `id`.
    ///
    /// # Errors
    /// [`ProviderError`], which names the invalid member.
    pub fn validate(self, id: String) -> Result<Provider, ProviderError> {
        match self.provider(&id) {
            Ok(provider) => Ok(provider),
            Err(why) => Err(ProviderError { id, why }),
        }
    }

    fn provider(self, id: &str) -> Result<Provider, String> {
        let grants = self.grants()?;
        let environments = self.environments()?;
        let default_environment = match (&self.default_environment, environments.keys().next()) {
            (Some(name), _) if environments.contains_key(name) => name.clone(),
            (None, Some(only)) if environments.len() == 1 => only.clone(),
            _ => return Err("default_environment must name one of its environments".to_owned()),
        };
        Ok(Provider {
            title: text(&self.title, "title")?.unwrap_or_else(|| id.to_owned()),
            id: id.to_owned(),
            is_built_in: false,
            is_open: self.grants == [SignInDocument::None],
            common: self.options(&grants)?,
            facts: self.facts()?,
            grants,
            requests_per_minute: self.requests_per_minute,
            read_only_tools: self.read_only_tools,
            embedded: self.embedded,
            environments,
            default_environment,
        })
    }

    fn grants(&self) -> Result<Vec<GrantKind>, String> {
        let grants: Vec<GrantKind> = self.grants.iter().filter_map(|kind| kind.grant()).collect();
        if self.grants.len() > 1 && grants.len() < self.grants.len() {
            return Err("grants: \"none\" excludes all others".to_owned());
        }
        if grants.iter().enumerate().any(|(index, grant)| grants[..index].contains(grant)) {
            return Err("grants: one is listed twice".to_owned());
        }
        match self.grant {
            Some(_) if !self.grants.is_empty() => Err("grant and grants exclude each other".to_owned()),
            Some(grant) => Ok(vec![grant]),
            None => Ok(grants),
        }
    }

    fn options(&self, grants: &[GrantKind]) -> Result<Options, String> {
        if self.api_key_header.is_some() && !grants.contains(&GrantKind::ApiKey) {
            return Err("api_key_header needs \"api-key\" among its grants".to_owned());
        }
        for name in self.parameters.keys() {
            parameters::check(name).map_err(|error| format!("parameters: {error}"))?;
        }
        url(&self.issuer, "issuer")?;
        Ok(Options {
            grant: grants.first().copied(),
            client_authentication: self.client_authentication.map(|document| match document {
                AuthenticationDocument::Body => ClientAuthentication::Body,
                AuthenticationDocument::Basic => ClientAuthentication::Basic,
            }),
            client_id: text(&self.client_id, "client_id")?,
            redirect_uri: read(&self.redirect_uri, "redirect_uri")?,
            api_key_header: read(&self.api_key_header, "api_key_header:")?,
            headers: headers_of(&self.headers)?,
            parameters: self.parameters.clone().into_iter().collect(),
            scope: read(&self.scope, "scope:")?,
            resource: text(&self.resource, "resource")?
                .map(|text| ResourceParameter::from(text.as_str()))
                .unwrap_or_default(),
            issuer: self.issuer.clone(),
            overrides: self.overrides.clone(),
            ..Options::default()
        })
    }

    fn facts(&self) -> Result<Facts, String> {
        if self.url_example.is_some() && !self.url_from_person {
            return Err("url_example needs url_from_person".to_owned());
        }
        let credentials_from = text(&self.credentials_from, "credentials_from")?;
        if credentials_from.as_deref().is_some_and(|text| text.contains("://")) {
            url(&credentials_from, "credentials_from")?;
        }
        if self.notes.iter().any(|note| note.trim().is_empty()) {
            return Err("notes: one is empty".to_owned());
        }
        Ok(Facts {
            documentation: url(&self.documentation, "documentation")?,
            date: read(&self.facts_from, "facts_from:")?,
            credentials_from,
            url_example: text(&self.url_example, "url_example")?,
            notes: self.notes.clone(),
        })
    }

    fn environments(&self) -> Result<BTreeMap<String, Environment>, String> {
        let mut environments = BTreeMap::new();
        for (name, document) in &self.environments {
            let server = url(&document.url, "url")?;
            if server.is_none() && !self.embedded {
                return Err(format!("environment {name:?} has no url"));
            }
            let token_endpoint = url(&document.token_endpoint, "token_endpoint")?;
            environments.insert(name.clone(), Environment { server, token_endpoint });
        }
        let alone = Environment {
            server: url(&self.url, "url")?,
            token_endpoint: url(&self.token_endpoint, "token_endpoint")?,
        };
        match (environments.is_empty(), alone.server.is_some() || self.url_from_person) {
            (true, true) => drop(environments.insert(String::new(), alone)),
            (false, false) => {}
            (true, false) => return Err("needs a url or environments".to_owned()),
            (false, true) => return Err("has both a url and environments".to_owned()),
        }
        Ok(environments)
    }
}

/// A URL that finmcp may call or show: https, or http on the loopback interface.
fn url(text: &Option<String>, member: &str) -> Result<Option<ServerUrl>, String> {
    text.as_deref().map(str::parse).transpose().map_err(|error| format!("{member}: {error}"))
}

fn text(text: &Option<String>, member: &str) -> Result<Option<String>, String> {
    match text {
        Some(text) if text.trim().is_empty() => Err(format!("{member} is empty")),
        text => Ok(text.clone()),
    }
}

#[cfg(test)]
mod tests;
