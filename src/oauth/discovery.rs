//! Finding out what a server wants: the refused request, its metadata, its authorization server's metadata.

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

/// What an MCP server wants before it serves.
#[derive(Debug, Clone)]
pub enum Requirement {
    /// Nothing: it answers without authorization, and publishes no metadata that says otherwise.
    Nothing,
    /// A token.
    Token(Box<Discovery>),
}

/// All that is known about where a server's tokens come from.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// What the refused request was answered.
    pub challenge: Challenge,
    /// What the server says about itself; none for a server of the 2025-03-26 specification.
    pub protected_resource: Option<ProtectedResource>,
    /// Where its tokens come from.
    pub authorization_server: AuthorizationServer,
}

impl Discovery {
    /// What a provider's entry says, where its servers publish nothing.
    pub fn pinned(issuer: Option<String>, token_endpoint: ServerUrl) -> Self {
        Self {
            challenge: Challenge::default(),
            protected_resource: None,
            authorization_server: AuthorizationServer::pinned(issuer, token_endpoint),
        }
    }
}

/// Discovery that came to no end, sorted by what the person does next.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// What was found must not be used.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// The server refuses us and says nowhere where tokens come from.
    #[error("{host} asks for authorization, and neither it nor its authorization server says how to get it")]
    NoMetadata {
        /// Who says nothing.
        host: String,
    },
    /// No identity provider there.
    #[error("{host} publishes no metadata of an identity provider")]
    NoIdentityProvider {
        /// Who does not.
        host: String,
    },
    /// No MCP server there.
    #[error("{host} does not answer as an MCP server (HTTP {status})")]
    NotMcp {
        /// Who answered.
        host: String,
        /// With what.
        status: u16,
    },
    /// A metadata URL answered neither with a document nor with "not found".
    #[error("{host} did not answer with its metadata (HTTP {status})")]
    Unavailable {
        /// Who answered.
        host: String,
        /// With what.
        status: u16,
    },
    /// None of the authorization servers that the server lists answers.
    #[error("none of the server's authorization servers answers: {}", one_by_one(.silent))]
    AllSilent {
        /// Each, in the server's order.
        silent: Vec<SilentServer>,
    },
    /// The network.
    #[error(transparent)]
    Http(#[from] HttpError),
}

fn one_by_one(silent: &[SilentServer]) -> String {
    silent.iter().map(|SilentServer { issuer, error }| format!("{issuer} ({error})")).collect::<Vec<_>>().join(", ")
}

impl DiscoveryError {
    /// Whether the server is down, or publishes nothing: no word of it has been refused.
    fn is_silence(&self) -> bool {
        match self {
            Self::NoMetadata { .. } | Self::Unavailable { .. } => true,
            Self::Http(error) => !error.is_refusal(),
            _ => false,
        }
    }
}

/// How a server answered a request without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// It served it.
    Served,
    /// It wants authorization.
    Challenged(Challenge),
    /// It sends it elsewhere, where it was not sent.
    Redirected {
        /// How.
        status: StatusCode,
        /// Where to, fit to be shown.
        target: Option<String>,
    },
    /// None of these.
    Unclear(StatusCode),
}

/// Asks `server` what it wants and where its tokens come from. A person's or a provider's own `issuer` wins over what
/// the server says; the rules have the person's `overrides`. At most three requests where the server answers 401 with a
/// pointer: the refused one, its metadata, the authorization server's. Whoever was refused already has the `challenge`,
/// and spares the first.
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
    /// The challenge; an empty one where there was none.
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

/// The questions of [`discover`], one by one: each needs the answers before it.
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
    /// An inquiry at `server`, with what a person or a provider knows better.
    pub fn new(http: &'a Http, server: &ServerUrl, issuer: Option<&'a str>, overrides: &'a Overrides) -> Self {
        let server = server.clone();
        let server = if overrides.allow_private_network { server.granting_private_network() } else { server };
        Self { http, server, issuer, overrides, headers: HeaderMap::new() }
    }

    /// The same inquiry, with `headers` on every request to the server itself.
    pub fn with_headers(self, headers: &HeaderMap) -> Self {
        Self { headers: headers.clone(), ..self }
    }

    /// Sends requests without credentials, to be refused: the handshake, then what a server may guard though its
    /// handshake is open. One of 2026-07-28 has no handshake, and is asked as that version asks. The headers are those of
    /// the first answer.
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
                // A server may want more of a session before it serves. That it guards nothing is known all the same.
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

    /// What the server says about itself, where it says anything.
    ///
    /// # Errors
    /// Any [`DiscoveryError`].
    pub async fn protected_resource(&self, probe: &Probe) -> Result<Option<ProtectedResource>, DiscoveryError> {
        let candidates = protected_resource::candidates(&self.server, probe.pointer())?;
        let document = first_document(self.http, &candidates).await?;
        Ok(document.map(|(_, body)| ProtectedResource::parse(&body, &self.server)).transpose()?)
    }

    /// The issuer identifier of where tokens come from: as a person or a provider says, else as the server does.
    pub fn issuer<'r>(&self, resource: Option<&'r ProtectedResource>) -> Option<&'r str>
    where
        'a: 'r,
    {
        self.issuer.or(resource.and_then(|resource| resource.authorization_servers.first()).map(String::as_str))
    }

    /// Where tokens come from; nowhere, where the server serves without.
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
                // Where a person names the issuer, that is as near as the person likes.
                let by_person = server.beside(issuer);
                let by_person = by_person.map_err(|reason| Untrusted::Url { member: "issuer", reason })?;
                named_server(http, &by_person, issuer, overrides).await?
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

    /// The first of the `listed` authorization servers that answers: which one to use is the client's choice (RFC 9728
    /// section 7.6). Only one that is down or publishes nothing is passed over. One that says something wrong is not.
    async fn first_listed(&self, listed: &[String]) -> Result<AuthorizationServer, DiscoveryError> {
        let mut silent = Vec::new();
        for issuer in listed.iter().take(LISTED_LIMIT) {
            match named_server(self.http, &self.server, issuer, self.overrides).await {
                Err(error) if listed.len() > 1 && error.is_silence() => {
                    tracing::debug!(%error, "an authorization server does not answer");
                    silent.push(SilentServer { issuer: quoted(issuer), error });
                }
                outcome => return outcome,
            }
        }
        Err(DiscoveryError::AllSilent { silent })
    }
}

