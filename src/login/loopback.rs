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
    /// Binds `port`, or one that the system picks. Only the literal address: a name could resolve to elsewhere (RFC
    /// 8252 section 8.3).
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

    /// Serves until `judge` calls a request's query an answer, and returns that when its page has been delivered. The
    /// port is free afterwards.
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        task::JoinHandle,
    };

    use super::*;

    /// A wait for `/callback?ok` or `/callback?bad`.
    async fn waiting() -> (u16, JoinHandle<io::Result<String>>) {
        let loopback = Loopback::bind(None).await.unwrap();
        let port = loopback.port;
        let judge = |query: &str| match query {
            "ok" => Callback::Done("ok".to_owned()),
            "bad" => Callback::Failed("bad".to_owned()),
            _ => Callback::Unrelated,
        };
        (port, tokio::spawn(loopback.wait(judge)))
    }

    async fn connect(port: u16) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap()
    }

    async fn send(port: u16, request: &str) -> String {
        let mut stream = connect(port).await;
        // The other end may have closed before all is written, or with some of it unread.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut response = Vec::new();
        while stream.read_buf(&mut response).await.is_ok_and(|count| count > 0) {}
        String::from_utf8(response).unwrap()
    }

    async fn get(port: u16, target: &str) -> String {
        send(port, &format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n")).await
    }

    fn status(response: &str) -> &str {
        response.split(' ').nth(1).unwrap_or("none")
    }

    /// t023, t028, t029: all that is not the answer is turned away, and the wait goes on.
    #[tokio::test]
    async fn t028_only_the_exact_request_counts() {
        let (port, wait) = waiting().await;
        for (target, code) in [
            ("/callback", "400"),
            ("/callback?", "400"),
            ("/callback?no", "400"),
            ("/callback?error=access_denied", "400"),
            ("/", "404"),
            ("/favicon.ico", "404"),
            ("/callback/?ok", "404"),
            ("/cb/../callback?ok", "404"),
            ("/%63allback?ok", "404"),
            ("//callback?ok", "404"),
            (&format!("http://127.0.0.1:{port}/callback?ok")[..], "403"),
            ("http://evil.example/callback?ok", "403"),
        ] {
            assert_eq!(status(&get(port, target).await), code, "{target}");
        }
        for host in [
            "Host: evil.example",
            "Host: localhost:{}",
            "Host: 127.0.0.1",
            "Host: 127.0.0.1:{}.evil.example",
            "Host: 127.1:{}",
            "Host: 127.0.0.1:{}\r\nHost: evil.example",
            "Host: 127.0.0.1:{}\r\nHost: 127.0.0.1:{}",
            "X: y",
        ] {
            let host = host.replace("{}", &port.to_string());
            let response = send(port, &format!("GET /callback?ok HTTP/1.1\r\n{host}\r\n\r\n")).await;
            assert_eq!(status(&response), "403", "{host}");
        }
        for method in ["POST", "HEAD", "OPTIONS", "PUT", "get"] {
            let head =
                format!("{method} /callback?ok HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: https://evil.example");
            let response = send(port, &format!("{head}\r\ncontent-length: 2\r\n\r\nok")).await;
            assert_eq!(status(&response), "405", "{method}");
            assert!(!response.to_lowercase().contains("access-control"), "{response}");
        }
        let long = format!("GET /callback?ok HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
        assert!(["431", "none"].contains(&status(&send(port, &long).await)));
        for garbage in ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "\u{16}\u{3}\u{1}", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            let mut stream = connect(port).await;
            stream.write_all(garbage.as_bytes()).await.unwrap();
        }
        assert!(!wait.is_finished());
        assert_eq!(status(&get(port, "/callback?ok").await), "200");
        assert_eq!(wait.await.unwrap().unwrap(), "ok");
    }

    /// t030, t031: two fixed pages, whatever was asked, that load nothing and run nothing.
    #[tokio::test]
    async fn t030_the_pages_are_fixed() {
        let (port, wait) = waiting().await;
        let strange = get(port, "/callback?code=%3Cscript%3Ealert(1)%3C/script%3E&error=CANARY").await;
        assert_eq!(strange.split_once("\r\n\r\n").unwrap().1, Page::Unrelated.html());
        let done = get(port, "/callback?ok").await;
        let (head, body) = done.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, Page::Done.html());
        for header in [
            "content-type: text/html; charset=utf-8",
            "cache-control: no-store",
            "referrer-policy: no-referrer",
            "x-content-type-options: nosniff",
            "content-security-policy: default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ] {
            assert!(head.lines().any(|line| line == header), "{header}");
        }
        assert_eq!(wait.await.unwrap().unwrap(), "ok");
        for page in [Page::Done, Page::Failed, Page::Unrelated] {
            let html = page.html();
            for never in ["{{", "<script", "http:", "https:", "//", "url(", "@import", "src=", "href="] {
                assert!(!html.contains(never), "{never}");
            }
        }
    }

    /// t032, t034: the port is the literal address's, takes one answer, and is free at once.
    #[tokio::test]
    async fn t034_one_answer_and_the_port_is_free() {
        let (port, wait) = waiting().await;
        let response = get(port, "/callback?bad").await;
        assert!(status(&response) == "200" && response.ends_with(&Page::Failed.html()));
        assert_eq!(wait.await.unwrap().unwrap(), "bad");
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err());
        assert_eq!(
            Loopback::bind(Some(port)).await.unwrap().redirect_uri(),
            format!("http://127.0.0.1:{port}/callback")
        );
    }

    /// t033: a port that somebody else has is not shared with them.
    #[tokio::test]
    async fn t033_a_taken_port_is_an_error() {
        let holder = Loopback::bind(None).await.unwrap();
        assert_eq!(Loopback::bind(Some(holder.port)).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    /// t035: giving up frees the port, with connections open.
    #[tokio::test]
    async fn t035_giving_up_frees_the_port() {
        let loopback = Loopback::bind(None).await.unwrap();
        let port = loopback.port;
        let wait = loopback.wait(|_| Callback::<()>::Unrelated);
        let mut idle = None;
        let given_up = tokio::time::timeout(Duration::from_millis(50), async {
            tokio::join!(wait, async { idle = Some(connect(port).await) }).0
        });
        assert!(given_up.await.is_err() && idle.is_some());
        assert!(Loopback::bind(Some(port)).await.is_ok());
        let mut rest = Vec::new();
        let read = idle.unwrap().read_to_end(&mut rest).await;
        assert!(read.is_err() || rest.is_empty());
    }

    /// t028: idle connections do not keep the person out.
    #[tokio::test]
    async fn t028_idle_connections_make_way() {
        let (port, wait) = waiting().await;
        let mut idle = Vec::new();
        for _ in 0..200 {
            let mut stream = connect(port).await;
            stream.write_all(b"GET /call").await.unwrap();
            idle.push(stream);
        }
        let started = Instant::now();
        assert_eq!(status(&get(port, "/callback").await), "400");
        assert!(started.elapsed() < CONNECTION_DEADLINE, "{:?}", started.elapsed());
        // The first ones were cut off, long before their time was up.
        for stream in &mut idle[..200 - CONNECTIONS] {
            let read = tokio::time::timeout(CONNECTION_DEADLINE / 2, stream.read_u8()).await;
            assert!(read.is_ok_and(|read| read.is_err()));
        }
        assert_eq!(status(&get(port, "/callback?ok").await), "200");
        assert_eq!(wait.await.unwrap().unwrap(), "ok");
    }

    /// t028: a head that never ends costs its connection, and no more.
    #[tokio::test]
    async fn t028_a_slow_head_is_cut() {
        let (port, wait) = waiting().await;
        let mut slow = connect(port).await;
        slow.write_all(b"GET /callback?ok HTTP/1.1\r\nHost:").await.unwrap();
        let mut rest = Vec::new();
        let soon = CONNECTION_DEADLINE + Duration::from_secs(3);
        let cut = tokio::time::timeout(soon, slow.read_to_end(&mut rest)).await;
        assert!(cut.is_ok(), "still open");
        assert!(!wait.is_finished());
        wait.abort();
    }
}
