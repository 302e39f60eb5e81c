//! The two families of MCP revisions, told apart message by message.
//!
//! Legacy (2024-11-05 to 2025-11-25) opens with `initialize` and may keep a session; modern (2026-07-28) carries its
//! version in every request's `_meta` and keeps none.

use serde::Deserialize;

use crate::bridge::message::Message;

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
        for legacy in [
            r#"{"id":1,"method":"tools/list"}"#,
            r#"{"id":1,"method":"tools/list","params":[]}"#,
            r#"{"id":1,"method":"tools/list","params":{"_meta":{"progressToken":1}}}"#,
            r#"{"id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#,
        ] {
            assert_eq!(modern_version(&message(legacy)), None);
        }
    }

    #[test]
    fn a_legacy_server_chooses_its_version() {
        let answer = r#"{"id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{}}}"#;
        assert_eq!(negotiated_version(&message(answer)).as_deref(), Some("2025-06-18"));
        assert_eq!(negotiated_version(&message(r#"{"id":1,"error":{"code":1,"message":""}}"#)), None);
    }
}
