//! Input that is not a JSON-RPC message.

/// The longest line that finmcp accepts from a client, in bytes.
pub const LINE_LIMIT: usize = 64 << 20;

/// Why bytes are not a message, by JSON-RPC 2.0 section 5.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Not JSON: -32700.
    Json,
    /// JSON, but not a request, notification or response: -32600. Includes batches, which only one revision of MCP has.
    Message,
    /// Longer than [`LINE_LIMIT`]: -32600.
    TooLong,
}
