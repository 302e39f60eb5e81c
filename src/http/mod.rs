//! The one way to the network: clients, limits, and errors that say how far a request got.
//!
//! No redirect is followed but by [`Http::fetch`], and nothing is retried below us: a request that carries a credential
//! or a tool call goes where it was sent, once. Bodies are not compressed (no `Accept-Encoding`), so a cap on bytes read
//! is a cap on memory. A URL that a server named is called within its reach only.

mod resolver;
#[cfg(test)]
mod tests;

use std::{
    error::Error,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, Uri, header};
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Certificate;
use rustls::CertificateError;

use crate::{
    http::resolver::{OutOfReach, Resolver},
    server_url::{
        ServerUrl,
        reach::{Reach, Zone},
    },
};

/// The most that an OAuth document (metadata, registration, token response) may hold, in bytes.
pub const DOCUMENT_LIMIT: usize = 1 << 20;

/// How long an OAuth exchange may take from the first byte out to the last byte in.
pub const DOCUMENT_DEADLINE: Duration = Duration::from_secs(30);

const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// The most redirects that are followed to a document (threat model: enough for a moved path, no more).
const REDIRECT_LIMIT: usize = 3;

const USER_AGENT: &str = concat!("finmcp/", env!("CARGO_PKG_VERSION"));

/// A client for each reach, built when first needed and then shared. They share no connection: one that was opened
/// within a wide reach must not serve a URL with a narrow one.
#[derive(Debug, Default)]
pub struct Http {
    clients: [OnceLock<reqwest::Client>; Reach::COUNT],
    proxies: OnceLock<Matcher>,
    authorities: Vec<Certificate>,
}

