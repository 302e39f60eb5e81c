//! OAuth for MCP: values and the time in, values out. Only `client` and `discovery` speak HTTP, and nothing here reads
//! a clock.

pub mod authorization;
pub mod authorization_server;
pub mod challenge;
pub mod client;
pub mod client_assertion;
pub mod client_metadata;
pub mod device_authorization;
pub mod discovery;
pub mod dpop;
pub mod error;
pub mod json;
pub mod jwt;
pub mod overrides;
pub mod private_key;
pub mod protected_resource;
pub mod registration;
pub mod scope;
pub mod token_exchange;
pub mod token_set;
mod unknown_client;

use serde::de::DeserializeOwned;

use crate::{oauth::error::Untrusted, server_url::ServerUrl};

/// A JSON document that a server published.
fn parse<T: DeserializeOwned>(document: &'static str, body: &[u8]) -> Result<T, Untrusted> {
    json::read(body).map_err(|reason| Untrusted::Document { document, reason })
}

/// A URL that `namer`, or a document of it, names in `member`.
fn trusted_url(member: &'static str, text: &str, namer: &ServerUrl) -> Result<ServerUrl, Untrusted> {
    namer.naming(text).map_err(|reason| Untrusted::Url { member, reason })
}
