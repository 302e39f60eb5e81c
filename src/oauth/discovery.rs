//! Finds out how to get a token for a server: an unauthenticated request, the server's metadata, and its authorization
//! server's metadata.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::{
    http::{DOCUMENT_DEADLINE, Http, HttpError, redirect},
    mcp::{
        headers::{self, PROTOCOL_VERSION, SESSION_ID},
        id::Id,
        introduction,
        message::Message,
        revision::{LEGACY, MODERN},
    },
    oauth::{
        authorization_server::{self, AuthorizationServer},
        challenge::Challenge,
        error::Untrusted,
        json,
        overrides::Overrides,
        protected_resource::{self, ProtectedResource},
    },
    printable::quoted,
    server_url::ServerUrl,
};

/// Whether an MCP server requires a token.
#[derive(Debug, Clone)]
pub enum Requirement {
    /// The server answers without authorization and publishes no metadata that says otherwise.
    Nothing,
    Token(Box<Discovery>),
}

/// Everything known about how to get a server's tokens.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// The challenge to the unauthenticated request.
    pub challenge: Challenge,
    /// The server's metadata; `None` for a server of the 2025-03-26 specification.
    pub protected_resource: Option<ProtectedResource>,
    pub authorization_server: AuthorizationServer,
}

impl Discovery {
    /// The values of a provider's entry, for servers that publish no metadata.
    pub fn pinned(issuer: Option<String>, token_endpoint: ServerUrl) -> Self {
        Self {
            challenge: Challenge::default(),
            protected_resource: None,
            authorization_server: AuthorizationServer::pinned(issuer, token_endpoint),
        }
    }
}

/// Why discovery failed, by what the user has to do.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The server's metadata must not be used.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// The server requires authorization, and no metadata says how to get a token.
    #[error("{host} requires authorization but publishes no metadata that says how to get it")]
    NoMetadata { host: String },
    #[error("{host} publishes no identity provider metadata")]
    NoIdentityProvider { host: String },
    #[error("{host} does not respond like an MCP server (HTTP {status})")]
    NotMcp { host: String, status: u16 },
    /// A metadata URL returned neither a document nor "not found".
    #[error("{host} did not return its metadata (HTTP {status})")]
    Unavailable { host: String, status: u16 },
    /// No authorization server that the server lists responds.
    #[error("none of the server's authorization servers responds: {}", listed(.silent))]
    AllSilent {
        /// All of them, in the server's order.
        silent: Vec<SilentServer>,
    },
    #[error(transparent)]
    Http(#[from] HttpError),
}

fn listed(silent: &[SilentServer]) -> String {
    silent.iter().map(|SilentServer { issuer, error }| format!("{issuer} ({error})")).collect::<Vec<_>>().join(", ")
}

impl DiscoveryError {
    /// Whether the server is down or publishes no metadata, as opposed to publishing something untrusted.
    fn is_silence(&self) -> bool {
        match self {
            Self::NoMetadata { .. } | Self::Unavailable { .. } => true,
            Self::Http(error) => !error.is_refusal(),
            _ => false,
        }
    }
}

/// The response to an unauthenticated request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// The server processed it.
    Served,
    /// The server requires authorization.
    Challenged(Challenge),
    /// The server redirects it. finmcp did not follow.
    Redirected {
        status: StatusCode,
        /// The target, cleaned for display.
        target: Option<String>,
    },
    /// Any other status.
    Unclear(StatusCode),
}

/// Finds out whether `server` requires a token and how to get one. An `issuer` from the user or the provider takes
/// precedence over the server's metadata. If the server answers 401 with a metadata URL, this takes three requests at
/// most: the refused one, the server's metadata and the authorization server's. A caller that already has a `challenge`
/// saves the first.
///
/// # Errors
/// Any [`DiscoveryError`].
pub async fn discover(
    http: &Http,
    server: &ServerUrl,
    issuer: Option<&str>,
    challenge: Option<Challenge>,
    headers: &HeaderMap,
    overrides: &Overrides,
) -> Result<Requirement, DiscoveryError> {
    let inquiry = Inquiry::new(http, server, issuer, overrides).with_headers(headers);
    let probe = match challenge {
        Some(challenge) => Probe::Challenged(challenge),
        None => inquiry.probe().await?.0,
    };
    let protected_resource = inquiry.protected_resource(&probe).await?;
    let found = inquiry.authorization_server(&probe, protected_resource.as_ref()).await?;
    Ok(match found {
        Some(authorization_server) => {
            let challenge = probe.challenge();
            Requirement::Token(Box::new(Discovery { challenge, protected_resource, authorization_server }))
        }
        None => Requirement::Nothing,
    })
}

