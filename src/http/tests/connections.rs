//! Connections that end, and requests that are sent once more.

use super::*;

/// t130: a connection from before this machine slept is not reused; a recent one is.
#[tokio::test]
async fn t130_connections_do_not_outlast_a_sleep() {
    let server = Server::start(|mut stream, _| async move {
        while read_head(&mut stream).await.ends_with("\r\n\r\n") {
            stream.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
        }
    })
    .await;
    let http = Http::default();
    let get = async || http.exchange(&server.url("/"), http::Request::new(Vec::new())).await.unwrap();
    for _ in 0..3 {
        get().await;
    }
    assert_eq!(server.connections(), 1);
    let hour = Duration::from_secs(3600);
    http.clients.lock().unwrap().used.iter_mut().for_each(|clocks| clocks.wall -= hour);
    for _ in 0..3 {
        get().await;
    }
    assert_eq!(server.connections(), 2);
}

/// t130: a request that waits on an HTTP/2 connection finds out that the server has vanished, and the connection is
/// dropped: later requests would share it.
#[tokio::test]
async fn t130_a_dead_http2_connection_is_detected() {
    let (trusted, ours) = authority("ours");
    let acceptor = acceptor(CertificateParams::new(vec!["localhost".to_owned()]).unwrap(), Some(&ours), &["h2"]);
    let server = Server::start(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            let mut connection = h2::server::handshake(acceptor.accept(stream).await.unwrap()).await.unwrap();
            let _request = connection.accept().await;
            tokio::time::pause();
            std::future::pending().await
        }
    })
    .await;
    let http = Http::trusting(vec![trusted]);
    let url: ServerUrl = format!("https://localhost:{}/", server.address.port()).parse().unwrap();
    for connections in 1..=2 {
        let lost = http.exchange(&url, http::Request::new(Vec::new())).await.unwrap_err();
        assert!(matches!(lost, HttpError::Broken { .. }), "{lost:?}");
        assert_eq!(server.connections(), connections);
        tokio::time::resume();
    }
}

/// t131: the error of the resolver or the system says why the connection failed.
#[tokio::test]
async fn t131_an_unreachable_server_is_reported_with_the_reason() {
    let lookup: Lookup = |_| async { Err(std::io::Error::other("no \u{1b}such name")) }.boxed();
    let http = Http { lookup, ..Http::default() };
    let url: ServerUrl = "https://nowhere.example/".parse().unwrap();
    let failed = http.exchange(&url, http::Request::new(Vec::new())).await.unwrap_err();
    assert!(failed.is_unsent() && !failed.is_refusal());
    assert_eq!(failed.to_string(), "could not connect to nowhere.example");
    assert_eq!(failed.why_unreachable().as_deref(), Some("no such name"));

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let failed = get(&format!("http://{closed}/").parse().unwrap()).await.unwrap_err();
    assert!(failed.why_unreachable().unwrap().contains("refused"), "{failed:?}");
}

/// d3: if the server closes the connection under a request for public metadata, the request is repeated over a new one.
/// A form with a secret always uses a new connection and is sent once.
#[tokio::test]
async fn d3_metadata_requests_are_repeated_and_forms_are_not() {
    // Answers the first request on a connection and closes it under the second.
    let fickle = Server::start(|mut stream, _| async move {
        if read_head(&mut stream).await.contains("\r\n\r\n") {
            let _ = stream.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 2\r\n\r\n{}").await;
            read_head(&mut stream).await;
        }
    })
    .await;
    let http = Http::default();
    for _ in 0..3 {
        for path in ["/.well-known/a", "/.well-known/b"] {
            assert_eq!(http.fetch(&fickle.url(path), HeaderMap::new()).await.unwrap().status, 200);
        }
        let mut form = http::Request::new(b"refresh_token=CANARY".to_vec());
        *form.method_mut() = Method::POST;
        assert_eq!(http.submit(&fickle.url("/token"), form, None).await.unwrap().status, 200);
    }

    // A server that never answers gets a GET twice and a form once.
    let silent = Server::start(|mut stream, _| async move { drop(read_head(&mut stream).await) }).await;
    assert!(matches!(http.fetch(&silent.url("/"), HeaderMap::new()).await, Err(HttpError::Broken { .. })));
    assert_eq!(silent.connections(), 2);
    for connections in 3..6 {
        let mut form = http::Request::new(b"refresh_token=CANARY".to_vec());
        *form.method_mut() = Method::POST;
        let lost = http.submit(&silent.url("/token"), form, None).await.unwrap_err();
        assert!(matches!(lost, HttpError::Broken { .. }) && !lost.is_unsent(), "{lost:?}");
        assert_eq!(silent.connections(), connections);
    }
}

