//! What a server publishes: a document, and the URLs that it names.

use serde::de::DeserializeOwned;

use crate::{
    oauth::{error::Untrusted, json},
    server_url::ServerUrl,
};

/// A JSON document that a server published.
pub(super) fn parse<T: DeserializeOwned>(document: &'static str, body: &[u8]) -> Result<T, Untrusted> {
    json::read(body).map_err(|reason| Untrusted::Document { document, reason })
}

/// A URL that `namer`, or a document of it, names in `member`.
pub(super) fn trusted_url(member: &'static str, text: &str, namer: &ServerUrl) -> Result<ServerUrl, Untrusted> {
    namer.naming(text).map_err(|reason| Untrusted::Url { member, reason })
}
