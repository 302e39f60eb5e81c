//! The limits of the network, against real sockets.

mod addresses;
mod bodies;
mod client_certificates;
mod connections;
mod redirects;
mod tls;

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
