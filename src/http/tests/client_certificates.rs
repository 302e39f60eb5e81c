//! Client certificates: who sees them, and on which connections.

use rustls::{RootCertStore, server::WebPkiClientVerifier};
use tokio::sync::Mutex;

use super::*;
use crate::secret::Secret;

/// What a TLS server saw: for each request the client's certificate, if it showed one.
type Seen = Arc<Mutex<Vec<Option<CertificateDer<'static>>>>>;

/// A server that asks for certificates of `clients`, keeps its connections open, and counts them.
async fn asking(
    server: &Ca,
    clients: &CertificateDer<'static>,
    is_required: bool,
) -> (ServerUrl, Seen, Arc<AtomicUsize>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, server).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(clients.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = if is_required { verifier } else { verifier.allow_unauthenticated() };
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port()).parse().unwrap();
    let (seen, connections) = (Seen::default(), Arc::new(AtomicUsize::new(0)));
    let (kept, count) = (seen.clone(), connections.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, kept, count) = (acceptor.clone(), kept.clone(), count.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                count.fetch_add(1, Ordering::SeqCst);
                let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).cloned();
                let mut bytes = [0; 4096];
                while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {
                    kept.lock().await.push(shown.clone());
                    let _ = stream.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 2\r\n\r\n{}").await;
                }
            });
        }
    });
    (url, seen, connections)
}

fn certificate_of(authority: &Ca) -> (CertificateDer<'static>, Arc<ClientCertificate>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["client".to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    let pem = Secret::new(format!("{}{}", key.serialize_pem(), certificate.pem()));
    (certificate.der().clone(), Arc::new(ClientCertificate::from_pem(pem).unwrap()))
}

async fn ask(http: &Http, url: &ServerUrl) {
    assert_eq!(post(http, url).await.unwrap().bytes().await.unwrap(), "{}");
}

/// A certificate is shown at its own origin only, from when it is set until it is hidden, and no connection that was
/// opened with one, with another or without any serves a request of the other kind.
#[tokio::test]
async fn mtls_a_certificate_stays_with_its_origin_and_its_connections() {
    let (trusted, servers) = authority("servers");
    let (root, clients) = authority("clients");
    let (home, at_home, connections) = asking(&servers, &root, false).await;
    let (elsewhere, at_elsewhere, _) = asking(&servers, &root, false).await;
    let ((first, identity), (second, another)) = (certificate_of(&clients), certificate_of(&clients));
    let http = Http::trusting(vec![trusted]);
    ask(&http, &home).await;
    http.show_certificate(&home, Some(&identity));
    ask(&http, &home).await;
    ask(&http, &home).await;
    ask(&http, &elsewhere).await;
    http.fetch(&home.join("/metadata").unwrap(), HeaderMap::new()).await.unwrap();
    http.show_certificate(&home, Some(&another));
    ask(&http, &home).await;
    http.show_certificate(&home, None);
    ask(&http, &home).await;
    http.show_certificate(&home, Some(&identity));
    http.hide_certificates();
    ask(&http, &home).await;
    let shown = Some(first.clone());
    let wanted = [None, shown.clone(), shown.clone(), shown, Some(second), None, None];
    assert_eq!(*at_home.lock().await, wanted);
    assert_eq!(*at_elsewhere.lock().await, [None]);
    assert_eq!(connections.load(Ordering::SeqCst), 3, "one for each identity");
}

/// A form is sent with the certificate of its client, and with no other's.
#[tokio::test]
async fn mtls_a_form_is_sent_with_its_clients_certificate() {
    let (trusted, servers) = authority("servers");
    let (root, clients) = authority("clients");
    let (url, seen, _) = asking(&servers, &root, false).await;
    let (shown, identity) = certificate_of(&clients);
    let http = Http::trusting(vec![trusted]);
    for certificate in [None, Some(&*identity), None] {
        http.submit(&url, http::Request::new(Vec::new()), certificate).await.unwrap();
    }
    assert_eq!(*seen.lock().await, [None, Some(shown), None]);
}

/// A server that ends the connection for want of a certificate, or of a better one, is named with what it wants.
#[tokio::test]
async fn mtls_a_server_that_requires_a_certificate_is_named() {
    let (trusted, servers) = authority("servers");
    let (root, clients) = authority("clients");
    let (_, strangers) = authority("strangers");
    let (url, seen, _) = asking(&servers, &root, true).await;
    let http = Http::trusting(vec![trusted]);
    let (_, good) = certificate_of(&clients);
    let (_, bad) = certificate_of(&strangers);
    for certificate in [None, Some(&*bad)] {
        let refused = http.submit(&url, http::Request::new(Vec::new()), certificate).await.unwrap_err();
        assert!(matches!(refused, HttpError::CertificateRequired { .. }), "{refused:?}");
        // The request may have been on its way already.
        assert!(!refused.is_unsent());
    }
    assert!(http.submit(&url, http::Request::new(Vec::new()), Some(&good)).await.is_ok());
    assert_eq!(seen.lock().await.len(), 1);
}

/// Which files are certificates with their keys, and that nothing of a key is ever shown.
#[test]
fn mtls_certificate_files_without_a_matching_key_are_refused() {
    let (_, clients) = authority("clients");
    let pem = |key: &KeyPair| {
        let params = CertificateParams::new(vec!["client".to_owned()]).unwrap();
        (params.signed_by(key, &clients).unwrap().pem(), key.serialize_pem())
    };
    let (ours, theirs) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let ((certificate, key), (_, other)) = (pem(&ours), pem(&theirs));
    use client_certificate::ClientCertificateError::{NoCertificate, NoKey, OtherKey, Unsupported};
    let damaged = certificate.replace("MII", "AAA").replace("MIIB", "AAAA");
    for (text, problem) in [
        (format!("{certificate}{key}"), None),
        (format!("{key}\nnotes\n{certificate}"), None),
        (certificate.clone(), Some(NoKey)),
        (key.clone(), Some(NoCertificate)),
        (String::new(), Some(NoCertificate)),
        ("not PEM".to_owned(), Some(NoCertificate)),
        (format!("{certificate}{other}"), Some(OtherKey)),
        (format!("{damaged}{key}"), Some(Unsupported)),
        (format!("{certificate}{}", key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")), Some(NoKey)),
    ] {
        let parsed = ClientCertificate::from_pem(Secret::new(text));
        let secret = &key.lines().nth(1).unwrap()[40..];
        assert!(!format!("{parsed:?}").contains(secret));
        assert_eq!(parsed.map(drop).err(), problem);
    }
    let parsed = ClientCertificate::from_pem(Secret::new(format!("{certificate}{key}"))).unwrap();
    assert!(parsed.has_key(&Secret::new(key)) && !parsed.has_key(&Secret::new(other)));
    assert!(!parsed.has_key(&Secret::new("a secret".to_owned())));
}
