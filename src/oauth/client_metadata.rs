//! A client identified by the URL of a document about it (Client ID Metadata Document, MCP authorization, "Client
//! Registration"). The document is `client-metadata.json`, published at its `client_id`.

use std::{fmt, str::FromStr};

use crate::{oauth::registration::ClientRegistration, server_url::ServerUrl};

/// The URL where this build's document is published, if any. With an unpublished URL, sign-ins would fail that succeed
/// with dynamic registration; and the owner of its host controls finmcp's identity.
pub const PUBLISHED: Option<&str> = option_env!("FINMCP_CLIENT_METADATA_URL");

/// The URL of a Client ID Metadata Document, which is also the client identifier, byte for byte
/// (draft-ietf-oauth-client-id-metadata-document-00 section 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientMetadataUrl(String);

/// A URL that is not a valid client identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an https URL with a path, without a fragment, user name or dot segments")]
pub struct ClientMetadataUrlError;

impl ClientMetadataUrl {
    /// The registration of a public client, which may use any loopback port (RFC 8252 section 7.3).
    pub fn registration(&self) -> ClientRegistration {
        ClientRegistration::public(self.0.clone())
    }
}

impl FromStr for ClientMetadataUrl {
    type Err = ClientMetadataUrlError;

    fn from_str(text: &str) -> Result<Self, ClientMetadataUrlError> {
        let url: ServerUrl = text.parse().map_err(|_| ClientMetadataUrlError)?;
        // Servers compare the URL byte for byte, so only the normalised form is accepted.
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

    /// t041: valid and invalid client identifiers.
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

    /// t041: the document describes what finmcp does.
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
