//! Which redirects are followed, and with what.

use super::*;

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
        let refused = Http::default().submit(&server.url("/token"), request, None).await.unwrap_err();
        assert!(
            matches!(&refused, HttpError::Redirected { status: found, .. } if found.as_str() == status),
            "{refused}"
        );
        assert!(refused.is_refusal() && refused.to_string().contains("finmcp did not follow it"));
        assert_eq!(server.connections(), 1);
    }
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
