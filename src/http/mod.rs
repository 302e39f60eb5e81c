//! The one way to the network: clients, limits, and errors that say how far a request got.
//!
//! No redirect leaves its origin, an MCP request follows one to its own address only, and a form with a secret follows
//! none at all. Nothing is retried below us: a request that carries a credential or a tool call goes where it was sent,
//! once; only a GET of public metadata goes out again. Limits count decoded bytes, as they come: a cap on bytes read is a
//! cap on memory. A URL is called within its reach only.

mod coding;
mod cookies;
mod error;
mod pinned;
pub mod reason;
pub mod redirect;
mod resolver;
pub mod retry_after;
mod sleep;
#[cfg(test)]
mod tests;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header};
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Certificate;
use rustls::pki_types::CertificateDer;
use url::Host;

pub use crate::http::error::{CertificateProblem, HttpError};
use crate::{
    http::{
        cookies::Cookies,
        reason::Sent,
        redirect::Moved,
        resolver::{Lookup, Resolver},
        sleep::Clocks,
    },
    printable::quoted,
    server_url::{ServerUrl, reach::Reach},
};

/// The most that an OAuth document (metadata, registration, token response) may hold, in bytes.
pub const DOCUMENT_LIMIT: usize = 1 << 20;

/// How long an OAuth exchange may take from the first byte out to the last byte in.
pub const DOCUMENT_DEADLINE: Duration = Duration::from_secs(30);

const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// The most redirects that are followed (threat model: enough for a moved path, no more).
const REDIRECT_LIMIT: usize = 3;

const USER_AGENT: &str = concat!("finmcp/", env!("CARGO_PKG_VERSION"));

/// How long an HTTP/2 connection may be silent while something is waited for, before it is asked whether it is there.
const PROBE_AFTER: Duration = Duration::from_secs(15);

/// How long it may take to say so.
const PROBE_DEADLINE: Duration = Duration::from_secs(10);

/// What goes over the network.
#[derive(Debug)]
pub struct Http {
    clients: Mutex<Clients>,
    proxies: OnceLock<Matcher>,
    authorities: Vec<CertificateDer<'static>>,
    lookup: Lookup,
    cookies: Cookies,
    moved: Moved,
}

/// A client for each reach, built when first needed and then shared. They share no connection: one that was opened
/// within a wide reach must not serve a URL with a narrow one.
#[derive(Debug, Default)]
struct Clients {
    by_reach: [Option<reqwest::Client>; Reach::COUNT],
    /// The same, where each request has a connection for itself.
    without_pool: [Option<reqwest::Client>; Reach::COUNT],
    /// When one was last asked for.
    used: Option<Clocks>,
}

/// Who passes requests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its scheme, host and port, without the name and the password that it takes.
    pub address: String,
    /// Whether it takes such.
    pub has_password: bool,
}

/// A whole answer, of at most [`DOCUMENT_LIMIT`] bytes.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Where the system's authorities alone are trusted.
impl Default for Http {
    fn default() -> Self {
        Self::trusting(Vec::new())
    }
}

impl Http {
    /// The network, where these authorities are trusted besides those of the system.
    pub fn trusting(authorities: Vec<CertificateDer<'static>>) -> Self {
        Self {
            clients: Mutex::default(),
            proxies: OnceLock::new(),
            authorities,
            lookup: resolver::system,
            cookies: Cookies::default(),
            moved: Moved::default(),
        }
    }

    /// The client for `url`.
    ///
    /// # Errors
    /// [`HttpError::OutOfReach`]; [`HttpError::Setup`] where this machine's certificates or TLS cannot be used.
    pub fn client_for(&self, url: &ServerUrl) -> Result<reqwest::Client, HttpError> {
        let reach = self.reach_of(url)?;
        let mut clients = self.clients();
        shared(&mut clients.by_reach[reach.index()], || self.builder_for(url, reach))
    }

    /// A client for `url` that opens a connection for each request. What must not be sent twice must not meet a
    /// connection that the server is about to close.
    fn client_without_pool(&self, url: &ServerUrl) -> Result<reqwest::Client, HttpError> {
        let reach = self.reach_of(url)?;
        let mut clients = self.clients();
        shared(&mut clients.without_pool[reach.index()], || Ok(self.builder_for(url, reach)?.pool_max_idle_per_host(0)))
    }

