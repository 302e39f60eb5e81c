//! The redirect URI of a native app: a listener on this machine that waits for one answer (RFC 8252 section 7.3).

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::{self, AbortHandle, JoinSet},
};

use crate::login::page::Page;

/// The path of the redirect URI.
const PATH: &str = "/callback";

/// The most of a request's head that is read, in bytes.
const HEAD_LIMIT: usize = 8 << 10;

/// How long a connection may take to send its head, and then to take its answer.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(5);

/// How long a browser that has brought the answer is kept waiting for what became of it.
const SUSPENSE: Duration = Duration::from_secs(10);

/// The most connections at once. One more drops the oldest, so that idle ones cannot keep the person's browser out.
const CONNECTIONS: usize = 16;

/// A bound port of 127.0.0.1. Dropping it frees the port and cuts every connection.
#[derive(Debug)]
pub struct Loopback {
    listener: TcpListener,
    port: u16,
}

/// Whoever brought the answer: a browser that waits for its page. Dropping it sends the browser away without one.
#[derive(Debug)]
pub struct Visitor {
    page: oneshot::Sender<Page>,
    connections: JoinSet<()>,
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

    /// Serves until `judge` finds an answer in a request's query, and gives that with whoever brought it, who is to be
    /// shown a page. The port is free then.
    ///
    /// # Errors
    /// Whatever the listener says.
    pub async fn wait<T: Send + 'static>(
        self,
        judge: impl Fn(&str) -> Option<T> + Send + Sync + 'static,
    ) -> io::Result<(T, Visitor)> {
        // The first answer counts (RFC 6749 section 4.1.2: a code is used once).
        let (answers, mut answered) = mpsc::channel(1);
        let redirect = Arc::new(Redirect { authority: self.authority(), judge, answers });
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
                        Ok((stream, _)) => handles.push_back(connections.spawn(Arc::clone(&redirect).serve(stream))),
                        // A connection that was gone before it was taken is no reason to stop; a broken listener is.
                        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                        Err(error) => return Err(error),
                    }
                }
                Some(Answered { answer, connection, page }) = answered.recv() => {
                    for others in handles.iter().filter(|handle| handle.id() != connection) {
                        others.abort();
                    }
                    return Ok((answer, Visitor { page, connections }));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }

    fn authority(&self) -> String {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)).to_string()
    }
}

impl Visitor {
    /// Shows the page, and returns when it is with the system or its time is up.
    pub async fn show(self, page: Page) {
        let Self { page: waiting, mut connections } = self;
        // A browser that waits no longer has left, or has read that nobody knows yet.
        let _ = waiting.send(page);
        let gone = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(CONNECTION_DEADLINE, gone).await;
    }
}

/// What every connection shares.
struct Redirect<T, J> {
    authority: String,
    judge: J,
    answers: mpsc::Sender<Answered<T>>,
}

/// An answer, the connection that it came by, and the way to tell its browser what became of it.
struct Answered<T> {
    answer: T,
    connection: task::Id,
    page: oneshot::Sender<Page>,
}

