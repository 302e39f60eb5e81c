//! Authorization server metadata (RFC 8414, OpenID Connect Discovery 1.0).

use serde::Deserialize;

use crate::{
    oauth::{
        device_authorization::DEVICE_GRANT,
        error::Untrusted,
        private_key::Algorithm,
        published::{self, trusted_url},
        registration::ClientAuthentication,
    },
    printable::quoted,
    server_url::ServerUrl,
};

const DOCUMENT: &str = "the authorization server's metadata";

/// Authorization server metadata (RFC 8414 section 2), whose issuer has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationServer {
    /// The issuer identifier, byte for byte.
    pub issuer: String,
    pub token_endpoint: ServerUrl,
    /// The dynamic registration endpoint (RFC 7591).
    pub registration_endpoint: Option<ServerUrl>,
    /// The device authorization endpoint (RFC 8628 section 4).
    pub device_authorization_endpoint: Option<ServerUrl>,
    /// Whether the device grant can be used: `grant_types_supported` has it or is missing.
    pub device_codes: bool,
    /// The revocation endpoint (RFC 7009).
    pub revocation_endpoint: Option<ServerUrl>,
    /// The userinfo endpoint (OpenID Connect Core 1.0 section 5.3).
    pub userinfo_endpoint: Option<ServerUrl>,
    /// The methods in `token_endpoint_auth_methods_supported` that finmcp supports.
    pub authentication: Vec<ClientAuthentication>,
    /// `token_endpoint_auth_signing_alg_values_supported`, the algorithms for `private_key_jwt`. Empty if the server
    /// lists only other authentication methods; `None` if it does not say.
    pub key_algorithms: Option<Vec<String>>,
    /// Whether `scopes_supported` has `offline_access`, which a client requests to get a refresh token (MCP
    /// authorization, "Refresh Tokens").
    pub offline_access: bool,
    /// Whether `grant_types_supported` has `refresh_token` or is missing. (The default in RFC 8414 section 2 excludes
    /// it, but servers that omit the list do support it.)
    pub refresh: bool,
    /// `authorization_response_iss_parameter_supported`: every authorization response has `iss` (RFC 9207 section 3).
    pub names_itself: bool,
    /// `client_id_metadata_document_supported`: a client id may be the URL of a document about the client (MCP
    /// authorization, "Client ID Metadata Documents").
    pub client_metadata_documents: bool,
    /// Whether `dpop_signing_alg_values_supported` has ES256 (RFC 9449 section 5.1); `None` if only the token endpoint
    /// is known.
    pub dpop: Option<bool>,
    /// `require_pushed_authorization_requests` (RFC 9126 section 5).
    requires_pushing: bool,
    pushed_authorization_request_endpoint: Option<ServerUrl>,
    /// Where clients with a certificate send their requests instead, and the reach of these URLs.
    aliases: Option<(Aliases, ServerUrl)>,
    authorization_endpoint: Option<ServerUrl>,
    /// Whether `code_challenge_methods_supported` has S256; `None` if it is missing.
    pkce: Option<bool>,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: String,
    registration_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    userinfo_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    token_endpoint_auth_signing_alg_values_supported: Option<Vec<String>>,
    code_challenge_methods_supported: Option<Vec<String>>,
    scopes_supported: Option<Vec<String>>,
    grant_types_supported: Option<Vec<String>>,
    authorization_response_iss_parameter_supported: Option<bool>,
    client_id_metadata_document_supported: Option<bool>,
    dpop_signing_alg_values_supported: Option<Vec<String>>,
    require_pushed_authorization_requests: Option<bool>,
    pushed_authorization_request_endpoint: Option<String>,
    mtls_endpoint_aliases: Option<Aliases>,
}

/// `mtls_endpoint_aliases` (RFC 8705 section 5).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Aliases {
    token_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    pushed_authorization_request_endpoint: Option<String>,
}

/// Where to push authorization requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushEndpoint<'a> {
    pub url: &'a ServerUrl,
    /// Whether the server refuses requests that were not pushed.
    pub is_required: bool,
}

/// The URLs where the metadata of `issuer` may be, in the order to try (MCP authorization, "Authorization Server
/// Metadata Discovery").
///
/// # Errors
/// [`Untrusted`] if `issuer` is not a valid issuer identifier (RFC 8414 section 2), or its URL is out of reach for
/// `namer`, the server that named it.
pub fn candidates(issuer: &str, namer: &ServerUrl) -> Result<Vec<ServerUrl>, Untrusted> {
    let url = trusted_url("authorization_servers", issuer, namer)?;
    if url.as_url().query().is_some() {
        return Err(Untrusted::Document { document: "the issuer identifier", reason: "it has a query" });
    }
    let path = url.as_url().path().trim_end_matches('/');
    let inserted =
        ["oauth-authorization-server", "openid-configuration"].map(|name| format!("/.well-known/{name}{path}"));
    let appended = (!path.is_empty()).then(|| format!("{path}/.well-known/openid-configuration"));
    let resolve =
        |path: String| url.join(&path).map_err(|reason| Untrusted::Url { member: "authorization_servers", reason });
    inserted.into_iter().chain(appended).map(resolve).collect()
}