    /// Has the next request to `url` open a new connection. What is under way keeps its own.
    fn leave_connections(&self, url: &ServerUrl) {
        if let Ok(reach) = self.reach_of(url) {
            self.clients().by_reach[reach.index()] = None;
        }
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.wake(Clocks::read());
        clients
    }

    /// How far a client for `url` may lead.
    fn reach_of(&self, url: &ServerUrl) -> Result<Reach, HttpError> {
        // An address is resolved by nobody, so that no resolver would refuse it.
        if let Some(zone) = url.zone().filter(|zone| !url.reach().permits(*zone)) {
            return Err(HttpError::OutOfReach { host: url.host(), zone });
        }
        Ok(match url.as_url().scheme() {
            "http" => Reach::LOOPBACK,
            // The person's proxy is where the person put it, and it resolves the name, not we.
            _ if self.proxy(url).is_some() => Reach::UNLIMITED,
            _ => url.reach(),
        })
    }

    fn builder_for(&self, url: &ServerUrl, reach: Reach) -> Result<reqwest::ClientBuilder, HttpError> {
        let builder = builder().dns_resolver(Arc::new(Resolver::new(reach, self.lookup)));
        // A proxy has no business with loopback traffic, and reading the system's certificates costs 3 ms that plain
        // http does not need.
        if url.as_url().scheme() == "http" {
            return Ok(builder.no_proxy().tls_certs_only([]));
        }
        if self.authorities.is_empty() {
            return Ok(builder);
        }
        Ok(match pinned::client_config(&self.authorities) {
            Ok(config) => builder.tls_backend_preconfigured(config),
            // The client says what is wrong with them.
            Err(_) => {
                let authorities = self.authorities.iter().map(|authority| Certificate::from_der(authority));
                builder.tls_certs_merge(authorities.collect::<Result<Vec<_>, _>>().map_err(HttpError::Setup)?)
            }
        })
    }

    /// The proxy on the way to `url`, as the environment or the system has it; none for this machine's own servers.
    pub fn proxy(&self, url: &ServerUrl) -> Option<Proxy> {
        if url.as_url().scheme() == "http" {
            return None;
        }
        let found = self.proxies.get_or_init(Matcher::from_system).intercept(&url.as_str().parse::<Uri>().ok()?)?;
        let address = found.uri();
        Some(Proxy {
            address: format!("{}://{}", address.scheme_str().unwrap_or("http"), place(address)),
            has_password: found.basic_auth().is_some() || found.raw_auth().is_some(),
        })
    }

    /// Where the host of `url` is, as this machine's resolver has it. Nothing is connected to.
    ///
    /// # Errors
    /// What the resolver says.
    pub async fn addresses(&self, url: &ServerUrl) -> std::io::Result<Vec<IpAddr>> {
        match url.as_url().host() {
            Some(Host::Ipv4(address)) => Ok(vec![address.into()]),
            Some(Host::Ipv6(address)) => Ok(vec![address.into()]),
            Some(Host::Domain(name)) => (self.lookup)(name.to_owned()).await,
            None => Ok(Vec::new()),
        }
    }

    /// GETs a document that is public and needs no credential. Its own origin may redirect it.
    ///
    /// # Errors
    /// Any [`HttpError`]. A status is not an error.
    pub async fn fetch(&self, url: &ServerUrl, headers: HeaderMap) -> Result<Reply, HttpError> {
        let timed_out = |_| HttpError::TimedOut { host: url.host(), after: DOCUMENT_DEADLINE };
        tokio::time::timeout(DOCUMENT_DEADLINE, self.follow(url.clone(), headers)).await.map_err(timed_out)?
    }

    async fn follow(&self, mut url: ServerUrl, headers: HeaderMap) -> Result<Reply, HttpError> {
        let mut left = REDIRECT_LIMIT;
        loop {
            let reply = self.get(&url, &headers).await?;
            if !reply.status.is_redirection() {
                return Ok(reply);
            }
            match own_location(&url, &reply.headers) {
                Some(next) if left > 0 => url = next,
                _ => return Err(HttpError::redirected(&url, reply.status, &reply.headers)),
            }
            left -= 1;
        }
    }

