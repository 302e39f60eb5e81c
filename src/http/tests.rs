//! The limits of the network, against real sockets.

use std::{
    io::Write,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use futures_util::FutureExt;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::server_url::reach::Zone;

/// A server on loopback that counts its connections.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _task: JoinHandle<()>,
}

impl Server {
    async fn start<F: Future<Output = ()> + Send + 'static>(
        serve: impl Fn(TcpStream, SocketAddr) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = connections.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, address));
            }
        });
        Self { address, connections, _task: task }
    }

    /// One that answers each request by its path.
    async fn answering(answer: impl Fn(&str, SocketAddr) -> Vec<u8> + Clone + Send + 'static) -> Self {
        Self::start(move |mut stream, address| {
            let answer = answer.clone();
            async move {
                let head = read_head(&mut stream).await;
                let path = head.split(' ').nth(1).unwrap_or_default();
                let response = answer(path, address);
                let _ = stream.write_all(&response).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }

    fn url(&self, path: &str) -> ServerUrl {
        format!("http://{}{path}", self.address).parse().unwrap()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} x\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

async fn get(url: &ServerUrl) -> Result<Reply, HttpError> {
    Http::default().exchange(url, http::Request::new(Vec::new())).await
}

/// t015, t059, t126: a document over the limit is refused, with or without a `Content-Length`.
#[tokio::test]
async fn t015_large_documents_are_refused() {
    let server = Server::answering(|path, _| match path {
        "/fits" => response("200", "", &vec![b' '; DOCUMENT_LIMIT]),
        "/announced" => response("200", "", &vec![b' '; DOCUMENT_LIMIT + 1]),
        "/error" => response("500", "", &vec![b' '; DOCUMENT_LIMIT + 1]),
        _ => [b"HTTP/1.1 200 x\r\nconnection: close\r\n\r\n", vec![b' '; DOCUMENT_LIMIT + 1].as_slice()].concat(),
    })
    .await;
    assert_eq!(get(&server.url("/fits")).await.unwrap().body.len(), DOCUMENT_LIMIT);
    for path in ["/announced", "/error", "/unannounced"] {
        let refused = get(&server.url(path)).await.unwrap_err();
        assert!(matches!(refused, HttpError::TooLarge { .. }) && refused.is_refusal(), "{path}: {refused}");
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A `{}` in Brotli (RFC 7932), as the reference encoder writes it.
const BROTLI: &[u8] = b"\x8b\0\x80{}\x03";

/// Twice [`DOCUMENT_LIMIT`] spaces in Brotli.
const BROTLI_BOMB: &[u8] = b"\x9b\xff\xff\x1f\xf8\x25\x40\xe2\xb1\x40\x20\xf7\xfe\x03";

/// Every request sends `Accept-Encoding`, and a response in one of those codings is decoded; a response without one is
/// unchanged.
#[tokio::test]
async fn a6_accepted_codings_are_sent_and_decoded() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heads = asked.clone();
    let server = Server::start(move |mut stream, _| {
        let heads = heads.clone();
        async move {
            let head = read_head(&mut stream).await.to_ascii_lowercase();
            let (headers, body) = match head.split(' ').nth(1).unwrap_or_default() {
                "/gzip" => ("content-encoding: gzip\r\n", gzip(b"{}")),
                "/deflate" => ("content-encoding: deflate\r\n", deflate(b"{}")),
                "/br" => ("content-encoding: br\r\n", BROTLI.to_vec()),
                "/upper" => ("Content-Encoding: GZIP\r\n", gzip(b"{}")),
                "/mixed" => ("content-encoding:  Deflate \r\n", deflate(b"{}")),
                "/brotli" => ("content-encoding: BR\r\n", BROTLI.to_vec()),
                "/x-gzip" => ("content-encoding: x-gzip\r\n", gzip(b"{}")),
                "/x-upper" => ("content-encoding: X-GZip\r\n", gzip(b"{}")),
                "/members" => ("content-encoding: gzip\r\n", [gzip(b"{"), gzip(b""), gzip(b"}")].concat()),
                "/identity" => ("content-encoding: identity\r\n", b"{}".to_vec()),
                _ => ("", b"{}".to_vec()),
            };
            heads.lock().unwrap().push(head);
            stream.write_all(&response("200", headers, &body)).await.unwrap();
        }
    })
    .await;
    let http = Http::default();
    let paths = ["/gzip", "/deflate", "/br", "/identity", "/plain"];
    let deviating = ["/upper", "/mixed", "/brotli", "/x-gzip", "/x-upper", "/members"];
    for path in paths.into_iter().chain(deviating) {
        let url = server.url(path);
        assert_eq!(&http.fetch(&url, HeaderMap::new()).await.unwrap().body[..], b"{}", "{path}");
        assert_eq!(&http.submit(&url, http::Request::new(Vec::new())).await.unwrap().body[..], b"{}", "{path}");
        let answer = post(&http, &url).await.unwrap();
        assert!(!answer.headers().contains_key("content-length") || path == "/identity" || path == "/plain", "{path}");
        assert_eq!(&answer.bytes().await.unwrap()[..], b"{}", "{path}");
    }
    for head in asked.lock().unwrap().iter() {
        let accepted = head.lines().find_map(|line| line.strip_prefix("accept-encoding: ")).unwrap_or_default();
        let mut accepted: Vec<&str> = accepted.split(',').map(str::trim).collect();
        accepted.sort_unstable();
        assert_eq!(accepted, ["br", "deflate", "gzip"], "{head}");
    }
}

/// t015, t059: a small response that decodes to a large one is refused at the limit; an unrequested coding and damaged
/// data are refused with a reason.
#[tokio::test]
async fn t015_a6_decompression_bombs_are_refused() {
    let bomb = vec![b' '; 64 << 20];
    let (by_gzip, by_deflate) = (gzip(&bomb), deflate(&bomb));
    assert!(by_gzip.len() < 1 << 17);
    let twice = gzip(&by_gzip);
    let server = Server::answering(move |path, _| {
        let coded = |coding: &str, body: &[u8]| response("200", &format!("content-encoding: {coding}\r\n"), body);
        match path {
            "/gzip" => coded("gzip", &by_gzip),
            "/deflate" => coded("deflate", &by_deflate),
            "/fits" => coded("gzip", &gzip(&vec![b' '; DOCUMENT_LIMIT])),
            "/beyond" => coded("gzip", &gzip(&vec![b' '; DOCUMENT_LIMIT + 1])),
            "/twice" => coded("gzip, gzip", &twice),
            "/upper" => coded("GZIP", &by_gzip),
            "/x-gzip" => coded("x-gzip", &by_gzip),
            "/members" => coded("gzip", &gzip(&vec![b' '; DOCUMENT_LIMIT / 4]).repeat(5)),
            "/fitting" => coded("gzip", &gzip(&vec![b' '; DOCUMENT_LIMIT / 4]).repeat(4)),
            "/br" => coded("br", BROTLI_BOMB),
            "/two" => response("200", "content-encoding: identity\r\ncontent-encoding: gzip\r\n", &gzip(b"{}")),
            "/cut" => coded("gzip", &by_gzip[..100]),
            "/behind" => coded("gzip", &[gzip(b"{}"), b"{}".to_vec()].concat()),
            "/half" => coded("gzip", &[&gzip(b"{}")[..], &gzip(b"{}")[..15]].concat()),
            "/plain" => coded("gzip", b"{}{}{}{}{}{}{}{}"),
            coding => coded(&coding[1..], b"\x1f\x8b\x08\0\0\0\0\0\0\x03"),
        }
    })
    .await;
    for path in ["/fits", "/fitting"] {
        assert_eq!(get(&server.url(path)).await.unwrap().body.len(), DOCUMENT_LIMIT);
    }
    for path in ["/gzip", "/deflate", "/beyond", "/upper", "/x-gzip", "/members", "/br"] {
        let refused = get(&server.url(path)).await.unwrap_err();
        assert!(matches!(refused, HttpError::TooLarge { .. }), "{path}: {refused}");
    }
    for (path, problem) in [
        ("/twice", "Content-Encoding: gzip, gzip"),
        ("/zstd", "Content-Encoding: zstd"),
        ("/compress", "Content-Encoding: compress"),
        ("/two", "Content-Encoding: gzip"),
        ("/cut", "damaged"),
        ("/behind", "damaged"),
        ("/half", "damaged"),
        ("/plain", "damaged"),
    ] {
        let refused = get(&server.url(path)).await.unwrap_err();
        assert!(matches!(refused, HttpError::Undecodable { .. }) && refused.is_refusal(), "{path}: {refused:?}");
        assert!(!refused.is_unsent() && refused.to_string().contains(problem), "{path}: {refused}");
    }
}

/// t015, t059: the time limit covers the complete response, even if bytes keep arriving, and headers cannot be endless.
#[tokio::test]
async fn t015_slow_and_endless_responses_end() {
    let dripping = Server::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 100000\r\n\r\n").await.unwrap();
        tokio::time::pause();
        while stream.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
    let began = tokio::time::Instant::now();
    let refused = get(&dripping.url("/")).await.unwrap_err();
    assert!(matches!(refused, HttpError::TimedOut { .. }), "{refused}");
    assert!(began.elapsed() < Duration::from_secs(35));
    tokio::time::resume();

    let endless = Server::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 x\r\n").await;
        while stream.write_all(b"x-more: of the same\r\n").await.is_ok() {}
    })
    .await;
    assert!(matches!(get(&endless.url("/")).await, Err(HttpError::Broken { .. })));
    let cut = Server::answering(|_, _| b"HTTP/1.1 200 x\r\ncontent-length: 9\r\n\r\n{".to_vec()).await;
    assert!(matches!(get(&cut.url("/")).await, Err(HttpError::Broken { .. })));
}

/// t007: metadata may be redirected within its origin, three times.
#[tokio::test]
async fn t007_metadata_is_redirected_within_its_origin_only() {
    let elsewhere = Server::answering(|_, _| response("200", "", b"{}")).await;
    let other = elsewhere.address.to_string();
    let server = Server::answering(move |path, address| {
        let location = match path {
            "/3" => "/2".to_owned(),
            "/2" => format!("http://{address}/1"),
            "/1" => format!("//{address}/0"),
            "/0" => return response("200", "", b"{}"),
            "/4" => "/3".to_owned(),
            "/round" => "/round".to_owned(),
            "/port" => format!("http://{other}/"),
            "/name" => format!("http://localhost:{}/0", address.port()),
            "/slashes" => format!("//{other}/0"),
            "/scheme" => format!("https://{address}/0"),
            "/person" => format!("http://u:p@{address}/0"),
            "/file" => "file:///etc/passwd".to_owned(),
            _ => "http://169.254.169.254/".to_owned(),
        };
        response("307", &format!("location: {location}\r\n"), b"")
    })
    .await;
    let fetch = async |path: &str| Http::default().fetch(&server.url(path), HeaderMap::new()).await;
    assert_eq!(fetch("/3").await.unwrap().status, 200);
    for path in ["/4", "/round", "/port", "/name", "/slashes", "/scheme", "/person", "/file", "/cloud"] {
        let refused = fetch(path).await.unwrap_err();
        assert!(matches!(refused, HttpError::Redirected { .. }) && refused.is_refusal(), "{path}: {refused}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

/// t007, t048: a request with a credential follows no redirect, even within its origin.
#[tokio::test]
async fn t048_a_post_is_not_redirected() {
    for status in ["301", "302", "303", "307", "308"] {
        let server = Server::answering(move |_, _| response(status, "location: /again\r\n", b"")).await;
        let mut request = http::Request::new(b"client_secret=CANARY".to_vec());
        *request.method_mut() = http::Method::POST;
        let refused = Http::default().submit(&server.url("/token"), request).await.unwrap_err();
        assert!(
            matches!(&refused, HttpError::Redirected { status: found, .. } if found.as_str() == status),
            "{refused}"
        );
        assert!(refused.is_refusal() && refused.to_string().contains("redirects elsewhere"));
        assert_eq!(server.connections(), 1);
    }
}

/// Sends a request as the bridge does.
async fn post(http: &Http, url: &ServerUrl) -> Result<reqwest::Response, HttpError> {
    let headers = |_: &ServerUrl| {
        Ok::<_, HttpError>(HeaderMap::from_iter([(
            header::AUTHORIZATION,
            http::HeaderValue::from_static("Bearer CANARY"),
        )]))
    };
    http.send(url, &Method::POST, &Bytes::from_static(b"{}"), &headers).await
}

/// t047, a8: a request from the bridge follows one redirect that adds or removes a trailing slash; any other redirect
/// is returned.
#[tokio::test]
async fn t047_a8_a_request_stays_at_its_address_and_as_it_is() {
    let elsewhere = Server::answering(|_, _| response("200", "", b"{}")).await;
    let other = elsewhere.address.to_string();
    let server = Server::answering(move |path, address| {
        let location = match path {
            "/301-slash" | "/302-slash" | "/303-slash" | "/307-slash" | "/308-slash" => format!("{path}/"),
            "/308-bare/" => format!("http://{address}/308-bare"),
            "/301-slash/" | "/302-slash/" | "/307-slash/" | "/308-slash/" | "/308-bare" | "/0" => {
                return response("200", "", b"{}");
            }
            "/307-path" | "/308-path" | "/301-path" | "/302-path" => "0".to_owned(),
            "/307-query" => "/307-query/?a=b".to_owned(),
            "/307-round" => "/307-round".to_owned(),
            "/307-between" => "/307-between/".to_owned(),
            "/307-between/" => "/307-between".to_owned(),
            "/308-port" => format!("http://{other}/0"),
            "/307-slashes" => format!("//{other}/0"),
            "/307-name" => format!("http://localhost:{}/0", address.port()),
            "/307-scheme" => format!("https://{address}/0"),
            "/307-person" => format!("http://u:p@{address}/0"),
            "/307-host" => "https://evil.example/0".to_owned(),
            _ => return response("307", "", b""),
        };
        response(&path[1..4], &format!("location: {location}\r\n"), b"")
    })
    .await;
    let http = Http::default();
    let send = async |path: &str| {
        let before = server.connections();
        let answer = post(&http, &server.url(path)).await.unwrap();
        (answer.status().as_u16(), server.connections() - before)
    };
    for path in ["/301-slash", "/302-slash", "/307-slash", "/308-slash", "/308-bare/"] {
        assert_eq!(send(path).await, (200, 2), "{path}");
        // The redirect is remembered.
        assert_eq!(send(path).await, (200, 1), "{path}");
    }
    // Headers are built for each address.
    let places = Mutex::new(Vec::new());
    let headers = |place: &ServerUrl| {
        places.lock().unwrap().push(place.as_url().path().to_owned());
        Ok::<_, HttpError>(HeaderMap::new())
    };
    Http::default().send(&server.url("/308-slash"), &Method::GET, &Bytes::new(), &headers).await.unwrap();
    assert_eq!(*places.lock().unwrap(), ["/308-slash", "/308-slash/"]);
    // A redirect loop is left after the first step and not remembered.
    for _ in 0..2 {
        assert_eq!(send("/307-round").await, (307, 2));
        assert_eq!(send("/307-between").await, (307, 2));
        assert_eq!(http.place(&server.url("/307-between")), server.url("/307-between"));
    }
    for path in [
        "/303-slash",
        "/301-path",
        "/302-path",
        "/307-path",
        "/308-path",
        "/307-query",
        "/308-port",
        "/307-slashes",
        "/307-name",
        "/307-scheme",
        "/307-person",
        "/307-host",
        "/307-nowhere",
    ] {
        assert_eq!(send(path).await, (path[1..4].parse().unwrap(), 1), "{path}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

/// A resolver that resolves every name to this address.
macro_rules! always {
    ($address:literal) => {
        |_| async { Ok(vec![$address.parse().unwrap()]) }.boxed()
    };
}

/// t005, t006, t008, t009: every client checks the addresses that a name resolves to when it connects, with or without
/// extra authorities and with or without a bypassed proxy.
#[tokio::test]
async fn t006_t009_a_name_with_a_forbidden_address_is_blocked() {
    let server = Server::answering(|_, _| response("200", "", b"{}")).await;
    let (authority, _) = authority("ours");
    let past_a_proxy = || Matcher::builder().https("http://127.0.0.1:9").no("as.example").build();
    let clients: [&dyn Fn() -> Http; 3] = [&Http::default, &|| Http::trusting(vec![authority.clone()]), &|| Http {
        proxies: OnceLock::from(past_a_proxy()),
        ..Http::default()
    }];
    let office = Reach::PUBLIC.and(Zone::Private);
    let cases: [(Lookup, Reach, Zone); 5] = [
        (always!("127.0.0.1"), Reach::PUBLIC, Zone::Loopback),
        (always!("::ffff:127.0.0.1"), office, Zone::Loopback),
        (always!("10.0.0.9"), Reach::PUBLIC, Zone::Private),
        (always!("169.254.169.254"), office, Zone::Special),
        (always!("169.254.169.254"), Reach::ANYWHERE, Zone::Special),
    ];
    for client in clients {
        for (lookup, reach, zone) in cases {
            let url =
                format!("https://as.example:{}/", server.address.port()).parse::<ServerUrl>().unwrap().within(reach);
            let http = Http { lookup, ..client() };
            for refused in [
                http.exchange(&url, http::Request::new(Vec::new())).await.unwrap_err(),
                post(&http, &url).await.unwrap_err(),
            ] {
                assert!(matches!(refused, HttpError::OutOfReach { zone: found, .. } if found == zone), "{refused:?}");
                assert!(refused.is_unsent() && refused.is_refusal());
            }
        }
    }
    assert_eq!(server.connections(), 0);
}

/// t006: a name is resolved once for each connection, and the checked address is the one connected to.
#[tokio::test]
async fn t006_a_rebound_name_is_blocked() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let turning: Lookup = |_| {
        let address = if ASKED.fetch_add(1, Ordering::SeqCst) == 0 { "127.0.0.1" } else { "10.0.0.9" };
        async move { Ok(vec![address.parse().unwrap()]) }.boxed()
    };
    let server = Server::answering(|_, _| response("200", "", b"{}")).await;
    let http = Http { lookup: turning, ..Http::default() };
    let url: ServerUrl = format!("http://localhost:{}/", server.address.port()).parse().unwrap();
    assert_eq!(http.exchange(&url, http::Request::new(Vec::new())).await.unwrap().status, 200);
    assert_eq!((ASKED.load(Ordering::SeqCst), server.connections()), (1, 1));
    let refused = http.exchange(&url, http::Request::new(Vec::new())).await.unwrap_err();
    assert!(matches!(refused, HttpError::OutOfReach { zone: Zone::Private, .. }), "{refused:?}");
    assert_eq!((ASKED.load(Ordering::SeqCst), server.connections()), (2, 1));
}

/// t005, t008: an IP address in a URL is checked like a resolved one, and a reserved address is blocked for everyone.
#[tokio::test]
async fn t008_an_address_is_checked_before_connecting() {
    for (url, reach, zone) in [
        ("https://169.254.169.254/", Reach::ANYWHERE, Some(Zone::Special)),
        ("https://[fe80::1]/", Reach::ANYWHERE, Some(Zone::Special)),
        ("https://2852039166/", Reach::ANYWHERE, Some(Zone::Special)),
        ("https://0.0.0.0/", Reach::ANYWHERE, Some(Zone::Special)),
        ("https://10.0.0.9/", Reach::PUBLIC, Some(Zone::Private)),
        ("https://127.0.0.1/", Reach::PUBLIC, Some(Zone::Loopback)),
        ("https://10.0.0.9/", Reach::ANYWHERE, None),
        ("https://127.0.0.1/", Reach::ANYWHERE, None),
        ("http://127.0.0.1/", Reach::ANYWHERE, None),
    ] {
        let http = Http::default();
        let judged = http.client_for(&url.parse::<ServerUrl>().unwrap().within(reach));
        match judged {
            Ok(_) => assert_eq!(zone, None, "{url}"),
            Err(HttpError::OutOfReach { zone: found, .. }) => assert_eq!(zone, Some(found), "{url}"),
            Err(error) => panic!("{url}: {error}"),
        }
    }
}

/// t009, t134: a proxy resolves the names, so finmcp does not check addresses behind one; without a proxy it does.
#[tokio::test]
async fn t134_the_users_proxy_may_be_anywhere() {
    let proxies = Matcher::builder().https("http://proxy.office.example:3128").no("direct.example").build();
    let http = Http { proxies: OnceLock::from(proxies), ..Http::default() };
    // The number of clients after requesting these two.
    let clients = |urls: [(&str, Reach); 2]| {
        *http.clients.lock().unwrap() = Clients::default();
        for (url, reach) in urls {
            http.client_for(&url.parse::<ServerUrl>().unwrap().within(reach)).unwrap();
        }
        http.clients.lock().unwrap().by_reach.iter().flatten().count()
    };
    let proxied = ("https://as.example/", Reach::ANYWHERE);
    assert_eq!(clients([proxied, ("https://as.example/", Reach::PUBLIC)]), 1);
    for direct in [
        ("https://direct.example/", Reach::PUBLIC),
        ("https://direct.example/", Reach::ANYWHERE),
        ("http://localhost/", Reach::ANYWHERE),
    ] {
        assert_eq!(clients([proxied, direct]), 2, "{direct:?}");
    }
}

type Ca = Issuer<'static, KeyPair>;

fn authority(name: &str) -> (CertificateDer<'static>, Ca) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.der().clone(), Issuer::new(params, key))
}

/// A TLS acceptor with a certificate of these parameters, which offers these protocols (RFC 7301).
fn acceptor(params: CertificateParams, authority: Option<&Ca>, protocols: &[&str]) -> TlsAcceptor {
    acceptor_showing(params, authority, protocols).0
}

fn acceptor_showing(
    params: CertificateParams,
    authority: Option<&Ca>,
    protocols: &[&str],
) -> (TlsAcceptor, CertificateDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let certificate = match authority {
        Some(authority) => params.signed_by(&key, authority).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    (TlsAcceptor::from(Arc::new(config)), certificate.der().clone())
}

/// A TLS server, and the number of requests that reached it.
async fn tls(params: CertificateParams, authority: Option<&Ca>) -> (ServerUrl, Arc<AtomicUsize>) {
    let (url, requests, _) = tls_showing(params, authority).await;
    (url, requests)
}

/// The same, and its certificate.
async fn tls_showing(
    params: CertificateParams,
    authority: Option<&Ca>,
) -> (ServerUrl, Arc<AtomicUsize>, CertificateDer<'static>) {
    let (acceptor, certificate) = acceptor_showing(params, authority, &[]);
    let requests = Arc::new(AtomicUsize::new(0));
    let count = requests.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port()).parse().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut bytes = [0; 1024];
            if stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(&response("200", "", b"{}")).await;
                let _ = stream.shutdown().await;
            }
        }
    });
    (url, requests, certificate)
}

/// t132: a server that supports only TLS 1.1 or older is refused before the first byte of a request.
#[tokio::test]
async fn t132_old_versions_of_tls_are_refused() {
    let hello = |version: u8| {
        let body = [&[3, version][..], &[7; 32], &[0, 0xc0, 0x13, 0]].concat();
        let handshake = [&[2, 0, 0, body.len() as u8][..], &body].concat();
        [&[22, 3, version, 0, handshake.len() as u8][..], &handshake].concat()
    };
    let alert = |description| vec![21, 3, 3, 0, 2, 2, description];
    for answer in [hello(1), hello(2), alert(70), alert(40), alert(71)] {
        let server = Server::start(move |mut stream, _| {
            let answer = answer.clone();
            async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(&answer).await;
                let _ = stream.read(&mut [0; 4096]).await;
            }
        })
        .await;
        let url: ServerUrl = format!("https://{}/", server.address).parse().unwrap();
        let refused = get(&url).await.unwrap_err();
        assert!(matches!(refused, HttpError::OldTls { .. }), "{refused:?}");
        assert!(refused.is_unsent() && refused.is_refusal());
    }
}

/// t132: an invalid certificate is refused before the first byte of a request, and the error says what is wrong.
#[tokio::test]
async fn t132_bad_certificates_are_refused() {
    let (trusted, ours) = authority("ours");
    let (_, theirs) = authority("theirs");
    let named = |name: &str| CertificateParams::new(vec![name.to_owned()]).unwrap();
    let mut expired = named("localhost");
    expired.not_after = date_time_ymd(2020, 1, 1);
    let mut early = named("localhost");
    early.not_before = date_time_ymd(2999, 1, 1);
    // As `openssl req -x509` creates it.
    let mut own_authority = named("localhost");
    own_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let unknown = "is self-signed, or from an authority that this machine does not trust";
    let http = Http::trusting(vec![trusted]);
    for (params, authority, problem) in [
        (expired, Some(&ours), "has expired"),
        (early, Some(&ours), "is not valid yet"),
        (named("other.example"), Some(&ours), "is for another name"),
        (named("localhost"), Some(&theirs), unknown),
        (named("localhost"), None, unknown),
        (own_authority, None, "it may be self-signed"),
    ] {
        let (url, requests) = tls(params, authority).await;
        let refused = http.exchange(&url, http::Request::new(Vec::new())).await.unwrap_err();
        assert!(matches!(refused, HttpError::Certificate { .. }), "{problem}: {refused:?}");
        assert!(refused.to_string().ends_with(problem), "{refused}");
        assert!(refused.is_unsent() && refused.is_refusal());
        assert_eq!(requests.load(Ordering::SeqCst), 0, "{problem}");
    }
    // A configured authority is trusted in addition to the system's, and only by that client.
    let (url, requests) = tls(named("localhost"), Some(&ours)).await;
    assert!(http.exchange(&url, http::Request::new(Vec::new())).await.is_ok());
    assert_eq!(requests.load(Ordering::SeqCst), 1);
    assert!(matches!(get(&url).await, Err(HttpError::Certificate { .. })));
}

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

/// b14: a certificate in `ca_file` is accepted as a server certificate although it is an authority's, but only that
/// certificate, for its name and while it is valid.
#[tokio::test]
async fn t132_b14_a_server_may_use_a_certificate_from_ca_file() {
    let own = |name: &str| {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let mut expired = own("localhost");
    expired.not_after = date_time_ymd(2020, 1, 1);
    let mut early = own("localhost");
    early.not_before = date_time_ymd(2999, 1, 1);
    let mut plain = own("localhost");
    plain.is_ca = IsCa::NoCa;
    for (params, is_named, problem) in [
        (own("localhost"), true, None),
        (plain, true, None),
        (own("localhost"), false, Some("self-signed")),
        (own("other.example"), true, Some("is for another name")),
        (expired, true, Some("has expired")),
        (early, true, Some("is not valid yet")),
    ] {
        let (url, requests, certificate) = tls_showing(params.clone(), None).await;
        // A certificate with the same name and dates but another key is not the listed one.
        let key = KeyPair::generate().unwrap();
        let another = params.self_signed(&key).unwrap().der().clone();
        let http = Http::trusting(vec![if is_named { certificate } else { another }]);
        let answer = http.exchange(&url, http::Request::new(Vec::new())).await;
        match (answer, problem) {
            (Ok(_), None) => assert_eq!(requests.load(Ordering::SeqCst), 1),
            (Err(refused @ HttpError::Certificate { .. }), Some(problem)) => {
                assert!(refused.to_string().contains(problem), "{refused}");
                assert_eq!(requests.load(Ordering::SeqCst), 0);
            }
            (answer, problem) => panic!("{problem:?}: {answer:?}"),
        }
    }
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
        assert_eq!(http.submit(&fickle.url("/token"), form).await.unwrap().status, 200);
    }

    // A server that never answers gets a GET twice and a form once.
    let silent = Server::start(|mut stream, _| async move { drop(read_head(&mut stream).await) }).await;
    assert!(matches!(http.fetch(&silent.url("/"), HeaderMap::new()).await, Err(HttpError::Broken { .. })));
    assert_eq!(silent.connections(), 2);
    for connections in 3..6 {
        let mut form = http::Request::new(b"refresh_token=CANARY".to_vec());
        *form.method_mut() = Method::POST;
        let lost = http.submit(&silent.url("/token"), form).await.unwrap_err();
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

/// a6: each event of a compressed stream arrives as soon as the server flushes it.
#[tokio::test]
async fn a6_a_compressed_stream_arrives_event_by_event() {
    for coding in ["gzip", "GZIP", "deflate", "members"] {
        let heard = Arc::new(tokio::sync::Notify::new());
        let next = heard.clone();
        let server = Server::start(move |mut stream, _| {
            let next = next.clone();
            async move {
                read_head(&mut stream).await;
                let name = if coding == "members" { "gzip" } else { coding };
                let head = format!(
                    "HTTP/1.1 200 x\r\ncontent-type: text/event-stream\r\ncontent-encoding: {name}\r\nconnection: close\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).await.unwrap();
                let (compressed, mut gzip) = (gzip, GzEncoder::new(Vec::new(), Compression::fast()));
                let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
                for number in 0..3 {
                    let event = format!("data: {number}\n\n");
                    let bytes = match coding {
                        "members" => compressed(event.as_bytes()),
                        "deflate" => {
                            zlib.write_all(event.as_bytes()).unwrap();
                            zlib.flush().unwrap();
                            std::mem::take(zlib.get_mut())
                        }
                        _ => {
                            gzip.write_all(event.as_bytes()).unwrap();
                            gzip.flush().unwrap();
                            std::mem::take(gzip.get_mut())
                        }
                    };
                    stream.write_all(&bytes).await.unwrap();
                    next.notified().await;
                }
            }
        })
        .await;
        let mut answer = post(&Http::default(), &server.url("/")).await.unwrap();
        for number in 0..3 {
            let mut event = Vec::new();
            while !event.ends_with(b"\n\n") {
                event.extend_from_slice(&answer.chunk().await.unwrap().unwrap());
            }
            assert_eq!(event, format!("data: {number}\n\n").as_bytes(), "{coding}");
            heard.notify_one();
        }
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
    http.submit(&server.url("/token"), http::Request::new(Vec::new())).await.unwrap();
    assert!(!has_cookie());
    post(&http, &other.url("/mcp")).await.unwrap();
    assert!(!has_cookie());
    // Another process has no cookies: they are not stored on disk.
    post(&Http::default(), &server.url("/mcp")).await.unwrap();
    assert!(!has_cookie());
}
