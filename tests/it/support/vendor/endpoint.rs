//! The vendor as an MCP server, in both eras.

use std::{borrow::Cow, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tokio::sync::{mpsc, oneshot};

use super::{Answer, Era, Recorded, Reply, Shared, State, Stream, StreamKind, reply::event};

const LEGACY_VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
const MODERN_VERSION: &str = "2026-07-28";

/// A JSON-RPC message, its id and params as they are spelled.
pub struct Envelope {
    pub id: Option<String>,
    pub method: Option<String>,
    params: Option<String>,
}

#[derive(Deserialize)]
struct Borrowed<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

impl Envelope {
    pub fn parse(body: &[u8]) -> Option<Self> {
        let borrowed: Borrowed<'_> = serde_json::from_slice(body).ok()?;
        Some(Self {
            id: borrowed.id.map(|id| id.get().to_owned()),
            method: borrowed.method.map(Cow::into_owned),
            params: borrowed.params.map(|params| params.get().to_owned()),
        })
    }

    fn params(&self) -> Params {
        self.params.as_deref().and_then(|params| serde_json::from_str(params).ok()).unwrap_or_default()
    }
}

/// What this server reads of a request's params; the rest may be anything that JSON allows, and much of that fits into
/// no value.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Params {
    protocol_version: String,
    name: Option<String>,
    uri: Option<String>,
    task_id: Option<String>,
    cursor: String,
    arguments: Arguments,
    notifications: Value,
    #[serde(rename = "_meta")]
    meta: Option<Meta>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Arguments {
    message: String,
    name: String,
    count: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    #[serde(rename = "io.modelcontextprotocol/protocolVersion")]
    protocol_version: Option<String>,
    #[serde(rename = "progressToken")]
    progress_token: Value,
}

pub async fn answer(record: &Recorded, shared: &Arc<Shared>) -> Reply {
    let era = {
        let mut state = shared.state.lock().unwrap();
        if let Err(refusal) = state.admit(record, &shared.origin) {
            return refusal;
        }
        if record.method == "POST" {
            state.check_accept(record, &["application/json", "text/event-stream"]);
        }
        state.script.era
    };
    match (era, record.method.as_str()) {
        (Era::Legacy, "POST") => legacy_post(record, shared).await,
        (Era::Legacy, "GET") => legacy_get(record, shared),
        (Era::Legacy, "DELETE") => legacy_delete(record, shared),
        (Era::Modern, "POST") => modern_post(record, shared).await,
        _ => Reply::new(405).header("allow", "POST"),
    }
}

async fn legacy_post(record: &Recorded, shared: &Arc<Shared>) -> Reply {
    let Some(envelope) = Envelope::parse(&record.body) else {
        return Reply::new(400)
            .json(&json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "Parse error"}}));
    };
    if envelope.method.as_deref() != Some("initialize") {
        let mut state = shared.state.lock().unwrap();
        if let Err(refusal) = state.check_session(record) {
            return refusal;
        }
        state.check_version(record);
    }
    converse(record, &envelope, shared).await
}

/// What a legacy server says to a message that it takes.
pub async fn converse(record: &Recorded, envelope: &Envelope, shared: &Arc<Shared>) -> Reply {
    match (&envelope.method, &envelope.id) {
        (Some(method), Some(_)) if method == "initialize" => initialize(record, envelope, shared),
        (Some(method), None) => {
            if method == "notifications/initialized" {
                shared.state.lock().unwrap().ask_for_roots();
            }
            Reply::new(202)
        }
        (None, Some(id)) => {
            let waiting = shared.state.lock().unwrap().pending.remove(id);
            if let Some(waiting) = waiting {
                let _ = waiting.send(String::from_utf8_lossy(&record.body).into_owned());
            }
            Reply::new(202)
        }
        (Some(_), Some(_)) => execute(envelope, shared).await,
        (None, None) => Reply::new(400),
    }
}

