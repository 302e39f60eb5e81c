//! The two eras of MCP revisions, and how to recognise them in a message.
//!
//! A legacy client (2024-11-05 to 2025-11-25) starts with `initialize` and may have a session; a modern client
//! (2026-07-28) sends its version in every request's `_meta` and has none.

use serde::{Deserialize, Serialize};

use crate::mcp::message::Message;

/// The modern revision that finmcp uses by default.
pub const MODERN: &str = "2026-07-28";

/// The legacy revision that finmcp requests by default: the last one.
pub const LEGACY: &str = "2025-11-25";

pub const LEGACY_REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", LEGACY];

/// A group of compatible revisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Era {
    /// 2024-11-05 to 2025-11-25.
    Legacy,
    /// 2026-07-28.
    Modern,
}

impl Era {
    /// The era's revisions, for display.
    pub fn revisions(self) -> &'static str {
        match self {
            Self::Legacy => "MCP 2024-11-05 to 2025-11-25",
            Self::Modern => "MCP 2026-07-28",
        }
    }

    /// The era of a revision. Revisions are dates, so they sort as strings.
    pub fn of(version: &str) -> Self {
        if version < MODERN { Self::Legacy } else { Self::Modern }
    }

    /// The era of a client, by its first message.
    pub fn of_message(message: &Message) -> Self {
        let is_modern = message.method() == Some("server/discover") || modern_version(message).is_some();
        if is_modern && message.method() != Some("initialize") { Self::Modern } else { Self::Legacy }
    }
}

/// The protocol version in a modern message's `_meta` (MCP 2026-07-28, "_meta"); `None` for a legacy message.
pub fn modern_version(message: &Message) -> Option<Box<str>> {
    #[derive(Deserialize)]
    struct Parameters {
        #[serde(rename = "_meta")]
        meta: Meta,
    }
    #[derive(Deserialize)]
    struct Meta {
        #[serde(rename = "io.modelcontextprotocol/protocolVersion")]
        version: Box<str>,
    }
    message.parameters::<Parameters>().map(|parameters| parameters.meta.version)
}

/// The version that a legacy server chose in its response to `initialize`.
pub fn negotiated_version(answer: &Message) -> Option<Box<str>> {
    #[derive(Deserialize)]
    struct Initialized {
        #[serde(rename = "protocolVersion")]
        version: Box<str>,
    }
    answer.result::<Initialized>().map(|result| result.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        Message::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    #[test]
    fn a_modern_message_carries_its_version() {
        let modern = r#"{"id":1,"method":"a","params":{"_meta":{"x":1.10,"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        assert_eq!(modern_version(&message(modern)).as_deref(), Some("2026-07-28"));
        assert_eq!(Era::of_message(&message(modern)), Era::Modern);
        for legacy in [
            r#"{"id":1,"method":"tools/list"}"#,
            r#"{"id":1,"method":"tools/list","params":[]}"#,
            r#"{"id":1,"method":"tools/list","params":{"_meta":{"progressToken":1}}}"#,
            r#"{"id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#,
        ] {
            assert_eq!(modern_version(&message(legacy)), None);
            assert_eq!(Era::of_message(&message(legacy)), Era::Legacy);
        }
        assert_eq!(Era::of_message(&message(r#"{"id":1,"method":"server/discover"}"#)), Era::Modern);
    }

    #[test]
    fn a_legacy_server_chooses_its_version() {
        let answer = r#"{"id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{}}}"#;
        assert_eq!(negotiated_version(&message(answer)).as_deref(), Some("2025-06-18"));
        assert_eq!(negotiated_version(&message(r#"{"id":1,"error":{"code":1,"message":""}}"#)), None);
        assert!(LEGACY_REVISIONS.iter().all(|version| Era::of(version) == Era::Legacy));
        assert_eq!((Era::of(MODERN), Era::of("2027-01-01")), (Era::Modern, Era::Modern));
    }
}
