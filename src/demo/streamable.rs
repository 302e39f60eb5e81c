//! Streamable HTTP of both eras, for a server that only answers requests: every response is one JSON object, and there
//! are no event streams.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use rmcp::model::{ErrorCode, ErrorData, ProtocolVersion, RequestId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    demo::{
        listener::{self, Reply, empty, text, with_header},
        message::{Message, Request},
        random,
        server::{Server, is_legacy},
    },
    mcp::{
        headers::{METHOD, NAME, PROTOCOL_VERSION, SESSION_ID},
        meta,
    },
};

/// A server at its URL.
pub struct Streamable {
    server: Server,
    /// The open sessions of legacy clients. They have no state, but a client must use its own.
    sessions: Mutex<HashSet<String>>,
}

/// Why the transport refuses a message.
type Refusal = (StatusCode, &'static str);

impl Streamable {
    /// Serves `server` over HTTP.
    pub fn new(server: Server) -> Self {
        Self { server, sessions: Mutex::default() }
    }

    /// Answers an HTTP request, whose body has been read as `message`.
    pub fn answer(&self, method: &Method, headers: &HeaderMap, message: Result<Message, ErrorData>) -> Reply {
        let answer = match *method {
            // Only a page in a browser sends an origin (MCP transports, "Security & Endpoint").
            _ if headers.contains_key(header::ORIGIN) => {
                Err((StatusCode::FORBIDDEN, "requests from web pages are not accepted"))
            }
            Method::POST => self.receive(headers, message),
            Method::DELETE => self.close_session(headers),
            // No GET either: this server sends no messages except responses.
            _ => {
                let refusal = text(StatusCode::METHOD_NOT_ALLOWED, "send messages with POST");
                Ok(with_header(refusal, header::ALLOW, "POST, DELETE"))
            }
        };
        answer.unwrap_or_else(|(status, why)| text(status, why))
    }

    fn receive(&self, headers: &HeaderMap, message: Result<Message, ErrorData>) -> Result<Reply, Refusal> {
        check_media_types(headers)?;
        let version = only(headers, &PROTOCOL_VERSION);
        match message {
            Err(error) => Ok(listener::json(StatusCode::BAD_REQUEST, &json!({ "jsonrpc": "2.0", "error": error }))),
            Ok(Message::Request(request)) if request.method == "initialize" => self.open_session(&request),
            Ok(Message::Request(request)) if is_modern(&request, version) => Ok(self.answer_modern(&request, headers)),
            Ok(Message::Request(request)) => {
                self.session(headers)?;
                Ok(respond(StatusCode::OK, &request.id, self.server.answer_legacy(&request)))
            }
            // It belongs to no session, and this server ignores notifications.
            Ok(Message::Notification) if version == Some(ProtocolVersion::V_2026_07_28.as_str()) => {
                Ok(empty(StatusCode::ACCEPTED))
            }
            Ok(Message::Notification | Message::Response) => {
                self.session(headers)?;
                Ok(empty(StatusCode::ACCEPTED))
            }
        }
    }

    /// Answers `initialize` (MCP 2025-11-25 transports, "Session Management").
    fn open_session(&self, request: &Request) -> Result<Reply, Refusal> {
        let result = self.server.initialize(request);
        let has_begun = result.is_ok();
        let mut reply = respond(StatusCode::OK, &request.id, result);
        if has_begun {
            let id = random::token("").map_err(|_| (StatusCode::INTERNAL_SERVER_ERROR, "no randomness"))?;
            reply = with_header(reply, SESSION_ID, &id);
            self.sessions().insert(id);
        }
        Ok(reply)
    }

    fn close_session(&self, headers: &HeaderMap) -> Result<Reply, Refusal> {
        let id = self.session(headers)?;
        self.sessions().remove(id);
        Ok(empty(StatusCode::ACCEPTED))
    }

    /// The open session that a legacy message names.
    fn session<'a>(&self, headers: &'a HeaderMap) -> Result<&'a str, Refusal> {
        if only(headers, &PROTOCOL_VERSION).is_some_and(|version| !is_legacy(version)) {
            return Err((StatusCode::BAD_REQUEST, "this MCP-Protocol-Version has no sessions"));
        }
        let id = only(headers, &SESSION_ID).ok_or((StatusCode::BAD_REQUEST, "MCP-Session-Id is missing"))?;
        let is_open = self.sessions().contains(id);
        is_open.then_some(id).ok_or((StatusCode::NOT_FOUND, "unknown session; initialize again"))
    }

    fn sessions(&self) -> MutexGuard<'_, HashSet<String>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer_modern(&self, request: &Request, headers: &HeaderMap) -> Reply {
        if let Err(error) = check_metadata(request, headers) {
            return respond(StatusCode::BAD_REQUEST, &request.id, Err(error));
        }
        let result = self.server.answer_modern(request);
        let status = match &result {
            Err(error) if error.code == ErrorCode::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
            _ => StatusCode::OK,
        };
        respond(status, &request.id, result)
    }
}

