//! Error codes with a meaning in MCP.

/// A request for what the server does not do (JSON-RPC 2.0 section 5.1).
pub const METHOD_NOT_FOUND: i64 = -32601;

/// The error of a modern server whose headers are not what the body says (MCP 2026-07-28 transports, "Server Validation").
pub const HEADER_MISMATCH: i64 = -32020;

/// The error of a legacy server that wants addresses opened before it does what it is asked (MCP 2025-11-25 elicitation,
/// "URL Elicitation Required Error"). The modern era has given it up.
pub const URL_ELICITATION_REQUIRED: i64 = -32042;

/// Whether an error is one that only a modern server gives (MCP 2026-07-28, "Error Codes"): header mismatch, missing
/// client capability, unsupported version.
pub fn is_modern_error(code: i64) -> bool {
    matches!(code, -32022..=-32020)
}