impl AuthorizationServer {
    /// Parses the metadata that was looked up for `issuer` and found at `place`, whose reach applies to the endpoints.
    ///
    /// # Errors
    /// [`Untrusted`] if the document is invalid, belongs to another issuer (RFC 8414 section 3.3), or names an endpoint
    /// that is out of reach.
    pub fn parse(body: &[u8], issuer: &str, place: &ServerUrl) -> Result<Self, Untrusted> {
        let document: Document = published::parse(DOCUMENT, body)?;
        // Compared byte for byte: two spellings of a URL are two issuers (RFC 8414 section 3.3, RFC 3986 section
        // 6.2.1).
        if document.issuer != issuer {
            return Err(Untrusted::Issuer { expected: quoted(issuer), found: quoted(&document.issuer) });
        }
        let endpoint = |member, text: &str| trusted_url(member, text, place);
        let optional = |member, text: Option<String>| text.map(|text| endpoint(member, &text)).transpose();
        let lists = |list: &Option<Vec<String>>, name: &str| list.iter().flatten().any(|entry| entry == name);
        let methods = &document.token_endpoint_auth_methods_supported;
        let takes_keys = methods.is_none() || lists(methods, ClientAuthentication::PrivateKeyJwt.method());
        Ok(Self {
            key_algorithms: match takes_keys {
                true => document.token_endpoint_auth_signing_alg_values_supported,
                false => Some(Vec::new()),
            },
            token_endpoint: endpoint("token_endpoint", &document.token_endpoint)?,
            authorization_endpoint: optional("authorization_endpoint", document.authorization_endpoint)?,
            registration_endpoint: optional("registration_endpoint", document.registration_endpoint)?,
            device_codes: document.device_authorization_endpoint.is_some()
                && (document.grant_types_supported.is_none() || lists(&document.grant_types_supported, DEVICE_GRANT)),
            device_authorization_endpoint: optional(
                "device_authorization_endpoint",
                document.device_authorization_endpoint,
            )?,
            revocation_endpoint: optional("revocation_endpoint", document.revocation_endpoint)?,
            // Only a name depends on it, so an invalid one invalidates nothing.
            userinfo_endpoint: optional("userinfo_endpoint", document.userinfo_endpoint).ok().flatten(),
            // RFC 8414 section 2: "If omitted, the default is client_secret_basic".
            authentication: document.token_endpoint_auth_methods_supported.map_or_else(
                || vec![ClientAuthentication::Basic],
                |methods| methods.iter().filter_map(|method| ClientAuthentication::from_method(method)).collect(),
            ),
            pkce: document
                .code_challenge_methods_supported
                .as_ref()
                .map(|methods| methods.iter().any(|method| method == "S256")),
            offline_access: lists(&document.scopes_supported, "offline_access"),
            refresh: document.grant_types_supported.is_none()
                || lists(&document.grant_types_supported, "refresh_token"),
            dpop: Some(lists(&document.dpop_signing_alg_values_supported, Algorithm::Es256.name())),
            requires_pushing: document.require_pushed_authorization_requests.unwrap_or(false),
            pushed_authorization_request_endpoint: optional(
                "pushed_authorization_request_endpoint",
                document.pushed_authorization_request_endpoint,
            )?,
            aliases: document.mtls_endpoint_aliases.map(|aliases| (aliases, place.clone())),
            names_itself: document.authorization_response_iss_parameter_supported.unwrap_or(false),
            client_metadata_documents: document.client_id_metadata_document_supported.unwrap_or(false),
            issuer: document.issuer,
        })
    }

    /// A server of the 2025-03-26 specification without metadata, with that specification's default paths ("Fallbacks
    /// for Servers without Metadata Discovery"). It must support PKCE but cannot advertise it.
    ///
    /// # Errors
    /// [`Untrusted`] if the paths cannot be resolved.
    pub fn by_default_paths(server: &ServerUrl) -> Result<Self, Untrusted> {
        let endpoint = |path| server.join(path).map_err(|reason| Untrusted::Url { member: "issuer", reason });
        Ok(Self {
            issuer: origin(server),
            token_endpoint: endpoint("/token")?,
            authorization_endpoint: Some(endpoint("/authorize")?),
            registration_endpoint: Some(endpoint("/register")?),
            device_authorization_endpoint: None,
            device_codes: false,
            revocation_endpoint: None,
            userinfo_endpoint: None,
            authentication: vec![ClientAuthentication::None, ClientAuthentication::Basic, ClientAuthentication::Body],
            key_algorithms: None,
            offline_access: false,
            refresh: true,
            names_itself: false,
            requires_pushing: false,
            pushed_authorization_request_endpoint: None,
            aliases: None,
            client_metadata_documents: false,
            dpop: Some(false),
            pkce: Some(true),
        })
    }

