//! The members of `_meta` that a modern request says about itself (MCP 2026-07-28, "Per-request protocol fields").

/// The protocol version.
pub const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// The client's name and version.
pub const CLIENT: &str = "io.modelcontextprotocol/clientInfo";
/// What the client can do.
pub const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// The least severe log message that is wanted.
pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// The subscription that a notification belongs to, or that a result ends.
pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
/// The server's name and version, in a result.
pub const SERVER: &str = "io.modelcontextprotocol/serverInfo";