/// Whether the body or the header of a request names 2026-07-28 or an unknown version (MCP 2026-07-28 versioning,
/// "Backward Compatibility with Initialization-Based Versions").
fn is_modern(request: &Request, header: Option<&str>) -> bool {
    let version = request.meta(meta::VERSION).as_str().or(header);
    request.method == "server/discover" || version.is_some_and(|version| !is_legacy(version))
}

/// A client must accept both kinds of response and send JSON (MCP transports, "Sending Messages").
fn check_media_types(headers: &HeaderMap) -> Result<(), Refusal> {
    let names = |header, media_type| {
        headers.get_all(header).iter().any(|value| value.to_str().is_ok_and(|value| value.contains(media_type)))
    };
    if !names(header::ACCEPT, "application/json") || !names(header::ACCEPT, "text/event-stream") {
        return Err((StatusCode::NOT_ACCEPTABLE, "Accept must list application/json and text/event-stream"));
    }
    if !names(header::CONTENT_TYPE, "application/json") {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json"));
    }
    Ok(())
}

/// Checks that the headers of a modern request match its body (MCP 2026-07-28 transports, "Server Validation").
fn check_metadata(request: &Request, headers: &HeaderMap) -> Result<(), ErrorData> {
    let has_capabilities = request.meta(meta::CAPABILITIES).is_object();
    let Some(version) = ProtocolVersion::deserialize(request.meta(meta::VERSION)).ok().filter(|_| has_capabilities)
    else {
        let error = format!("_meta must have {} and {}", meta::VERSION, meta::CAPABILITIES);
        return Err(ErrorData::invalid_params(error, None));
    };
    check_header(headers, &PROTOCOL_VERSION, version.as_str())?;
    if version != ProtocolVersion::V_2026_07_28 {
        return Err(ErrorData::unsupported_protocol_version(version, ProtocolVersion::KNOWN_VERSIONS));
    }
    check_header(headers, &METHOD, &request.method)?;
    request.called_tool().map_or(Ok(()), |tool| check_header(headers, &NAME, tool))
}

/// Checks that a header has the value from the body, plain or in Base64 (MCP 2026-07-28 transports, "Value Encoding").
fn check_header(headers: &HeaderMap, name: &HeaderName, expected: &str) -> Result<(), ErrorData> {
    let agrees = only(headers, name).is_some_and(|value| {
        match value.strip_prefix("=?base64?").and_then(|value| value.strip_suffix("?=")) {
            // Only a name can contain other characters than ASCII.
            Some(encoded) if *name == NAME => {
                BASE64_STANDARD.decode(encoded).is_ok_and(|decoded| decoded == expected.as_bytes())
            }
            _ => value == expected,
        }
    });
    let error = || ErrorData::header_mismatch(format!("Header mismatch: {name} must be {expected:?}"), None);
    if agrees { Ok(()) } else { Err(error()) }
}

/// The value of a header that occurs once. If it occurs twice, a proxy may have read the other value.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// A response (JSON-RPC 2.0 section 5).
fn respond(status: StatusCode, id: &RequestId, result: Result<Value, ErrorData>) -> Reply {
    let response = match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error }),
    };
    listener::json(status, &response)
}
