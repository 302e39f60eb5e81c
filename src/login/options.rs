//! How to sign in, and the same in `config.toml`. The command line's options are in `cli`.

use std::{collections::BTreeMap, fmt::Display, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    credential::{key_header::KeyHeader, record::Bearer},
    login::{parameters, redirect_uri::RedirectUri},
    mcp::extra_headers::ExtraHeaders,
    oauth::{
        client_metadata::ClientMetadataUrl, overrides::Overrides, registration::ClientAuthentication, scope::Scope,
    },
    server_url::ServerUrl,
};

/// How to sign in, from the command line, a preset or an earlier sign-in. finmcp discovers what is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The grant of the first token; read it with [`Options::grant_kind`].
    pub grant: Option<GrantKind>,
    /// A pre-registered client's identifier.
    pub client_id: Option<String>,
    /// How the client authenticates; discovered if missing.
    pub client_authentication: Option<ClientAuthentication>,
    /// The URL of a Client ID Metadata Document, used as the client id.
    pub client_metadata_url: Option<ClientMetadataUrl>,
    /// The source of the assertion for the JWT bearer grant.
    pub assertion: Option<Assertion>,
    /// The client's registered redirect URI, for servers that compare every byte.
    pub redirect_uri: Option<RedirectUri>,
    /// The header that carries the API key.
    pub api_key_header: Option<KeyHeader>,
    /// Headers for every request to the server.
    pub headers: ExtraHeaders,
    /// Which token the server gets.
    pub bearer: Option<Bearer>,
    /// The scope to request.
    pub scope: Option<Scope>,
    /// A pinned token endpoint: skips discovery.
    pub token_endpoint: Option<ServerUrl>,
    /// The issuer to expect.
    pub issuer: Option<String>,
    /// The `resource` parameter.
    pub resource: ResourceParameter,
    /// Additional parameters of the authorization and token requests, for example `business_id`.
    pub parameters: Vec<(String, String)>,
    /// Whether to use DPoP even if the server does not require it.
    pub dpop: bool,
    /// The security checks that are off for this server.
    pub overrides: Overrides,
}

impl Options {
    /// The grant of the first token: the chosen one, else the default.
    pub fn grant_kind(&self) -> GrantKind {
        self.grant.unwrap_or_default()
    }

    /// Whether the user signs in at a web page: the authorization server's or, for an assertion, the identity provider's.
    pub fn uses_page(&self) -> bool {
        match self.grant_kind() {
            GrantKind::AuthorizationCode => true,
            GrantKind::JwtBearer => self.assertion.as_ref().is_some_and(Assertion::needs_user),
            GrantKind::ClientCredentials | GrantKind::DeviceCode | GrantKind::ApiKey => false,
        }
    }

    /// Whether a user has to act during the sign-in. The others need only what the command line or the store holds.
    pub fn needs_user(&self) -> bool {
        self.uses_page() || self.grant_kind() == GrantKind::DeviceCode
    }

    /// These options, with missing ones taken from `other`.
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
            api_key_header: self.api_key_header.or(other.api_key_header),
            headers: self.headers.or(other.headers),
            bearer: self.bearer.or(other.bearer),
            scope: self.scope.or(other.scope),
            token_endpoint: self.token_endpoint.or(other.token_endpoint),
            issuer: self.issuer.or(other.issuer),
            resource,
            parameters,
            dpop: self.dpop || other.dpop,
            overrides: self.overrides.or(other.overrides),
        }
    }

    /// These options for another server: without what is only for this one.
    pub fn for_another_server(self) -> Self {
        let resource = match self.resource {
            ResourceParameter::Fixed(_) => ResourceParameter::Discovered,
            resource => resource,
        };
        Self { assertion: None, headers: ExtraHeaders::default(), token_endpoint: None, issuer: None, resource, ..self }
    }
}

impl GrantKind {
    /// Whether the client has to authenticate with a secret or a private key.
    pub fn needs_secret(self) -> bool {
        self == Self::ClientCredentials
    }

    /// Whether an authorization server issues the tokens.
    pub fn uses_authorization_server(self) -> bool {
        self != Self::ApiKey
    }

    /// What the user types for a sign-in; none if they sign in at a page, or a file proves who they are.
    pub fn typed(self) -> Option<&'static str> {
        match self {
            Self::ClientCredentials => Some("a client ID and a client secret"),
            Self::ApiKey => Some("an API key"),
            Self::AuthorizationCode | Self::DeviceCode | Self::JwtBearer => None,
        }
    }
}

