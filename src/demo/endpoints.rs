//! The HTTP endpoints of an authority: discovery documents, registration, the consent page, tokens and revocation.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use jiff::Timestamp;
use serde_json::json;

use crate::{
    demo::{
        activity::Activity,
        authority::{Authority, AuthorizationError, AuthorizationRequest},
        client::{Client, ClientMetadata},
        form::Form,
        grant_error::GrantError,
        listener::{Reply, html, json, see_other, text},
        random,
    },
    http::Http,
    server_url::ServerUrl,
};

/// An authority's endpoints, and the metadata of its protected resource.
pub struct Endpoints {
    vendor: &'static str,
    authority: Authority,
    /// The prefix of the issuer's paths.
    base: String,
    resource_metadata_path: String,
    origin: String,
    http: Http,
    registrations: AtomicU64,
    token_requests: AtomicU64,
}

impl Endpoints {
    /// The endpoints of `authority` at `origin`, whose resource is at `mcp_path` there.
    pub fn new(vendor: &'static str, origin: &str, mcp_path: &str, authority: Authority) -> Self {
        let base = authority.policy().issuer.strip_prefix(origin).unwrap_or_default().to_owned();
        Self {
            vendor,
            base,
            // RFC 9728 section 3.1: the well-known part goes between the host and the resource's path.
            resource_metadata_path: format!("/.well-known/oauth-protected-resource{mcp_path}"),
            origin: origin.to_owned(),
            http: Http::default(),
            registrations: AtomicU64::new(0),
            token_requests: AtomicU64::new(0),
            authority,
        }
    }

    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The URL of the resource's metadata, for the challenge (RFC 9728 section 5.1).
    pub fn resource_metadata(&self) -> String {
        format!("{}{}", self.origin, self.resource_metadata_path)
    }

    /// The number of requests so far; `tool_calls` comes from the MCP endpoint.
    pub fn activity(&self, tool_calls: u64) -> Activity {
        Activity {
            registrations: self.registrations.load(Relaxed),
            token_requests: self.token_requests.load(Relaxed),
            tool_calls,
        }
    }

    /// Answers a request for one of these endpoints; `None` for any other path.
    pub async fn answer(&self, request: &Request<Bytes>) -> Option<Reply> {
        let path = request.uri().path();
        if *request.method() == Method::GET {
            if path == self.resource_metadata_path {
                return Some(self.protected_resource());
            }
            // RFC 8414 section 3.1: between the host and the issuer's path.
            if path.strip_prefix("/.well-known/oauth-authorization-server") == Some(&self.base) {
                return Some(self.authorization_server());
            }
        }
        let now = Timestamp::now();
        let reply = match (request.method().as_str(), path.strip_prefix(&self.base)?) {
            ("GET", "/authorize") => self.authorize(request.uri().query().unwrap_or_default()).await,
            ("POST", "/authorize") => {
                let decided = form(request).and_then(|form| self.authority.decide(&form, now));
                decided.map_or_else(refusal_page, |location| see_other(&location))
            }
            ("POST", "/register") => self.register(request.body()).unwrap_or_else(GrantError::reply),
            ("POST", "/token") => {
                self.token_requests.fetch_add(1, Relaxed);
                let tokens = form(request).and_then(|form| self.authority.token(&form, now));
                tokens.map_or_else(GrantError::reply, |tokens| json(StatusCode::OK, &tokens))
            }
            ("POST", "/revoke") => {
                let revoked = form(request).and_then(|form| self.authority.revoke(&form));
                revoked.map_or_else(GrantError::reply, |()| text(StatusCode::OK, "revoked"))
            }
            _ => return None,
        };
        Some(reply)
    }

    /// RFC 9728 section 2.
    fn protected_resource(&self) -> Reply {
        let policy = self.authority.policy();
        let mut document = json!({
            "resource": policy.resource,
            "authorization_servers": [policy.issuer],
            "bearer_methods_supported": ["header"],
            "resource_name": format!("{} (demo)", self.vendor),
        });
        if !policy.scopes.is_empty() {
            document["scopes_supported"] = json!(policy.scopes);
        }
        json(StatusCode::OK, &document)
    }

