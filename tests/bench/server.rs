//! The server for all contestants: fast Streamable HTTP of both eras, with counters.

use std::{
    borrow::Cow,
    collections::HashMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Instant,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The era of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    Legacy,
    Modern,
}

/// What the server has received since the last reset.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// Requests of any kind, including requests for metadata.
    pub requests: usize,
    /// New connections.
    pub connections: usize,
    /// When the first request arrived.
    pub first: Option<Instant>,
    /// Whether the session was deleted.
    pub deleted: bool,
}

/// A server on a separate thread, until the process ends.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    /// Cached streams of notifications.
    notifications: Mutex<HashMap<(String, usize), Bytes>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<Parameters<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Parameters<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    arguments: Arguments,
    #[serde(borrow, rename = "_meta")]
    meta: Meta<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Arguments {
    bytes: usize,
    count: usize,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta<'a> {
    #[serde(borrow, rename = "progressToken")]
    progress_token: Option<&'a RawValue>,
}

impl Server {
    /// Starts the server on a free port.
    pub fn start() -> io::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let server = Self { address, shared: shared.clone() };
        std::thread::Builder::new()
            .name("server".to_owned())
            .spawn(move || runtime.block_on(accept(listener, shared)))?;
        Ok(server)
    }

    pub fn url(&self, era: Era) -> String {
        let path = match era {
            Era::Legacy => "mcp",
            Era::Modern => "modern",
        };
        format!("http://{}/{path}", self.address)
    }

    pub fn seen(&self) -> Seen {
        *self.shared.seen.lock().unwrap()
    }

    /// Resets the counters.
    pub fn forget(&self) {
        *self.shared.seen.lock().unwrap() = Seen::default();
    }
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (connection, _) = listener.accept().await?;
        connection.set_nodelay(true)?;
        shared.seen.lock().unwrap().connections += 1;
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &shared));
            // A client may disconnect at any time.
            let _ =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, shared: &Shared) -> Result<Response<Body>, hyper::Error> {
    {
        let mut seen = shared.seen.lock().unwrap();
        seen.requests += 1;
        seen.first.get_or_insert_with(Instant::now);
        seen.deleted |= request.method() == Method::DELETE;
    }
    let era = match request.uri().path() {
        "/mcp" => Era::Legacy,
        "/modern" => Era::Modern,
        _ => return Ok(empty(StatusCode::NOT_FOUND)),
    };
    match (era, request.method()) {
        (_, &Method::POST) => {
            let body = request.into_body().collect().await?.to_bytes();
            Ok(answer_message(era, &body, shared))
        }
        (Era::Legacy, &Method::GET) => {
            let hello = stream::iter([Bytes::from_static(b":\n\n")]);
            Ok(events(hello.chain(stream::pending())))
        }
        (Era::Legacy, &Method::DELETE) => Ok(empty(StatusCode::OK)),
        _ => Ok(empty(StatusCode::METHOD_NOT_ALLOWED)),
    }
}

fn answer_message(era: Era, body: &[u8], shared: &Shared) -> Response<Body> {
    let Ok(message) = serde_json::from_slice::<Message<'_>>(body) else { return empty(StatusCode::BAD_REQUEST) };
    let (Some(id), Some(method)) = (message.id, message.method.as_deref()) else { return empty(StatusCode::ACCEPTED) };
    let parameters = message.params.unwrap_or_default();
    let complete = match era {
        Era::Legacy => "",
        Era::Modern => r#","resultType":"complete""#,
    };
    let cacheable = match era {
        Era::Legacy => "",
        Era::Modern => r#","resultType":"complete","ttlMs":0,"cacheScope":"private""#,
    };
    match (era, method) {
        (Era::Legacy, "initialize") => {
            let result = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1"}}"#;
            let mut response = json(id, result);
            response.headers_mut().insert("mcp-session-id", header::HeaderValue::from_static("bench"));
            response
        }
        (Era::Modern, "server/discover") => json(
            id,
            &format!(
                r#"{{"supportedVersions":["2026-07-28"],"capabilities":{{"tools":{{}}}},"_meta":{{"io.modelcontextprotocol/serverInfo":{{"name":"bench","version":"1"}}}}{cacheable}}}"#
            ),
        ),
        (Era::Legacy, "ping") => json(id, "{}"),
        (_, "tools/list") => json(id, &format!(r#"{{"tools":[{}]{cacheable}}}"#, tools())),
        (_, "tools/call") => match &*parameters.name {
            "small" => json(id, &format!(r#"{{"content":[{{"type":"text","text":"{SMALL}"}}]{complete}}}"#)),
            "large" => large(id, parameters.arguments.bytes, complete),
            "progress" => {
                let token = parameters.meta.progress_token.map_or("null", RawValue::get);
                let head = shared.notifications(token, parameters.arguments.count);
                let result = format!(
                    "event: message\ndata: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"content\":[]{complete}}}}}\n\n"
                );
                events(pieces(head).chain(stream::iter([Bytes::from(result)])))
            }
            _ => error(id, -32602, "Unknown tool"),
        },
        _ => error(id, -32601, "Method not found"),
    }
}

/// The text of a small result, which has two hundred bytes in total.
const SMALL: &str =
    "The quick brown fox jumps over the lazy dog, again and again, until the line is as long as it has to be.";

fn tools() -> String {
    ["small", "large", "progress"]
        .map(|name| format!(r#"{{"name":"{name}","description":"For measuring","inputSchema":{{"type":"object"}}}}"#))
        .join(",")
}

/// A result of `bytes` bytes of text.
fn large(id: &RawValue, bytes: usize, complete: &str) -> Response<Body> {
    let head = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":""#);
    let tail = format!(r#""}}]{complete}}}}}"#);
    let length = head.len() + bytes + tail.len();
    const PIECE: usize = 64 << 10;
    let piece = Bytes::from_static(&[b'x'; PIECE]);
    let text = (0..bytes.div_ceil(PIECE)).map(move |index| piece.slice(..PIECE.min(bytes - index * PIECE)));
    let frames = stream::iter([Bytes::from(head)]).chain(stream::iter(text)).chain(stream::iter([Bytes::from(tail)]));
    let mut response = Response::new(streamed(frames));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}

impl Shared {
    /// `count` notifications of progress as events.
    fn notifications(&self, token: &str, count: usize) -> Bytes {
        let mut known = self.notifications.lock().unwrap();
        let events = known.entry((token.to_owned(), count)).or_insert_with(|| {
            let event = |step| {
                format!(
                    "event: message\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progressToken\":{token},\"progress\":{step},\"total\":{count}}}}}\n\n"
                )
            };
            (1..=count).map(event).collect::<String>().into()
        });
        events.clone()
    }
}

/// Splits bytes into pieces of the size of a typical write.
fn pieces(mut bytes: Bytes) -> impl Stream<Item = Bytes> + Send {
    stream::iter(std::iter::from_fn(move || {
        let piece = bytes.split_to(bytes.len().min(16 << 10));
        Some(piece).filter(|piece| !piece.is_empty())
    }))
}

fn json(id: &RawValue, result: &str) -> Response<Body> {
    let message = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
    let mut response = Response::new(Full::new(Bytes::from(message)).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn error(id: &RawValue, code: i32, message: &str) -> Response<Body> {
    let message = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#);
    let mut response = Response::new(Full::new(Bytes::from(message)).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn events(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    let mut response = Response::new(streamed(pieces));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/event-stream"));
    response
}

fn streamed(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    StreamBody::new(pieces.map(|piece| Ok(Frame::data(piece)))).boxed_unsync()
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::default().boxed_unsync());
    *response.status_mut() = status;
    response
}
