//! The request headers that MCP derives from a message.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use crate::mcp::{message::Message, tasks};

/// The protocol version of a message or session (MCP transports, "Protocol Version Header").
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// A legacy server's session (MCP 2025-11-25 transports, "Session Management").
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// The method of a modern message (MCP 2026-07-28 transports, "Standard Request Headers").
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// The tool, prompt, resource or task of a modern request, in the same section.
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// The headers of an `initialize`, before there is a session. A modern server requires `Mcp-Method` before it can
/// answer that it does not know the method (MCP 2026-07-28 transports, "Standard Request Headers").
pub fn opening() -> HeaderMap {
    HeaderMap::from_iter([(METHOD, HeaderValue::from_static("initialize"))])
}

/// A legacy session's headers: its id and its negotiated version, if known.
pub fn legacy(session_id: Option<&HeaderValue>, version: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(2);
    if let Some(id) = session_id {
        headers.insert(SESSION_ID, id.clone());
    }
    if let Some(version) = version {
        headers.insert(PROTOCOL_VERSION, encode(version));
    }
    headers
}

/// A modern message's headers (MCP 2026-07-28 transports, "Request Metadata").
pub fn modern(message: &Message, version: &str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(3);
    headers.insert(PROTOCOL_VERSION, encode(version));
    let Some(method) = message.method() else { return headers };
    headers.insert(METHOD, encode(method));
    if let Some(name) = name(message, method) {
        headers.insert(NAME, encode(&name));
    }
    headers
}

/// The value of `Mcp-Name`: a tool's or prompt's name, a resource's URI, or a task's id (SEP-2663, "Routing Headers").
fn name(message: &Message, method: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    #[derive(Deserialize)]
    struct Located {
        uri: String,
    }
    match method {
        "tools/call" | "prompts/get" => message.parameters::<Named>().map(|parameters| parameters.name),
        "resources/read" => message.parameters::<Located>().map(|parameters| parameters.uri),
        _ => tasks::asked_about(message),
    }
}

/// `value` as a header value: unchanged if it is plain ASCII, else in the Base64 form (MCP 2026-07-28 transports,
/// "Value Encoding").
pub fn encode(value: &str) -> HeaderValue {
    let visible = value.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    let padded = value.starts_with([' ', '\t']) || value.ends_with([' ', '\t']);
    let like_encoded = value.starts_with("=?base64?") && value.ends_with("?=");
    let plain = (visible && !padded && !like_encoded).then(|| HeaderValue::from_str(value).ok()).flatten();
    plain.unwrap_or_else(|| {
        let encoded = format!("=?base64?{}?=", BASE64_STANDARD.encode(value));
        HeaderValue::from_str(&encoded).unwrap_or_else(|_| HeaderValue::from_static(""))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modern_headers(text: &str) -> Vec<(String, String)> {
        let message = Message::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap();
        let headers = modern(&message, "2026-07-28");
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
    }

    #[test]
    fn a_modern_request_is_mirrored_into_its_headers() {
        for (text, method, name) in [
            (r#"{"id":1,"method":"tools/list"}"#, "tools/list", None),
            (r#"{"id":1,"method":"tools/call","params":{"name":"get_weather"}}"#, "tools/call", Some("get_weather")),
            (r#"{"id":1,"method":"prompts/get","params":{"name":"p"}}"#, "prompts/get", Some("p")),
            (r#"{"id":1,"method":"resources/read","params":{"uri":"file:///a"}}"#, "resources/read", Some("file:///a")),
            (r#"{"id":1,"method":"tools/call","params":{"name":7}}"#, "tools/call", None),
            (r#"{"id":1,"method":"tasks/get","params":{"taskId":"a-1"}}"#, "tasks/get", Some("a-1")),
            (
                r#"{"id":1,"method":"tasks/update","params":{"taskId":"\u0061 "}}"#,
                "tasks/update",
                Some("=?base64?YSA=?="),
            ),
            (r#"{"id":1,"method":"tasks/cancel","params":{"taskId":"a","name":"b"}}"#, "tasks/cancel", Some("a")),
            (r#"{"id":1,"method":"tasks/result","params":{"taskId":"a"}}"#, "tasks/result", Some("a")),
            (r#"{"id":1,"method":"tasks/get","params":{"taskId":7}}"#, "tasks/get", None),
            (r#"{"id":1,"method":"tasks/list","params":{"taskId":"a"}}"#, "tasks/list", None),
        ] {
            let mut expected = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
            expected.extend(name.map(|name| ("mcp-name", name)));
            let expected: Vec<_> = expected.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
            assert_eq!(modern_headers(text), expected);
        }
    }

    /// t135: the specification's examples. No value can put a line break into a header.
    #[test]
    fn t135_values_that_are_not_plain_are_encoded() {
        for (value, header) in [
            ("us-west1", "us-west1"),
            ("a b", "a b"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            assert_eq!(encode(value), header);
        }
    }
}
