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
pub mod error;
pub mod protected_resource;
pub mod registration;
pub mod scope;
pub mod token_set;

use std::net::IpAddr;

use serde::de::DeserializeOwned;
use url::Host;

use crate::{oauth::error::Untrusted, server_url::ServerUrl};

/// A JSON document that a server published. A member that we read and that is there twice is refused: two readers could
/// take a different one each.
fn parse<T: DeserializeOwned>(document: &'static str, body: &[u8]) -> Result<T, Untrusted> {
    serde_json::from_slice(body).map_err(|error| {
        let reason = match error.classify() {
            serde_json::error::Category::Data => "a member is missing, there twice, or of the wrong type",
            _ => "it is not JSON",
        };
        Untrusted::Document { document, reason }
    })
}

/// A URL that `namer`, or a document of it, names in `member`. A server elsewhere has no business with this machine's
/// own services (RFC 9728 section 7.7).
fn trusted_url(member: &'static str, text: &str, namer: &ServerUrl) -> Result<ServerUrl, Untrusted> {
    let url: ServerUrl = text.parse().map_err(|reason| Untrusted::Url { member, reason })?;
    if is_local(&url) && !is_local(namer) { Err(Untrusted::Local { member }) } else { Ok(url) }
}

/// Whether the URL says by itself that it is this machine, or one on the same link, where cloud machines find their own
/// credentials.
fn is_local(url: &ServerUrl) -> bool {
    let address = match url.as_url().host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            return name == "localhost" || name.ends_with(".localhost");
        }
        Some(Host::Ipv4(address)) => IpAddr::from(address),
        Some(Host::Ipv6(address)) => IpAddr::from(address).to_canonical(),
        None => return true,
    };
    let on_link = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    address.is_loopback() || address.is_unspecified() || on_link
}
