//! What is no message.

/// Bytes that are no message, sorted by what JSON-RPC 2.0 section 5.1 calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Not JSON: -32700.
    Json,
    /// JSON, but neither request, notification nor response; batches among them, which only one revision of MCP
    /// has: -32600.
    Message,
    /// Longer than a message may be: -32600.
    TooLong,
}
