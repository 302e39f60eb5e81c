//! A loopback HTTP/1.1 listener and its responses.

use std::{convert::Infallible, io, net::Ipv4Addr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The maximum size of a request's body, in bytes.
const REQUEST_LIMIT: usize = 4 << 20;

/// A site's response.
pub type Reply = Response<BoxBody<Bytes, Infallible>>;

/// The handler of an origin's requests.
pub trait Site: Send + Sync {
    /// Answers one request.
    fn answer(&self, request: Request<Bytes>) -> BoxFuture<'_, Reply>;
}

/// A bound socket that does not serve yet, so that a site can know its address before it starts.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    origin: String,
}

/// A site being served. Dropping it ends every connection and frees the port.
#[derive(Debug)]
pub struct Serving {
    _tasks: JoinSet<()>,
}

impl Listener {
    /// Binds a port of 127.0.0.1; 0 takes any free one.
    ///
    /// # Errors
    /// The port is in use, or another system error.
    pub async fn bind(port: u16) -> io::Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let origin = format!("http://{}", socket.local_addr()?);
        Ok(Self { socket, origin })
    }

    /// Its origin (RFC 6454): `http://127.0.0.1:PORT`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Serves `site` until the result is dropped.
    pub fn serve(self, site: Arc<dyn Site>) -> Serving {
        let mut tasks = JoinSet::new();
        tasks.spawn(self.accept(site));
        Serving { _tasks: tasks }
    }

    async fn accept(self, site: Arc<dyn Site>) {
        let host: Arc<str> = self.origin.trim_start_matches("http://").into();
        // Dropping this task also ends its connections.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(converse(stream, host.clone(), site.clone()));
                    }
                    // Probably out of file descriptors. The connection is still waiting, so without a pause this would
                    // spin.
                    Err(error) => {
                        tracing::debug!(%error, "accept failed");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn converse(stream: TcpStream, host: Arc<str>, site: Arc<dyn Site>) {
    // Sends small responses immediately.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request: Request<Incoming>| {
        let (host, site) = (host.clone(), site.clone());
        async move { Ok::<_, Infallible>(read_and_answer(request, &host, &*site).await) }
    });
    // No idle timeout: a client never reuses a connection that is about to close.
    let connection = http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection ended");
    }
}

async fn read_and_answer(request: Request<Incoming>, host: &str, site: &dyn Site) -> Reply {
    // Rejects other host names, to prevent DNS rebinding.
    if request.headers().get(header::HOST).is_none_or(|value| value != host) {
        return text(StatusCode::MISDIRECTED_REQUEST, "this server does not serve that host");
    }
    let (parts, body) = request.into_parts();
    match Limited::new(body, REQUEST_LIMIT).collect().await {
        Ok(body) => site.answer(Request::from_parts(parts, body.to_bytes())).await,
        Err(_) => text(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large"),
    }
}

/// A JSON response. It may contain a token, so caches must not store it (RFC 6749 section 5.1).
pub fn json(status: StatusCode, document: &impl Serialize) -> Reply {
    match serde_json::to_vec(document) {
        Ok(bytes) => reply(status, "application/json", bytes),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "cannot serialise the response"),
    }
}

/// A response without a body.
pub fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Full::default().boxed());
    *reply.status_mut() = status;
    reply
}

/// A response with one line of text.
pub fn text(status: StatusCode, line: &'static str) -> Reply {
    reply(status, "text/plain; charset=utf-8", line)
}

/// A page without external resources, scripts, framing or referrer.
pub fn html(status: StatusCode, page: String) -> Reply {
    let page = reply(status, "text/html; charset=utf-8", page);
    let page = with_header(
        page,
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    );
    with_header(page, header::REFERRER_POLICY, "no-referrer")
}

/// Redirects a browser, with GET (RFC 9110 section 15.4.4).
pub fn see_other(location: &str) -> Reply {
    with_header(text(StatusCode::SEE_OTHER, "see the Location header"), header::LOCATION, location)
}

/// The path is not served here.
pub fn not_found() -> Reply {
    text(StatusCode::NOT_FOUND, "not found")
}

/// `reply` with one more header, unless the value is invalid.
pub fn with_header(mut reply: Reply, name: HeaderName, value: &str) -> Reply {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
    reply
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = empty(status).map(|_| Full::new(body.into()).boxed());
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