/// The grant of the first token (RFC 6749 section 1.3). The default is the authorization code grant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum GrantKind {
    /// Sign in with a browser
    #[default]
    AuthorizationCode,
    /// Authenticate with a client secret or a private key
    ClientCredentials,
    /// Sign in on another device with a code
    DeviceCode,
    /// Use a JWT from a platform or an identity provider (RFC 7523)
    JwtBearer,
    /// Use an API key that the vendor gave you
    ApiKey,
}

/// The `resource` parameter of the authorization and token requests (RFC 8707 section 2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ResourceParameter {
    /// The resource in the server's metadata, else the server's URL.
    #[default]
    Discovered,
    /// This one.
    Fixed(String),
    /// None: for servers that refuse it.
    Omitted,
}

impl From<&str> for ResourceParameter {
    /// `none`, or an identifier.
    fn from(text: &str) -> Self {
        if text == "none" { Self::Omitted } else { Self::Fixed(text.to_owned()) }
    }
}

/// The source of an assertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assertion {
    /// A file that a platform keeps up to date (workload identity federation).
    File(PathBuf),
    /// An identity provider, which gives it for a person's ID token (MCP "Enterprise-Managed Authorization").
    IdentityProvider {
        /// Its issuer identifier.
        issuer: String,
        /// The client that the ID token was issued to.
        client_id: String,
        /// The file with the ID token; none if the user signs in there.
        id_token_file: Option<PathBuf>,
    },
}

impl Assertion {
    /// Whether the user has to sign in for it.
    pub fn needs_user(&self) -> bool {
        matches!(self, Self::IdentityProvider { id_token_file: None, .. })
    }
}

/// The options in `config.toml`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub struct OptionsDocument {
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
    api_key_header: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bearer: Option<Bearer>,
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
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct IdentityProviderDocument {
    issuer: String,
    client_id: String,
    /// None if the user signs in there.
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token_file: Option<PathBuf>,
}

fn is_none(overrides: &Overrides) -> bool {
    *overrides == Overrides::default()
}

impl OptionsDocument {
    /// Parses the values.
    ///
    /// # Errors
    /// The invalid member, and why.
    pub fn options(&self) -> Result<Options, String> {
        for name in self.parameters.keys() {
            parameters::check(name).map_err(|error| format!("parameters: {error}"))?;
        }
        Ok(Options {
            grant: self.grant,
            client_id: self.client_id.clone(),
            client_authentication: None,
            client_metadata_url: read(&self.client_metadata_url, "client_metadata_url")?,
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
            redirect_uri: read(&self.redirect_uri, "redirect_uri")?,
            api_key_header: read(&self.api_key_header, "api_key_header:")?,
            headers: headers_of(&self.headers)?,
            bearer: self.bearer,
            scope: read(&self.scope, "scope:")?,
            token_endpoint: read(&self.token_endpoint, "token_endpoint:")?,
            issuer: self.issuer.clone(),
            resource: self.resource.as_deref().map(ResourceParameter::from).unwrap_or_default(),
            parameters: self.parameters.clone().into_iter().collect(),
            dpop: self.dpop,
            overrides: self.overrides.clone(),
        })
    }
}

/// The headers in a table of names and values.
///
/// # Errors
/// The header that cannot be added, and why.
pub fn headers_of(table: &BTreeMap<String, String>) -> Result<ExtraHeaders, String> {
    let mut headers = ExtraHeaders::default();
    for (name, value) in table {
        headers.set(name, value).map_err(|error| error.to_string())?;
    }
    Ok(headers)
}

/// The value of a member, if there is one.
///
/// # Errors
/// Why the value is invalid, after `member`.
pub fn read<T: FromStr<Err: Display>>(text: &Option<String>, member: &str) -> Result<Option<T>, String> {
    text.as_deref().map(str::parse).transpose().map_err(|error| format!("{member} {error}"))
}

impl From<&Options> for OptionsDocument {
    fn from(options: &Options) -> Self {
        let (assertion_file, identity_provider) = match options.assertion.clone() {
            Some(Assertion::File(path)) => (Some(path), None),
            Some(Assertion::IdentityProvider { issuer, client_id, id_token_file }) => {
                (None, Some(IdentityProviderDocument { issuer, client_id, id_token_file }))
            }
            None => (None, None),
        };
        Self {
            grant: options.grant,
            client_id: options.client_id.clone(),
            client_metadata_url: options.client_metadata_url.as_ref().map(ToString::to_string),
            assertion_file,
            identity_provider,
            redirect_uri: options.redirect_uri.as_ref().map(ToString::to_string),
            api_key_header: options.api_key_header.as_ref().map(ToString::to_string),
            headers: options.headers.to_texts(),
            bearer: options.bearer,
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
        }
    }
}
