//! The one way to the network: clients, limits, and errors that say how far a request got.
//!
//! No redirect is ever followed and nothing is retried below us: a request that carries a credential or a tool call
//! goes where it was sent, once. Bodies are not compressed (no `Accept-Encoding`), so a cap on bytes read is a cap on
//! memory.

use std::{sync::OnceLock, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use crate::server_url::ServerUrl;

/// The most that an OAuth document (metadata, registration, token response) may hold, in bytes.
pub const DOCUMENT_LIMIT: usize = 1 << 20;

/// How long an OAuth exchange may take from the first byte out to the last byte in.
pub const DOCUMENT_DEADLINE: Duration = Duration::from_secs(30);

const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

const USER_AGENT: &str = concat!("finmcp/", env!("CARGO_PKG_VERSION"));

/// Two clients, each built when first needed and then shared: one for https, which reads the system's certificates and
/// proxies, and one for this machine.
#[derive(Debug, Default)]
pub struct Http {
    secure: OnceLock<reqwest::Client>,
    loopback: OnceLock<reqwest::Client>,
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
    /// The TLS set-up of this machine is unusable.
    #[error("could not set up TLS")]
    Setup(#[source] reqwest::Error),
}

impl HttpError {
    /// Sorts what the client reports into how far the request got.
    pub fn sending(url: &ServerUrl, source: reqwest::Error) -> Self {
        // The URL in the client's own text may hold what must not be shown.
        let (host, source) = (url.host(), source.without_url());
        if source.is_connect() { Self::Unreachable { host, source } } else { Self::Broken { host, source } }
    }

    /// Whether no byte of the request can have reached the server.
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Setup(_))
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
    /// The client for `url`.
    ///
    /// # Errors
    /// [`HttpError::Setup`] where this machine's certificates or TLS cannot be used.
    pub fn client_for(&self, url: &ServerUrl) -> Result<&reqwest::Client, HttpError> {
        // A proxy has no business with loopback traffic, and reading the system's certificates costs 3 ms that plain
        // http does not need.
        if url.is_loopback() && url.as_url().scheme() == "http" {
            shared(&self.loopback, || builder().no_proxy().tls_certs_only([]))
        } else {
            shared(&self.secure, builder)
        }
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
