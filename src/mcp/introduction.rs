//! The requests in which finmcp itself is the MCP client, and how it identifies itself.

use crate::mcp::{
    id::Id,
    message::Message,
    meta,
    object::Object,
    revision::{LEGACY, MODERN},
};
use crate::printable::quoted;

/// finmcp's `clientInfo`, as JSON.
const CLIENT: &str = concat!(r#"{"name":"finmcp","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);

/// The `initialize` of a legacy session (MCP 2025-11-25 lifecycle, "Initialization"). `capabilities` is a JSON object.
pub fn initialize(id: Id, capabilities: &str) -> Message {
    let parameters = format!(r#"{{"protocolVersion":"{LEGACY}","capabilities":{capabilities},"clientInfo":{CLIENT}}}"#);
    Message::request(id, "initialize", &parameters)
}

/// A modern request without parameters, with version and client in `_meta` (MCP 2026-07-28, "Per-request protocol
/// fields").
pub fn modern(id: Id, method: &str) -> Message {
    let (version, capabilities, client) = (meta::VERSION, meta::CAPABILITIES, meta::CLIENT);
    let meta = format!(r#"{{"{version}":"{MODERN}","{capabilities}":{{}},"{client}":{CLIENT}}}"#);
    Message::request(id, method, &format!(r#"{{"_meta":{meta}}}"#))
}

/// How a program identifies itself in `clientInfo` or `serverInfo`, safe to display.
pub fn name_and_version(implementation: &str) -> String {
    let object = Object::parse(implementation).unwrap_or_default();
    let member = |name| object.get(name).and_then(|value| serde_json::from_str::<String>(value).ok());
    match (member("name"), member("version")) {
        (None, _) => "unnamed".to_owned(),
        (Some(name), None) => quoted(&name),
        (Some(name), Some(version)) => quoted(&format!("{name} {version}")),
    }
}
