//! A client that is known by a document about itself (Client ID Metadata Document, MCP authorization, "Client
//! Registration"). The document is `client-metadata.json`, published wherever its `client_id` says.

use std::{fmt, str::FromStr};

use crate::{
    oauth::{
        registration::{ClientAuthentication, ClientRegistration},
        scope::Scope,
    },
    server_url::ServerUrl,
};

/// Where this build's own document is published, if it is anywhere. A URL that nobody has published would end sign-ins
/// that dynamic registration brings to their end; and whoever owns its host says who finmcp is.
pub const PUBLISHED: Option<&str> = option_env!("FINMCP_CLIENT_METADATA_URL");

/// The URL of a Client ID Metadata Document, byte for byte: it is the client identifier itself
/// (draft-ietf-oauth-client-id-metadata-document-00 section 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientMetadataUrl(String);

/// A URL that is no client identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an https URL with a path, and without a fragment, a user name or dots in the path")]
pub struct ClientMetadataUrlError;

impl ClientMetadataUrl {
    /// Who finmcp is to a server that reads such documents: a public client, on whatever port of loopback (RFC 8252
    /// section 7.3).
    pub fn registration(&self) -> ClientRegistration {
        ClientRegistration {
            client_id: self.0.clone(),
            client_secret: None,
            authentication: ClientAuthentication::None,
            redirect_uri: None,
            expires_at: None,
            withheld: Scope::default(),
            other_redirect_uris: Vec::new(),
        }
    }
}

impl FromStr for ClientMetadataUrl {
    type Err = ClientMetadataUrlError;

    fn from_str(text: &str) -> Result<Self, ClientMetadataUrlError> {
        let url: ServerUrl = text.parse().map_err(|_| ClientMetadataUrlError)?;
        // Whoever compares byte for byte must find what is published: no other spelling, and so no dots.
        let is_plain = url.as_str() == text && url.as_url().scheme() == "https" && url.as_url().path() != "/";
        if is_plain { Ok(Self(text.to_owned())) } else { Err(ClientMetadataUrlError) }
    }
}

impl fmt::Display for ClientMetadataUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// t041: what is a client identifier, and what is not.
    #[test]
    fn t041_the_urls() {
        let is_good = |text: &str| text.parse::<ClientMetadataUrl>().is_ok();
        assert!(is_good("https://app.example/client.json") && is_good("https://app.example:8443/a/b?v=1"));
        for wrong in [
            "https://app.example",
            "https://app.example/",
            "http://app.example/client.json",
            "http://127.0.0.1/client.json",
            "https://app.example/a/../client.json",
            "https://app.example/./client.json",
            "https://app.example/client.json#x",
            "https://me@app.example/client.json",
            "HTTPS://app.example/client.json",
            "https://APP.example/client.json",
            "https://app.example:443/client.json",
            "client.json",
        ] {
            assert!(!is_good(wrong), "{wrong}");
        }
        assert!(PUBLISHED.is_none_or(is_good));
    }

    /// t041: the document says what finmcp does.
    #[test]
    fn t041_the_document() {
        let document: Value = serde_json::from_str(include_str!("../../client-metadata.json")).unwrap();
        let client_id: ClientMetadataUrl = document["client_id"].as_str().unwrap().parse().unwrap();
        assert_eq!(document["token_endpoint_auth_method"], client_id.registration().authentication.method());
        assert_eq!(document["application_type"], "native");
        assert_eq!(document["grant_types"], json!(["authorization_code", "refresh_token"]));
        assert_eq!(document["redirect_uris"], json!(["http://127.0.0.1/callback"]));
    }
}
