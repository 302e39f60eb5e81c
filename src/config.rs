//! `config.toml`: the person's own file, as it is spelled.
//!
//! finmcp adds and updates its `[profiles]` when somebody signs in or out, and keeps the comments and the order of the
//! rest. No secret is ever in it. A project's folder has no say: only the user's own file is read.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    credential::record::Identity,
    disk::{lock::Lock, private_folder, replace},
    login::{ResourceParameter, jwt_bearer::Assertion, parameters, redirect_uri::RedirectUriError},
    oauth::overrides::Overrides,
    profile::{Profile, RegistrationOptions},
    provider::{GrantKind, ProviderDocument},
    server_url::ServerUrl,
    settings::{Settings, SettingsError},
};

/// How long another finmcp may take to change `config.toml`.
const EDIT_DEADLINE: Duration = Duration::from_secs(5);

/// `config.toml`, as it is spelled.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigDocument {
    pub(crate) default: Option<String>,
    pub(crate) client_metadata_url: Option<String>,
    pub(crate) ca_file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) providers: BTreeMap<String, ProviderDocument>,
    #[serde(default)]
    pub(crate) profiles: BTreeMap<String, ProfileDocument>,
}

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
    pub(crate) fn profile(&self, name: &str, settings: &Settings) -> Result<Profile, String> {
        let provider = match &self.provider {
            Some(id) => Some(settings.providers.get(id).ok_or_else(|| format!("there is no provider {id:?}"))?),
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
        let own = RegistrationOptions {
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
            (Some(provider), Some((_, environment))) => provider.registration(environment),
            _ => RegistrationOptions::default(),
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
            registration: own.or(from_preset),
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
        let options = &profile.registration;
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

/// Reads the file in `folder`; none is an empty one.
///
/// # Errors
/// [`SettingsError`] that says where what is wrong.
pub(crate) fn read(folder: &Path) -> Result<ConfigDocument, SettingsError> {
    let path = folder.join("config.toml");
    let text = read_if_there(&path).map_err(|source| SettingsError::File { path: path.clone(), source })?;
    if !text.is_empty() && (writable_by_others(&path) || writable_by_others(folder)) {
        return Err(SettingsError::Exposed { path });
    }
    toml_edit::de::from_str(&text).map_err(|error| SettingsError::Config { path, problem: error.to_string() })
}

/// Changes the `[profiles]` of `config.toml` and nothing else, one finmcp at a time, in one step that a crash
/// cannot halve.
///
/// # Errors
/// [`SettingsError`]; then `config.toml` is as it was.
pub(crate) async fn edit(
    folder: &Path,
    locks: &Path,
    change: impl FnOnce(&mut toml_edit::Table) -> Result<(), String>,
) -> Result<(), SettingsError> {
    let path = folder.join("config.toml");
    let file_error = |source| SettingsError::File { path: path.clone(), source };
    let config_error = |problem: String| SettingsError::Config { path: path.clone(), problem };
    private_folder::create(folder).map_err(file_error)?;
    let _turn = Lock::acquire(locks, "config", EDIT_DEADLINE).await.map_err(SettingsError::Unchanged)?;
    let text = read_if_there(&path).map_err(file_error)?;
    let mut document: toml_edit::DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| config_error(error.to_string()))?;
    let profiles = document.entry("profiles").or_insert_with(|| {
        let mut table = toml_edit::Table::new();
        table.set_implicit(true);
        toml_edit::Item::Table(table)
    });
    if let toml_edit::Item::Value(toml_edit::Value::InlineTable(inline)) = profiles {
        *profiles = toml_edit::Item::Table(std::mem::take(inline).into_table());
    }
    let profiles = profiles.as_table_mut().ok_or_else(|| config_error("[profiles] is not a table".to_owned()))?;
    change(profiles).map_err(config_error)?;
    replace::private_behind_link(&path, document.to_string().as_bytes()).map_err(file_error)
}

fn read_if_there(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        outcome => outcome,
    }
}

fn writable_by_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| private_folder::writable_by_others(&metadata))
}

/// Puts `content` into the file at `path`, in a folder of this person's alone that is made where it is missing.
///
/// # Errors
/// What the file system says; then the file is as it was.
pub(crate) fn keep(path: &Path, content: &[u8]) -> io::Result<()> {
    private_folder::create(path.parent().unwrap_or(Path::new(".")))?;
    replace::private_behind_link(path, content)
}
