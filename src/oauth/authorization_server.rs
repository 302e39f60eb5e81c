//! What an authorization server says about itself (RFC 8414, OpenID Connect Discovery 1.0).

use serde::Deserialize;

use crate::{
    oauth::{
        error::{Untrusted, cleaned},
        registration::ClientAuthentication,
        trusted_url,
    },
    server_url::ServerUrl,
};

const DOCUMENT: &str = "the authorization server's metadata";

/// Authorization server metadata (RFC 8414 section 2), checked to be the issuer's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationServer {
    /// The issuer identifier, byte for byte.
    pub issuer: String,
    /// Where tokens come from.
    pub token_endpoint: ServerUrl,
    /// Where clients register (RFC 7591).
    pub registration_endpoint: Option<ServerUrl>,
    /// Where tokens are revoked (RFC 7009).
    pub revocation_endpoint: Option<ServerUrl>,
    /// How clients may authenticate at the token endpoint: those of `token_endpoint_auth_methods_supported` that finmcp knows.
    pub authentication: Vec<ClientAuthentication>,
    /// Whether `scopes_supported` has `offline_access`: ask for it and a refresh token comes (MCP authorization, "Refresh Tokens").
    pub offline_access: bool,
    /// `authorization_response_iss_parameter_supported`: each authorization response then carries `iss` (RFC 9207 section 3).
    pub names_itself: bool,
    authorization_endpoint: Option<ServerUrl>,
    pkce: bool,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: String,
    registration_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    code_challenge_methods_supported: Option<Vec<String>>,
    scopes_supported: Option<Vec<String>>,
    authorization_response_iss_parameter_supported: Option<bool>,
}

/// Where the metadata of `issuer` may be, in the order to look (MCP authorization, "Authorization Server Metadata Discovery").
///
/// # Errors
/// [`Untrusted`] where `namer` names an issuer that must not be called, or that is no issuer identifier (RFC 8414 section 2).
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
    /// Reads the metadata that was looked up for `issuer`, the expected issuer identifier.
    ///
    /// # Errors
    /// [`Untrusted`] where it is no such document, another issuer's (RFC 8414 section 3.3), or names an endpoint that must not be called.
    pub fn parse(body: &[u8], issuer: &str) -> Result<Self, Untrusted> {
        let document: Document = super::parse(DOCUMENT, body)?;
        // Byte for byte: two spellings of one URL are two issuers (RFC 8414 section 3.3, RFC 3986 section 6.2.1).
        if document.issuer != issuer {
            return Err(Untrusted::Issuer { expected: cleaned(issuer), found: cleaned(&document.issuer) });
        }
        let url = issuer.parse().map_err(|reason| Untrusted::Url { member: "issuer", reason })?;
        let endpoint = |member, text: &str| trusted_url(member, text, &url);
        let optional = |member, text: Option<String>| text.map(|text| endpoint(member, &text)).transpose();
        let lists = |list: &Option<Vec<String>>, name: &str| list.iter().flatten().any(|entry| entry == name);
        Ok(Self {
            token_endpoint: endpoint("token_endpoint", &document.token_endpoint)?,
            authorization_endpoint: optional("authorization_endpoint", document.authorization_endpoint)?,
            registration_endpoint: optional("registration_endpoint", document.registration_endpoint)?,
            revocation_endpoint: optional("revocation_endpoint", document.revocation_endpoint)?,
            // RFC 8414 section 2: "If omitted, the default is client_secret_basic".
            authentication: document.token_endpoint_auth_methods_supported.map_or_else(
                || vec![ClientAuthentication::Basic],
                |methods| methods.iter().filter_map(|method| ClientAuthentication::from_method(method)).collect(),
            ),
            pkce: lists(&document.code_challenge_methods_supported, "S256"),
            offline_access: lists(&document.scopes_supported, "offline_access"),
            names_itself: document.authorization_response_iss_parameter_supported.unwrap_or(false),
            issuer: document.issuer,
        })
    }

    /// A server of the 2025-03-26 specification without metadata, by that specification's default paths ("Fallbacks for Servers without Metadata Discovery").
    /// It must support PKCE, and has no way to say so.
    ///
    /// # Errors
    /// [`Untrusted`] where there are no such URLs.
    pub fn by_default_paths(server: &ServerUrl) -> Result<Self, Untrusted> {
        let endpoint = |path| server.join(path).map_err(|reason| Untrusted::Url { member: "issuer", reason });
        Ok(Self {
            issuer: origin(server),
            token_endpoint: endpoint("/token")?,
            authorization_endpoint: Some(endpoint("/authorize")?),
            registration_endpoint: Some(endpoint("/register")?),
            revocation_endpoint: None,
            authentication: vec![ClientAuthentication::None],
            offline_access: false,
            names_itself: false,
            pkce: true,
        })
    }

    /// A server of which only the token endpoint is known, and whose name is that endpoint's URL unless somebody knows its `issuer`.
    pub fn pinned(issuer: Option<String>, token_endpoint: ServerUrl) -> Self {
        Self {
            issuer: issuer.unwrap_or_else(|| token_endpoint.to_string()),
            token_endpoint,
            authorization_endpoint: None,
            registration_endpoint: None,
            revocation_endpoint: None,
            authentication: vec![ClientAuthentication::Basic],
            offline_access: false,
            names_itself: false,
            pkce: false,
        }
    }

    /// Where a person signs in. Only a server that supports PKCE with S256 has such a place for us: others are refused (MCP authorization, "Authorization Code
    /// Protection"); client credentials do not need it.
    ///
    /// # Errors
    /// [`Untrusted`] where there is no endpoint, or no S256.
    pub fn authorization_endpoint(&self) -> Result<&ServerUrl, Untrusted> {
        let Some(endpoint) = &self.authorization_endpoint else {
            return Err(Untrusted::Document { document: DOCUMENT, reason: "it names no `authorization_endpoint`" });
        };
        if self.pkce { Ok(endpoint) } else { Err(Untrusted::Pkce) }
    }
}

/// The authorization base URL of the 2025-03-26 specification: the MCP server's URL without its path.
pub fn origin(server: &ServerUrl) -> String {
    server.as_url().origin().ascii_serialization()
}
