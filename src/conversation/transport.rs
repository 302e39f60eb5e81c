//! The two transports of MCP over HTTP.

use http::StatusCode;
use serde::{Deserialize, Serialize};

/// The transport to a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// Each message is a POST to the server's URL, and its response comes in the response to that POST (MCP 2025-03-26
    /// and later transports, "Streamable HTTP").
    #[default]
    StreamableHttp,
    /// Each message is a POST to an address that the server names, and its response comes on a GET stream (MCP
    /// 2024-11-05 transports, "HTTP with SSE"). Deprecated.
    HttpSse,
}

impl Transport {
    /// Its name in the specification.
    pub fn name(self) -> &'static str {
        match self {
            Self::StreamableHttp => "Streamable HTTP",
            Self::HttpSse => "HTTP with SSE",
        }
    }
}

/// Whether this status of a POST suggests that the URL accepts no messages, so that an HTTP+SSE server may be behind
/// it (MCP 2026-07-28 transports, "HTTP+SSE Transport (2024-11-05)").
pub fn suggests_no_endpoint(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)
}