fn initialize(record: &Recorded, envelope: &Envelope, shared: &Arc<Shared>) -> Reply {
    let mut state = shared.state.lock().unwrap();
    if record.header("mcp-session-id").is_some() {
        state.complain("an initialize with a session id");
    }
    let wanted = envelope.params().protocol_version;
    let known = if LEGACY_VERSIONS.contains(&wanted.as_str()) { wanted.as_str() } else { "2025-11-25" };
    let version = state.script.revision.unwrap_or(known);
    let result = json!({
        "protocolVersion": version,
        "capabilities": {"tools": {"listChanged": true}, "resources": {}, "prompts": {}, "logging": {}},
        "serverInfo": {"name": "test vendor", "version": "1"},
    });
    let mut reply = Reply::new(200);
    if state.script.sessions {
        let session = state.mint("session");
        state.sessions.insert(session.clone());
        reply = reply.header("mcp-session-id", session);
    }
    let message = success(envelope.id.as_deref().unwrap_or("null"), &result.to_string());
    state.reply_with(reply, message)
}

fn legacy_get(record: &Recorded, shared: &Arc<Shared>) -> Reply {
    let mut state = shared.state.lock().unwrap();
    if !state.script.get_stream {
        return Reply::new(405).header("allow", "POST, DELETE");
    }
    if let Err(refusal) = state.check_session(record) {
        return refusal;
    }
    state.check_accept(record, &["text/event-stream"]);
    state.check_version(record);
    let (events, receiver) = mpsc::unbounded_channel();
    // A comment at once, so that the headers travel and the client knows that the stream is there.
    let _ = events.send(":\n\n".into());
    state.streams.push(Stream { kind: StreamKind::Get, events });
    state.ask_for_roots();
    Reply::new(200).events(receiver)
}

fn legacy_delete(record: &Recorded, shared: &Arc<Shared>) -> Reply {
    let mut state = shared.state.lock().unwrap();
    if let Err(refusal) = state.check_session(record) {
        return refusal;
    }
    let session = record.header("mcp-session-id").unwrap_or_default();
    state.sessions.remove(session);
    Reply::new(200)
}

async fn modern_post(record: &Recorded, shared: &Arc<Shared>) -> Reply {
    let Some(envelope) = Envelope::parse(&record.body) else { return Reply::new(400) };
    let (Some(method), Some(id)) = (&envelope.method, &envelope.id) else {
        // Nothing but requests crosses in this era: there are no client notifications over HTTP, and no responses.
        shared.state.lock().unwrap().complain(format!("not a request: {}", record.text()));
        return Reply::new(400);
    };
    let params = envelope.params();
    let version = params.meta.as_ref().and_then(|meta| meta.protocol_version.clone());
    if let Err(why) = check_headers(record, method, &params, version.as_deref()) {
        shared.state.lock().unwrap().complain(why.clone());
        return Reply::new(400).body("application/json", failure(id, -32020, &format!("Header mismatch: {why}")));
    }
    if version.as_deref() != Some(MODERN_VERSION) {
        let error = json!({"code": -32022, "message": "Unsupported protocol version", "data": {"supported": [MODERN_VERSION], "requested": version}});
        return Reply::new(400).body("application/json", format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#));
    }
    if method == "subscriptions/listen" {
        return listen(id, &params, shared);
    }
    execute(&envelope, shared).await
}

/// The stream of `subscriptions/listen`, which says first what it will tell.
fn listen(id: &str, params: &Params, shared: &Arc<Shared>) -> Reply {
    let (events, receiver) = mpsc::unbounded_channel();
    let acknowledgement = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}},"notifications":{}}}}}"#,
        params.notifications
    );
    let _ = events.send(event(acknowledgement.as_bytes()));
    shared.state.lock().unwrap().streams.push(Stream { kind: StreamKind::Listen, events });
    Reply::new(200).events(receiver)
}

/// The request metadata of 2026-07-28, "Server Validation".
fn check_headers(record: &Recorded, method: &str, params: &Params, version: Option<&str>) -> Result<(), String> {
    if record.header("mcp-protocol-version") != version {
        return Err(format!("MCP-Protocol-Version is {:?}", record.header("mcp-protocol-version")));
    }
    if record.header("mcp-method") != Some(method) {
        return Err(format!("Mcp-Method is {:?} for {method}", record.header("mcp-method")));
    }
    let name = match method {
        "tools/call" | "prompts/get" => params.name.as_deref(),
        "resources/read" => params.uri.as_deref(),
        // SEP-2663, "Streamable HTTP: Routing Headers".
        "tasks/get" | "tasks/update" | "tasks/cancel" => params.task_id.as_deref(),
        _ => return Ok(()),
    };
    let header = record.header("mcp-name").map(|value| {
        match value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
            Some(encoded) => String::from_utf8_lossy(&STANDARD.decode(encoded).unwrap_or_default()).into_owned(),
            None => value.to_owned(),
        }
    });
    if header.as_deref() == name { Ok(()) } else { Err(format!("Mcp-Name is {header:?} for {name:?}")) }
}

