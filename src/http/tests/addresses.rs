//! Which addresses are called.

use super::*;

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
        http.clients.lock().unwrap().plain.pooled.iter().flatten().count()
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
