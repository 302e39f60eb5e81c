//! A link that installs an entry with a click.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::setup::{
    client::Client,
    entry::{Entry, Value},
    json,
};

/// The link for `client`; none where it has no such links.
pub fn deeplink(client: Client, entry: &Entry) -> Option<String> {
    let mut members = entry.members(client);
    match client {
        Client::Cursor => {
            let config = encoded(&STANDARD.encode(json::compact(&members)));
            let name = encoded(&entry.name);
            Some(format!("cursor://anysphere.cursor-deeplink/mcp/install?name={name}&config={config}"))
        }
        Client::Vscode => {
            members.insert(0, ("name", Value::Text(entry.name.clone())));
            Some(format!("vscode:mcp/install?{}", encoded(&json::compact(&members))))
        }
        _ => None,
    }
}

/// `text` with all but unreserved characters percent-encoded (RFC 3986 section 2.1).
fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
