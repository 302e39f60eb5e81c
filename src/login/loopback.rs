//! A native app's listener for the authorization response (RFC 8252 section 7.3).

mod link;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::pending,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
};

pub use self::link::{Link, Opening};
use crate::{
    login::{
        page::Page,
        redirect_uri::{LoopbackHost, RedirectUri},
    },
    secret::Secret,
};

/// The path of the redirect URI, unless the user chose another.
const PATH: &str = "/callback";

/// The longest request head, in bytes.
const HEAD_LIMIT: usize = 8 << 10;

/// How long a connection may take to send its request head, and then to read the response.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(5);

/// How long the browser waits for the outcome of the sign-in.
const SUSPENSE: Duration = Duration::from_secs(10);

/// The most connections at once. Another one drops the oldest, so that idle ones cannot block the user's browser.
const CONNECTIONS: usize = 16;

/// How many ports to try until one is free on both addresses of `localhost`.
const PICKS: usize = 8;

/// A bound port of the loopback interface. Dropping it frees the port and closes every connection.
#[derive(Debug)]
pub struct Loopback {
    first: TcpListener,
    /// `localhost` has two addresses.
    second: Option<TcpListener>,
    redirect_uri: RedirectUri,
    link: Option<link::Target>,
}

/// Why the port cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for the authorization response on {address}")]
pub struct ListenError {
    /// The address; its port is 0 for any port.
    pub address: SocketAddr,
    /// The system's error.
    #[source]
    pub source: io::Error,
}

/// The browser that delivered the authorization response and waits for a page. While this exists, the browser may send
/// the same response again. Dropping it closes the connection without a page.
#[derive(Debug)]
pub struct Visitor {
    page: watch::Sender<Option<Page>>,
    /// The task that listens; it owns the tasks that serve connections.
    listening: JoinSet<io::Result<()>>,
}

impl Loopback {
    /// Binds `port` of 127.0.0.1, or a free one. Uses the literal address, because a name could resolve to another
    /// (RFC 8252 section 8.3).
    ///
    /// # Errors
    /// The system's error, for example because the port is in use.
    pub async fn bind(port: Option<u16>) -> Result<Self, ListenError> {
        Self::at(&RedirectUri::new(LoopbackHost::V4, port.unwrap_or(0), PATH)).await
    }

    /// Binds the address of `redirect_uri`, and both addresses for `localhost` if this machine has both: a program
    /// that listens on the other one would receive the code.
    ///
    /// # Errors
    /// The system's error, for example because the port is in use.
    pub async fn at(redirect_uri: &RedirectUri) -> Result<Self, ListenError> {
        let (host, port) = (redirect_uri.host(), redirect_uri.port());
        let first = match host {
            LoopbackHost::V4 | LoopbackHost::Localhost => IpAddr::from(Ipv4Addr::LOCALHOST),
            LoopbackHost::V6 => Ipv6Addr::LOCALHOST.into(),
        };
        let (first, bound) = listen((first, port).into()).await?;
        let second = match host {
            LoopbackHost::V4 | LoopbackHost::V6 => None,
            LoopbackHost::Localhost => second(bound).await?,
        };
        let redirect_uri = match port {
            0 => RedirectUri::new(host, bound, redirect_uri.path()),
            _ => redirect_uri.clone(),
        };
        Ok(Self { first, second, redirect_uri, link: None })
    }

    /// The same with the name `localhost`, for servers that accept only that name. `port` is the one that the user
    /// chose; without it, another port may be used.
    ///
    /// # Errors
    /// The system's error.
    pub async fn as_localhost(self, port: Option<u16>) -> Result<Self, ListenError> {
        let Self { first, redirect_uri, .. } = self;
        let own = RedirectUri::new(LoopbackHost::Localhost, redirect_uri.port(), PATH);
        let mut error = match second(own.port()).await {
            Ok(second) => return Ok(Self { first, second, redirect_uri: own, link: None }),
            Err(error) => error,
        };
        let picks = if port.is_none() { PICKS } else { 0 };
        for _ in 0..picks {
            match Self::at(&RedirectUri::new(LoopbackHost::Localhost, 0, PATH)).await {
                Ok(loopback) => return Ok(loopback),
                Err(other) => error = other,
            }
        }
        Err(error)
    }

    /// The redirect URI to register and to send in authorization requests.
    pub fn redirect_uri(&self) -> &RedirectUri {
        &self.redirect_uri
    }

    /// The same with a link to the sign-in page.
    pub fn linked(self) -> (Self, Option<Link>) {
        let (target, link) = link::link(&self.redirect_uri).unzip();
        (Self { link: target, ..self }, link)
    }