    /// GETs a document; where the connection breaks, once more over a new one. Some servers close a connection that
    /// seems good for another request.
    async fn get(&self, url: &ServerUrl, headers: &HeaderMap) -> Result<Reply, HttpError> {
        let request = || {
            let mut request = http::Request::new(Vec::new());
            *request.headers_mut() = headers.clone();
            request
        };
        match self.exchange(url, request()).await {
            Err(HttpError::Broken { .. } | HttpError::Unprocessed { .. }) => {
                self.exchange_over(self.client_without_pool(url)?, url, request()).await
            }
            outcome => outcome,
        }
    }

    /// Sends a request that may hold a secret, such as a form for a token endpoint: it goes where it is sent and nowhere
    /// else (RFC 9700 section 4.12), and once, over a connection of its own.
    ///
    /// # Errors
    /// Any [`HttpError`]. A status is not an error, but for a redirect's.
    pub async fn submit(&self, url: &ServerUrl, request: http::Request<Vec<u8>>) -> Result<Reply, HttpError> {
        let reply = self.exchange_over(self.client_without_pool(url)?, url, request).await?;
        match reply.status.is_redirection() {
            true => Err(HttpError::redirected(url, reply.status, &reply.headers)),
            false => Ok(reply),
        }
    }

    /// Sends a request to an MCP server, with the cookies that it has set, and hands its answer out as soon as the head
    /// is there. The `headers` are those for the address that it is given. Where that is said to have another trailing
    /// slash, or none, it follows once, with method and body as they are: whoever redirects has not taken the request. Any
    /// other redirect is the caller's to judge.
    ///
    /// # Errors
    /// Any [`HttpError`], and whatever `headers` says. A status is not an error.
    pub async fn send<E: From<HttpError>>(
        &self,
        url: &ServerUrl,
        method: &Method,
        body: &Bytes,
        headers: &(dyn Fn(&ServerUrl) -> Result<HeaderMap, E> + Sync),
    ) -> Result<reqwest::Response, E> {
        let place = self.moved.place(url);
        let mut response = self.send_to(&place, method, body, headers(&place)?).await?;
        let next = redirect::same_address(&place, response.status(), response.headers());
        let place = match next {
            Some(next) => {
                response = self.send_to(&next, method, body, headers(&next)?).await?;
                next
            }
            None => place,
        };
        if response.status().is_redirection() {
            // Where it is now is not known: the next request begins at its own address.
            self.moved.note(url, url);
        } else {
            self.moved.note(url, &place);
        }
        Ok(response)
    }

    /// From now on requests to MCP servers are sent for the sign-in `owner`, or for nobody: cookies of another sign-in are
    /// dropped.
    pub fn cookies_belong_to(&self, owner: Option<&str>) {
        self.cookies.belong_to(owner);
    }

    /// Where the server at `url` is sent its messages: there, or at the address's other spelling.
    pub fn place(&self, url: &ServerUrl) -> ServerUrl {
        self.moved.place(url)
    }

    async fn send_to(
        &self,
        url: &ServerUrl,
        method: &Method,
        body: &Bytes,
        mut headers: HeaderMap,
    ) -> Result<reqwest::Response, HttpError> {
        let cookies = self.cookies.add(url, &mut headers);
        let sent = Sent::with(&headers);
        let request = self.client_for(url)?.request(method.clone(), url.as_url().clone());
        let mut response = answer(url, method, request.headers(headers).body(body.clone())).await?;
        self.cookies.note(url, response.headers(), cookies);
        let is_success = response.status().is_success();
        // Some servers refuse a request before they have read its body, and then close the connection.
        if !is_success && !body.is_empty() && response.version() < Version::HTTP_2 {
            self.leave_connections(url);
        }
        // What an error says beyond its status is no more than a help.
        if is_success {
            check_coding(url, response.headers())?;
        }
        response.extensions_mut().insert(sent);
        Ok(response)
    }

    /// Sends `request` and reads the whole answer, within [`DOCUMENT_LIMIT`] and [`DOCUMENT_DEADLINE`]. For OAuth's
    /// documents; the bridge streams.
    ///
    /// # Errors
    /// Any [`HttpError`]. A status is not an error.
    pub async fn exchange(&self, url: &ServerUrl, request: http::Request<Vec<u8>>) -> Result<Reply, HttpError> {
        self.exchange_over(self.client_for(url)?, url, request).await
    }