    /// RFC 8414 section 2, RFC 9207 section 3 and the draft on client ID metadata documents.
    fn authorization_server(&self) -> Reply {
        let policy = self.authority.policy();
        let issuer = &policy.issuer;
        let mut document = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "registration_endpoint": format!("{issuer}/register"),
            "revocation_endpoint": format!("{issuer}/revoke"),
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint_auth_methods_supported": ["none"],
            "authorization_response_iss_parameter_supported": true,
            "client_id_metadata_document_supported": true,
        });
        if !policy.scopes.is_empty() {
            document["scopes_supported"] = json!(policy.scopes);
        }
        json(StatusCode::OK, &document)
    }

    /// RFC 7591 section 3.
    fn register(&self, body: &[u8]) -> Result<Reply, GrantError> {
        let metadata: ClientMetadata = serde_json::from_slice(body)
            .map_err(|_| GrantError::new("invalid_client_metadata", "the body is not client metadata in JSON"))?;
        let client = Client::registered(&metadata)?;
        let client_id = random::token("client_")?;
        let document = json!({
            "client_id": client_id,
            "client_id_issued_at": Timestamp::now().as_second(),
            "client_name": client.name,
            "redirect_uris": client.redirect_uris().collect::<Vec<_>>(),
            "application_type": "native",
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        });
        self.authority.admit(&client_id, client);
        self.registrations.fetch_add(1, Relaxed);
        Ok(json(StatusCode::CREATED, &document))
    }

    async fn authorize(&self, query: &str) -> Reply {
        let query = match Form::parse(query.as_bytes()) {
            Ok(query) => query,
            Err(refusal) => return refusal_page(refusal),
        };
        if let Some(client_id) = query.get("client_id")
            && !self.authority.knows(client_id)
            && let Ok(document) = client_id.parse::<ServerUrl>()
        {
            match self.fetch_client(client_id, &document).await {
                Ok(client) => self.authority.admit(client_id, client),
                Err(refusal) => return refusal_page(refusal),
            }
        }
        match self.authority.authorize(&query) {
            Ok((id, request)) => self.consent_page(&id, &request),
            Err(AuthorizationError::Page(refusal)) => refusal_page(refusal),
            Err(AuthorizationError::Redirect(location)) => see_other(&location),
        }
    }

    /// Fetches a client's metadata document (MCP client registration, "Client ID Metadata Documents"). Accepts plain
    /// http on this machine, as everywhere in finmcp.
    async fn fetch_client(&self, client_id: &str, document: &ServerUrl) -> Result<Client, GrantError> {
        let refused = GrantError::new("invalid_client", "the client's metadata document cannot be used");
        let reply = self.http.exchange(document, Request::new(Vec::new())).await.map_err(|_| refused)?;
        let metadata: ClientMetadata = serde_json::from_slice(&reply.body).map_err(|_| refused)?;
        if reply.status != StatusCode::OK || metadata.client_id.as_deref() != Some(client_id) {
            return Err(refused);
        }
        Client::from_metadata(&metadata)
    }

    fn consent_page(&self, id: &str, request: &AuthorizationRequest) -> Reply {
        let policy = self.authority.policy();
        let scope = match request.scope.as_str() {
            "" => String::new(),
            scope => format!(" with the scope <code>{}</code>", escaped(scope)),
        };
        let page = format!(
            include_str!("consent.html"),
            vendor = self.vendor,
            action = format_args!("{}/authorize", self.base),
            client = escaped(&request.client_name),
            organization = policy.organization,
            scope = scope,
            redirect = escaped(&request.redirect_uri.host()),
            request = id,
        );
        html(StatusCode::OK, page)
    }
}

fn form(request: &Request<Bytes>) -> Result<Form, GrantError> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|value| value.starts_with("application/x-www-form-urlencoded")) {
        return Err(GrantError::invalid_request("the body must be a form"));
    }
    Form::parse(request.body())
}

fn refusal_page(refusal: GrantError) -> Reply {
    let page = format!(
        "<!doctype html><meta charset=\"utf-8\"><title>Refused</title><h1>Refused</h1><p>{}: {}.</p>",
        refusal.error, refusal.error_description
    );
    html(StatusCode::BAD_REQUEST, page)
}

/// Escapes text for HTML content and quoted attribute values.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}
