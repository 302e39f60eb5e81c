//! The client's messages.

use super::server::Era;

/// The progress token of every client.
pub const TOKEN: &str = r#""the client's own""#;

/// The first request.
pub fn greeting(era: Era, id: u64) -> String {
    match era {
        Era::Legacy => request(
            era,
            id,
            "initialize",
            r#""protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}"#,
        ),
        Era::Modern => request(era, id, "server/discover", ""),
    }
}

/// The notification after the response to the first request.
pub fn acknowledgement(era: Era) -> Option<&'static str> {
    (era == Era::Legacy).then_some(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
}

pub fn list(era: Era, id: u64) -> String {
    request(era, id, "tools/list", "")
}

/// A call with a small result.
pub fn small(era: Era, id: u64) -> String {
    request(era, id, "tools/call", r#""name":"small","arguments":{"account":"4711","period":"2026-10"}"#)
}

/// A call with a result of this many bytes of text.
pub fn large(id: u64, bytes: usize) -> String {
    request(Era::Legacy, id, "tools/call", &format!(r#""name":"large","arguments":{{"bytes":{bytes}}}"#))
}

/// A call with this many notifications before its result.
pub fn progress(id: u64, count: usize) -> String {
    let parameters =
        format!(r#""name":"progress","arguments":{{"count":{count}}},"_meta":{{"progressToken":{TOKEN}}}"#);
    request(Era::Legacy, id, "tools/call", &parameters)
}

fn request(era: Era, id: u64, method: &str, parameters: &str) -> String {
    let meta = match era {
        Era::Legacy => "",
        Era::Modern => {
            r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}"#
        }
    };
    let comma = if meta.is_empty() || parameters.is_empty() { "" } else { "," };
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{parameters}{comma}{meta}}}}}"#)
}
