//! The proxy between this machine and a server.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::{client::proxy::matcher::Intercept, rt::TokioIo};
use tokio::{net::TcpStream, time::timeout};

use crate::server_url::ServerUrl;

/// How long a proxy may take to connect and to answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// A proxy that requests go through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Scheme, host and port, without user name and password.
    pub address: String,
    /// Whether the proxy is configured with credentials.
    pub has_password: bool,
    /// Host and port, if it takes tunnels over plain HTTP.
    tunnels: Option<(String, u16)>,
    /// The credentials of an HTTP proxy.
    authorization: Option<HeaderValue>,
}

impl Proxy {
    pub(super) fn of(found: &Intercept) -> Self {
        let address = found.uri();
        let scheme = address.scheme_str().unwrap_or("http");
        let host = address.host().unwrap_or_default();
        Self {
            address: format!("{scheme}://{}", authority(address)),
            has_password: found.basic_auth().is_some() || found.raw_auth().is_some(),
            tunnels: (scheme == "http").then(|| (host.to_owned(), address.port_u16().unwrap_or(80))),
            authorization: found.basic_auth().cloned(),
        }
    }

    /// Asks for a tunnel to `url` (RFC 9110 section 9.3.6) and closes it. The HTTP client's own error does not tell by
    /// its type what the proxy answered. `None` if this proxy takes no tunnels over plain HTTP.
    ///
    /// # Errors
    /// No connection to the proxy, or no response.
    pub async fn try_tunnel(&self, url: &ServerUrl) -> io::Result<Option<StatusCode>> {
        let Some((host, port)) = &self.tunnels else { return Ok(None) };
        let asking = async {
            let stream = TcpStream::connect((host.trim_matches(['[', ']']), *port)).await?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
            // It ends with the sender.
            tokio::spawn(async move { drop(connection.await) });
            let response = sender.send_request(self.request(url)?).await.map_err(io::Error::other)?;
            Ok(Some(response.status()))
        };
        timeout(DEADLINE, asking).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    fn request(&self, url: &ServerUrl) -> io::Result<Request<Empty<Bytes>>> {
        let url = url.as_url();
        let target = format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(443));
        let mut request = Request::connect(&target).header(header::HOST, &target);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::PROXY_AUTHORIZATION, authorization);
        }
        request.body(Empty::new()).map_err(io::Error::other)
    }
}

/// Host and port of `address`, without user name and password.
fn authority(address: &Uri) -> String {
    let host = address.host().unwrap_or_default();
    address.port_u16().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