impl<T: Send + 'static, J: Fn(&str) -> Option<T> + Send + Sync + 'static> Redirect<T, J> {
    /// Serves one request and closes. It ends when the page is with the system, or its time is up.
    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(CONNECTION_DEADLINE)
            .max_buf_size(HEAD_LIMIT)
            .keep_alive(false)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(|request| async { Ok::<_, Infallible>(self.respond(request).await) }),
            );
        // Whatever ends a connection, the wait goes on.
        let _ = tokio::time::timeout(2 * CONNECTION_DEADLINE + SUSPENSE, connection).await;
    }

    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let own_host = hosts.next().is_some_and(|host| host == &self.authority) && hosts.next().is_none();
        // A page elsewhere whose name was made to resolve to this machine asks under its own name.
        if !own_host || request.uri().authority().is_some() {
            return Page::unrelated().response(StatusCode::FORBIDDEN);
        }
        if request.uri().path() != PATH {
            return Page::unrelated().response(StatusCode::NOT_FOUND);
        }
        if request.method() != Method::GET {
            let mut response = Page::unrelated().response(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
            return response;
        }
        let (page, shown) = oneshot::channel();
        let answer = (self.judge)(request.uri().query().unwrap_or_default());
        let answer = answer.map(|answer| Answered { answer, connection: task::id(), page });
        match answer.map(|answer| self.answers.try_send(answer)) {
            Some(Ok(())) => {}
            None | Some(Err(_)) => return Page::unrelated().response(StatusCode::BAD_REQUEST),
        }
        let page = tokio::time::timeout(SUSPENSE, shown).await.ok().and_then(Result::ok);
        page.unwrap_or_else(Page::undecided).response(StatusCode::OK)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use futures_util::FutureExt;
    use http_body_util::BodyExt;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        task::JoinHandle,
    };

    use super::*;

    /// A wait for `/callback?ok` or `/callback?bad`, after which the page says that it failed.
    async fn waiting() -> (u16, JoinHandle<io::Result<String>>) {
        let loopback = Loopback::bind(None).await.unwrap();
        let port = loopback.port;
        let judge = |query: &str| ["ok", "bad"].contains(&query).then(|| query.to_owned());
        let wait = async move {
            let (answer, visitor) = loopback.wait(judge).await?;
            visitor.show(Page::failed(&answer)).await;
            Ok(answer)
        };
        (port, tokio::spawn(wait))
    }

    /// What a page looks like on its way.
    fn html(page: Page) -> String {
        let body = page.response(StatusCode::OK).into_body().collect().now_or_never().unwrap().unwrap();
        String::from_utf8(body.to_bytes().to_vec()).unwrap()
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

    /// t030: whatever was asked, what comes back is the same, and runs nothing.
    #[tokio::test]
    async fn t030_nothing_is_echoed() {
        let (port, wait) = waiting().await;
        let strange = get(port, "/callback?code=%3Cscript%3Ealert(1)%3C/script%3E&error=CANARY").await;
        assert_eq!(strange.split_once("\r\n\r\n").unwrap().1, html(Page::unrelated()));
        let done = get(port, "/callback?ok").await;
        let (head, body) = done.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, html(Page::failed("ok")));
        for header in [
            "content-type: text/html; charset=utf-8",
            "cache-control: no-store",
            "referrer-policy: no-referrer",
            "x-content-type-options: nosniff",
        ] {
            assert!(head.lines().any(|line| line == header), "{header}");
        }
        assert!(head.contains("\r\ncontent-security-policy: default-src 'none'; style-src 'sha256-"), "{head}");
        assert_eq!(wait.await.unwrap().unwrap(), "ok");
    }

    /// The page is what became of the answer. Until that is known the browser waits, while the port is free already; and
    /// it does not wait for ever.
    #[tokio::test]
    async fn the_browser_waits_for_the_outcome() {
        let loopback = Loopback::bind(None).await.unwrap();
        let port = loopback.port;
        let browser = tokio::spawn(async move { get(port, "/callback").await });
        let ((), visitor) = loopback.wait(|_| Some(())).await.unwrap();
        assert!(Loopback::bind(Some(port)).await.is_ok());
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!browser.is_finished());
        let page = Page::signed_in("T", "s", "a");
        visitor.show(page.clone()).await;
        assert!(browser.await.unwrap().ends_with(&html(page)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outcome_that_takes_long_is_not_waited_for() {
        let loopback = Loopback::bind(None).await.unwrap();
        let port = loopback.port;
        let browser = tokio::spawn(async move { get(port, "/callback").await });
        let (_, visitor) = loopback.wait(|_| Some(())).await.unwrap();
        let begun = tokio::time::Instant::now();
        assert!(browser.await.unwrap().ends_with(&html(Page::undecided())));
        assert!(begun.elapsed() < Duration::from_secs(11), "{:?}", begun.elapsed());
        visitor.show(Page::failed("T")).await;
    }

    /// t032, t034: the port is the literal address's, takes one answer, and is free at once.
    #[tokio::test]
    async fn t034_one_answer_and_the_port_is_free() {
        let (port, wait) = waiting().await;
        let response = get(port, "/callback?bad").await;
        assert!(status(&response) == "200" && response.ends_with(&html(Page::failed("bad"))));
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
        let wait = loopback.wait(|_| None::<()>);
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
