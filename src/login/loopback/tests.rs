//! The browser that delivers the response, and other requests.

use std::time::Instant;

use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
};

use super::*;

/// Waits for `/callback?ok` or `/callback?bad`, then shows the failure page.
async fn waiting() -> (u16, JoinHandle<io::Result<String>>) {
    let loopback = Loopback::bind(None).await.unwrap();
    let port = loopback.redirect_uri().port();
    let judge = |query: &str| ["ok", "bad"].contains(&query).then(|| query.to_owned());
    let wait = async move {
        let (answer, visitor) = loopback.wait(judge).await?;
        visitor.show(Page::failed(&answer)).await;
        Ok(answer)
    };
    (port, tokio::spawn(wait))
}

/// The HTML of a page.
fn html(page: Page) -> String {
    let body = page.response(StatusCode::OK).into_body().collect().now_or_never().unwrap().unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

async fn connect(port: u16) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap()
}

async fn send(port: u16, request: &str) -> String {
    exchange(connect(port).await, request).await
}

async fn exchange(mut stream: TcpStream, request: &str) -> String {
    // The server may close the connection before it has read the whole request.
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

/// t023, t028, t029: the listener refuses every other request and keeps waiting.
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
        let head = format!("{method} /callback?ok HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: https://evil.example");
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

/// d5, t031: only the link itself is redirected, as often as it is opened, and to nothing that the request names. It is
/// no authorization response, and it ends with the listener.
#[tokio::test]
async fn d5_a_link_is_redirected_where_finmcp_says() {
    let (loopback, link) = Loopback::bind(None).await.unwrap().linked();
    let Link { url, mut openings } = link.unwrap();
    let port = loopback.redirect_uri().port();
    let path = url.as_url().path().to_owned();
    assert_eq!(url.as_str(), format!("http://127.0.0.1:{port}{path}"));
    let wait = tokio::spawn(loopback.wait(|query| (query == "ok").then_some(())));
    let pages = tokio::spawn(async move {
        let mut opened = 0;
        while let Some(opening) = openings.recv().await {
            opened += 1;
            if opened == 3 {
                continue;
            }
            opening.send(format!("https://as.example/authorize?n={opened}").parse().unwrap()).unwrap();
        }
        opened
    });
    for target in [
        "/sign-in",
        "/sign-in/",
        "/sign-in/x",
        &path[..path.len() - 1],
        &format!("{path}x"),
        &format!("{path}/"),
        &format!("/{path}"),
        &path.to_uppercase(),
        &format!("/callback?{path}"),
    ] {
        let response = get(port, target).await;
        assert!(["404", "400"].contains(&status(&response)) && !response.contains("location:"), "{target}");
    }
    for method in ["POST", "HEAD", "OPTIONS"] {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n");
        assert_eq!(status(&send(port, &format!("{head}\r\n")).await), "405", "{method}");
    }
    for host in ["evil.example".to_owned(), format!("localhost:{port}"), format!("evil.example:{port}")] {
        let response = send(port, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(status(&response), "403", "{host}");
    }
    for (query, n) in [("", 1), ("?ok", 2), ("?to=https://evil.example", 3), ("?url=//evil.example", 4)] {
        let response = get(port, &format!("{path}{query}")).await;
        let location = response.lines().find_map(|line| line.strip_prefix("location: "));
        let wanted = format!("https://as.example/authorize?n={n}");
        // The third time the server refuses.
        let wanted = if n == 3 { ("503", None) } else { ("303", Some(&wanted[..])) };
        assert_eq!((status(&response), location), wanted, "{query}");
        assert!(response.contains("cache-control: no-store") && response.contains("referrer-policy: no-referrer"));
    }
    assert!(!wait.is_finished(), "the link is no response");
    let done = tokio::spawn(async move { get(port, "/callback?ok").await });
    let ((), visitor) = wait.await.unwrap().unwrap();
    visitor.show(Page::failed("x")).await;
    assert_eq!(status(&done.await.unwrap()), "200");
    assert_eq!(pages.await.unwrap(), 4);
}

/// d5: each link is another secret, and there is none unless it is asked for.
#[tokio::test]
async fn d5_links_are_fresh() {
    let mut seen = std::collections::HashSet::new();
    for _ in 0..50 {
        let (_, link) = Loopback::bind(None).await.unwrap().linked();
        let path = link.unwrap().url.as_url().path().to_owned();
        assert!(path.len() >= "/sign-in/".len() + 43 && seen.insert(path));
    }
}

/// t030: the page is the same for every request, and runs nothing.
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

/// The page shows the outcome. The browser waits for it, but not forever.
#[tokio::test]
async fn the_browser_waits_for_the_outcome() {
    let loopback = Loopback::bind(None).await.unwrap();
    let port = loopback.redirect_uri().port();
    let browser = tokio::spawn(async move { get(port, "/callback").await });
    let ((), visitor) = loopback.wait(|_| Some(())).await.unwrap();
    assert!(!browser.is_finished());
    let page = Page::signed_in("T", "s", None, "a");
    visitor.show(page.clone()).await;
    assert!(browser.await.unwrap().ends_with(&html(page)));
}

/// A browser that reloads or prefetches the page gets the same page, however often. Another response is refused; only
/// the first counts.
#[tokio::test]
async fn b13_the_same_response_gets_the_page_again() {
    let loopback = Loopback::bind(None).await.unwrap();
    let port = loopback.redirect_uri().port();
    let judged = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = judged.clone();
    let first = tokio::spawn(async move { get(port, "/callback?code=a&state=s").await });
    let judge = move |query: &str| {
        counted.fetch_add(1, Relaxed);
        query.contains("state=s").then(|| query.to_owned())
    };
    let (answer, visitor) = loopback.wait(judge).await.unwrap();
    assert_eq!(answer, "code=a&state=s");
    // The user reloads: the browser cancels the first request and sends it again.
    first.abort();
    let again = [(); 3].map(|()| tokio::spawn(async move { get(port, "/callback?code=a&state=s").await }));
    for other in ["code=b&state=s", "code=a&state=t", "code=a&state=s&x=y", "state=s&code=a", "", "code=a"] {
        assert_eq!(status(&get(port, &format!("/callback?{other}")).await), "400", "{other}");
    }
    for host in ["evil.example", "localhost"] {
        let request = format!("GET /callback?code=a&state=s HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
        assert_eq!(status(&send(port, &request).await), "403", "{host}");
    }
    let page = Page::signed_in("T", "s", None, "a");
    visitor.show(page.clone()).await;
    for again in again {
        assert!(again.await.unwrap().ends_with(&html(page.clone())));
    }
    assert_eq!(judged.load(Relaxed), 1, "the response is judged once");
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err(), "open after the sign-in");
}

/// Browsers keep spare connections open: the end of a sign-in does not wait for them.
#[tokio::test]
async fn b13_a_spare_connection_delays_nothing() {
    let loopback = Loopback::bind(None).await.unwrap();
    let port = loopback.redirect_uri().port();
    let mut spare = connect(port).await;
    let browser = tokio::spawn(async move { get(port, "/callback").await });
    let ((), visitor) = loopback.wait(|_| Some(())).await.unwrap();
    let begun = Instant::now();
    visitor.show(Page::failed("T")).await;
    assert!(begun.elapsed() < CONNECTION_DEADLINE, "{:?}", begun.elapsed());
    assert!(browser.await.unwrap().ends_with(&html(Page::failed("T"))));
    assert!(spare.read_u8().await.is_err());
}

/// After a sign-in without a page, and after a cancelled wait, the port is closed.
#[tokio::test]
async fn b13_t035_the_port_is_closed_without_a_page() {
    let loopback = Loopback::bind(None).await.unwrap();
    let port = loopback.redirect_uri().port();
    let browser = tokio::spawn(async move { get(port, "/callback").await });
    let ((), visitor) = loopback.wait(|_| Some(())).await.unwrap();
    drop(visitor);
    assert_eq!(status(&browser.await.unwrap()), "none");
    assert!(Loopback::bind(Some(port)).await.is_ok());
}

/// The browser must send the registered host, and the listener uses exactly the addresses of that host.
#[tokio::test]
async fn b2_t029_only_the_registered_host_is_accepted() {
    for (host, own, other) in [
        (LoopbackHost::V4, "127.0.0.1", "localhost"),
        (LoopbackHost::Localhost, "localhost", "127.0.0.1"),
        (LoopbackHost::V6, "[::1]", "localhost"),
    ] {
        let Ok(loopback) = Loopback::at(&RedirectUri::new(host, 0, "/a/b")).await else {
            assert_eq!(host, LoopbackHost::V6, "only ::1 may be missing");
            continue;
        };
        let (port, has_second) = (loopback.redirect_uri().port(), loopback.second.is_some());
        assert_eq!(loopback.redirect_uri().as_str(), format!("http://{own}:{port}/a/b"));
        let wait = tokio::spawn(loopback.wait(|query| (query == "ok").then_some(())));
        let addresses: &[IpAddr] = match (host, has_second) {
            (LoopbackHost::V6, _) => &[IpAddr::V6(Ipv6Addr::LOCALHOST)],
            (LoopbackHost::Localhost, true) => &[IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
            _ => &[IpAddr::V4(Ipv4Addr::LOCALHOST)],
        };
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let stream = TcpStream::connect((address, port)).await;
            assert_eq!(stream.is_ok(), addresses.contains(&address), "{own}: {address}");
        }
        let ask = async |host: &str, target: &str| {
            let stream = TcpStream::connect((*addresses.last().unwrap(), port)).await.unwrap();
            exchange(stream, &format!("GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n")).await
        };
        assert_eq!(status(&ask(other, "/a/b?ok").await), "403");
        assert_eq!(status(&ask(own, "/callback?ok").await), "404");
        assert_eq!(status(&ask(own, "/a/b/?ok").await), "404");
        assert!(!wait.is_finished());
        let browser = tokio::spawn({
            let address = *addresses.last().unwrap();
            async move {
                let stream = TcpStream::connect((address, port)).await.unwrap();
                exchange(stream, &format!("GET /a/b?ok HTTP/1.1\r\nHost: {own}:{port}\r\n\r\n")).await
            }
        });
        wait.await.unwrap().unwrap().1.show(Page::failed("T")).await;
        assert_eq!(status(&browser.await.unwrap()), "200");
    }
}

/// t033: it is an error if another program uses the port on either address of `localhost`, since it could receive the
/// code. Without a chosen port, finmcp finds one that is free on both.
#[tokio::test]
async fn b2_t033_a_port_in_use_on_either_address_is_an_error() {
    let any = RedirectUri::new(LoopbackHost::Localhost, 0, PATH);
    let Ok(squatter) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await else {
        assert!(Loopback::at(&any).await.unwrap().second.is_none(), "127.0.0.1 is enough without ::1");
        return;
    };
    let port = squatter.local_addr().unwrap().port();
    let uri = RedirectUri::new(LoopbackHost::Localhost, port, PATH);
    let error = Loopback::at(&uri).await.unwrap_err();
    assert_eq!((error.source.kind(), error.address), (io::ErrorKind::AddrInUse, (Ipv6Addr::LOCALHOST, port).into()));
    let here = || async { Loopback::bind(Some(port)).await.unwrap() };
    assert!(here().await.as_localhost(Some(port)).await.is_err(), "the chosen port");
    let elsewhere = here().await.as_localhost(None).await.unwrap();
    assert_ne!(elsewhere.redirect_uri().port(), port);
    drop(squatter);
    let both = here().await.as_localhost(Some(port)).await.unwrap();
    assert_eq!(both.redirect_uri().as_str(), format!("http://localhost:{port}/callback"));
}

#[tokio::test(start_paused = true)]
async fn the_browser_does_not_wait_for_a_late_outcome() {
    let loopback = Loopback::bind(None).await.unwrap();
    let port = loopback.redirect_uri().port();
    let browser = tokio::spawn(async move { get(port, "/callback").await });
    let (_, visitor) = loopback.wait(|_| Some(())).await.unwrap();
    let begun = tokio::time::Instant::now();
    assert!(browser.await.unwrap().ends_with(&html(Page::undecided())));
    assert!(begun.elapsed() < Duration::from_secs(11), "{:?}", begun.elapsed());
    visitor.show(Page::failed("T")).await;
}

/// t032, t034: the listener uses the literal address, accepts one response, and then frees the port at once.
#[tokio::test]
async fn t034_the_port_is_free_after_one_response() {
    let (port, wait) = waiting().await;
    let response = get(port, "/callback?bad").await;
    assert!(status(&response) == "200" && response.ends_with(&html(Page::failed("bad"))));
    assert_eq!(wait.await.unwrap().unwrap(), "bad");
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err());
    assert_eq!(
        Loopback::bind(Some(port)).await.unwrap().redirect_uri().as_str(),
        format!("http://127.0.0.1:{port}/callback")
    );
}

/// t033: finmcp does not share a port with another program.
#[tokio::test]
async fn t033_a_port_in_use_is_an_error() {
    let holder = Loopback::bind(None).await.unwrap();
    assert_eq!(
        Loopback::bind(Some(holder.redirect_uri().port())).await.unwrap_err().source.kind(),
        io::ErrorKind::AddrInUse
    );
}

/// t035: cancelling the wait frees the port, even with open connections.
#[tokio::test]
async fn t035_cancelling_frees_the_port() {
    let loopback = Loopback::bind(None).await.unwrap();
    let port = loopback.redirect_uri().port();
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

/// t028: idle connections do not block the user's browser.
#[tokio::test]
async fn t028_idle_connections_are_dropped() {
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
    // The first connections were dropped long before their timeout.
    for stream in &mut idle[..200 - CONNECTIONS] {
        let read = tokio::time::timeout(CONNECTION_DEADLINE / 2, stream.read_u8()).await;
        assert!(read.is_ok_and(|read| read.is_err()));
    }
    assert_eq!(status(&get(port, "/callback?ok").await), "200");
    assert_eq!(wait.await.unwrap().unwrap(), "ok");
}

/// t028: an endless request head only closes its connection.
#[tokio::test]
async fn t028_a_slow_request_head_times_out() {
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
