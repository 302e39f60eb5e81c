//! The two families of MCP revisions, told apart message by message.
//!
//! Legacy (2024-11-05 to 2025-11-25) opens with `initialize` and may keep a session; modern (2026-07-28) carries its
//! version in every request's `_meta` and keeps none.

use serde::{Deserialize, Serialize};

use crate::mcp::message::Message;

/// The modern revision that finmcp speaks where nobody else says which.
pub const MODERN: &str = "2026-07-28";

/// The legacy revision that finmcp asks for where nobody else says which: the last one.
pub const LEGACY: &str = "2025-11-25";

/// Every legacy revision.
pub const LEGACY_REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", LEGACY];

/// A family of revisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Era {
    /// 2024-11-05 to 2025-11-25.
    Legacy,
    /// 2026-07-28.
    Modern,
}

impl Era {
    /// Its revisions, for people to read.
    pub fn revisions(self) -> &'static str {
        match self {
            Self::Legacy => "MCP 2024-11-05 to 2025-11-25",
            Self::Modern => "MCP 2026-07-28",
        }
    }

    /// The family of a revision: revisions are dates.
    pub fn of(version: &str) -> Self {
        if version < MODERN { Self::Legacy } else { Self::Modern }
    }

    /// The era that a client speaks, by what it says first.
    pub fn spoken(message: &Message) -> Self {
        let is_modern = message.method() == Some("server/discover") || modern_version(message).is_some();
        if is_modern && message.method() != Some("initialize") { Self::Modern } else { Self::Legacy }
    }
}

/// The protocol version that `message` itself carries (MCP 2026-07-28, "_meta"); none in a message of the legacy era.
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

/// The version that a legacy server chose: a member of its answer to `initialize`.
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
    fn a_modern_message_says_so_itself() {
        let modern = r#"{"id":1,"method":"a","params":{"_meta":{"x":1.10,"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        assert_eq!(modern_version(&message(modern)).as_deref(), Some("2026-07-28"));
        assert_eq!(Era::spoken(&message(modern)), Era::Modern);
        for legacy in [
            r#"{"id":1,"method":"tools/list"}"#,
            r#"{"id":1,"method":"tools/list","params":[]}"#,
            r#"{"id":1,"method":"tools/list","params":{"_meta":{"progressToken":1}}}"#,
            r#"{"id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#,
        ] {
            assert_eq!(modern_version(&message(legacy)), None);
            assert_eq!(Era::spoken(&message(legacy)), Era::Legacy);
        }
        assert_eq!(Era::spoken(&message(r#"{"id":1,"method":"server/discover"}"#)), Era::Modern);
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
