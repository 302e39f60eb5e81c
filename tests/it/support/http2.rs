//! A modern server that speaks HTTP/2, without TLS, and loses calls in the ways that only HTTP/2 has.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    server::{self, SendResponse},
};
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::background::Background;

/// A running server. Dropping it closes its port and every connection.
pub struct Http2Server {
    background: Background,
    shared: Arc<Shared>,
}

/// How a call is lost that has come whole.
#[derive(Debug, Clone, Copy)]
pub enum Loss {
    /// Its stream is said not to have been processed (RFC 9113 section 8.7).
    RefusedStream,
    /// The connection ends in good order (RFC 9113 section 6.8), without the answer.
    GoAway,
}

#[derive(Default)]
struct Shared {
    losses: Mutex<VecDeque<Loss>>,
    /// The messages that have come.
    messages: Mutex<Vec<Value>>,
}

impl Http2Server {
    pub fn start() -> Self {
        let shared = Arc::<Shared>::default();
        let served = Arc::clone(&shared);
        Self { background: Background::run(|listener| accept(listener, served)), shared }
    }

    pub fn port(&self) -> u16 {
        self.background.port()
    }

    /// Loses the next call so.
    pub fn lose_next_call(&self, how: Loss) {
        self.shared.losses.lock().unwrap().push_back(how);
    }

    /// How often a message of this method has come.
    pub fn count(&self, method: &str) -> usize {
        self.shared.messages.lock().unwrap().iter().filter(|message| message["method"] == method).count()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = Arc::clone(&shared);
        // An error here is a connection that one side broke.
        tokio::spawn(async move { converse(stream, shared).await });
    }
}

async fn converse(stream: TcpStream, shared: Arc<Shared>) -> Result<(), h2::Error> {
    let mut connection = server::handshake(stream).await?;
    let (leave, mut left) = mpsc::unbounded_channel();
    loop {
        tokio::select! {
            request = connection.accept() => {
                let Some(request) = request else { return Ok(()) };
                let (request, respond) = request?;
                let (shared, leave) = (Arc::clone(&shared), leave.clone());
                tokio::spawn(async move { answer(request, respond, &shared, leave).await });
            }
            Some(()) = left.recv() => connection.abrupt_shutdown(Reason::NO_ERROR),
        }
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    shared: &Shared,
    leave: mpsc::UnboundedSender<()>,
) -> Result<(), h2::Error> {
    let (mut body, mut message) = (request.into_body(), Vec::new());
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        message.extend_from_slice(&chunk);
    }
    let message: Value = serde_json::from_slice(&message).unwrap();
    shared.messages.lock().unwrap().push(message.clone());
    let is_call = message["method"] == "tools/call";
    match is_call.then(|| shared.losses.lock().unwrap().pop_front()).flatten() {
        Some(Loss::RefusedStream) => respond.send_reset(Reason::REFUSED_STREAM),
        Some(Loss::GoAway) => leave.send(()).unwrap(),
        None => {
            let result = json!({
                "resultType": "complete", "ttlMs": 0, "cacheScope": "private", "content": [], "tools": [],
                "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
            });
            let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
            let head = Response::builder().header("content-type", "application/json").body(()).unwrap();
            respond.send_response(head, false)?.send_data(answer.into(), true)?;
        }
    }
    Ok(())
}