    /// A server of which only the token endpoint is known. Without a configured `issuer`, that endpoint's URL stands
    /// for it.
    pub fn pinned(issuer: Option<String>, token_endpoint: ServerUrl) -> Self {
        Self {
            issuer: issuer.unwrap_or_else(|| token_endpoint.to_string()),
            token_endpoint,
            authorization_endpoint: None,
            registration_endpoint: None,
            device_authorization_endpoint: None,
            device_codes: false,
            revocation_endpoint: None,
            userinfo_endpoint: None,
            authentication: vec![ClientAuthentication::Basic, ClientAuthentication::Certificate],
            key_algorithms: None,
            offline_access: false,
            refresh: true,
            names_itself: false,
            requires_pushing: false,
            pushed_authorization_request_endpoint: None,
            aliases: None,
            client_metadata_documents: false,
            dpop: None,
            pkce: None,
        }
    }

    /// The authorization endpoint, only if the server supports PKCE with S256: finmcp refuses other servers (MCP
    /// authorization, "Authorization Code Protection"). Client credentials do not need it.
    ///
    /// # Errors
    /// [`Untrusted`] if the server has no endpoint or does not support S256.
    pub fn authorization_endpoint(&self) -> Result<&ServerUrl, Untrusted> {
        let Some(endpoint) = &self.authorization_endpoint else {
            return Err(Untrusted::Document { document: DOCUMENT, reason: "it has no `authorization_endpoint`" });
        };
        match self.pkce {
            Some(true) => Ok(endpoint),
            Some(false) => Err(Untrusted::Pkce),
            None => Err(Untrusted::PkceNotListed),
        }
    }

    /// The same server for a client with a certificate: its requests go to the endpoints that ask for one (RFC 8705
    /// section 5).
    ///
    /// # Errors
    /// [`Untrusted`] if it names an endpoint that is out of reach.
    pub fn for_certificate(mut self) -> Result<Self, Untrusted> {
        let Some((aliases, place)) = self.aliases.take() else { return Ok(self) };
        let alias =
            |text: Option<String>| text.map(|text| trusted_url("mtls_endpoint_aliases", &text, &place)).transpose();
        let push = alias(aliases.pushed_authorization_request_endpoint)?;
        Ok(Self {
            token_endpoint: alias(aliases.token_endpoint)?.unwrap_or(self.token_endpoint),
            revocation_endpoint: alias(aliases.revocation_endpoint)?.or(self.revocation_endpoint),
            device_authorization_endpoint: alias(aliases.device_authorization_endpoint)?
                .or(self.device_authorization_endpoint),
            pushed_authorization_request_endpoint: push.or(self.pushed_authorization_request_endpoint),
            ..self
        })
    }

    /// Where to push authorization requests (RFC 9126 section 5); `None` if the server does not offer it.
    ///
    /// # Errors
    /// [`Untrusted`] if the server requires it without offering it.
    pub fn push_endpoint(&self) -> Result<Option<PushEndpoint<'_>>, Untrusted> {
        let is_required = self.requires_pushing;
        match &self.pushed_authorization_request_endpoint {
            Some(url) => Ok(Some(PushEndpoint { url, is_required })),
            None if is_required => Err(Untrusted::Document {
                document: DOCUMENT,
                reason: "it requires pushed authorization requests but has no `pushed_authorization_request_endpoint`",
            }),
            None => Ok(None),
        }
    }

    /// The same server, assumed to support S256 if its metadata does not say, because the user has configured that.
    pub fn assuming_pkce(self) -> Self {
        Self { pkce: self.pkce.or(Some(true)), ..self }
    }
}

/// The authorization base URL of the 2025-03-26 specification: the MCP server's URL without its path.
pub fn origin(server: &ServerUrl) -> String {
    server.as_url().origin().ascii_serialization()
}

/// The issuer with its trailing slash added or removed; only for an issuer without a path. Some libraries add that
/// slash to every URL that they publish. Compared byte for byte it is another issuer, but no other server can answer
/// for it: the origin and the metadata URLs are the same.
pub fn with_other_slash(issuer: &str) -> Option<String> {
    let bare = issuer.strip_suffix('/').unwrap_or(issuer);
    let (_, authority) = bare.split_once("://")?;
    if authority.is_empty() || authority.contains(['/', '?', '#']) {
        return None;
    }
    Some(if bare.len() == issuer.len() { format!("{issuer}/") } else { bare.to_owned() })
}

#[cfg(test)]
mod tests;
