//! The redirect URI of a native app: a listener on this machine that waits for one answer (RFC 8252 section 7.3).

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

/// The path of the redirect URI.
const PATH: &str = "/callback";

/// The most of a request's head that is read, in bytes.
const HEAD_LIMIT: usize = 8 << 10;

/// How long a connection may take to send its head, and then to take its answer.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(5);

/// The most connections at once. One more drops the oldest, so that idle ones cannot keep the person's browser out.
const CONNECTIONS: usize = 16;

/// A bound port of 127.0.0.1. Dropping it frees the port and cuts every connection.
#[derive(Debug)]
pub struct Loopback {
    listener: TcpListener,
    port: u16,
}

/// What a request to the redirect URI means for the wait.
#[derive(Debug)]
pub enum Callback<T> {
    /// Nothing: somebody else's, or garbage. The wait goes on.
    Unrelated,
    /// What was waited for: the person reads that it worked.
    Done(T),
    /// An answer all the same, a bad one: the person reads that it did not work.
    Failed(T),
}

/// What the person reads. Fixed, whatever a request says: nothing of it is echoed.
#[derive(Debug, Clone, Copy)]
enum Page {
    Done,
    Failed,
    Unrelated,
}

impl Loopback {
    /// Binds `port`, or one that the system picks. Only the literal address: a name could resolve to elsewhere (RFC 8252 section 8.3).
    ///
    /// # Errors
    /// Whatever the system says, such as that the port is taken.
    pub async fn bind(port: Option<u16>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0))).await?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port })
    }

    /// The redirect URI to register and to ask with.
    pub fn redirect_uri(&self) -> String {
        format!("http://{}{PATH}", self.authority())
    }

    /// Serves until `judge` calls a request's query an answer, and returns that when its page has been delivered. The port is free afterwards.
    ///
    /// # Errors
    /// Whatever the listener says.
    pub async fn wait<T: Send + 'static>(
        self,
        judge: impl Fn(&str) -> Callback<T> + Send + Sync + 'static,
    ) -> io::Result<T> {
        let callback = Arc::new(Redirect { authority: self.authority(), judge, answer: Mutex::new(None) });
        let mut connections = JoinSet::new();
        let mut handles: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    handles.retain(|handle| !handle.is_finished());
                    if handles.len() >= CONNECTIONS && let Some(oldest) = handles.pop_front() {
                        oldest.abort();
                    }
                    match accepted {
                        Ok((stream, _)) => handles.push_back(connections.spawn(Arc::clone(&callback).serve(stream))),
                        // A connection that was gone before it was taken is no reason to stop; a broken listener is.
                        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                        Err(error) => return Err(error),
                    }
                }
                Some(_) = connections.join_next() => {
                    if let Some(answer) = callback.take() {
                        return Ok(answer);
                    }
                }
            }
        }
    }

    fn authority(&self) -> String {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)).to_string()
    }
}

/// What every connection shares.
struct Redirect<T, J> {
    authority: String,
    judge: J,
    answer: Mutex<Option<T>>,
}

impl<T: Send + 'static, J: Fn(&str) -> Callback<T> + Send + Sync + 'static> Redirect<T, J> {
    /// Serves one request and closes. It ends when the page is with the system, or its time is up.
    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(|request| {
            let response = self.respond(&request);
            async { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(CONNECTION_DEADLINE)
            .max_buf_size(HEAD_LIMIT)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        // Whatever ends a connection, the wait goes on.
        let _ = tokio::time::timeout(2 * CONNECTION_DEADLINE, connection).await;
    }

    fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let own_host = hosts.next().is_some_and(|host| host == &self.authority) && hosts.next().is_none();
        // A page elsewhere whose name was made to resolve to this machine asks under its own name.
        if !own_host || request.uri().authority().is_some() {
            return Page::Unrelated.response(StatusCode::FORBIDDEN);
        }
        if request.uri().path() != PATH {
            return Page::Unrelated.response(StatusCode::NOT_FOUND);
        }
        if request.method() != Method::GET {
            let mut response = Page::Unrelated.response(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
            return response;
        }
        let (page, answer) = match (self.judge)(request.uri().query().unwrap_or_default()) {
            Callback::Unrelated => return Page::Unrelated.response(StatusCode::BAD_REQUEST),
            Callback::Done(answer) => (Page::Done, answer),
            Callback::Failed(answer) => (Page::Failed, answer),
        };
        // The first answer counts (RFC 6749 section 4.1.2: a code is used once).
        self.slot().get_or_insert(answer);
        page.response(StatusCode::OK)
    }

    fn take(&self) -> Option<T> {
        self.slot().take()
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<T>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Page {
    fn response(self, status: StatusCode) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.html())));
        *response.status_mut() = status;
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            // The code is in this page's URL, and goes nowhere from here.
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (
                header::CONTENT_SECURITY_POLICY,
                "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            ),
        ];
        for (name, value) in headers {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }

    fn html(self) -> String {
        let (title, text) = match self {
            Self::Done => {
                ("You have signed in", "You can close this window and go back to your terminal or AI client.")
            }
            Self::Failed => (
                "The sign-in did not work",
                "finmcp says why in your terminal or AI client. You can close this window and go back there.",
            ),
            Self::Unrelated => (
                "This is not the sign-in",
                "finmcp is still waiting for it. If you came here from a sign-in page, go back there and try again.",
            ),
        };
        include_str!("callback.html").replace("{{title}}", title).replace("{{text}}", text)
    }
}
