//! A vendor's MCP endpoint: rmcp's server behind a bearer check.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::Full;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    handler::server::{router::tool::ToolRouter, tool::ToolCallContext},
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
        ListToolsResult, PaginatedRequestParams, ProtocolVersion, ResultType, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use serde::{Deserialize, Serialize};

use crate::demo::listener::{Reply, text, with_header};

/// An MCP endpoint of both eras: sessions for clients that initialise, none for those of 2026-07-28.
pub struct Mcp {
    service: StreamableHttpService<Toolbox, LocalSessionManager>,
    sessions: Arc<LocalSessionManager>,
    /// What every challenge begins with.
    challenge: String,
    /// What a token should be asked for with, where the vendor says so.
    scope: &'static str,
    tool_calls: AtomicU64,
}

/// Why a request does not reach the tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The token is expired, revoked or for something else (RFC 6750 section 3.1).
    InvalidToken(&'static str),
    /// The token is good but lacks scope; this is what would be needed.
    InsufficientScope(String),
    /// Too many requests, with or without the seconds to wait.
    TooManyRequests(Option<u64>),
}

impl Mcp {
    /// The endpoint of a vendor's tools. `challenge` begins its `WWW-Authenticate` header: `Bearer` and a parameter.
    /// `scope` is what a token for the usual work has, or nothing.
    pub fn new<S: Send + Sync + 'static>(
        vendor: &str,
        instructions: &str,
        challenge: String,
        scope: &'static str,
        service: S,
        router: ToolRouter<S>,
    ) -> Self {
        let info = ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new(format!("{vendor} (demo)"), env!("CARGO_PKG_VERSION")))
            .with_instructions(instructions);
        let toolbox = Toolbox { info, tools: Arc::new(Routed { service, router }) };
        let sessions = Arc::new(LocalSessionManager::default());
        // No page in a browser has business here: whatever names an Origin is refused.
        let config = StreamableHttpServerConfig::default().with_json_response(true).enforce_origin_validation();
        let service = StreamableHttpService::new(move || Ok(toolbox.clone()), sessions.clone(), config);
        Self { service, sessions, challenge, scope, tool_calls: AtomicU64::new(0) }
    }

    /// How many `tools/call` requests got past the check.
    pub fn tool_calls(&self) -> u64 {
        self.tool_calls.load(Relaxed)
    }

    /// Answers a request, if `check` lets the token do what the message asks: it is given the token and the tool that
    /// the message calls.
    pub async fn answer(
        &self,
        request: Request<Bytes>,
        check: impl FnOnce(&str, Option<&str>) -> Result<(), Refusal>,
    ) -> Reply {
        let Some(token) = bearer(request.headers()) else {
            // RFC 6750 section 3.1: no error code where no token was sent.
            return self.challenge(StatusCode::UNAUTHORIZED, &[("scope", self.scope)]);
        };
        let tool = called_tool(request.body());
        match check(token, tool.as_deref()) {
            Ok(()) => {
                self.tool_calls.fetch_add(u64::from(tool.is_some()), Relaxed);
                self.service.handle(request.map(Full::new)).await
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

/// rmcp keeps each session alive by a task that owns the map it is in: emptying the map ends them.
impl Drop for Mcp {
    fn drop(&mut self) {
        self.service.config.cancellation_token.cancel();
        if let Ok(mut sessions) = self.sessions.sessions.try_write() {
            sessions.clear();
        }
    }
}

/// The token of an `Authorization: Bearer` header, whose scheme has no case (RFC 9110 section 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The tool that a message calls.
fn called_tool(message: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Call {
        method: String,
        params: Named,
    }
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let call: Call = serde_json::from_slice(message).ok()?;
    (call.method == "tools/call").then_some(call.params.name)
}

/// A tool's answer, for people and for programs.
///
/// # Errors
/// The content has no form in JSON, which none of ours has.
pub fn tool_result(text: impl Into<String>, structured: &impl Serialize) -> Result<CallToolResult, String> {
    let structured = serde_json::to_value(structured).map_err(|error| error.to_string())?;
    let mut result = CallToolResult::structured(structured);
    result.content = vec![ContentBlock::text(text)];
    Ok(result)
}

/// Any vendor's tools as one type, so that rmcp's server is compiled once.
#[derive(Clone)]
struct Toolbox {
    info: ServerConfig,
    tools: Arc<dyn Tools>,
}

trait Tools: Send + Sync {
    fn list(&self) -> Vec<Tool>;
    fn find(&self, name: &str) -> Option<Tool>;
    fn call(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> BoxFuture<'_, Result<CallToolResponse, ErrorData>>;
}

struct Routed<S> {
    service: S,
    router: ToolRouter<S>,
}

impl<S: Send + Sync + 'static> Tools for Routed<S> {
    fn list(&self) -> Vec<Tool> {
        self.router.list_all()
    }

    fn find(&self, name: &str) -> Option<Tool> {
        self.router.get(name).cloned()
    }

    fn call(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> BoxFuture<'_, Result<CallToolResponse, ErrorData>> {
        Box::pin(self.router.call(ToolCallContext::new(&self.service, request, context)))
    }
}

impl ServerHandler for Toolbox {
    fn get_info(&self) -> ServerConfig {
        self.info.clone()
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tools.find(name)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let is_modern = context.protocol_version().is_some_and(|version| version >= ProtocolVersion::V_2026_07_28);
        Ok(ListToolsResult {
            result_type: Some(ResultType::COMPLETE),
            tools: self.tools.list(),
            meta: None,
            next_cursor: None,
            ttl_ms: is_modern.then_some(0),
            cache_scope: is_modern.then_some(CacheScope::Private),
        })
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.tools.call(request, context).await
    }
}