/// Does what a request asks for.
async fn execute(envelope: &Envelope, shared: &Arc<Shared>) -> Reply {
    let (Some(method), Some(id)) = (envelope.method.as_deref(), envelope.id.as_deref()) else { return Reply::new(400) };
    let params = envelope.params();
    if method == "tools/call" {
        return call(id, &params, shared).await;
    }
    let mut state = shared.state.lock().unwrap();
    let modern = state.script.era == Era::Modern;
    // What a test has prepared under the name of a method that this server does not know.
    if let Some(prepared) = state.prepared.get(method).cloned() {
        let message = fill_in(&prepared, id);
        return state.reply_with(Reply::new(200), message);
    }
    let result = match method {
        "server/discover" if modern => json!({
            "supportedVersions": [MODERN_VERSION],
            "capabilities": {"tools": {"listChanged": true}},
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "test vendor", "version": "1"}},
        }),
        "ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe" if !modern => json!({}),
        "tools/list" => state.tools_page(&params.cursor),
        "resources/list" => json!({"resources": []}),
        "resources/templates/list" => json!({"resourceTemplates": []}),
        "prompts/list" => json!({"prompts": []}),
        _ => {
            let status = if modern { 404 } else { 200 };
            return Reply::new(status).body("application/json", failure(id, -32601, "Method not found"));
        }
    };
    let message = success(id, &state.complete(result, true).to_string());
    state.reply_with(Reply::new(200), message)
}

/// The tools that this server really has.
pub fn tools() -> Value {
    let tool = |name: &str, description: &str, properties: Value| json!({"name": name, "description": description, "inputSchema": {"type": "object", "properties": properties}});
    json!([
        tool("echo", "Says it back", json!({"message": {"type": "string"}})),
        tool("raw", "Answers with what the test prepared", json!({"name": {"type": "string"}})),
        tool("progress", "Reports progress before it answers", json!({"count": {"type": "integer"}})),
        tool("roots", "Asks the client for its roots before it answers", json!({})),
        tool("hang", "Never answers", json!({})),
    ])
}

