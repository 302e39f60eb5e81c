//! Certificates and versions of TLS.

use super::*;

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
