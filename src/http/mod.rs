//! The only access to the network: HTTP clients, limits, and errors that say how far a request got.
//!
//! Redirects: never to another origin; an MCP request follows one only to the same address with or without a trailing
//! slash; a form with a secret follows none. Retries: reqwest never retries, so a request with a credential or a tool
//! call goes out once; only a GET of public metadata is repeated. Limits count decoded bytes while they arrive, so they
//! also cap memory. Every URL has a [`Reach`], the addresses that it may resolve to, and no request goes beyond it.

pub mod client_certificate;
mod coding;
mod cookies;
mod error;
mod pinned;
mod proxy;
pub mod reason;
pub mod redirect;
mod resolver;
pub mod retry_after;
mod sleep;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
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

pub use crate::http::{
    error::{CertificateProblem, HttpError},
    proxy::Proxy,
};
use crate::{
    http::{
        client_certificate::{ClientCertificate, ShownCertificates},
        cookies::CookieJar,
        reason::SentSecrets,
        redirect::Moved,
        resolver::{Lookup, Resolver},
        sleep::Clocks,
    },
    printable::quoted,
    server_url::{ServerUrl, reach::Reach},
};

/// The size limit of an OAuth document (metadata, registration, token response), in bytes.
pub const DOCUMENT_LIMIT: usize = 1 << 20;

/// How long an OAuth request may take, from the first byte sent to the last byte received.
pub const DOCUMENT_DEADLINE: Duration = Duration::from_secs(30);

const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// The most redirects to follow: enough for a moved path.
const REDIRECT_LIMIT: usize = 3;

const USER_AGENT: &str = concat!("finmcp/", env!("CARGO_PKG_VERSION"));

/// How long an HTTP/2 connection with open streams may be silent before it is sent a PING.
const PROBE_AFTER: Duration = Duration::from_secs(15);

/// How long the answer to that PING may take.
const PROBE_DEADLINE: Duration = Duration::from_secs(10);

/// finmcp's HTTP clients, with their cookies and remembered redirects.
#[derive(Debug)]
pub struct Http {
    clients: Mutex<Clients>,
    proxies: OnceLock<Matcher>,
    authorities: Vec<CertificateDer<'static>>,
    lookup: Lookup,
    certificates: ShownCertificates,
    cookies: CookieJar,
    moved: Moved,
}

/// The clients without a client certificate, and those with each. Clients share no connections: one that was opened
/// with a certificate must not serve a request without it.
#[derive(Debug, Default)]
struct Clients {
    plain: ByReach,
    certified: HashMap<[u8; 32], ByReach>,
    /// When a client was last requested.
    used: Option<Clocks>,
}

/// A client for each reach, built on first use and then shared: a connection that was opened within a wide reach must
/// not serve a URL with a narrow reach.
#[derive(Debug, Default)]
struct ByReach {
    pooled: [Option<reqwest::Client>; Reach::COUNT],
    /// The same, but with a new connection for every request.
    without_pool: [Option<reqwest::Client>; Reach::COUNT],
}

/// A complete response, of at most [`DOCUMENT_LIMIT`] bytes.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Trusts the system's certificate authorities only.
impl Default for Http {
    fn default() -> Self {
        Self::trusting(Vec::new())
    }
}

impl Http {
    /// Trusts these certificate authorities in addition to the system's.
    pub fn trusting(authorities: Vec<CertificateDer<'static>>) -> Self {
        Self {
            clients: Mutex::default(),
            proxies: OnceLock::new(),
            authorities,
            lookup: resolver::system,
            certificates: ShownCertificates::default(),
            cookies: CookieJar::default(),
            moved: Moved::default(),
        }
    }

    /// The client for `url`.
    ///
    /// # Errors
    /// [`HttpError::OutOfReach`]; [`HttpError::Setup`] if this machine's certificates or TLS configuration cannot be
    /// used.
    pub fn client_for(&self, url: &ServerUrl) -> Result<reqwest::Client, HttpError> {
        let reach = self.reach_of(url)?;
        let certificate = self.certificates.at(url);
        let certificate = certificate.as_deref();
        let mut clients = self.clients();
        shared(&mut clients.of(certificate).pooled[reach.index()], || self.builder_for(url, reach, certificate))
    }