/// d3: no connection is reused after an error status, because the server may not have read the body.
#[tokio::test]
async fn d3_no_connection_is_reused_after_an_error_status() {
    for status in ["401", "400", "403", "307", "503", "429"] {
        let early = Server::start(move |mut stream, _| async move {
            // Reads only the head; the body may still be in flight.
            while read_head(&mut stream).await.contains("POST /early ") {
                let head = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
            }
        })
        .await;
        let http = Http::default();
        for connections in 1..4 {
            let answer = post(&http, &early.url("/early")).await.unwrap();
            assert_eq!((answer.status().as_str(), early.connections()), (status, connections));
        }
    }
    // After a success the connection is reused.
    let server = Server::start(|mut stream, _| async move {
        while read_head(&mut stream).await.contains("\r\n\r\n") {
            stream.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
        }
    })
    .await;
    let http = Http::default();
    for _ in 0..3 {
        let mut answer = post(&http, &server.url("/")).await.unwrap();
        while answer.chunk().await.unwrap().is_some() {}
    }
    assert_eq!(server.connections(), 1);
}

/// a10: a request on a lost HTTP/2 stream may be sent again only if the server says that it did not process it (RFC
/// 9113 sections 6.8 and 8.7).
#[tokio::test]
async fn a10_only_a_stream_that_was_not_processed_is_unsent() {
    const REFUSED_STREAM: u32 = 7;
    let reset = |code: u32| [&[0, 0, 4, 3, 0, 0, 0, 0, 1][..], &code.to_be_bytes()].concat();
    let go_away =
        |last: u32, code: u32| [&[0, 0, 8, 7, 0, 0, 0, 0, 0][..], &last.to_be_bytes(), &code.to_be_bytes()].concat();
    let (trusted, ours) = authority("ours");
    for (what, frame, is_unsent) in [
        ("REFUSED_STREAM", reset(REFUSED_STREAM), true),
        ("NO_ERROR", reset(0), false),
        ("INTERNAL_ERROR", reset(2), false),
        ("CANCEL", reset(8), false),
        ("ENHANCE_YOUR_CALM", reset(11), false),
        ("GOAWAY before the stream", go_away(0, 0), true),
        ("GOAWAY after the stream", go_away(1, 0), false),
        ("GOAWAY, for an error", go_away(0, 2), false),
        ("GOAWAY, for an error after the stream", go_away(1, 2), false),
    ] {
        let acceptor = acceptor(CertificateParams::new(vec!["localhost".to_owned()]).unwrap(), Some(&ours), &["h2"]);
        let server = Server::start(move |stream, _| {
            let (acceptor, frame) = (acceptor.clone(), frame.clone());
            async move {
                let mut stream = acceptor.accept(stream).await.unwrap();
                stream.read_exact(&mut [0; 24]).await.unwrap();
                stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap(); // SETTINGS
                loop {
                    let mut head = [0; 9];
                    stream.read_exact(&mut head).await.unwrap();
                    let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
                    stream.read_exact(&mut payload).await.unwrap();
                    // HEADERS
                    if head[3] == 1 {
                        break;
                    }
                }
                stream.write_all(&frame).await.unwrap();
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await;
        let http = Http::trusting(vec![trusted.clone()]);
        let url: ServerUrl = format!("https://localhost:{}/", server.address.port()).parse().unwrap();
        let lost = post(&http, &url).await.unwrap_err();
        assert_eq!(lost.is_unsent(), is_unsent, "{what}: {lost:?}");
        assert!(!lost.is_refusal() && !lost.is_unconnected(), "{what}: {lost:?}");
        assert_eq!(server.connections(), 1, "{what}");
    }
}

/// a7: an MCP server's cookies go back to that server only: not to another port, and not with a metadata or token
/// request at the same origin.
#[tokio::test]
async fn a7_cookies_go_to_the_mcp_server_only() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let start = async || {
        let heads = heads.clone();
        Server::start(move |mut stream, _| {
            let heads = heads.clone();
            async move {
                let head = read_head(&mut stream).await;
                heads.lock().unwrap().push(head);
                let _ = stream.write_all(&response("200", "set-cookie: node=STICKY; Path=/\r\n", b"{}")).await;
            }
        })
        .await
    };
    let (server, other) = (start().await, start().await);
    let http = Http::default();
    let has_cookie = || heads.lock().unwrap().pop().unwrap().to_ascii_lowercase().contains("cookie: node=sticky");
    post(&http, &server.url("/mcp")).await.unwrap();
    assert!(!has_cookie());
    post(&http, &server.url("/mcp")).await.unwrap();
    assert!(has_cookie());
    http.fetch(&server.url("/.well-known/oauth-protected-resource"), HeaderMap::new()).await.unwrap();
    assert!(!has_cookie());
    http.submit(&server.url("/token"), http::Request::new(Vec::new()), None).await.unwrap();
    assert!(!has_cookie());
    post(&http, &other.url("/mcp")).await.unwrap();
    assert!(!has_cookie());
    // Another process has no cookies: they are not stored on disk.
    post(&Http::default(), &server.url("/mcp")).await.unwrap();
    assert!(!has_cookie());
}