/// The most authorization servers that are tried.
const LISTED_LIMIT: usize = 4;

/// An authorization server that is down or publishes nothing.
#[derive(Debug)]
pub struct SilentServer {
    /// Its issuer identifier, cleaned.
    pub issuer: String,
    /// How it does not answer.
    pub error: DiscoveryError,
}

impl Inquiry<'_> {
    /// One request of a probe. Only the status and the headers count: the body may be a stream without an end.
    async fn ask(&self, mut headers: HeaderMap, message: &Message) -> Result<(Probe, HeaderMap), HttpError> {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        // Nothing is lost where the server takes a request of a probe twice.
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

    /// Ends a session that nothing will use (MCP Streamable HTTP, "Session Management"). A server may refuse, and the
    /// session then times out there.
    async fn close_session(&self, session: HeaderMap) {
        if !session.contains_key(SESSION_ID) {
            return;
        }
        let _ = self.send(&Method::DELETE, &session, &Bytes::new()).await;
    }

    /// Sends a request as the bridge does, with the same cookies and redirects: what a sign-in finds, `serve` finds too.
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

/// The metadata of an issuer that somebody named.
async fn named_server(
    http: &Http,
    namer: &ServerUrl,
    issuer: &str,
    overrides: &Overrides,
) -> Result<AuthorizationServer, DiscoveryError> {
    let candidates = authorization_server::candidates(issuer, namer)?;
    let (place, body) =
        first_document(http, &candidates).await?.ok_or_else(|| DiscoveryError::NoMetadata { host: namer.host() })?;
    let respelled = authorization_server::respelled(issuer);
    let issuers: Vec<&str> = std::iter::once(issuer).chain(respelled.as_deref()).collect();
    Ok(read_metadata(&body, &issuers, place, overrides)?)
}

/// The identity provider that a person names by its issuer identifier. It may be wherever the person likes.
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
    // What is accepted of the server's own authorization server says nothing of this one.
    match named_server(http, &url, issuer, &Overrides::default()).await {
        Err(DiscoveryError::NoMetadata { host }) => Err(DiscoveryError::NoIdentityProvider { host }),
        outcome => outcome,
    }
}

/// The authorization server that a server of the 2025-03-26 specification is itself: its metadata is at the root, else
/// its endpoints have default paths.
async fn own_server(
    http: &Http,
    server: &ServerUrl,
    overrides: &Overrides,
) -> Result<AuthorizationServer, DiscoveryError> {
    let issuer = authorization_server::origin(server);
    let candidates = authorization_server::candidates(&issuer, server)?;
    Ok(match first_document(http, &candidates).await? {
        // Nobody has written this issuer down yet, and servers write their root both ways.
        Some((place, body)) => read_metadata(&body, &[&issuer, &format!("{issuer}/")], place, overrides)?,
        None => AuthorizationServer::by_default_paths(server)?,
    })
}

/// The metadata in `body`, whose issuer must be one of these, or the one that the person accepts in their place.
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

/// The first document there is, and where. "Look elsewhere" is a 4xx, and a 200 that is no JSON document: a web
/// application's page for every path, a health check. Whoever publishes a bad document is not shopped around (MCP
/// authorization names the order; the rest is caution).
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
            tracing::debug!(host = url.host(), "the metadata address answered with no JSON document");
            continue;
        }
        if !reply.status.is_client_error() || reply.status == StatusCode::TOO_MANY_REQUESTS {
            return Err(DiscoveryError::Unavailable { host: url.host(), status: reply.status.as_u16() });
        }
    }
    Ok(None)
}