    async fn exchange_over(
        &self,
        client: reqwest::Client,
        url: &ServerUrl,
        request: http::Request<Vec<u8>>,
    ) -> Result<Reply, HttpError> {
        let whole = async {
            let (parts, body) = request.into_parts();
            let request = client.request(parts.method.clone(), url.as_url().clone()).headers(parts.headers).body(body);
            let mut response = answer(url, &parts.method, request).await?;
            check_coding(url, response.headers())?;
            let mut body = BytesMut::new();
            while let Some(chunk) = response.chunk().await.map_err(|source| HttpError::sending(url, source))? {
                if body.len() + chunk.len() > DOCUMENT_LIMIT {
                    return Err(HttpError::TooLarge { host: url.host(), limit: DOCUMENT_LIMIT });
                }
                body.extend_from_slice(&chunk);
            }
            Ok(Reply { status: response.status(), headers: response.headers().clone(), body: body.freeze() })
        };
        tokio::time::timeout(DOCUMENT_DEADLINE, whole)
            .await
            .unwrap_or_else(|_| Err(HttpError::TimedOut { host: url.host(), after: DOCUMENT_DEADLINE }))
    }
}

impl Clients {
    /// Leaves the connections behind that were there before this machine slept. What is under way keeps its own.
    fn wake(&mut self, now: Clocks) {
        if self.used.replace(now).is_some_and(|before| now.slept_since(before)) {
            self.by_reach = Default::default();
            self.without_pool = Default::default();
        }
    }
}

fn shared(
    client: &mut Option<reqwest::Client>,
    builder: impl FnOnce() -> Result<reqwest::ClientBuilder, HttpError>,
) -> Result<reqwest::Client, HttpError> {
    match client {
        Some(client) => Ok(client.clone()),
        None => Ok(client.insert(builder()?.build().map_err(HttpError::Setup)?).clone()),
    }
}

/// Whether an answer is decoded, or needs not be: no `Content-Encoding` is left where one was decoded.
fn check_coding(url: &ServerUrl, headers: &HeaderMap) -> Result<(), HttpError> {
    let is_coding = |value: &&HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity") && !value.is_empty();
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    match codings.find(is_coding) {
        Some(coding) => {
            let coding = quoted(&String::from_utf8_lossy(coding.as_bytes()));
            Err(HttpError::Undecodable { host: url.host(), problem: format!("Content-Encoding: {coding}") })
        }
        None => Ok(()),
    }
}

/// The answer to `request`, as soon as its head is there, with a body that is decoded as it comes. The log says how that went, and of the URL its host only: paths and queries can
/// hold secrets.
async fn answer(
    url: &ServerUrl,
    method: &Method,
    request: reqwest::RequestBuilder,
) -> Result<reqwest::Response, HttpError> {
    let begun = Instant::now();
    let outcome = request.send().await.map_err(|source| HttpError::sending(url, source));
    let (host, took) = (url.host(), begun.elapsed());
    match &outcome {
        Ok(response) => tracing::debug!(%method, host, status = response.status().as_u16(), ?took, "answered"),
        Err(error) => tracing::debug!(%method, host, %error, ?took, "not answered"),
    }
    outcome.map(coding::decoded)
}

/// Where an answer sends a request on, if that is of the same origin.
fn own_location(url: &ServerUrl, headers: &HeaderMap) -> Option<ServerUrl> {
    let location = headers.get(header::LOCATION)?.to_str().ok()?;
    url.join(location).ok().filter(|next| next.same_origin(url))
}

/// The host and the port of `address`, without the name and the password before them.
fn place(address: &Uri) -> String {
    let host = address.host().unwrap_or_default();
    address.port_u16().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn builder() -> reqwest::ClientBuilder {
    // Installing twice is refused and harmless: the first one stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .default_headers(HeaderMap::from_iter([(header::ACCEPT_ENCODING, coding::ACCEPTED)]))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(30))
        .http2_keep_alive_interval(PROBE_AFTER)
        .http2_keep_alive_timeout(PROBE_DEADLINE)
        .connect_timeout(CONNECT_DEADLINE)
}
