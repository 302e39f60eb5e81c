//! A small authorization server and MCP server on loopback with a simulated user, for tests of signing in.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, response::IntoResponse};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, Method, StatusCode, Uri, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{net::TcpListener, task::JoinHandle};
use url::{Url, form_urlencoded};

use crate::{
    login::browser::{Browser, BrowserError},
    server_url::ServerUrl,
};

/// How the servers behave. `{}` in a text stands for their origin.
#[derive(Clone)]
pub struct Script {
    /// The response to a request without a token; none to serve the request.
    pub challenge: Option<&'static str>,
    /// The methods that it serves without a token in any case.
    pub open: Vec<&'static str>,
    /// Whether it has no handshake (MCP 2026-07-28).
    pub modern: bool,
    /// The documents, by path. The response for other paths is 404.
    pub documents: Vec<(&'static str, Value)>,
    /// The `iss` of the authorization response.
    pub iss: Option<&'static str>,
    /// The parameters of the authorization response instead of a code.
    pub refusal: Option<&'static str>,
    /// The errors that a device code gets before it gets a token.
    pub device: Vec<&'static str>,
    /// The token response.
    pub token: (u16, Value),
    /// The registration response.
    pub registration: (u16, Value),
}

/// A received request.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub fields: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Seen {
    /// The JSON-RPC method.
    pub fn method_asked(&self) -> String {
        let message: Value = serde_json::from_slice(&self.body).unwrap();
        message["method"].as_str().unwrap().to_owned()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| &value[..])
    }
}

/// The servers, until dropped.
pub struct Stage {
    pub origin: String,
    play: Arc<Play>,
    task: JoinHandle<()>,
}

struct Play {
    origin: String,
    script: Script,
    seen: Mutex<Vec<Seen>>,
}

impl Script {
    /// Servers that follow the specification, with dynamic registration.
    pub fn good() -> Self {
        Self {
            challenge: Some(r#"Bearer resource_metadata="{}/.well-known/oauth-protected-resource/mcp", scope="mcp""#),
            open: vec![],
            modern: false,
            documents: vec![
                (
                    "/.well-known/oauth-protected-resource/mcp",
                    json!({"resource": "{}/mcp", "authorization_servers": ["{}/as"], "scopes_supported": ["mcp", "more"]}),
                ),
                (
                    "/.well-known/oauth-authorization-server/as",
                    json!({
                        "issuer": "{}/as",
                        "authorization_endpoint": "{}/authorize",
                        "token_endpoint": "{}/token",
                        "registration_endpoint": "{}/register",
                        "revocation_endpoint": "{}/revoke",
                        "code_challenge_methods_supported": ["S256"],
                        "token_endpoint_auth_methods_supported": ["none", "client_secret_post"],
                        "scopes_supported": ["mcp", "offline_access"],
                        "authorization_response_iss_parameter_supported": true,
                    }),
                ),
            ],
            iss: Some("{}/as"),
            refusal: None,
            device: vec![],
            token: (
                200,
                json!({"access_token": "AT", "token_type": "bearer", "expires_in": 3600, "refresh_token": "RT"}),
            ),
            registration: (201, json!({"client_id": "dyn-1", "token_endpoint_auth_method": "none"})),
        }
    }

    /// The document at `path`, to change.
    pub fn document(&mut self, path: &str) -> &mut Value {
        self.documents.iter_mut().find(|(known, _)| path == *known).map(|(_, document)| document).unwrap()
    }

    pub fn resource(&mut self) -> &mut Value {
        self.document("/.well-known/oauth-protected-resource/mcp")
    }

    pub fn server(&mut self) -> &mut Value {
        self.document("/.well-known/oauth-authorization-server/as")
    }

    pub async fn stage(self) -> Stage {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let play = Arc::new(Play { origin: origin.clone(), script: self, seen: Mutex::default() });
        let router = Router::new().fallback(serve).with_state(Arc::clone(&play));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Stage { origin, play, task }
    }
}

impl Stage {
    pub fn url(&self) -> ServerUrl {
        format!("{}/mcp", self.origin).parse().unwrap()
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.play.seen().clone()
    }

    /// Method and path of every request so far.
    pub fn paths(&self) -> Vec<String> {
        self.seen().iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()
    }

