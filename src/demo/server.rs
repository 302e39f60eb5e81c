//! An MCP server that has only tools, for clients of both eras.

use rmcp::model::{ErrorCode, ErrorData, JsonObject, ProtocolVersion};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::demo::{
    message::Request,
    tool::{self, Arguments, Outcome, Tool},
};
use crate::mcp::meta;

/// A vendor's tools.
pub struct Server {
    /// Its name and version (MCP schema, "Implementation").
    info: Value,
    instructions: &'static str,
    /// The list for `tools/list`.
    tools: Vec<Value>,
    call: Box<Call>,
}

/// Calls a tool by name, if it exists. The closure owns the tools' data.
type Call = dyn Fn(&str, Arguments) -> Option<Outcome> + Send + Sync;

/// Whether this version starts with a handshake.
pub fn is_legacy(version: &str) -> bool {
    let versions = ProtocolVersion::known_up_to(&ProtocolVersion::LATEST_WITH_INITIALIZE);
    versions.iter().any(|legacy| legacy.as_str() == version)
}

impl Server {
    /// A server of these tools, which work on `state`.
    pub fn new<S: Send + Sync + 'static>(
        vendor: &str,
        instructions: &'static str,
        state: S,
        tools: &'static [Tool<S>],
    ) -> Self {
        Self {
            info: json!({ "name": format!("{vendor} (demo)"), "version": env!("CARGO_PKG_VERSION") }),
            instructions,
            tools: tools.iter().map(Tool::listed).collect(),
            call: Box::new(move |name, arguments| {
                let tool = tools.iter().find(|tool| tool.name == name)?;
                Some((tool.run)(&state, arguments))
            }),
        }
    }

    /// The result of `initialize`: the requested version if it is a legacy one, else the latest legacy version (MCP
    /// 2025-11-25 lifecycle, "Version Negotiation").
    ///
    /// # Errors
    /// The request names no version.
    pub fn initialize(&self, request: &Request) -> Result<Value, ErrorData> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Params {
            protocol_version: ProtocolVersion,
        }
        let Params { protocol_version: asked } = request.params()?;
        let version = if is_legacy(asked.as_str()) { asked } else { ProtocolVersion::LATEST_WITH_INITIALIZE };
        Ok(json!({
            "protocolVersion": version,
            "capabilities": { "tools": {} },
            "serverInfo": self.info,
            "instructions": self.instructions,
        }))
    }

    /// The result of a request within a session.
    ///
    /// # Errors
    /// Unknown method or tool, or invalid parameters.
    pub fn answer_legacy(&self, request: &Request) -> Result<Value, ErrorData> {
        match request.method.as_str() {
            "ping" => Ok(json!({})),
            "tools/list" => Ok(json!({ "tools": self.tools })),
            "tools/call" => self.call_tool(request),
            _ => Err(unknown_method(request)),
        }
    }

    /// The result of a request of 2026-07-28, with its type, the server's name and its time to live.
    ///
    /// # Errors
    /// The same.
    pub fn answer_modern(&self, request: &Request) -> Result<Value, ErrorData> {
        let mut result = match request.method.as_str() {
            "server/discover" => json!({
                "supportedVersions": ProtocolVersion::KNOWN_VERSIONS,
                "capabilities": { "tools": {} },
                "instructions": self.instructions,
                "ttlMs": 0,
                "cacheScope": "private",
            }),
            "tools/list" => json!({ "tools": self.tools, "ttlMs": 0, "cacheScope": "private" }),
            "tools/call" => self.call_tool(request)?,
            _ => return Err(unknown_method(request)),
        };
        result["resultType"] = "complete".into();
        result["_meta"] = json!({ meta::SERVER: self.info });
        Ok(result)
    }

    fn call_tool(&self, request: &Request) -> Result<Value, ErrorData> {
        #[derive(Deserialize)]
        struct Params {
            name: String,
            arguments: Option<JsonObject>,
        }
        let Params { name, arguments } = request.params()?;
        let outcome = (self.call)(&name, Arguments::new(arguments.unwrap_or_default()));
        let outcome = outcome.ok_or_else(|| ErrorData::invalid_params(format!("Unknown tool: {name}"), None))?;
        Ok(tool::call_result(outcome))
    }
}

fn unknown_method(request: &Request) -> ErrorData {
    ErrorData::new(ErrorCode::METHOD_NOT_FOUND, request.method.clone(), None)
}