async fn call(id: &str, params: &Params, shared: &Arc<Shared>) -> Reply {
    let arguments = &params.arguments;
    let tool = params.name.clone().unwrap_or_default();
    shared.state.lock().unwrap().executed.push(tool.clone());
    match tool.as_str() {
        "echo" => {
            let mut state = shared.state.lock().unwrap();
            let result = state.complete(json!({"content": [{"type": "text", "text": arguments.message}]}), false);
            let message = success(id, &result.to_string());
            state.reply_with(Reply::new(200), message)
        }
        "raw" => {
            let mut state = shared.state.lock().unwrap();
            let prepared = state.prepared.get(&arguments.name).cloned();
            let Some(prepared) = prepared else { return Reply::new(500) };
            let message = fill_in(&prepared, id);
            state.reply_with(Reply::new(200), message)
        }
        "progress" => {
            let (events, receiver) = mpsc::unbounded_channel();
            let token = params.meta.as_ref().map(|meta| &meta.progress_token);
            let count = arguments.count;
            for step in 1..=count {
                let notification = json!({
                    "jsonrpc": "2.0", "method": "notifications/progress",
                    "params": {"progressToken": token, "progress": step, "total": count},
                });
                let _ = events.send(event(notification.to_string().as_bytes()));
            }
            let result = shared.state.lock().unwrap().complete(json!({"content": []}), false);
            let _ = events.send(event(&success(id, &result.to_string())));
            Reply::new(200).events(receiver)
        }
        "roots" => {
            let (events, receiver) = mpsc::unbounded_channel();
            let (answer, answered) = oneshot::channel();
            shared.state.lock().unwrap().pending.insert(r#""vendor-1""#.to_owned(), answer);
            let _ = events.send(event(br#"{"jsonrpc":"2.0","id":"vendor-1","method":"roots/list"}"#));
            let (id, shared) = (id.to_owned(), Arc::clone(shared));
            tokio::spawn(async move {
                let text = answered.await.unwrap_or_default();
                let result = json!({"content": [{"type": "text", "text": text}]});
                let result = shared.state.lock().unwrap().complete(result, false);
                let _ = events.send(event(&success(&id, &result.to_string())));
            });
            Reply::new(200).events(receiver)
        }
        "hang" => {
            // Longer than any test.
            tokio::time::sleep(Duration::from_secs(600)).await;
            Reply::new(500)
        }
        _ => Reply::new(200).body("application/json", failure(id, -32602, "Unknown tool")),
    }
}

impl State {
    /// A result with what the modern era adds to every one, and to those that may be cached.
    fn complete(&self, mut result: Value, cacheable: bool) -> Value {
        if self.script.era == Era::Modern {
            result["resultType"] = json!("complete");
            if cacheable {
                result["ttlMs"] = json!(0);
                result["cacheScope"] = json!("private");
            }
        }
        result
    }

    /// The page of the tools' list that the cursor, a number, leads to.
    fn tools_page(&self, cursor: &str) -> Value {
        let page = cursor.parse().unwrap_or(0);
        let mut result = json!({"tools": self.script.tool_pages[page]});
        if page + 1 < self.script.tool_pages.len() {
            result["nextCursor"] = json!((page + 1).to_string());
        }
        result
    }

    /// `message` as this vendor answers: one JSON object, or a stream of one event.
    fn reply_with(&mut self, reply: Reply, message: Vec<u8>) -> Reply {
        match self.script.answer {
            Answer::Json => reply.body("application/json", message),
            Answer::Events => {
                let (events, receiver) = mpsc::unbounded_channel();
                let _ = events.send(event(&message));
                reply.events(receiver)
            }
        }
    }

    /// Asks for the client's roots, once, when there is a stream to ask on.
    fn ask_for_roots(&mut self) {
        let stream = self.streams.iter().find(|stream| stream.kind != StreamKind::Listen && !stream.events.is_closed());
        if let (Some(stream), true) = (stream, self.script.asks_for_roots) {
            let _ = stream.events.send(event(br#"{"jsonrpc":"2.0","id":0,"method":"roots/list"}"#));
            self.script.asks_for_roots = false;
        }
    }

    fn check_session(&mut self, record: &Recorded) -> Result<(), Reply> {
        if !self.script.sessions {
            return Ok(());
        }
        match record.header("mcp-session-id") {
            Some(session) if self.sessions.contains(session) => Ok(()),
            Some(_) => Err(Reply::new(404)),
            None => Err(Reply::new(400).json(&json!({
                "jsonrpc": "2.0", "id": null,
                "error": {"code": -32000, "message": "Bad Request: Server not initialized"},
            }))),
        }
    }

    /// After the handshake every request names the version (2025-11-25, "Protocol Version Header").
    fn check_version(&mut self, record: &Recorded) {
        let version = record.header("mcp-protocol-version");
        let spoken = self.script.revision.map_or(LEGACY_VERSIONS.to_vec(), |revision| vec![revision]);
        if !version.is_some_and(|version| spoken.contains(&version)) {
            self.complain(format!("{} with MCP-Protocol-Version {version:?}", record.method));
        }
    }

    pub fn check_accept(&mut self, record: &Recorded, types: &[&str]) {
        let accept = record.header("accept").unwrap_or_default();
        if !types.iter().all(|kind| accept.contains(kind)) {
            self.complain(format!("{} with Accept {accept:?}", record.method));
        }
    }
}

fn success(id: &str, result: &str) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).into()
}

fn failure(id: &str, code: i64, message: &str) -> Vec<u8> {
    let error = json!({"code": code, "message": message});
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#).into()
}

/// The prepared message with the request's id in its place.
fn fill_in(prepared: &[u8], id: &str) -> Vec<u8> {
    const PLACE: &[u8] = b"@ID@";
    match prepared.windows(PLACE.len()).position(|window| window == PLACE) {
        Some(at) => [&prepared[..at], id.as_bytes(), &prepared[at + PLACE.len()..]].concat(),
        None => prepared.to_vec(),
    }
}
