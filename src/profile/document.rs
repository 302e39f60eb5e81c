//! A profile as `config.toml` spells it.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    credential::record::Identity,
    login::{
        ResourceParameter,
        jwt_bearer::Assertion,
        options::{GrantKind, Options},
        parameters,
        redirect_uri::RedirectUriError,
    },
    oauth::overrides::Overrides,
    profile::{Profile, provider::Provider},
    server_url::ServerUrl,
};

/// A profile, as `config.toml` spells it: what differs from its preset, and whom it is signed in as.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProfileDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<GrantKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_metadata_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assertion_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity_provider: Option<IdentityProviderDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    /// A resource identifier, or "none".
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    parameters: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    dpop: bool,
    #[serde(default, skip_serializing_if = "is_none")]
    overrides: Overrides,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_in: Option<IdentityDocument>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct IdentityProviderDocument {
    issuer: String,
    client_id: String,
    id_token_file: PathBuf,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct IdentityDocument {
    /// The server that the sign-in is for: where the profile's is changed by hand, nobody is signed in to the new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    issuer: String,
    resource: String,
    client_id: String,
    account: String,
}

impl IdentityDocument {
    /// Whether the sign-in is for `server`. Entries of earlier versions do not say, and are believed.
    fn is_for(&self, server: &ServerUrl) -> bool {
        self.url.as_ref().is_none_or(|url| url == server.as_str())
    }

    fn identity(self, environment: String) -> Identity {
        let Self { issuer, resource, client_id, account, .. } = self;
        Identity { environment, issuer, resource, client_id, account }
    }
}

fn is_none(overrides: &Overrides) -> bool {
    *overrides == Overrides::default()
}

impl ProfileDocument {
    /// The profile that it stands for under `name`.
    ///
    /// # Errors
    /// What makes no sense about it.
    pub(crate) fn profile(&self, name: &str, providers: &BTreeMap<String, Provider>) -> Result<Profile, String> {
        let provider = match &self.provider {
            Some(id) => Some(providers.get(id).ok_or_else(|| format!("there is no provider {id:?}"))?),
            None => None,
        };
        let preset = match provider {
            Some(provider) => Some(
                provider
                    .environment(self.environment.as_deref())
                    .ok_or_else(|| format!("{} has no such environment", provider.title))?,
            ),
            None => None,
        };
        for name in self.parameters.keys() {
            parameters::check(name).map_err(|error| format!("parameters: {error}"))?;
        }
        let url = self.url.as_deref().map(str::parse).transpose().map_err(|error| format!("url: {error}"))?;
        let preset_url = preset.and_then(|(_, environment)| environment.server.clone());
        let server = url.or_else(|| preset_url.clone()).ok_or("it needs a url")?;
        let own = Options {
            grant: self.grant,
            client_id: self.client_id.clone(),
            client_authentication: None,
            client_metadata_url: self
                .client_metadata_url
                .as_deref()
                .map(str::parse)
                .transpose()
                .map_err(|error| format!("client_metadata_url {error}"))?,
            assertion: match (&self.assertion_file, &self.identity_provider) {
                (Some(_), Some(_)) => return Err("assertion_file and identity_provider exclude each other".to_owned()),
                (Some(path), None) => Some(Assertion::File(path.clone())),
                (None, Some(provider)) => Some(Assertion::IdentityProvider {
                    issuer: provider.issuer.clone(),
                    client_id: provider.client_id.clone(),
                    id_token_file: provider.id_token_file.clone(),
                }),
                (None, None) => None,
            },
            redirect_uri: self
                .redirect_uri
                .as_deref()
                .map(str::parse)
                .transpose()
                .map_err(|error: RedirectUriError| format!("redirect_uri {error}"))?,
            scope: self.scope.as_deref().map(str::parse).transpose().map_err(|error| format!("scope: {error}"))?,
            token_endpoint: self
                .token_endpoint
                .as_deref()
                .map(str::parse)
                .transpose()
                .map_err(|error| format!("token_endpoint: {error}"))?,
            issuer: self.issuer.clone(),
            resource: match self.resource.as_deref() {
                None => ResourceParameter::Discovered,
                Some("none") => ResourceParameter::Omitted,
                Some(fixed) => ResourceParameter::Fixed(fixed.to_owned()),
            },
            parameters: self.parameters.clone().into_iter().collect(),
            dpop: self.dpop,
            overrides: self.overrides.clone(),
        };
        let mut from_preset = match (provider, preset) {
            (Some(provider), Some((_, environment))) => provider.options(environment),
            _ => Options::default(),
        };
        if preset_url.as_ref() != Some(&server) {
            // The preset's token endpoint belongs to the preset's own server.
            from_preset.token_endpoint = None;
        }
        let environment = preset.map_or("", |(name, _)| name).to_owned();
        Ok(Profile {
            name: name.to_owned(),
            provider: self.provider.clone(),
            title: provider.map_or_else(|| server.host(), |provider| provider.title.clone()),
            signed_in: self
                .signed_in
                .clone()
                .filter(|identity| identity.is_for(&server))
                .map(|identity| identity.identity(environment.clone())),
            environment,
            saved: true,
            moved: false,
            server,
            options: own.or(from_preset),
        })
    }

    /// Whom it was last signed in as, be it to a server that it no longer names.
    pub fn last_sign_in(&self) -> Option<Identity> {
        let environment = self.environment.clone().unwrap_or_default();
        self.signed_in.clone().map(|identity| identity.identity(environment))
    }
}

impl From<&Profile> for ProfileDocument {
    fn from(profile: &Profile) -> Self {
        let options = &profile.options;
        let (assertion_file, identity_provider) = match options.assertion.clone() {
            Some(Assertion::File(path)) => (Some(path), None),
            Some(Assertion::IdentityProvider { issuer, client_id, id_token_file }) => {
                (None, Some(IdentityProviderDocument { issuer, client_id, id_token_file }))
            }
            None => (None, None),
        };
        Self {
            assertion_file,
            identity_provider,
            provider: profile.provider.clone(),
            environment: Some(profile.environment.clone()).filter(|name| !name.is_empty()),
            url: Some(profile.server.as_str().to_owned()),
            grant: options.grant,
            client_id: options.client_id.clone(),
            client_metadata_url: options.client_metadata_url.as_ref().map(ToString::to_string),
            redirect_uri: options.redirect_uri.as_ref().map(ToString::to_string),
            scope: options.scope.as_ref().map(ToString::to_string),
            token_endpoint: options.token_endpoint.as_ref().map(ToString::to_string),
            issuer: options.issuer.clone(),
            resource: match &options.resource {
                ResourceParameter::Discovered => None,
                ResourceParameter::Fixed(fixed) => Some(fixed.clone()),
                ResourceParameter::Omitted => Some("none".to_owned()),
            },
            parameters: options.parameters.iter().cloned().collect(),
            dpop: options.dpop,
            overrides: options.overrides.clone(),
            signed_in: profile.signed_in.clone().map(|identity| IdentityDocument {
                url: Some(profile.server.to_string()),
                issuer: identity.issuer,
                resource: identity.resource,
                client_id: identity.client_id,
                account: identity.account,
            }),
        }
    }
}
