//! JSON-RPC error codes used in MCP.

/// The receiver does not support the method (JSON-RPC 2.0 section 5.1).
pub const METHOD_NOT_FOUND: i64 = -32601;

/// A modern server found headers that do not match the body (MCP 2026-07-28 transports, "Server Validation").
pub const HEADER_MISMATCH: i64 = -32020;

/// A legacy server needs the user to open URLs before it handles the request (MCP 2025-11-25 elicitation, "URL
/// Elicitation Required Error"). The modern era has dropped it.
pub const URL_ELICITATION_REQUIRED: i64 = -32042;

/// Whether only a modern server sends this error code (MCP 2026-07-28, "Error Codes"): header mismatch, missing client
/// capability, unsupported version.
pub fn is_modern_error(code: i64) -> bool {
    matches!(code, -32022..=-32020)
}