    /// A client for `url` that opens a new connection for every request. A request that must not be sent twice must not
    /// go over a pooled connection that the server may be closing.
    fn client_without_pool(
        &self,
        url: &ServerUrl,
        certificate: Option<&ClientCertificate>,
    ) -> Result<reqwest::Client, HttpError> {
        let reach = self.reach_of(url)?;
        let shown = self.certificates.at(url);
        let certificate = certificate.or(shown.as_deref());
        let mut clients = self.clients();
        shared(&mut clients.of(certificate).without_pool[reach.index()], || {
            Ok(self.builder_for(url, reach, certificate)?.pool_max_idle_per_host(0))
        })
    }

    /// Makes the next request to `url` open a new connection. Requests in flight keep theirs.
    fn drop_connections(&self, url: &ServerUrl) {
        if let Ok(reach) = self.reach_of(url) {
            let certificate = self.certificates.at(url);
            self.clients().of(certificate.as_deref()).pooled[reach.index()] = None;
        }
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.wake(Clocks::read());
        clients
    }

    /// The reach of a client for `url`.
    fn reach_of(&self, url: &ServerUrl) -> Result<Reach, HttpError> {
        // An IP address is never resolved, so the resolver cannot refuse it.
        if let Some(zone) = url.zone().filter(|zone| !url.reach().permits(*zone)) {
            return Err(HttpError::OutOfReach { host: url.host(), zone });
        }
        Ok(match url.as_url().scheme() {
            "http" => Reach::LOOPBACK,
            // The user chose the proxy's address, and the proxy resolves the name, so the reach does not apply.
            _ if self.proxy(url).is_some() => Reach::UNLIMITED,
            _ => url.reach(),
        })
    }

    fn builder_for(
        &self,
        url: &ServerUrl,
        reach: Reach,
        certificate: Option<&ClientCertificate>,
    ) -> Result<reqwest::ClientBuilder, HttpError> {
        let builder = builder().dns_resolver(Arc::new(Resolver::new(reach, self.lookup)));
        // Loopback traffic needs no proxy, and plain http does not need the system's certificates, which take 3 ms to
        // read.
        if url.as_url().scheme() == "http" {
            return Ok(builder.no_proxy().tls_certs_only([]));
        }
        if self.authorities.is_empty() && certificate.is_none() {
            return Ok(builder);
        }
        Ok(match pinned::client_config(&self.authorities, certificate) {
            Ok(config) => builder.tls_backend_preconfigured(config),
            // Building the client reports the problem with the certificates.
            Err(_) => {
                let authorities = self.authorities.iter().map(|authority| Certificate::from_der(authority));
                builder.tls_certs_merge(authorities.collect::<Result<Vec<_>, _>>().map_err(HttpError::Setup)?)
            }
        })
    }

    /// The proxy that the environment or the system configures for `url`; none for servers on this machine.
    pub fn proxy(&self, url: &ServerUrl) -> Option<Proxy> {
        if url.as_url().scheme() == "http" {
            return None;
        }
        let found = self.proxies.get_or_init(Matcher::from_system).intercept(&url.as_str().parse::<Uri>().ok()?)?;
        Some(Proxy::of(&found))
    }

    /// Resolves the host of `url` with this machine's resolver, without connecting.
    ///
    /// # Errors
    /// The resolver's error.
    pub async fn addresses(&self, url: &ServerUrl) -> std::io::Result<Vec<IpAddr>> {
        match url.as_url().host() {
            Some(Host::Ipv4(address)) => Ok(vec![address.into()]),
            Some(Host::Ipv6(address)) => Ok(vec![address.into()]),
            Some(Host::Domain(name)) => (self.lookup)(name.to_owned()).await,
            None => Ok(Vec::new()),
        }
    }