    /// Serves until `judge` finds the authorization response in a request's query. Returns it with the browser that
    /// delivered it, to show a page there.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn wait<T: Send + 'static>(
        mut self,
        judge: impl Fn(&str) -> Option<T> + Send + Sync + 'static,
    ) -> io::Result<(T, Visitor)> {
        let (page, shown) = watch::channel(None);
        let (answers, mut answered) = mpsc::channel(1);
        let redirect_uri = self.redirect_uri.clone();
        let link = self.link.take();
        let redirect = Redirect { redirect_uri, link, judge, taken: OnceLock::new(), answers, page: shown };
        // Runs in this task until the response arrives, so that cancelling frees the port at once.
        let mut listen = self.listen(Arc::new(redirect)).boxed();
        tokio::select! {
            Some(answer) = answered.recv() => {
                let mut listening = JoinSet::new();
                listening.spawn(listen);
                Ok((answer, Visitor { page, listening }))
            }
            ended = &mut listen => Err(ended.err().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Accepts connections until there is a page, then finishes the open ones.
    async fn listen<T: Send + 'static, J: Fn(&str) -> Option<T> + Send + Sync + 'static>(
        self,
        redirect: Arc<Redirect<T, J>>,
    ) -> io::Result<()> {
        let mut page = redirect.page.clone();
        let mut connections = JoinSet::new();
        let mut handles: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            tokio::select! {
                accepted = self.accept() => {
                    handles.retain(|handle| !handle.is_finished());
                    if handles.len() >= CONNECTIONS && let Some(oldest) = handles.pop_front() {
                        oldest.abort();
                    }
                    match accepted {
                        Ok(stream) => handles.push_back(connections.spawn(Arc::clone(&redirect).serve(stream))),
                        // A connection that closed before it was accepted is not an error of the listener.
                        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                        Err(error) => return Err(error),
                    }
                }
                Some(_) = connections.join_next() => {}
                _ = page.wait_for(Option::is_some) => break,
            }
        }
        drop(self);
        while connections.join_next().await.is_some() {}
        Ok(())
    }

    async fn accept(&self) -> io::Result<TcpStream> {
        let second = async {
            match &self.second {
                Some(second) => second.accept().await,
                None => pending().await,
            }
        };
        let accepted = tokio::select! {
            accepted = self.first.accept() => accepted,
            accepted = second => accepted,
        };
        accepted.map(|(stream, _)| stream)
    }
}

/// A listener at `address`, and its port.
async fn listen(address: SocketAddr) -> Result<(TcpListener, u16), ListenError> {
    let bound = TcpListener::bind(address).await.and_then(|listener| {
        let port = listener.local_addr()?.port();
        Ok((listener, port))
    });
    bound.map_err(|source| ListenError { address, source })
}

/// The listener at the other address of `localhost`; none if this machine does not have it.
async fn second(port: u16) -> Result<Option<TcpListener>, ListenError> {
    match listen((Ipv6Addr::LOCALHOST, port).into()).await {
        Ok((listener, _)) => Ok(Some(listener)),
        Err(error) if matches!(error.source.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {
            Err(error)
        }
        Err(_) => Ok(None),
    }
}

impl Visitor {
    /// Shows the page. Returns when it was sent or timed out; the port is free then.
    pub async fn show(self, page: Page) {
        let Self { page: waiting, mut listening } = self;
        let _ = waiting.send(Some(page));
        let gone = async { while listening.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(CONNECTION_DEADLINE, gone).await;
    }
}

/// The state that all connections share.
struct Redirect<T, J> {
    redirect_uri: RedirectUri,
    link: Option<link::Target>,
    judge: J,
    /// The query of the accepted response. Only the first counts: a code is used once (RFC 6749 section 4.1.2).
    taken: OnceLock<Secret>,
    answers: mpsc::Sender<T>,
    /// The page with the outcome, once it is known.
    page: watch::Receiver<Option<Page>>,
}

impl<T: Send + 'static, J: Fn(&str) -> Option<T> + Send + Sync + 'static> Redirect<T, J> {
    /// Serves one request and closes the connection. Ends when the page was sent or timed out, or as soon as another
    /// connection's response is handled.
    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let waits = AtomicBool::new(false);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(CONNECTION_DEADLINE)
            .max_buf_size(HEAD_LIMIT)
            .keep_alive(false)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(|request| async { Ok::<_, Infallible>(self.respond(request, &waits).await) }),
            );
        let over = async {
            let _ = self.page.clone().wait_for(Option::is_some).await;
            if waits.load(Relaxed) {
                pending().await
            }
        };
        tokio::select! {
            // The listener continues, however the connection ends.
            _ = tokio::time::timeout(2 * CONNECTION_DEADLINE + SUSPENSE, connection) => {}
            () = over => {}
        }
    }

    async fn respond(&self, request: Request<Incoming>, waits: &AtomicBool) -> Response<Full<Bytes>> {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let own_host =
            hosts.next().is_some_and(|host| host == &self.redirect_uri.authority()) && hosts.next().is_none();
        // DNS rebinding: a page on another host whose name resolves to this machine sends its own name.
        if !own_host || request.uri().authority().is_some() {
            return Page::unrelated().response(StatusCode::FORBIDDEN);
        }
        let link = self.link.as_ref().filter(|link| link.is_at(request.uri().path()));
        if link.is_none() && request.uri().path() != self.redirect_uri.path() {
            return Page::unrelated().response(StatusCode::NOT_FOUND);
        }
        if request.method() != Method::GET {
            let mut response = Page::unrelated().response(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
            return response;
        }
        if let Some(link) = link {
            return link.open().await;
        }
        if !self.takes(request.uri().query().unwrap_or_default()) {
            return Page::unrelated().response(StatusCode::BAD_REQUEST);
        }
        waits.store(true, Relaxed);
        let mut page = self.page.clone();
        let page = async { page.wait_for(Option::is_some).await.ok().and_then(|page| page.clone()) };
        let page = tokio::time::timeout(SUSPENSE, page).await.ok().flatten();
        page.unwrap_or_else(Page::undecided).response(StatusCode::OK)
    }

    /// Whether the query is the authorization response: the first one, or the same again from a browser that reloads
    /// or prefetched the page. The code in it is used once.
    fn takes(&self, query: &str) -> bool {
        let asked = Secret::new(query.to_owned());
        if self.taken.get().is_none()
            && let Some(answer) = (self.judge)(query)
            && self.taken.set(asked.clone()).is_ok()
        {
            return self.answers.try_send(answer).is_ok();
        }
        self.taken.get().is_some_and(|taken| taken.same_as(&asked))
    }
}
