//! Tests of the vendors over HTTP: every request goes through a socket, as a client's would.

mod of_asset;
mod of_every_vendor;
mod of_masset;
mod of_mcp;
mod of_tesorio;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;
use crate::{
    demo::{
        asset::Asset,
        jwt::Claims,
        listener::{Listener, Reply, Serving, Site, text},
        person::approve,
        statement::Statement,
    },
    http::Http,
    server_url::ServerUrl,
};

/// A bare HTTP client.
#[derive(Default)]
struct Visitor {
    http: Http,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {} {}", self.status, self.text))
    }

    fn challenge(&self) -> &str {
        self.headers[header::WWW_AUTHENTICATE].to_str().unwrap()
    }

    fn location(&self) -> ServerUrl {
        self.headers[header::LOCATION].to_str().unwrap().parse().unwrap()
    }

    fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

impl Visitor {
    async fn send(&self, method: Method, url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = self.http.exchange(&url.parse().unwrap(), request.body(body).unwrap()).await.unwrap();
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        Answer { status: reply.status, headers: reply.headers, text }
    }

    async fn get(&self, url: &str) -> Answer {
        self.send(Method::GET, url, &[], Vec::new()).await
    }

    async fn post(&self, url: &str, fields: &[(&str, &str)]) -> Answer {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.send(Method::POST, url, &[("content-type", "application/x-www-form-urlencoded")], form.into()).await
    }

    async fn register(&self, server: &Value, metadata: Value) -> Answer {
        let url = server["registration_endpoint"].as_str().unwrap();
        self.send(Method::POST, url, &[], serde_json::to_vec(&metadata).unwrap()).await
    }

    /// Sends a `tools/call` of protocol version 2026-07-28: no session, everything in one request.
    async fn call(&self, mcp: &ServerUrl, token: &str, tool: &str, arguments: Value) -> Answer {
        let message = json!({
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": { "name": tool, "arguments": arguments, "_meta": modern_meta() },
        });
        let authorization = format!("Bearer {token}");
        let headers = [
            ("authorization", authorization.as_str()),
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", tool),
        ];
        self.send(Method::POST, mcp.as_str(), &headers, serde_json::to_vec(&message).unwrap()).await
    }

    /// Calls a tool, expects success and returns the result.
    async fn result(&self, mcp: &ServerUrl, token: &str, tool: &str, arguments: Value) -> Value {
        let answer = self.call(mcp, token, tool, arguments).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()["result"].clone()
    }

    async fn asset_token(&self, asset: &Asset, extra: &[(&str, &str)]) -> Answer {
        let mut fields = vec![("client_id", asset.client_id()), ("client_secret", asset.client_secret().expose())];
        fields.extend_from_slice(extra);
        self.post(asset.token_endpoint().as_str(), &fields).await
    }

    /// An access token for Asset's MCP server.
    async fn asset_access(&self, asset: &Asset) -> String {
        let answer = self.asset_token(asset, &[("resource", asset.mcp_url().as_str())]).await;
        text_of(&answer.json()["access_token"])
    }

    /// Discovers the authorization server's metadata from the MCP URL alone (RFC 9728 and RFC 8414).
    async fn discover(&self, mcp: &ServerUrl) -> Value {
        let refused = self.send(Method::POST, mcp.as_str(), &[], Vec::new()).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        let (_, pointer) = refused.challenge().split_once("resource_metadata=\"").unwrap();
        let resource = self.get(pointer.split_once('"').unwrap().0).await.json();
        assert_eq!(resource["resource"], mcp.as_str());
        let issuer: ServerUrl = text_of(&resource["authorization_servers"][0]).parse().unwrap();
        let path = issuer.as_url().path().trim_end_matches('/');
        let well_known = issuer.join(&format!("/.well-known/oauth-authorization-server{path}")).unwrap();
        let server = self.get(well_known.as_str()).await.json();
        assert_eq!(server["issuer"], resource["authorization_servers"][0]);
        server
    }
}

fn modern_meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "visitor", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

/// The first message of a legacy client.
fn initialize() -> Value {
    json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": { "name": "visitor", "version": "1" },
        },
    })
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

