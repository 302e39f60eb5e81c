//! A loopback HTTP/1.1 listener and what its sites answer with.

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

/// The most that a request's body may hold, in bytes.
const REQUEST_LIMIT: usize = 4 << 20;

/// What a site answers.
pub type Reply = Response<BoxBody<Bytes, Infallible>>;

/// What is served at an origin.
pub trait Site: Send + Sync {
    /// Answers one request.
    fn answer(&self, request: Request<Bytes>) -> BoxFuture<'_, Reply>;
}

/// A bound socket that serves nothing yet, so that a site can know its own address before it begins.
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
    /// Whatever the system says, such as a port in use.
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
        // Connections live in this task, so that they end with it.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(converse(stream, host.clone(), site.clone()));
                    }
                    // Out of descriptors, most likely: the waiting connection is still there, so a pause keeps this
                    // from spinning.
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
    // Small answers leave at once.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request: Request<Incoming>| {
        let (host, site) = (host.clone(), site.clone());
        async move { Ok::<_, Infallible>(read_and_answer(request, &host, &*site).await) }
    });
    // No time limit on an idle connection: a client that reuses one never meets its end.
    let connection = http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection ended");
    }
}

async fn read_and_answer(request: Request<Incoming>, host: &str, site: &dyn Site) -> Reply {
    // A page from elsewhere, whose name was made to resolve to this machine, would name itself here (DNS rebinding).
    if request.headers().get(header::HOST).is_none_or(|value| value != host) {
        return text(StatusCode::MISDIRECTED_REQUEST, "this is not the host that was asked for");
    }
    let (parts, body) = request.into_parts();
    match Limited::new(body, REQUEST_LIMIT).collect().await {
        Ok(body) => site.answer(Request::from_parts(parts, body.to_bytes())).await,
        Err(_) => text(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large"),
    }
}

/// A JSON document. It may hold a token, so no cache keeps it (RFC 6749 section 5.1).
pub fn json(status: StatusCode, document: &impl Serialize) -> Reply {
    match serde_json::to_vec(document) {
        Ok(bytes) => reply(status, "application/json", bytes),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be written"),
    }
}

/// No body at all.
pub fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Full::default().boxed());
    *reply.status_mut() = status;
    reply
}

/// A line of text.
pub fn text(status: StatusCode, line: &'static str) -> Reply {
    reply(status, "text/plain; charset=utf-8", line)
}

/// A page that loads nothing, runs nothing, is framed by nobody and tells nobody where it was.
pub fn html(status: StatusCode, page: String) -> Reply {
    let page = reply(status, "text/html; charset=utf-8", page);
    let page = with_header(
        page,
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    );
    with_header(page, header::REFERRER_POLICY, "no-referrer")
}

/// Sends a browser elsewhere, with GET (RFC 9110 section 15.4.4).
pub fn see_other(location: &str) -> Reply {
    with_header(text(StatusCode::SEE_OTHER, "see the Location header"), header::LOCATION, location)
}

/// The path is not served here.
pub fn not_found() -> Reply {
    text(StatusCode::NOT_FOUND, "there is nothing here")
}

/// `reply` with one more header; a value that cannot be one is left out.
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