impl Probe {
    /// The challenge; empty if there was none.
    fn challenge(self) -> Challenge {
        match self {
            Self::Challenged(challenge) => challenge,
            _ => Challenge::default(),
        }
    }

    fn pointer(&self) -> Option<&str> {
        match self {
            Self::Challenged(challenge) => challenge.resource_metadata.as_deref(),
            _ => None,
        }
    }
}

/// The steps of [`discover`], each of which needs the results of the steps before it.
#[derive(Debug)]
pub struct Inquiry<'a> {
    http: &'a Http,
    server: ServerUrl,
    issuer: Option<&'a str>,
    overrides: &'a Overrides,
    /// Headers for every request to the server.
    headers: HeaderMap,
}

impl<'a> Inquiry<'a> {
    /// An inquiry about `server`, with the `issuer` and `overrides` that the user or the provider configures.
    pub fn new(http: &'a Http, server: &ServerUrl, issuer: Option<&'a str>, overrides: &'a Overrides) -> Self {
        let server = server.clone();
        let server = if overrides.allow_private_network { server.granting_private_network() } else { server };
        Self { http, server, issuer, overrides, headers: HeaderMap::new() }
    }

    /// The same inquiry, with `headers` on every request to the server itself.
    pub fn with_headers(self, headers: &HeaderMap) -> Self {
        Self { headers: headers.clone(), ..self }
    }

    /// Sends unauthenticated requests and expects a refusal: first `initialize`, then `tools/list`, for servers that
    /// only protect the latter. A server of 2026-07-28 has no `initialize` and gets a modern request. Returns the
    /// headers of the first response.
    ///
    /// # Errors
    /// Any [`HttpError`].
    pub async fn probe(&self) -> Result<(Probe, HeaderMap), HttpError> {
        let initialize = introduction::initialize(Id::from_number(0), "{}");
        let (answer, headers) = self.ask(HeaderMap::new(), &initialize).await?;
        let answer = match answer {
            Probe::Served => {
                let session = headers::legacy(headers.get(SESSION_ID), Some(LEGACY));
                let list = Message::request(Id::from_number(1), "tools/list", "{}");
                let tools = self.ask(session.clone(), &list).await;
                self.close_session(session).await;
                // Any other error may come from the incomplete session; the server still answered `initialize` without
                // a token.
                Some(tools?.0).filter(|tools| matches!(tools, Probe::Challenged(_))).unwrap_or(answer)
            }
            Probe::Unclear(StatusCode::BAD_REQUEST) => {
                let list = introduction::modern(Id::from_number(0), "tools/list");
                self.ask(headers::modern(&list, MODERN), &list).await?.0
            }
            answer => answer,
        };
        Ok((answer, headers))
    }

    /// The server's protected resource metadata, if it publishes any.
    ///
    /// # Errors
    /// Any [`DiscoveryError`].
    pub async fn protected_resource(&self, probe: &Probe) -> Result<Option<ProtectedResource>, DiscoveryError> {
        let candidates = protected_resource::candidates(&self.server, probe.pointer())?;
        let document = first_document(self.http, &candidates).await?;
        Ok(document.map(|(_, body)| ProtectedResource::parse(&body, &self.server)).transpose()?)
    }