fn claims(token: &str) -> Claims {
    serde_json::from_slice(&BASE64URL.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

async fn vendors() -> Vendors {
    Vendors::start(Settings::default()).await.unwrap()
}

/// A client's loopback listener. It stores the URI of every request.
#[derive(Clone, Default)]
struct Callback(Arc<Mutex<Vec<String>>>);

impl Site for Callback {
    fn answer(&self, request: Request<Bytes>) -> BoxFuture<'_, Reply> {
        self.0.lock().unwrap().push(request.uri().to_string());
        Box::pin(async { text(StatusCode::OK, "done") })
    }
}

const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters";

/// A user, a client and a vendor.
struct SignIn {
    visitor: Visitor,
    mcp: ServerUrl,
    server: Value,
    client_id: String,
    redirect_uri: String,
    callback: Callback,
    _serving: Serving,
}

impl SignIn {
    /// Registers a new client.
    async fn new(mcp: &ServerUrl) -> Self {
        let visitor = Visitor::default();
        let server = visitor.discover(mcp).await;
        let listener = Listener::bind(0).await.unwrap();
        let redirect_uri = format!("{}/callback", listener.origin());
        let callback = Callback::default();
        let serving = listener.serve(Arc::new(callback.clone()));
        let metadata = json!({
            "client_name": "<script>alert('1')</script> & co",
            "application_type": "native",
            "redirect_uris": [redirect_uri],
        });
        let registered = visitor.register(&server, metadata).await;
        assert_eq!(registered.status, StatusCode::CREATED);
        let client_id = text_of(&registered.json()["client_id"]);
        Self { visitor, mcp: mcp.clone(), server, client_id, redirect_uri, callback, _serving: serving }
    }

    /// The authorization URL with `changes` to its parameters. An empty value stands for a missing one.
    fn authorization_url(&self, changes: &[(&str, &str)]) -> ServerUrl {
        let challenge = BASE64URL.encode(Sha256::digest(VERIFIER));
        let mut parameters = vec![
            ("response_type", "code"),
            ("client_id", &self.client_id),
            ("redirect_uri", &self.redirect_uri),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("state", "a state"),
            ("resource", self.mcp.as_str()),
        ];
        parameters.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        parameters.extend_from_slice(changes);
        let mut url = url::Url::parse(self.server["authorization_endpoint"].as_str().unwrap()).unwrap();
        url.query_pairs_mut().extend_pairs(parameters);
        url.try_into().unwrap()
    }

    /// The authorization code after the user has approved.
    async fn code(&self, changes: &[(&str, &str)]) -> String {
        approve(&self.visitor.http, &self.authorization_url(changes)).await.unwrap();
        let called = self.callback.0.lock().unwrap().pop().unwrap();
        let called = url::Url::parse("http://127.0.0.1").unwrap().join(&called).unwrap();
        let parameter = |name: &str| called.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
        assert_eq!(parameter("state"), "a state");
        assert_eq!(parameter("iss"), self.server["issuer"]);
        parameter("code")
    }

    async fn token(&self, fields: &[(&str, &str)]) -> Answer {
        let mut all = vec![("client_id", self.client_id.as_str()), ("resource", self.mcp.as_str())];
        all.extend_from_slice(fields);
        self.visitor.post(self.server["token_endpoint"].as_str().unwrap(), &all).await
    }

    async fn redeem(&self, code: &str, verifier: &str, redirect_uri: &str) -> Answer {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("code_verifier", verifier),
            ("redirect_uri", redirect_uri),
        ];
        self.token(&fields).await
    }

    /// An access and a refresh token.
    async fn tokens(&self, changes: &[(&str, &str)]) -> (String, String) {
        let code = self.code(changes).await;
        pair(&self.redeem(&code, VERIFIER, &self.redirect_uri).await)
    }

    async fn refresh(&self, refresh_token: &str) -> Answer {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]).await
    }

    async fn call(&self, token: &str, tool: &str, arguments: Value) -> Answer {
        self.visitor.call(&self.mcp, token, tool, arguments).await
    }

    /// Asks the MCP server whether an access token is valid.
    async fn is_good(&self, token: &str) -> bool {
        match self.call(token, "list_customers", json!({})).await {
            Answer { status: StatusCode::OK, .. } => true,
            answer => {
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
                assert!(answer.challenge().contains("error=\"invalid_token\""), "{}", answer.challenge());
                false
            }
        }
    }
}

fn pair(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let document = answer.json();
    (text_of(&document["access_token"]), text_of(&document["refresh_token"]))
}
