//! The world beyond this machine: hosts of any name and address, reached through the person's proxy, with certificates
//! of an authority that the person trusts.

use std::{
    collections::HashMap,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::{background::Background, sandbox::Sandbox, vendor::Vendor};

/// Hosts by name. Dropping it closes the proxy.
pub struct Internet {
    shared: Arc<Shared>,
    _background: Background,
}

struct Shared {
    authority: Authority,
    hosts: Mutex<HashMap<String, Host>>,
    asked: Mutex<Vec<String>>,
    /// The user name and the password that the proxy wants, with a colon between them.
    password: Mutex<Option<&'static str>>,
}

type Authority = Issuer<'static, KeyPair>;

#[derive(Debug, Clone, Copy)]
struct Host {
    port: u16,
    identity: Identity,
    /// Whether it speaks HTTP/2 and nothing else.
    is_http2: bool,
}

/// What a host shows for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// A certificate that is good.
    Good,
    Expired,
    NotYetValid,
    /// One for another name.
    OtherName,
    SelfSigned,
    /// One of an untrusted authority.
    UnknownAuthority,
    /// Nothing: it knows no TLS later than 1.1.
    OldTls,
}

impl Internet {
    /// Starts it, and has every later process of `sandbox` go there.
    pub fn join(sandbox: &mut Sandbox) -> Self {
        let (certificate, authority) = authority("the person's own");
        let shared = Arc::new(Shared {
            authority,
            hosts: Mutex::default(),
            asked: Mutex::default(),
            password: Mutex::default(),
        });
        let served = Arc::clone(&shared);
        let background = Background::run(|listener| accept(listener, served));
        let proxy = format!("http://127.0.0.1:{}", background.port());
        for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"] {
            sandbox.set(name, &proxy);
        }
        let folder = sandbox.home().join("finmcp");
        fs::create_dir_all(&folder).unwrap();
        let ca_file = sandbox.give("authority.pem", certificate).display().to_string();
        fs::write(folder.join("config.toml"), format!("ca_file = {ca_file:?}\n")).unwrap();
        Self { shared, _background: background }
    }

    /// From now on `host`, a name or an address without a port, is `vendor`.
    pub fn host(&self, host: &str, vendor: &Vendor, identity: Identity) {
        self.add(host, Host { port: vendor.port(), identity, is_http2: false });
    }

    /// From now on `host` is what speaks HTTP/2, without TLS, on this port of 127.0.0.1.
    pub fn http2_host(&self, host: &str, port: u16) {
        self.add(host, Host { port, identity: Identity::Good, is_http2: true });
    }

    fn add(&self, name: &str, host: Host) {
        self.shared.hosts.lock().unwrap().insert(name.to_owned(), host);
    }

    /// From now on the proxy opens no tunnel without this user name and password, with a colon between them.
    pub fn require_password(&self, password: &'static str) {
        *self.shared.password.lock().unwrap() = Some(password);
    }

    /// Where finmcp wanted to go so far: `CONNECT name:port`, or another request's first line.
    pub fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }
}

/// An authority of that name: its certificate in PEM, and what signs others.
fn authority(name: &str) -> (String, Authority) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), Issuer::new(params, key))
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = Arc::clone(&shared);
        // A connection that breaks is one that finmcp wants nothing of.
        tokio::spawn(async move { tunnel(stream, &shared).await });
    }
}

async fn tunnel(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let line = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    shared.asked.lock().unwrap().push(line.clone());
    let password = *shared.password.lock().unwrap();
    let right = password.map(|password| format!("proxy-authorization: basic {}", STANDARD.encode(password)));
    let is_right = |line: &str| right.as_ref().is_none_or(|right| line.eq_ignore_ascii_case(right));
    if !head.lines().any(is_right) {
        return stream.write_all(b"HTTP/1.1 407 Who are you?\r\ncontent-length: 0\r\n\r\n").await;
    }
    let name = line.strip_prefix("CONNECT ").and_then(|target| target.rsplit_once(':')).map(|(host, _)| host);
    let name = name.map(|name| name.trim_matches(['[', ']']).to_owned());
    let host = name.as_ref().and_then(|name| shared.hosts.lock().unwrap().get(name).copied());
    let (Some(name), Some(host)) = (name, host) else {
        return stream.write_all(b"HTTP/1.1 502 no such host\r\ncontent-length: 0\r\n\r\n").await;
    };
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    if host.identity == Identity::OldTls {
        // Whatever it is greeted with, it has nothing later than TLS 1.1 to offer.
        let mut hello = vec![22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
        hello.extend([[7; 32].as_slice(), &[0, 0xc0, 0x13, 0]].concat());
        stream.read_u8().await?;
        stream.write_all(&hello).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        return Ok(());
    }
    let mut secure = acceptor(&name, host, &shared.authority).accept(stream).await?;
    let mut vendor = TcpStream::connect(("127.0.0.1", host.port)).await?;
    copy_bidirectional(&mut secure, &mut vendor).await.map(drop)
}

fn acceptor(name: &str, host: Host, authority: &Authority) -> TlsAcceptor {
    let shown = if host.identity == Identity::OtherName { "other.example" } else { name };
    let mut params = CertificateParams::new(vec![shown.to_owned()]).unwrap();
    match host.identity {
        Identity::Expired => params.not_after = date_time_ymd(2020, 1, 1),
        Identity::NotYetValid => params.not_before = date_time_ymd(2999, 1, 1),
        _ => {}
    }
    let key = KeyPair::generate().unwrap();
    let certificate = match host.identity {
        Identity::SelfSigned => params.self_signed(&key),
        Identity::UnknownAuthority => params.signed_by(&key, &self::authority("another").1),
        _ => params.signed_by(&key, authority),
    };
    let chain = vec![certificate.unwrap().der().clone()];
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    if host.is_http2 {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    TlsAcceptor::from(Arc::new(config))
}
