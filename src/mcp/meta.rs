//! The protocol's members of `_meta` in modern messages (MCP 2026-07-28, "Per-request protocol fields").

pub const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
pub const CLIENT: &str = "io.modelcontextprotocol/clientInfo";
pub const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// The least severe log level that the client wants.
pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// The subscription that a notification belongs to, or that a result ends.
pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
/// The server's name and version, in a result.
pub const SERVER: &str = "io.modelcontextprotocol/serverInfo";