    /// The issuer identifier of the authorization server: the configured one, else the first that the server lists.
    pub fn issuer<'r>(&self, resource: Option<&'r ProtectedResource>) -> Option<&'r str>
    where
        'a: 'r,
    {
        self.issuer.or(resource.and_then(|resource| resource.authorization_servers.first()).map(String::as_str))
    }

    /// The authorization server; `None` if the server requires no token.
    ///
    /// # Errors
    /// Any [`DiscoveryError`].
    pub async fn authorization_server(
        &self,
        probe: &Probe,
        resource: Option<&ProtectedResource>,
    ) -> Result<Option<AuthorizationServer>, DiscoveryError> {
        let Self { http, server, overrides, .. } = self;
        let listed = resource.map(|resource| resource.authorization_servers.as_slice()).unwrap_or_default();
        let found = match (self.issuer, probe) {
            (Some(issuer), _) => {
                // An issuer that the user configures may be in any network that the user allows.
                let by_user = server.parse_sibling(issuer);
                let by_user = by_user.map_err(|reason| Untrusted::Url { member: "issuer", reason })?;
                named_server(http, &by_user, issuer, overrides).await?
            }
            (None, _) if !listed.is_empty() => self.first_listed(listed).await?,
            (None, Probe::Challenged(_)) if probe.pointer().is_none() => own_server(http, server, overrides).await?,
            (None, Probe::Challenged(_)) => return Err(DiscoveryError::NoMetadata { host: server.host() }),
            (None, Probe::Served) => return Ok(None),
            (None, Probe::Redirected { status, target }) => {
                let (host, status, target) = (server.host(), *status, target.clone());
                return Err(HttpError::Redirected { host, status, target }.into());
            }
            (None, Probe::Unclear(status)) => {
                return Err(DiscoveryError::NotMcp { host: server.host(), status: status.as_u16() });
            }
        };
        Ok(Some(if overrides.allow_missing_pkce_metadata { found.assuming_pkce() } else { found }))
    }

    /// The first of the `listed` authorization servers that responds: the client may choose any (RFC 9728 section 7.6).
    /// Skips a server that is down or publishes nothing, but not one with untrusted metadata.
    async fn first_listed(&self, listed: &[String]) -> Result<AuthorizationServer, DiscoveryError> {
        let mut silent = Vec::new();
        for issuer in listed.iter().take(LISTED_LIMIT) {
            match named_server(self.http, &self.server, issuer, self.overrides).await {
                Err(error) if listed.len() > 1 && error.is_silence() => {
                    tracing::debug!(%error, "an authorization server does not respond");
                    silent.push(SilentServer { issuer: quoted(issuer), error });
                }
                outcome => return outcome,
            }
        }
        Err(DiscoveryError::AllSilent { silent })
    }
}

/// The most authorization servers to try.
const LISTED_LIMIT: usize = 4;

/// An authorization server that is down or publishes nothing.
#[derive(Debug)]
pub struct SilentServer {
    /// Its issuer identifier, cleaned.
    pub issuer: String,
    pub error: DiscoveryError,
}

impl Inquiry<'_> {
    /// Sends one request of a probe. Reads only the status and the headers, because the body may be an endless stream.
    async fn ask(&self, mut headers: HeaderMap, message: &Message) -> Result<(Probe, HeaderMap), HttpError> {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        // The server may process a request of a probe twice.
        let (status, headers) = match self.send(&Method::POST, &headers, message.raw()).await {
            Err(HttpError::Broken { .. } | HttpError::Unprocessed { .. }) => {
                self.send(&Method::POST, &headers, message.raw()).await?
            }
            outcome => outcome?,
        };
        let challenge = Challenge::from_headers(&headers);
        let answer = match status {
            StatusCode::UNAUTHORIZED => Probe::Challenged(challenge),
            StatusCode::FORBIDDEN if challenge != Challenge::default() => Probe::Challenged(challenge),
            status if status.is_success() => Probe::Served,
            status if status.is_redirection() => {
                Probe::Redirected { status, target: redirect::target(&self.http.place(&self.server), &headers) }
            }
            status => Probe::Unclear(status),
        };
        Ok((answer, headers))
    }

    /// Ends the probe's session (MCP Streamable HTTP, "Session Management"). If the server refuses, the session expires.
    async fn close_session(&self, session: HeaderMap) {
        if !session.contains_key(SESSION_ID) {
            return;
        }
        let _ = self.send(&Method::DELETE, &session, &Bytes::new()).await;
    }

    /// Sends a request as the bridge does, with the same cookies and redirects, so that `serve` sees the same server.
    async fn send(
        &self,
        method: &Method,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<(StatusCode, HeaderMap), HttpError> {
        let server = &self.server;
        let timed_out = |_| HttpError::TimedOut { host: server.host(), after: DOCUMENT_DEADLINE };
        let headers = |_: &ServerUrl| {
            let mut all = self.headers.clone();
            all.extend(headers.clone());
            Ok::<_, HttpError>(all)
        };
        let sending = self.http.send(server, method, body, &headers);
        let response = tokio::time::timeout(DOCUMENT_DEADLINE, sending).await.map_err(timed_out)??;
        Ok((response.status(), response.headers().clone()))
    }
}

