//! Clients of a simulated authorization server.

use serde::Deserialize;

use crate::{demo::grant_error::GrantError, server_url::ServerUrl};

/// A public native client: its name and its redirect URIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The name on the consent page.
    pub name: String,
    redirect_uris: Vec<ServerUrl>,
}

/// Client metadata (RFC 7591 section 2), from a registration or a client ID metadata document.
#[derive(Debug, Deserialize)]
pub struct ClientMetadata {
    /// The document's URL; only in a metadata document.
    pub client_id: Option<String>,
    client_name: Option<String>,
    #[serde(default)]
    redirect_uris: Vec<String>,
    application_type: Option<String>,
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
}

impl Client {
    /// A pre-registered client.
    pub fn new(name: &str, redirect_uris: Vec<ServerUrl>) -> Self {
        Self { name: name.to_owned(), redirect_uris }
    }

    /// Validates the metadata of a registration request. A missing `application_type` means `web` (OpenID Connect
    /// Dynamic Client Registration 1.0 section 2), and a web client cannot have a loopback redirect URI.
    ///
    /// # Errors
    /// `invalid_redirect_uri` or `invalid_client_metadata` (RFC 7591 section 3.2.2).
    pub fn registered(metadata: &ClientMetadata) -> Result<Self, GrantError> {
        match metadata.application_type.as_deref() {
            Some("native") => Self::from_metadata(metadata),
            Some("web") | None => Err(GrantError::new(
                "invalid_redirect_uri",
                "a web client (the default application_type) cannot redirect to this machine",
            )),
            Some(_) => Err(GrantError::new("invalid_client_metadata", "application_type must be native or web")),
        }
    }

    /// Validates a client ID metadata document.
    ///
    /// # Errors
    /// The same as [`Client::registered`].
    pub fn from_metadata(metadata: &ClientMetadata) -> Result<Self, GrantError> {
        let unsupported = |list: &Option<Vec<String>>, needed: &str| {
            list.as_ref().is_some_and(|list| !list.iter().any(|entry| entry == needed))
        };
        if unsupported(&metadata.grant_types, "authorization_code") || unsupported(&metadata.response_types, "code") {
            return Err(GrantError::new("invalid_client_metadata", "only the authorization code grant is supported"));
        }
        if metadata.token_endpoint_auth_method.as_deref().is_some_and(|method| method != "none") {
            return Err(GrantError::new(
                "invalid_client_metadata",
                "only token_endpoint_auth_method none is supported",
            ));
        }
        let refused = GrantError::new("invalid_redirect_uri", "redirect_uris must be http URLs of this machine");
        let uris: Vec<ServerUrl> = metadata
            .redirect_uris
            .iter()
            .map(|uri| uri.parse::<ServerUrl>().ok().filter(ServerUrl::is_loopback).ok_or(refused))
            .collect::<Result<_, _>>()?;
        if uris.is_empty() {
            return Err(refused);
        }
        let name = metadata.client_name.clone().unwrap_or_else(|| "A client without a name".to_owned());
        Ok(Self { name, redirect_uris: uris })
    }

    /// The redirect URI of a request, if the client registered it. The port may differ if none was registered (RFC 8252
    /// section 7.3).
    pub fn redirect_uri(&self, requested: &str) -> Option<ServerUrl> {
        let requested: ServerUrl = requested.parse().ok()?;
        let same = |registered: &ServerUrl| {
            let mut expected = registered.as_url().clone();
            if expected.port().is_none() && expected.set_port(requested.as_url().port()).is_err() {
                return false;
            }
            expected == *requested.as_url()
        };
        self.redirect_uris.iter().any(same).then_some(requested)
    }

    /// The registered redirect URIs.
    pub fn redirect_uris(&self) -> impl Iterator<Item = &str> {
        self.redirect_uris.iter().map(ServerUrl::as_str)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn register(metadata: serde_json::Value) -> Result<Client, &'static str> {
        Client::registered(&serde_json::from_value(metadata).unwrap()).map_err(|refusal| refusal.error)
    }

    /// A client without an `application_type` counts as a web client.
    #[test]
    fn application_type_must_be_native() {
        let redirect_uris = json!(["http://127.0.0.1:4711/callback"]);
        assert!(register(json!({ "application_type": "native", "redirect_uris": redirect_uris })).is_ok());
        for (application_type, error) in [
            (json!(null), "invalid_redirect_uri"),
            (json!("web"), "invalid_redirect_uri"),
            (json!("mobile"), "invalid_client_metadata"),
        ] {
            let metadata = json!({ "application_type": application_type, "redirect_uris": redirect_uris });
            assert_eq!(register(metadata), Err(error));
        }
    }

    #[test]
    fn unsupported_metadata_is_refused() {
        let native = |extra: serde_json::Value| {
            let mut metadata = json!({ "application_type": "native", "redirect_uris": ["http://127.0.0.1/callback"] });
            metadata.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            register(metadata)
        };
        assert!(native(json!({ "grant_types": ["authorization_code", "refresh_token"] })).is_ok());
        for (extra, error) in [
            (json!({ "redirect_uris": [] }), "invalid_redirect_uri"),
            (json!({ "redirect_uris": ["https://example.com/callback"] }), "invalid_redirect_uri"),
            (json!({ "redirect_uris": ["http://127.0.0.1/", "javascript:alert(1)"] }), "invalid_redirect_uri"),
            (json!({ "grant_types": ["password"] }), "invalid_client_metadata"),
            (json!({ "response_types": ["token"] }), "invalid_client_metadata"),
            (json!({ "token_endpoint_auth_method": "client_secret_basic" }), "invalid_client_metadata"),
        ] {
            assert_eq!(native(extra.clone()), Err(error), "{extra}");
        }
    }

    #[test]
    fn a_redirect_uri_is_exact_except_for_an_unregistered_port() {
        let open = Client::new("", vec!["http://127.0.0.1/callback".parse().unwrap()]);
        let fixed = Client::new("", vec!["http://127.0.0.1:4711/callback".parse().unwrap()]);
        for (uri, by_open, by_fixed) in [
            ("http://127.0.0.1:4711/callback", true, true),
            ("http://127.0.0.1:4712/callback", true, false),
            ("http://127.0.0.1:4711/callback/", false, false),
            ("http://127.0.0.1:4711/callback?x=y", false, false),
            ("http://localhost:4711/callback", false, false),
            ("https://127.0.0.1:4711/callback", false, false),
            ("http://127.0.0.1:4711@evil.example/callback", false, false),
        ] {
            assert_eq!(open.redirect_uri(uri).is_some(), by_open, "{uri}");
            assert_eq!(fixed.redirect_uri(uri).is_some(), by_fixed, "{uri}");
        }
    }
}