/// A request that came to nothing, by how far it got.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection: no byte of the request has left, so sending it again repeats nothing.
    #[error("could not connect to {host}")]
    Unreachable {
        /// Where to.
        host: String,
        /// Name resolution, TCP, TLS or the proxy.
        #[source]
        source: reqwest::Error,
    },
    /// The connection broke after the request may have been taken.
    #[error("the connection to {host} broke")]
    Broken {
        /// Where to.
        host: String,
        /// What the connection said.
        #[source]
        source: reqwest::Error,
    },
    /// No complete answer in time.
    #[error("{host} did not answer within {} s", .after.as_secs())]
    TimedOut {
        /// Where to.
        host: String,
        /// The limit.
        after: Duration,
    },
    /// The answer is larger than its kind may be.
    #[error("{host} sent more than {limit} bytes")]
    TooLarge {
        /// Where from.
        host: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A name that resolves to where whoever named it must not send us. Nothing was sent.
    #[error("{host} must not be called: {zone}")]
    OutOfReach {
        /// The host.
        host: String,
        /// Where it leads.
        zone: Zone,
    },
    /// The server's certificate is not good (OAuth 2.1 section 1.5; RFC 6750 section 5.3). Nothing was sent.
    #[error("the certificate of {host} {problem}")]
    Certificate {
        /// The host.
        host: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A document that has moved to another origin, or too often.
    #[error("{host} redirects its metadata elsewhere, which is not followed")]
    Redirected {
        /// Who redirects.
        host: String,
    },
    /// A compressed answer. None was asked for, and a small one can become a very large one.
    #[error("{host} sent a compressed answer, which was not asked for")]
    Compressed {
        /// Where from.
        host: String,
    },
    /// The TLS set-up of this machine is unusable.
    #[error("could not set up TLS")]
    Setup(#[source] reqwest::Error),
}

impl HttpError {
    /// Sorts what the client reports into how far the request got.
    pub fn sending(url: &ServerUrl, source: reqwest::Error) -> Self {
        // The URL in the client's own text may hold what must not be shown.
        let (host, source) = (url.host(), source.without_url());
        if let Some(OutOfReach(zone)) = cause(&source) {
            return Self::OutOfReach { host, zone: *zone };
        }
        if let Some(rustls::Error::InvalidCertificate(error)) = cause(&source) {
            return Self::Certificate { host, problem: certificate_problem(error) };
        }
        if source.is_connect() { Self::Unreachable { host, source } } else { Self::Broken { host, source } }
    }

    /// Whether no byte of the request can have reached the server.
    pub fn is_unsent(&self) -> bool {
        use HttpError::{Certificate, OutOfReach, Setup, Unreachable};
        matches!(self, Unreachable { .. } | Setup(_) | OutOfReach { .. } | Certificate { .. })
    }

    /// Whether it is no trouble of the network, but a server that must not be believed.
    pub fn is_refusal(&self) -> bool {
        use HttpError::{Certificate, Compressed, OutOfReach, Redirected, TooLarge};
        matches!(self, OutOfReach { .. } | Certificate { .. } | Redirected { .. } | Compressed { .. } | TooLarge { .. })
    }
}

/// The first error of that type behind `error`. An I/O error may wrap one.
fn cause<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
    let wrapped = wrapped.and_then(|error| cause(error as &(dyn Error + 'static)));
    error.downcast_ref().or(wrapped).or_else(|| cause(error.source()?))
}

fn certificate_problem(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "is not valid yet",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => "is for another name",
        CertificateError::UnknownIssuer => "is from an authority that this machine does not know",
        CertificateError::Revoked => "was revoked",
        _ => "is not valid",
    }
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

impl Http {
    /// The network, where these authorities are trusted besides those of the system.
    pub fn trusting(authorities: Vec<Certificate>) -> Self {
        Self { authorities, ..Self::default() }
    }

    /// The client for `url`.
    ///
    /// # Errors
    /// [`HttpError::Setup`] where this machine's certificates or TLS cannot be used.
    pub fn client_for(&self, url: &ServerUrl) -> Result<&reqwest::Client, HttpError> {
        // A proxy has no business with loopback traffic, and reading the system's certificates costs 3 ms that plain
        // http does not need.
        if url.as_url().scheme() == "http" {
            let plain = || within(Reach::LOOPBACK, builder()).no_proxy().tls_certs_only([]);
            return shared(&self.clients[Reach::LOOPBACK.index()], plain);
        }
        // The person's proxy is where the person put it, and it resolves the name, not we.
        let reach = match url.reach() {
            Reach::ANYWHERE => Reach::ANYWHERE,
            _ if self.is_proxied(url) => Reach::ANYWHERE,
            reach => reach,
        };
        shared(&self.clients[reach.index()], || {
            let authorities = self.authorities.iter().cloned();
            within(reach, builder()).tls_certs_merge(authorities)
        })
    }

    fn is_proxied(&self, url: &ServerUrl) -> bool {
        let proxies = self.proxies.get_or_init(Matcher::from_system);
        url.as_str().parse::<Uri>().is_ok_and(|uri| proxies.intercept(&uri).is_some())
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
        for _ in 0..=REDIRECT_LIMIT {
            let mut request = http::Request::new(Vec::new());
            *request.headers_mut() = headers.clone();
            let reply = self.exchange(&url, request).await?;
            let location = reply.headers.get(header::LOCATION).filter(|_| reply.status.is_redirection());
            let Some(location) = location else { return Ok(reply) };
            let next = location.to_str().ok().and_then(|location| url.join(location).ok());
            match next.filter(|next| next.same_origin(&url)) {
                Some(next) => url = next,
                None => break,
            }
        }
        Err(HttpError::Redirected { host: url.host() })
    }

    /// Sends `request` and reads the whole answer, within [`DOCUMENT_LIMIT`] and [`DOCUMENT_DEADLINE`]. For OAuth's
    /// documents; the bridge streams.
    ///
    /// # Errors
    /// Any [`HttpError`]. A status is not an error.
    pub async fn exchange(&self, url: &ServerUrl, request: http::Request<Vec<u8>>) -> Result<Reply, HttpError> {
        let client = self.client_for(url)?;
        let whole = async {
            let (parts, body) = request.into_parts();
            let sending = client.request(parts.method, url.as_url().clone()).headers(parts.headers).body(body).send();
            let mut response = sending.await.map_err(|source| HttpError::sending(url, source))?;
            if response.headers().get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
                return Err(HttpError::Compressed { host: url.host() });
            }
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

fn builder() -> reqwest::ClientBuilder {
    // Installing twice is refused and harmless: the first one stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(30))
        .connect_timeout(CONNECT_DEADLINE)
}

fn within(reach: Reach, builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
    if reach == Reach::ANYWHERE { builder } else { builder.dns_resolver(Arc::new(Resolver::new(reach))) }
}

fn shared(
    cell: &OnceLock<reqwest::Client>,
    builder: impl FnOnce() -> reqwest::ClientBuilder,
) -> Result<&reqwest::Client, HttpError> {
    if let Some(client) = cell.get() {
        return Ok(client);
    }
    let client = builder().build().map_err(HttpError::Setup)?;
    Ok(cell.get_or_init(|| client))
}
