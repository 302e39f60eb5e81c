//! How much of an answer is read, and how it is decoded.

use super::*;

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
        assert_eq!(&http.submit(&url, http::Request::new(Vec::new()), None).await.unwrap().body[..], b"{}", "{path}");
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