    /// GETs a public document without a credential. Follows redirects within its origin.
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
            match same_origin_location(&url, &reply.headers) {
                Some(next) if left > 0 => url = next,
                _ => return Err(HttpError::redirected(&url, reply.status, &reply.headers)),
            }
            left -= 1;
        }
    }

    /// GETs a document, and retries once over a new connection if the connection breaks: some servers close a pooled
    /// connection just as a request goes out.
    async fn get(&self, url: &ServerUrl, headers: &HeaderMap) -> Result<Reply, HttpError> {
        let request = || {
            let mut request = http::Request::new(Vec::new());
            *request.headers_mut() = headers.clone();
            request
        };
        match self.exchange(url, request()).await {
            Err(HttpError::Broken { .. } | HttpError::Unprocessed { .. }) => {
                self.exchange_over(self.client_without_pool(url, None)?, url, request()).await
            }
            outcome => outcome,
        }
    }

    /// Sends a request that may contain a secret, for example a token request. Follows no redirect (RFC 9700 section
    /// 4.12) and sends it once, over a new connection, on which the client shows `certificate` if the server asks for
    /// one.
    ///
    /// # Errors
    /// Any [`HttpError`]. Of the statuses only a redirect is an error.
    pub async fn submit(
        &self,
        url: &ServerUrl,
        request: http::Request<Vec<u8>>,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Reply, HttpError> {
        let reply = self.exchange_over(self.client_without_pool(url, certificate)?, url, request).await?;
        match reply.status.is_redirection() {
            true => Err(HttpError::redirected(url, reply.status, &reply.headers)),
            false => Ok(reply),
        }
    }

    /// Sends a request to an MCP server, with the server's cookies, and returns the response as soon as its head has
    /// arrived. `headers` builds the headers for the address that it is given. If the server redirects to the same
    /// address with or without a trailing slash, the request follows once, with the same method and body: a server that
    /// redirects has not processed it. Any other redirect is returned to the caller.
    ///
    /// # Errors
    /// Any [`HttpError`], or the error of `headers`. A status is not an error.
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
            // The current address is unknown: start the next request at the configured one.
            self.moved.note(url, url);
        } else {
            self.moved.note(url, &place);
        }
        Ok(response)
    }

    /// Sets the sign-in that requests to MCP servers are sent for, if any. Drops cookies of another sign-in.
    pub fn set_cookie_owner(&self, owner: Option<&str>) {
        self.cookies.set_owner(owner);
    }

    /// Shows `certificate` to the server at the origin of `url` from now on, or none: to no other origin.
    pub fn show_certificate(&self, url: &ServerUrl, certificate: Option<&Arc<ClientCertificate>>) {
        self.certificates.set(url, certificate);
    }

    /// Shows no certificate from now on, except to the endpoints of [`Self::submit`].
    pub fn hide_certificates(&self) {
        self.certificates.clear();
    }

    /// The address where the server at `url` last answered: `url`, or the same with or without a trailing slash.
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
        let sent = SentSecrets::in_headers(&headers);
        let request = self.client_for(url)?.request(method.clone(), url.as_url().clone());
        let mut response = answer(url, method, request.headers(headers).body(body.clone())).await?;
        self.cookies.store(url, response.headers(), cookies);
        let is_success = response.status().is_success();
        // Some servers refuse a request before reading its body, and then close the connection.
        if !is_success && !body.is_empty() && response.version() < Version::HTTP_2 {
            self.drop_connections(url);
        }
        // The body of an error response is optional detail.
        if is_success {
            check_coding(url, response.headers())?;
        }
        response.extensions_mut().insert(sent);
        Ok(response)
    }

    /// Sends `request` and reads the complete response, within [`DOCUMENT_LIMIT`] and [`DOCUMENT_DEADLINE`]. For OAuth
    /// documents; the bridge streams instead.
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
    fn of(&mut self, certificate: Option<&ClientCertificate>) -> &mut ByReach {
        match certificate {
            Some(certificate) => self.certified.entry(certificate.id()).or_default(),
            None => &mut self.plain,
        }
    }

    /// Drops connections from before this machine slept. Requests in flight keep theirs.
    fn wake(&mut self, now: Clocks) {
        if self.used.replace(now).is_some_and(|before| now.slept_since(before)) {
            self.plain = ByReach::default();
            self.certified.clear();
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

/// Refuses a response that is still encoded. (Decoding removes `Content-Encoding`.)
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

/// Sends `request` and returns the response as soon as its head has arrived, with a body that is decoded as it streams.
/// Logs the outcome, with only the host of the URL: paths and queries can contain secrets.
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

/// The target of a redirect within the same origin.
fn same_origin_location(url: &ServerUrl, headers: &HeaderMap) -> Option<ServerUrl> {
    let location = headers.get(header::LOCATION)?.to_str().ok()?;
    url.join(location).ok().filter(|next| next.same_origin(url))
}

fn builder() -> reqwest::ClientBuilder {
    // A second installation fails harmlessly: the first provider stays.
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
