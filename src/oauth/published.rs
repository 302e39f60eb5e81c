//! Documents that a server publishes, and the URLs in them.

use serde::de::DeserializeOwned;

use crate::{
    oauth::{error::Untrusted, json},
    server_url::ServerUrl,
};

/// Parses a JSON document from a server.
pub(super) fn parse<T: DeserializeOwned>(document: &'static str, body: &[u8]) -> Result<T, Untrusted> {
    json::read(body).map_err(|reason| Untrusted::Document { document, reason })
}

/// Parses a URL that `namer`, or a document from it, gives in `member`.
pub(super) fn trusted_url(member: &'static str, text: &str, namer: &ServerUrl) -> Result<ServerUrl, Untrusted> {
    namer.naming(text).map_err(|reason| Untrusted::Url { member, reason })
}