    pub fn only(&self, path: &str) -> Seen {
        let mut found = self.seen().into_iter().filter(|seen| seen.path == path);
        let first = found.next().unwrap_or_else(|| panic!("no {path}"));
        assert!(found.next().is_none(), "{path} twice");
        first
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Play {
    fn seen(&self) -> std::sync::MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn here(&self, text: &str) -> String {
        text.replace("{}", &self.origin)
    }

    fn json(&self, status: u16, value: &Value) -> axum::response::Response {
        let status = StatusCode::from_u16(status).unwrap();
        (status, [(header::CONTENT_TYPE, "application/json")], self.here(&value.to_string())).into_response()
    }
}

async fn serve(
    State(play): State<Arc<Play>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> axum::response::Response {
    let form = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/x-www-form-urlencoded");
    let fields = if form { &body[..] } else { uri.query().unwrap_or_default().as_bytes() };
    let seen = Seen {
        method: method.clone(),
        path: uri.path().to_owned(),
        fields: form_urlencoded::parse(fields).into_owned().collect(),
        headers,
        body: body.to_vec(),
    };
    play.seen().push(seen.clone());
    let script = &play.script;
    match (method.as_str(), uri.path()) {
        ("POST", "/mcp") if script.modern && seen.method_asked() == "initialize" => {
            StatusCode::BAD_REQUEST.into_response()
        }
        ("POST", "/mcp") => match script.challenge {
            Some(challenge) if !script.open.contains(&&seen.method_asked()[..]) => {
                (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, play.here(challenge))]).into_response()
            }
            // A stream without an end.
            _ => {
                let headers = [("content-type", "text/event-stream"), ("mcp-session-id", "s1")];
                let body =
                    axum::body::Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
                (headers, body).into_response()
            }
        },
        ("DELETE", "/mcp") => StatusCode::NO_CONTENT.into_response(),
        ("POST", "/device") => play.json(
            200,
            &json!({"device_code": "DC", "user_code": "AB-CD", "verification_uri": "{}/go", "expires_in": 3, "interval": 1}),
        ),
        ("POST", "/register") => play.json(script.registration.0, &script.registration.1),
        ("GET", "/authorize") => {
            let mut url = Url::parse(seen.field("redirect_uri").unwrap()).unwrap();
            match script.refusal {
                Some(refusal) => url.set_query(Some(&play.here(refusal))),
                None => drop(url.query_pairs_mut().append_pair("code", "the code")),
            }
            url.query_pairs_mut().append_pair("state", seen.field("state").unwrap());
            if let Some(iss) = script.iss {
                url.query_pairs_mut().append_pair("iss", &play.here(iss));
            }
            (StatusCode::FOUND, [(header::LOCATION, url.to_string())]).into_response()
        }
        ("POST", "/token") => {
            let right = match seen.field("grant_type") {
                Some("authorization_code") => play.is_right(&seen),
                Some(grant) if grant.ends_with(":device_code") => {
                    let asked = play.seen().iter().filter(|seen| seen.path == "/token").count();
                    match script.device.get(asked - 1) {
                        Some(error) => return play.json(400, &json!({"error": error})),
                        None => seen.field("device_code") == Some("DC"),
                    }
                }
                Some("client_credentials") => {
                    seen.field("client_secret").or(seen.field("client_assertion")).is_some()
                        || seen.headers.contains_key("authorization")
                }
                _ => false,
            };
            if right {
                play.json(script.token.0, &script.token.1)
            } else {
                play.json(400, &json!({"error": "invalid_grant"}))
            }
        }
        (_, path) => match script.documents.iter().find(|(known, _)| *known == path) {
            Some((_, document)) => play.json(200, document),
            None => StatusCode::NOT_FOUND.into_response(),
        },
    }
}

impl Play {
    /// Whether the token request matches the authorization request: verifier, redirect URI, client and resource (RFC
    /// 7636 section 4.6, RFC 6749 section 4.1.3).
    fn is_right(&self, token: &Seen) -> bool {
        let seen = self.seen();
        let Some(asked) = seen.iter().rev().find(|seen| seen.path == "/authorize") else { return false };
        let hash = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(token.field("code_verifier").unwrap_or_default()));
        let same = |name| asked.field(name).is_some() && asked.field(name) == token.field(name);
        token.field("code") == Some("the code")
            && asked.field("code_challenge") == Some(&hash)
            && same("redirect_uri")
            && (same("client_id") || token.headers.contains_key(header::AUTHORIZATION))
            && asked.field("resource") == token.field("resource")
    }
}

/// A user whose browser opens the page and is redirected at once, after a few other requests.
#[derive(Default)]
pub struct Person {
    /// The URLs that were opened.
    pub opened: Mutex<Vec<ServerUrl>>,
    /// Queries that the browser first sends to the redirect URI.
    pub strays: Vec<&'static str>,
    /// The complete responses.
    pub pages: Arc<Mutex<Vec<String>>>,
    /// Whether the user closes the page without signing in.
    pub leaves: bool,
    /// Whether the browser waits until it has read the last page.
    pub stays: bool,
}

impl Person {
    /// Waits for the first `count` responses.
    pub fn pages(&self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let pages = self.pages.lock().unwrap();
            if pages.len() >= count {
                return pages.clone();
            }
            drop(pages);
            assert!(Instant::now() < deadline, "the page did not come");
            thread::yield_now();
        }
    }
}

impl Browser for Person {
    fn open(&self, url: &ServerUrl) -> Result<(), BrowserError> {
        self.opened.lock().unwrap().push(url.clone());
        if self.leaves {
            return Ok(());
        }
        let (url, strays, pages) = (url.as_url().clone(), self.strays.clone(), Arc::clone(&self.pages));
        let visits = thread::spawn(move || {
            let redirect = url.query_pairs().find(|(key, _)| key == "redirect_uri").unwrap().1.into_owned();
            for stray in strays {
                let page = get(&Url::parse(&format!("{redirect}?{stray}")).unwrap());
                pages.lock().unwrap().push(page);
            }
            let response = get(&url);
            let location = response.lines().find_map(|line| line.strip_prefix("location: ")).unwrap();
            let page = get(&Url::parse(location).unwrap());
            pages.lock().unwrap().push(page);
        });
        if self.stays {
            visits.join().unwrap();
        }
        Ok(())
    }
}

/// The whole response to a GET.
fn get(url: &Url) -> String {
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let mut stream = TcpStream::connect(authority).unwrap();
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    write!(stream, "GET {target} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}
