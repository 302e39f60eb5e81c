//! A vendor's MCP endpoint: a server that requires a bearer token.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};

use crate::demo::{
    listener::{Reply, text, with_header},
    message::Message,
    server::Server,
    streamable::Streamable,
};

/// An MCP endpoint of both eras: with sessions for legacy clients, without for those of 2026-07-28.
pub struct Mcp {
    endpoint: Streamable,
    /// The start of every challenge.
    challenge: String,
    /// The scope in challenges, if the vendor sends one.
    scope: &'static str,
    tool_calls: AtomicU64,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The token is expired, revoked or for another resource (RFC 6750 section 3.1).
    InvalidToken(&'static str),
    /// The token is valid but lacks this scope.
    InsufficientScope(String),
    /// Too many requests, with or without the seconds to wait.
    TooManyRequests(Option<u64>),
}

impl Mcp {
    /// An endpoint for a vendor's tools. `challenge` is the start of its `WWW-Authenticate` header: `Bearer` and a
    /// parameter. `scope` is the usual scope, or empty.
    pub fn new(server: Server, challenge: String, scope: &'static str) -> Self {
        Self { endpoint: Streamable::new(server), challenge, scope, tool_calls: AtomicU64::new(0) }
    }

    /// How many `tools/call` requests passed the check.
    pub fn tool_calls(&self) -> u64 {
        self.tool_calls.load(Relaxed)
    }

    /// Answers a request if `check`, which gets the token and the name of the called tool, allows it.
    pub fn answer(
        &self,
        request: &Request<Bytes>,
        check: impl FnOnce(&str, Option<&str>) -> Result<(), Refusal>,
    ) -> Reply {
        let Some(token) = bearer(request.headers()) else {
            // RFC 6750 section 3.1: no error code if the request has no token.
            return self.challenge(StatusCode::UNAUTHORIZED, &[("scope", self.scope)]);
        };
        // Parsed once, so that the check sees the same message as the server.
        let message = Message::parse(request.body());
        let tool = message.as_ref().ok().and_then(Message::called_tool);
        match check(token, tool) {
            Ok(()) => {
                self.tool_calls.fetch_add(u64::from(tool.is_some()), Relaxed);
                self.endpoint.answer(request.method(), request.headers(), message)
            }
            Err(Refusal::InvalidToken(why)) => {
                let parameters = [("error", "invalid_token"), ("error_description", why), ("scope", self.scope)];
                self.challenge(StatusCode::UNAUTHORIZED, &parameters)
            }
            Err(Refusal::InsufficientScope(scope)) => {
                self.challenge(StatusCode::FORBIDDEN, &[("error", "insufficient_scope"), ("scope", &scope)])
            }
            Err(Refusal::TooManyRequests(wait)) => {
                let reply = text(StatusCode::TOO_MANY_REQUESTS, "too many requests; wait briefly");
                match wait {
                    Some(seconds) => with_header(reply, header::RETRY_AFTER, &seconds.to_string()),
                    None => reply,
                }
            }
        }
    }

    fn challenge(&self, status: StatusCode, parameters: &[(&str, &str)]) -> Reply {
        let mut challenge = self.challenge.clone();
        for (name, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
            challenge += &format!(", {name}=\"{value}\"");
        }
        with_header(text(status, "see the WWW-Authenticate header"), header::WWW_AUTHENTICATE, &challenge)
    }
}

/// The token of an `Authorization: Bearer` header; the scheme is case-insensitive (RFC 9110 section 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
