//! What a protected resource says about itself (RFC 9728).

use serde::Deserialize;

use crate::{
    oauth::{
        error::{Untrusted, cleaned},
        scope::Scope,
        trusted_url,
    },
    server_url::ServerUrl,
};

const DOCUMENT: &str = "the protected resource metadata";

/// Protected resource metadata (RFC 9728 section 2), checked to be the resource's that we connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectedResource {
    /// The resource identifier as the server writes it: the `resource` parameter of every request for a token (RFC 8707 section 2).
    pub resource: String,
    /// The issuer identifiers of its authorization servers as the server writes them, one at least.
    pub authorization_servers: Vec<String>,
    /// `scopes_supported`: what basic use needs (MCP authorization, "Scope Selection Strategy").
    pub scopes_supported: Option<Scope>,
}

#[derive(Deserialize)]
struct Document {
    resource: String,
    authorization_servers: Option<Vec<String>>,
    scopes_supported: Option<Vec<String>>,
}

/// Where the metadata may be, in the order to look (MCP authorization, "Protected Resource Metadata Discovery Requirements"): where the challenge points, else
/// the well-known URI with the server's path inserted, else the one at the root.
///
/// # Errors
/// [`Untrusted`] where the challenge points at a URL that must not be called.
pub fn candidates(server: &ServerUrl, pointer: Option<&str>) -> Result<Vec<ServerUrl>, Untrusted> {
    let pointed = pointer.map(|pointer| trusted_url("resource_metadata", pointer, server)).transpose()?;
    let path = server.as_url().path().trim_end_matches('/');
    let inserted = (!path.is_empty()).then_some(path);
    let paths = inserted.into_iter().chain([""]);
    let known = paths.filter_map(|path| server.join(&format!("/.well-known/oauth-protected-resource{path}")).ok());
    let mut candidates: Vec<ServerUrl> = pointed.into_iter().collect();
    for candidate in known {
        if !candidates.contains(&candidate) {
            candidates.push(candidate);
        }
    }
    Ok(candidates)
}

impl ProtectedResource {
    /// Reads the metadata of `server`.
    ///
    /// # Errors
    /// [`Untrusted`] where it is no such document, or another resource's.
    pub fn parse(body: &[u8], server: &ServerUrl) -> Result<Self, Untrusted> {
        let document: Document = super::parse(DOCUMENT, body)?;
        let unusable = |reason| Untrusted::Document { document: DOCUMENT, reason };
        if !covers(&document.resource, server) {
            return Err(Untrusted::Resource { expected: server.resource(), found: cleaned(&document.resource) });
        }
        let authorization_servers = document.authorization_servers.unwrap_or_default();
        if authorization_servers.is_empty() {
            return Err(unusable("it names no authorization server"));
        }
        let scopes_supported = document
            .scopes_supported
            .map(|tokens| tokens.iter().try_fold(Scope::default(), |scope, token| scope.with(token)))
            .transpose()
            .map_err(|_| unusable("`scopes_supported` is not valid or too long"))?;
        Ok(Self { resource: document.resource, authorization_servers, scopes_supported })
    }
}

/// Whether `resource` identifies `server`. RFC 9728 section 3.3 asks for the very URL that we connect to. Many servers publish one document for a whole host or
/// for a path above the endpoint, so a resource of the same origin whose path is the endpoint's, or one above it, is accepted as well: a token for it goes to
/// that origin only. The endpoint's own query is not part of the comparison; a resource has none.
fn covers(resource: &str, server: &ServerUrl) -> bool {
    let Ok(resource) = resource.parse::<ServerUrl>() else { return false };
    let above = resource.as_url().path().trim_end_matches('/');
    let below = server.as_url().path().strip_prefix(above);
    let same_query = resource.as_url().query().is_none() || resource.as_url().query() == server.as_url().query();
    resource.same_origin(server) && same_query && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
