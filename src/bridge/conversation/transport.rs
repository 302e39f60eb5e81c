//! The two ways in which messages travel over HTTP.

use http::StatusCode;
use serde::{Deserialize, Serialize};

/// One of the two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// Each message is a POST to the server's URL, and answered there (MCP 2025-03-26 and later transports, "Streamable
    /// HTTP").
    #[default]
    StreamableHttp,
    /// Each message is a POST to an address that the server names, and answered on a GET stream (MCP 2024-11-05
    /// transports, "HTTP with SSE"). Deprecated.
    HttpSse,
}

/// Whether a POST that is answered so may have come to a server that speaks HTTP+SSE, and takes messages elsewhere (MCP
/// 2026-07-28 transports, "HTTP+SSE Transport (2024-11-05)").
pub fn is_deserted(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)
}