/// The metadata of `issuer`, which `namer` names.
async fn named_server(
    http: &Http,
    namer: &ServerUrl,
    issuer: &str,
    overrides: &Overrides,
) -> Result<AuthorizationServer, DiscoveryError> {
    let candidates = authorization_server::candidates(issuer, namer)?;
    let (place, body) =
        first_document(http, &candidates).await?.ok_or_else(|| DiscoveryError::NoMetadata { host: namer.host() })?;
    let with_other_slash = authorization_server::with_other_slash(issuer);
    let issuers: Vec<&str> = std::iter::once(issuer).chain(with_other_slash.as_deref()).collect();
    Ok(read_metadata(&body, &issuers, place, overrides)?)
}

/// The identity provider that the user configures by its issuer identifier. It may be in any network.
///
/// # Errors
/// Any [`DiscoveryError`].
pub async fn identity_provider(
    http: &Http,
    issuer: &str,
    overrides: &Overrides,
) -> Result<AuthorizationServer, DiscoveryError> {
    let url: ServerUrl = issuer.parse().map_err(|reason| Untrusted::Url { member: "identity_provider", reason })?;
    let url = if overrides.allow_private_network { url.granting_private_network() } else { url };
    // The user's overrides for the server's own authorization server do not apply to the identity provider.
    match named_server(http, &url, issuer, &Overrides::default()).await {
        Err(DiscoveryError::NoMetadata { host }) => Err(DiscoveryError::NoIdentityProvider { host }),
        outcome => outcome,
    }
}

/// A server of the 2025-03-26 specification is its own authorization server: its metadata is at the root, else its
/// endpoints have default paths.
async fn own_server(
    http: &Http,
    server: &ServerUrl,
    overrides: &Overrides,
) -> Result<AuthorizationServer, DiscoveryError> {
    let issuer = authorization_server::origin(server);
    let candidates = authorization_server::candidates(&issuer, server)?;
    Ok(match first_document(http, &candidates).await? {
        // No document names this issuer yet, and servers write their root with or without a slash.
        Some((place, body)) => read_metadata(&body, &[&issuer, &format!("{issuer}/")], place, overrides)?,
        None => AuthorizationServer::by_default_paths(server)?,
    })
}

/// Parses metadata whose issuer must be one of `issuers`, or the user's `issuer_override`.
fn read_metadata(
    body: &[u8],
    issuers: &[&str],
    place: &ServerUrl,
    overrides: &Overrides,
) -> Result<AuthorizationServer, Untrusted> {
    let mut refused = None;
    for issuer in issuers.iter().copied().chain(overrides.issuer_override.as_deref()) {
        match AuthorizationServer::parse(body, issuer, place) {
            Err(other @ Untrusted::Issuer { .. }) => refused = refused.or(Some(other)),
            outcome => return outcome,
        }
    }
    Err(refused.unwrap_or(Untrusted::MixUp))
}

/// The first document and its URL. A 4xx, or a 200 without a JSON document (a web application's catch-all page, a
/// health check), means to try the next URL. An invalid document does not: finmcp then refuses the server. (The order
/// is from MCP authorization; the rest is caution.)
async fn first_document<'a>(
    http: &Http,
    candidates: &'a [ServerUrl],
) -> Result<Option<(&'a ServerUrl, Bytes)>, DiscoveryError> {
    for url in candidates {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(PROTOCOL_VERSION, headers::encode(LEGACY));
        let reply = http.fetch(url, headers).await?;
        if reply.status == StatusCode::OK && json::is_document(&reply.body) {
            return Ok(Some((url, reply.body)));
        }
        if reply.status == StatusCode::OK {
            tracing::debug!(host = url.host(), "the metadata URL returned no JSON document");
            continue;
        }
        if !reply.status.is_client_error() || reply.status == StatusCode::TOO_MANY_REQUESTS {
            return Err(DiscoveryError::Unavailable { host: url.host(), status: reply.status.as_u16() });
        }
    }
    Ok(None)
}
